//! Before a restore: what it needs is there, or what is not is named. Nothing is written, no data fetched.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileExt, MetadataExt, symlink},
    path::Path,
};

use support::{KEY, World, describe, noise, time};
use tray_engine::{
    BlobError, BlobStore, Engine, EngineError, NoProgress, ProofReport, RepositoryKey, RusticEngine,
    SnapshotId,
};

const MIB: u64 = 1 << 20;

/// Opens the repository anew, as another process would, and proves a snapshot.
fn prove(world: &World, id: &SnapshotId) -> Result<ProofReport, EngineError> {
    let nowhere = Path::new("/nonexistent/cache");
    let repository = RusticEngine.open(world.store.clone(), &RepositoryKey::from_bytes(KEY), nowhere)?;
    repository.prove(id, &NoProgress)
}

/// Files, a file of two names, links, folders, and holes.
fn varied(world: &World) {
    world.write("a/deep/file", noise(1, 3 << 20));
    world.write("small", "content");
    world.write("empty", "");
    let volume = world.volume();
    fs::create_dir(volume.join("empty-folder")).unwrap();
    symlink("a/deep", volume.join("link")).unwrap();
    fs::hard_link(volume.join("a/deep/file"), volume.join("other-name")).unwrap();
    let sparse = fs::File::create(volume.join("sparse")).unwrap();
    sparse.set_len(64 * MIB).unwrap();
    sparse.write_all_at(&noise(2, 300_000), 30 * MIB).unwrap();
}

#[test]
fn a_proof_says_what_the_copy_and_the_restore_say() {
    let mut world = World::new();
    varied(&world);
    let taken = world.backup(0);
    let proven = prove(&world, &taken.snapshot).unwrap();
    let target = world.target("restored");
    let restored = world.restore(&taken.snapshot, &target).unwrap();
    assert_eq!(proven.content_digest, taken.content_digest);
    assert_eq!(proven.content_digest, restored.content_digest);
    assert_eq!(
        (proven.files, proven.apparent_bytes),
        (taken.files, taken.bytes_read)
    );
    assert_eq!(
        (proven.files, proven.apparent_bytes),
        (restored.files, restored.bytes)
    );
    let verified = world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
    assert_eq!(proven.packs, verified.packs);
    // The hole is not written but for the ends of the pieces around the data in it.
    let content = 3 * MIB + 7 + 300_000;
    assert!(
        (content..content + MIB).contains(&proven.bytes),
        "{proven:?} for {content}"
    );
    // What the file system holds now, each file once.
    let mut seen = BTreeSet::new();
    let mut held = 0;
    for name in ["a/deep/file", "other-name", "small", "empty", "sparse"] {
        let metadata = fs::metadata(target.join(name)).unwrap();
        if seen.insert(metadata.ino()) {
            held += metadata.blocks() * 512;
        }
    }
    assert!(
        (proven.bytes..proven.bytes + MIB).contains(&held),
        "{held} for {proven:?}"
    );
}

#[test]
fn bytes_are_what_is_written_and_no_more() {
    type Fill = fn(&World);
    let cases: [(Fill, u64, u64); 5] = [
        (|_| {}, 0, 0),
        (|world| world.write("a", noise(1, 500_000)), 500_000, 500_000),
        (|world| world.write("a", vec![0; 500_000]), 0, 500_000),
        // Short ones of zeros, too; and what is not all zeros counts whole.
        (
            |world| {
                world.write("a", [0; 3]);
                world.write("b", [0, 0, 1]);
            },
            3,
            6,
        ),
        (
            |world| {
                world.write("a", noise(1, 100_000));
                fs::hard_link(world.volume().join("a"), world.volume().join("b")).unwrap();
                // The same content in a file of its own is written again.
                world.write("c", noise(1, 100_000));
            },
            200_000,
            300_000,
        ),
    ];
    for (number, (fill, bytes, apparent_bytes)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        fill(&world);
        let id = world.backup(0).snapshot;
        let proven = prove(&world, &id).unwrap();
        assert_eq!(
            (proven.bytes, proven.apparent_bytes),
            (bytes, apparent_bytes),
            "{number}"
        );
    }
}

#[test]
fn nothing_is_written_and_no_data_is_fetched() {
    let mut world = World::new();
    varied(&world);
    let id = world.backup(0).snapshot;
    let before = describe(&world.repo());
    let folder = world.repo().parent().unwrap().to_owned();
    let beside = fs::read_dir(&folder).unwrap().count();
    world.store.fail_writes(0);
    world.store.calls.lock().unwrap().clear();
    prove(&world, &id).unwrap();
    let calls = std::mem::take(&mut *world.store.calls.lock().unwrap());
    assert!(!calls.iter().any(|call| call.contains("write:")), "{calls:#?}");
    // Of packs, only that of the folders is read.
    let read = calls
        .iter()
        .filter(|call| call.contains("data/") && !call.starts_with("list"));
    assert_eq!(read.count(), 1, "{calls:#?}");
    assert_eq!(describe(&world.repo()), before);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), beside);
    assert!(!Path::new("/nonexistent").exists());
    // It takes no proof of a copy's place: that is still to be made.
    assert_eq!(world.store.list("proven/").unwrap(), []);
}

/// Packs by what is in them: the one of folders, then the one of data.
fn packs_of_folders_and_data(world: &World) -> [String; 2] {
    let mut packs = world.packs();
    packs.sort_by_key(|pack| pack.size);
    assert_eq!(packs.len(), 2);
    [packs[0].name.clone(), packs[1].name.clone()]
}

#[test]
fn a_pack_that_is_missing_cut_or_grown_is_named() {
    let set_length = |pack: &Path, change: i64| {
        let file = fs::OpenOptions::new().write(true).open(pack).unwrap();
        let length = i64::try_from(file.metadata().unwrap().len()).unwrap();
        file.set_len((length + change).try_into().unwrap()).unwrap();
    };
    for which in 0..2 {
        for damage in ["missing", "cut", "grown"] {
            let mut world = World::new();
            world.write("folder/a", noise(1, 2_000_000));
            let id = world.backup(0).snapshot;
            // A proof of the copy does not make this one trust it.
            world.repository.verify(&id, &NoProgress).unwrap();
            let name = packs_of_folders_and_data(&world)[which].clone();
            let pack = world.repo().join(&name);
            match damage {
                "missing" => fs::remove_file(&pack).unwrap(),
                "cut" => set_length(&pack, -1),
                _ => set_length(&pack, 1),
            }
            let found = prove(&world, &id);
            assert!(
                matches!(&found, Err(EngineError::Damaged { name: named, .. }) if *named == name),
                "{damage} {which}: {found:?}"
            );
        }
    }
}

#[test]
fn what_no_index_lists_is_named() {
    let mut world = World::new();
    world.write("first", noise(1, 200_000));
    world.backup(0);
    let known: BTreeSet<String> = names(&world, "index/");
    world.write("folder/second", noise(2, 200_000));
    let id = world.backup(1).snapshot;
    let new: Vec<String> = names(&world, "index/").difference(&known).cloned().collect();
    assert_eq!(new.len(), 1);
    // The folders of the second copy are in its own index file alone.
    fs::remove_file(world.repo().join(&new[0])).unwrap();
    let found = prove(&world, &id);
    assert!(
        matches!(&found, Err(EngineError::Corrupt(why)) if why.contains("the root folder: blob ")),
        "{found:?}"
    );
    for index in known {
        fs::remove_file(world.repo().join(index)).unwrap();
    }
    let found = prove(&world, &id);
    assert!(
        matches!(&found, Err(EngineError::Corrupt(why)) if why.contains("index/")),
        "{found:?}"
    );
}

#[test]
fn a_file_or_folder_whose_blobs_no_index_lists_is_named() {
    // The first copy's index lists what the second shares with it, and is then lost.
    for (shared, named) in [("folder/a", "folder: blob "), ("a", "a: blob ")] {
        let mut world = World::new();
        world.write(shared, noise(1, 200_000));
        world.backup(0);
        let first = names(&world, "index/");
        world.write("b", noise(2, 200_000));
        let id = world.backup(1).snapshot;
        for index in first {
            fs::remove_file(world.repo().join(index)).unwrap();
        }
        let found = prove(&world, &id);
        assert!(
            matches!(&found, Err(EngineError::Corrupt(why)) if why.starts_with(named)),
            "{shared}: {found:?}"
        );
    }
}

fn names(world: &World, prefix: &str) -> BTreeSet<String> {
    let listed = world.store.list(prefix).unwrap();
    listed.into_iter().map(|blob| blob.name).collect()
}

#[test]
fn a_missing_snapshot_and_damaged_metadata_are_named() {
    let mut world = World::new();
    world.write("a", "x");
    let id = world.backup(0).snapshot;
    for folder in ["index/", "snapshots/"] {
        let name = names(&world, folder).pop_first().unwrap();
        let whole = fs::read(world.repo().join(&name)).unwrap();
        fs::write(world.repo().join(&name), "nothing of use").unwrap();
        let found = prove(&world, &id);
        assert!(
            matches!(&found, Err(EngineError::Damaged { name: named, .. }) if *named == name),
            "{found:?}"
        );
        fs::write(world.repo().join(&name), whole).unwrap();
    }
    prove(&world, &id).unwrap();
    world.repository.forget(std::slice::from_ref(&id)).unwrap();
    assert_eq!(prove(&world, &id), Err(EngineError::NoSnapshot(id.to_string())));
    fs::remove_file(world.repo().join("config")).unwrap();
    let opened = prove(&world, &id);
    assert!(matches!(opened, Err(EngineError::NoRepository(_))), "{opened:?}");
}

#[test]
fn another_key_is_told_before_anything_is_proven() {
    let mut world = World::new();
    world.write("a", "x");
    world.backup(0);
    let other = RepositoryKey::from_bytes([8; 64]);
    let opened = RusticEngine.open(world.store.clone(), &other, Path::new("/nonexistent/cache"));
    let error = opened.err().unwrap();
    assert!(
        matches!(&error, EngineError::WrongKey(place) if *place == world.store.location()),
        "{error}"
    );
}

#[test]
fn a_store_that_does_not_answer_proves_nothing_and_is_no_damage() {
    for error in [
        BlobError::Denied("by policy".to_owned()),
        BlobError::Unavailable("no answer".to_owned()),
    ] {
        for pattern in [
            "get snapshots/",
            "list index/",
            "get index/",
            "get data/",
            "list data/",
        ] {
            let mut world = World::new();
            world.write("a", noise(1, 100_000));
            let id = world.backup(0).snapshot;
            world.store.fail(pattern, 0, error.clone());
            assert_eq!(
                prove(&world, &id),
                Err(EngineError::Store(error.clone())),
                "{pattern}"
            );
        }
    }
}

#[test]
fn snapshots_say_when_the_store_took_them() {
    let mut world = World::new();
    world.write("a", "x");
    for (hours, taken) in [(0, 3), (1, 2)] {
        world
            .store
            .clock
            .store(taken, std::sync::atomic::Ordering::Relaxed);
        world.backup(hours);
    }
    let listed: Vec<_> = world
        .repository
        .snapshots()
        .unwrap()
        .into_iter()
        .map(|snapshot| (snapshot.time, snapshot.run_id, snapshot.stored_at))
        .collect();
    assert_eq!(
        listed,
        [
            (time(0), "run-0".to_owned(), Some(time(3))),
            (time(1), "run-1".to_owned(), Some(time(2))),
        ]
    );
}
