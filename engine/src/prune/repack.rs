//! Moves the needed blobs of packs that are mostly unused into new ones.

use jiff::Timestamp;

use crate::{
    EngineError,
    format::{BlobKind, FileKind, Id, IndexBlob, IndexPack, PackBuilder, Place, Vault, open_blob},
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
            for blob in blobs.iter().filter(|blob| blob.kind == kind) {
                let end = u64::from(blob.offset) + u64::from(blob.length);
                let sealed = vault.store.get_range(&name, u64::from(blob.offset)..end)?;
                let place = Place {
                    pack: 0,
                    offset: blob.offset,
                    length: blob.length,
                    uncompressed_length: blob.uncompressed_length.unwrap_or(0),
                };
                open_blob(&vault.cipher, blob.id, place, &sealed)
                    .map_err(|error| EngineError::Corrupt(format!("{name}: {error}; nothing was pruned")))?;
                builder.add(*blob, &sealed);
                if builder.len() >= limit {
                    written.extend(std::mem::take(&mut builder).write(vault, now)?);
                }
            }
        }
        written.extend(builder.write(vault, now)?);
    }
    Ok(written)
}
