//! The cluster as tests, the demo and the command line use it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::Duration;

use crate::cgroups;
use crate::error::{Error, Result};
use crate::files;
use crate::host;
use crate::image::{self, Seed};
use crate::inside::{DETACH, EXTRA_SERVICES, LINKED, Message};
use crate::namespaces::{Namespaces, harness_program};
use crate::packages;
use crate::paths::{Cache, ClusterDir};
use crate::pki::Authority;
use crate::process::Program;
use crate::progress::Progress;
use crate::tools::Toolbox;
use crate::topology::{API_PORT, CLUSTER_ADDRESS, NODES};

/// What happens to a cluster when the process that started it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It ends too, however the process ended.
    Bound,
    /// It stays until [`Cluster::down`].
    Detached,
}

/// A running cluster.
pub struct Cluster {
    dir: ClusterDir,
    cache: Cache,
    tools: Toolbox,
    namespaces: Namespaces,
    /// Held for a bound cluster: the supervisor ends when its standard input does.
    lifeline: Option<Child>,
}

/// What a cluster is started from.
struct Prepared {
    tools: Toolbox,
    seed: Seed,
}

impl Cluster {
    /// Starts a cluster in `dir`, making and building first what the cache lacks; takes up the one that runs there already.
    pub fn up(dir: &ClusterDir, cache: &Cache, lifetime: Lifetime, progress: Progress) -> Result<Self> {
        host::check_system()?;
        if let Some(running) = Namespaces::all()?.first() {
            if running.directory() == dir.root() {
                progress.step("the cluster is up already");
                return Self::attach(dir, cache);
            }
            return Err(Error::refused(
                format!("another cluster runs, from {}", running.directory().display()),
                "One machine runs one: stop it with `make cluster-down` in its checkout.",
            ));
        }
        let prepared = prepare(cache, progress)?;
        host::check_machine()?;
        clean(dir)?;
        start(dir, cache, prepared, lifetime, progress)
    }

    /// The cluster that runs in `dir`.
    pub fn attach(dir: &ClusterDir, cache: &Cache) -> Result<Self> {
        let namespaces = Namespaces::find(dir)?.ok_or_else(|| Error::NotUp(dir.root().to_owned()))?;
        let tools = Toolbox::ensure(cache, Progress::start())?;
        Ok(Self {
            dir: dir.clone(),
            cache: cache.clone(),
            tools,
            namespaces,
            lifeline: None,
        })
    }

    /// Stops the cluster of `dir`, and removes what a killed one left. Logs stay. Nothing to do is success.
    pub fn down(dir: &ClusterDir) -> Result<()> {
        host::check_system()?;
        if let Some(namespaces) = Namespaces::find(dir)? {
            namespaces.kill()?;
            host::await_no_link(Duration::from_secs(20))?;
        }
        if Namespaces::all()?.is_empty() {
            clean(dir)?;
        }
        Ok(())
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &ClusterDir {
        &self.dir
    }

    /// The cache that the cluster was started from.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The built programs.
    pub fn tools(&self) -> &Toolbox {
        &self.tools
    }

    /// The namespaces that the cluster lives in.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// kubectl on the host, as the administrator. `cluster.kubectl(["get", "pods"]).run()`.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Program {
        self.tools
            .program("kubectl")
            .env("KUBECONFIG", self.dir.kubeconfig())
            .env("KUBECACHEDIR", self.dir.kubectl_cache())
            .args(args)
    }

    /// Helm on the host, as the administrator, with its own files in the cluster's folder.
    pub fn helm<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Program {
        let home = self.dir.root().join("helm");
        ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"]
            .into_iter()
            .fold(self.tools.program("helm"), |helm, variable| {
                helm.env(variable, &home)
            })
            .env("KUBECONFIG", self.dir.kubeconfig())
            .args(args)
    }

    /// Makes `program` run inside the cluster's namespaces (network, mounts, processes).
    pub fn enter(&self, program: Program) -> Program {
        self.namespaces.enter(program)
    }

    /// A kubeconfig for another user, and one group of theirs. It may do what RBAC says.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<String> {
        let server = format!("https://{CLUSTER_ADDRESS}:{API_PORT}");
        Authority::load(&self.dir.pki())?.kubeconfig(&server, user, group)
    }

    /// Loads an image archive on every node.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let inside = ClusterDir::new(ClusterDir::INSIDE);
        thread::scope(|scope| {
            let imports = NODES.map(|node| {
                let socket = inside.node(&node).containerd_socket();
                scope.spawn(move || {
                    let ctr = self.enter(self.tools.program("ctr")).arg("--address").arg(socket);
                    image::import(ctr, archive)
                })
            });
            imports.into_iter().try_for_each(joined)
        })
    }

    /// Sends a signal (`STOP`, `CONT`, `KILL`) to a component by the name of its log: `kube-apiserver`,
    /// `kubelet-<node>`, … A stopped one hangs until `CONT`; one that ended is started again.
    pub fn signal(&self, component: &str, signal: &str) -> Result<()> {
        let pid = files::read(&self.dir.pid_file(component))?;
        // The pid is one of the PID namespace.
        self.enter(Program::new("kill"))
            .arg(format!("-{signal}"))
            .arg(pid)
            .run()
            .map(drop)
    }

    fn hand_over(&mut self) -> Result<()> {
        if let Some(mut child) = self.lifeline.take() {
            say(&mut child, DETACH)?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut child) = self.lifeline.take() {
            drop(child.stdin.take());
            // Nobody is left to tell; what remains is found and removed by the next `up` or `down`.
            let _ = child.wait();
        }
    }
}

/// Fills the cache with everything that a cluster is started from, and what its tests start on it.
pub fn prepare_cache(cache: &Cache, progress: Progress) -> Result<()> {
    host::check_system()?;
    prepare(cache, progress)?;
    Toolbox::gateway(cache, progress)?;
    Toolbox::gitops(cache, progress).map(drop)
}

fn prepare(cache: &Cache, progress: Progress) -> Result<Prepared> {
    packages::ensure(progress)?;
    let tools = Toolbox::ensure(cache, progress)?;
    let archives: Vec<PathBuf> = image::ensure(cache, &tools, progress)?;
    let seed = Seed::ensure(cache, &tools, &archives, &harness_program()?, progress)?;
    for service in EXTRA_SERVICES {
        (service.prepare)(cache)?;
    }
    Ok(Prepared { tools, seed })
}

fn start(
    dir: &ClusterDir,
    cache: &Cache,
    Prepared { tools, seed }: Prepared,
    lifetime: Lifetime,
    progress: Progress,
) -> Result<Cluster> {
    files::remove(&dir.logs())?;
    files::make_dir(&dir.logs())?;
    thread::scope(|scope| {
        let plants = NODES.map(|node| {
            let (seed, root) = (&seed, dir.node(&node).join("containerd"));
            scope.spawn(move || seed.plant(&root))
        });
        plants.into_iter().try_for_each(joined)
    })?;
    let mut child = Namespaces::start(dir, cache)?;
    let namespaces = converse(dir, &mut child, progress)?;
    let mut cluster = Cluster {
        dir: dir.clone(),
        cache: cache.clone(),
        tools,
        namespaces,
        lifeline: Some(child),
    };
    if lifetime == Lifetime::Detached {
        cluster.hand_over()?;
    }
    Ok(cluster)
}

/// Follows the supervisor's messages until it is ready. An error drops the child's pipes, which ends everything inside.
fn converse(dir: &ClusterDir, child: &mut Child, progress: Progress) -> Result<Namespaces> {
    let silent = || {
        Error::Supervisor(format!(
            "it ended without a word; see {}",
            dir.log("supervisor").display()
        ))
    };
    let stdout = child.stdout.take().ok_or_else(silent)?;
    let mut namespaces = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(Error::unexpected("the supervisor"))?;
        match serde_json::from_str(&line).map_err(Error::unexpected("the supervisor"))? {
            Message::Namespaces => {
                let found = Namespaces::find(dir)?.ok_or_else(silent)?;
                host::create_link(found.init())?;
                namespaces = Some(found);
                say(child, LINKED)?;
            }
            Message::Step(text) => progress.step(text),
            Message::Failed(why) => return Err(Error::Supervisor(why)),
            Message::Ready => return namespaces.ok_or_else(silent),
        }
    }
    Err(silent())
}

fn say(child: &mut Child, word: &str) -> Result<()> {
    let Some(stdin) = &mut child.stdin else {
        return Ok(());
    };
    writeln!(stdin, "{word}").map_err(Error::unexpected("the supervisor"))
}

/// Removes what a cluster leaves: empty cgroups, and its folder but for the logs.
fn clean(dir: &ClusterDir) -> Result<()> {
    cgroups::remove()?;
    let logs = dir.logs();
    files::entries(dir.root())?
        .iter()
        .filter(|path| **path != logs)
        .try_for_each(|path| files::remove(path))
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::Unexpected {
            what: "a thread of the harness".into(),
            detail: "it panicked".into(),
        })
    })
}
