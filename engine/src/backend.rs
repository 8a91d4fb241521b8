//! The library's view of a [`BlobStore`].

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use crate::{
    BlobError, BlobStore,
    format::{CONFIG, FileKind},
};

/// Passes calls on, remembers what failed, and holds the snapshot file back.
///
/// The library drops some errors and turns all into texts; here the first one is kept as it was. A snapshot file is
/// what makes a copy valid, so it is written by [`StoreBackend::take_snapshot`]'s caller, once everything is checked.
#[derive(Debug)]
pub(crate) struct StoreBackend {
    store: Arc<dyn BlobStore>,
    fault: Mutex<Option<BlobError>>,
    snapshot: Mutex<Option<(String, Bytes)>>,
    /// Bytes written.
    pub written: AtomicU64,
}

impl StoreBackend {
    pub(crate) fn new(store: Arc<dyn BlobStore>) -> Self {
        Self {
            store,
            fault: Mutex::default(),
            snapshot: Mutex::default(),
            written: AtomicU64::new(0),
        }
    }

    /// The first failure that may have made the library do less than it was asked.
    pub(crate) fn fault(&self) -> Option<BlobError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name and content of the snapshot file that the library wrote.
    pub(crate) fn take_snapshot(&self) -> Option<(String, Bytes)> {
        self.snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn failed(&self, error: BlobError, writing: bool) -> Box<RusticError> {
        let text = error.to_string();
        // A missing or short file while reading concerns the parent snapshot only, which the library can do without.
        if writing || matches!(error, BlobError::Denied(_) | BlobError::Unavailable(_)) {
            self.fault
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
        }
        RusticError::new(ErrorKind::Backend, text)
    }
}

fn prefix(kind: FileType) -> &'static str {
    match kind {
        FileType::Config => CONFIG,
        FileType::Index => FileKind::Index.prefix(),
        FileType::Key => "keys/",
        FileType::Snapshot => FileKind::Snapshot.prefix(),
        FileType::Pack => FileKind::Pack.prefix(),
    }
}

fn name(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    match kind {
        FileType::Config => CONFIG.to_owned(),
        FileType::Pack => format!("{}{}/{}", prefix(kind), &hex.as_str()[..2], hex.as_str()),
        _ => format!("{}{}", prefix(kind), hex.as_str()),
    }
}

impl ReadBackend for StoreBackend {
    fn location(&self) -> String {
        self.store.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let blobs = self
            .store
            .list(prefix(kind))
            .map_err(|error| self.failed(error, false))?;
        let mut listed = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let id = match kind {
                FileType::Config if blob.name == CONFIG => Some(Id::default()),
                FileType::Config => None,
                _ => blob.name.rsplit('/').next().and_then(|id| id.parse().ok()),
            };
            let Some(id) = id else { continue };
            let size = u32::try_from(blob.size).map_err(|_| {
                let error = BlobError::Corrupt(format!(
                    "{} has {} bytes: no such file was written",
                    blob.name, blob.size
                ));
                self.failed(error, false)
            })?;
            listed.push((id, size));
        }
        Ok(listed)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.store
            .get(&name(kind, id))
            .map_err(|error| self.failed(error, false))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cache: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let range = u64::from(offset)..u64::from(offset) + u64::from(length);
        self.store
            .get_range(&name(kind, id), range)
            .map_err(|error| self.failed(error, false))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        name(kind, id)
    }
}

impl WriteBackend for StoreBackend {
    fn write_bytes(&self, kind: FileType, id: &Id, _cache: bool, content: BytesList) -> RusticResult<()> {
        let mut parts = content.into_vec();
        let body = match parts.len() {
            1 => parts.remove(0),
            _ => parts.concat().into(),
        };
        self.written.fetch_add(body.len() as u64, Ordering::Relaxed);
        let name = name(kind, id);
        if kind == FileType::Snapshot {
            *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, body));
            return Ok(());
        }
        self.store
            .put_if_absent(&name, body)
            .map_err(|error| self.failed(error, true))
    }

    fn remove(&self, kind: FileType, id: &Id, _cache: bool) -> RusticResult<()> {
        // Copying never removes, and pruning does not go through the library.
        let refused = BlobError::Denied(format!("{} is removed by pruning alone", name(kind, id)));
        Err(self.failed(refused, true))
    }
}
