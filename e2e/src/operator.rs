//! The operator as a Deployment on the local cluster: stopped, started, killed.

use crate::cluster::Cluster;
use crate::demo::kube::Kube;
use crate::error::Result;
use crate::install::NAMESPACE;
use crate::process::Program;

const DEPLOYMENT: &str = "deployment/tray-operator";
/// The operator's command line, and not a mover's.
const PROCESS: &str = "^/usr/local/bin/tray-operator run";
const PODS: &str = "--selector=app.kubernetes.io/name=tray-operator";

/// Stops all its processes, in order, and waits until none is left.
pub fn stop(kube: &Kube) -> Result<()> {
    scale(kube, 0)?;
    kube.run(&[
        "wait",
        "--for=delete",
        "pod",
        PODS,
        "-n",
        NAMESPACE,
        "--timeout=90s",
    ])
    .map(drop)
}

/// Starts as many processes as the chart does by default, and waits until they are available.
pub fn start(kube: &Kube) -> Result<()> {
    scale(kube, 2)?;
    await_available(kube)
}

/// Kills all its processes at once, without a farewell, and waits for their successors in new pods: kubelet would have
/// those of the old ones wait longer each time. A pod that is deleted, by force too, is asked to end first.
pub fn kill(cluster: &Cluster, kube: &Kube) -> Result<()> {
    cluster
        .enter(Program::new("pkill").args(["-KILL", "--full", PROCESS]))
        .run()?;
    kube.run(&[
        "delete",
        "pods",
        PODS,
        "-n",
        NAMESPACE,
        "--force",
        "--grace-period=0",
    ])?;
    await_available(kube)
}

fn scale(kube: &Kube, replicas: u32) -> Result<()> {
    kube.run(&[
        "scale",
        DEPLOYMENT,
        &format!("--replicas={replicas}"),
        "-n",
        NAMESPACE,
    ])
    .map(drop)
}

fn await_available(kube: &Kube) -> Result<()> {
    kube.run(&["rollout", "status", DEPLOYMENT, "-n", NAMESPACE, "--timeout=90s"])
        .map(drop)
}
