//! What goes wrong is said, named, and leaves no snapshot behind.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use support::{FaultyStore, KEY, World, describe, noise, time};
use tray_engine::{
    BackupRequest, BlobError, BlobStore, DirStore, Engine, EngineError, NoProgress, RepositoryKey,
    RusticEngine, open_pack,
};

const NOBODY: u32 = 65534;

/// The part of the next test that runs as a user who is not root, in a folder with `volume` in it.
#[test]
#[ignore = "started by a_file_or_folder_of_another_user_fails_the_copy_and_is_named"]
fn copy_as_another_user() {
    let folder = std::env::current_dir().unwrap();
    let store = Arc::new(DirStore::new(folder.join("repo")));
    let key = RepositoryKey::from_bytes(KEY);
    let mut repository = RusticEngine
        .open_or_init(store.clone(), &key, &folder.join("work"))
        .unwrap();
    let request = BackupRequest {
        root: folder.join("volume"),
        paths: Vec::new(),
        time: time(0),
        run_id: "run".to_owned(),
        host: "data".to_owned(),
        parent: None,
    };
    let failed = repository.backup(&request, &NoProgress).unwrap_err();
    assert!(failed.permanent());
    let named = PathBuf::from(fs::read_to_string("expected").unwrap());
    assert!(
        matches!(&failed, EngineError::Unreadable { path, why } if *path == named && why.contains("denied")),
        "{failed}"
    );
    assert_eq!(repository.snapshots().unwrap(), []);
}

#[test]
fn a_file_or_folder_of_another_user_fails_the_copy_and_is_named() {
    for (closed, mode) in [("a/secret", 0o000), ("b", 0o311)] {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume");
        fs::create_dir_all(volume.join("a")).unwrap();
        fs::create_dir_all(volume.join("b/below")).unwrap();
        for file in ["a/open", "a/secret", "c"] {
            fs::write(volume.join(file), noise(1, 200_000)).unwrap();
        }
        fs::write(folder.path().join("expected"), closed).unwrap();
        fs::set_permissions(volume.join(closed), fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        // The folder of the test's own binary may be closed to others.
        let program = folder.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(program);
        command
            .args(["--ignored", "--exact", "copy_as_another_user"])
            .current_dir(folder.path());
        // Without root the modes alone keep this user out.
        if fs::metadata(&volume).unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{closed}: {said}"
        );
    }
}

#[test]
fn another_key_is_refused() {
    let world = World::new();
    for open in [RusticEngine::open, RusticEngine::open_or_init] {
        let other = RepositoryKey::from_bytes([8; 64]);
        let refused = open(
            &RusticEngine,
            world.store.clone(),
            &other,
            &world.target(&format!("{:?}", open as usize)),
        );
        assert!(matches!(refused, Err(EngineError::WrongKey(_))));
    }
}

#[test]
fn a_pack_opens_with_its_own_key_alone() {
    let mut world = World::new();
    world.write("file", noise(1, 10_000));
    world.backup(0);
    let packs = world.store.list("data/").unwrap();
    let open = |fill| {
        open_pack(
            world.store.clone(),
            &RepositoryKey::from_bytes([fill; 64]),
            &packs[0].name,
        )
    };
    assert!(open(KEY[0]).unwrap() > 0);
    let refused = open(KEY[0] ^ 1);
    assert!(
        matches!(&refused, Err(EngineError::Damaged { why, .. }) if why.contains("the key")),
        "{refused:?}"
    );
    let missing = open_pack(world.store.clone(), &RepositoryKey::from_bytes(KEY), "data/00/00");
    assert!(matches!(missing, Err(EngineError::Damaged { .. })));
}

#[test]
fn opening_nothing_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirStore::new(folder.path().join("repo")));
    let opened = RusticEngine.open(store, &RepositoryKey::from_bytes(KEY), folder.path());
    assert!(matches!(opened, Err(EngineError::NoRepository(_))));
    assert!(!folder.path().join("repo").exists());
}

#[test]
fn a_repository_that_lost_its_config_is_not_made_anew() {
    let mut world = World::new();
    world.backup(0);
    fs::remove_file(world.repo().join("config")).unwrap();
    let store: Arc<FaultyStore> = world.store.clone();
    let opened = RusticEngine.open_or_init(store, &RepositoryKey::from_bytes(KEY), &world.target("work2"));
    assert!(matches!(opened, Err(EngineError::Corrupt(_))));
    assert!(!world.repo().join("config").exists());
}

/// The pack with most bytes of file content.
fn largest_pack(world: &World) -> PathBuf {
    let packs = world.packs();
    world
        .repo()
        .join(&packs.iter().max_by_key(|pack| pack.size).unwrap().name)
}

#[test]
fn a_missing_cut_or_grown_pack_is_found_by_proof_and_restore() {
    type Damage = fn(&Path);
    let damages: [(Damage, bool); 4] = [
        (|pack| fs::remove_file(pack).unwrap(), true),
        (|pack| set_length(pack, 5000), true),
        // Restores do not read a pack's end.
        (|pack| set_length(pack, 1 << 22), false),
        (flip_last_byte_of_list, false),
    ];
    for (number, (damage, hurts_restore)) in damages.into_iter().enumerate() {
        let mut world = World::new();
        world.write("a", noise(1, 2_000_000));
        let taken = world.backup(0);
        damage(&largest_pack(&world));
        let found = world.repository.verify(&taken.snapshot, &NoProgress);
        assert!(
            matches!(found, Err(EngineError::Damaged { .. })),
            "{number}: {found:?}"
        );
        let target = world.target("restored");
        let restored = world.restore(&taken.snapshot, &target);
        assert_eq!(
            matches!(restored, Err(EngineError::Damaged { .. })),
            hurts_restore,
            "{number}: {restored:?}"
        );
    }
}

fn set_length(pack: &Path, length: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(pack)
        .unwrap()
        .set_len(length)
        .unwrap();
}

fn flip_last_byte_of_list(pack: &Path) {
    let mut bytes = fs::read(pack).unwrap();
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    fs::write(pack, bytes).unwrap();
}

#[test]
fn what_was_copied_but_never_proven_is_not_taken_on_trust() {
    for is_proven in [true, false] {
        let mut world = World::new();
        world.write("a", noise(1, 2_000_000));
        let first = world.backup(0).snapshot;
        if is_proven {
            world.repository.verify(&first, &NoProgress).unwrap();
        }
        flip_last_byte_of_list(&largest_pack(&world));
        let second = world.backup(1).snapshot;
        let proven = world.repository.verify(&second, &NoProgress);
        assert_eq!(proven.is_ok(), is_proven, "{proven:?}");
        // A failed proof is none.
        assert_eq!(world.repository.verify(&second, &NoProgress).is_ok(), is_proven);
        world.repository.forget(&[first, second]).unwrap();
        assert_eq!(world.store.list("proven/").unwrap(), []);
    }
}

#[test]
fn a_flipped_byte_of_content_is_found_by_restore() {
    let mut world = World::new();
    world.write("a", noise(1, 2_000_000));
    let taken = world.backup(0);
    let pack = largest_pack(&world);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let target = world.target("restored");
    let failed = world.restore(&taken.snapshot, &target).unwrap_err();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(
        matches!(&failed, EngineError::Corrupt(why) if why.contains(name)),
        "{failed}"
    );
}

#[test]
fn damaged_metadata_is_named() {
    for folder in ["index", "snapshots"] {
        let mut world = World::new();
        world.write("a", "x");
        let taken = world.backup(0);
        let name = world.store.list(&format!("{folder}/")).unwrap().remove(0).name;
        fs::write(world.repo().join(&name), "nothing of use").unwrap();
        let failed = world.repository.verify(&taken.snapshot, &NoProgress).unwrap_err();
        assert!(
            matches!(&failed, EngineError::Damaged { name: named, .. } if *named == name),
            "{failed}"
        );
    }
}

#[test]
fn a_store_that_fails_at_any_write_fails_the_copy_and_the_next_try_ends_well() {
    let down = BlobError::Unavailable("no answer".to_owned());
    for fail_at in 0..20 {
        let mut world = World::new();
        for number in 0..4 {
            world.write(&format!("{number}/file"), noise(number, 300_000));
        }
        let request = world.request(0);
        world.store.fail("put", fail_at, down.clone());
        let first = world.repository.backup(&request, &NoProgress);
        world.store.heal();
        if first.is_ok() {
            assert!(fail_at >= 4, "a copy wrote {fail_at} files only");
            return;
        }
        assert_eq!(first, Err(EngineError::Store(down.clone())));
        assert!(!first.unwrap_err().permanent());
        assert_eq!(world.repository.snapshots().unwrap(), []);
        world.reopen();
        let taken = world.backup(1);
        world.repository.verify(&taken.snapshot, &NoProgress).unwrap();
        assert_eq!(world.restored(&taken.snapshot), describe(&world.volume()));
    }
    panic!("a copy of four files writes more than 20");
}

#[test]
fn a_store_that_cannot_be_read_fails_every_call() {
    let denied = BlobError::Denied("by policy".to_owned());
    for pattern in [
        "list index/",
        "get index/",
        "list snapshots/",
        "get snapshots/",
        "list data/",
    ] {
        let mut world = World::new();
        world.write("a", noise(1, 100_000));
        world.backup(0);
        let taken = world.backup(1);
        world.store.fail(pattern, 0, denied.clone());
        let pruned = world.prune(1000);
        assert_eq!(pruned, Err(EngineError::Store(denied.clone())), "{pattern}");
        let verified = world.repository.verify(&taken.snapshot, &NoProgress);
        assert_eq!(verified, Err(EngineError::Store(denied.clone())), "{pattern}");
    }
}
