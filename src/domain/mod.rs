//! The rules of the product, pure and synchronous: no Kubernetes, no AWS, no runtime, no clock.

pub mod archived_kinds;
pub mod archived_objects;
pub mod bucket_layout;
pub mod cloud_regions;
pub mod identity;
pub mod ids;
pub mod ledger;
pub mod manifest;
pub mod mover_lifetime;
pub mod mover_task;
pub mod names;
pub mod objectives;
pub mod placement;
pub mod replicas;
pub mod restore_run;
pub mod retention;
pub mod run_plan;
pub mod schedule;
pub mod session_policy;
pub mod snapshot_run;
pub mod view;
pub mod volume_facts;
