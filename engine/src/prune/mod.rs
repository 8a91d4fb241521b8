//! Frees what no snapshot needs, in two passes: a pack is marked first and freed by a later pass.
//!
//! Own code, since the library's pruning reads the system clock itself, saves no mark of an unindexed pack unless an
//! index file changes as well, and can free at once.
//!
//! Every order of writes is chosen so that a crash leaves more than is needed: new packs, then new index files, then
//! old index files go, then packs.

mod plan;
mod repack;

use std::collections::{BTreeMap, HashSet};

use crate::{
    EngineError, PruneReport, PruneRequest,
    format::{
        BlobKind, FileKind, Id, Index, IndexFile, SnapshotRecord, Trees, Vault, content_of, subtree_of,
    },
};

/// A blob by kind and id.
pub(crate) type Blob = (BlobKind, Id);

/// What lies in the repository, as one pass saw it.
pub(crate) struct Inventory {
    pub indexes: Vec<(Id, IndexFile)>,
    /// Packs in the store: size, and when the store took them.
    pub packs: BTreeMap<Id, (u64, jiff::Timestamp)>,
    /// What the snapshots need.
    pub used: HashSet<Blob>,
}

/// See [`crate::Repository::prune`].
pub(crate) fn run(vault: &Vault, request: &PruneRequest) -> Result<PruneReport, EngineError> {
    let inventory = take_inventory(vault)?;
    let plan = plan::plan(&inventory, request)?;
    plan.check(&inventory)?;
    let mut report = plan.report;
    // Reads and checks what is moved before anything changes.
    let moved = repack::run(vault, &plan.repack, request.now)?;
    let mut added = IndexFile {
        packs: moved,
        packs_to_delete: plan.orphans,
    };
    for (old, file) in plan.changed {
        let is_empty = file.packs.is_empty() && file.packs_to_delete.is_empty();
        // What was moved has to be in an index before its old place is marked in another.
        if !added.packs.is_empty() || !added.packs_to_delete.is_empty() {
            vault.write(FileKind::Index, &std::mem::take(&mut added))?;
        }
        if !is_empty {
            vault.write(FileKind::Index, &file)?;
        }
        vault.store.delete(&FileKind::Index.name(old))?;
    }
    if !added.packs.is_empty() || !added.packs_to_delete.is_empty() {
        vault.write(FileKind::Index, &added)?;
    }
    for (pack, size) in plan.delete {
        vault.store.delete(&FileKind::Pack.name(pack))?;
        report.packs_deleted += 1;
        report.bytes_freed += size;
    }
    sweep_proofs(vault)?;
    Ok(report)
}

/// Removes proofs whose snapshot is gone: a crash between the two removals leaves one.
fn sweep_proofs(vault: &Vault) -> Result<(), EngineError> {
    let proofs = vault.list(FileKind::Proof)?;
    let snapshots: HashSet<Id> = vault
        .list(FileKind::Snapshot)?
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    for (id, proof) in proofs {
        if !snapshots.contains(&id) {
            vault.store.delete(&proof.name)?;
        }
    }
    Ok(())
}

fn take_inventory(vault: &Vault) -> Result<Inventory, EngineError> {
    let packs = vault.list(FileKind::Pack)?;
    let packs = packs
        .into_iter()
        .map(|(id, blob)| (id, (blob.size, blob.last_modified)))
        .collect();
    let mut indexes = Vec::new();
    for (id, _) in vault.list(FileKind::Index)? {
        indexes.push((id, vault.read(FileKind::Index, id)?));
    }
    let index = Index::of_trees(&indexes);
    let mut used = HashSet::new();
    let mut trees = Trees::new(vault, &index);
    for (_, snapshot) in SnapshotRecord::read_all(vault)? {
        use_tree(&mut trees, snapshot.tree, &mut used)?;
    }
    Ok(Inventory { indexes, packs, used })
}

/// Adds a folder and all below it; what is in `used` already has been walked.
fn use_tree(trees: &mut Trees<'_>, tree: Id, used: &mut HashSet<Blob>) -> Result<(), EngineError> {
    if !used.insert((BlobKind::Tree, tree)) {
        return Ok(());
    }
    for node in trees.read(tree)? {
        let path = std::path::PathBuf::from(&*node.name());
        if node.is_dir() {
            use_tree(trees, subtree_of(&path, &node)?, used)?;
        } else {
            used.extend(
                content_of(&path, &node)?
                    .into_iter()
                    .map(|id| (BlobKind::Data, id)),
            );
        }
    }
    Ok(())
}
