//! Copies a folder into a new snapshot.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, KeyOptions, ParentOptions, Repository, RepositoryBackends,
    RepositoryOptions, RusticError,
    repofile::{MasterKey, SnapshotFile},
};

use crate::{
    BackupReport, BackupRequest, BlobStore, EngineError, Progress, RepositoryKey, SnapshotId,
    backend::StoreBackend,
    digest,
    format::{Id, Index, SnapshotRecord, Trees, Vault},
    restore::MARKER,
    source::{Journal, Source, is_plain},
};

/// How often a caller hears of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is fixed when a repository is made.
///
/// Chunks of 64 KiB: a page of a database that changes costs one, and of the usual 1 MiB ones nearly every one would
/// change. Packs of 16 MiB, since several are held in memory at once.
fn config() -> ConfigOptions {
    let size = bytesize::ByteSize::b;
    ConfigOptions::default()
        .set_version(2u32)
        .set_chunk_size(size(64 * KIB))
        .set_chunk_min_size(size(32 * KIB))
        .set_chunk_max_size(size(256 * KIB))
        .set_datapack_size(size(16 * MIB))
        .set_datapack_growfactor(8u32)
        .set_datapack_size_limit(size(48 * MIB))
        .set_treepack_size(size(4 * MIB))
        .set_treepack_growfactor(4u32)
        .set_treepack_size_limit(size(16 * MIB))
}

/// The key as the library takes it. Its copy is not wiped: the process ends with the copy.
fn credentials(key: &RepositoryKey) -> Result<Credentials, EngineError> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let part = |range: std::ops::Range<usize>| BASE64_STANDARD.encode(&key.as_bytes()[range]);
    let json = serde_json::json!({
        "encrypt": part(0..32),
        "mac": { "k": part(32..48), "r": part(48..64) },
    });
    let master: MasterKey = serde_json::from_value(json).map_err(|e| EngineError::Internal(e.to_string()))?;
    Ok(Credentials::Masterkey(master))
}

fn library(backend: &Arc<StoreBackend>, work_dir: Option<&Path>) -> Result<Repository<()>, Box<RusticError>> {
    let options = match work_dir {
        Some(folder) => RepositoryOptions::default().cache_dir(folder.to_path_buf()),
        None => RepositoryOptions::default().no_cache(true),
    };
    Repository::new(&options, &RepositoryBackends::new(backend.clone(), None))
}

/// Makes an empty repository.
pub(crate) fn init(store: Arc<dyn BlobStore>, key: &RepositoryKey) -> Result<(), EngineError> {
    let backend = Arc::new(StoreBackend::new(store));
    let made = library(&backend, None)
        .map_err(|e| internal(&e))
        .and_then(|repo| {
            repo.init(&credentials(key)?, &KeyOptions::default(), &config())
                .map_err(|e| internal(&e))
        });
    backend
        .fault()
        .map_or(Ok(()), |error| Err(EngineError::Store(error)))?;
    made.map(drop)
}

/// See [`crate::Repository::backup`].
pub(crate) fn run(
    vault: &Vault,
    key: &RepositoryKey,
    work_dir: &Path,
    request: &BackupRequest,
    progress: &dyn Progress,
) -> Result<BackupReport, EngineError> {
    if let Some(path) = request.paths.iter().find(|path| !is_plain(path)) {
        return Err(EngineError::Refused(format!(
            "copy {}: a path has to lie below the root",
            path.display()
        )));
    }
    if request.root.join(MARKER).exists() {
        let root = request.root.display();
        return Err(EngineError::Refused(format!(
            "copy {root}: a restore into it is unfinished; finish it first"
        )));
    }
    let parent = match &request.parent {
        Some(id) => SnapshotRecord::read(vault, id).map(|_| Some(id.clone()))?,
        None => SnapshotRecord::read_all(vault)?.pop().map(|(info, _)| info.id),
    };
    let journal = Arc::new(Journal::default());
    let backend = Arc::new(StoreBackend::new(vault.store.clone()));
    let source = Source {
        root: request.root.clone(),
        paths: request.paths.clone(),
        journal: journal.clone(),
    };
    let archived = with_progress(&journal, progress, || {
        archive(
            &backend,
            &credentials(key)?,
            work_dir,
            &source,
            request,
            parent.as_ref(),
        )
    });
    if let Some(error) = journal.fault() {
        return Err(error);
    }
    if let Some(error) = backend.fault() {
        return Err(error.into());
    }
    let snapshot = archived?;
    check_count(&snapshot, &journal)?;

    let index = Index::load_trees(vault)?;
    let tree =
        Id::parse(&snapshot.tree.to_hex()).ok_or_else(|| EngineError::Internal("no tree id".to_owned()))?;
    let (content_digest, files, bytes_read) = digest::of_tree(&mut Trees::new(vault, &index), tree)?;
    let (name, body) = backend
        .take_snapshot()
        .ok_or_else(|| EngineError::Internal("no snapshot was written".to_owned()))?;
    let id: SnapshotId = name
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|e| EngineError::Internal(format!("{e}")))?;
    vault.store.put_if_absent(&name, body)?;
    Ok(BackupReport {
        snapshot: id,
        files,
        bytes_read,
        bytes_added: backend.written.load(Ordering::Relaxed),
        content_digest,
        warnings: journal.warnings(),
    })
}

fn archive(
    backend: &Arc<StoreBackend>,
    credentials: &Credentials,
    work_dir: &Path,
    source: &Source,
    request: &BackupRequest,
    parent: Option<&SnapshotId>,
) -> Result<SnapshotFile, EngineError> {
    let parents =
        ParentOptions::default().parents(parent.map(ToString::to_string).into_iter().collect::<Vec<_>>());
    // Without a parent: none at all, rather than one the library looks for.
    let parents = parents.force(parent.is_none());
    let options = BackupOptions::default().no_scan(true).parent_opts(parents);
    let snapshot = SnapshotFile {
        time: request.time.to_zoned(jiff::tz::TimeZone::UTC),
        label: request.run_id.clone(),
        hostname: request.host.clone(),
        ..SnapshotFile::default()
    };
    let opened = library(backend, Some(work_dir)).and_then(|repo| repo.open(credentials)?.to_indexed_ids());
    opened
        .and_then(|repo| repo.archive(&options, source, snapshot, &[PathBuf::from("/")]))
        .map_err(|e| internal(&e))
}

/// The library leaves out what fails on the way and goes on. All of that is in the journal; this is the proof.
fn check_count(snapshot: &SnapshotFile, journal: &Journal) -> Result<(), EngineError> {
    let stored = snapshot
        .summary
        .as_ref()
        .map_or(0, |summary| summary.total_files_processed);
    let expected = journal.listed.load(Ordering::Relaxed) - journal.vanished.load(Ordering::Relaxed);
    if stored == expected {
        return Ok(());
    }
    Err(EngineError::Internal(format!(
        "{expected} files were listed and {stored} stored"
    )))
}

/// Runs `work` and tells `progress` of what the journal counts meanwhile.
fn with_progress<T>(journal: &Journal, progress: &dyn Progress, work: impl FnOnce() -> T + Send) -> T
where
    T: Send,
{
    let (ended, end) = mpsc::channel::<()>();
    let mut told = (0, 0);
    let mut tell = || {
        let now = (
            journal.listed.load(Ordering::Relaxed),
            journal.bytes.load(Ordering::Relaxed),
        );
        progress.advance(now.0 - told.0, now.1 - told.1);
        told = now;
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while matches!(
                end.recv_timeout(PROGRESS_EVERY),
                Err(mpsc::RecvTimeoutError::Timeout)
            ) {
                tell();
            }
            tell();
        });
        let result = work();
        drop(ended);
        result
    })
}

fn internal(error: &RusticError) -> EngineError {
    EngineError::Internal(error.display_log())
}
