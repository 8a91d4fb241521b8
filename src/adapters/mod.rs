//! The only users of the Kubernetes and AWS clients.

pub mod clock;
pub mod kube;
