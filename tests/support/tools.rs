//! Where the programs are that tests start: etcd, kube-apiserver, helm.

use std::{env, path::PathBuf};

/// The program `name`: in one of the folders of `TRAY_TOOLS_BIN`, else the newest in the cache of the local cluster.
///
/// # Panics
/// When it is in neither, with what to do.
pub(crate) fn program(name: &str) -> PathBuf {
    let named: Vec<PathBuf> = variable("TRAY_TOOLS_BIN")
        .map(|v| env::split_paths(&v).collect())
        .unwrap_or_default();
    let built = || {
        let folders = std::fs::read_dir(cache().join("tools"))
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        let present = folders.filter(|folder| folder.join(name).is_file());
        present.max_by_key(|folder| folder.metadata().and_then(|m| m.modified()).ok())
    };
    let found = named
        .into_iter()
        .find(|folder| folder.join(name).is_file())
        .or_else(built);
    let Some(folder) = found else {
        panic!(
            "{name} is neither in a folder of TRAY_TOOLS_BIN nor in {}: `make prepare` builds it, once",
            cache().join("tools").display()
        );
    };
    folder.join(name)
}

fn cache() -> PathBuf {
    variable("TRAY_CACHE").map_or_else(
        || {
            let base = variable("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
            base.unwrap_or_else(env::temp_dir).join("tray-operator")
        },
        PathBuf::from,
    )
}

/// A variable of the environment, unless it is empty.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by their environment where the programs are, and what to repeat"
)]
pub(crate) fn variable(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
