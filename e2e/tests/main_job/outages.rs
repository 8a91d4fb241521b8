//! A service is away for a minute in the middle of a run. The run ends, well or with a condition that says why; the next one
//! is good; other orgs go on.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tray_e2e::Cluster;
use tray_e2e::demo::kube::{Kube, said};
use tray_e2e::demo::orgs::Org;
use tray_e2e::faults::Faults;

use super::{ACME, GLOBEX, INITECH, PATIENCE};

const MINUTE: Duration = Duration::from_secs(60);

/// S3 where acme's copies lie, and KMS where globex's do.
pub(crate) fn s3_and_kms_are_away_for_a_minute(kube: &Kube, faults: &Faults) {
    for org in [&ACME, &GLOBEX] {
        org.ask_snapshot(kube, &format!("{}-cut-off", org.name)).unwrap();
    }
    for org in [&ACME, &GLOBEX] {
        await_movers(kube, &format!("{}-cut-off", org.name));
    }
    let began = Instant::now();
    let away = [
        faults.take_away("s3-away", "eu-central-1/s3").unwrap(),
        faults.take_away("kms-away", "us-east-2/kms").unwrap(),
    ];
    INITECH.ask_snapshot(kube, "initech-meanwhile").unwrap();
    INITECH.await_snapshot(kube, "initech-meanwhile").unwrap();
    await_minute(began);
    for org in [&ACME, &GLOBEX] {
        let run = kube
            .get(&["orgsnapshot", &format!("{}-cut-off", org.name)])
            .unwrap();
        assert_ne!(run["status"]["phase"], "Pending", "it was copying: {run:#}");
    }
    drop(away);
    for org in [&ACME, &GLOBEX] {
        goes_on(kube, org);
    }
}

/// All requests to it hang, and then are answered.
pub(crate) fn the_api_server_is_away_for_a_minute(cluster: &Cluster, kube: &Kube) {
    ACME.ask_snapshot(kube, "acme-cut-off-too").unwrap();
    await_movers(kube, "acme-cut-off-too");
    let began = Instant::now();
    cluster.signal("kube-apiserver", "STOP").unwrap();
    await_minute(began);
    cluster.signal("kube-apiserver", "CONT").unwrap();
    ended(kube, &ACME, "acme-cut-off-too");
    ACME.ask_snapshot(kube, "acme-after-that").unwrap();
    ACME.await_snapshot(kube, "acme-after-that").unwrap();
}

/// The run that was cut off ends, and the next one is good.
fn goes_on(kube: &Kube, org: &Org) {
    ended(kube, org, &format!("{}-cut-off", org.name));
    let next = format!("{}-after", org.name);
    org.ask_snapshot(kube, &next).unwrap();
    org.await_snapshot(kube, &next).unwrap();
}

/// It is good, or it says whose silence ended it.
fn ended(kube: &Kube, org: &Org, name: &str) {
    let run = org.await_end(kube, name).unwrap();
    let status = &run["status"];
    if status["phase"] == "Committed" {
        assert_eq!(status["verdict"], "Good", "{run:#}");
        return;
    }
    let why = said(&run, "Committed");
    let names_the_service = ["S3", "s3:", "kms:", "KMS", "bucket", "API server"]
        .iter()
        .any(|service| why.contains(service));
    assert!(names_the_service, "{why}");
}

fn await_movers(kube: &Kube, name: &str) {
    let copying = |object: &Value| (object["status"]["phase"] == "Copying").then_some(());
    kube.wait("no mover copied", PATIENCE, &["orgsnapshot", name], copying)
        .unwrap();
}

/// Until the minute is over: its length is the matter itself.
fn await_minute(began: Instant) {
    thread::sleep(MINUTE.saturating_sub(began.elapsed()));
}
