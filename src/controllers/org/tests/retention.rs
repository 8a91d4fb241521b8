//! How long logs and snapshots are kept, from what is recorded and what is wanted.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::{World, now};
use crate::controllers::org::retention::{kept, news};

/// An org that has had 720 hours and 14 days, in a Region that demands nothing.
fn world() -> World {
    let mut world = World::placed();
    world.region["spec"]["stage"] = "NonProduction".into();
    world.org["status"]["executionLogs"] = json!({"visibleHours": 720, "keptHours": 720, "source": "Plan"});
    world.org["status"]["snapshotRetention"] = json!({"keepDays": 14, "keepAtLeast": 3});
    world
}

#[test]
fn an_org_that_nothing_is_recorded_of_has_what_its_policy_says() {
    let mut world = World::placed();
    world.region["spec"]["stage"] = "NonProduction".into();
    world.policy["spec"] =
        json!({"executionLogs": {"enterpriseHours": 24}, "snapshots": {"keepDays": 1, "keepAtLeast": 1}});
    let kept = kept(&world.observed(), now());
    assert_eq!(kept.logs.map(|logs| logs.kept_hours), Some(24));
    assert_eq!(kept.snapshots.map(|snapshots| snapshots.keep_days), Some(1));
    assert!(kept.pending.is_empty());
}

#[test]
fn what_became_shorter_is_in_force_a_day_later_and_looked_at_then() {
    let mut world = world();
    world.policy["spec"] =
        json!({"executionLogs": {"enterpriseHours": 24}, "snapshots": {"keepDays": 2, "keepAtLeast": 1}});
    let found = kept(&world.observed(), now());
    assert_eq!(
        found.logs.map(|logs| (logs.visible_hours, logs.kept_hours)),
        Some((24, 720))
    );
    assert_eq!(
        found.snapshots.map(|s| (s.keep_days, s.keep_at_least)),
        Some((14, 3))
    );
    assert_eq!(found.pending.len(), 3);
    let later = now() + SignedDuration::from_hours(24);
    assert_eq!(found.changes_at(now()), Some(later));

    world.org["status"]["pendingReductions"] = serde_json::to_value(&found.pending).unwrap();
    let found = kept(&world.observed(), later);
    assert_eq!(found.logs.map(|logs| logs.kept_hours), Some(24));
    assert_eq!(
        found.snapshots.map(|s| (s.keep_days, s.keep_at_least)),
        Some((2, 1))
    );
    assert_eq!(found.changes_at(later), None);
}

#[test]
fn without_its_policy_or_a_region_an_org_keeps_what_is_recorded() {
    let mut world = world();
    let recorded = kept(&world.observed(), now());
    world.index.policies.remove("standard", None);
    world.policy = Value::Null;
    assert_eq!(kept(&world.observed(), now()), recorded);
    world.index.regions.remove("eu", None);
    world.region = Value::Null;
    let told = world.status_of_obstacle();
    assert_eq!(
        (told.execution_logs, told.snapshot_retention),
        (recorded.logs, recorded.snapshots)
    );
}

#[test]
fn what_newly_waits_is_told_once_with_the_way_out() {
    let mut world = world();
    world.org["spec"]["executionLogs"] = json!({"mode": "Hidden"});
    let observed = world.observed();
    let mut after = observed.org.status.clone().unwrap();
    after.pending_reductions = kept(&observed, now()).pending;
    let said = news(observed.org.status.as_ref(), &after).unwrap();
    assert!(
        said.starts_with("executionLogs.keptHours goes from 720 to 24 at 2027-01-16T"),
        "{said}"
    );
    assert!(
        said.contains("put the TrayOrg or its RetentionPolicy back"),
        "{said}"
    );
    assert_eq!(news(Some(&after), &after), None);
}

#[test]
fn what_a_production_region_refuses_is_not_in_force_later_either() {
    let mut world = world();
    world.region["spec"]["stage"] = "Production".into();
    world.policy["spec"] = json!({"snapshots": {"keepDays": 2, "keepAtLeast": 3}});
    let found = kept(&world.observed(), now());
    assert_eq!(found.snapshots.map(|snapshots| snapshots.keep_days), Some(14));
    assert!(found.pending.is_empty(), "{found:?}");
}

#[test]
fn what_waited_for_a_policy_that_is_gone_is_not_looked_at_again_and_again() {
    let mut world = world();
    let past =
        json!([{"field": "executionLogs.keptHours", "from": 720, "to": 24, "at": "2026-01-01T00:00:00Z"}]);
    world.org["status"]["pendingReductions"] = past;
    world.policy = Value::Null;
    let found = kept(&world.observed(), now());
    assert_eq!(found.logs.map(|logs| logs.kept_hours), Some(720));
    assert_eq!(found.changes_at(now()), None);
}

#[test]
fn an_obstacle_keeps_neither_hidden_logs_in_sight_nor_a_reduction_from_waiting() {
    let mut world = world();
    world.org["spec"]["executionLogs"] = json!({"mode": "Hidden"});
    world.observed();
    world.index.regions.remove("eu", None);
    world.region = Value::Null;
    let told = world.status_of_obstacle();
    let logs = told
        .execution_logs
        .map(|logs| (logs.visible_hours, logs.kept_hours));
    assert_eq!(logs, Some((0, 720)));
    assert_eq!(told.pending_reductions.len(), 1);
}
