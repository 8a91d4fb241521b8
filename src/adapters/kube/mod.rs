//! Kubernetes.

pub mod exec;
pub mod mover_jobs;
