//! Layers put together from single files.

use std::fs::File;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{file_digest, made_once, short_digest};
use crate::error::{Error, Result};
use crate::paths::Cache;

/// One entry of a layer. All belong to root and have no date, so that the same input is the same layer.
pub struct Entry {
    path: String,
    mode: u32,
    content: Content,
}

enum Content {
    Directory,
    Link(String),
    Bytes(Vec<u8>),
    File { source: PathBuf, digest: String, length: u64 },
}

impl Entry {
    /// An executable, copied from `source`.
    pub fn program(path: &str, source: &Path) -> Result<Self> {
        let (digest, length) = file_digest(source)?;
        let content = Content::File { source: source.to_owned(), digest, length };
        Ok(Self { path: path.to_owned(), mode: 0o755, content })
    }

    /// A directory with its permission bits.
    pub fn directory(path: &str, mode: u32) -> Self {
        Self { path: path.to_owned(), mode, content: Content::Directory }
    }

    /// A symbolic link.
    pub fn link(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), mode: 0o777, content: Content::Link(target.to_owned()) }
    }

    /// A small file that all may read.
    pub fn file(path: &str, bytes: &[u8]) -> Self {
        Self { path: path.to_owned(), mode: 0o644, content: Content::Bytes(bytes.to_vec()) }
    }

    /// What the entry is, as text; equal for equal entries.
    fn identity(&self) -> String {
        let content = match &self.content {
            Content::Directory => "directory".to_owned(),
            Content::Link(target) => format!("link {target}"),
            Content::Bytes(bytes) => format!("bytes {}", hex::encode(bytes)),
            Content::File { digest, .. } => format!("file {digest}"),
        };
        format!("{} {:o} {content}", self.path, self.mode)
    }
}

/// The layer of `entries` in the cache, as a tar file.
pub fn ensure(cache: &Cache, name: &str, entries: &[Entry]) -> Result<PathBuf> {
    let identities: Vec<String> = entries.iter().map(Entry::identity).collect();
    let key = short_digest(identities.iter().map(String::as_bytes));
    made_once(cache, &format!("{name}-{key}.layer.tar"), |path| write(path, entries))
}

fn write(path: &Path, entries: &[Entry]) -> Result<()> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    let mut archive = Builder::new(File::create(path).map_err(failed)?);
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match &entry.content {
            Content::Directory => {
                header.set_entry_type(EntryType::Directory);
                archive.append_data(&mut header, &entry.path, std::io::empty()).map_err(failed)?;
            }
            Content::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                archive.append_link(&mut header, &entry.path, target).map_err(failed)?;
            }
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, &entry.path, bytes.as_slice()).map_err(failed)?;
            }
            Content::File { source, length, .. } => {
                header.set_size(*length);
                let file = File::open(source).map_err(Error::file("open", source))?;
                archive.append_data(&mut header, &entry.path, file).map_err(failed)?;
            }
        }
    }
    archive.finish().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_another_layer() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let program = folder.path().join("program");
        let mut layer = |content: &str| {
            std::fs::write(&program, content).unwrap();
            ensure(&cache, "x", &[Entry::program("bin/x", &program).unwrap()]).unwrap()
        };
        let first = layer("one");
        assert_eq!(layer("one"), first);
        assert_ne!(layer("two"), first);
    }
}
