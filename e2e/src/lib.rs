//! The local cluster: a real Kubernetes with one node per region, on one Linux machine and touching nothing of it.
//!
//! [`Cluster`] is the way in. Everything runs in network, mount and PID namespaces of its own, reached over one veth; what
//! it is built from lies in a cache outside the checkout.

pub mod audit;
pub mod aws;
pub mod bench;
pub mod bucket;
pub mod cgroups;
pub mod cluster;
pub mod demo;
pub mod error;
pub mod examples;
pub mod faults;
pub mod files;
pub mod gateway;
pub mod host;
pub mod image;
pub mod inside;
pub mod install;
pub mod namespaces;
pub mod operator;
pub mod packages;
pub mod paths;
pub mod pki;
pub mod process;
pub mod progress;
pub mod tools;
pub mod topology;
pub mod verdict;
pub mod wait;

pub use cluster::{Cluster, Lifetime};
pub use error::{Error, Result};
pub use paths::{Cache, ClusterDir};
pub use process::Program;
pub use progress::Progress;
