//! Where a repository's files lie: a flat store of named blobs that are written once.

use std::{fmt::Debug, ops::Range};

use bytes::Bytes;
use jiff::Timestamp;

/// Why a store did not do what it was asked, by what the caller can do about it.
///
/// Every text names the blob (or prefix) and what the store said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There is no blob of this name.
    #[error("not found: {0}")]
    NotFound(String),
    /// The store says no: a person must act.
    #[error("access denied: {0}")]
    Denied(String),
    /// The store did not answer well; later it may. The store has retried already.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// What is there cannot be right: another content under the name, a shorter answer than asked for.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

/// One listed blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Whole name, as [`BlobStore::get`] takes it.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// When the store took it, by the store's own clock.
    pub last_modified: Timestamp,
}

/// A store of blobs under `/`-separated names, relative to [`Self::location`].
///
/// Calls block and come from several threads at once, none of them of an async runtime. Implementations retry what is
/// worth retrying and bound every call in time; they never panic.
pub trait BlobStore: Debug + Send + Sync {
    /// Every blob whose name starts with `prefix`, in name order. Strict: all of them or an error, never a part,
    /// because what is missing from a listing is taken for garbage by pruning.
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError>;

    /// The whole blob.
    fn get(&self, name: &str) -> Result<Bytes, BlobError>;

    /// Exactly the bytes `range` of the blob; a blob that ends earlier is [`BlobError::Corrupt`].
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError>;

    /// Writes the blob unless its name is taken, whole or not at all. A name that is taken by equal content is
    /// success (a try whose answer was lost), by other content [`BlobError::Corrupt`].
    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError>;

    /// Removes the blob; one that is not there is success.
    fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// Where the blobs lie, for messages: a URL or path without credentials.
    fn location(&self) -> String;
}

impl<S: BlobStore + ?Sized> BlobStore for std::sync::Arc<S> {
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        (**self).list(prefix)
    }
    fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        (**self).get(name)
    }
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        (**self).get_range(name, range)
    }
    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError> {
        (**self).put_if_absent(name, body)
    }
    fn delete(&self, name: &str) -> Result<(), BlobError> {
        (**self).delete(name)
    }
    fn location(&self) -> String {
        (**self).location()
    }
}
