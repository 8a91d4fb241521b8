//! Kubernetes.

pub mod exec;
pub mod mover_jobs;
pub mod repository_lock;
