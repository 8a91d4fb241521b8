//! Files that have several names.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
};

use rustic_core::repofile::Node;

/// First path of each file that has several.
#[derive(Default)]
pub(crate) struct Links(HashMap<(u64, u64), (PathBuf, Node)>);

impl Links {
    /// The path under which this very file came before; `None` where it is met for the first time.
    pub(crate) fn earlier(&mut self, path: &Path, node: &Node) -> Option<&Path> {
        if node.meta.links <= 1 {
            return None;
        }
        match self.0.entry((node.meta.device_id, node.meta.inode)) {
            Entry::Occupied(known) => {
                let (first, other) = known.into_mut();
                // Another content under the same inode: it was replaced while it was copied.
                (other.content == node.content && other.meta == node.meta).then_some(&**first)
            }
            Entry::Vacant(new) => {
                new.insert((path.to_owned(), node.clone()));
                None
            }
        }
    }
}
