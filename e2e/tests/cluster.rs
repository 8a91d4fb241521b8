//! The local cluster comes and goes without a trace, and refuses where it cannot run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::traces::{Traces, members};
use tray_e2e::namespaces::{Namespaces, harness_program};
use tray_e2e::{Cache, Cluster, Program, cgroups, wait};

/// One machine runs one cluster.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing of an earlier run; returns how the machine looks without a cluster.
fn clean_machine() -> Traces {
    Cluster::down(&support::dir()).unwrap();
    tray_e2e::cluster::prepare_cache(&Cache::from_env(), tray_e2e::Progress::start()).unwrap();
    Traces::now()
}

#[test]
fn a_stopped_cluster_leaves_nothing() {
    let _alone = alone();
    let before = clean_machine();
    let cluster = support::start();
    let during = Traces::now().added_since(&before);
    assert!(
        !during.processes.is_empty() && !during.cgroups.is_empty(),
        "the comparison sees a cluster"
    );
    assert_eq!(
        during.interfaces.iter().collect::<Vec<_>>(),
        ["tray-host0"],
        "the one thing on the host"
    );
    assert!(during.mounts.is_empty() && during.tables.is_empty(), "{during:?}");

    Cluster::down(&support::dir()).unwrap();
    assert_eq!(Traces::now().added_since(&before), Traces::none());
    assert!(support::dir().log("kube-apiserver").exists(), "logs stay");
    drop(cluster);
}

#[test]
fn a_killed_harness_leaves_empty_cgroups_at_most_and_the_next_stop_removes_them() {
    let _alone = alone();
    let before = clean_machine();
    let this = std::env::current_exe().unwrap();
    std::fs::create_dir_all(support::dir().logs()).unwrap();
    let mut harness = Program::new(this)
        .args(["--ignored", "--exact", "--nocapture", "hold_a_cluster"])
        .spawn_piped(Path::new("/dev/null"))
        .unwrap();
    let mut said = BufReader::new(harness.stdout.take().unwrap()).lines();
    assert!(
        said.any(|line| line.unwrap().ends_with("held")),
        "the other process has a cluster"
    );
    let namespaces = Namespaces::find(&support::dir()).unwrap();
    assert!(namespaces.is_some());

    harness.kill().unwrap();
    harness.wait().unwrap();
    wait::until(
        "something stayed",
        Duration::from_secs(30),
        Path::new("/proc"),
        || {
            let left = Traces::now().added_since(&before);
            Ok((Traces {
                cgroups: Traces::none().cgroups,
                ..left
            } == Traces::none())
            .then_some(()))
        },
    )
    .unwrap_or_else(|error| panic!("{error}: {:?}", Traces::now().added_since(&before)));
    let left: Vec<_> = cgroups::existing()
        .unwrap()
        .iter()
        .flat_map(|group| members(group))
        .collect();
    assert_eq!(left, [""; 0], "processes in our cgroups");

    Cluster::down(&support::dir()).unwrap();
    assert_eq!(Traces::now().added_since(&before), Traces::none());
}

#[test]
#[ignore = "the process that the test above kills"]
fn hold_a_cluster() {
    let _cluster = support::start();
    println!("\nheld");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_second_cluster_is_refused_and_the_first_one_named() {
    let _alone = alone();
    let _first = support::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let error = harness(elsewhere.path()).run().unwrap_err().to_string();
    let first = support::dir().root().display().to_string();
    assert!(
        error.contains("another cluster runs") && error.contains(&first),
        "{error}"
    );
    assert!(error.contains("make cluster-down"), "{error}");
}

#[test]
fn a_taken_name_of_the_link_is_refused_and_named() {
    let error = refusal_after("ip link add tray-host0 type bridge");
    assert!(
        error.contains("the network interface tray-host0 exists already"),
        "{error}"
    );
    assert!(error.contains("ip link delete tray-host0"), "{error}");
}

#[test]
fn a_taken_subnet_of_the_link_is_refused_and_its_holder_named() {
    let error = refusal_after(
        "ip link add office0 type bridge && ip address add 10.198.0.9/16 dev office0 && ip link set office0 up",
    );
    assert!(
        error.contains("10.198.0.0/30") && error.contains("is taken: 10.198.0.0/16 on office0"),
        "{error}"
    );
}

#[test]
fn without_root_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The checkout may lie where only root can read.
    let program = folder.path().join("tray-e2e");
    std::fs::copy(harness_program().unwrap(), &program).unwrap();
    let nobody = Program::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    let error = up(Program::new(program), folder.path())
        .behind(nobody)
        .run()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("need root") && error.contains("Run it as root"),
        "{error}"
    );
}

/// What `cluster up` says on a machine that looks as `script` makes it. Its changes are those of a network namespace.
fn refusal_after(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let machine = Program::new("unshare").args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
    ]);
    let script = format!("{script} && exec \"$@\"");
    let error = harness(folder.path())
        .behind(machine.arg(script).arg("sh"))
        .run()
        .unwrap_err();
    error.to_string()
}

/// `tray-e2e cluster up` in `folder`.
fn harness(folder: &Path) -> Program {
    up(Program::new(harness_program().unwrap()), folder)
}

fn up(program: Program, folder: &Path) -> Program {
    program
        .args(["cluster", "up", "--dir"])
        .arg(folder.join("cluster"))
}
