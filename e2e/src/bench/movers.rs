//! What a mover takes on a volume of one gibibyte, in its pod: read off its process, as the node sees it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Moved, memory};
use crate::cluster::Cluster;
use crate::demo::kube::Kube;
use crate::error::{Error, Result};
use crate::process::Program;
use crate::progress::Progress;

/// The volume that is filled.
const CLAIM: &str = "data-web-0";
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Fills the web volume of an org with one gibibyte that cannot be compressed, and copies it twice.
pub(super) fn measure(cluster: &Cluster, org: &str, progress: &Progress) -> Result<Vec<Moved>> {
    let kube = Kube::of(cluster)?;
    let status = kube.get(&["trayorg", org])?["status"].clone();
    let namespace = status["namespace"].as_str().unwrap_or_default();
    let folder = kube.folder_of(namespace, CLAIM)?;
    let fill = "for n in $(seq 16); do head -c 67108864 /dev/urandom > \"$1/file-$n\"; done";
    let program = Program::new("sh").args(["-c", fill, "sh", &folder]);
    cluster.enter(program).run()?;
    let mut moved = Vec::new();
    for name in [format!("{org}-gibibyte"), format!("{org}-unchanged")] {
        let copied = copy(&kube, org, &name, &folder)?;
        progress.step(format!(
            "{name} is committed after {:.1} s in its mover",
            copied.seconds
        ));
        moved.push(copied);
    }
    Ok(moved)
}

fn copy(kube: &Kube, org: &str, name: &str, folder: &str) -> Result<Moved> {
    let ended = AtomicBool::new(false);
    let (run, seen) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(folder, &ended));
        let run = take(kube, org, name);
        ended.store(true, Ordering::Relaxed);
        (run, watching.join())
    });
    let run = run?;
    let unseen = || Error::Unexpected {
        what: format!("the mover of {CLAIM} of OrgSnapshot {name}"),
        detail: "no process of it was seen".to_owned(),
    };
    let (seconds, mebibytes) = seen.ok().flatten().ok_or_else(unseen)?;
    Ok(Moved {
        seconds,
        mebibytes,
        bytes_added: run["status"]["bytesAdded"].as_u64().unwrap_or_default(),
    })
}

/// Asks for a run, and awaits its commit.
fn take(kube: &Kube, org: &str, name: &str) -> Result<Value> {
    kube.create(&json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgSnapshot", "metadata": {"name": name},
        "spec": {"orgRef": {"name": org}},
    }))?;
    let what = format!("OrgSnapshot {name} was not committed");
    kube.wait(&what, PATIENCE, &["orgsnapshot", name], |run| {
        (run["status"]["phase"] == "Committed").then(|| run.clone())
    })
}

/// Seconds and MiB of the mover that has `folder` mounted; none where none was seen.
fn watch(folder: &str, ended: &AtomicBool) -> Option<(f64, f64)> {
    let mut seen: BTreeMap<PathBuf, (Instant, Instant, f64)> = BTreeMap::new();
    while !ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        for process in movers(folder) {
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            let Some(size) = memory(&status, "VmHWM:") else {
                continue;
            };
            let of_process = seen.entry(process).or_insert((now, now, size));
            (of_process.1, of_process.2) = (now, size);
        }
        thread::sleep(LOOK);
    }
    let most = seen.into_values().max_by(|a, b| (a.1 - a.0).cmp(&(b.1 - b.0)))?;
    Some(((most.1 - most.0).as_secs_f64(), most.2))
}

/// Processes `tray-operator mover run` that have the volume of that folder.
fn movers(folder: &str) -> Vec<PathBuf> {
    let name = Path::new(folder)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let volume = format!("/{name} ");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .map(|entry| entry.path())
        .filter(|process| {
            // A process that has just ended has no files.
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            let mounts = || fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            command.ends_with(b"mover\0run\0") && mounts().contains(&volume)
        })
        .collect()
}
