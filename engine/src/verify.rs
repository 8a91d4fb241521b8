//! Proves that a snapshot can be restored, short of reading all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    BlobStore, EngineError, Progress, RepositoryKey, SnapshotId, VerifyReport,
    format::{
        BlobKind, Cipher, FileKind, Id, Index, SnapshotRecord, Step, Trees, Vault, content_of, read_header,
        subtree_of,
    },
};

/// Content of the file that says that a snapshot was proven; its name says which.
const PROOF: &str = "proven\n";

/// Opens one pack with `key` and nothing else of its repository: how many blobs it holds. [`EngineError::Corrupt`] where it
/// was not sealed with that key, or is damaged: by itself a pack cannot tell.
pub fn open_pack(store: Arc<dyn BlobStore>, key: &RepositoryKey, pack: &str) -> Result<usize, EngineError> {
    let vault = Vault {
        store,
        cipher: Cipher::new(key),
    };
    let packs = vault.list(FileKind::Pack)?;
    let found = packs.into_iter().find(|(_, blob)| blob.name == pack);
    let (id, blob) = found.ok_or_else(|| EngineError::Corrupt(format!("{pack} is missing")))?;
    Ok(read_header(&vault, id, blob.size)?.len())
}

/// See [`crate::Repository::verify`].
pub(crate) fn run(
    vault: &Vault,
    id: &SnapshotId,
    progress: &dyn Progress,
) -> Result<VerifyReport, EngineError> {
    let snapshot = SnapshotRecord::read(vault, id)?;
    let index = Index::load(vault)?;
    let used = packs_of(vault, &index, snapshot.tree, Some(progress))?;
    let known = match last_proven(vault, id)? {
        Some(proven) => packs_of(vault, &index, proven.tree, None)?,
        None => BTreeSet::new(),
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
    vault
        .store
        .put_if_absent(&format!("{}{id}", FileKind::Proof.prefix()), PROOF.into())?;
    Ok(report)
}

/// The newest other snapshot that was proven: what it uses need not be proven again.
///
/// Not simply the parent: a mover that was killed before it came to the proof leaves a snapshot, too.
fn last_proven(vault: &Vault, id: &SnapshotId) -> Result<Option<SnapshotRecord>, EngineError> {
    let proven: BTreeSet<Id> = vault
        .list(FileKind::Proof)?
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let snapshots = SnapshotRecord::read_all(vault)?.into_iter().rev();
    let mut others = snapshots.filter(|(info, _)| info.id != *id);
    Ok(others.find_map(|(info, record)| proven.contains(&Id::parse(info.id.as_str())?).then_some(record)))
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
