use std::fs;

use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    ids::RunId,
    manifest::Consistency,
    mover_task::{Action, MoverOutcome, PrunedVolume},
};

use super::fakes::{Namespace, World, run, sweep};
use crate::perform;

/// Copies a volume that holds `text`: the id of the repository snapshot.
async fn copy(world: &World, text: &str, consistency_point: &str) -> String {
    fs::write(world.volume().join("f"), text).unwrap();
    let action = Action::SnapshotVolume {
        run_id: run(),
        part: "data-db-0".parse().unwrap(),
        paths: vec![],
        consistency: Consistency::AtRest,
        consistency_point: consistency_point.parse().unwrap(),
    };
    match perform(world.session(text, action)).await.unwrap() {
        MoverOutcome::Snapshotted { record } => record.repository_snapshot.unwrap(),
        other => unreachable!("{other:?}"),
    }
}
fn prune(planned_at: &str, remove: &[RunId]) -> Action {
    Action::Prune {
        sweep_id: sweep(),
        planned_at: planned_at.parse().unwrap(),
        volumes: vec!["data-db-0".parse().unwrap()],
        remove: remove.to_vec(),
        keep_delete_hours: 23,
        keep_pack_hours: 72,
    }
}
fn snapshots(world: &World) -> Vec<String> {
    let keys = world.bucket.keys();
    keys.iter()
        .filter_map(|key| key.split_once("/snapshots/").map(|(_, id)| id.to_owned()))
        .collect()
}

fn records(world: &World) -> Vec<String> {
    let mut keys = world.bucket.keys();
    keys.retain(|key| key.contains("/runs/"));
    keys
}

#[tokio::test]
async fn what_is_left_of_the_named_runs_goes() {
    let world = World::new(Namespace::default());
    copy(&world, "one", "2026-01-01T00:00:00Z").await;
    world.bucket.put(&World::archive_key(), "sealed");
    let task = prune("2026-01-02T00:00:00Z", &[run()]);
    let outcome = perform(world.session("pod", task)).await.unwrap();
    assert_eq!(
        outcome,
        MoverOutcome::Pruned {
            volumes: vec![PrunedVolume {
                volume: "data-db-0".parse().unwrap(),
                removed_snapshots: 1,
                marked_packs: 2,
                freed_bytes: 3,
            }]
        }
    );
    assert_eq!(snapshots(&world), [""; 0]);
    assert!(world.bucket.of(&World::archive_key()).is_none());
    assert_eq!(records(&world), [""; 0]);
    let asked = world.engine.pruned.lock().unwrap()[0];
    assert_eq!(asked.keep_delete, SignedDuration::from_hours(23));
    assert_eq!(asked.keep_pack, SignedDuration::from_hours(72));
}

#[tokio::test]
async fn what_is_not_named_stays_whoever_made_it() {
    let world = World::new(Namespace::default());
    let one = copy(&world, "one", "2026-01-01T00:00:00Z").await;
    world.bucket.put(&World::archive_key(), "sealed");
    let other = "01ARZ3NDEKTSV4RRFFQ69G5FAX".parse().unwrap();
    let task = prune("2026-01-02T00:00:00Z", &[other]);
    perform(world.session("pod", task)).await.unwrap();
    assert_eq!(snapshots(&world), [one]);
    assert!(world.bucket.of(&World::archive_key()).is_some());
    assert_eq!(records(&world), [World::record_key("data-db-0", "one")]);
}

#[tokio::test]
async fn nothing_goes_that_is_younger_than_the_sweep() {
    // By what the snapshot says of itself.
    let world = World::new(Namespace::default());
    let young = copy(&world, "one", "2026-01-03T00:00:00Z").await;
    let task = prune("2026-01-02T00:00:00Z", &[run()]);
    perform(world.session("pod", task)).await.unwrap();
    assert_eq!(snapshots(&world), [young]);
    // By the store's word: the point may be long before the copy.
    let world = World::new(Namespace::default());
    let late = copy(&world, "one", "2026-01-01T00:00:00Z").await;
    world.bucket.put(&World::archive_key(), "sealed");
    *world.bucket.stored_at.lock().unwrap() = "2026-01-02T00:00:01Z".parse::<Timestamp>().unwrap();
    let task = prune("2026-01-02T00:00:00Z", &[run()]);
    perform(world.session("pod", task)).await.unwrap();
    assert_eq!(snapshots(&world), [late]);
    assert!(world.bucket.of(&World::archive_key()).is_some());
    assert_eq!(records(&world), [World::record_key("data-db-0", "one")]);
}

#[tokio::test]
async fn an_org_without_volumes_loses_the_archives_and_records_of_its_runs() {
    let world = World::new(Namespace::default());
    world.bucket.put(&World::archive_key(), "sealed");
    let record = World::record_key("objects", "pod-1");
    world.bucket.put(&record, "{}");
    let without_volumes = |planned_at: &str| match prune(planned_at, &[run()]) {
        Action::Prune {
            sweep_id,
            planned_at,
            remove,
            keep_delete_hours,
            keep_pack_hours,
            ..
        } => Action::Prune {
            sweep_id,
            planned_at,
            volumes: vec![],
            remove,
            keep_delete_hours,
            keep_pack_hours,
        },
        other => other,
    };
    let task = without_volumes("2026-01-02T00:00:00Z");
    let outcome = perform(world.session("pod", task)).await.unwrap();
    assert_eq!(outcome, MoverOutcome::Pruned { volumes: vec![] });
    assert!(world.bucket.of(&World::archive_key()).is_none());
    assert!(world.bucket.of(&record).is_none());
    let gone = vec![World::archive_key(), record];
    assert_eq!(*world.bucket.deleted.lock().unwrap(), gone);
    // What is gone is not deleted once more.
    let again = without_volumes("2026-01-03T00:00:00Z");
    perform(world.session("pod", again)).await.unwrap();
    assert_eq!(*world.bucket.deleted.lock().unwrap(), gone);
}

#[tokio::test]
async fn a_volume_that_was_never_copied_has_nothing_to_prune() {
    let world = World::new(Namespace::default());
    let task = prune("2026-01-02T00:00:00Z", &[]);
    let outcome = perform(world.session("pod", task)).await.unwrap();
    assert!(matches!(outcome, MoverOutcome::Pruned { volumes } if volumes[0].removed_snapshots == 0));
}
