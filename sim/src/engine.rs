//! A light engine over the real bucket of the world: packs that name what they hold, snapshots that name what they need. It
//! deduplicates, marks and frees as the real one does, so that what is pruned too early is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tray_engine::{
    BackupReport, BackupRequest, BlobError, BlobInfo, BlobStore, Engine, EngineError, Progress, ProofReport,
    PruneReport, PruneRequest, Repository, RepositoryKey, RestoreReport, SnapshotId, SnapshotInfo,
    VerifyReport,
};

use crate::disks::{self, Disks, Files};

/// Makes light repositories of the world's disks.
#[derive(Clone)]
pub struct LightEngine {
    disks: Arc<Disks>,
    /// Packs are encrypted, so none has the name of another.
    packs: Arc<AtomicU64>,
    witness: Arc<dyn Witness>,
}

/// Sees what an engine really does.
pub trait Witness: Send + Sync {
    /// A disk was read into a snapshot.
    fn read(&self, disk: &str, request: &BackupRequest, snapshot: &SnapshotId);

    /// Whether an engine that is told to fill a disk does it.
    fn lets_fill(&self) -> bool;
}

/// Sees nothing, and lets everything be done.
struct Nobody;

impl Witness for Nobody {
    fn read(&self, _: &str, _: &BackupRequest, _: &SnapshotId) {}

    fn lets_fill(&self) -> bool {
        true
    }
}

impl LightEngine {
    /// Of these disks.
    pub fn new(disks: Arc<Disks>) -> Self {
        Self {
            disks,
            packs: Arc::default(),
            witness: Arc::new(Nobody),
        }
    }

    /// The same, before a witness.
    #[must_use]
    pub fn before(&self, witness: Arc<dyn Witness>) -> Self {
        Self {
            witness,
            ..self.clone()
        }
    }
}

/// A snapshot as it lies in the bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The run that it is of.
    pub run_id: String,
    /// Its consistency point.
    pub time: Timestamp,
    /// What it holds.
    pub files: Files,
}

impl Snapshot {
    /// Content that it needs.
    pub fn needs(&self) -> BTreeSet<u64> {
        self.files.values().map(|content| content.id).collect()
    }

    fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.bytes).sum()
    }
}

/// What a pack holds: the numbers of contents.
pub type Pack = BTreeSet<u64>;

struct Light {
    store: Arc<dyn BlobStore>,
    engine: LightEngine,
}

impl Engine for LightEngine {
    fn open_or_init(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        if store.list("config")?.is_empty() {
            store.put_if_absent("config", proof_of(key).into())?;
        }
        self.open(store, key, work_dir)
    }

    fn open(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        _: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        match store.get("config") {
            Err(BlobError::NotFound(name)) => Err(EngineError::NoRepository(name)),
            Err(error) => Err(error.into()),
            Ok(config) if config != proof_of(key).as_bytes() => Err(EngineError::WrongKey(store.location())),
            Ok(_) => Ok(Box::new(Light {
                store,
                engine: self.clone(),
            })),
        }
    }

    fn version(&self) -> String {
        "light 1".to_owned()
    }
}

/// What tells whether a key is a repository's.
fn proof_of(key: &RepositoryKey) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

fn decode<T: DeserializeOwned>(name: &str, body: &Bytes) -> Result<T, EngineError> {
    serde_json::from_slice(body).map_err(|error| EngineError::Corrupt(format!("{name}: {error}")))
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes, EngineError> {
    let body = serde_json::to_vec(value).map_err(|error| EngineError::Internal(error.to_string()))?;
    Ok(body.into())
}

impl Light {
    fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot, EngineError> {
        let name = format!("snapshots/{id}");
        match self.store.get(&name) {
            Err(BlobError::NotFound(name)) => Err(EngineError::NoSnapshot(name)),
            Err(error) => Err(error.into()),
            Ok(body) if hex::encode(Sha256::digest(&body)) != id.as_str() => Err(EngineError::Corrupt(name)),
            Ok(body) => decode(&name, &body),
        }
    }

    /// The packs there are, by name, with when the store took them.
    fn packs(&self) -> Result<Vec<(BlobInfo, Pack)>, EngineError> {
        let mut packs = Vec::new();
        for info in self.store.list("data/")? {
            let pack = decode(&info.name, &self.store.get(&info.name)?)?;
            packs.push((info, pack));
        }
        Ok(packs)
    }

    /// When packs were marked, by their name.
    fn marks(&self) -> Result<BTreeMap<String, Timestamp>, EngineError> {
        let listed = self.store.list("marks/")?;
        let marked = listed
            .into_iter()
            .map(|info| (info.name.replacen("marks/", "data/", 1), info.last_modified));
        Ok(marked.collect())
    }

    /// Fails where a pack that is needed is not there.
    fn complete(&self, id: &SnapshotId) -> Result<(Snapshot, u64), EngineError> {
        let snapshot = self.snapshot(id)?;
        let packs = self.packs()?;
        for content in snapshot.needs() {
            if !packs.iter().any(|(_, pack)| pack.contains(&content)) {
                let what = format!("snapshot {id} needs content {content}, which is in no pack");
                return Err(EngineError::Corrupt(what));
            }
        }
        Ok((snapshot, packs.len() as u64))
    }
}

impl Repository for Light {
    fn backup(
        &mut self,
        request: &BackupRequest,
        progress: &dyn Progress,
    ) -> Result<BackupReport, EngineError> {
        let unreadable = |path: &Path| EngineError::Unreadable {
            path: path.to_owned(),
            why: "no such file or directory".to_owned(),
        };
        let disk = disks::disk_at(&request.root).ok_or_else(|| unreadable(&request.root))?;
        let files = self.engine.disks.files(disk);
        let mut files = files.ok_or_else(|| unreadable(&request.root))?;
        if !request.paths.is_empty() {
            for path in &request.paths {
                if !files.keys().any(|file| Path::new(file).starts_with(path)) {
                    return Err(unreadable(path));
                }
            }
            files.retain(|file, _| request.paths.iter().any(|path| Path::new(file).starts_with(path)));
        }
        let marks = self.marks()?;
        let unmarked = self
            .packs()?
            .into_iter()
            .filter(|(info, _)| !marks.contains_key(&info.name));
        let known: BTreeSet<u64> = unmarked.flat_map(|(_, pack)| pack).collect();
        let snapshot = Snapshot {
            run_id: request.run_id.clone(),
            time: request.time,
            files,
        };
        let new: Pack = snapshot.needs().difference(&known).copied().collect();
        let mut bytes_added = 0;
        if !new.is_empty() {
            let number = self.engine.packs.fetch_add(1, Ordering::Relaxed);
            let name = hex::encode(Sha256::digest(format!("{number} {}", request.run_id)));
            let body = encode(&new)?;
            bytes_added += body.len() as u64;
            self.store.put_if_absent(&format!("data/{name}"), body)?;
        }
        let body = encode(&snapshot)?;
        let id: SnapshotId = hex::encode(Sha256::digest(&body))
            .parse()
            .map_err(|error| EngineError::Internal(format!("{error}")))?;
        bytes_added += body.len() as u64;
        self.store.put_if_absent(&format!("snapshots/{id}"), body)?;
        self.engine.witness.read(disk, request, &id);
        progress.advance(snapshot.files.len() as u64, snapshot.bytes());
        Ok(BackupReport {
            snapshot: id,
            files: snapshot.files.len() as u64,
            bytes_read: snapshot.bytes(),
            bytes_added,
            content_digest: disks::digest(&snapshot.files),
            warnings: Vec::new(),
        })
    }

    fn verify(&mut self, id: &SnapshotId, _: &dyn Progress) -> Result<VerifyReport, EngineError> {
        let (snapshot, packs) = self.complete(id)?;
        Ok(VerifyReport {
            packs,
            bytes: snapshot.bytes(),
        })
    }

    fn prove(&self, id: &SnapshotId, _: &dyn Progress) -> Result<ProofReport, EngineError> {
        let (snapshot, packs) = self.complete(id)?;
        Ok(ProofReport {
            files: snapshot.files.len() as u64,
            bytes: snapshot.bytes(),
            apparent_bytes: snapshot.bytes(),
            packs,
            content_digest: disks::digest(&snapshot.files),
        })
    }

    fn restore(
        &mut self,
        id: &SnapshotId,
        target: &Path,
        _: &dyn Progress,
    ) -> Result<RestoreReport, EngineError> {
        let (snapshot, _) = self.complete(id)?;
        let fill = |files: &mut Files| {
            // What an earlier try left is its own.
            let is_ours = files
                .iter()
                .all(|(path, content)| snapshot.files.get(path) == Some(content));
            if is_ours && self.engine.witness.lets_fill() {
                files.clone_from(&snapshot.files);
            }
            is_ours
        };
        let filled = disks::disk_at(target).and_then(|disk| self.engine.disks.change(disk, fill));
        match filled {
            Some(true) => Ok(RestoreReport {
                files: snapshot.files.len() as u64,
                bytes: snapshot.bytes(),
                content_digest: disks::digest(&snapshot.files),
                warnings: Vec::new(),
            }),
            Some(false) => Err(EngineError::Refused(format!("{} is not empty", target.display()))),
            None => Err(EngineError::Local {
                path: target.to_owned(),
                why: "there is no such disk".to_owned(),
            }),
        }
    }

    fn snapshots(&mut self) -> Result<Vec<SnapshotInfo>, EngineError> {
        let mut snapshots = Vec::new();
        for info in self.store.list("snapshots/")? {
            let Ok(id) = info.name["snapshots/".len()..].parse::<SnapshotId>() else {
                continue;
            };
            let stored = self.snapshot(&id)?;
            snapshots.push(SnapshotInfo {
                id,
                time: stored.time,
                run_id: stored.run_id,
                stored_at: Some(info.last_modified),
            });
        }
        snapshots.sort_by(|one, other| (one.time, &one.id).cmp(&(other.time, &other.id)));
        Ok(snapshots)
    }

    fn forget(&mut self, snapshots: &[SnapshotId]) -> Result<(), EngineError> {
        for snapshot in snapshots {
            self.store.delete(&format!("snapshots/{snapshot}"))?;
        }
        Ok(())
    }

    fn prune(&mut self, request: &PruneRequest) -> Result<PruneReport, EngineError> {
        let mut needed = BTreeSet::new();
        for info in self.store.list("snapshots/")? {
            let snapshot: Snapshot = decode(&info.name, &self.store.get(&info.name)?)?;
            needed.extend(snapshot.needs());
        }
        let marks = self.marks()?;
        let mut report = PruneReport::default();
        // Of the packs that hold the same, one is needed: one that is not marked, if there is one.
        let mut packs = self.packs()?;
        packs.sort_by_key(|(info, _)| (marks.contains_key(&info.name), info.name.clone()));
        for (info, pack) in packs {
            let is_needed = pack.iter().any(|content| needed.contains(content));
            needed.retain(|content| !pack.contains(content));
            let mark = info.name.replacen("data/", "marks/", 1);
            let older_than = |at: Timestamp, age| request.now.duration_since(at) >= age;
            match marks.get(&info.name) {
                Some(_) if is_needed => {
                    self.store.delete(&mark)?;
                    report.packs_recovered += 1;
                }
                Some(marked) if older_than(*marked, request.keep_delete) => {
                    self.store.delete(&info.name)?;
                    self.store.delete(&mark)?;
                    report.packs_deleted += 1;
                    report.bytes_freed += info.size;
                }
                None if !is_needed && older_than(info.last_modified, request.keep_pack) => {
                    self.store.put_if_absent(&mark, Bytes::new())?;
                    report.packs_marked += 1;
                }
                Some(_) | None => {}
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jiff::SignedDuration;
    use tray_engine::{DirStore, NoProgress};

    use super::*;
    use crate::disks::Content;

    fn request(run: &str) -> BackupRequest {
        BackupRequest {
            root: disks::path_of("disk"),
            paths: Vec::new(),
            time: Timestamp::UNIX_EPOCH,
            run_id: run.to_owned(),
            host: "data-db-0".to_owned(),
            parent: None,
        }
    }

    fn prune(repository: &mut dyn Repository, keep_delete: SignedDuration) -> PruneReport {
        let request = PruneRequest {
            now: Timestamp::MAX,
            keep_pack: SignedDuration::ZERO,
            keep_delete,
        };
        repository.prune(&request).unwrap()
    }

    #[test]
    fn what_is_pruned_is_marked_then_freed_and_what_is_needed_again_is_taken_back() {
        let folder = std::env::temp_dir().join(format!("tray-sim-engine-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store: Arc<dyn BlobStore> = Arc::new(DirStore::new(folder.clone()));
        let disks = Arc::new(Disks::default());
        disks.make("disk");
        let engine = LightEngine::new(disks.clone());
        let key = RepositoryKey::from_bytes([7; 64]);
        let mut repository = engine.open_or_init(store.clone(), &key, &PathBuf::new()).unwrap();
        let write = |id: u64| {
            disks
                .change("disk", |files| {
                    files.insert("f".to_owned(), Content { id, bytes: 1 })
                })
                .unwrap();
        };
        write(1);
        let first = repository.backup(&request("one"), &NoProgress).unwrap();
        write(2);
        let second = repository.backup(&request("two"), &NoProgress).unwrap();
        repository.forget(std::slice::from_ref(&first.snapshot)).unwrap();
        assert_eq!(prune(&mut *repository, SignedDuration::MAX).packs_marked, 1);
        // A marked pack is used by no new copy.
        write(1);
        let third = repository.backup(&request("three"), &NoProgress).unwrap();
        assert!(third.bytes_added > second.bytes_added / 2);
        let freed = prune(&mut *repository, SignedDuration::ZERO);
        assert_eq!((freed.packs_deleted, freed.packs_recovered), (1, 0));
        for snapshot in [&second.snapshot, &third.snapshot] {
            repository.verify(snapshot, &NoProgress).unwrap();
        }
        assert!(repository.prove(&first.snapshot, &NoProgress).is_err());
        disks.make("fresh");
        let back = repository
            .restore(&second.snapshot, &disks::path_of("fresh"), &NoProgress)
            .unwrap();
        assert_eq!(back.content_digest, second.content_digest);
        assert_eq!(disks.files("fresh").unwrap()["f"].id, 2);
        let other = RepositoryKey::from_bytes([8; 64]);
        assert!(matches!(
            engine.open(store, &other, &PathBuf::new()),
            Err(EngineError::WrongKey(_))
        ));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
