//! Packs: sealed blobs one after the other, then the sealed list of them, then its length in four bytes.

use bytes::Bytes;

use super::{BlobKind, Cipher, FileKind, Id, IndexBlob, IndexPack, Place, Vault};
use crate::{BlobError, EngineError};

/// Length of the field at the very end.
const LENGTH_FIELD: u64 = 4;
/// What is read of a pack's end at first; nearly every list fits.
const TAIL: u64 = 32 << 10;

/// The plain text of a blob from its `sealed` bytes.
pub(crate) fn open_blob(
    cipher: &Cipher,
    id: Id,
    place: Place,
    sealed: &[u8],
) -> Result<Vec<u8>, EngineError> {
    let corrupt = |why: &str| EngineError::Corrupt(format!("blob {id} {why}"));
    let text = cipher
        .open(sealed)
        .ok_or_else(|| corrupt("does not open with the key"))?;
    let text = match place.uncompressed_length {
        0 => text,
        length => {
            let text = zstd::bulk::decompress(&text, length as usize).map_err(|e| corrupt(&e.to_string()))?;
            if text.len() != length as usize {
                return Err(corrupt("has another length than the index says"));
            }
            text
        }
    };
    if Id::of(&text) != id {
        return Err(corrupt("does not hold what its name says"));
    }
    Ok(text)
}

/// The list at the end of a pack of `size` bytes.
///
/// Proves that the pack is of this length and was sealed with this key.
pub(crate) fn read_header(vault: &Vault, pack: Id, size: u64) -> Result<Vec<IndexBlob>, EngineError> {
    let name = FileKind::Pack.name(pack);
    let corrupt = |why: &str| EngineError::damaged(&name, why);
    let range = |from: u64, to: u64| {
        vault
            .store
            .get_range(&name, from..to)
            .map_err(|error| match error {
                BlobError::NotFound(_) => corrupt("is missing"),
                BlobError::Corrupt(why) => corrupt(&format!("is cut short: {why}")),
                other => other.into(),
            })
    };
    if size < LENGTH_FIELD + Cipher::OVERHEAD as u64 {
        return Err(corrupt("is too short for a pack"));
    }
    let mut tail: Bytes = range(size.saturating_sub(TAIL), size)?;
    let field = tail.split_off(tail.len().saturating_sub(LENGTH_FIELD as usize));
    let length = field
        .iter()
        .rev()
        .fold(0u64, |length, byte| length << 8 | u64::from(*byte));
    if length > size - LENGTH_FIELD {
        return Err(corrupt("names a list longer than itself"));
    }
    let sealed = if length as usize <= tail.len() {
        tail.split_off(tail.len() - length as usize)
    } else {
        range(size - LENGTH_FIELD - length, size - LENGTH_FIELD)?
    };
    let list = vault
        .cipher
        .open(&sealed)
        .ok_or_else(|| corrupt("has a list that does not open with the key"))?;
    let blobs = parse_list(&list).ok_or_else(|| corrupt("has a list that cannot be read"))?;
    let end = blobs
        .last()
        .map_or(0, |blob| u64::from(blob.offset) + u64::from(blob.length));
    if end + length + LENGTH_FIELD != size {
        return Err(corrupt(&format!(
            "is {size} bytes long, its list says {}",
            end + length + LENGTH_FIELD
        )));
    }
    Ok(blobs)
}

fn parse_list(mut list: &[u8]) -> Option<Vec<IndexBlob>> {
    let mut blobs = Vec::new();
    let mut offset: u32 = 0;
    while let Some((&tag, rest)) = list.split_first() {
        let (kind, compressed) = match tag {
            0 => (BlobKind::Data, false),
            1 => (BlobKind::Tree, false),
            2 => (BlobKind::Data, true),
            3 => (BlobKind::Tree, true),
            _ => return None,
        };
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (uncompressed_length, rest) = if compressed {
            let (uncompressed, rest) = rest.split_first_chunk::<4>()?;
            (Some(u32::from_le_bytes(*uncompressed)), rest)
        } else {
            (None, rest)
        };
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let length = u32::from_le_bytes(*length);
        blobs.push(IndexBlob {
            id: Id(*id),
            kind,
            offset,
            length,
            uncompressed_length,
        });
        offset = offset.checked_add(length)?;
        list = rest;
    }
    Some(blobs)
}

/// Length of what follows the blobs of a pack: their sealed list and its length.
pub(super) fn trailer_length(blobs: &[IndexBlob]) -> u64 {
    let entries = blobs.iter().map(|blob| {
        let compressed = blob.uncompressed_length.is_some();
        if compressed { 41 } else { 37 }
    });
    entries.sum::<u64>() + Cipher::OVERHEAD as u64 + LENGTH_FIELD
}

fn write_list(blobs: &[IndexBlob]) -> Vec<u8> {
    let mut list = Vec::with_capacity(blobs.len() * 41);
    for blob in blobs {
        let base = match blob.kind {
            BlobKind::Data => 0,
            BlobKind::Tree => 1,
        };
        list.push(base + if blob.uncompressed_length.is_some() { 2 } else { 0 });
        list.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(uncompressed) = blob.uncompressed_length {
            list.extend_from_slice(&uncompressed.to_le_bytes());
        }
        list.extend_from_slice(&blob.id.0);
    }
    list
}

/// Puts sealed blobs of other packs together into a new one.
#[derive(Default)]
pub(crate) struct PackBuilder {
    body: Vec<u8>,
    blobs: Vec<IndexBlob>,
}

impl PackBuilder {
    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Takes over a blob in its sealed form.
    pub(crate) fn add(&mut self, blob: IndexBlob, sealed: &[u8]) {
        self.blobs.push(IndexBlob {
            offset: self.body.len() as u32,
            length: sealed.len() as u32,
            ..blob
        });
        self.body.extend_from_slice(sealed);
    }

    /// Writes the pack, if it holds anything, and gives its entry for the index.
    pub(crate) fn write(self, vault: &Vault, now: jiff::Timestamp) -> Result<Option<IndexPack>, EngineError> {
        if self.blobs.is_empty() {
            return Ok(None);
        }
        let Self { mut body, blobs } = self;
        let too_long = || EngineError::Internal("a pack became too long".to_owned());
        let list = vault.cipher.seal(&write_list(&blobs)).ok_or_else(too_long)?;
        body.extend_from_slice(&list);
        body.extend_from_slice(&u32::try_from(list.len()).map_err(|_| too_long())?.to_le_bytes());
        let size = u32::try_from(body.len()).map_err(|_| too_long())?;
        let id = Id::of(&body);
        vault
            .store
            .put_if_absent(&FileKind::Pack.name(id), Bytes::from(body))?;
        Ok(Some(IndexPack {
            id,
            blobs,
            time: Some(now),
            size: Some(size),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DirStore, RepositoryKey};

    #[test]
    fn a_built_pack_is_read_back_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let key = RepositoryKey::from_bytes([5; 64]);
        let store = std::sync::Arc::new(DirStore::new(folder.path()));
        let vault = Vault {
            store: store.clone(),
            cipher: Cipher::new(&key),
        };
        let mut builder = PackBuilder::default();
        for (kind, uncompressed_length) in [(BlobKind::Data, None), (BlobKind::Tree, Some(9))] {
            let blob = IndexBlob {
                id: Id::of(b"x"),
                kind,
                offset: 77,
                length: 77,
                uncompressed_length,
            };
            builder.add(blob, b"sealed");
        }
        let written = builder
            .write(&vault, jiff::Timestamp::UNIX_EPOCH)
            .unwrap()
            .unwrap();
        let size = u64::from(written.size.unwrap());
        assert_eq!(read_header(&vault, written.id, size).unwrap(), written.blobs);
        assert_eq!(written.blobs[1].offset, 6);
        let unsized_pack = IndexPack {
            size: None,
            ..written.clone()
        };
        assert_eq!(unsized_pack.length(), size);
        assert!(matches!(
            read_header(&vault, written.id, size - 1),
            Err(EngineError::Damaged { .. })
        ));
        assert!(matches!(
            read_header(&vault, written.id, size + 1),
            Err(EngineError::Damaged { .. })
        ));
        assert!(matches!(
            read_header(&vault, Id::default(), size),
            Err(EngineError::Damaged { .. })
        ));
        let other = Vault {
            store,
            cipher: Cipher::new(&RepositoryKey::from_bytes([6; 64])),
        };
        assert!(matches!(
            read_header(&other, written.id, size),
            Err(EngineError::Damaged { .. })
        ));
        assert!(
            PackBuilder::default()
                .write(&vault, jiff::Timestamp::UNIX_EPOCH)
                .unwrap()
                .is_none()
        );
    }
}
