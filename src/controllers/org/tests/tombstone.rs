//! What an org leaves behind, and what takes it up.

use serde_json::{Value, json};
use tray_api::{
    conditions::{reasons, types},
    orgtombstone::OrgTombstone,
};

use super::world::{ID, UID, World, is_obstacle, object, reason_of, said};
use crate::{
    controllers::{
        changes::Change,
        org::{
            deletion,
            mapper::keys_of,
            namespace_loss::{self, Loss},
            validate::validate,
        },
    },
    resources::{child::ChildKind, org::fixtures},
};

/// Older than any TrayOrg here, and younger.
const BEFORE: &str = "2025-12-31T23:59:59Z";
const SINCE: &str = "2026-01-01T00:00:00Z";

/// The namespace of acme, made before its TrayOrg, with these labels besides.
fn namespace_with(world: &World, id: &str, more: &Value) {
    namespace_made(world, id, BEFORE, more);
}

fn namespace_made(world: &World, id: &str, at: &str, more: &Value) {
    namespace_of(world, "acme", id, at, more);
}

fn namespace_of(world: &World, org: &str, id: &str, at: &str, more: &Value) {
    let mut labels = json!({
        "platform.tray.ai/org": org, "platform.tray.ai/org-id": id, "platform.tray.ai/region": "eu-west-1",
        "platform.tray.ai/region-name": "eu", "platform.tray.ai/jurisdiction": "EU",
    });
    for (label, value) in more.as_object().into_iter().flatten() {
        labels[label] = value.clone();
    }
    let name = format!("org-{org}-{}", &id[..8]);
    world.child(
        ChildKind::Namespace,
        &labels,
        &json!({"metadata": {"name": name, "creationTimestamp": at}}),
    );
}

/// A tombstone of an org of that name with the id `ID`, whose data is in Region `eu`.
fn tombstone_of(world: &World, org: &str) {
    tombstone_with(world, org, &json!({}));
}

fn tombstone_with(world: &World, org: &str, more: &Value) {
    let mut spec = json!({
        "org": org, "orgId": ID, "namespace": format!("org-{org}-7c9e6679"), "reason": "Deletion",
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        "deletedAt": "2026-01-01T00:00:00Z", "purgeAt": "2026-04-01T00:00:00Z", "erasureStartsAt": "2026-03-23T00:00:00Z",
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let tombstone = object("OrgTombstone", &format!("{org}-7c9e6679"), &spec);
    world
        .index
        .tombstones
        .put(serde_json::from_value(tombstone).unwrap());
}

#[test]
fn an_org_without_an_id_takes_up_what_is_held_under_its_name() {
    for held in [
        (|world: &World| tombstone_of(world, "acme")) as fn(&World),
        |world| namespace_with(world, ID, &json!({"platform.tray.ai/orphaned": "true"})),
    ] {
        let mut world = World::new();
        world.allow();
        world.org["spec"]["orgId"].take();
        held(&world);
        let valid = world.valid();
        assert_eq!(valid.placement.org_id.as_str(), ID);
        assert_eq!(valid.placement.namespace, "org-acme-7c9e6679");
    }
}

#[test]
fn p3_what_is_held_is_kept_from_an_org_that_nobody_allowed_to_have_it() {
    for held in [
        (|world: &World| tombstone_of(world, "acme")) as fn(&World),
        |world| namespace_with(world, ID, &json!({"platform.tray.ai/retained": "true"})),
        |world| namespace_with(world, ID, &json!({"platform.tray.ai/orphaned": "true"})),
        // Its TrayOrg went, and nobody could write that down.
        |world| namespace_with(world, ID, &json!({})),
        // A label counts more than an age.
        |world| namespace_made(world, ID, SINCE, &json!({"platform.tray.ai/retained": "true"})),
    ] {
        for id in [json!(ID), Value::Null] {
            let mut world = World::new();
            world.org["spec"]["orgId"] = id;
            held(&world);
            let command = "`kubectl annotate trayorg acme platform.tray.ai/reattach=allowed`";
            for other in [Value::Null, json!("denied"), json!("Allowed")] {
                world.org["metadata"]["annotations"] = json!({"platform.tray.ai/reattach": other});
                if other.is_null() {
                    world.org["metadata"]
                        .as_object_mut()
                        .unwrap()
                        .remove("annotations");
                }
                is_obstacle(
                    &world.obstacle(),
                    reasons::REATTACH_NOT_ALLOWED,
                    &[command, "-7c9e6679"],
                );
                let told = world.status_of_obstacle();
                assert_eq!((told.org_id, told.namespace, told.region), (None, None, None));
                assert_eq!(world.observed().placement(), None, "nothing of it is its own");
            }
            world.allow();
            assert_eq!(world.valid().placement.org_id.as_str(), ID);
        }
    }
}

#[test]
fn what_an_org_has_made_itself_or_is_placed_with_is_its_own_without_anybodys_leave() {
    let lost = World::new();
    namespace_made(&lost, ID, SINCE, &json!({}));
    assert_eq!(lost.valid().placement, fixtures::placement());
    // One of an earlier version that was taken up, and whose tombstone is still there.
    let placed = World::placed();
    tombstone_of(&placed, "acme");
    namespace_with(&placed, ID, &json!({}));
    assert_eq!(placed.valid().placement, fixtures::placement());
    // A tombstone beside it says that there was another.
    tombstone_of(&lost, "acme");
    is_obstacle(&lost.obstacle(), reasons::REATTACH_NOT_ALLOWED, &["OrgTombstone"]);
    let told = lost.status_of_obstacle();
    assert_eq!(
        reason_of(&told, types::BACKUP_HEALTHY),
        said("Unknown", reasons::REATTACH_NOT_ALLOWED),
        "nothing is copied of what is not placed"
    );
}

#[test]
fn p3_whoever_waits_for_an_id_gets_nothing_of_its_holder_and_does_not_stand_in_the_way_of_its_heir() {
    let mut world = World::new();
    world.allow();
    world.org["spec"]["orgId"] = Value::Null;
    tombstone_of(&world, "acme");
    // It asked before the holder went, and is allowed to take up what is held of its own name.
    let mut waiting = object("TrayOrg", "waiting", &World::new().org["spec"]);
    waiting["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    waiting["metadata"]["annotations"] = json!({"platform.tray.ai/reattach": "allowed"});
    world.others.push(waiting);
    assert_eq!(world.valid().placement.org_id.as_str(), ID);
    let waiting = world.view("waiting");
    is_obstacle(
        &validate(&waiting).unwrap_err(),
        reasons::ORG_ID_IN_USE,
        &["OrgTombstone acme-7c9e6679"],
    );
}

/// Acme, which asks for `ID`, is older than TrayOrg globex of that status, under whose name a namespace with `ID` lies.
fn beside_globex(status: &Value) -> World {
    let mut world = World::new();
    world.org["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    let mut globex = object("TrayOrg", "globex", &world.org["spec"]);
    globex["status"] = status.clone();
    world.others.push(globex);
    namespace_of(&world, "globex", ID, BEFORE, &json!({}));
    world
}

fn placed_as(id: &str) -> Value {
    json!({
        "observedGeneration": 3, "orgId": id, "namespace": format!("org-globex-{}", &id[..8]),
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
    })
}

#[test]
fn p3_what_is_held_is_open_to_no_other_name_because_somebody_waits_for_it_or_lives_under_that_name() {
    let held = [
        "is held for org globex",
        "Namespace org-globex-7c9e6679",
        "apply TrayOrg globex",
    ];
    // It is stalled for want of leave; it asks for no id; it is placed with an id of its own.
    let mut nameless = beside_globex(&json!({"observedGeneration": 3}));
    nameless.others[0]["spec"]["orgId"] = Value::Null;
    let mut other = beside_globex(&placed_as(UID));
    other.others[0]["spec"]["orgId"] = UID.into();
    for mut world in [beside_globex(&json!({"observedGeneration": 3})), nameless, other] {
        is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &held);
        // Leave is for what is held of its own name.
        world.allow();
        is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &held);
    }
}

#[test]
fn who_holds_the_id_of_a_placed_org_is_decided_among_the_living() {
    let world = beside_globex(&placed_as(ID));
    is_obstacle(
        &world.obstacle(),
        reasons::ORG_ID_IN_USE,
        &["is the orgId of TrayOrg globex"],
    );
}

#[test]
fn who_is_refused_what_is_held_of_another_id_keeps_nobody_from_the_one_that_it_asks_for() {
    let mut world = World::new();
    let mut older = object("TrayOrg", "older", &world.org["spec"]);
    older["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    world.others.push(older);
    is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &["TrayOrg older"]);
    namespace_of(&world, "older", UID, BEFORE, &json!({}));
    assert_eq!(world.valid().placement.org_id.as_str(), ID);
}

#[test]
fn an_org_with_another_id_is_told_the_line_that_takes_up_what_is_held() {
    let mut world = World::new();
    world.org["spec"]["orgId"] = UID.into();
    tombstone_of(&world, "acme");
    is_obstacle(
        &world.obstacle(),
        reasons::RETAINED_DATA_EXISTS,
        &[
            "`orgId: 7c9e6679-7425-40de-944b-e07fc1f90ae7`",
            "OrgTombstone acme-7c9e6679",
        ],
    );
    namespace_with(&world, ID, &json!({"platform.tray.ai/retained": "true"}));
    is_obstacle(&world.obstacle(), reasons::RETAINED_DATA_EXISTS, &[ID]);
}

#[test]
fn p1_what_is_held_in_a_region_is_taken_up_in_no_other() {
    let mut world = World::new();
    tombstone_of(&world, "acme");
    world.org["spec"]["regionRef"]["name"] = "us".into();
    for id in [json!(ID), Value::Null] {
        world.org["spec"]["orgId"] = id;
        is_obstacle(&world.obstacle(), reasons::REGION_MISMATCH, &["eu", "us"]);
    }
}

#[test]
fn an_id_that_is_held_for_another_name_is_refused_until_it_is_free() {
    let mut world = World::new();
    tombstone_of(&world, "other");
    is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &["TrayOrg other", ID]);
    let told = world.status_of_obstacle();
    world.org["status"] = serde_json::to_value(told).unwrap();
    world.observed();
    let tombstone = Change::Tombstone {
        name: "other-7c9e6679".into(),
        org: "other".into(),
    };
    assert_eq!(keys_of(&tombstone, &world.index), ["acme", "other"]);
}

#[test]
fn an_org_that_was_never_placed_leaves_nothing() {
    let nothing = World::new();
    assert_eq!(nothing.observed().placement(), None);
    // What an earlier org of its name left is not its own.
    for label in ["platform.tray.ai/retained", "platform.tray.ai/orphaned"] {
        let mut stalled = World::new();
        stalled.allow();
        tombstone_of(&stalled, "acme");
        namespace_with(&stalled, ID, &json!({label: "true"}));
        assert_eq!(stalled.observed().placement(), None, "{label}");
    }
    // One whose status was not written yet, or is lost.
    let made = World::new();
    namespace_made(&made, ID, SINCE, &json!({}));
    assert_eq!(made.observed().placement(), Some(fixtures::placement()));
    assert_eq!(
        World::placed().observed().placement(),
        Some(fixtures::placement())
    );
}

#[test]
fn a_tombstone_says_what_is_held_and_until_when() {
    let mut world = World::placed();
    world.policy["spec"] = json!({"termination": {"purgeAfterDays": 30}});
    world.org["status"]["webhookHost"] = "h.example.com".into();
    let key = "arn:aws:kms:eu-central-1:111122223333:key/org";
    world.board.key.set(&ID.parse().unwrap(), key.parse().unwrap());
    let deleted_at = "2026-01-01T00:00:00Z".parse().unwrap();
    let made = |world: &World| -> OrgTombstone {
        let observed = world.observed();
        let placement = observed.placement().unwrap();
        deletion::tombstone_of(&observed, &placement, deleted_at, deleted_at)
    };
    let known = json!([{"annotation": "accept-data-loss", "value": "data-db-0", "result": "CarriedOut",
        "at": "2026-01-01T00:00:00Z"}]);
    world.org["status"]["acknowledgements"] = known.clone();
    let spec = serde_json::to_value(made(&world).spec).unwrap();
    let expected = json!({
        "acknowledgements": known,
        "org": "acme", "orgId": ID, "namespace": "org-acme-7c9e6679", "reason": "Deletion",
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        "kmsKeyArn": key, "backup": {"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "prefix": ""}, "webhookHost": "h.example.com",
        "deletedAt": "2026-01-01T00:00:00Z", "purgeAt": "2026-01-31T00:00:00Z", "erasureStartsAt": "2026-01-22T00:00:00Z",
    });
    assert_eq!(spec, expected);
    // A Region of that name elsewhere says nothing of where the org's snapshots are.
    world.region["spec"]["cloudRegion"] = "eu-west-3".into();
    assert_eq!(made(&world).spec.backup, None);
}

/// The annotation lies in Git: the next loss must not be accepted by it.
#[test]
fn what_was_accepted_before_a_deletion_is_known_when_the_org_is_back() {
    let mut world = World::new();
    world.allow();
    world.org["metadata"]["annotations"]["platform.tray.ai/accept-namespace-loss"] =
        "org-acme-7c9e6679".into();
    let known = json!([{"annotation": "accept-namespace-loss", "value": "org-acme-7c9e6679", "result": "CarriedOut",
        "at": "2026-01-01T00:00:00Z"}]);
    tombstone_with(&world, "acme", &json!({"acknowledgements": known}));
    let told = world.status(&super::world::fact(true, "AsSpecified"));
    assert_eq!(serde_json::to_value(told.acknowledgements).unwrap(), known);
}

#[test]
fn a_namespace_that_held_volumes_and_is_gone_is_lost() {
    let lost = |world: &World| namespace_loss::of(&world.observed());
    assert_eq!(lost(&World::new()), None, "there was none");
    assert_eq!(lost(&World::placed()), Some(Loss::Missing));
    let back = World::new();
    tombstone_of(&back, "acme");
    assert_eq!(lost(&back), Some(Loss::Missing), "the tombstone's");
    let there = World::placed();
    namespace_with(&there, ID, &json!({}));
    assert_eq!(lost(&there), None);
    let going = World::placed();
    let labels = json!({"platform.tray.ai/org": "acme"});
    let namespace =
        json!({"metadata": {"name": "org-acme-7c9e6679", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    going.child(ChildKind::Namespace, &labels, &namespace);
    assert_eq!(lost(&going), Some(Loss::Going));
}
