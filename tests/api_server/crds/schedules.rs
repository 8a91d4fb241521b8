//! Schedules: what the API server takes is what the operator can use, and what an older CRD took can be mended.

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use tray_api::{backup_schedule::BackupSchedule, crds};
use tray_domain::{
    cron::{Cron, InvalidCron},
    slots::Slots,
    time_zones,
};

use super::{Creation, client, valid};
use crate::{
    edit::with,
    support::{
        api_server::{self, api_of, eventually},
        objects::dry_run,
    },
};

fn schedule(field: &str, value: &str) -> Value {
    with(
        valid::fullest("BackupSchedule"),
        &format!("/spec/{field}"),
        json!(value),
    )
}

/// Every form of every field at its bounds, one field at a time.
fn at_the_bounds() -> Vec<String> {
    let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
    let mut texts = Vec::new();
    for (place, (least, greatest)) in bounds.into_iter().enumerate() {
        let numbers = [least - 1, least, least + 1, greatest - 1, greatest, greatest + 1];
        let mut fields = vec![
            "*/0".to_owned(),
            "001".to_owned(),
            "JUN-Aug".to_owned(),
            "tue,Sat".to_owned(),
        ];
        for a in numbers.map(|number| number.to_string()) {
            fields.extend([
                a.clone(),
                format!("*/{a}"),
                format!("{least}/{a}"),
                format!("{least}-{a}/2"),
            ]);
            fields.extend(numbers.map(|b| format!("{a}-{b}")));
        }
        texts.extend(fields.into_iter().map(|field| {
            let mut text = ["0", "0", "1", "1", "*"].map(str::to_owned);
            text[place] = field;
            text.join(" ")
        }));
    }
    texts
}

/// Texts of five fields that are made of what fields are made of, most of them in the wrong order.
fn by_chance() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let item = "([*]|[0-9]{1,2}|[0-9]-[0-9]{2}|MON|FEB-dec|fri)(/[0-9]{1,2})?";
    let field = format!("{item}(,{item})?|[-*,/0-9A-Z#?]{{1,4}}");
    let text = proptest::string::string_regex(&format!(
        "({field}) {{1,2}}({field}) ({field}) ({field}) ({field})"
    ));
    let text = text.unwrap();
    let texts = (0..200).map(|_| text.new_tree(&mut runner).unwrap().current());
    texts.filter(|text| (9..=100).contains(&text.len())).collect()
}

#[tokio::test]
async fn the_api_server_takes_what_the_operator_reads() {
    let creation = Creation::of("BackupSchedule").await;
    let mut told = [0, 0];
    let mut wrong = Vec::new();
    for text in at_the_bounds().into_iter().chain(by_chance()) {
        if text.len() < 9 {
            continue;
        }
        let taken = creation.refusal(&schedule("schedule", &text)).await.is_none();
        told[usize::from(taken)] += 1;
        let read = Cron::parse(&text);
        // Of texts that name no day the rules know the plain ones.
        if taken != read.is_ok() && read != Err(InvalidCron::Never) {
            wrong.push(format!("{text:?} is taken: {taken}, and read: {read:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        told.iter().all(|count| *count > 100),
        "refused and taken: {told:?}"
    );
}

#[tokio::test]
async fn every_zone_of_the_operator_is_taken_and_no_other() {
    let creation = Creation::of("BackupSchedule").await;
    for name in time_zones::names().into_iter().step_by(25) {
        let refused = creation.refusal(&schedule("timeZone", name)).await;
        assert!(refused.is_none(), "{name} is refused: {refused:?}");
    }
    for name in [
        "Europe/Berlln",
        "europe/berlin",
        "Factory",
        "+02:00",
        "CET-1CEST",
        "",
    ] {
        let causes = creation
            .refusal(&schedule("timeZone", name))
            .await
            .unwrap_or_default();
        let named = causes
            .iter()
            .any(|cause| cause.field == "spec.timeZone" && cause.message.contains("supported values"));
        assert!(named, "{name:?}: {causes:?}");
    }
}

/// The CRD under another group, where no other test sees it change.
fn crd(looser: bool) -> Value {
    let crd = crds::all_crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "BackupSchedule");
    let mut crd = serde_json::to_value(crd.unwrap()).unwrap();
    crd["metadata"]["name"] = "backupschedules.earlier.example.com".into();
    crd["spec"]["group"] = "earlier.example.com".into();
    if looser {
        let spec =
            &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        for field in ["schedule", "timeZone"] {
            spec[field] = json!({"type": "string", "maxLength": 100});
        }
    }
    crd
}

fn earlier(name: &str, schedule: &str, zone: &str) -> Value {
    json!({
        "apiVersion": "earlier.example.com/v1alpha1", "kind": "BackupSchedule", "metadata": {"name": name},
        "spec": {"schedule": schedule, "timeZone": zone},
    })
}

async fn patch(
    api: &Api<DynamicObject>,
    name: &str,
    change: &Value,
    status: bool,
) -> kube::Result<DynamicObject> {
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    if status {
        api.patch_status(name, &params, &change).await
    } else {
        api.patch(name, &params, &change).await
    }
}

#[tokio::test]
async fn what_an_older_crd_took_can_be_read_told_and_mended() {
    let client: Client = client().await;
    let stored = [
        ("zone", "0 3 * * *", "Europe/Berlln"),
        ("cron", "0 25 * * *", "Etc/UTC"),
        ("never", "0 0 30 2 *", "Etc/UTC"),
        ("last", "0 3 * * 5L", "Etc/UTC"),
    ];
    api_server::apply(&client, &crd(true)).await;
    for (name, schedule, zone) in stored {
        api_server::apply(&client, &earlier(name, schedule, zone)).await;
    }
    let api = api_of(&client, &earlier("", "", "")).await.unwrap();
    api_server::apply(&client, &crd(false)).await;
    let bad = earlier("new", "0 25 * * *", "Europe/Berlln");
    let in_force = eventually(async || dry_run(&api, &bad).await.is_err().then_some(())).await;
    assert!(in_force.is_some(), "the API server still takes it");

    for (name, ..) in stored {
        let object = api.get(name).await.unwrap();
        let mut object = serde_json::to_value(object).unwrap();
        object["apiVersion"] = "platform.tray.ai/v1alpha1".into();
        let read: BackupSchedule = serde_json::from_value(object).unwrap();
        let invalid = Slots::parse(&read.spec.schedule, &read.spec.time_zone).unwrap_err();

        let condition = json!({"type": "Ready", "status": "False", "reason": "ScheduleInvalid",
            "message": invalid.to_string(), "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"status": {"observedGeneration": 1, "orgs": 1, "conditions": [condition]}});
        patch(&api, name, &status, true)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let other_field = json!({"spec": {"suspend": true}});
        patch(&api, name, &other_field, false)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let worse = json!({"spec": {"schedule": "60 * * * *", "timeZone": "Nowhere"}});
        assert!(patch(&api, name, &worse, false).await.is_err(), "{name}");
        let mended = json!({"spec": {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"}});
        patch(&api, name, &mended, false)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
