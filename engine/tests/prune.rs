//! Pruning frees what nobody needs, late enough, and nothing else.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{fs, sync::atomic::Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use support::{KEEP_DELETE, KEEP_PACK, World, describe, noise};
use tray_engine::{BlobError, BlobStore, EngineError, NoProgress, PruneReport, SnapshotId};

/// A repository whose first snapshot is forgotten; the second shares nothing with it.
fn one_forgotten() -> (World, SnapshotId) {
    let mut world = World::new();
    world.write("a", noise(1, 500_000));
    let old = world.backup(0).snapshot;
    world.write("a", noise(2, 500_000));
    let new = world.backup(1).snapshot;
    world.repository.forget(&[old]).unwrap();
    (world, new)
}

#[test]
fn a_pack_is_marked_when_it_is_old_enough_and_freed_a_pass_later() {
    let (mut world, new) = one_forgotten();
    let before = world.packs().len();
    assert_eq!(
        world.prune(KEEP_PACK - 1).unwrap(),
        PruneReport::default(),
        "too young"
    );
    let marked = world.prune(KEEP_PACK).unwrap();
    assert_eq!(
        (marked.packs_marked, marked.packs_deleted),
        (2, 0),
        "one of content, one of folders"
    );
    let again = world.prune(KEEP_PACK + KEEP_DELETE - 1).unwrap();
    assert_eq!(again, PruneReport::default(), "marked too lately");
    let freed = world.prune(KEEP_PACK + KEEP_DELETE).unwrap();
    assert_eq!((freed.packs_marked, freed.packs_deleted), (0, 2));
    assert!(freed.bytes_freed > 400_000, "{freed:?}");
    assert_eq!(world.packs().len(), before - 2);
    world.repository.verify(&new, &NoProgress).unwrap();
    assert_eq!(world.restored(&new), describe(&world.volume()));
    assert_eq!(world.prune(10_000).unwrap(), PruneReport::default());
}

#[test]
fn a_clock_that_went_back_frees_nothing() {
    let (mut world, _) = one_forgotten();
    world.prune(KEEP_PACK).unwrap();
    assert_eq!(world.prune(-10_000).unwrap(), PruneReport::default());
}

#[test]
fn what_a_crash_left_is_swept_in_two_passes() {
    let mut world = World::new();
    world.write("a", noise(1, 500_000));
    let request = world.request(0);
    world.store.clock.store(10, Ordering::Relaxed);
    world
        .store
        .fail("put index/", 0, BlobError::Unavailable("killed".to_owned()));
    world.repository.backup(&request, &NoProgress).unwrap_err();
    world.store.heal();
    let orphans = world.packs().len() as u64;
    assert!(orphans > 0);
    assert_eq!(world.prune(10 + KEEP_PACK - 1).unwrap(), PruneReport::default());
    let marked = world.prune(10 + KEEP_PACK).unwrap();
    assert_eq!(
        (marked.orphans, marked.packs_marked, marked.packs_deleted),
        (orphans, orphans, 0)
    );
    let freed = world.prune(10 + KEEP_PACK + KEEP_DELETE).unwrap();
    assert_eq!((freed.orphans, freed.packs_deleted), (0, orphans));
    assert_eq!(world.packs(), []);
}

#[test]
fn a_crashed_copy_is_taken_up_by_the_next() {
    let mut world = World::new();
    world.write("a", noise(1, 500_000));
    world.write("b/c", "x");
    let request = world.request(0);
    world
        .store
        .fail("put snapshots/", 0, BlobError::Unavailable("killed".to_owned()));
    world.repository.backup(&request, &NoProgress).unwrap_err();
    world.store.heal();
    let taken = world.backup(1);
    assert!(taken.bytes_added < 5_000, "all of it is there already: {taken:?}");
    world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
}

#[test]
fn a_marked_pack_that_is_needed_again_is_taken_back() {
    let mut world = World::new();
    world.write("a", noise(1, 500_000));
    let taken = world.backup(0).snapshot;
    let name = format!("snapshots/{taken}");
    let held: Bytes = world.store.get(&name).unwrap();
    world.repository.forget(std::slice::from_ref(&taken)).unwrap();
    assert_eq!(world.prune(KEEP_PACK).unwrap().packs_marked, 2);
    // As if a listing had left it out.
    world.store.put_if_absent(&name, held).unwrap();
    world.repository.verify(&taken, &NoProgress).unwrap();
    let pruned = world.prune(KEEP_PACK + KEEP_DELETE).unwrap();
    assert_eq!((pruned.packs_recovered, pruned.packs_deleted), (2, 0));
    assert_eq!(world.prune(10_000).unwrap(), PruneReport::default());
    assert_eq!(world.restored(&taken), describe(&world.volume()));
}

#[test]
fn a_pack_that_is_mostly_unused_is_moved_and_freed() {
    let mut world = World::new();
    for number in 0..20 {
        world.write(&format!("{number:02}"), noise(number, 100_000));
    }
    let all = world.backup(0).snapshot;
    for number in 0..17 {
        fs::remove_file(world.volume().join(format!("{number:02}"))).unwrap();
    }
    let few = world.backup(1).snapshot;
    world.repository.forget(&[all]).unwrap();
    let size = |world: &World| world.packs().iter().map(|pack| pack.size).sum::<u64>();
    let before = size(&world);
    world.prune(KEEP_PACK).unwrap();
    assert!(size(&world) > before, "the new pack lies beside the old one");
    world.repository.verify(&few, &NoProgress).unwrap();
    world.prune(KEEP_PACK + KEEP_DELETE).unwrap();
    assert!(size(&world) < 400_000, "{} of {before}", size(&world));
    world.repository.verify(&few, &NoProgress).unwrap();
    assert_eq!(world.restored(&few), describe(&world.volume()));
    // The next copy finds the moved blobs.
    assert!(world.backup(2).bytes_added < 5_000);
}

#[test]
fn a_damaged_repository_is_not_pruned() {
    let (mut world, new) = one_forgotten();
    world.repository.verify(&new, &NoProgress).unwrap();
    let packs = world.packs();
    let victim = packs.iter().max_by_key(|pack| pack.size).unwrap();
    let kept = fs::read(world.repo().join(&victim.name)).unwrap();
    // One of the two large packs is needed; without it nothing may change.
    for pack in packs.iter().filter(|pack| pack.size > 400_000) {
        fs::rename(world.repo().join(&pack.name), world.repo().join("aside")).unwrap();
        let pruned = world.prune(KEEP_PACK);
        fs::rename(world.repo().join("aside"), world.repo().join(&pack.name)).unwrap();
        if let Err(error) = pruned {
            assert!(
                matches!(&error, EngineError::Corrupt(why) if why.contains("nothing was pruned")),
                "{error}"
            );
            assert_eq!(fs::read(world.repo().join(&victim.name)).unwrap(), kept);
            return;
        }
    }
    panic!("a needed pack was missing and pruning went on");
}

#[test]
fn a_crash_at_any_write_of_a_pass_loses_nothing() {
    for hours in [KEEP_PACK, KEEP_PACK + KEEP_DELETE] {
        for fail_at in 0.. {
            let mut world = World::new();
            for number in 0..6 {
                world.write(&format!("{number}"), noise(number, 100_000));
            }
            let first = world.backup(0).snapshot;
            world.write("0", noise(10, 100_000));
            fs::remove_file(world.volume().join("1")).unwrap();
            let second = world.backup(1).snapshot;
            world.repository.forget(&[first]).unwrap();
            if hours > KEEP_PACK {
                world.prune(KEEP_PACK).unwrap();
            }
            world.store.calls.lock().unwrap().clear();
            // Every put and delete has this in its name; reads of a pass are `list`, `get` and `range`.
            world.store.fail_writes(fail_at);
            let crashed = world.prune(hours);
            world.store.heal();
            world.repository.verify(&second, &NoProgress).unwrap();
            assert_eq!(
                world.restored(&second),
                describe(&world.volume()),
                "crash at write {fail_at}"
            );
            for later in [KEEP_PACK + 100, KEEP_PACK + 200, KEEP_PACK + 300, KEEP_PACK + 400] {
                world.prune(later).unwrap();
            }
            assert_eq!(
                world.restored(&second),
                describe(&world.volume()),
                "after a crash at write {fail_at}"
            );
            if crashed.is_ok() {
                assert!(fail_at > 1);
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Whatever is copied, forgotten and pruned in whatever order: what is kept can be restored, byte for byte, and
    /// at the end nothing else is left.
    #[test]
    fn what_is_kept_is_kept(steps in prop::collection::vec((0u8..4, 0u64..5, any::<prop::sample::Index>()), 4..14)) {
        let mut world = World::new();
        let mut kept: Vec<(SnapshotId, String)> = Vec::new();
        let mut hours = 0;
        for (kind, number, which) in steps {
            hours += 40;
            world.store.clock.store(hours, Ordering::Relaxed);
            match kind {
                0 => world.write(&format!("{}/{number}", number % 2), noise(number + hours as u64, 120_000)),
                1 => {
                    let taken = world.backup(hours);
                    kept.push((taken.snapshot, taken.content_digest));
                }
                2 if !kept.is_empty() => {
                    let (gone, _) = kept.remove(which.index(kept.len()));
                    world.repository.forget(&[gone]).unwrap();
                }
                _ => drop(world.prune(hours).unwrap()),
            }
        }
        for extra in [100, 200, 300] {
            world.prune(hours + extra).unwrap();
        }
        for (id, digest) in &kept {
            world.repository.verify(id, &NoProgress).unwrap();
            let target = world.target(&format!("check-{id}"));
            prop_assert_eq!(&world.restore(id, &target).unwrap().content_digest, digest);
        }
        let all: Vec<_> = kept.into_iter().map(|(id, _)| id).collect();
        world.repository.forget(&all).unwrap();
        for extra in [1000, 1100] {
            world.prune(hours + extra).unwrap();
        }
        prop_assert_eq!(world.packs(), []);
    }
}
