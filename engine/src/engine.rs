//! What the mover asks of an engine: repositories that take, prove, give back and prune snapshots of a folder.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{BlobStore, EngineError, Progress, RepositoryKey};

/// Makes and opens repositories. Calls block: an async caller runs them on a thread for blocking work.
pub trait Engine: Send + Sync {
    /// Opens the repository in `store`, making it if the store holds none.
    ///
    /// `work_dir` takes a cache of what was read; it may be emptied between calls and holds nothing in plain text.
    fn open_or_init(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError>;

    /// Opens an existing repository; [`EngineError::NoRepository`] where there is none.
    fn open(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError>;

    /// Name and version, as manifests record them.
    fn version(&self) -> String;
}

/// One open repository.
///
/// The caller sees to it that there is one writer, verifier or pruner at a time: nothing in the format does.
pub trait Repository: Send {
    /// Copies `request.root` into a new snapshot. Anything that cannot be read fails the whole copy and is named;
    /// then no snapshot is left, only blobs that a later try finds again or pruning removes.
    fn backup(
        &mut self,
        request: &BackupRequest,
        progress: &dyn Progress,
    ) -> Result<BackupReport, EngineError>;

    /// Proves that a snapshot can be restored, short of reading all its data: every folder of it is read, every blob
    /// it names lies in a pack of the right size, and the header of each pack that came with it opens with the key.
    fn verify(&mut self, snapshot: &SnapshotId, progress: &dyn Progress)
    -> Result<VerifyReport, EngineError>;

    /// Proves, before anything is given up for it, that a snapshot can be restored, and says how much that writes. The
    /// snapshot, the index and every folder are read; every blob of every file is in the index and adds up to the file's
    /// size; every pack of these is in the store and as long as the index says. No data is fetched, nothing is written.
    ///
    /// It may run beside a copy, but not beside pruning, which replaces index files. An error names what is missing.
    fn prove(&self, snapshot: &SnapshotId, progress: &dyn Progress) -> Result<ProofReport, EngineError>;

    /// Writes a snapshot into the folder `target`, which exists and is empty but for `lost+found`, and compares what
    /// then lies there with the snapshot.
    fn restore(
        &mut self,
        snapshot: &SnapshotId,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<RestoreReport, EngineError>;

    /// Every snapshot, oldest first.
    fn snapshots(&mut self) -> Result<Vec<SnapshotInfo>, EngineError>;

    /// Removes snapshots; their data stays until [`Repository::prune`]. Ones that are not there are success.
    fn forget(&mut self, snapshots: &[SnapshotId]) -> Result<(), EngineError>;

    /// Marks packs that no snapshot needs and frees those that were marked long enough ago.
    fn prune(&mut self, request: &PruneRequest) -> Result<PruneReport, EngineError>;
}

/// What to copy.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// Folder that becomes the root of the snapshot.
    pub root: PathBuf,
    /// Only these, relative to `root`; empty = everything. Each has to exist.
    pub paths: Vec<PathBuf>,
    /// Time of the snapshot: the run's consistency point.
    pub time: Timestamp,
    /// Label of the snapshot: the run's id.
    pub run_id: String,
    /// Host name of the snapshot: the volume, not the node that happened to run the mover.
    pub host: String,
    /// Snapshot whose unchanged files need not be read again. `None` = the newest one of the repository.
    pub parent: Option<SnapshotId>,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The new snapshot.
    pub snapshot: SnapshotId,
    /// Entries that are no folders.
    pub files: u64,
    /// Size of all files of the snapshot in bytes, read again or known from the parent.
    pub bytes_read: u64,
    /// Bytes written to the store, compressed and encrypted.
    pub bytes_added: u64,
    /// Hex SHA-256 over paths, kinds, modes, sizes and contents; a restore computes the same.
    pub content_digest: String,
    /// What was left out or changed under the copy, by path.
    pub warnings: Vec<String>,
}

/// What was proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Packs that came with the snapshot and were opened.
    pub packs: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What a restore would need and give, from the snapshot, the index and the folders alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofReport {
    /// Entries that are no folders.
    pub files: u64,
    /// Bytes of content that a restore writes: a file of several names once, and nothing for pieces of zeros, which
    /// stay holes. A volume that is smaller than this cannot take the snapshot. One that is not smaller may still be too
    /// small, since folders, attributes and the rest of each last block take space as well.
    pub bytes: u64,
    /// Sizes of all files as they are listed, holes and further names included: as [`BackupReport::bytes_read`] and
    /// [`RestoreReport::bytes`]. A volume that is smaller may well be large enough.
    pub apparent_bytes: u64,
    /// Packs that are read for a restore, each of which is there.
    pub packs: u64,
    /// As [`BackupReport::content_digest`]. Another one than the manifest's means another snapshot.
    pub content_digest: String,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// Entries that are no folders.
    pub files: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// As [`BackupReport::content_digest`], of what lies in the target.
    pub content_digest: String,
    /// Owners, special mode bits and attributes that this process was not allowed to set, and times that the target's
    /// file system cannot hold, by path.
    pub warnings: Vec<String>,
}

/// One snapshot of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: SnapshotId,
    /// [`BackupRequest::time`].
    pub time: Timestamp,
    /// [`BackupRequest::run_id`].
    pub run_id: String,
    /// When the store took it, by the store's own clock; `None` from an engine that does not know. Later than
    /// [`Self::time`] by as long as the copy took.
    pub stored_at: Option<Timestamp>,
}

/// When packs may go.
#[derive(Clone, Copy, Debug)]
pub struct PruneRequest {
    /// The time that all ages are taken from.
    pub now: Timestamp,
    /// A pack younger than this is left alone: a copy that has not written its index yet may own it.
    pub keep_pack: SignedDuration,
    /// A marked pack is freed after this long; longer than any copy runs, which may still use it.
    pub keep_delete: SignedDuration,
}

/// What pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Packs marked now, to be freed by a later pass.
    pub packs_marked: u64,
    /// Marked packs that are in use again and were taken back.
    pub packs_recovered: u64,
    /// Packs freed.
    pub packs_deleted: u64,
    /// Packs of earlier crashes, in no index: freed in two passes like the others, counted above as well.
    pub orphans: u64,
    /// Bytes freed.
    pub bytes_freed: u64,
}

/// Id of a snapshot in its repository: 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

/// A text that is no [`SnapshotId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no snapshot id: 64 digits 0-9a-f are needed")]
pub struct InvalidSnapshotId(String);

impl SnapshotId {
    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = InvalidSnapshotId;

    fn try_from(text: String) -> Result<Self, InvalidSnapshotId> {
        let valid = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid {
            Ok(Self(text))
        } else {
            Err(InvalidSnapshotId(text))
        }
    }
}

impl FromStr for SnapshotId {
    type Err = InvalidSnapshotId;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshotId> {
        text.to_owned().try_into()
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_id_is_64_hex_digits() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(id.parse::<SnapshotId>().unwrap().as_str(), id);
        for bad in ["", "latest", &id[1..], &id.to_uppercase(), &format!("{id}0")] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
        }
    }
}
