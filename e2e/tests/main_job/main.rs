//! The main job on the real cluster: place, refuse, repair, snapshot under a writer, prune, lose, restore; and what must
//! never happen on the way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod crowd;
mod emptied;
mod lost;
mod missing;
mod outages;
#[path = "../support/mod.rs"]
mod support;
mod survival;
mod unproven;
mod unreadable;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tray_e2e::bucket::Bucket;
use tray_e2e::demo::database::Commits;
use tray_e2e::demo::kube::Kube;
use tray_e2e::demo::orgs::{self, ORGS, Org};
use tray_e2e::demo::{aged, keys, support as staff};
use tray_e2e::faults::Faults;
use tray_e2e::paths::workspace;
use tray_e2e::{Cluster, Progress, aws, examples, install, operator};

const ACME: Org = ORGS[0];
const GLOBEX: Org = ORGS[1];
const INITECH: Org = ORGS[2];
const PATIENCE: Duration = Duration::from_secs(300);
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// One scenario after the other on one cluster: each needs the org as the one before left it.
#[test]
fn an_org_is_placed_copied_lost_and_restored() {
    let cluster = support::start();
    let kube = Kube::of(&cluster).unwrap();
    cluster
        .helm(["lint", "--strict"])
        .arg(workspace().join("charts/tray-operator"))
        .run()
        .unwrap();
    install::install(&cluster, Progress::start()).unwrap();
    orgs::apply_examples(&cluster).unwrap();
    let applied = Instant::now();
    for org in &ORGS {
        org.await_ready(&kube).unwrap();
    }
    every_pod_runs_in_its_region(&kube);
    a_pod_elsewhere_is_refused(&kube);
    an_edited_child_is_put_back(&kube);
    p17_support_enters_only_while_the_org_says_so(&cluster, &kube);
    p10_a_workload_reads_for_how_long_logs_are_kept(&kube);
    let commits = a_snapshot_under_a_writer(&cluster, &kube);
    let (bucket, faults) = (Bucket::of(&cluster).unwrap(), Faults::of(cluster.dir()));
    p24_another_orgs_key_opens_nothing(&kube, &bucket);
    // Before any run failed: nothing is swept yet, so that the next entry of the ledger is the run's.
    survival::the_operator_dies_at_every_arrow_of_a_run(&cluster, &kube, &bucket, &faults);
    unreadable::a_file_that_cannot_be_read_fails_the_run_and_is_named(&cluster, &kube);
    emptied::an_emptied_volume_counts_once_a_person_accepts_it(&cluster, &kube);
    unproven::a_restore_that_cannot_be_proven_touches_nothing(&kube, &bucket);
    // While two services of two regions are away, twenty orgs of the third begin, and one that lacks something.
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd::twenty_first_runs_start_together(&cluster, &kube, &bucket));
        let missing =
            scope.spawn(|| missing::an_image_and_a_secret_that_are_not_there_are_named(&cluster, &kube));
        outages::s3_and_kms_are_away_for_a_minute(&kube, &faults);
        crowd.join().unwrap();
        missing.join().unwrap();
    });
    outages::the_api_server_is_away_for_a_minute(&cluster, &kube);
    p7_a_run_of_15_days_ago_is_pruned(&kube, &bucket);
    the_same_runs_are_shown_after_all_snapshots_were_deleted(&kube, &bucket);
    lost::lost_volumes_are_restored_and_never_copied_empty(&cluster, &kube, &bucket, &commits);
    the_examples_do_not_drift(&cluster, &kube, applied);
    assert_eq!(aws::root_requests(cluster.dir()).unwrap(), Vec::<String>::new());
}

/// Region `name` in the place of `apac`, with those of its workloads, once it is Ready.
fn region_beside_apac(cluster: &Cluster, kube: &Kube, name: &str, workloads: &[&str]) {
    let mut regions = examples::regions(cluster).unwrap();
    let mut region = regions.pop().unwrap();
    assert_eq!(region["metadata"]["name"], "apac");
    region["metadata"]["name"] = json!(name);
    let all = region["spec"]["workloads"].as_array_mut().unwrap();
    all.retain(|workload| workloads.iter().any(|kept| workload["name"] == *kept));
    examples::apply(cluster, &[region]).unwrap();
    examples::await_ready(kube, "region", Some(name), PATIENCE).unwrap();
}

fn every_pod_runs_in_its_region(kube: &Kube) {
    for org in &ORGS {
        let report = org.report(kube).unwrap();
        assert_eq!(report.pods.len(), 2);
        for pod in &report.pods {
            assert_eq!(pod.node_region, report.cloud_region, "{}", pod.name);
        }
    }
}

fn a_pod_elsewhere_is_refused(kube: &Kube) {
    let refusal = orgs::try_wrong_region(kube, &ACME).unwrap();
    assert!(
        refusal.contains("spec.nodeSelector must hold topology.kubernetes.io/region: 'eu-west-1'"),
        "{refusal}"
    );
}

fn an_edited_child_is_put_back(kube: &Kube) {
    let namespace = ACME.namespace;
    kube.run(&["scale", "statefulset/web", "--replicas=0", "-n", namespace])
        .unwrap();
    kube.run(&["delete", "service", "db", "-n", namespace]).unwrap();
    kube.wait(
        "web was not scaled back",
        PATIENCE,
        &["statefulset", "web", "-n", namespace],
        |set| (set["spec"]["replicas"] == 1 && set["status"]["availableReplicas"] == 1).then_some(()),
    )
    .unwrap();
    kube.wait(
        "the Service was not made again",
        PATIENCE,
        &["service", "db", "-n", namespace],
        |_| Some(()),
    )
    .unwrap();
    ACME.await_ready(kube).unwrap();
}

/// Leaves support in: what follows is done by it.
fn p17_support_enters_only_while_the_org_says_so(cluster: &Cluster, kube: &Kube) {
    let enter = || kube.exec(ACME.namespace, "web-0", &["true"]);
    assert!(enter().is_err(), "support enters an org that did not let it in");
    staff::let_in(cluster, kube, &ACME).unwrap();
    enter().unwrap();
    let refusal = staff::put_out(cluster, kube, &ACME).unwrap();
    assert!(refusal.contains("orbidden"), "{refusal}");
    staff::let_in(cluster, kube, &ACME).unwrap();
}

fn p10_a_workload_reads_for_how_long_logs_are_kept(kube: &Kube) {
    let read = |file: &str| {
        let path = format!("/etc/tray/execution-logs/{file}");
        kube.exec(ACME.namespace, "web-0", &["cat", &path]).unwrap()
    };
    let files = ["mode", "visibleHours", "keptHours"].map(read);
    assert_eq!(files, ["Visible", "720", "720"], "acme has plan Enterprise");
}

fn a_snapshot_under_a_writer(cluster: &Cluster, kube: &Kube) -> Commits {
    ACME.first_snapshot(kube).unwrap();
    let database = ACME.database(kube);
    database.fill().unwrap();
    ACME.fill_web(kube, 4).unwrap();
    ACME.make_foreign_objects(kube).unwrap();
    let writer = database.start_writer(&cluster.dir().log("writer")).unwrap();
    ACME.ask_snapshot(kube, "acme-written").unwrap();
    let first = ACME.await_snapshot(kube, "acme-written").unwrap();
    ACME.ask_snapshot(kube, "acme-again").unwrap();
    let second = ACME.await_snapshot(kube, "acme-again").unwrap();
    let commits = writer.stop().unwrap();
    assert!(first.files > 100 && first.objects >= 2, "{first:?}");
    assert_eq!(first.bucket_region, "eu-central-1");
    // The writer adds the more the longer they take. Of what was there before, little is copied again.
    let written = second.bytes_read.saturating_sub(first.bytes_read);
    assert!(
        second.bytes_added < written + first.bytes_added / 2,
        "{first:?} then {second:?}"
    );
    commits
}

fn p24_another_orgs_key_opens_nothing(kube: &Kube, bucket: &Bucket) {
    GLOBEX.first_snapshot(kube).unwrap();
    let tried = keys::try_foreign_key(bucket, &ACME, &GLOBEX, "eu-west-1").unwrap();
    assert_eq!(tried.bucket_region, "eu-central-1");
    assert!(tried.objects > 5, "{tried:?}");
}

fn p7_a_run_of_15_days_ago_is_pruned(kube: &Kube, bucket: &Bucket) {
    let pruned = aged::prune_aged_runs(kube, bucket, &[ACME]).unwrap();
    assert!(pruned[0].pruned && pruned[0].files > 100, "{pruned:?}");
    // It is no run of the org any more, and was never its newest.
    ACME.await_ready(kube).unwrap();
}

fn shown(kube: &Kube) -> Vec<(String, Value)> {
    let mut shown: Vec<(String, Value)> = kube
        .list(&["orgsnapshots"])
        .unwrap()
        .into_iter()
        .map(|object| {
            let status = &object["status"];
            let of = |field: &str| status[field].clone();
            (
                object["spec"]["orgRef"]["name"].as_str().unwrap().to_owned(),
                json!([
                    of("runId"),
                    of("phase"),
                    of("verdict"),
                    of("manifestDigest"),
                    of("consistencyPoint")
                ]),
            )
        })
        .collect();
    shown.sort_by_key(|(org, status)| (org.clone(), status.to_string()));
    shown
}

fn the_same_runs_are_shown_after_all_snapshots_were_deleted(kube: &Kube, bucket: &Bucket) {
    let in_ledgers = || ORGS.map(|org| bucket.runs(org.name).unwrap().len());
    for org in &ORGS {
        org.first_snapshot(kube).unwrap();
    }
    what_was_asked_for_is_deleted(kube);
    let (before, recorded) = (shown(kube), in_ledgers());
    operator::stop(kube).unwrap();
    kube.run(&["delete", "orgsnapshots", "--all"]).unwrap();
    operator::start(kube).unwrap();
    let mut after = Vec::new();
    let same = kube.wait(
        "the same runs are not shown again",
        PATIENCE,
        &["orgsnapshots"],
        |_| {
            after = shown(kube);
            (after == before).then_some(())
        },
    );
    assert!(same.is_ok(), "{before:#?}\nbecame\n{after:#?}");
    // What it had begun by itself would come before what it is asked for.
    let later = |org: &Org| format!("{}-later", org.name);
    for org in &ORGS {
        org.ask_snapshot(kube, &later(org)).unwrap();
    }
    for org in &ORGS {
        org.await_snapshot(kube, &later(org)).unwrap();
    }
    assert_eq!(in_ledgers(), recorded.map(|runs| runs + 1));
}

/// The operator keeps what people made: without it only what it shows by itself is there.
fn what_was_asked_for_is_deleted(kube: &Kube) {
    let is_asked_for = |snapshot: &Value| snapshot["spec"]["origin"] == "Request";
    for snapshot in kube
        .list(&["orgsnapshots"])
        .unwrap()
        .iter()
        .filter(|s| is_asked_for(s))
    {
        let name = snapshot["metadata"]["name"].as_str().unwrap();
        kube.run(&["delete", "orgsnapshot", name]).unwrap();
    }
    let point =
        |org: Org| kube.get(&["trayorg", org.name]).unwrap()["status"]["backup"]["consistencyPoint"].clone();
    let points = ORGS.map(|org| (org.name, point(org)));
    kube.wait(
        "the newest runs are not shown",
        PATIENCE,
        &["orgsnapshots"],
        |list| {
            let all = list["items"].as_array()?;
            let is_told = all
                .iter()
                .all(|s| !is_asked_for(s) && s["status"]["phase"].is_string());
            let has_newest = points.iter().all(|(org, point)| {
                all.iter()
                    .any(|s| s["spec"]["orgRef"]["name"] == *org && s["status"]["consistencyPoint"] == *point)
            });
            (is_told && has_newest).then_some(())
        },
    )
    .unwrap();
}

/// All that happened to the orgs since they were applied leaves nothing to apply.
fn the_examples_do_not_drift(cluster: &Cluster, kube: &Kube, applied: Instant) {
    for org in &ORGS {
        org.await_ready(kube).unwrap();
        // What changes by itself a while later has done so.
        let what = "five minutes have not passed";
        kube.wait(what, 2 * FIVE_MINUTES, &["trayorg", org.name], |_| {
            (applied.elapsed() >= FIVE_MINUTES).then_some(())
        })
        .unwrap();
    }
    let mut items = examples::platform(cluster).unwrap();
    items.extend(orgs::manifests(cluster).unwrap());
    let manifests = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let kubectl = |verb: &str| cluster.kubectl([verb, "--filename=-"]).input(manifests.clone());
    // It fails where there is a difference.
    assert_eq!(kubectl("diff").run().unwrap(), "");
    let said = kubectl("apply").run().unwrap();
    assert!(said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
}
