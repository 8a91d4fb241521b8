//! Kubernetes.

pub mod apply;
pub mod child;
pub mod compare;
pub mod events;
pub mod exec;
pub mod facts;
pub mod index;
pub mod mover_jobs;
pub mod namespace_objects;
pub mod repository_lock;
pub mod table;
