//! Restores of copies that cannot come back: their key is disabled, a pack of theirs is gone.

use serde_json::{Value, json};
use tray_e2e::bucket::Bucket;
use tray_e2e::demo::kube::{Kube, said};

use super::{GLOBEX, PATIENCE};

/// They fail before they touch anything, and say which key or which file of the repository it is; once the copies are whole again the same run comes back.
pub(crate) fn a_restore_that_cannot_be_proven_touches_nothing(kube: &Kube, bucket: &Bucket) {
    GLOBEX.await_ready(kube).unwrap();
    let before = running(kube);

    bucket.disable_key(GLOBEX.name).unwrap();
    let why = why_it_fails(kube, "globex-without-key");
    assert!(why.contains("disabled"), "{why}");
    bucket.enable_key(GLOBEX.name).unwrap();
    assert_eq!(running(kube), before);

    let pack = bucket.delete_pack(GLOBEX.name, "data-db-0").unwrap();
    let why = why_it_fails(kube, "globex-without-pack");
    let name = pack.key.rsplit('/').next().unwrap();
    assert!(why.contains("data-db-0") && why.contains(name), "{why}");
    bucket.undelete(GLOBEX.name, &pack).unwrap();
    assert_eq!(running(kube), before);

    GLOBEX.await_ready(kube).unwrap();
    GLOBEX.restore(kube, "globex-whole-again").unwrap();
    GLOBEX.await_ready(kube).unwrap();
    assert_ne!(running(kube), before, "nothing was restored");
}

/// The reason that a restore of the newest good run fails with.
fn why_it_fails(kube: &Kube, name: &str) -> String {
    kube.create(&json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgRestore", "metadata": {"name": name},
        "spec": {"orgRef": {"name": GLOBEX.name}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}},
    }))
    .unwrap();
    let what = format!("OrgRestore {name} did not fail");
    let restore = kube
        .wait(&what, PATIENCE, &["orgrestore", name], |restore| {
            let phase = restore["status"]["phase"].as_str()?;
            (phase == "Failed").then(|| restore.clone())
        })
        .unwrap();
    said(&restore, "Restored").to_owned()
}

/// UIDs of the org's pods, with how often their containers started anew, and of its claims.
fn running(kube: &Kube) -> Vec<(String, String, u64)> {
    let namespace = GLOBEX.namespace;
    let pods = ["pods", "-n", namespace, "-l", "platform.tray.ai/workload"];
    let objects = [
        kube.list(&pods).unwrap(),
        kube.list(&["pvc", "-n", namespace]).unwrap(),
    ];
    let of = |object: &Value| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        let containers = object["status"]["containerStatuses"].as_array();
        let restarts = containers
            .into_iter()
            .flatten()
            .map(|container| container["restartCount"].as_u64().unwrap())
            .sum();
        (text("name"), text("uid"), restarts)
    };
    objects.iter().flatten().map(of).collect()
}
