//! Compares a folder with a snapshot, reading every byte.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use jiff::Timestamp;
use rustic_core::repofile::{Node, NodeType};

use super::{
    MARKER, Warnings, local,
    times::{Probe, are_equal},
};
use crate::{
    EngineError, RestoreReport,
    attributes::{PERMISSIONS, mode_of, mtime_of, timespec_of},
    digest::{ContentDigest, permissions_of},
    format::{BlobKind, Id, Index, Step, Trees, content_of},
    source::LOST_AND_FOUND,
};

/// The digest of what lies in `target`; [`EngineError::Mismatch`] where it is not what the snapshot holds.
pub(super) fn run(
    index: &Index,
    trees: &mut Trees<'_>,
    tree: Id,
    target: &Path,
) -> Result<RestoreReport, EngineError> {
    let mut digest = ContentDigest::default();
    let mut warnings = Warnings::default();
    let mut probe = Probe::of(target);
    let (mut files, mut bytes) = (0, 0);
    let mut expected: u64 = 0;
    trees.walk(tree, &mut |step, path, node| {
        if step == Step::Leave || matches!(node.node_type, NodeType::Socket) {
            return Ok(());
        }
        expected += 1;
        let at = target.join(path);
        let found = fs::symlink_metadata(&at).map_err(|e| mismatch(path, &e.to_string()))?;
        attributes(&at, path, node, &found, &mut warnings)?;
        time(path, node, &found, &mut probe, &mut warnings)?;
        let content = if node.is_file() {
            content(index, &at, path, node)?
        } else {
            Vec::new()
        };
        let permissions = if node.is_symlink() {
            0
        } else {
            found.mode() & PERMISSIONS
        };
        digest.add(path, node, permissions, &content);
        if step == Step::Leaf {
            files += 1;
            bytes += node.meta.size;
        }
        Ok(())
    })?;
    let found = count(target, true)?;
    if found != expected {
        let target = target.display();
        return Err(EngineError::Mismatch(format!(
            "{target} holds {found} entries, the snapshot {expected}"
        )));
    }
    Ok(RestoreReport {
        files,
        bytes,
        content_digest: digest.finish(),
        warnings: warnings.with(Vec::new()),
    })
}

fn mismatch(path: &Path, what: &str) -> EngineError {
    EngineError::Mismatch(format!("{}: {what}", path.display()))
}

fn attributes(
    at: &Path,
    path: &Path,
    node: &Node,
    found: &Metadata,
    warnings: &mut Warnings,
) -> Result<(), EngineError> {
    let kind = found.file_type();
    let same_kind = match &node.node_type {
        NodeType::File => kind.is_file(),
        NodeType::Dir => kind.is_dir(),
        NodeType::Symlink { .. } => kind.is_symlink(),
        NodeType::Dev { device } => kind.is_block_device() && found.rdev() == *device,
        NodeType::Chardev { device } => kind.is_char_device() && found.rdev() == *device,
        NodeType::Fifo => kind.is_fifo(),
        NodeType::Socket => kind.is_socket(),
    };
    if !same_kind {
        return Err(mismatch(path, "is of another kind"));
    }
    if let link @ NodeType::Symlink { .. } = &node.node_type {
        let leads = fs::read_link(at).map_err(|e| local(at, e))?;
        if leads != link.to_link() {
            return Err(mismatch(path, &format!("leads to {}", leads.display())));
        }
    } else {
        if found.mode() & PERMISSIONS != permissions_of(node) {
            return Err(mismatch(
                path,
                &format!("has mode {:o}", found.mode() & PERMISSIONS),
            ));
        }
        if mode_of(node).is_some_and(|mode| mode != found.mode() & 0o7777) {
            warnings.add(path, "setuid, setgid or sticky could not be set");
        }
    }
    if let (Some(uid), Some(gid)) = (node.meta.uid, node.meta.gid)
        && (uid, gid) != (found.uid(), found.gid())
    {
        warnings.add(path, &format!("owner {uid}:{gid} could not be set"));
    }
    Ok(())
}

/// A time that the file system cannot hold is a warning, any other difference is none of its making.
fn time(
    path: &Path,
    node: &Node,
    found: &Metadata,
    probe: &mut Probe<'_>,
    warnings: &mut Warnings,
) -> Result<(), EngineError> {
    let Some(wanted) = node.meta.mtime else {
        return Ok(());
    };
    let found = mtime_of(found);
    if are_equal(timespec_of(wanted), found) {
        return Ok(());
    }
    let holds = Timestamp::new(found.tv_sec, found.tv_nsec as i32).map_or_else(
        |_| format!("second {} since 1970", found.tv_sec),
        |time| time.to_string(),
    );
    if probe.makes(wanted, found).unwrap_or(false) {
        warnings.add(
            path,
            &format!("time of change {wanted} is none that this file system has, it holds {holds}"),
        );
        return Ok(());
    }
    Err(mismatch(path, &format!("was changed at {holds}, not {wanted}")))
}

/// The ids of a file's pieces, each proven equal to the snapshot's.
fn content(index: &Index, at: &Path, path: &Path, node: &Node) -> Result<Vec<Id>, EngineError> {
    let ids = content_of(path, node)?;
    let mut file = File::open(at).map_err(|e| local(at, e))?;
    let mut piece = Vec::new();
    let mut offset = 0;
    for id in &ids {
        let length = index.place(BlobKind::Data, *id)?.text_length();
        piece.clear();
        file.by_ref()
            .take(length)
            .read_to_end(&mut piece)
            .map_err(|e| local(at, e))?;
        if Id::of(&piece) != *id {
            return Err(mismatch(
                path,
                &format!("differs between bytes {offset} and {}", offset + length),
            ));
        }
        offset += length;
    }
    let size = file.metadata().map_err(|e| local(at, e))?.len();
    if size != offset || size != node.meta.size {
        return Err(mismatch(
            path,
            &format!("is {size} bytes long, not {}", node.meta.size),
        ));
    }
    Ok(ids)
}

/// Entries below a folder, folders included.
fn count(folder: &Path, is_root: bool) -> Result<u64, EngineError> {
    let own = BTreeSet::from([LOST_AND_FOUND, MARKER]);
    let mut entries = 0;
    for entry in fs::read_dir(folder).map_err(|e| local(folder, e))? {
        let entry = entry.map_err(|e| local(folder, e))?;
        if is_root && entry.file_name().to_str().is_some_and(|name| own.contains(name)) {
            continue;
        }
        entries += 1;
        if entry.file_type().map_err(|e| local(folder, e))?.is_dir() {
            entries += count(&entry.path(), false)?;
        }
    }
    Ok(entries)
}
