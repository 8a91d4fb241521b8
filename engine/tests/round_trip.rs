//! What is copied comes back as it was.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use support::{World, describe, noise};
use tray_engine::{BackupRequest, EngineError, NoProgress};

/// Something of every kind that a volume may hold.
fn varied(world: &World) {
    world.write("a/deep/er/file", "content");
    world.write("empty", "");
    world.write("large", noise(1, 3_000_000));
    world.write("zeros", vec![0; 1 << 20]);
    world.write("ünïcode/日本", "x");
    let volume = world.volume();
    fs::write(
        volume.join(OsStr::from_bytes(b"not-\xff\xfeutf8 \"quoted\"\\\n")),
        "y",
    )
    .unwrap();
    fs::create_dir(volume.join("empty-folder")).unwrap();
    symlink("a/deep", volume.join("link")).unwrap();
    symlink("/nowhere/at all", volume.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff"), volume.join("odd-link")).unwrap();
    fs::hard_link(volume.join("large"), volume.join("a/same-as-large")).unwrap();
    let sparse = fs::File::create(volume.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 30 << 20).unwrap();
    for (path, mode) in [
        ("empty", 0o4755),
        ("a/deep", 0o2750),
        ("ünïcode", 0o1777),
        ("zeros", 0o400),
    ] {
        fs::set_permissions(volume.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_007, 123_456_789);
    fs::File::open(volume.join("a/deep/er"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    fs::File::open(volume.join("large"))
        .unwrap()
        .set_modified(old)
        .unwrap();
}

#[test]
fn everything_comes_back_as_it_was() {
    let mut world = World::new();
    varied(&world);
    let taken = world.backup(0);
    assert_eq!(taken.warnings, Vec::<String>::new());
    world.reopen();
    let verified = world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
    assert!(verified.packs >= 2 && verified.bytes > 3_000_000, "{verified:?}");
    let target = world.target("restored");
    let restored = world.restore(&taken.snapshot, &target).unwrap();
    assert_eq!(restored.content_digest, taken.content_digest);
    assert_eq!((restored.files, restored.bytes), (taken.files, taken.bytes_read));
    assert_eq!(restored.warnings, Vec::<String>::new());
    assert_eq!(describe(&target), describe(&world.volume()));
    let inode = |path: &str| fs::metadata(target.join(path)).unwrap().ino();
    assert_eq!(inode("large"), inode("a/same-as-large"));
    let sparse = fs::metadata(target.join("sparse")).unwrap();
    assert!(
        sparse.blocks() * 512 < 1 << 20,
        "a sparse file takes {} blocks",
        sparse.blocks()
    );
}

#[test]
fn an_empty_volume_is_a_snapshot_too() {
    let mut world = World::new();
    let taken = world.backup(0);
    assert_eq!((taken.files, taken.bytes_read), (0, 0));
    world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
    let target = world.target("restored");
    assert_eq!(
        world.restore(&taken.snapshot, &target).unwrap().content_digest,
        taken.content_digest
    );
    assert_eq!(describe(&target), Vec::<String>::new());
}

#[test]
fn a_second_copy_adds_what_changed_and_reads_nothing_else() {
    let mut world = World::new();
    world.write("a", noise(1, 8 << 20));
    world.write("b", noise(2, 1 << 20));
    let first = world.backup(0);
    assert!(
        world
            .repository
            .verify(&first.snapshot, &NoProgress)
            .unwrap()
            .packs
            > 0
    );
    let unchanged = world.backup(1);
    assert_eq!(unchanged.content_digest, first.content_digest);
    assert!(unchanged.bytes_added < 10_000, "{unchanged:?}");
    assert_eq!(
        world
            .repository
            .verify(&unchanged.snapshot, &NoProgress)
            .unwrap()
            .packs,
        0
    );
    world.write("b", noise(3, 1 << 20));
    let changed = world.backup(2);
    assert_ne!(changed.content_digest, first.content_digest);
    assert!((1 << 20..3 << 20).contains(&changed.bytes_added), "{changed:?}");
    assert_eq!(changed.bytes_read, 9 << 20);
    let ids: Vec<_> = world
        .repository
        .snapshots()
        .unwrap()
        .into_iter()
        .map(|s| (s.id, s.run_id))
        .collect();
    let named = |report: &tray_engine::BackupReport, run: &str| (report.snapshot.clone(), run.to_owned());
    assert_eq!(
        ids,
        [
            named(&first, "run-0"),
            named(&unchanged, "run-1"),
            named(&changed, "run-2")
        ]
    );
}

#[test]
fn the_digest_is_of_content_names_and_modes() {
    let mut world = World::new();
    world.write("a", "one");
    let first = world.backup(0).content_digest;
    fs::set_permissions(world.volume().join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    let mode = world.backup(1).content_digest;
    fs::rename(world.volume().join("a"), world.volume().join("b")).unwrap();
    let name = world.backup(2).content_digest;
    world.write("b", "two");
    let content = world.backup(3).content_digest;
    let all = std::collections::BTreeSet::from([first, mode, name, content]);
    assert_eq!(all.len(), 4);
}

#[test]
fn only_the_asked_for_folders_are_copied() {
    let mut world = World::new();
    world.write("backup/base/1", "in");
    world.write("live/2", "out");
    let request = BackupRequest {
        paths: vec![PathBuf::from("backup")],
        ..world.request(0)
    };
    let taken = world.repository.backup(&request, &NoProgress).unwrap();
    assert_eq!(taken.files, 1);
    let target = world.target("restored");
    world.restore(&taken.snapshot, &target).unwrap();
    assert!(target.join("backup/base/1").exists() && !target.join("live").exists());
    for bad in ["../x", "/etc"] {
        let request = BackupRequest {
            paths: vec![PathBuf::from(bad)],
            ..world.request(1)
        };
        assert!(matches!(
            world.repository.backup(&request, &NoProgress),
            Err(EngineError::Refused(_))
        ));
    }
}

#[test]
fn lost_and_found_is_left_out_and_said_and_sockets_too() {
    let mut world = World::new();
    world.write("lost+found/1", "x");
    world.write("a", "x");
    let _socket = std::os::unix::net::UnixListener::bind(world.volume().join("socket")).unwrap();
    let taken = world.backup(0);
    assert_eq!(taken.files, 1);
    assert_eq!(taken.warnings.len(), 2, "{:?}", taken.warnings);
    let target = world.target("restored");
    fs::create_dir(target.join("lost+found")).unwrap();
    world.restore(&taken.snapshot, &target).unwrap();
}

#[test]
fn a_target_that_holds_something_else_is_refused_and_left_alone() {
    let mut world = World::new();
    world.write("a", "x");
    let taken = world.backup(0);
    let target = world.target("restored");
    fs::write(target.join("mine"), "precious").unwrap();
    let refused = world.restore(&taken.snapshot, &target).unwrap_err();
    assert!(
        matches!(&refused, EngineError::Refused(why) if why.contains("mine")),
        "{refused}"
    );
    assert_eq!(describe(&target).len(), 1);
}

#[test]
fn a_restore_is_taken_up_after_a_crash_and_repeated_without_harm() {
    let mut world = World::new();
    varied(&world);
    let taken = world.backup(0);
    let target = world.target("restored");
    world.store.fail(
        "range data/",
        0,
        tray_engine::BlobError::Unavailable("gone".to_owned()),
    );
    assert!(matches!(
        world.restore(&taken.snapshot, &target),
        Err(EngineError::Store(_))
    ));
    assert!(!describe(&target).is_empty());
    world.store.heal();
    let restored = world.restore(&taken.snapshot, &target).unwrap();
    assert_eq!(describe(&target), describe(&world.volume()));
    assert_eq!(
        world.restore(&taken.snapshot, &target).unwrap().content_digest,
        restored.content_digest
    );
}

#[test]
fn a_volume_with_an_unfinished_restore_is_not_copied() {
    let mut world = World::new();
    world.write("a", noise(1, 100_000));
    let taken = world.backup(0);
    let target = world.target("restored");
    world.store.fail(
        "range data/",
        0,
        tray_engine::BlobError::Unavailable("gone".to_owned()),
    );
    world.restore(&taken.snapshot, &target).unwrap_err();
    world.store.heal();
    let request = BackupRequest {
        root: target,
        ..world.request(1)
    };
    assert!(matches!(
        world.repository.backup(&request, &NoProgress),
        Err(EngineError::Refused(_))
    ));
}

#[test]
fn attributes_come_back() {
    let mut world = World::new();
    world.write("a", "x");
    let path = world.volume().join("a");
    if xattr::set(&path, "user.tray", b"\x00\xffvalue").is_err() {
        // This file system has none: nothing to prove here.
        return;
    }
    let taken = world.backup(0);
    let target = world.target("restored");
    world.restore(&taken.snapshot, &target).unwrap();
    assert_eq!(
        xattr::get(target.join("a"), "user.tray").unwrap().unwrap(),
        b"\x00\xffvalue"
    );
}

#[test]
fn an_unknown_snapshot_is_named() {
    let mut world = World::new();
    let id: tray_engine::SnapshotId = "ab".repeat(32).parse().unwrap();
    let target = world.target("restored");
    assert_eq!(
        world.restore(&id, &target).unwrap_err(),
        EngineError::NoSnapshot(id.to_string())
    );
    assert_eq!(
        world.repository.verify(&id, &NoProgress).unwrap_err(),
        EngineError::NoSnapshot(id.to_string())
    );
    world.repository.forget(&[id]).unwrap();
    assert!(Path::new(&target).exists());
}

#[test]
fn an_unchanged_copy_asks_the_store_for_little() {
    let mut world = World::new();
    for number in 0..300 {
        world.write(&format!("{number}/file"), format!("content {number}"));
    }
    world.backup(0);
    // As in a new pod: nothing cached.
    fs::remove_dir_all(world.volume().with_file_name("work")).unwrap();
    world.reopen();
    world.store.calls.lock().unwrap().clear();
    let taken = world.backup(1);
    let calls = std::mem::take(&mut *world.store.calls.lock().unwrap());
    assert!(calls.len() <= 16, "{} calls: {calls:#?}", calls.len());
    world.reopen();
    world.store.calls.lock().unwrap().clear();
    world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
    let calls = std::mem::take(&mut *world.store.calls.lock().unwrap());
    assert!(calls.len() <= 16, "{} calls: {calls:#?}", calls.len());
}
