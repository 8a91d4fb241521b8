//! Deduplicating, encrypted repositories for volume snapshots.
//!
//! [`BlobStore`] is where a repository lies.

mod blob_store;

pub use blob_store::{BlobError, BlobInfo, BlobStore};
