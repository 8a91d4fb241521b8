//! Proves a new copy: that it can be restored, short of reading all of it. [`crate::prove`] is the proof before a restore.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    BlobStore, EngineError, Progress, RepositoryKey, SnapshotId, VerifyReport,
    format::{Cipher, FileKind, Id, Index, SnapshotRecord, Vault, read_header},
    needs::{packs_of, stored_packs},
};

/// Content of the file that says that a snapshot was proven; its name says which.
const PROOF: &str = "proven\n";

/// Opens one pack with `key` and nothing else of its repository: how many blobs it holds. [`EngineError::Damaged`] where it
/// was not sealed with that key, or is damaged: by itself a pack cannot tell.
pub fn open_pack(store: Arc<dyn BlobStore>, key: &RepositoryKey, pack: &str) -> Result<usize, EngineError> {
    let vault = Vault {
        store,
        cipher: Cipher::new(key),
    };
    let packs = vault.list(FileKind::Pack)?;
    let found = packs.into_iter().find(|(_, blob)| blob.name == pack);
    let (id, blob) = found.ok_or_else(|| EngineError::damaged(pack, "is missing"))?;
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
    let used = packs_of(vault, &index, snapshot.tree, &mut |_, node, _| {
        if !node.is_dir() {
            progress.advance(1, node.meta.size);
        }
        Ok(())
    })?;
    let known = match last_proven(vault, id)? {
        Some(proven) => packs_of(vault, &index, proven.tree, &mut |_, _, _| Ok(()))?,
        None => BTreeSet::new(),
    };
    let mut report = VerifyReport::default();
    for pack in stored_packs(vault, &index, &used)? {
        if known.contains(&pack.number) {
            continue;
        }
        for blob in read_header(vault, pack.id, pack.size)? {
            let place = index.find(blob.kind, blob.id);
            let elsewhere = place.is_some_and(|place| {
                place.pack == pack.number && (place.offset, place.length) != (blob.offset, blob.length)
            });
            if place.is_none() || elsewhere {
                let name = FileKind::Pack.name(pack.id);
                let why = format!("and the index differ on blob {}", blob.id);
                return Err(EngineError::damaged(name, why));
            }
        }
        report.packs += 1;
        report.bytes += pack.size;
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
