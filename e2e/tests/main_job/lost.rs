//! Claims deleted with what they held: Kubernetes makes empty ones of the same names.

use serde_json::{Value, json};
use tray_e2e::bucket::Bucket;
use tray_e2e::demo::database::Commits;
use tray_e2e::demo::kube::{Kube, said};
use tray_e2e::demo::{Steps, loss};
use tray_e2e::{Progress, examples};

use super::{ACME, Cluster, GLOBEX, PATIENCE};

/// Nothing is copied until the data is back, and all of it comes back.
pub(crate) fn lost_volumes_are_restored_and_never_copied_empty(
    cluster: &Cluster,
    kube: &Kube,
    bucket: &Bucket,
    commits: &Commits,
) {
    ACME.await_ready(kube).unwrap();
    let mut steps = Steps::start(Progress::start());
    let held = loss::lose(kube, &ACME, commits, &mut steps).unwrap();
    assert!(held.rows.count > 0, "{held:?}");
    no_run_is_made(cluster, kube, bucket);
    loss::bring_back(kube, &ACME, held, &mut steps).unwrap();
    ACME.await_ready(kube).unwrap();
    let org = kube.get(&["trayorg", ACME.name]).unwrap();
    assert_eq!(org["status"]["backup"]["rto"]["verdict"], "Estimated");
    // What was asked for meanwhile is done now, of full volumes.
    let run = ACME.await_snapshot(kube, "acme-lost").unwrap();
    assert!(run.files > 100, "{run:?}");
}

/// Neither when a person asks, nor when a slot of the schedule passes.
fn no_run_is_made(cluster: &Cluster, kube: &Kube, bucket: &Bucket) {
    let runs = || -> Vec<String> {
        let runs = bucket.runs(ACME.name).unwrap();
        runs.into_iter().map(|run| run.run_id).collect()
    };
    let before = runs();
    ACME.ask_snapshot(kube, "acme-lost").unwrap();
    let told = |snapshot: &Value| {
        said(snapshot, "Committed")
            .contains("lost its data")
            .then_some(())
    };
    let what = "the run that was asked for does not say what it waits for";
    kube.wait(what, PATIENCE, &["orgsnapshot", "acme-lost"], told)
        .unwrap();

    let scheduled: Vec<String> = names_of_scheduled(kube, GLOBEX.name);
    let every_minute = json!({"spec": {"schedule": "* * * * *", "windowMinutes": 0}}).to_string();
    kube.run(&[
        "patch",
        "backupschedule",
        "standard",
        "--type=merge",
        "-p",
        &every_minute,
    ])
    .unwrap();
    let of_acme = names_of_scheduled(kube, ACME.name);
    kube.wait("no slot passed", PATIENCE, &["orgsnapshots"], |list| {
        let committed = list["items"].as_array()?.iter().any(|run| {
            is_scheduled(run, GLOBEX.name)
                && run["status"]["phase"] == "Committed"
                && !scheduled.iter().any(|name| run["metadata"]["name"] == **name)
        });
        committed.then_some(())
    })
    .unwrap();
    assert_eq!(names_of_scheduled(kube, ACME.name), of_acme);
    assert_eq!(runs(), before);
    examples::apply_platform(cluster).unwrap();
}

fn names_of_scheduled(kube: &Kube, org: &str) -> Vec<String> {
    let snapshots = kube.list(&["orgsnapshots"]).unwrap();
    let scheduled = snapshots.iter().filter(|run| is_scheduled(run, org));
    scheduled
        .map(|run| run["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn is_scheduled(snapshot: &Value, org: &str) -> bool {
    let spec = &snapshot["spec"];
    spec["orgRef"]["name"] == org && spec["origin"] == "Schedule"
}
