//! Times of change come back to the nanosecond, however odd; where a file system cannot hold one, that is said.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::fs::{CWD, FileType, Mode};
use support::{KEY, World, describe, mtime, set_mtime, time};
use tray_engine::{
    BackupRequest, DirStore, Engine, EngineError, NoProgress, RepositoryKey, RusticEngine, SnapshotId,
};

/// 1900-01-01 and 2500-01-01: no ext4 holds them.
const YEAR_1900: i64 = -2_208_988_800;
const YEAR_2500: i64 = 16_725_225_600;
/// First seconds of the years 1 and 10000: snapshots hold what lies between.
const YEAR_1: i64 = -62_135_596_800;
const YEAR_10000: i64 = 253_402_300_800;

/// A folder in memory, whose file system holds any time; `None` where there is no such thing.
fn in_memory() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir_in("/dev/shm").ok()?;
    let odd = [(YEAR_1 - 1, 0), (YEAR_10000, 0)];
    let holds_all = odd.into_iter().all(|time| {
        set_mtime(folder.path(), time);
        mtime(folder.path()) == time
    });
    holds_all.then_some(folder)
}

#[test]
fn odd_times_come_back_to_the_nanosecond() {
    let times = [
        // -1.5 s, the landing on the moon, and the last nanosecond before 1970.
        (-2, 500_000_000),
        (-14_182_940, 0),
        (-1, 999_999_999),
        (-1, 0),
        (-1, 1),
        (0, 0),
        (0, 1),
        // The first second of 32 bits with a sign, the last one, and the one after it.
        (-2_147_483_648, 0),
        (-2_147_483_648, 1),
        (2_147_483_647, 999_999_999),
        (2_147_483_648, 0),
        (YEAR_1900, 0),
        (YEAR_1900, 123_456_789),
        (YEAR_2500, 987_654_321),
        (YEAR_1, 0),
        // A day and more before the end: what a time zone may add is kept free.
        (YEAR_10000 - 200_000, 5),
    ];
    // The usual one clamps some of these when they are set, which then is what has to come back.
    for folder in [tempfile::tempdir().ok(), in_memory()].into_iter().flatten() {
        let mut world = World::within(folder);
        let volume = world.volume();
        for (number, time) in times.into_iter().enumerate() {
            let at = |kind: &str| volume.join(format!("{kind}-{number}"));
            fs::write(at("file"), format!("content {number}")).unwrap();
            fs::create_dir(at("folder")).unwrap();
            fs::write(at("folder").join("within"), "x").unwrap();
            symlink("nowhere", at("link")).unwrap();
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
            fs::write(at("named-twice"), "y").unwrap();
            fs::hard_link(at("named-twice"), at("other-name")).unwrap();
            for kind in ["file", "folder", "link", "fifo", "named-twice"] {
                set_mtime(&at(kind), time);
            }
        }
        let copied = describe(&volume);
        let taken = world.backup(0);
        assert_eq!(taken.warnings, Vec::<String>::new());
        world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
        let target = world.target("restored");
        let restored = world.restore(&taken.snapshot, &target).unwrap();
        assert_eq!(restored.warnings, Vec::<String>::new());
        assert_eq!(restored.content_digest, taken.content_digest);
        assert_eq!(describe(&target), copied);
        // Nothing of it looks changed to the next copy.
        let again = world.backup(1);
        assert!(again.bytes_added < 10_000, "{again:?}");
    }
}

#[test]
fn a_time_that_the_target_cannot_hold_is_said_and_the_rest_comes_back() {
    let Some(folder) = in_memory() else {
        // This machine has no file system that holds more than its others: nothing to prove here.
        return;
    };
    let mut world = World::within(folder);
    let odd = [("old", YEAR_1900), ("new", YEAR_2500), ("usual", 1_000_000_007)];
    for (name, second) in odd {
        world.write(name, name);
        set_mtime(&world.volume().join(name), (second, 0));
    }
    fs::create_dir(world.volume().join("folder")).unwrap();
    set_mtime(&world.volume().join("folder"), (YEAR_2500, 0));
    let taken = world.backup(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let scratch = elsewhere.path().join("scratch");
    fs::write(&scratch, "").unwrap();
    let target = elsewhere.path().join("target");
    fs::create_dir(&target).unwrap();
    let mut warned = 0;
    for _ in ["the restore", "another try after it was done and not heard"] {
        let restored = world.restore(&taken.snapshot, &target).unwrap();
        assert_eq!(restored.content_digest, taken.content_digest);
        warned = 0;
        for (name, second) in odd.into_iter().chain([("folder", YEAR_2500)]) {
            set_mtime(&scratch, (second, 0));
            let held = mtime(&scratch);
            assert_eq!(mtime(&target.join(name)), held, "{name}");
            let said = restored
                .warnings
                .iter()
                .filter(|warning| warning.starts_with(&format!("{name}: time of change")))
                .count();
            assert_eq!(said, usize::from(held != (second, 0)), "{:?}", restored.warnings);
            warned += said;
        }
        assert_eq!(restored.warnings.len(), warned, "{:?}", restored.warnings);
    }
    // The name of the probe's file is nowhere.
    assert_eq!(fs::read_dir(&target).unwrap().count(), 4, "{warned} warnings");
}

#[test]
fn a_time_that_somebody_changed_is_no_fault_of_the_file_system() {
    let mut world = World::new();
    world.write("a", "x");
    set_mtime(&world.volume().join("a"), (-2, 500_000_000));
    let taken = world.backup(0);
    let target = world.target("restored");
    world.restore(&taken.snapshot, &target).unwrap();
    world.restore(&taken.snapshot, &target).unwrap();
    set_mtime(&target.join("a"), (-2, 600_000_000));
    let refused = world.restore(&taken.snapshot, &target);
    assert!(matches!(refused, Err(EngineError::Refused(_))), "{refused:?}");
}

#[test]
fn a_time_that_no_snapshot_holds_is_left_out_and_said() {
    let Some(folder) = in_memory() else {
        return;
    };
    let mut world = World::within(folder);
    for (name, second) in [("before", YEAR_1 - 1), ("after", YEAR_10000), ("within", YEAR_1)] {
        world.write(name, name);
        set_mtime(&world.volume().join(name), (second, 0));
    }
    let taken = world.backup(0);
    let said: Vec<_> = taken
        .warnings
        .iter()
        .map(|w| w.split(':').next().unwrap())
        .collect();
    assert_eq!(said, ["after", "before"], "{:?}", taken.warnings);
    let target = world.target("restored");
    let restored = world.restore(&taken.snapshot, &target).unwrap();
    assert_eq!(restored.content_digest, taken.content_digest);
    assert_eq!(mtime(&target.join("within")), (YEAR_1, 0));
}

/// The part of the next test that runs in a zone whose offset was 44 minutes and 30 seconds.
#[test]
#[ignore = "started by a_zone_whose_offset_has_seconds_is_said"]
fn copy_in_another_zone() {
    let folder = std::env::current_dir().unwrap();
    let store = Arc::new(DirStore::new(folder.join("repo")));
    let key = RepositoryKey::from_bytes(KEY);
    let mut repository = RusticEngine
        .open_or_init(store, &key, &folder.join("work"))
        .unwrap();
    let request = BackupRequest {
        root: folder.join("volume"),
        paths: Vec::new(),
        time: time(0),
        run_id: "run".to_owned(),
        host: "data".to_owned(),
        parent: None,
    };
    let taken = repository.backup(&request, &NoProgress).unwrap();
    let lines = [vec![taken.snapshot.to_string()], taken.warnings].concat();
    fs::write("taken", lines.join("\n")).unwrap();
}

#[test]
fn a_zone_whose_offset_has_seconds_is_said() {
    // As Liberia had until 1972, and as a zone of whole minutes.
    for (zone, expected) in [("XXX0:44:30", 1), ("XXX0:44", 0), ("UTC", 0)] {
        let mut world = World::new();
        world.write("old", "x");
        let second = -14_182_940;
        set_mtime(&world.volume().join("old"), (second, 0));
        let folder = world.volume().parent().unwrap().to_owned();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "copy_in_another_zone"])
            .env("TZ", zone)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let taken = fs::read_to_string(folder.join("taken")).unwrap();
        let mut lines = taken.lines();
        let id: SnapshotId = lines.next().unwrap().parse().unwrap();
        let warnings: Vec<_> = lines.collect();
        assert_eq!(warnings.len(), expected, "{zone}: {warnings:?}");
        let target: PathBuf = world.target("restored");
        world.restore(&id, &target).unwrap();
        let found = mtime(Path::new(&target.join("old")));
        // What is warned of is the library's own doing; without it there would be nothing to warn of.
        assert_eq!(found == (second, 0), expected == 0, "{zone}: {found:?}");
    }
}
