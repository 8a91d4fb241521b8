//! The operator killed at every arrow of a run: plan → hooks → Jobs → records → commit → cleaned up.
//!
//! The stand-in holds a request of the operator, or of a mover, for as long as it takes to kill the operator: so each time
//! it dies exactly there. What was on its way arrives after its death, as it may in the real world.

use serde_json::{Value, json};
use tray_e2e::Cluster;
use tray_e2e::bucket::Bucket;
use tray_e2e::demo::kube::Kube;
use tray_e2e::faults::Faults;
use tray_e2e::operator;

use super::{ACME, PATIENCE};

/// Nothing twice, nothing lost, nothing empty: both runs are committed once and good, and no mover is left.
pub(crate) fn the_operator_dies_at_every_arrow_of_a_run(
    cluster: &Cluster,
    kube: &Kube,
    bucket: &Bucket,
    faults: &Faults,
) {
    let ledger = format!("v1/ledger/{}/", ACME.id(kube).unwrap());
    let once = |path: &str, what: Value| json!({"method": "PUT", "path": path, "times": 1, "do": what});

    // The plan is on its way into the ledger.
    let plan = faults
        .set("plan-on-its-way", once(&ledger, json!({"hang": 3})))
        .unwrap();
    ACME.ask_snapshot(kube, "acme-survives").unwrap();
    plan.await_taken().unwrap();
    operator::kill(cluster, kube).unwrap();
    give_lease_back(kube);
    // The hooks run.
    await_phase(kube, "acme-survives", &["Hooks", "Copying"]);
    operator::kill(cluster, kube).unwrap();
    give_lease_back(kube);
    // The Jobs are made; the record of one part is on its way into the bucket.
    let record = faults
        .set(
            "record-on-its-way",
            once("/parts/data-web-0/", json!({"hang": 3})),
        )
        .unwrap();
    kube.wait(
        "no mover was made",
        PATIENCE,
        &["jobs", "-n", ACME.namespace],
        |jobs| {
            jobs["items"]
                .as_array()
                .is_some_and(|jobs| !jobs.is_empty())
                .then_some(())
        },
    )
    .unwrap();
    operator::kill(cluster, kube).unwrap();
    give_lease_back(kube);
    record.await_taken().unwrap();
    // Nothing is written to the ledger between the Jobs and the commit.
    let commit = faults
        .set("commit-on-its-way", once(&ledger, json!({"hang": 3})))
        .unwrap();
    operator::kill(cluster, kube).unwrap();
    give_lease_back(kube);
    commit.await_taken().unwrap();
    operator::kill(cluster, kube).unwrap();
    ACME.await_snapshot(kube, "acme-survives").unwrap();

    // The plan is in the ledger, and its writer dies before it knows.
    let plan = faults
        .set("plan-arrived", once(&ledger, json!({"late": 3})))
        .unwrap();
    ACME.ask_snapshot(kube, "acme-survives-too").unwrap();
    plan.await_taken().unwrap();
    operator::kill(cluster, kube).unwrap();
    give_lease_back(kube);
    // So is the commit, and nobody has cleaned up.
    await_phase(kube, "acme-survives-too", &["Copying"]);
    let commit = faults
        .set("commit-arrived", once(&ledger, json!({"late": 3})))
        .unwrap();
    commit.await_taken().unwrap();
    operator::kill(cluster, kube).unwrap();
    ACME.await_snapshot(kube, "acme-survives-too").unwrap();

    let runs = bucket.runs(ACME.name).unwrap();
    for name in ["acme-survives", "acme-survives-too"] {
        let of_name: Vec<_> = runs.iter().filter(|run| run.report.name == name).collect();
        let [run] = &of_name[..] else {
            panic!("{of_name:?}");
        };
        assert!(run.absent.is_empty() && run.verdict == "Good", "{run:?}");
        assert!(run.report.files > 100 && run.report.objects >= 2, "{run:?}");
    }
    no_mover_is_left(kube);
}

fn await_phase(kube: &Kube, snapshot: &str, phases: &[&str]) {
    let reached = |object: &Value| {
        let phase = object["status"]["phase"].as_str()?;
        assert!(!matches!(phase, "Committed" | "Failed"), "{object:#}");
        phases.contains(&phase).then_some(())
    };
    kube.wait(
        "the run stood still",
        PATIENCE,
        &["orgsnapshot", snapshot],
        reached,
    )
    .unwrap();
}

/// The Lease of a process that was killed runs out by itself; here it is not waited for each time.
fn give_lease_back(kube: &Kube) {
    let nobody = r#"{"spec": {"holderIdentity": null}}"#;
    kube.run(&[
        "patch",
        "lease",
        "tray-operator",
        "-n",
        "tray-system",
        "--type=merge",
        "-p",
        nobody,
    ])
    .unwrap();
}

fn no_mover_is_left(kube: &Kube) {
    kube.wait(
        "movers are left",
        PATIENCE,
        &["jobs", "-n", ACME.namespace],
        |jobs| jobs["items"].as_array().is_some_and(Vec::is_empty).then_some(()),
    )
    .unwrap();
}
