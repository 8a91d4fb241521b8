//! What the status says, and when an org is looked at again.

use serde_json::{Value, json};
use tray_api::conditions::{reasons, types};

use super::world::{ID, World, condition, fact, reason_of, said};
use crate::{
    adapters::kube::facts::{StorageClassFact, VolumeFact},
    controllers::{
        Driver,
        changes::Change,
        conditions::{Truth, find, is_true},
        org::{OrgDriver, mapper::keys_of, status, workloads},
    },
    resources::child::ChildKind,
};

#[test]
fn a_status_pins_the_org_and_says_that_it_is_ready() {
    let told = World::new().status(&fact(true, "AsSpecified"));
    assert_eq!(told.org_id.as_deref(), Some(ID));
    assert_eq!(told.namespace.as_deref(), Some("org-acme-7c9e6679"));
    assert_eq!(
        told.region.as_ref().map(|r| r.cloud_region.as_str()),
        Some("eu-west-1")
    );
    assert_eq!(told.observed_generation, Some(3));
    for type_ in [
        types::READY,
        types::PLACED,
        types::RESIDENCY_COMPLIANT,
        types::WORKLOADS_AVAILABLE,
    ] {
        assert!(is_true(&told.conditions, type_), "{type_}");
    }
    for type_ in [types::RECONCILING, types::STALLED, types::DATA_LOST] {
        assert!(
            find(&told.conditions, type_).is_none(),
            "{type_} is absent unless true"
        );
    }
    assert_eq!(reason_of(&told, types::RPO_MET), said("Unknown", "NoSnapshotYet"));
}

#[test]
fn encryption_is_what_the_parameters_of_the_storage_class_say() {
    let told = |encrypts: Option<&str>| {
        let world = World::new();
        let name = &world.region["spec"]["storage"]["storageClassName"];
        let class = json!({
            "metadata": {"name": name, "uid": "u", "resourceVersion": "1"}, "provisioner": "ebs.csi.aws.com",
            "parameters": encrypts.map_or(json!({}), |said| json!({"encrypted": said})),
        });
        let class = StorageClassFact::of(&serde_json::from_value(class).unwrap());
        let change = Change::StorageClass(class.name.clone());
        world.index.storage_classes.put(class);
        let status = world.status(&fact(true, "AsSpecified"));
        assert!(is_true(&status.conditions, types::READY));
        (
            reason_of(&status, types::ENCRYPTION_ENFORCED),
            keys_of(&change, &world.index),
        )
    };
    let acme = || vec!["acme".to_owned()];
    assert_eq!(told(Some("true")), (said("True", "Encrypted"), acme()));
    assert_eq!(told(Some("false")), (said("False", "NotEncrypted"), acme()));
    assert_eq!(told(None), (said("Unknown", "NotSaid"), acme()));
    let nothing = World::new().status(&fact(true, "AsSpecified"));
    assert_eq!(
        reason_of(&nothing, types::ENCRYPTION_ENFORCED),
        said("Unknown", "StorageClassMissing")
    );
}

#[test]
fn a_status_edited_by_hand_is_corrected() {
    let mut world = World::placed();
    let right = world.status(&fact(true, "AsSpecified"));
    world.org["status"] = serde_json::to_value(&right).unwrap();
    assert_eq!(
        world.status(&fact(true, "AsSpecified")),
        right,
        "what is right is written once"
    );
    world.org["status"]["conditions"][0]["status"] = "False".into();
    world.org["status"]["raisedWorkloads"] = json!(["made-up"]);
    let corrected = world.status(&fact(true, "AsSpecified"));
    assert!(is_true(&corrected.conditions, types::READY));
    assert_eq!(corrected.raised_workloads, right.raised_workloads);
}

#[test]
fn what_is_on_its_way_is_reconciling_and_not_settled() {
    let told = World::placed().status(&fact(false, reasons::ROLLING_OUT));
    assert_eq!(reason_of(&told, types::RECONCILING), said("True", "RollingOut"));
    assert!(!status::is_settled(&told));
    let told = World::placed().status(&fact(false, reasons::IMAGE_UNAVAILABLE));
    assert!(
        status::is_settled(&told),
        "what a person can mend is told at once"
    );
}

#[test]
fn a_suspended_org_is_as_it_should_be() {
    let mut world = World::placed();
    world.org["spec"]["lifecycle"] = json!({"state": "Suspended"});
    assert!(workloads::situation(&world.observed(), &world.valid()).suspended);
    let told = world.status(&fact(false, reasons::SUSPENDED));
    assert_eq!(reason_of(&told, types::READY), said("True", "Suspended"));
    assert_eq!(
        reason_of(&told, types::WORKLOADS_AVAILABLE),
        said("False", "Suspended")
    );
}

#[test]
fn an_obstacle_leaves_what_is_recorded() {
    let mut world = World::placed().recorded(&json!([condition("WorkloadsAvailable", "True", "m")]));
    world.region = Value::Null;
    let told = world.status_of_obstacle();
    assert_eq!(told.namespace.as_deref(), Some("org-acme-7c9e6679"));
    assert!(is_true(&told.conditions, types::WORKLOADS_AVAILABLE));
    assert_eq!(reason_of(&told, types::STALLED), said("True", "RegionNotServed"));
    let truth = find(&told.conditions, types::READY).map(|c| Truth::parse(&c.status));
    assert_eq!(truth, Some(Truth::False));
}

#[test]
fn orgs_are_looked_at_again_when_what_they_name_changes() {
    let world = World::placed();
    world.observed();
    let acme = vec!["acme".to_owned()];
    for (change, concerned) in [
        (Change::Region("eu".into()), acme.clone()),
        (Change::Region("us".into()), vec![]),
        (Change::RetentionPolicy("standard".into()), acme.clone()),
        (Change::BackupSchedule("other".into()), vec![]),
        (Change::Board(ID.parse().unwrap()), acme.clone()),
        (
            Change::Restore {
                name: "r".into(),
                org: "acme".into(),
            },
            acme,
        ),
    ] {
        assert_eq!(keys_of(&change, &world.index), concerned, "{change:?}");
    }
}

#[test]
fn a_region_that_only_counts_its_orgs_is_no_news() {
    let mut world = World::placed();
    world.observed();
    let driver = OrgDriver::default();
    let concerned = || driver.map_to_keys(&Change::Region("eu".into()), &world.index);
    assert_eq!(concerned(), ["acme"]);
    assert_eq!(concerned(), Vec::<String>::new());
    world.region["status"]["orgs"] = 5.into();
    world.observed();
    assert_eq!(
        driver.map_to_keys(&Change::Region("eu".into()), &world.index),
        Vec::<String>::new()
    );
    world.region["metadata"]["generation"] = 4.into();
    world.observed();
    assert_eq!(
        driver.map_to_keys(&Change::Region("eu".into()), &world.index),
        ["acme"]
    );
    world.index.regions.remove("eu", None);
    assert_eq!(
        driver.map_to_keys(&Change::Region("eu".into()), &world.index),
        ["acme"]
    );
}

#[test]
fn claims_that_no_workload_uses_are_named() {
    let world = World::placed();
    let labels = json!({"platform.tray.ai/org": "acme"});
    for name in ["data-db-0", "data-db-1", "data-gone-0"] {
        let claim = json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}});
        world.child(ChildKind::PersistentVolumeClaim, &labels, &claim);
    }
    // Somebody has made one of his own.
    for (name, namespace, phase) in [
        ("pr-own", "org-acme-7c9e6679", "Bound"),
        ("data-gone-0", "org-acme-7c9e6679", "Bound"),
        ("set-aside", "org-acme-7c9e6679", "Released"),
        ("elsewhere", "org-globex-11111111", "Bound"),
    ] {
        let volume = json!({"metadata": {"name": name, "uid": name}, "status": {"phase": phase},
            "spec": {"claimRef": {"namespace": namespace, "name": name}}});
        let volume = VolumeFact::of(&serde_json::from_value(volume).unwrap());
        world.index.volumes.put(volume);
    }
    let told = world.status(&fact(true, "AsSpecified"));
    assert_eq!(told.unused_volumes, ["data-db-1", "data-gone-0"]);
    assert_eq!(told.other_volumes, ["pr-own"]);
}

#[test]
fn what_was_accepted_stays_on_record_and_the_annotation_is_not_asked_for_again() {
    let mut world = World::placed();
    let known = json!([{"annotation": "accept-run", "value": "r", "result": "CarriedOut", "at": "2026-01-01T00:00:00Z"}]);
    world.org["status"]["acknowledgements"] = known;
    let values = |world: &World| -> Vec<String> {
        let told = world.status(&fact(true, "AsSpecified"));
        told.acknowledgements
            .into_iter()
            .map(|known| known.value)
            .collect()
    };
    assert_eq!(values(&world), ["r"]);
    world.org["metadata"]["annotations"] =
        json!({"platform.tray.ai/accept-namespace-loss": "org-acme-7c9e6679"});
    assert_eq!(values(&world), ["r", "org-acme-7c9e6679"]);
    world.org["metadata"]["annotations"] = json!({"platform.tray.ai/accept-namespace-loss": "another"});
    assert_eq!(values(&world), ["r"], "it accepts nothing of this org");
}
