//! What backups, lost data and restores do to an org.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::json;

use super::world::{ID, World, condition, fact, now, object, reason_of, said};
use crate::{
    api::{
        conditions::{reasons, types},
        trayorg::BackupStatus,
    },
    controllers::{
        backup_facts::BackupView,
        conditions::{Truth, find, is_true},
        org::situation,
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
    world.facts.set_view(&ID.parse().unwrap(), view);
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
    world.facts.set_lost(&ID.parse().unwrap(), BTreeMap::new());
    assert!(
        find(
            &world.status(&fact(true, "AsSpecified")).conditions,
            types::DATA_LOST
        )
        .is_none()
    );
}

#[test]
fn lost_data_stops_its_workload_and_asks_for_a_person() {
    let world = World::placed();
    let lost = BTreeMap::from([("data-db-0".to_owned(), "the claim is gone".to_owned())]);
    world.facts.set_lost(&ID.parse().unwrap(), lost);
    let situation = situation::of(&world.observed(), &world.valid());
    assert_eq!(situation.lost_claims.iter().collect::<Vec<_>>(), ["data-db-0"]);
    let stopped = situation::why_stopped(&situation).unwrap();
    assert!(
        stopped.status == Truth::False && stopped.message.contains("data-db-0"),
        "{stopped:?}"
    );
    let told = world.status(&stopped);
    assert_eq!(reason_of(&told, types::STALLED), said("True", "VolumeReplaced"));
    let message = &find(&told.conditions, types::DATA_LOST).unwrap().message;
    assert!(
        message.contains("data-db-0") && message.contains("OrgRestore"),
        "{message}"
    );
}

#[test]
fn what_was_stopped_for_lost_data_stays_so_over_a_start() {
    let world = World::placed().recorded(&json!([condition("DataLost", "True", "m")]));
    let labels = json!({"platform.tray.ai/org": "acme"});
    let stateful_set = |name: &str, replicas: i64| json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}, "spec": {"replicas": replicas}});
    world.child(ChildKind::StatefulSet, &labels, &stateful_set("db", 0));
    let situation = situation::of(&world.observed(), &world.valid());
    assert_eq!(situation.lost_claims.iter().collect::<Vec<_>>(), ["data-db-0"]);
}

#[test]
fn a_restore_stops_everything_even_before_its_controller_looked_at_it() {
    let world = World::placed();
    assert!(!situation::of(&world.observed(), &world.valid()).restoring);
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
            situation::of(&world.observed(), &world.valid()).restoring,
            stops,
            "{phase}"
        );
    }
    world.facts.set_restoring(&ID.parse().unwrap(), Some("r".into()));
    let told = world.status(&fact(false, reasons::ROLLING_OUT));
    assert_eq!(reason_of(&told, types::READY), said("False", "Restoring"));
}
