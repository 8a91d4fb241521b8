//! The files of a repository: where each lies, and how one is read and written.

use std::{io, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Cipher, Id};
use crate::{BlobError, BlobInfo, BlobStore, EngineError};

/// First byte of a sealed file whose rest is zstd; without it the file is JSON as it stands.
const COMPRESSED: u8 = 2;
/// A file of metadata that unpacks to more than this is refused, so that damage cannot exhaust memory.
const LARGEST_FILE: u64 = 1 << 30;

/// Name of the one file whose name is no hash.
pub(crate) const CONFIG: &str = "config";

/// Kinds of files with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Snapshot,
    Index,
    Pack,
    /// Ours, and unknown to others: the snapshot of this id was proven.
    Proof,
}

impl FileKind {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshots/",
            Self::Index => "index/",
            Self::Pack => "data/",
            Self::Proof => "proven/",
        }
    }

    pub(crate) fn name(self, id: Id) -> String {
        let id = id.to_string();
        match self {
            Self::Pack => format!("data/{}/{id}", &id[..2]),
            _ => format!("{}{id}", self.prefix()),
        }
    }
}

/// A store together with the key to what lies in it.
pub(crate) struct Vault {
    pub store: Arc<dyn BlobStore>,
    pub cipher: Cipher,
}

impl Vault {
    /// Every file of a kind with its listing; names that are no ids are not ours and left alone.
    pub(crate) fn list(&self, kind: FileKind) -> Result<Vec<(Id, BlobInfo)>, EngineError> {
        let listed = self.store.list(kind.prefix())?;
        let file = |blob: BlobInfo| {
            let id = Id::parse(blob.name.rsplit('/').next().unwrap_or_default())?;
            (kind.name(id) == blob.name).then_some((id, blob))
        };
        Ok(listed.into_iter().filter_map(file).collect())
    }

    /// Reads, checks and opens one file. A missing one is [`BlobError::NotFound`].
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: FileKind, id: Id) -> Result<T, EngineError> {
        let name = kind.name(id);
        let sealed = self.store.get(&name)?;
        if Id::of(&sealed) != id {
            return Err(EngineError::damaged(name, "does not hold what its name says"));
        }
        let text = self.unpack(&name, &sealed)?;
        parse(&name, &text)
    }

    /// The config file as JSON; [`EngineError::NoRepository`] where there is none.
    pub(crate) fn read_config<T: DeserializeOwned>(&self) -> Result<T, EngineError> {
        let sealed = self.store.get(CONFIG).map_err(|error| match error {
            BlobError::NotFound(_) => EngineError::NoRepository(self.store.location()),
            other => other.into(),
        })?;
        if self.cipher.open(&sealed).is_none() {
            return Err(EngineError::WrongKey(self.store.location()));
        }
        let text = self.unpack(CONFIG, &sealed)?;
        parse(CONFIG, &text)
    }

    /// Seals and writes one file of metadata.
    pub(crate) fn write<T: Serialize>(&self, kind: FileKind, value: &T) -> Result<Id, EngineError> {
        let internal = |why: String| {
            EngineError::Internal(format!("failed to write a file of {}: {why}", kind.prefix()))
        };
        let json = serde_json::to_vec(value).map_err(|e| internal(e.to_string()))?;
        let mut text = vec![COMPRESSED];
        zstd::stream::copy_encode(json.as_slice(), &mut text, 0).map_err(|e| internal(e.to_string()))?;
        let sealed = self
            .cipher
            .seal(&text)
            .ok_or_else(|| internal("too large".to_owned()))?;
        let id = Id::of(&sealed);
        self.store.put_if_absent(&kind.name(id), Bytes::from(sealed))?;
        Ok(id)
    }

    fn unpack(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, EngineError> {
        let corrupt = |why: &str| EngineError::damaged(name, why);
        let text = self
            .cipher
            .open(sealed)
            .ok_or_else(|| corrupt("does not open with the key"))?;
        match text.first() {
            Some(b'{' | b'[') => Ok(text),
            Some(&COMPRESSED) => {
                let mut json = Vec::new();
                let decoder = zstd::Decoder::new(&text[1..]).map_err(|e| corrupt(&e.to_string()))?;
                let read = io::Read::read_to_end(&mut io::Read::take(decoder, LARGEST_FILE + 1), &mut json);
                match read {
                    Ok(length) if length as u64 <= LARGEST_FILE => Ok(json),
                    Ok(_) => Err(corrupt("is too large")),
                    Err(error) => Err(corrupt(&error.to_string())),
                }
            }
            _ => Err(corrupt("is of a later format")),
        }
    }
}

fn parse<T: DeserializeOwned>(name: &str, json: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(json).map_err(|e| EngineError::Corrupt(format!("{name}: {e}")))
}
