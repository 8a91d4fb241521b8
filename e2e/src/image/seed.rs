//! The content that every node's containerd starts with: unpacked once, then linked into each node.
//!
//! Importing an image unpacks it, which takes longer than the rest of a start. Blobs and committed snapshots never change,
//! so nodes can share their files by hard links; only the databases are copied.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::short_digest;
use crate::error::{Error, Result};
use crate::files;
use crate::paths::Cache;
use crate::process::Program;
use crate::progress::Progress;
use crate::tools::Toolbox;
use crate::wait;

/// A containerd root that holds a set of images.
pub struct Seed(PathBuf);

impl Seed {
    /// The seed of `archives` in the cache. `harness` is the path of the program `tray-e2e`.
    pub fn ensure(
        cache: &Cache,
        tools: &Toolbox,
        archives: &[PathBuf],
        harness: &Path,
        progress: Progress,
    ) -> Result<Self> {
        let containerd = tools.path("containerd");
        let parts = archives
            .iter()
            .chain([&containerd])
            .map(|path| path.as_os_str().as_encoded_bytes());
        let path = cache.images().join(format!("seed-{}", short_digest(parts)));
        if !path.exists() {
            progress.step("unpacking the images (once)");
            let unfinished = path.with_extension("unfinished");
            files::remove(&unfinished)?;
            files::make_dir(&unfinished)?;
            // Unpacking mounts; in namespaces of its own nothing can be left behind.
            Program::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
                .arg(harness)
                .args(["internal", "import", "--root"])
                .arg(&unfinished)
                .arg("--cache")
                .arg(cache.root())
                .args(archives)
                .run()?;
            files::rename(&unfinished, &path)?;
        }
        Ok(Self(path))
    }

    /// Makes `root` a containerd root with the seed's content.
    pub fn plant(&self, root: &Path) -> Result<()> {
        if let Some(parent) = root.parent() {
            files::make_dir(parent)?;
        }
        let copy = |how: &str| {
            Program::new("cp")
                .args(["--archive", how, "--no-target-directory"])
                .arg(&self.0)
                .arg(root)
                .run()
        };
        if copy("--link").is_err() {
            // The cache is on another file system.
            files::remove(root)?;
            copy("--reflink=auto")?;
        }
        for database in databases(&self.0)? {
            let own = root.join(database.strip_prefix(&self.0).unwrap_or(&database));
            files::remove(&own)?;
            std::fs::copy(&database, &own).map_err(Error::file("copy", &database))?;
        }
        Ok(())
    }
}

/// Runs a containerd on `root` only to import `archives`. Call it in mount and PID namespaces that end with it.
pub fn import_all(root: &Path, tools: &Toolbox, archives: &[PathBuf]) -> Result<()> {
    let scratch = tempfile::tempdir().map_err(Error::file("create", &std::env::temp_dir()))?;
    let (config, socket, log) = (
        scratch.path().join("config.toml"),
        scratch.path().join("c.sock"),
        scratch.path().join("log"),
    );
    files::write(
        &config,
        format!(
            "version = 3\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.nri.v1.nri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = \"{}\"\n[ttrpc]\n  address = \"{1}/ttrpc.sock\"\n",
            root.display(),
            scratch.path().join("state").display(),
            socket.display(),
        ),
    )?;
    let mut containerd = tools
        .program("containerd")
        .arg("--config")
        .arg(config)
        .spawn_logged(&log)?;
    let ctr = || tools.program("ctr").arg("--address").arg(&socket);
    wait::until("containerd did not answer", Duration::from_secs(30), &log, || {
        Ok(ctr().arg("version").output()?.status.success().then_some(()))
    })?;
    for archive in archives {
        import(ctr(), archive)?;
    }
    if let Some(pid) = i32::try_from(containerd.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM).map_err(Error::unexpected("kill"))?;
    }
    containerd
        .wait()
        .map_err(Error::file("end", Path::new("containerd")))
        .map(drop)
}

/// Imports one archive where the kubelet looks for images, and unpacks it.
pub fn import(ctr: Program, archive: &Path) -> Result<()> {
    ctr.args(["--namespace=k8s.io", "images", "import"])
        .arg(archive)
        .run()
        .map(drop)
}

fn databases(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for plugin in files::entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let inside = files::entries(&plugin)?;
        found.extend(
            inside
                .into_iter()
                .filter(|path| path.extension().is_some_and(|extension| extension == "db")),
        );
    }
    Ok(found)
}
