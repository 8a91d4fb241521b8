//! The second process inside: starts everything, reports to the harness outside, and stays.

use std::io::{BufRead as _, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde::{Deserialize, Serialize};

use super::{Daemons, EXTRA_SERVICES, Inside, addons, control_plane, isolation, network, node};
use crate::cgroups;
use crate::error::{Error, Result};
use crate::paths::{Cache, ClusterDir};
use crate::pki::Authority;
use crate::progress::Progress;
use crate::tools::Toolbox;
use crate::topology::NODES;

/// What the supervisor tells the harness: one JSON line each on standard output.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The namespaces exist; the host may create its link and answer [`LINKED`].
    Namespaces,
    /// Something has been reached, in words.
    Step(String),
    /// Everything is up.
    Ready,
    /// It gave up, and why.
    Failed(String),
}

/// The harness's word that the link exists.
pub const LINKED: &str = "linked";
/// The harness's word that the cluster is to outlive it. Before it, the end of the harness is the end of the cluster.
pub const DETACH: &str = "detach";

/// Runs the cluster. Returns only when it failed to start.
pub fn supervise(host_dir: &ClusterDir, cache: &Cache) -> Result<()> {
    let linked = listen();
    let result = start(host_dir, cache, &linked);
    if let Err(error) = result {
        tell(&Message::Failed(error.to_string()));
        return Err(error);
    }
    tell(&Message::Ready);
    loop {
        thread::park();
    }
}

fn start(host_dir: &ClusterDir, cache: &Cache, linked: &Receiver<()>) -> Result<()> {
    isolation::mount_all(host_dir)?;
    tell(&Message::Namespaces);
    linked.recv().map_err(Error::unexpected("the harness"))?;
    network::configure()?;
    cgroups::create()?;

    let dir = ClusterDir::new(ClusterDir::INSIDE);
    let tools = Toolbox::ensure(cache, Progress::start())?;
    let daemons = Daemons::new(&dir)?;
    let inside = Inside {
        dir: &dir,
        cache,
        tools: &tools,
        daemons: &daemons,
    };

    let authority = Authority::create(&dir.pki())?;
    control_plane::write_identities(&inside, &authority)?;
    for node in &NODES {
        node::configure(&dir, node, &authority)?;
    }
    thread::scope(|scope| {
        let containerds = NODES.map(|node| {
            scope.spawn({
                let inside = &inside;
                move || node::start_containerd(inside, &node)
            })
        });
        let extras: Vec<_> = EXTRA_SERVICES
            .iter()
            .map(|service| (service.name, scope.spawn(|| (service.start)(&inside))))
            .collect();

        control_plane::start_api(&inside)?;
        tell(&Message::Step("the API server is ready".into()));
        control_plane::start_controllers(&inside)?;
        for containerd in containerds {
            joined(containerd)?;
        }
        for node in &NODES {
            node::start_kubelet(&inside, node)?;
        }
        addons::install(&inside)?;
        addons::await_nodes(&inside)?;
        tell(&Message::Step(format!("{} nodes are Ready", NODES.len())));
        addons::await_dns(&inside)?;
        tell(&Message::Step("the cluster's DNS answers".into()));
        for (name, service) in extras {
            joined(service)?;
            tell(&Message::Step(format!("{name} answers")));
        }
        Ok(())
    })
}

/// Reads the harness's words on a thread. Its end before [`DETACH`] ends this process.
fn listen() -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.as_deref() {
                // The receiver is gone only when the start has failed, which is reported there.
                Ok(LINKED) => drop(sender.send(())),
                Ok(DETACH) => return,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        eprintln!("the harness ended before the cluster was handed over; so does the cluster");
        std::process::exit(1);
    });
    receiver
}

/// The harness may be gone, and nobody else reads this.
fn tell(message: &Message) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::Unexpected {
            what: "a thread of the supervisor".into(),
            detail: "it panicked".into(),
        })
    })
}
