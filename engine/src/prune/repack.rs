//! Moves the needed blobs of packs that are mostly unused into new ones.

use jiff::Timestamp;

use crate::{
    EngineError,
    format::{
        BlobKind, Extent, FileKind, Id, IndexBlob, IndexPack, PackBuilder, Place, Vault, open_blob, runs,
    },
};

/// New packs are written once they are this long.
const PACK_BYTES: usize = 16 << 20;
/// The same for folders, which are read whole.
const TREE_PACK_BYTES: usize = 4 << 20;

/// Writes new packs with the given blobs and gives their entries for the index.
///
/// Each blob is opened and its hash compared on the way: damage is found before the old pack is let go.
pub(super) fn run(
    vault: &Vault,
    packs: &[(Id, Vec<IndexBlob>)],
    now: Timestamp,
) -> Result<Vec<IndexPack>, EngineError> {
    let mut written = Vec::new();
    for (kind, limit) in [(BlobKind::Tree, TREE_PACK_BYTES), (BlobKind::Data, PACK_BYTES)] {
        let mut builder = PackBuilder::default();
        for (pack, blobs) in packs {
            let name = FileKind::Pack.name(*pack);
            let mut blobs: Vec<_> = blobs.iter().filter(|blob| blob.kind == kind).copied().collect();
            blobs.sort_by_key(|blob| blob.offset);
            for run in runs(&blobs, extent) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else {
                    continue;
                };
                let start = u64::from(first.offset);
                let fetched = vault.store.get_range(&name, start..extent(last).end())?;
                for blob in run {
                    let from = (u64::from(blob.offset) - start) as usize;
                    let sealed = fetched.get(from..from + blob.length as usize);
                    let sealed =
                        sealed.ok_or_else(|| EngineError::Corrupt(format!("{name} is cut short")))?;
                    prove(vault, &name, blob, sealed)?;
                    builder.add(*blob, sealed);
                    if builder.len() >= limit {
                        written.extend(std::mem::take(&mut builder).write(vault, now)?);
                    }
                }
            }
        }
        written.extend(builder.write(vault, now)?);
    }
    Ok(written)
}

fn extent(blob: &IndexBlob) -> Extent {
    Extent {
        pack: 0,
        offset: blob.offset,
        length: blob.length,
    }
}

fn prove(vault: &Vault, name: &str, blob: &IndexBlob, sealed: &[u8]) -> Result<(), EngineError> {
    let place = Place {
        pack: 0,
        offset: blob.offset,
        length: blob.length,
        uncompressed_length: blob.uncompressed_length.unwrap_or(0),
    };
    open_blob(&vault.cipher, blob.id, place, sealed)
        .map(drop)
        .map_err(|error| EngineError::Corrupt(format!("{name}: {error}; nothing was pruned")))
}
