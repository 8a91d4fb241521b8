//! Twenty orgs that begin at once.

use std::collections::BTreeSet;
use std::thread;

use serde_json::{Value, json};
use tray_e2e::bucket::Bucket;
use tray_e2e::demo::kube::Kube;
use tray_e2e::{Cluster, examples};

use super::{PATIENCE, region_beside_apac};

/// Small ones: a web server with a volume, in a Region of their own in the same place as `apac`.
pub(crate) fn twenty_first_runs_start_together(cluster: &Cluster, kube: &Kube, bucket: &Bucket) {
    region_beside_apac(cluster, kube, "crowd", &["web"]);
    let names: BTreeSet<String> = (1..=20).map(|number| format!("crowd-{number:02}")).collect();
    let orgs: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": name},
                "spec": {"displayName": name, "regionRef": {"name": "crowd"}, "plan": "Pro"}})
        })
        .collect();
    examples::apply(cluster, &orgs).unwrap();

    let all_good = |list: &Value| {
        let runs = list["items"].as_array()?.iter().filter(|run| of(&names, run));
        let good: Vec<&str> = runs
            .filter(|run| run["status"]["phase"] == "Committed" && run["status"]["verdict"] == "Good")
            .filter_map(org_of)
            .collect();
        (good.len() == names.len()).then_some(())
    };
    kube.wait(
        "not every first run was good",
        PATIENCE,
        &["orgsnapshots"],
        all_good,
    )
    .unwrap();
    // The ledger of each has that one run, and the bucket all of it.
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(move || {
                let runs = bucket.runs(name).unwrap();
                assert!(runs.len() == 1 && runs[0].absent.is_empty(), "{name}: {runs:?}");
                assert_eq!(runs[0].verdict, "Good");
            });
        }
    });
    let snapshots = kube.list(&["orgsnapshots"]).unwrap();
    let of_crowd = snapshots.iter().filter(|run| of(&names, run)).count();
    assert_eq!(of_crowd, names.len(), "{snapshots:#?}");
}

fn org_of(snapshot: &Value) -> Option<&str> {
    snapshot["spec"]["orgRef"]["name"].as_str()
}

fn of(names: &BTreeSet<String>, snapshot: &Value) -> bool {
    org_of(snapshot).is_some_and(|org| names.contains(org))
}
