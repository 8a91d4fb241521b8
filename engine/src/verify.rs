//! Proves that a snapshot can be restored, short of reading all of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    EngineError, Progress, SnapshotId, VerifyReport,
    format::{
        BlobKind, FileKind, Id, Index, SnapshotRecord, Step, Trees, Vault, content_of, read_header,
        subtree_of,
    },
};

/// See [`crate::Repository::verify`].
pub(crate) fn run(
    vault: &Vault,
    id: &SnapshotId,
    progress: &dyn Progress,
) -> Result<VerifyReport, EngineError> {
    let snapshot = SnapshotRecord::read(vault, id)?;
    let index = Index::load(vault)?;
    let used = packs_of(vault, &index, snapshot.tree, Some(progress))?;
    // Packs of the parent were proven when it was taken. One that is gone leaves all of them to be proven again.
    let known = match snapshot.parent {
        Some(parent)
            if vault
                .list(FileKind::Snapshot)?
                .iter()
                .any(|(id, _)| *id == parent) =>
        {
            let parent: SnapshotRecord = vault.read(FileKind::Snapshot, parent)?;
            packs_of(vault, &index, parent.tree, None)?
        }
        _ => BTreeSet::new(),
    };
    let sizes: BTreeMap<Id, u64> = vault
        .list(FileKind::Pack)?
        .into_iter()
        .map(|(id, blob)| (id, blob.size))
        .collect();
    let mut report = VerifyReport::default();
    for number in &used {
        let pack = index.packs.get(*number as usize);
        let pack = pack.ok_or_else(|| EngineError::Internal("a place names no pack".to_owned()))?;
        let name = FileKind::Pack.name(pack.id);
        let size = sizes.get(&pack.id).copied();
        let size = size.ok_or_else(|| EngineError::Corrupt(format!("{name} is missing")))?;
        if pack.size.is_some_and(|indexed| u64::from(indexed) != size) {
            let indexed = pack.size.unwrap_or_default();
            return Err(EngineError::Corrupt(format!(
                "{name} is {size} bytes long, the index says {indexed}"
            )));
        }
        if known.contains(number) {
            continue;
        }
        for blob in read_header(vault, pack.id, size)? {
            let place = index.find(blob.kind, blob.id);
            let elsewhere = place.is_some_and(|place| {
                place.pack == *number && (place.offset, place.length) != (blob.offset, blob.length)
            });
            if place.is_none() || elsewhere {
                return Err(EngineError::Corrupt(format!(
                    "{name} and the index differ on blob {}",
                    blob.id
                )));
            }
        }
        report.packs += 1;
        report.bytes += size;
    }
    Ok(report)
}

/// Numbers of the packs that a tree's folders and files lie in. Every folder is read; every file's blobs are in the
/// index and add up to its size.
fn packs_of(
    vault: &Vault,
    index: &Index,
    tree: Id,
    progress: Option<&dyn Progress>,
) -> Result<BTreeSet<u32>, EngineError> {
    let mut packs = BTreeSet::from([index.place(BlobKind::Tree, tree)?.pack]);
    Trees::new(vault, index).walk(tree, &mut |step, path, node| {
        if step == Step::Enter {
            packs.insert(index.place(BlobKind::Tree, subtree_of(path, node)?)?.pack);
        }
        if step != Step::Leaf {
            return Ok(());
        }
        let mut size = 0;
        for id in content_of(path, node)? {
            let place = index.place(BlobKind::Data, id)?;
            size += place.text_length();
            packs.insert(place.pack);
        }
        if node.is_file() && size != node.meta.size {
            let recorded = node.meta.size;
            return Err(EngineError::Corrupt(format!(
                "{} has {size} of {recorded} bytes",
                path.display()
            )));
        }
        if let Some(progress) = progress {
            progress.advance(1, size);
        }
        Ok(())
    })?;
    Ok(packs)
}
