//! What the tests of the engine share.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "names that are no text must stay different"
)]

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use tray_engine::{
    BackupReport, BackupRequest, BlobError, BlobInfo, BlobStore, DirStore, Engine, EngineError, NoProgress,
    Repository, RepositoryKey, RusticEngine, SnapshotId,
};

pub(crate) const KEY: [u8; 64] = [9; 64];

/// Hours that a pack is left alone after it was written, and that it stays marked.
pub(crate) const KEEP_PACK: i64 = 72;
pub(crate) const KEEP_DELETE: i64 = 23;

/// A time that tests count from: later than the machine's, which the library writes into packs.
pub(crate) fn time(hours: i64) -> Timestamp {
    let start: Timestamp = "2100-03-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_hours(hours)
}

/// A repository in a folder, a volume to copy, and a store that can be made to fail.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub store: Arc<FaultyStore>,
    pub repository: Box<dyn Repository>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// A world in this folder, whose file system may be another than that of temporary files.
    pub(crate) fn within(folder: tempfile::TempDir) -> Self {
        fs::create_dir(folder.path().join("volume")).unwrap();
        let store = Arc::new(FaultyStore::new(folder.path().join("repo")));
        let repository = open(&store, folder.path());
        Self {
            folder,
            store,
            repository,
        }
    }

    /// The folder that is copied.
    pub(crate) fn volume(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// A new, empty folder to restore into.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        let target = self.folder.path().join(name);
        fs::create_dir(&target).unwrap();
        target
    }

    /// Where the repository's files lie.
    pub(crate) fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.volume().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn request(&self, hours: i64) -> BackupRequest {
        BackupRequest {
            root: self.volume(),
            paths: Vec::new(),
            time: time(hours),
            run_id: format!("run-{hours}"),
            host: "data".to_owned(),
            parent: None,
        }
    }

    pub(crate) fn backup(&mut self, hours: i64) -> BackupReport {
        let request = self.request(hours);
        self.repository.backup(&request, &NoProgress).unwrap()
    }

    pub(crate) fn reopen(&mut self) {
        self.repository = open(&self.store, self.folder.path());
    }

    pub(crate) fn restore(
        &mut self,
        id: &SnapshotId,
        target: &Path,
    ) -> Result<tray_engine::RestoreReport, EngineError> {
        self.repository.restore(id, target, &NoProgress)
    }

    /// Restores a snapshot into a new folder and says what is there.
    pub(crate) fn restored(&mut self, id: &SnapshotId) -> Vec<String> {
        let target = self.target(&format!("restored-{}", self.store.calls.lock().unwrap().len()));
        self.restore(id, &target).unwrap();
        describe(&target)
    }

    pub(crate) fn prune(&mut self, hours: i64) -> Result<tray_engine::PruneReport, EngineError> {
        self.repository.prune(&tray_engine::PruneRequest {
            now: time(hours),
            keep_pack: jiff::SignedDuration::from_hours(KEEP_PACK),
            keep_delete: jiff::SignedDuration::from_hours(KEEP_DELETE),
        })
    }

    pub(crate) fn packs(&self) -> Vec<BlobInfo> {
        self.store.list("data/").unwrap()
    }
}

fn open(store: &Arc<FaultyStore>, folder: &Path) -> Box<dyn Repository> {
    let key = RepositoryKey::from_bytes(KEY);
    RusticEngine
        .open_or_init(store.clone(), &key, &folder.join("work"))
        .unwrap()
}

/// Bytes that look random and are the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sets when an entry was changed, of a link its own: seconds since 1970, which may be negative, and nanoseconds on top.
pub(crate) fn set_mtime(path: &Path, (second, nanosecond): (i64, i64)) {
    let time = Timespec {
        tv_sec: second,
        tv_nsec: nanosecond,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What [`set_mtime`] sets, as the file system has it.
pub(crate) fn mtime(path: &Path) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

/// Every entry below a folder with its kind, mode, owner, time and content, as text that is easy to compare.
pub(crate) fn describe(folder: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    fn add(root: &Path, folder: &Path, lines: &mut Vec<String>) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let m = fs::symlink_metadata(&path).unwrap();
            let detail = if m.is_symlink() {
                format!("{:?}", fs::read_link(&path).unwrap())
            } else if m.is_file() {
                use std::hash::{DefaultHasher, Hash, Hasher};
                let mut hash = DefaultHasher::new();
                fs::read(&path).unwrap().hash(&mut hash);
                format!("{} {:x}", m.len(), hash.finish())
            } else {
                String::new()
            };
            let (mode, uid, gid, mtime, nanos) = (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
            let name = path.strip_prefix(root).unwrap();
            lines.push(format!("{name:?} {mode:o} {uid}:{gid} {mtime}.{nanos} {detail}"));
            if m.is_dir() {
                add(root, &path, lines);
            }
        }
    }
    let mut lines = Vec::new();
    add(folder, folder, &mut lines);
    lines
}

/// A folder store whose calls fail when told to, and whose clock is the test's.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: DirStore,
    /// Fails a call whose kind and name contain this text, once `after` such calls went well.
    fault: Mutex<Option<(String, u64, BlobError)>>,
    /// What listings say of when a blob was taken, in hours of [`time`].
    pub clock: AtomicI64,
    taken: Mutex<std::collections::BTreeMap<String, i64>>,
    /// Calls in order: `write:put data/ab/…`, `get config`.
    pub calls: Mutex<Vec<String>>,
}

impl FaultyStore {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            inner: DirStore::new(root),
            fault: Mutex::default(),
            clock: AtomicI64::new(0),
            taken: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    pub(crate) fn fail(&self, call: &str, after: u64, error: BlobError) {
        *self.fault.lock().unwrap() = Some((call.to_owned(), after, error));
    }

    /// Fails every write and removal after the first `after`, like a process that was killed there.
    pub(crate) fn fail_writes(&self, after: u64) {
        self.fail("write:", after, BlobError::Unavailable("killed".to_owned()));
    }

    pub(crate) fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    fn call(&self, kind: &str, name: &str) -> Result<(), BlobError> {
        let is_write = matches!(kind, "put" | "delete");
        let call = format!("{}{kind} {name}", if is_write { "write:" } else { "" });
        self.calls.lock().unwrap().push(call.clone());
        let mut fault = self.fault.lock().unwrap();
        match &mut *fault {
            Some((pattern, 0, error)) if call.contains(pattern.as_str()) => Err(error.clone()),
            Some((pattern, after, _)) if call.contains(pattern.as_str()) => {
                *after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl BlobStore for FaultyStore {
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        self.call("list", prefix)?;
        let taken = self.taken.lock().unwrap();
        let mut blobs = self.inner.list(prefix)?;
        for blob in &mut blobs {
            blob.last_modified = time(taken.get(&blob.name).copied().unwrap_or(0));
        }
        Ok(blobs)
    }

    fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        self.call("get", name)?;
        self.inner.get(name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.call("range", name)?;
        self.inner.get_range(name, range)
    }

    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError> {
        self.call("put", name)?;
        self.taken
            .lock()
            .unwrap()
            .insert(name.to_owned(), self.clock.load(Ordering::Relaxed));
        self.inner.put_if_absent(name, body)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.call("delete", name)?;
        self.inner.delete(name)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
