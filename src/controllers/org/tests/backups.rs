//! What backups, lost data and restores do to an org.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tray_api::{
    conditions::{reasons, types},
    trayorg::{BackupStatus, RpoVerdict, TrayOrg, TrayOrgStatus},
};

use super::world::{ID, World, condition, fact, now, object, reason_of, said};
use crate::{
    controllers::{
        board::{BackupView, LostClaim},
        conditions::{Truth, find, is_true},
        org::{status, workloads},
    },
    resources::child::ChildKind,
};

#[test]
fn a_failed_backup_or_a_missed_objective_does_not_make_an_org_unready() {
    let world = World::placed();
    let status = BackupStatus {
        count: Some(2),
        ..BackupStatus::default()
    };
    let view = BackupView {
        status,
        healthy: fact(false, "LastRunFailed"),
        rpo: fact(false, "RpoBreached"),
    };
    world.board.backups.set(&ID.parse().unwrap(), view);
    let told = world.status(&fact(true, "AsSpecified"));
    assert!(is_true(&told.conditions, types::READY));
    assert_eq!(
        reason_of(&told, types::BACKUP_HEALTHY),
        said("False", "LastRunFailed")
    );
    assert_eq!(told.backup.and_then(|backup| backup.count), Some(2));
}

#[test]
fn a_new_org_is_told_at_once_what_its_empty_ledger_will_say_and_an_older_one_is_not() {
    let mut world = World::placed();
    let created = now() - SignedDuration::from_mins(1);
    world.org["metadata"]["creationTimestamp"] = created.to_string().into();
    for (available, due) in [
        (true, None),
        (false, Some(created + SignedDuration::from_hours(1))),
    ] {
        let told = world.status(&fact(available, reasons::AS_SPECIFIED));
        let backup = told.backup.clone().unwrap();
        assert_eq!((backup.count, backup.next_due.map(|at| at.0)), (Some(0), due));
        assert_eq!(
            backup.rpo.unwrap().deadline.map(|at| at.0),
            Some(created + SignedDuration::from_hours(24))
        );
        assert_eq!(reason_of(&told, types::RPO_MET), said("Unknown", "NoSnapshotYet"));
    }
    world.org["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(world.status(&fact(true, "AsSpecified")).backup, None);
}

#[test]
fn what_was_known_of_backups_holds_until_the_ledger_is_read() {
    let mut world = World::placed().recorded(&json!([
        condition("RpoMet", "True", "m"),
        condition("DataLost", "True", "m")
    ]));
    world.org["status"]["backup"] = json!({"count": 7});
    let told = world.status(&fact(true, "AsSpecified"));
    assert_eq!(reason_of(&told, types::RPO_MET), said("True", "Recorded"));
    assert!(is_true(&told.conditions, types::DATA_LOST));
    assert_eq!(told.backup.as_ref().and_then(|backup| backup.count), Some(7));
    world.board.lost.set(&ID.parse().unwrap(), BTreeMap::new());
    assert!(
        find(
            &world.status(&fact(true, "AsSpecified")).conditions,
            types::DATA_LOST
        )
        .is_none()
    );
}

/// An org with a good copy that is recent enough until `deadline`.
fn copied(deadline: Timestamp) -> World {
    let mut world = World::placed().recorded(&json!([
        condition("BackupHealthy", "True", "m"),
        condition("RpoMet", "True", "m"),
    ]));
    world.org["status"]["backup"] = backup(deadline);
    world
}

fn backup(deadline: Timestamp) -> Value {
    json!({"count": 1, "lastCommitted": "2026-01-01T00:00:00Z",
        "rpo": {"verdict": "Met", "deadline": deadline.to_string()}})
}

/// Before the deadline what is recorded holds, from then on the objective is missed; and it is looked at then.
fn turns_in_time(told: impl Fn(&World) -> TrayOrgStatus, prepare: impl Fn(&mut World)) {
    let second = SignedDuration::from_secs(1);
    for (deadline, rpo, verdict, again) in [
        (
            now() + second,
            said("True", "Recorded"),
            RpoVerdict::Met,
            Some(now() + second),
        ),
        (now(), said("False", "RpoBreached"), RpoVerdict::Breached, None),
        (
            now() - second,
            said("False", "RpoBreached"),
            RpoVerdict::Breached,
            None,
        ),
    ] {
        let mut world = copied(deadline);
        prepare(&mut world);
        let told = told(&world);
        assert_eq!(reason_of(&told, types::RPO_MET), rpo);
        let backup = told.backup.as_ref().unwrap();
        assert_eq!(backup.rpo.as_ref().unwrap().verdict, verdict);
        assert_eq!(backup.count, Some(1), "what is recorded otherwise stays");
        assert_eq!(status::turns_at(&told, now()), again);
    }
}

#[test]
fn an_objective_is_missed_at_its_deadline_whatever_stalls_the_org() {
    let stalls: [fn(&mut World); 5] = [
        |world| world.org["spec"]["workloads"] = json!([{"name": "db", "kind": "Deployment", "image": "x"}]),
        |world| world.region = Value::Null,
        |world| world.region["spec"]["cloudRegion"] = "eu-west-3".into(),
        |world| world.org["spec"]["orgId"] = super::world::UID.into(),
        |world| world.org["spec"]["regionRef"]["name"] = "us".into(),
    ];
    for stall in stalls {
        turns_in_time(World::status_of_obstacle, stall);
    }
    let flaws: [fn(&mut World); 5] = [
        |_| {},
        |world| world.policy = Value::Null,
        |world| world.policy["spec"]["snapshots"] = json!({"keepDays": 1, "keepAtLeast": 1}),
        |world| world.org["status"]["backupPlace"] = json!({"bucket": "elsewhere"}),
        |world| world.org["spec"]["lifecycle"] = json!({"state": "Suspended"}),
    ];
    for flaw in flaws {
        turns_in_time(|world| world.status(&fact(true, "AsSpecified")), flaw);
    }
}

#[test]
fn what_the_board_says_turns_at_its_deadline_though_nobody_looks_at_the_ledger_again() {
    let told = |world: &World| {
        let status = serde_json::from_value(world.org["status"]["backup"].clone()).unwrap();
        let view = BackupView {
            status,
            healthy: fact(true, "Recorded"),
            rpo: fact(true, "Recorded"),
        };
        world.board.backups.set(&ID.parse().unwrap(), view);
        world.status(&fact(true, "AsSpecified"))
    };
    turns_in_time(told, |_| {});
}

/// What puts something in an org's way.
type Prepare = fn(&mut World);

#[test]
fn an_org_that_cannot_be_worked_on_has_no_healthy_backups() {
    let past = now() - SignedDuration::from_hours(1);
    let view = || BackupView {
        status: BackupStatus::default(),
        healthy: fact(true, "LastRunGood"),
        rpo: fact(true, "WithinRpo"),
    };
    let workloads: Prepare = |world| {
        world.org["spec"]["workloads"] = json!([{"name": "db", "kind": "Deployment", "image": "x"}]);
    };
    let gone: Prepare = |world| world.region = Value::Null;
    let other: Prepare = |world| world.region["spec"]["cloudRegion"] = "eu-west-3".into();
    let cases = [
        (workloads, "WorkloadNameTaken"),
        (gone, "RegionNotServed"),
        (other, "RegionChanged"),
    ];
    for (prepare, reason) in cases {
        for said_since_the_start in [false, true] {
            let mut world = copied(past);
            prepare(&mut world);
            if said_since_the_start {
                world.board.backups.set(&ID.parse().unwrap(), view());
            }
            let told = world.status_of_obstacle();
            assert_eq!(reason_of(&told, types::BACKUP_HEALTHY), said("False", reason));
            assert_eq!(reason_of(&told, types::STALLED), said("True", reason));
        }
    }
    // Snapshots go on to be taken of one that only names another Region.
    let mut world = copied(past);
    world.org["spec"]["regionRef"]["name"] = "us".into();
    let told = world.status_of_obstacle();
    assert_eq!(reason_of(&told, types::BACKUP_HEALTHY), said("True", "Recorded"));
}

#[test]
fn a_pass_that_fails_turns_what_is_recorded_and_nothing_else() {
    let org = |deadline| -> TrayOrg { serde_json::from_value(copied(deadline).org).unwrap() };
    let second = SignedDuration::from_secs(1);
    assert_eq!(status::by_the_clock(&org(now() + second), None, now()), None);
    let due = org(now());
    let turned = status::by_the_clock(&due, None, now()).unwrap();
    assert_eq!(reason_of(&turned, types::RPO_MET), said("False", "RpoBreached"));
    assert_eq!(
        reason_of(&turned, types::BACKUP_HEALTHY),
        said("True", "Recorded")
    );
    let again = TrayOrg {
        status: Some(turned),
        ..due.clone()
    };
    assert_eq!(
        status::by_the_clock(&again, None, now()),
        None,
        "it is written once"
    );
    // A newer copy than the status tells of.
    let known = BackupView {
        status: serde_json::from_value(backup(now() + second)).unwrap(),
        healthy: fact(true, "LastRunGood"),
        rpo: fact(true, "WithinRpo"),
    };
    assert_eq!(status::by_the_clock(&due, Some(&known), now()), None);
}

#[test]
fn an_org_that_is_held_while_it_is_deleted_says_nothing_good_of_itself() {
    turns_in_time(
        |world| {
            let told = status::of_deleted(&world.observed(), now()).unwrap();
            assert_eq!(reason_of(&told, types::READY), said("False", "Deleting"));
            assert_eq!(reason_of(&told, types::BACKUP_HEALTHY), said("False", "Deleting"));
            assert!(find(&told.conditions, types::WORKLOADS_AVAILABLE).is_none());
            assert!(told.region.is_some());
            told
        },
        |world| {
            let conditions = world.org["status"]["conditions"].as_array_mut().unwrap();
            conditions.push(condition("WorkloadsAvailable", "True", "m"));
            world.org["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            world.org["metadata"]["finalizers"] = json!(["somebody/else"]);
        },
    );
    assert_eq!(status::of_deleted(&World::new().observed(), now()), None);
}

#[test]
fn lost_data_stops_its_workload_and_asks_for_a_person() {
    let world = World::placed();
    let claim = LostClaim {
        why: "the claim is gone".to_owned(),
        lost_uid: "1f3c77aa-0000".to_owned(),
    };
    let lost = BTreeMap::from([("data-db-0".to_owned(), claim)]);
    world.board.lost.set(&ID.parse().unwrap(), lost);
    let situation = workloads::situation(&world.observed(), &world.valid());
    assert_eq!(situation.lost_claims.iter().collect::<Vec<_>>(), ["data-db-0"]);
    let stopped = workloads::why_stopped(&situation).unwrap();
    assert!(
        stopped.status == Truth::False && stopped.message.contains("data-db-0"),
        "{stopped:?}"
    );
    let told = world.status(&stopped);
    assert_eq!(reason_of(&told, types::STALLED), said("True", "VolumeReplaced"));
    let message = &find(&told.conditions, types::DATA_LOST).unwrap().message;
    assert!(
        message.contains("accept-data-loss=data-db-0/1f3c77aa") && message.contains("OrgRestore"),
        "{message}"
    );
}

#[test]
fn what_was_stopped_for_lost_data_stays_so_over_a_start() {
    let world = World::placed().recorded(&json!([condition("DataLost", "True", "m")]));
    let labels = json!({"platform.tray.ai/org": "acme"});
    let stateful_set = |name: &str, replicas: i64| json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}, "spec": {"replicas": replicas}});
    world.child(ChildKind::StatefulSet, &labels, &stateful_set("db", 0));
    let situation = workloads::situation(&world.observed(), &world.valid());
    assert_eq!(situation.lost_claims.iter().collect::<Vec<_>>(), ["data-db-0"]);
}

#[test]
fn a_restore_stops_everything_even_before_its_controller_looked_at_it() {
    let world = World::placed();
    assert!(!workloads::situation(&world.observed(), &world.valid()).restoring);
    let spec =
        json!({"orgRef": {"name": "acme"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}});
    for (phase, stops) in [
        ("Pending", false),
        ("Draining", true),
        ("Filling", true),
        ("Starting", false),
    ] {
        let mut restore = object("OrgRestore", "r", &spec);
        restore["status"] = json!({"phase": phase});
        world.index.restores.put(serde_json::from_value(restore).unwrap());
        assert_eq!(
            workloads::situation(&world.observed(), &world.valid()).restoring,
            stops,
            "{phase}"
        );
    }
    let mut restore = object("OrgRestore", "r", &spec);
    restore["status"] = json!({"phase": "Filling"});
    world.index.restores.put(serde_json::from_value(restore).unwrap());
    let told = world.status(&fact(false, reasons::ROLLING_OUT));
    assert_eq!(reason_of(&told, types::READY), said("False", "Restoring"));
}
