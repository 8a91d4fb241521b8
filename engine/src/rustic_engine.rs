//! The engine on repositories of the restic format: `rustic_core` copies into them, our own code does the rest.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    BackupReport, BackupRequest, BlobStore, Engine, EngineError, Progress, ProofReport, PruneReport,
    PruneRequest, Repository, RepositoryKey, RestoreReport, SnapshotId, SnapshotInfo, VerifyReport, backup,
    format::{Cipher, FileKind, SnapshotRecord, Vault},
    prove, prune, restore, verify,
};

/// Version of the library that copies; Cargo.toml pins it.
const LIBRARY: &str = "rustic_core 0.13.0";

/// Makes and opens repositories of the restic format, version 2, sealed with a key of the caller and no password.
#[derive(Clone, Copy, Debug, Default)]
pub struct RusticEngine;

/// What has to be known of a config file.
#[derive(Deserialize)]
struct Config {
    version: u32,
}

impl Engine for RusticEngine {
    fn open_or_init(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        match self.open(store.clone(), key, work_dir) {
            Err(EngineError::NoRepository(_)) => {
                // Snapshots without a config are a repository that lost it, not an empty place.
                if let Some(blob) = store.list(FileKind::Snapshot.prefix())?.first() {
                    let location = store.location();
                    return Err(EngineError::Corrupt(format!(
                        "{location} holds {} and no config",
                        blob.name
                    )));
                }
                backup::init(store.clone(), key)?;
                self.open(store, key, work_dir)
            }
            opened => opened,
        }
    }

    fn open(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        let vault = Vault {
            store,
            cipher: Cipher::new(key),
        };
        let config: Config = vault.read_config()?;
        if config.version != 2 {
            let version = config.version;
            return Err(EngineError::Refused(format!(
                "open a repository of format {version}: only 2 is known"
            )));
        }
        Ok(Box::new(OpenRepository {
            vault,
            key: key.clone(),
            work_dir: work_dir.to_owned(),
        }))
    }

    fn version(&self) -> String {
        format!("tray-engine {} ({LIBRARY})", env!("CARGO_PKG_VERSION"))
    }
}

struct OpenRepository {
    vault: Vault,
    key: RepositoryKey,
    work_dir: PathBuf,
}

impl Repository for OpenRepository {
    fn backup(
        &mut self,
        request: &BackupRequest,
        progress: &dyn Progress,
    ) -> Result<BackupReport, EngineError> {
        backup::run(&self.vault, &self.key, &self.work_dir, request, progress)
    }

    fn verify(
        &mut self,
        snapshot: &SnapshotId,
        progress: &dyn Progress,
    ) -> Result<VerifyReport, EngineError> {
        verify::run(&self.vault, snapshot, progress)
    }

    fn prove(&self, snapshot: &SnapshotId, progress: &dyn Progress) -> Result<ProofReport, EngineError> {
        prove::run(&self.vault, snapshot, progress)
    }

    fn restore(
        &mut self,
        snapshot: &SnapshotId,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<RestoreReport, EngineError> {
        restore::run(&self.vault, snapshot, target, progress)
    }

    fn snapshots(&mut self) -> Result<Vec<SnapshotInfo>, EngineError> {
        Ok(SnapshotRecord::read_all(&self.vault)?
            .into_iter()
            .map(|(info, _)| info)
            .collect())
    }

    fn forget(&mut self, snapshots: &[SnapshotId]) -> Result<(), EngineError> {
        for snapshot in snapshots {
            // The proof goes last: without its snapshot it says nothing, and pruning sweeps it.
            for kind in [FileKind::Snapshot, FileKind::Proof] {
                self.vault.store.delete(&format!("{}{snapshot}", kind.prefix()))?;
            }
        }
        Ok(())
    }

    fn prune(&mut self, request: &PruneRequest) -> Result<PruneReport, EngineError> {
        prune::run(&self.vault, request)
    }
}
