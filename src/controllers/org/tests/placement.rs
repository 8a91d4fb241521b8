//! Whether an org may be placed, and where: identity, Region, policies, workloads.

use serde_json::{Value, json};
use tray_api::conditions::{reasons, types};

use super::world::{ID, UID, World, fact, is_obstacle, object, reason_of, said};
use crate::{
    controllers::{
        Driver,
        blocked::Until,
        changes::Change,
        conditions::is_true,
        org::{OrgDriver, mapper::keys_of},
    },
    resources::{child::ChildKind, org::fixtures},
};

#[test]
fn a_good_org_is_placed_in_its_region() {
    let valid = World::new().valid();
    assert_eq!(valid.placement, fixtures::placement());
    assert!(valid.flaw.is_none());
}

#[test]
fn an_org_without_an_id_is_found_by_its_own_uid() {
    let mut world = World::new();
    world.org["spec"]["orgId"].take();
    assert_eq!(world.valid().placement.namespace, "org-acme-11111111");
}

#[test]
fn an_unknown_region_is_named() {
    let mut world = World::new();
    world.org["spec"]["regionRef"]["name"] = "mars".into();
    is_obstacle(
        &world.obstacle(),
        reasons::REGION_NOT_SERVED,
        &["mars", "spec.regionRef"],
    );
}

#[test]
fn a_region_that_is_not_ready_or_cordoned_takes_no_new_orgs_and_keeps_those_it_has() {
    for (field, value, reason, until) in [
        (
            "/status/conditions/0/status",
            "False",
            reasons::REGION_NOT_READY,
            Until::Time,
        ),
        (
            "/spec/scheduling",
            "Cordoned",
            reasons::REGION_CORDONED,
            Until::Person,
        ),
    ] {
        let (mut new, mut placed) = (World::new(), World::placed());
        for world in [&mut new, &mut placed] {
            world.region["spec"]["scheduling"] = "Schedulable".into();
            *world.region.pointer_mut(field).unwrap() = value.into();
        }
        let obstacle = new.obstacle();
        assert_eq!((obstacle.reason, obstacle.until), (reason, until));
        assert!(placed.valid().flaw.is_none());
    }
}

/// It would be pinned to a backup location that nobody has looked at.
#[test]
fn what_is_said_of_an_earlier_spec_makes_no_region_ready_for_a_new_org() {
    let mut world = World::new();
    let driver = OrgDriver::default();
    world.region["status"]["conditions"][0]["observedGeneration"] = 2.into();
    is_obstacle(
        &world.obstacle(),
        reasons::REGION_NOT_READY,
        &["not been looked at yet"],
    );
    let looked_at = |world: &World| driver.map_to_keys(&Change::Region("eu".into()), &world.index);
    assert_eq!(looked_at(&world), ["acme"]);
    world.region["status"]["conditions"][0]["observedGeneration"] = 3.into();
    assert!(world.valid().flaw.is_none());
    assert_eq!(looked_at(&world), ["acme"], "and it is looked at");
}

#[test]
fn a_placed_org_never_follows_its_region_elsewhere() {
    let mut moved = World::placed();
    moved.org["spec"]["regionRef"]["name"] = "us".into();
    is_obstacle(&moved.obstacle(), reasons::REGION_CHANGED, &["eu", "us"]);
    let mut relocated = World::placed();
    relocated.region["spec"]["cloudRegion"] = "eu-west-3".into();
    is_obstacle(
        &relocated.obstacle(),
        reasons::REGION_CHANGED,
        &["eu-west-1", "eu-west-3"],
    );
}

#[test]
fn the_namespace_pins_an_org_whose_status_was_not_written() {
    let mut world = World::new();
    world.allow();
    let labels = json!({
        "platform.tray.ai/org": "acme", "platform.tray.ai/org-id": ID, "platform.tray.ai/region": "eu-west-3",
        "platform.tray.ai/region-name": "eu", "platform.tray.ai/jurisdiction": "EU", "platform.tray.ai/retained": "true",
    });
    world.child(
        ChildKind::Namespace,
        &labels,
        &json!({"metadata": {"name": "org-acme-7c9e6679"}}),
    );
    is_obstacle(&world.obstacle(), reasons::REGION_CHANGED, &["was eu-west-3"]);
}

#[test]
fn two_orgs_never_share_an_id() {
    let mut world = World::new();
    let mut older = object("TrayOrg", "first", &world.org["spec"]);
    older["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    world.others.push(older);
    is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &["first", ID]);
    // And look again when that one is gone.
    let told = world.status_of_obstacle();
    world.org["status"] = serde_json::to_value(told).unwrap();
    world.observed();
    world.index.orgs.remove("first", None);
    let concerned = keys_of(&Change::Org("first".into()), &world.index);
    assert!(concerned.contains(&"acme".to_owned()), "{concerned:?}");
}

#[test]
fn an_org_that_is_not_placed_may_ask_for_another_id_and_leaves_the_first_to_whoever_waits() {
    let mut world = World::new();
    let mut older = object("TrayOrg", "first", &world.org["spec"]);
    older["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    older["status"] = json!({"observedGeneration": 3});
    world.others.push(older);
    is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &["first", ID]);
    let told = world.status_of_obstacle();
    world.org["status"] = serde_json::to_value(told).unwrap();
    world.others[0]["metadata"]["generation"] = 4.into();
    world.others[0]["spec"]["orgId"] = UID.into();
    world.observed();
    let change = Change::Org("first".into());
    assert_eq!(keys_of(&change, &world.index), ["acme", "first"]);
    assert_eq!(world.valid().placement.org_id.as_str(), ID);
    // Once it was looked at it concerns nobody else.
    world.others[0]["status"]["observedGeneration"] = 4.into();
    world.observed();
    assert_eq!(keys_of(&change, &world.index), ["first"]);
}

#[test]
fn an_id_that_is_known_never_changes() {
    let mut world = World::placed();
    world.org["spec"]["orgId"] = UID.into();
    is_obstacle(&world.obstacle(), reasons::ORG_ID_CHANGED, &[ID]);
}

#[test]
fn a_missing_policy_stops_a_new_org_and_is_told_of_a_placed_one() {
    let (mut new, mut placed) = (World::new(), World::placed());
    (new.policy, placed.policy) = (Value::Null, Value::Null);
    is_obstacle(
        &new.obstacle(),
        reasons::RETENTION_POLICY_MISSING,
        &["standard", "spec.retentionPolicyRef"],
    );
    let flaw = placed.valid().flaw.unwrap();
    is_obstacle(&flaw, reasons::RETENTION_POLICY_MISSING, &["standard"]);
    let told = placed.status(&fact(true, "AsSpecified"));
    assert_eq!(
        reason_of(&told, types::STALLED),
        said("True", "RetentionPolicyMissing")
    );
    assert!(!is_true(&told.conditions, types::READY));
}

#[test]
fn a_missing_schedule_is_told() {
    let mut world = World::placed();
    world.org["spec"]["backupScheduleRef"] = json!({"name": "gone"});
    is_obstacle(
        &world.valid().flaw.unwrap(),
        reasons::BACKUP_SCHEDULE_MISSING,
        &["gone"],
    );
}

#[test]
fn a_production_region_demands_two_weeks_of_snapshots() {
    let mut world = World::new();
    world.policy["spec"]["snapshots"] = json!({"keepDays": 13, "keepAtLeast": 3});
    is_obstacle(
        &world.obstacle(),
        reasons::RETENTION_TOO_SHORT,
        &["standard", "13", "14"],
    );
    world.region["spec"]["stage"] = "NonProduction".into();
    assert!(world.valid().flaw.is_none());
}

#[test]
fn a_name_of_the_regions_workloads_is_refused() {
    let mut world = World::placed();
    world.org["spec"]["workloads"] = json!([{"name": "db", "kind": "Deployment", "image": "x"}]);
    is_obstacle(&world.obstacle(), reasons::WORKLOAD_NAME_TAKEN, &["db"]);
}

#[test]
fn an_org_keeps_what_it_runs_until_a_change_of_its_region_reaches_it() {
    let mut world = World::placed();
    let old = serde_json::to_value([fixtures::database()]).unwrap();
    let new = world.region["spec"]["workloads"].clone();
    world.region["status"]["workloads"] = json!({
        "revision": "2", "revisions": [{"name": "1", "workloads": old}, {"name": "2", "workloads": new}],
        "wave": ["somebody"],
    });
    world.org["status"]["workloadsRevision"] = "1".into();
    let runs = |world: &World| -> (usize, Option<String>) {
        let valid = world.valid();
        (valid.effective.workloads.len(), valid.regional.revision)
    };
    assert_eq!(runs(&world), (1, Some("1".into())));
    // Its own change is not held back.
    world.org["spec"]["overrides"] = json!([{"name": "db", "image": "db:own"}]);
    assert_eq!(world.valid().effective.workloads[0].image, "db:own");
    let reached = |world: &World| {
        world.observed();
        let driver = OrgDriver::default();
        let change = Change::Region("eu".into());
        driver.map_to_keys(&change, &world.index);
        driver.map_to_keys(&change, &world.index)
    };
    assert_eq!(reached(&world), Vec::<String>::new());
    world.region["status"]["workloads"]["wave"] = json!(["acme"]);
    assert_eq!(runs(&world), (2, Some("2".into())));
    assert_eq!(reached(&world), ["acme"], "and it is looked at");
    let told = world.status(&fact(true, "AsSpecified"));
    assert_eq!(told.workloads_revision.as_deref(), Some("2"));
    // A new one has what there is.
    world.region["status"]["workloads"]["wave"] = json!([]);
    world.org["status"]["workloadsRevision"].take();
    assert_eq!(runs(&world), (2, Some("2".into())));
}
