//! The only users of the Kubernetes and AWS clients.

pub mod aws_error;
pub mod clock;
pub mod kube;
pub mod ledger_store;
pub mod memory;
