//! Where an org's copies are: pinned when it is placed, and never anywhere else.

use serde_json::{Value, json};
use tray_api::{
    conditions::{reasons, types},
    trayorg::BackupStatus,
};
use tray_domain::{backup_place::BackupPlace, names};

use super::world::{ID, World, condition, fact, is_obstacle, now, object, reason_of, said};
use crate::{
    controllers::{
        board::BackupView,
        conditions::{find, is_true},
        org::deletion,
    },
    resources::{
        child::ChildKind,
        org::{fixtures, namespace},
    },
};

fn here() -> BackupPlace {
    fixtures::backup_place()
}

/// An org that is pinned to where its Region had its backups.
fn pinned() -> World {
    let mut world = World::placed();
    world.org["status"]["backupPlace"] = json!(here());
    world
}

/// The namespace of acme with these annotations.
fn with_namespace(world: &World, annotations: &Value) {
    let labels = json!({"platform.tray.ai/org": "acme", "platform.tray.ai/org-id": ID,
        "platform.tray.ai/region": "eu-west-1", "platform.tray.ai/region-name": "eu",
        "platform.tray.ai/jurisdiction": "EU"});
    let object = json!({"metadata": {"name": "org-acme-7c9e6679", "annotations": annotations}});
    world.child(ChildKind::Namespace, &labels, &object);
}

/// A committed OrgSnapshot of acme in that bucket.
fn with_snapshot(world: &World, name: &str, bucket: &str, committed_at: &str) {
    let mut snapshot = object("OrgSnapshot", name, &json!({"orgRef": {"name": "acme"}}));
    snapshot["status"] = json!({"phase": "Committed", "bucket": bucket, "committedAt": committed_at});
    world
        .index
        .snapshots
        .put(serde_json::from_value(snapshot).unwrap());
}

fn with_tombstone(world: &World, backup: &Value) {
    let spec = json!({
        "org": "acme", "orgId": ID, "namespace": "org-acme-7c9e6679", "reason": "Deletion", "backup": backup,
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        "deletedAt": "2026-01-01T00:00:00Z", "purgeAt": "2026-04-01T00:00:00Z", "erasureStartsAt": "2026-03-23T00:00:00Z",
    });
    let tombstone = object("OrgTombstone", "acme-7c9e6679", &spec);
    world
        .index
        .tombstones
        .put(serde_json::from_value(tombstone).unwrap());
}

fn moved(mut world: World, field: &str, value: &str) -> World {
    world.region["spec"]["backup"][field] = value.into();
    world
}

#[test]
fn a_new_org_is_pinned_in_its_first_status_and_on_its_namespace_as_it_is_made() {
    let world = World::new();
    let told = world.status(&fact(true, reasons::AS_SPECIFIED));
    assert!(told.region.is_some());
    assert_eq!(told.backup_place, Some(here()));
    let valid = world.valid();
    let made = namespace::namespace(&valid.placement, &[], &valid.regional.spec, None);
    let note = &made.body["metadata"]["annotations"][names::ANNOTATION_BACKUP_PLACE];
    let noted: BackupPlace = serde_json::from_str(note.as_str().unwrap()).unwrap();
    assert_eq!(noted, here());
}

#[test]
fn a_region_that_says_another_place_stalls_its_orgs_which_run_on() {
    for (field, value) in [
        ("bucket", "elsewhere"),
        ("bucketOwner", "444455556666"),
        ("prefix", "other/"),
    ] {
        let mut world = moved(pinned(), field, value).recorded(&json!([
            condition("DataLost", "True", "m"),
            condition("BackupHealthy", "True", "m"),
        ]));
        world.org["status"]["backupPlace"] = json!(here());
        let valid = world.valid();
        let names = [
            "tray-backups-eu of account 111122223333",
            value,
            "of Region eu back",
            field,
        ];
        is_obstacle(
            valid.flaw.as_ref().unwrap(),
            reasons::BACKUP_PLACE_CHANGED,
            &names,
        );
        let told = world.status(&fact(true, reasons::AS_SPECIFIED));
        let reason = |type_| reason_of(&told, type_);
        assert_eq!(told.backup_place, Some(here()));
        assert_eq!(reason(types::STALLED), said("True", "BackupPlaceChanged"));
        assert_eq!(reason(types::READY), said("False", "BackupPlaceChanged"));
        assert_eq!(reason(types::BACKUP_HEALTHY), said("False", "BackupPlaceChanged"));
        assert!(is_true(&told.conditions, types::WORKLOADS_AVAILABLE));
        assert!(is_true(&told.conditions, types::RESIDENCY_COMPLIANT));
        assert!(
            is_true(&told.conditions, types::DATA_LOST),
            "as it was, also over a start"
        );
        assert_eq!(world.hindrance().unwrap().reason, reasons::BACKUP_PLACE_CHANGED);
        // What the board said before is not believed either.
        let view = BackupView {
            status: BackupStatus::default(),
            healthy: fact(true, "LastRunGood"),
            rpo: fact(true, "WithinRpo"),
        };
        world.board.backups.set(&ID.parse().unwrap(), view);
        let told = world.status(&fact(true, reasons::AS_SPECIFIED));
        assert_eq!(
            reason_of(&told, types::BACKUP_HEALTHY),
            said("False", "BackupPlaceChanged")
        );
    }
    let world = moved(pinned(), "cloudRegion", "eu-north-1");
    assert!(world.valid().flaw.is_none(), "the copies are where they were");
    assert!(world.hindrance().is_none());
}

#[test]
fn a_region_that_was_deleted_and_made_anew_with_another_bucket_is_another_place() {
    let mut world = moved(pinned(), "bucket", "elsewhere");
    world.region["metadata"]["uid"] = "22222222-2222-4222-8222-222222222222".into();
    is_obstacle(
        world.valid().flaw.as_ref().unwrap(),
        reasons::BACKUP_PLACE_CHANGED,
        &["elsewhere"],
    );
}

#[test]
fn an_org_of_an_earlier_version_is_pinned_to_what_its_region_says_once_that_is_confirmed() {
    let mut world = World::placed();
    let told = |world: &World| world.status(&fact(true, reasons::AS_SPECIFIED)).backup_place;
    world.region["status"]["conditions"][0]["status"] = "False".into();
    assert_eq!(told(&world), None, "nobody has looked at the bucket");
    let verified = condition("BackupLocationVerified", "True", "m");
    world.region["status"]["conditions"]
        .as_array_mut()
        .unwrap()
        .push(verified);
    assert_eq!(told(&world), Some(here()));
    world.region["status"]["conditions"][1]["observedGeneration"] = 2.into();
    assert_eq!(told(&world), None, "that was of an earlier spec");
    // Also where something else stands in its way.
    world.region["status"]["conditions"][1]["observedGeneration"] = 3.into();
    world.org["spec"]["workloads"] = json!([{"name": "db", "kind": "Deployment", "image": "x"}]);
    assert_eq!(world.status_of_obstacle().backup_place, Some(here()));
}

#[test]
fn what_is_recorded_of_an_org_of_an_earlier_version_is_believed_before_its_region() {
    let witnesses: [fn(&World); 3] = [
        |world| {
            with_namespace(
                world,
                &json!({names::ANNOTATION_BACKUP_PLACE: r#"{"bucket":"first"}"#}),
            );
        },
        |world| with_tombstone(world, &json!({"bucket": "first", "prefix": ""})),
        |world| {
            with_snapshot(world, "old", "tray-backups-eu", "2026-01-02T00:00:00Z");
            with_snapshot(world, "new", "first", "2026-01-03T00:00:00Z");
        },
    ];
    for witness in witnesses {
        let world = World::placed();
        witness(&world);
        let flaw = world.valid().flaw.unwrap();
        is_obstacle(
            &flaw,
            reasons::BACKUP_PLACE_CHANGED,
            &["bucket first", "spec.backup.bucket"],
        );
        let told = world.status(&fact(true, reasons::AS_SPECIFIED));
        assert_eq!(told.backup_place.unwrap().bucket, "first", "and pinned");
        assert_eq!(world.hindrance().unwrap().reason, reasons::BACKUP_PLACE_CHANGED);
        // Put back: what was not known is known, too.
        let world = moved(World::placed(), "bucket", "first");
        witness(&world);
        let told = world.status(&fact(true, reasons::AS_SPECIFIED));
        assert_eq!(
            told.backup_place,
            Some(BackupPlace::whole("first", "111122223333", ""))
        );
    }
}

#[test]
fn snapshots_of_an_earlier_org_of_the_name_say_nothing_of_this_one() {
    let world = World::placed();
    with_snapshot(&world, "another-orgs", "first", "2025-12-31T23:59:59Z");
    assert!(world.valid().flaw.is_none());
}

#[test]
fn an_org_that_is_back_keeps_the_place_that_its_tombstone_names() {
    let place = json!({"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "prefix": "first/"});
    let mut world = World::new();
    world.allow();
    with_tombstone(&world, &place);
    is_obstacle(
        &world.obstacle(),
        reasons::BACKUP_PLACE_CHANGED,
        &["under first/", "spec.backup.prefix"],
    );
    // With its namespace it is placed, and runs.
    with_namespace(&world, &json!({}));
    let told = world.status(&fact(true, reasons::AS_SPECIFIED));
    assert_eq!(json!(told.backup_place), place);
    assert_eq!(
        reason_of(&told, types::STALLED),
        said("True", "BackupPlaceChanged")
    );
}

#[test]
fn a_tombstone_holds_what_is_pinned_whatever_the_region_says() {
    let world = moved(pinned(), "bucket", "elsewhere");
    let observed = world.observed();
    let placement = observed.placement().unwrap();
    let made = deletion::tombstone_of(&observed, &placement, now(), now());
    assert_eq!(made.spec.backup, Some(here()));
    let kept = namespace::retained(&placement);
    assert!(kept.body["metadata"]["annotations"][names::ANNOTATION_BACKUP_PLACE].is_string());
}

#[test]
fn another_backup_location_that_lies_elsewhere_says_nothing_of_an_orgs_copies() {
    // Its own findings are made by the driver, by what `Valid` says.
    assert!(
        moved(pinned(), "bucket", "elsewhere")
            .valid()
            .is_backed_up_elsewhere()
    );
    assert!(!pinned().valid().is_backed_up_elsewhere());
    let told = pinned().status(&fact(true, reasons::AS_SPECIFIED));
    assert!(find(&told.conditions, types::STALLED).is_none());
}
