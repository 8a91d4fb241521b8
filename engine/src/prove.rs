//! Proves before a restore that all it needs is there, and says how much it writes. Reads alone: no file is written, and
//! no data is fetched.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use crate::{
    EngineError, Progress, ProofReport, SnapshotId,
    digest::{ContentDigest, permissions_of},
    format::{BlobKind, Id, Index, Place, SnapshotRecord, Vault},
    needs::{packs_of, stored_packs},
    restore::Links,
};

/// See [`crate::Repository::prove`].
pub(crate) fn run(
    vault: &Vault,
    id: &SnapshotId,
    progress: &dyn Progress,
) -> Result<ProofReport, EngineError> {
    let snapshot = SnapshotRecord::read(vault, id)?;
    let index = Index::load(vault)?;
    let mut digest = ContentDigest::default();
    let (mut links, mut holes) = (Links::default(), Holes::default());
    let (mut files, mut bytes, mut apparent_bytes) = (0, 0, 0);
    let used = packs_of(vault, &index, snapshot.tree, &mut |path, node, content| {
        digest.add(path, node, permissions_of(node), content);
        if node.is_dir() {
            return Ok(());
        }
        files += 1;
        apparent_bytes += node.meta.size;
        if node.is_file() && links.earlier(path, node).is_none() {
            for id in content {
                let place = index.place(BlobKind::Data, *id)?;
                if !holes.contains(*id, place) {
                    bytes += place.text_length();
                }
            }
        }
        progress.advance(1, node.meta.size);
        Ok(())
    })?;
    let packs: BTreeSet<Id> = stored_packs(vault, &index, &used)?
        .into_iter()
        .map(|pack| pack.id)
        .collect();
    Ok(ProofReport {
        files,
        bytes,
        apparent_bytes,
        packs: packs.len() as u64,
        content_digest: digest.finish(),
    })
}

/// Blobs of zeros, which a restore leaves as holes. A blob's id is the hash of its text, so none has to be read.
#[derive(Default)]
struct Holes(HashMap<u64, Id>);

impl Holes {
    fn contains(&mut self, id: Id, place: Place) -> bool {
        let length = place.text_length();
        // Zeros pack to next to nothing. The rest need not be hashed for, which would take longer than all else here.
        u64::from(place.length) <= 128 + length / 1024
            && *self.0.entry(length).or_insert_with(|| id_of_zeros(length)) == id
    }
}

fn id_of_zeros(length: u64) -> Id {
    const ZEROS: &[u8] = &[0; 4 << 10];
    let mut hash = Sha256::new();
    let mut left = length;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..piece as usize]);
        left -= piece;
    }
    Id(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_known_by_their_id() {
        for length in [0, 1, 4095, 4096, 4097, 256 << 10] {
            assert_eq!(id_of_zeros(length), Id::of(&vec![0; length as usize]), "{length}");
        }
    }
}
