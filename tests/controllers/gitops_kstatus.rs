//! How objects of our kinds fare to whoever waits for them by kstatus, as Flux does: by Flux's own module.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use kube::Client;
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    flux::{self, RunVerdict},
    operator::{Operator, Running},
    orgs,
};
use tray_api::{backup_schedule::BackupSchedule, retention_policy::RetentionPolicy};
use tray_operator::controllers::{
    Driver, backup::BackupDriver, org::OrgDriver, reference_counts::ReferenceCountDriver,
    region::RegionDriver, support::SupportDriver,
};

/// One of every kind that people apply, and what becomes of it: orgs as they should be, and what names something that is
/// not there.
fn objects() -> Vec<(Value, &'static str)> {
    let mut access = orgs::object(
        "SupportAccess",
        "nowhere",
        &json!({"subjects": [{"kind": "Group", "name": "support"}], "role": "View", "durationHours": 1,
            "reason": "a question"}),
    );
    access["metadata"]["namespace"] = "default".into();
    vec![
        (orgs::object("RetentionPolicy", "standard", &json!({})), "Current"),
        (
            orgs::object("BackupSchedule", "standard", &json!({"schedule": "0 */12 * * *"})),
            "Current",
        ),
        (
            orgs::object("BackupSchedule", "never", &json!({"schedule": "0 0 31 2-4/2 *"})),
            "Failed",
        ),
        // Nobody names it.
        (orgs::object("RetentionPolicy", "spare", &json!({})), "Current"),
        (orgs::region("eu", "eu-west-1", &json!({})), "Current"),
        (orgs::org("acme", "aaaaaaaa", "eu", &json!({})), "Current"),
        (orgs::org("lost", "bbbbbbbb", "nowhere", &json!({})), "Failed"),
        (
            orgs::object("OrgSnapshot", "of-nobody", &json!({"orgRef": {"name": "nobody"}})),
            "Failed",
        ),
        (
            orgs::object(
                "OrgRestore",
                "of-nobody",
                &json!({"orgRef": {"name": "nobody"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}}),
            ),
            "Failed",
        ),
        (access, "Failed"),
    ]
}

async fn start(operator: &Operator) -> Running {
    let drivers: Vec<Arc<dyn Driver>> = vec![
        Arc::new(SupportDriver::default()),
        Arc::new(RegionDriver::default()),
        Arc::new(OrgDriver::default()),
        Arc::new(BackupDriver::default()),
        Arc::new(ReferenceCountDriver::<RetentionPolicy>::default()),
        Arc::new(ReferenceCountDriver::<BackupSchedule>::default()),
    ];
    operator.start(drivers).await
}

async fn read(client: &Client, object: &Value) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap();
    let found = api_of(client, object).await.unwrap().get(name).await.unwrap();
    serde_json::to_value(found).unwrap()
}

async fn verdict(client: &Client, object: &Value) -> RunVerdict {
    flux::verdicts(&[read(client, object).await]).remove(0)
}

/// Waits until kstatus says so.
async fn until(client: &Client, object: &Value, status: &str) {
    let said = eventually(async || (verdict(client, object).await.status == status).then_some(()));
    assert!(
        said.await.is_some(),
        "not {status}: {:?} of {:#}",
        verdict(client, object).await,
        read(client, object).await
    );
}

async fn all_in_progress(client: &Client, objects: &[Value]) {
    for object in objects {
        let said = verdict(client, object).await;
        let unseen = said.message.contains("latest observed generation is");
        assert!(said.status == "InProgress" && unseen, "{said:?} of {object:#}");
    }
}

#[tokio::test]
async fn nobody_takes_an_object_for_done_that_no_operator_has_looked_at() {
    let operator = Operator::new().await;
    let client = api_server::shared().await.client().await;
    orgs::platform(&client).await;
    orgs::node(&client, "eu-a", "eu-west-1").await;
    let (all, fates): (Vec<Value>, Vec<&str>) = objects().into_iter().unzip();
    for object in &all {
        api_server::apply(&client, object).await;
    }
    all_in_progress(&client, &all).await;

    let running = start(&operator).await;
    let acme = all.iter().find(|o| o["metadata"]["name"] == "acme").unwrap();
    // Looked at, and at work: nothing plays the workloads' part yet.
    let at_work = eventually(async || {
        let said = verdict(&client, acme).await;
        let seen = !said.message.contains("latest observed generation is");
        assert_eq!(said.status, "InProgress", "{said:?}");
        seen.then_some(())
    });
    assert!(at_work.await.is_some());
    orgs::until(&client, "TrayOrg", "acme", &[("Ready", "True/AsSpecified")]).await;
    for (object, fate) in all.iter().zip(fates) {
        until(&client, object, fate).await;
    }
    running.stop().await;

    let changes = [
        ("standard", json!({"snapshots": {"keepDays": 15}})),
        ("standard", json!({"windowMinutes": 30})),
        ("never", json!({"windowMinutes": 30})),
        ("spare", json!({"snapshots": {"keepDays": 15}})),
        ("eu", json!({"scheduling": "Cordoned"})),
        ("acme", json!({"displayName": "Acme"})),
        ("lost", json!({"displayName": "Lost"})),
    ];
    for ((name, change), object) in changes.iter().zip(&all) {
        let api = api_of(&client, object).await.unwrap();
        orgs::patch(&api, name, &json!({"spec": change})).await;
    }
    all_in_progress(&client, &all[..changes.len()]).await;
}
