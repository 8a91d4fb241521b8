//! Folders of a snapshot.

use std::{
    collections::VecDeque,
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustic_core::repofile::{Node, Tree};

use super::{BlobKind, FileKind, Id, Index, Vault, pack::open_blob};
use crate::{BlobError, EngineError};

/// Packs of folders are read whole and this many of them kept: neighbours in a snapshot lie in the same pack.
const KEPT_PACKS: usize = 3;

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// At a folder, before what lies in it.
    Enter,
    /// At anything else.
    Leaf,
    /// At a folder, after what lies in it.
    Leave,
}

/// Reads folders.
pub(crate) struct Trees<'a> {
    vault: &'a Vault,
    index: &'a Index,
    packs: VecDeque<(Id, Bytes)>,
}

impl<'a> Trees<'a> {
    pub(crate) fn new(vault: &'a Vault, index: &'a Index) -> Self {
        Self {
            vault,
            index,
            packs: VecDeque::new(),
        }
    }

    /// One folder's entries. Their names are plain and ascend.
    pub(crate) fn read(&mut self, id: Id) -> Result<Vec<Node>, EngineError> {
        let place = self.index.place(BlobKind::Tree, id)?;
        let pack = self.pack(self.index.pack(place)?.id)?;
        let end = place.offset as usize + place.length as usize;
        let sealed = pack.get(place.offset as usize..end);
        let sealed =
            sealed.ok_or_else(|| EngineError::Corrupt(format!("the pack of folder {id} is cut short")))?;
        let json = open_blob(&self.vault.cipher, id, place, sealed)?;
        let corrupt = |why: String| EngineError::Corrupt(format!("folder {id}: {why}"));
        let tree: Tree = serde_json::from_slice(&json).map_err(|e| corrupt(e.to_string()))?;
        let mut last: Option<OsString> = None;
        for node in &tree.nodes {
            let name = node.name().into_owned();
            let bytes = name.as_bytes();
            if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') || bytes.contains(&0) {
                return Err(corrupt(format!("{} is no file name", name.display())));
            }
            if last.as_ref().is_some_and(|last| *last >= name) {
                return Err(corrupt(format!("{} is out of order", name.display())));
            }
            last = Some(name);
        }
        Ok(tree.nodes)
    }

    /// Visits everything below the folder `root`, depth first and in the order of names.
    pub(crate) fn walk(
        &mut self,
        root: Id,
        visit: &mut dyn FnMut(Step, &Path, &Node) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.walk_in(root, &mut PathBuf::new(), visit)
    }

    fn walk_in(
        &mut self,
        folder: Id,
        path: &mut PathBuf,
        visit: &mut dyn FnMut(Step, &Path, &Node) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        for node in self.read(folder)? {
            path.push(node.name());
            if node.is_dir() {
                visit(Step::Enter, path, &node)?;
                self.walk_in(subtree_of(path, &node)?, path, visit)?;
                visit(Step::Leave, path, &node)?;
            } else {
                visit(Step::Leaf, path, &node)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn pack(&mut self, id: Id) -> Result<Bytes, EngineError> {
        if let Some((_, pack)) = self.packs.iter().find(|(kept, _)| *kept == id) {
            return Ok(pack.clone());
        }
        let name = FileKind::Pack.name(id);
        let pack = self.vault.store.get(&name).map_err(|error| match error {
            BlobError::NotFound(_) => EngineError::damaged(&name, "is missing"),
            other => other.into(),
        })?;
        if Id::of(&pack) != id {
            return Err(EngineError::damaged(name, "does not hold what its name says"));
        }
        self.packs.truncate(KEPT_PACKS - 1);
        self.packs.push_front((id, pack.clone()));
        Ok(pack)
    }
}

/// The folder behind a folder's entry.
pub(crate) fn subtree_of(path: &Path, node: &Node) -> Result<Id, EngineError> {
    let id = node.subtree.and_then(|id| Id::parse(&id.to_hex()));
    id.ok_or_else(|| EngineError::Corrupt(format!("folder {} has no content", path.display())))
}

/// The blobs of a file, in order.
pub(crate) fn content_of(path: &Path, node: &Node) -> Result<Vec<Id>, EngineError> {
    let ids = node
        .content
        .iter()
        .flatten()
        .map(|id| Id::parse(&id.to_hex()))
        .collect::<Option<Vec<_>>>();
    ids.ok_or_else(|| EngineError::Corrupt(format!("file {} has an unreadable content list", path.display())))
}
