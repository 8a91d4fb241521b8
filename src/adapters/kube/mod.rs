//! Kubernetes.

pub mod answer;
pub mod apply;
pub mod child;
pub mod children;
pub mod client;
pub mod compare;
pub mod crd_watch;
pub mod events;
pub mod exec;
pub mod facts;
pub mod field_conflicts;
pub mod index;
mod interning;
pub mod leader;
mod leadership;
pub mod live;
pub mod mover_jobs;
pub mod namespace_objects;
pub mod own_objects;
pub mod pods;
pub mod records;
mod remake;
pub mod repository_lock;
pub mod status;
pub mod table;
pub mod watch;
pub mod webhook_secret;
