//! How many orgs name a RetentionPolicy or a BackupSchedule, and whether the latter can be used, on a real API server.

use std::sync::Arc;

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_api::{backup_schedule::BackupSchedule, retention_policy::RetentionPolicy, trayorg::TrayOrg};
use tray_operator::controllers::{changes::Change, conditions::find, reference_counts::ReferenceCountDriver};

use crate::support::{
    api_server::{self, eventually},
    operator::{Operator, Running},
};

async fn at_work() -> (Operator, Running) {
    let operator = Operator::new().await;
    let running = operator.start(vec![
        Arc::new(ReferenceCountDriver::<RetentionPolicy>::default()),
        Arc::new(ReferenceCountDriver::<BackupSchedule>::default()),
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

    // Other tests' objects are written meanwhile.
    let versions = async || {
        let policy = policies.get("counted").await.unwrap();
        (
            policy.resource_version(),
            schedules.get("counted").await.unwrap().resource_version(),
        )
    };
    let written = versions().await;
    for change in [
        Change::RetentionPolicy("counted".to_owned()),
        Change::BackupSchedule("counted".to_owned()),
    ] {
        operator.ctx.changes.publish(&change);
    }
    running.stop().await;
    assert_eq!(versions().await, written, "what is right is not written again");
}

#[tokio::test]
async fn a_schedule_that_cannot_be_used_says_so_until_it_can() {
    let (operator, running) = at_work().await;
    let schedules: Api<BackupSchedule> = Api::all(api_server::shared().await.client().await);
    let says = async |wanted: [Option<&str>; 2]| {
        let said = eventually(async || {
            let schedule = schedules.get("told").await.ok()?;
            let generation = schedule.metadata.generation;
            let status = schedule
                .status
                .filter(|status| status.observed_generation == generation)?;
            let found = ["Ready", "Stalled"].map(|type_| {
                let condition = find(&status.conditions, type_)?;
                assert_eq!(condition.observed_generation, generation);
                Some(format!("{} {}", condition.status, condition.reason))
            });
            (found.each_ref().map(Option::as_deref) == wanted).then_some(status)
        });
        let said = said.await;
        said.unwrap_or_else(|| panic!("not {wanted:?}"))
    };
    let good = [Some("True AsSpecified"), None];
    let bad = [Some("False ScheduleInvalid"), Some("True ScheduleInvalid")];
    apply("BackupSchedule", "told", json!({"schedule": "0 3 * * *"})).await;
    let first = says(good).await;
    // No rule of the CRD sees that neither month has that day.
    apply("BackupSchedule", "told", json!({"schedule": "0 0 31 2-4/2 *"})).await;
    let status = says(bad).await;
    let message = &find(&status.conditions, "Stalled").unwrap().message;
    for part in ["spec.schedule \"0 0 31 2-4/2 *\"", "name a day that comes"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(status.orgs, first.orgs);
    apply(
        "BackupSchedule",
        "told",
        json!({"schedule": "0 3 * * *", "timeZone": "Africa/Cairo"}),
    )
    .await;
    says(good).await;

    let version = async || schedules.get("told").await.unwrap().resource_version();
    let written = version().await;
    operator
        .ctx
        .changes
        .publish(&Change::BackupSchedule("told".to_owned()));
    running.stop().await;
    assert_eq!(version().await, written, "what is right is not written again");
}
