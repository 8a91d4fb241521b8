//! The restic repository format, version 2, as far as proving, restoring and pruning need it.
//!
//! Own code and not the library's, because it has to answer a damaged or unreachable store with an error that names
//! the file, and the library panics on some of these, and because pruning takes its time as an argument.

mod cipher;
mod files;
mod id;
mod index;
mod pack;
mod runs;
mod snapshot;
mod trees;

pub(crate) use cipher::Cipher;
pub(crate) use files::{CONFIG, FileKind, Vault};
pub(crate) use id::Id;
pub(crate) use index::{BlobKind, Index, IndexBlob, IndexFile, IndexPack, Place};
pub(crate) use pack::{PackBuilder, open_blob, read_header};
pub(crate) use runs::{Extent, runs};
pub(crate) use snapshot::SnapshotRecord;
pub(crate) use trees::{Step, Trees, content_of, subtree_of};
