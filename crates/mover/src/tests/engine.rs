//! An engine that keeps each snapshot as one blob of JSON: enough to see what a mover asks of an engine, and in which order.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use tray_domain::manifest::PartRecord;
use tray_engine::{
    BackupReport, BackupRequest, BlobError, BlobStore, Engine, EngineError, Progress, ProofReport,
    PruneReport, PruneRequest, Repository, RepositoryKey, RestoreReport, SnapshotId, SnapshotInfo,
    VerifyReport,
};

/// What a test makes it do.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainEngine {
    /// Fails a copy as if this file could not be read.
    pub unreadable: Arc<Mutex<Option<String>>>,
    /// What pruning was asked for.
    pub pruned: Arc<Mutex<Vec<PruneRequest>>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    run_id: String,
    time: jiff::Timestamp,
    files: BTreeMap<String, Vec<u8>>,
}

struct Plain {
    store: Arc<dyn BlobStore>,
    engine: PlainEngine,
}

impl Engine for PlainEngine {
    fn open_or_init(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        if store.list("config")?.is_empty() {
            store.put_if_absent("config", key.as_bytes().to_vec().into())?;
        }
        self.open(store, key, work_dir)
    }
    fn open(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        _work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        match store.get("config") {
            Err(BlobError::NotFound(name)) => Err(EngineError::NoRepository(name)),
            Ok(config) if config != key.as_bytes().as_slice() => Err(EngineError::WrongKey(store.location())),
            opened => opened.map_err(EngineError::from).map(|_| {
                Box::new(Plain {
                    store,
                    engine: self.clone(),
                }) as Box<dyn Repository>
            }),
        }
    }
    fn version(&self) -> String {
        "plain 1".into()
    }
}

fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            walk(root, &entry.path(), files);
        } else {
            let name = entry
                .path()
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

fn digest(files: &BTreeMap<String, Vec<u8>>) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(serde_json::to_vec(files).unwrap()))
}

impl Plain {
    fn stored(&self, snapshot: &SnapshotId) -> Result<Stored, EngineError> {
        let body = match self.store.get(&format!("snapshots/{snapshot}")) {
            Err(BlobError::NotFound(name)) => return Err(EngineError::NoSnapshot(name)),
            body => body?,
        };
        let damaged = || EngineError::Corrupt(format!("snapshot {snapshot}"));
        if hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body)) != snapshot.as_str() {
            return Err(damaged());
        }
        serde_json::from_slice(&body).map_err(|_| damaged())
    }
}

impl Repository for Plain {
    fn backup(
        &mut self,
        request: &BackupRequest,
        progress: &dyn Progress,
    ) -> Result<BackupReport, EngineError> {
        use sha2::Digest;
        if let Some(path) = self.engine.unreadable.lock().unwrap().clone() {
            return Err(EngineError::Unreadable {
                path: path.into(),
                why: "Permission denied (os error 13)".into(),
            });
        }
        let mut files = BTreeMap::new();
        if request.paths.is_empty() {
            walk(&request.root, &request.root, &mut files);
        }
        for path in &request.paths {
            walk(&request.root, &request.root.join(path), &mut files);
        }
        let bytes = files.values().map(|bytes| bytes.len() as u64).sum();
        progress.advance(files.len() as u64, bytes);
        let (content_digest, count) = (digest(&files), files.len() as u64);
        let stored = Stored {
            run_id: request.run_id.clone(),
            time: request.time,
            files,
        };
        let body = serde_json::to_vec(&stored).unwrap();
        let snapshot: SnapshotId = hex::encode(sha2::Sha256::digest(&body)).parse().unwrap();
        let bytes_added = body.len() as u64;
        self.store
            .put_if_absent(&format!("snapshots/{snapshot}"), body.into())?;
        Ok(BackupReport {
            snapshot,
            files: count,
            bytes_read: bytes,
            bytes_added,
            content_digest,
            warnings: vec!["lost+found at the root was left out".into()],
        })
    }
    fn verify(&mut self, snapshot: &SnapshotId, _: &dyn Progress) -> Result<VerifyReport, EngineError> {
        // A record that is there already would be one that was written before this proof.
        let stored = self.stored(snapshot)?;
        Ok(VerifyReport {
            packs: 1,
            bytes: stored.files.len() as u64,
        })
    }
    fn prove(&self, snapshot: &SnapshotId, _: &dyn Progress) -> Result<ProofReport, EngineError> {
        let stored = self.stored(snapshot)?;
        let bytes = stored.files.values().map(|bytes| bytes.len() as u64).sum();
        Ok(ProofReport {
            files: stored.files.len() as u64,
            bytes,
            apparent_bytes: bytes,
            packs: 1,
            content_digest: digest(&stored.files),
        })
    }
    fn restore(
        &mut self,
        snapshot: &SnapshotId,
        target: &Path,
        _: &dyn Progress,
    ) -> Result<RestoreReport, EngineError> {
        if fs::read_dir(target).unwrap().next().is_some() {
            return Err(EngineError::Refused(format!("{} is not empty", target.display())));
        }
        let stored = self.stored(snapshot)?;
        for (name, bytes) in &stored.files {
            let path = target.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Ok(RestoreReport {
            files: stored.files.len() as u64,
            bytes: stored.files.values().map(|bytes| bytes.len() as u64).sum(),
            content_digest: digest(&stored.files),
            warnings: vec![],
        })
    }
    fn snapshots(&mut self) -> Result<Vec<SnapshotInfo>, EngineError> {
        let ids = self.store.list("snapshots/")?;
        ids.iter()
            .map(|blob| {
                let id: SnapshotId = blob.name["snapshots/".len()..].parse().unwrap();
                let stored = self.stored(&id)?;
                Ok(SnapshotInfo {
                    id,
                    time: stored.time,
                    run_id: stored.run_id,
                    stored_at: Some(blob.last_modified),
                })
            })
            .collect()
    }
    fn forget(&mut self, snapshots: &[SnapshotId]) -> Result<(), EngineError> {
        for snapshot in snapshots {
            self.store.delete(&format!("snapshots/{snapshot}"))?;
        }
        Ok(())
    }
    fn prune(&mut self, request: &PruneRequest) -> Result<PruneReport, EngineError> {
        self.engine.pruned.lock().unwrap().push(*request);
        Ok(PruneReport {
            packs_marked: 2,
            bytes_freed: 3,
            ..PruneReport::default()
        })
    }
}

/// The record a mover left.
pub(super) fn record(bytes: &[u8]) -> PartRecord {
    serde_json::from_slice(bytes).unwrap()
}
