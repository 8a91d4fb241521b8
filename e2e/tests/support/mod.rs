//! What tests on the local cluster share.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod traces;

use std::path::PathBuf;

use tray_e2e::{Cache, Cluster, ClusterDir, Lifetime, Progress};

/// The folder of the tests' cluster: not the one of `make cluster-up`.
pub(crate) fn dir() -> ClusterDir {
    ClusterDir::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cluster"))
}

/// A new cluster, after whatever a test before left was removed. It ends with its value, or with this process.
///
/// # Panics
/// Where no cluster can run, with what is in the way.
pub(crate) fn start() -> Cluster {
    let (dir, cache) = (dir(), Cache::from_env());
    Cluster::down(&dir)
        .and_then(|()| Cluster::up(&dir, &cache, Lifetime::Bound, Progress::start()))
        .unwrap_or_else(|error| panic!("{error}"))
}
