//! What a snapshot needs of its repository: for the proof after a copy and the one before a restore.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rustic_core::repofile::Node;

use crate::{
    EngineError,
    format::{BlobKind, FileKind, Id, Index, Place, Step, Trees, Vault, content_of, subtree_of},
};

/// Hears of an entry and of the blobs of its content.
pub(crate) type Visit<'a> = dyn FnMut(&Path, &Node, &[Id]) -> Result<(), EngineError> + 'a;

/// Numbers of the packs that a tree's folders and files lie in. Every folder is read; every file's blobs are in the
/// index and add up to its size.
///
/// `each` hears of every entry once, of folders before what lies in them.
pub(crate) fn packs_of(
    vault: &Vault,
    index: &Index,
    tree: Id,
    each: &mut Visit<'_>,
) -> Result<BTreeSet<u32>, EngineError> {
    let place = |kind: BlobKind, id: Id, path: &Path| -> Result<Place, EngineError> {
        index.place(kind, id).map_err(|error| match error {
            EngineError::Corrupt(why) => EngineError::Corrupt(format!("{}: {why}", path.display())),
            other => other,
        })
    };
    if index.packs.is_empty() {
        let folder = FileKind::Index.prefix();
        return Err(EngineError::Corrupt(format!("{folder} lists no pack")));
    }
    let mut packs = BTreeSet::from([place(BlobKind::Tree, tree, Path::new("the root folder"))?.pack]);
    Trees::new(vault, index).walk(tree, &mut |step, path, node| match step {
        Step::Enter => {
            packs.insert(place(BlobKind::Tree, subtree_of(path, node)?, path)?.pack);
            each(path, node, &[])
        }
        Step::Leaf => {
            let content = content_of(path, node)?;
            let mut size = 0;
            for id in &content {
                let place = place(BlobKind::Data, *id, path)?;
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
            each(path, node, &content)
        }
        Step::Leave => Ok(()),
    })?;
    Ok(packs)
}

/// A pack as the store lists it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredPack {
    /// Number in [`Index::packs`].
    pub number: u32,
    pub id: Id,
    pub size: u64,
}

/// These packs, each of which is in the store and as long as the index says.
pub(crate) fn stored_packs(
    vault: &Vault,
    index: &Index,
    numbers: &BTreeSet<u32>,
) -> Result<Vec<StoredPack>, EngineError> {
    let sizes: BTreeMap<Id, u64> = vault
        .list(FileKind::Pack)?
        .into_iter()
        .map(|(id, blob)| (id, blob.size))
        .collect();
    let stored = |number: &u32| {
        let pack = index.packs.get(*number as usize);
        let pack = pack.ok_or_else(|| EngineError::Internal("a place names no pack".to_owned()))?;
        let name = FileKind::Pack.name(pack.id);
        let size = sizes.get(&pack.id).copied();
        let size = size.ok_or_else(|| EngineError::damaged(&name, "is missing"))?;
        if size != pack.size {
            let indexed = pack.size;
            let why = format!("is {size} bytes long, the index says {indexed}");
            return Err(EngineError::damaged(name, why));
        }
        Ok(StoredPack {
            number: *number,
            id: pack.id,
            size,
        })
    };
    numbers.iter().map(stored).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        DirStore, RepositoryKey,
        format::{Cipher, IndexBlob, IndexFile, PackBuilder},
    };

    /// The needs of a snapshot of one file `a`, which says that it has `size` bytes in the blobs `content`; one of ten
    /// bytes is in the index.
    fn needs(size: u64, content: &[Id]) -> Result<BTreeSet<u32>, EngineError> {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault {
            store: Arc::new(DirStore::new(folder.path())),
            cipher: Cipher::new(&RepositoryKey::from_bytes([5; 64])),
        };
        let file = json!({ "name": "a", "type": "file", "mode": 0o644, "size": size, "content": content });
        let tree = serde_json::to_vec(&json!({ "nodes": [file] })).unwrap();
        let mut index = IndexFile::default();
        for (kind, text) in [(BlobKind::Data, &TEN[..]), (BlobKind::Tree, &tree)] {
            let blob = IndexBlob {
                id: Id::of(text),
                kind,
                offset: 0,
                length: 0,
                uncompressed_length: None,
            };
            let mut builder = PackBuilder::default();
            builder.add(blob, &vault.cipher.seal(text).unwrap());
            index
                .packs
                .extend(builder.write(&vault, Timestamp::UNIX_EPOCH).unwrap());
        }
        vault.write(FileKind::Index, &index).unwrap();
        let index = Index::load(&vault).unwrap();
        packs_of(&vault, &index, Id::of(&tree), &mut |_, _, _| Ok(()))
    }

    const TEN: [u8; 10] = *b"0123456789";

    #[test]
    fn blobs_of_a_file_are_indexed_and_add_up_to_its_size() {
        let (known, unknown) = (Id::of(&TEN), Id::of(b"lost"));
        assert_eq!(needs(10, &[known]).unwrap(), BTreeSet::from([0, 1]));
        assert_eq!(needs(20, &[known, known]).unwrap(), BTreeSet::from([0, 1]));
        assert_eq!(needs(0, &[]).unwrap(), BTreeSet::from([1]));
        for (size, content, named) in [
            (11, vec![known], "a has 10 of 11 bytes".to_owned()),
            (10, vec![], "a has 0 of 10 bytes".to_owned()),
            (
                14,
                vec![known, unknown],
                format!("a: blob {unknown} is in no pack of the index"),
            ),
        ] {
            assert_eq!(needs(size, &content), Err(EngineError::Corrupt(named)));
        }
    }
}
