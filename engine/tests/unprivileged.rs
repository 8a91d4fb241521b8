//! Movers are not root: what they may not set is said, everything else comes back.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use support::{KEY, World, describe, noise};
use tray_engine::{DirStore, Engine, NoProgress, RepositoryKey, RusticEngine};

const NOBODY: u32 = 65534;

/// The part of the next test that runs as a user who is not root, in the folder of the repository.
#[test]
#[ignore = "started by owners_that_may_not_be_set_are_said"]
fn restore_as_another_user() {
    let folder = std::env::current_dir().unwrap();
    let store = Arc::new(DirStore::new(folder.join("repo")));
    let mut repository = RusticEngine
        .open(store, &RepositoryKey::from_bytes(KEY), &folder.join("work2"))
        .unwrap();
    let id = repository.snapshots().unwrap().remove(0).id;
    let restored = repository
        .restore(&id, &folder.join("restored"), &NoProgress)
        .unwrap();
    assert_eq!(restored.content_digest, fs::read_to_string("expected").unwrap());
    let of_root = fs::metadata("volume/of-root").unwrap().uid();
    let mine = fs::metadata("restored/of-root").unwrap().uid();
    let said = restored
        .warnings
        .iter()
        .filter(|warning| warning.contains("owner"))
        .count();
    assert_eq!(
        said,
        if of_root == mine { 0 } else { 5 },
        "{:?}",
        restored.warnings
    );
}

#[test]
fn owners_that_may_not_be_set_are_said() {
    let mut world = World::new();
    let volume = world.volume();
    world.write("of-root", "x");
    world.write("closed/within", noise(1, 300_000));
    world.write("mine", "x");
    symlink("of-root", volume.join("link")).unwrap();
    fs::set_permissions(volume.join("closed"), fs::Permissions::from_mode(0o2550)).unwrap();
    let is_root = fs::metadata(&volume).unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(volume.join("mine"), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::hard_link(volume.join("of-root"), volume.join("of-root-too")).unwrap();
    }
    let taken = world.backup(0);
    let folder = volume.parent().unwrap();
    fs::write(folder.join("expected"), &taken.content_digest).unwrap();
    let program = folder.join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for open in [folder, &world.target("restored"), &program] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new(program);
    command
        .args(["--ignored", "--exact", "restore_as_another_user"])
        .current_dir(folder);
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    // Contents, kinds and times are the same; owners are cut out.
    let restored = without_owners(&folder.join("restored"));
    let copied = without_owners(&volume);
    let differing: Vec<_> = restored.iter().zip(&copied).filter(|(a, b)| a != b).collect();
    assert!(
        differing.iter().all(|(line, _)| line.starts_with("\"closed\"")),
        "only setgid may be lost: {differing:?}"
    );
    assert_eq!(restored.len(), copied.len());
}

fn without_owners(folder: &Path) -> Vec<String> {
    let without = |line: &String| {
        let parts: Vec<_> = line.split(' ').collect();
        [&parts[..2], &parts[3..]].concat().join(" ")
    };
    describe(folder).iter().map(without).collect()
}
