//! The Region controller on a real API server, with nodes that are only objects and AWS in memory.

use std::sync::Arc;

use crate::support::{
    api_server::{self, eventually},
    operator::{Operator, Running},
};
use k8s_openapi::{
    api::{core::v1::Node, storage::v1::StorageClass},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tray_api::{
    conditions::{reasons, types},
    region::Region,
};
use tray_ledger::RemoteError;
use tray_operator::controllers::{conditions::find, malformed::MalformedObjects, region::RegionDriver};
use tray_ports::RegionBucket;
use tray_testkit::memory::{Fault, Operation};

/// One test at a time: an operator looks at every Region of the API server, and each has a bucket of its own.
static TURN: Mutex<()> = Mutex::const_new(());

/// A Region of that name in a cloud region of its own, so that tests do not see each other's nodes.
fn region(name: &str, cloud_region: &str) -> Value {
    json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "Region", "metadata": {"name": name},
        "spec": {
            "jurisdiction": "EU", "cloudRegion": cloud_region, "minZones": 1,
            "zones": [format!("{cloud_region}a"), format!("{cloud_region}b")],
            "storage": {"storageClassName": format!("class-{name}")},
            "backup": {
                "bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
                "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/ledger"},
                "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
            },
        },
    })
}

async fn node(name: &str, cloud_region: &str) {
    let nodes: Api<Node> = Api::all(api_server::shared().await.client().await);
    let node: Node = serde_json::from_value(json!({"metadata": {"name": name, "labels": {
        "topology.kubernetes.io/region": cloud_region, "topology.kubernetes.io/zone": format!("{cloud_region}a"),
    }}}))
    .unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    set_ready(name, true).await;
}

async fn set_ready(node: &str, ready: bool) {
    let nodes: Api<Node> = Api::all(api_server::shared().await.client().await);
    let status = if ready { "True" } else { "False" };
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    nodes
        .patch_status(node, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
}

async fn class(region: &str, reclaim_policy: &str) {
    let classes: Api<StorageClass> = Api::all(api_server::shared().await.client().await);
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {"name": format!("class-{region}")}, "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": reclaim_policy,
    }))
    .unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
}

async fn at_work() -> (Operator, Running) {
    let operator = Operator::new().await;
    // The ledger's key is there unless a test takes it away.
    let running = operator
        .start(vec![
            Arc::new(RegionDriver::default()),
            Arc::new(MalformedObjects::default()),
        ])
        .await;
    (operator, running)
}

/// The condition as soon as it has that status and reason; otherwise what there is at the end.
async fn condition(region: &str, type_: &str, status: &str, reason: &str) -> Condition {
    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    let last = std::sync::Mutex::new(None);
    let found = eventually(async || {
        let status_now = regions.get(region).await.ok()?.status?;
        let condition = find(&status_now.conditions, type_)?.clone();
        let reached = condition.status == status && condition.reason == reason;
        *last.lock().unwrap() = Some(condition.clone());
        reached.then_some(condition)
    });
    let found = found.await;
    found.unwrap_or_else(|| {
        panic!(
            "{type_} is not {status}, {reason}, but {:?}",
            last.lock().unwrap()
        )
    })
}

async fn apply(region: &Value) {
    api_server::apply(&api_server::shared().await.client().await, region).await;
}

#[tokio::test]
async fn a_region_becomes_ready_and_costs_nothing_from_then_on() {
    let _turn = TURN.lock().await;
    let (operator, running) = at_work().await;
    class("good", "Retain").await;
    node("good-1", "eu-west-3").await;
    apply(&region("good", "eu-west-3")).await;
    condition("good", types::READY, "True", reasons::AS_SPECIFIED).await;
    condition(
        "good",
        types::BACKUP_LOCATION_VERIFIED,
        "True",
        reasons::BUCKET_VERIFIED,
    )
    .await;
    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    let status = regions.get("good").await.unwrap().status.unwrap();
    assert_eq!((status.nodes, status.orgs), (Some(1), Some(0)));
    assert_eq!(status.zones["eu-west-3a"], 1);
    assert_eq!(status.zones["eu-west-3b"], 0);

    let written = operator.writes();
    operator
        .ctx
        .changes
        .publish(&tray_operator::controllers::changes::Change::Region(
            "good".to_owned(),
        ));
    running.stop().await;
    assert_eq!(operator.writes(), written);
}

#[tokio::test]
async fn nodes_that_fail_and_a_status_edited_by_hand_show_and_are_corrected() {
    let _turn = TURN.lock().await;
    let (_operator, running) = at_work().await;
    class("nodes", "Retain").await;
    apply(&region("nodes", "eu-north-1")).await;
    condition("nodes", types::NODES_AVAILABLE, "False", reasons::NO_NODES).await;
    node("nodes-1", "eu-north-1").await;
    condition("nodes", types::READY, "True", reasons::AS_SPECIFIED).await;
    set_ready("nodes-1", false).await;
    condition("nodes", types::READY, "False", reasons::NODES_NOT_READY).await;
    condition("nodes", types::ZONES_AVAILABLE, "False", reasons::TOO_FEW_ZONES).await;
    set_ready("nodes-1", true).await;
    condition("nodes", types::READY, "True", reasons::AS_SPECIFIED).await;

    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    let lie = json!({"status": {"nodes": 99, "conditions": []}});
    regions
        .patch_status("nodes", &PatchParams::default(), &Patch::Merge(lie))
        .await
        .unwrap();
    condition("nodes", types::READY, "True", reasons::AS_SPECIFIED).await;
    let status = regions.get("nodes").await.unwrap().status.unwrap();
    assert_eq!(status.nodes, Some(1));
    running.stop().await;
}

#[tokio::test]
async fn a_storage_class_that_is_missing_or_deletes_volumes_stalls_a_region() {
    let _turn = TURN.lock().await;
    let (_operator, running) = at_work().await;
    node("storage-1", "eu-south-1").await;
    apply(&region("storage", "eu-south-1")).await;
    let missing = condition("storage", types::STALLED, "True", reasons::STORAGE_CLASS_MISSING).await;
    assert!(missing.message.contains("class-storage"), "{}", missing.message);
    class("storage", "Delete").await;
    condition(
        "storage",
        types::STALLED,
        "True",
        reasons::STORAGE_CLASS_NOT_RETAINED,
    )
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_bucket_in_the_region_itself_is_refused_and_a_changed_spec_is_asked_about_at_once() {
    let _turn = TURN.lock().await;
    let (operator, running) = at_work().await;
    class("same", "Retain").await;
    node("same-1", "eu-south-2").await;
    let store = &operator.regions.store;
    let mut facts = store.facts("").await.unwrap();
    let good = facts.clone();
    facts.cloud_region = "eu-south-2".to_owned();
    store.set_facts(facts);
    apply(&region("same", "eu-south-2")).await;
    let refused = condition(
        "same",
        types::BACKUP_LOCATION_VERIFIED,
        "False",
        reasons::BUCKET_IN_OWN_REGION,
    )
    .await;
    for part in ["eu-south-2", "spec.cloudRegion", "spec.backup.bucket"] {
        assert!(refused.message.contains(part), "{}", refused.message);
    }
    condition("same", types::READY, "False", reasons::BUCKET_IN_OWN_REGION).await;

    store.set_facts(good);
    let mut changed = region("same", "eu-south-2");
    changed["spec"]["backup"]["prefix"] = "orgs/".into();
    apply(&changed).await;
    condition("same", types::READY, "True", reasons::AS_SPECIFIED).await;
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_refuses_is_said_and_one_that_is_silent_decides_nothing() {
    let _turn = TURN.lock().await;
    let (operator, running) = at_work().await;
    class("denied", "Retain").await;
    node("denied-1", "eu-west-1").await;
    let denied = RemoteError::Denied("s3:ListBucket on s3://tray-backups-eu/ is refused".to_owned());
    operator
        .regions
        .store
        .fail_next(Operation::Facts, Fault::Refused(denied));
    apply(&region("denied", "eu-west-1")).await;
    let found = condition("denied", types::READY, "False", reasons::BUCKET_ACCESS_DENIED).await;
    assert!(found.message.contains("s3:ListBucket"), "{}", found.message);

    let silent = RemoteError::Unavailable("no answer from s3".to_owned());
    operator
        .regions
        .store
        .fail_next(Operation::Facts, Fault::Refused(silent));
    let mut changed = region("denied", "eu-west-1");
    changed["spec"]["backup"]["prefix"] = "orgs/".into();
    apply(&changed).await;
    let found = condition(
        "denied",
        types::BACKUP_LOCATION_VERIFIED,
        "Unknown",
        reasons::RETRYING,
    )
    .await;
    assert!(found.message.contains("no answer from s3"), "{}", found.message);
    running.stop().await;
}

#[tokio::test]
async fn a_bucket_that_keeps_what_is_removed_is_told_of_and_keeps_no_region_from_being_ready() {
    let _turn = TURN.lock().await;
    let (operator, running) = at_work().await;
    class("hard", "Retain").await;
    node("hard-1", "eu-west-1").await;
    let store = &operator.regions.store;
    let good = store.facts("").await.unwrap();
    let mut flawed = good.clone();
    (flawed.noncurrent_days, flawed.mfa_delete) = (None, true);
    store.set_facts(flawed);
    apply(&region("hard", "eu-west-1")).await;
    let hardened = types::BACKUP_LOCATION_HARDENED;
    let found = condition("hard", hardened, "False", reasons::BUCKET_NOT_HARDENED).await;
    for remedy in ["NoncurrentDays 30", "MFADelete=Disabled"] {
        assert!(found.message.contains(remedy), "{}", found.message);
    }
    condition("hard", types::READY, "True", reasons::AS_SPECIFIED).await;
    let verified = types::BACKUP_LOCATION_VERIFIED;
    condition("hard", verified, "True", reasons::BUCKET_VERIFIED).await;

    store.set_facts(good);
    let mut changed = region("hard", "eu-west-1");
    changed["spec"]["backup"]["prefix"] = "orgs/".into();
    apply(&changed).await;
    condition("hard", hardened, "True", reasons::AS_SPECIFIED).await;
    condition("hard", types::READY, "True", reasons::AS_SPECIFIED).await;
    running.stop().await;
}

#[tokio::test]
async fn a_ledger_key_that_cannot_be_used_is_named() {
    let _turn = TURN.lock().await;
    let (operator, running) = at_work().await;
    let disabled = RemoteError::Unusable("the KMS key is disabled: enable it".to_owned());
    operator.regions.keys.set_failure(Some(disabled));
    class("key", "Retain").await;
    apply(&region("key", "eu-west-1")).await;
    let found = condition("key", types::STALLED, "True", reasons::LEDGER_KEY_UNUSABLE).await;
    for part in ["spec.backup.kms.ledgerKeyArn", "enable it"] {
        assert!(found.message.contains(part), "{}", found.message);
    }
    running.stop().await;
}

#[tokio::test]
async fn p17_a_log_location_is_judged_apart_and_keeps_no_org_from_running() {
    let _turn = TURN.lock().await;
    let (operator, running) = at_work().await;
    class("logs", "Retain").await;
    node("logs-1", "eu-west-1").await;
    let logs = &operator.regions.logs;
    let good = logs.facts("").await.unwrap();
    let mut elsewhere = good.clone();
    elsewhere.cloud_region = "us-east-2".to_owned();
    logs.set_facts(elsewhere);
    let mut region = region("logs", "eu-west-1");
    region["spec"]["logLocation"] = json!({"bucket": "tray-logs-eu"});
    apply(&region).await;
    let found = condition(
        "logs",
        types::LOG_LOCATION_VERIFIED,
        "False",
        reasons::BUCKET_REGION_DIFFERS,
    )
    .await;
    for part in ["us-east-2", "eu-west-1", "spec.logLocation.bucket"] {
        assert!(found.message.contains(part), "{}", found.message);
    }
    condition("logs", types::READY, "True", reasons::AS_SPECIFIED).await;

    logs.set_facts(good);
    region["spec"]["logLocation"]["prefix"] = "platform/".into();
    apply(&region).await;
    condition(
        "logs",
        types::LOG_LOCATION_VERIFIED,
        "True",
        reasons::BUCKET_VERIFIED,
    )
    .await;
    running.stop().await;
}
