//! A staging Region over the bucket of production: what customers put into production is of no use there.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, eventually},
    operator::Operator,
    runs::{self, LEDGER_KEY},
};
use tray_api::{orgrestore::OrgRestore, region::Region, trayorg::TrayOrg};
use tray_domain::{
    ids::{OrgId, RunId},
    ledger::LedgerState,
    run_plan,
    stage::Stage,
};
use tray_operator::controllers::backup::BackupDriver;

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

async fn apply(object: &Value) {
    api_server::apply(&api_server::shared().await.client().await, object).await;
}

/// Staging Regions with the bucket that production has.
async fn staging(names: &[&str]) {
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}})).await;
    apply(&object("RetentionPolicy", "standard", &json!({}))).await;
    let suspended = json!({"schedule": "0 */12 * * *", "suspend": true});
    apply(&object("BackupSchedule", "standard", &suspended)).await;
    let region = json!({
        "jurisdiction": "EU", "cloudRegion": "eu-south-1", "stage": "NonProduction", "minZones": 1,
        "zones": ["eu-south-1a"], "storage": {"storageClassName": "org-encrypted"},
        "backup": {"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
            "kms": {"ledgerKeyArn": LEDGER_KEY}},
    });
    for name in names {
        apply(&object("Region", name, &region)).await;
    }
}

/// An org that is placed, as the TrayOrg controller places one.
async fn place(name: &str, id: &OrgId, region: &str) {
    let namespace = format!("org-{name}-{}", &id.as_str()[..8]);
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
    let spec = json!({"orgId": id, "plan": "Team", "regionRef": {"name": region}});
    apply(&object("TrayOrg", name, &spec)).await;
    let status = json!({"status": {"orgId": id, "namespace": namespace,
        "region": {"name": region, "jurisdiction": "EU", "cloudRegion": "eu-south-1"}}});
    let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
    orgs.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

/// A good run in the org's ledger, an hour old, taken in a Region of that stage.
async fn seed(operator: &Operator, id: &OrgId, stage: Stage) {
    let at: Timestamp = operator.ctx.now() - SignedDuration::from_hours(1);
    let run_id = RunId::of(at, id.as_str());
    let plan = run_plan::plan(run_id, "taken-before", None, &[]);
    let ledger = runs::begun(operator, id, at).await;
    runs::commit(&ledger, plan, stage, at).await;
}

async fn entries(operator: &Operator, id: &OrgId) -> LedgerState {
    (*runs::ledger(operator, id).await.state()).clone()
}

/// The restore as soon as its status has what is `wanted`.
async fn restored(name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    let found = eventually(async || {
        let restore = serde_json::to_value(restores.get(name).await.ok()?).ok()?;
        wanted(&restore["status"]).then_some(restore)
    });
    match found.await {
        Some(restore) => restore,
        None => panic!("{:#?}", restores.get(name).await),
    }
}

/// One operator for both: two of them would work on each other's orgs.
async fn p8_no_snapshot_is_taken_into_a_bucket_that_lies_elsewhere(operator: &Operator) {
    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    let verdict = |status: &str, reason: &str| {
        Patch::Merge(
            json!({"status": {"conditions": [{"type": "BackupLocationVerified", "status": status,
            "reason": reason, "message": "bucket b lies in us-east-1", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
        )
    };
    let elsewhere = verdict("False", "BucketOutsideJurisdiction");
    regions
        .patch_status("moved", &PatchParams::default(), &elsewhere)
        .await
        .unwrap();
    let id: OrgId = "33333333-3333-4333-8333-333333333333".parse().unwrap();
    place("moved", &id, "moved").await;
    apply(&object(
        "OrgSnapshot",
        "wanted",
        &json!({"orgRef": {"name": "moved"}}),
    ))
    .await;
    let told = eventually(async || {
        let view = operator.ctx.board.backups.get(&id)?;
        (view.healthy.reason == "BackupOutsideRegion").then_some(view.healthy.message.clone())
    });
    let message = told.await.expect("nothing is said of it");
    assert!(message.contains("bucket b lies in us-east-1"), "{message}");
    assert!(entries(operator, &id).await.runs.is_empty());

    let good = verdict("True", "BucketVerified");
    regions
        .patch_status("moved", &PatchParams::default(), &good)
        .await
        .unwrap();
    let begun = eventually(async || (!entries(operator, &id).await.runs.is_empty()).then_some(()));
    assert!(begun.await.is_some(), "no run begins though the bucket is back");
}

#[tokio::test]
async fn p20_what_was_snapshotted_in_production_is_neither_restored_nor_touched_in_staging() {
    let operator = Operator::new().await;
    staging(&["staging", "moved"]).await;
    let production: OrgId = "11111111-1111-4111-8111-111111111111".parse().unwrap();
    let tests: OrgId = "22222222-2222-4222-8222-222222222222".parse().unwrap();
    seed(&operator, &production, Stage::Production).await;
    seed(&operator, &tests, Stage::NonProduction).await;
    let before = entries(&operator, &production).await;
    for (name, id) in [("acme", &production), ("trial", &tests)] {
        place(name, id, "staging").await;
        let restore =
            json!({"orgRef": {"name": name}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}});
        apply(&object("OrgRestore", name, &restore)).await;
    }
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;

    let refused = restored("acme", |status| status["conditions"].is_array()).await;
    let said = refused["status"]["conditions"].to_string();
    assert!(
        said.contains("ProductionData") && said.contains("spec.stage of Region staging"),
        "{said}"
    );
    assert_eq!(refused["status"].get("runId"), None);
    // What was taken where it may go is restored.
    restored("trial", |status| status["runId"].is_string()).await;
    p8_no_snapshot_is_taken_into_a_bucket_that_lies_elsewhere(&operator).await;
    running.stop().await;
    assert_eq!(
        entries(&operator, &production).await,
        before,
        "nothing was written into the ledger"
    );
}
