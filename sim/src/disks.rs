//! What lies on volumes: files of which only the content's number and size are known.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lock::lock;

/// Where a mover finds volumes.
const ROOT: &str = "/disks";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Content {
    /// What it is: the same number is the same bytes.
    pub id: u64,
    /// How large it is.
    pub bytes: u64,
}

/// The files of a volume by path.
pub type Files = BTreeMap<String, Content>;

/// The disks behind PersistentVolumes, by the name of these.
#[derive(Debug, Default)]
pub struct Disks(Mutex<BTreeMap<String, Files>>);

impl Disks {
    fn disks(&self) -> MutexGuard<'_, BTreeMap<String, Files>> {
        lock(&self.0)
    }

    /// Makes an empty disk.
    pub fn make(&self, volume: &str) {
        self.disks().entry(volume.to_owned()).or_default();
    }

    /// What lies on a disk; none = there is no such disk.
    pub fn files(&self, volume: &str) -> Option<Files> {
        self.disks().get(volume).cloned()
    }

    /// Changes what lies on a disk.
    pub fn change<T>(&self, volume: &str, change: impl FnOnce(&mut Files) -> T) -> Option<T> {
        self.disks().get_mut(volume).map(change)
    }
}

/// Where a mover finds a disk.
pub fn path_of(volume: &str) -> PathBuf {
    Path::new(ROOT).join(volume)
}

/// The disk that a mover finds there.
pub fn disk_at(path: &Path) -> Option<&str> {
    path.strip_prefix(ROOT).ok()?.to_str()
}

/// What manifests say of a volume's content.
pub fn digest(files: &Files) -> String {
    let mut text = String::new();
    for (path, Content { id, bytes }) in files {
        let _ = writeln!(text, "{path} {id} {bytes}");
    }
    hex::encode(Sha256::digest(text))
}
