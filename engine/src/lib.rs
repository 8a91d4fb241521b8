//! Deduplicating, encrypted repositories for volume snapshots.
//!
//! [`BlobStore`] is where a repository lies, [`Engine`] and [`Repository`] are what can be done with it.

mod attributes;
mod backend;
mod backup;
mod blob_store;
mod digest;
mod dir_store;
mod engine;
mod error;
mod format;
mod key;
mod needs;
mod progress;
mod prove;
mod prune;
mod restore;
mod rustic_engine;
mod source;
mod verify;

pub use blob_store::{BlobError, BlobInfo, BlobStore};
pub use dir_store::DirStore;
pub use engine::{
    BackupReport, BackupRequest, Engine, InvalidSnapshotId, ProofReport, PruneReport, PruneRequest,
    Repository, RestoreReport, SnapshotId, SnapshotInfo, VerifyReport,
};
pub use error::EngineError;
pub use key::RepositoryKey;
pub use progress::{NoProgress, Progress};
pub use rustic_engine::RusticEngine;
pub use verify::open_pack;
