//! Which blob lies where: the index files, and all of them as one table.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FileKind, Id, Vault};
use crate::EngineError;

/// What a blob is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BlobKind {
    Tree,
    Data,
}

/// One index file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    #[serde(default)]
    pub packs: Vec<IndexPack>,
    /// Marked: freed once `time` is long enough ago, unless used again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs_to_delete: Vec<IndexPack>,
}

/// One pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IndexPack {
    pub id: Id,
    pub blobs: Vec<IndexBlob>,
    /// When it was written or, in `packs_to_delete`, marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
}

impl IndexPack {
    /// Length of the pack: as recorded, or what its blobs and their list come to. Other writers record none.
    pub(crate) fn length(&self) -> u64 {
        let blobs = || self.blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>();
        self.size
            .map_or_else(|| blobs() + super::pack::trailer_length(&self.blobs), u64::from)
    }
}

/// One blob of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexBlob {
    pub id: Id,
    #[serde(rename = "type")]
    pub kind: BlobKind,
    pub offset: u32,
    pub length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncompressed_length: Option<u32>,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the pack in [`Index::packs`].
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
    /// 0 = stored as it is.
    pub uncompressed_length: u32,
}

impl Place {
    /// Length of the blob's own text.
    pub(crate) fn text_length(&self) -> u64 {
        match self.uncompressed_length {
            0 => u64::from(self.length).saturating_sub(super::Cipher::OVERHEAD as u64),
            length => u64::from(length),
        }
    }
}

/// All index files as one table: 48 bytes a blob.
#[derive(Default)]
pub(crate) struct Index {
    pub packs: Vec<PackInfo>,
    trees: Vec<(Id, Place)>,
    data: Vec<(Id, Place)>,
}

/// What the index says of a pack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackInfo {
    pub id: Id,
    /// Length of the pack in the store.
    pub size: u64,
}

impl Index {
    /// Reads every index file. A blob that lies in several packs is taken from one that is not marked, if there is.
    pub(crate) fn load(vault: &Vault) -> Result<Self, EngineError> {
        Self::load_where(vault, |_| true)
    }

    /// As [`Self::load`], of folders alone: they are few.
    pub(crate) fn load_trees(vault: &Vault) -> Result<Self, EngineError> {
        Self::load_where(vault, is_tree)
    }

    /// Of the folders in index files that have been read already.
    pub(crate) fn of_trees(files: &[(Id, IndexFile)]) -> Self {
        let mut index = Self::default();
        for pack in files.iter().flat_map(|(_, file)| &file.packs) {
            index.add(pack, is_tree);
        }
        for pack in files.iter().flat_map(|(_, file)| &file.packs_to_delete) {
            index.add(pack, is_tree);
        }
        index.sorted()
    }

    fn load_where(vault: &Vault, wanted: fn(&IndexBlob) -> bool) -> Result<Self, EngineError> {
        let mut index = Self::default();
        let mut marked = Vec::new();
        for (id, _) in vault.list(FileKind::Index)? {
            let file: IndexFile = vault.read(FileKind::Index, id)?;
            for pack in &file.packs {
                index.add(pack, wanted);
            }
            marked.extend(file.packs_to_delete);
        }
        for pack in &marked {
            index.add(pack, wanted);
        }
        Ok(index.sorted())
    }

    fn sorted(mut self) -> Self {
        // Stable sort: what was added first wins.
        for table in [&mut self.trees, &mut self.data] {
            table.sort_by_key(|(id, _)| *id);
            table.dedup_by_key(|(id, _)| *id);
        }
        self
    }

    pub(crate) fn find(&self, kind: BlobKind, id: Id) -> Option<Place> {
        let table = match kind {
            BlobKind::Tree => &self.trees,
            BlobKind::Data => &self.data,
        };
        let at = table.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        table.get(at).map(|(_, place)| *place)
    }

    /// As [`Self::find`]; a blob that is in no pack is damage.
    pub(crate) fn place(&self, kind: BlobKind, id: Id) -> Result<Place, EngineError> {
        self.find(kind, id)
            .ok_or_else(|| EngineError::Corrupt(format!("blob {id} is in no pack of the index")))
    }

    pub(crate) fn pack(&self, place: Place) -> Result<PackInfo, EngineError> {
        let pack = self.packs.get(place.pack as usize);
        pack.copied()
            .ok_or_else(|| EngineError::Internal("a place names no pack".to_owned()))
    }

    fn add(&mut self, pack: &IndexPack, wanted: fn(&IndexBlob) -> bool) {
        let number = self.packs.len() as u32;
        self.packs.push(PackInfo {
            id: pack.id,
            size: pack.length(),
        });
        for blob in pack.blobs.iter().filter(|blob| wanted(blob)) {
            let place = Place {
                pack: number,
                offset: blob.offset,
                length: blob.length,
                uncompressed_length: blob.uncompressed_length.unwrap_or(0),
            };
            match blob.kind {
                BlobKind::Tree => self.trees.push((blob.id, place)),
                BlobKind::Data => self.data.push((blob.id, place)),
            }
        }
    }
}

fn is_tree(blob: &IndexBlob) -> bool {
    blob.kind == BlobKind::Tree
}
