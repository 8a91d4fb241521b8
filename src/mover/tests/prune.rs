use std::fs;

use jiff::SignedDuration;

use super::fakes::{Namespace, World, run};
use crate::{
    domain::{
        manifest::Consistency,
        mover_task::{Action, FailureReason, MoverOutcome, PruneVolume, PrunedVolume},
    },
    mover::perform,
};

/// Copies a volume that holds `text`: the id of the repository snapshot.
async fn copy(world: &World, text: &str) -> String {
    fs::write(world.volume().join("f"), text).unwrap();
    let action = Action::SnapshotVolume {
        run_id: run(),
        part: "data-db-0".parse().unwrap(),
        paths: vec![],
        consistency: Consistency::AtRest,
        consistency_point: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    match perform(world.session(text, action)).await.unwrap() {
        MoverOutcome::Snapshotted { record } => record.repository_snapshot.unwrap(),
        other => unreachable!("{other:?}"),
    }
}
fn prune(keep: &[&str]) -> Action {
    Action::Prune {
        volumes: vec![PruneVolume {
            volume: "data-db-0".parse().unwrap(),
            keep: keep.iter().map(|id| (*id).to_owned()).collect(),
            keep_delete_hours: 23,
            keep_pack_hours: 72,
        }],
        remove_archives: vec![run()],
    }
}
fn snapshots(world: &World) -> Vec<String> {
    let keys = world.bucket.keys();
    keys.iter()
        .filter_map(|key| key.split_once("/snapshots/").map(|(_, id)| id.to_owned()))
        .collect()
}

#[tokio::test]
async fn only_what_the_plan_keeps_stays() {
    let world = World::new(Namespace::default());
    let (_, kept) = (copy(&world, "one").await, copy(&world, "two").await);
    world.bucket.put(&World::archive_key(), "sealed");
    let outcome = perform(world.session("pod", prune(&[&kept]))).await.unwrap();
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
    assert_eq!(snapshots(&world), [kept]);
    assert!(world.bucket.of(&World::archive_key()).is_none());
    let asked = world.engine.pruned.lock().unwrap()[0];
    assert_eq!(asked.keep_delete, SignedDuration::from_hours(23));
    assert_eq!(asked.keep_pack, SignedDuration::from_hours(72));
}

#[tokio::test]
async fn nothing_is_removed_where_a_copy_to_keep_is_not_there() {
    let world = World::new(Namespace::default());
    let one = copy(&world, "one").await;
    let failure = perform(world.session("pod", prune(&[&"0".repeat(64)])))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.reason, failure.permanent),
        (FailureReason::RepositoryFailed, true)
    );
    assert_eq!(snapshots(&world), [one]);
    assert!(world.engine.pruned.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_volume_that_was_never_copied_has_nothing_to_prune() {
    let world = World::new(Namespace::default());
    let outcome = perform(world.session("pod", prune(&[]))).await.unwrap();
    assert!(matches!(outcome, MoverOutcome::Pruned { volumes } if volumes[0].removed_snapshots == 0));
}
