//! Owners, modes, attributes and times.

use std::{
    fs::{self, Permissions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

use rustic_core::repofile::Node;
use rustix::fs::{AtFlags, CWD};

use super::{
    Warnings, local,
    times::{is_refused, times_of},
};
use crate::{
    EngineError,
    attributes::{mode_of, xattrs},
    format::{Id, Step, Trees},
};

/// Gives every folder of the snapshot its attributes, innermost first: they change while a folder is filled.
pub(super) fn folders(
    trees: &mut Trees<'_>,
    tree: Id,
    target: &Path,
    warnings: &mut Warnings,
) -> Result<(), EngineError> {
    trees.walk(tree, &mut |step, path, node| {
        if step == Step::Leave {
            entry(target, path, node, warnings)
        } else {
            Ok(())
        }
    })
}

/// Gives the entry at `path` below `target` what the snapshot says of it.
pub(super) fn entry(
    target: &Path,
    path: &Path,
    node: &Node,
    warnings: &mut Warnings,
) -> Result<(), EngineError> {
    let at = target.join(path);
    owner(&at, path, node, warnings)?;
    for name in xattrs::write(&at, &node.meta) {
        warnings.add(path, &format!("attribute {name} could not be set"));
    }
    // After the owner, since a change of owner takes setuid away.
    if let (Some(mode), false) = (mode_of(node), node.is_symlink()) {
        fs::set_permissions(&at, Permissions::from_mode(mode)).map_err(|e| local(&at, e))?;
    }
    if let Some(mtime) = node.meta.mtime {
        match rustix::fs::utimensat(CWD, &at, &times_of(mtime), AtFlags::SYMLINK_NOFOLLOW) {
            // The comparison tells what the file system made of it.
            Err(error) if is_refused(error) => {}
            set => set.map_err(|e| local(&at, e))?,
        }
    }
    Ok(())
}

/// Only root may give a file away. A group of its own anyone may set.
fn owner(at: &Path, path: &Path, node: &Node, warnings: &mut Warnings) -> Result<(), EngineError> {
    let (Some(uid), Some(gid)) = (node.meta.uid, node.meta.gid) else {
        return Ok(());
    };
    let found = fs::symlink_metadata(at).map_err(|e| local(at, e))?;
    if (found.uid(), found.gid()) == (uid, gid) {
        return Ok(());
    }
    let set = lchown(at, Some(uid), Some(gid)).or_else(|error| {
        let denied = error.kind() == ErrorKind::PermissionDenied;
        if denied && found.gid() != gid && lchown(at, None, Some(gid)).is_ok() && found.uid() == uid {
            return Ok(());
        }
        Err(error)
    });
    match set {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            warnings.add(path, &format!("owner {uid}:{gid} could not be set"));
            Ok(())
        }
        Err(error) => Err(local(at, error)),
    }
}
