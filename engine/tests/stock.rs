//! Others can read our repositories: the library by itself, over a backend that is not ours.
//!
//! This is what an operator who has lost us relies on; docs/open-a-repository.md says how it is done by hand.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustic_core::{
    BytesList, CheckOptions, Credentials, FileType, Id, KeyOptions, LsOptions, OpenStatus, ReadBackend,
    Repository, RepositoryBackends, RepositoryOptions, RusticResult, WriteBackend,
};
use support::{KEY, World, noise};

/// A repository in a folder, as the library's own local backend has it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn path(&self, kind: FileType, id: &Id) -> PathBuf {
        let id = id.to_hex();
        match kind {
            FileType::Config => self.0.join("config"),
            FileType::Pack => self.0.join("data").join(&id[..2]).join(&*id),
            _ => self.0.join(kind.dirname()).join(&*id),
        }
    }
}

impl ReadBackend for Folder {
    fn location(&self) -> String {
        self.0.display().to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let files = |folder: &Path| -> Vec<(Id, u32)> {
            let Ok(entries) = fs::read_dir(folder) else {
                return Vec::new();
            };
            let file = |entry: fs::DirEntry| {
                let size = u32::try_from(entry.metadata().unwrap().len()).unwrap();
                Some((entry.file_name().to_str()?.parse().ok()?, size))
            };
            entries.filter_map(|entry| file(entry.unwrap())).collect()
        };
        Ok(match kind {
            FileType::Config => vec![(Id::default(), 1)],
            FileType::Pack => {
                let folders = fs::read_dir(self.0.join("data")).unwrap();
                folders
                    .flat_map(|folder| files(&folder.unwrap().path()))
                    .collect()
            }
            _ => files(&self.0.join(kind.dirname())),
        })
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        Ok(fs::read(self.path(kind, id)).unwrap().into())
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let whole = self.read_full(kind, id)?;
        Ok(whole.slice(offset as usize..(offset + length) as usize))
    }

    fn warmup_path(&self, _: FileType, id: &Id) -> String {
        id.to_hex().to_string()
    }
}

impl WriteBackend for Folder {
    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        let path = self.path(kind, id);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.into_vec().concat()).unwrap();
        Ok(())
    }

    fn remove(&self, _: FileType, _: &Id, _: bool) -> RusticResult<()> {
        panic!("nothing is to be removed")
    }
}

fn open(folder: &Path, credentials: &Credentials) -> RusticResult<Repository<OpenStatus>> {
    let backends = RepositoryBackends::new(Arc::new(Folder(folder.to_owned())), None);
    let options = RepositoryOptions::default().no_cache(true);
    Repository::new(&options, &backends)?.open(credentials)
}

/// The 64 bytes as `rustic` reads them from its key file.
fn master_key() -> Credentials {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let part = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let file = serde_json::json!({
        "mac": { "k": part(&KEY[32..48]), "r": part(&KEY[48..64]) },
        "encrypt": part(&KEY[..32]),
    });
    Credentials::Masterkey(serde_json::from_value(file).unwrap())
}

fn contents(repository: Repository<OpenStatus>) -> Vec<(PathBuf, Vec<u8>)> {
    let repository = repository.to_indexed().unwrap();
    let snapshot = repository.get_snapshot_from_str("latest", |_| true).unwrap();
    let root = repository.node_from_snapshot_and_path(&snapshot, "").unwrap();
    let mut found = Vec::new();
    for item in repository.ls(&root, &LsOptions::default()).unwrap() {
        let (path, node) = item.unwrap();
        if node.is_file() {
            let mut content = Vec::new();
            repository.dump(&node, &mut content).unwrap();
            found.push((path, content));
        }
    }
    found
}

fn world() -> (World, Vec<(PathBuf, Vec<u8>)>) {
    let mut world = World::new();
    let files = [
        ("a/b", b"content".to_vec()),
        ("large", noise(1, 2_000_000)),
        ("ü", Vec::new()),
    ];
    for (path, content) in &files {
        world.write(path, content);
    }
    world.backup(0);
    world.write("large", noise(2, 2_000_000));
    let old = world.backup(1).snapshot;
    world.write("large", noise(1, 2_000_000));
    world.backup(2);
    world.repository.forget(&[old]).unwrap();
    (
        world,
        files
            .into_iter()
            .map(|(path, content)| (PathBuf::from(path), content))
            .collect(),
    )
}

#[test]
fn the_library_opens_and_checks_all_of_it_with_the_key_alone() {
    let (mut world, files) = world();
    // Before pruning, with marked packs, and after they were freed.
    for hours in [0, 100, 200] {
        world.prune(hours).unwrap();
        assert!(
            !world.repo().join("keys").exists(),
            "there is no password to guess"
        );
        let check = CheckOptions::default().read_data(true);
        open(&world.repo(), &master_key())
            .unwrap()
            .check(check)
            .unwrap()
            .is_ok()
            .unwrap();
        assert_eq!(contents(open(&world.repo(), &master_key()).unwrap()), files);
    }
}

#[test]
fn a_copy_with_a_password_added_opens_by_password() {
    let (world, files) = world();
    let copy = world.target("copy");
    let status = std::process::Command::new("cp")
        .arg("-a")
        .args([world.repo().join("."), copy.clone()])
        .status();
    assert!(status.unwrap().success());
    open(&copy, &master_key())
        .unwrap()
        .add_key("a password", &KeyOptions::default())
        .unwrap();
    assert_eq!(
        contents(open(&copy, &Credentials::password("a password")).unwrap()),
        files
    );
    assert!(open(&copy, &Credentials::password("another")).is_err());
}
