//! One digest over everything a snapshot promises to give back.

use std::{os::unix::ffi::OsStrExt, path::Path};

use rustic_core::repofile::{Node, NodeType};
use sha2::{Digest, Sha256};

use crate::{
    EngineError,
    attributes::{PERMISSIONS, mode_of},
    format::{Id, Step, Trees, content_of},
};

/// Paths in the order of a walk, kinds, permissions, sizes, link targets, devices and the ids of all content.
///
/// Owners, times and attributes are not part of it: who restores may not be allowed to set them, and is told apart.
#[derive(Default)]
pub(crate) struct ContentDigest(Sha256);

impl ContentDigest {
    /// Adds an entry; `permissions` as found, so that a restored file is digested as it lies there.
    pub(crate) fn add(&mut self, path: &Path, node: &Node, permissions: u32, content: &[Id]) {
        let (kind, size, detail) = match &node.node_type {
            NodeType::File => (b'f', node.meta.size, Vec::new()),
            NodeType::Dir => (b'd', 0, Vec::new()),
            link @ NodeType::Symlink { .. } => (b'l', 0, link.to_link().as_os_str().as_bytes().to_vec()),
            NodeType::Dev { device } => (b'b', 0, device.to_le_bytes().to_vec()),
            NodeType::Chardev { device } => (b'c', 0, device.to_le_bytes().to_vec()),
            NodeType::Fifo => (b'p', 0, Vec::new()),
            NodeType::Socket => (b's', 0, Vec::new()),
        };
        self.field(path.as_os_str().as_bytes());
        self.field(&[kind]);
        self.field(&permissions.to_le_bytes());
        self.field(&size.to_le_bytes());
        self.field(&detail);
        self.0.update((content.len() as u64).to_le_bytes());
        for id in content {
            self.0.update(id.0);
        }
    }

    /// 64 hex digits.
    pub(crate) fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }

    fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// Permissions that count: links have none.
pub(crate) fn permissions_of(node: &Node) -> u32 {
    if node.is_symlink() {
        0
    } else {
        mode_of(node).unwrap_or(0) & PERMISSIONS
    }
}

/// Digest of a stored tree, and how many entries that are no folders and bytes of content it has.
pub(crate) fn of_tree(trees: &mut Trees<'_>, root: Id) -> Result<(String, u64, u64), EngineError> {
    let mut digest = ContentDigest::default();
    let (mut files, mut bytes) = (0, 0);
    trees.walk(root, &mut |step, path, node| {
        if step != Step::Leave {
            digest.add(path, node, permissions_of(node), &content_of(path, node)?);
        }
        if step == Step::Leaf {
            files += 1;
            bytes += node.meta.size;
        }
        Ok(())
    })?;
    Ok((digest.finish(), files, bytes))
}
