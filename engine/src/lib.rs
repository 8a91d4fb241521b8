//! Deduplicating, encrypted repositories for volume snapshots.
//!
//! [`BlobStore`] is where a repository lies, [`Engine`] and [`Repository`] are what can be done with it.

mod blob_store;
mod dir_store;
mod engine;
mod error;
mod key;
mod progress;

pub use blob_store::{BlobError, BlobInfo, BlobStore};
pub use dir_store::DirStore;
pub use engine::{
    BackupReport, BackupRequest, Engine, InvalidSnapshotId, PruneReport, PruneRequest, Repository,
    RestoreReport, SnapshotId, SnapshotInfo, VerifyReport,
};
pub use error::EngineError;
pub use key::RepositoryKey;
pub use progress::{NoProgress, Progress};
