//! How many orgs name a RetentionPolicy or a BackupSchedule, on a real API server.

use std::sync::Arc;

use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_operator::{
    api::{backup_schedule::BackupSchedule, retention_policy::RetentionPolicy, trayorg::TrayOrg},
    controllers::{changes::Change, usage::UsageDriver},
};

use crate::support::{
    api_server::{self, eventually},
    operator::{Operator, Running},
};

async fn at_work() -> (Operator, Running) {
    let operator = Operator::new().await;
    let running = operator.start(vec![
        Arc::new(UsageDriver::<RetentionPolicy>::default()),
        Arc::new(UsageDriver::<BackupSchedule>::default()),
    ]);
    let running = running.await;
    (operator, running)
}

async fn apply(kind: &str, name: &str, spec: Value) {
    let object = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    api_server::apply(&api_server::shared().await.client().await, &object).await;
}

async fn org(name: &str, policy: &str) {
    let spec = json!({"plan": "Pro", "retentionPolicyRef": {"name": policy}, "backupScheduleRef": {"name": "counted"}});
    apply("TrayOrg", name, spec).await;
}

/// Waits until that many orgs name the policy.
async fn counted(policies: &Api<RetentionPolicy>, name: &str, orgs: i32) {
    let found = eventually(async || {
        let policy = policies.get(name).await.ok()?;
        let usage = policy.status?;
        (usage.orgs == Some(orgs) && usage.observed_generation == policy.metadata.generation).then_some(())
    });
    assert!(found.await.is_some(), "{name}: {:?}", policies.get(name).await);
}

#[tokio::test]
async fn orgs_that_name_a_policy_are_counted_and_an_edited_count_is_corrected() {
    let (operator, running) = at_work().await;
    let client = api_server::shared().await.client().await;
    let policies: Api<RetentionPolicy> = Api::all(client.clone());
    let orgs: Api<TrayOrg> = Api::all(client.clone());
    apply("BackupSchedule", "counted", json!({"schedule": "0 0 * * *"})).await;
    for name in ["counted", "other"] {
        apply("RetentionPolicy", name, json!({})).await;
        counted(&policies, name, 0).await;
    }
    org("counted-1", "counted").await;
    counted(&policies, "counted", 1).await;
    org("counted-2", "counted").await;
    counted(&policies, "counted", 2).await;

    let lie = json!({"status": {"orgs": 0}});
    let lie = Patch::Merge(lie);
    policies
        .patch_status("counted", &PatchParams::default(), &lie)
        .await
        .unwrap();
    counted(&policies, "counted", 2).await;

    org("counted-2", "other").await;
    counted(&policies, "counted", 1).await;
    counted(&policies, "other", 1).await;
    for name in ["counted-1", "counted-2"] {
        orgs.delete(name, &DeleteParams::default()).await.unwrap();
    }
    counted(&policies, "counted", 0).await;
    counted(&policies, "other", 0).await;
    let schedules: Api<BackupSchedule> = Api::all(client);
    let none = eventually(async || {
        let status = schedules.get("counted").await.ok()?.status?;
        (status.orgs == Some(0)).then_some(())
    });
    assert!(none.await.is_some());

    let written = operator.writes();
    operator
        .ctx
        .changes
        .publish(&Change::RetentionPolicy("counted".to_owned()));
    running.stop().await;
    assert_eq!(operator.writes(), written, "what is right is not written again");
}
