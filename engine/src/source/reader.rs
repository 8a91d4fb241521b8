//! Reads one file exactly as long as it was when it was listed.

use std::{
    fs::{File, Metadata},
    io::{self, BufRead, BufReader, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use rustic_core::{ErrorKind as RusticKind, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Journal;
use crate::EngineError;

/// The library reads in pieces of 4 KiB.
const BUFFER: usize = 128 << 10;

/// What has to be equal for a file to be the one that was listed, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A listed file.
#[derive(Debug)]
pub(crate) struct FileToRead {
    root: Arc<File>,
    path: PathBuf,
    stamp: Stamp,
    journal: Arc<Journal>,
}

impl FileToRead {
    /// `path` is relative to the folder `root`.
    pub(crate) fn new(root: Arc<File>, path: PathBuf, metadata: &Metadata, journal: Arc<Journal>) -> Self {
        Self {
            root,
            path,
            stamp: Stamp::of(metadata),
            journal,
        }
    }

    /// Opens the file without following a link anywhere on the way: whoever owns the volume could put one there
    /// after the listing, and lead out of the volume to what only the mover may read.
    fn open_below_root(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = rustix::fs::openat2(&*self.root, &self.path, flags, Mode::empty(), resolve)?;
        Ok(File::from(file))
    }
}

impl ReadSourceOpen for FileToRead {
    type Reader = FileReader;

    fn open(self) -> RusticResult<FileReader> {
        let failed = |why: &str| RusticError::new(RusticKind::InputOutput, why.to_owned());
        if self.journal.fault().is_some() {
            return Err(failed("the copy has failed already"));
        }
        let opened = self.open_below_root().and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        match opened {
            Ok((file, metadata)) => {
                let now = Stamp::of(&metadata);
                if !metadata.is_file() || (now.device, now.inode) != (self.stamp.device, self.stamp.inode) {
                    let why = "another file took its place".to_owned();
                    self.journal.fail(EngineError::Changed { path: self.path, why });
                    return Err(failed("replaced"));
                }
                let left = self.stamp.size;
                let capacity = BUFFER.min(left as usize).max(1);
                Ok(FileReader {
                    file: BufReader::with_capacity(capacity, file),
                    left,
                    of: self,
                })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.journal.vanish(&self.path);
                Err(failed("vanished"))
            }
            Err(error) => {
                self.journal.fail(EngineError::Unreadable {
                    path: self.path,
                    why: error.to_string(),
                });
                Err(failed("unreadable"))
            }
        }
    }
}

/// The content of a file; what was appended since the listing is not part of it.
#[derive(Debug)]
pub(crate) struct FileReader {
    file: BufReader<File>,
    left: u64,
    of: FileToRead,
}

impl FileReader {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The chunker takes a short answer for its new buffer size, so give all there is.
        let mut filled = 0;
        while filled < buffer.len() {
            let available = self.file.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let taken = available.len().min(buffer.len() - filled);
            buffer[filled..filled + taken].copy_from_slice(&available[..taken]);
            self.file.consume(taken);
            filled += taken;
        }
        Ok(filled)
    }

    fn at_end(&self) -> io::Result<()> {
        if Stamp::of(&self.file.get_ref().metadata()?) != self.of.stamp {
            self.of
                .journal
                .warn(&self.of.path, "was written to while it was copied");
        }
        Ok(())
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let result = self.fill(&mut buffer[..wanted]).and_then(|read| {
            self.left -= read as u64;
            if self.left == 0 {
                self.at_end().map(|()| read)
            } else {
                Ok(read)
            }
        });
        let FileToRead { path, journal, .. } = &self.of;
        match result {
            Ok(read) if read < wanted => {
                let why = format!("it is {} bytes shorter than when it was listed", self.left);
                journal.fail(EngineError::Changed {
                    path: path.clone(),
                    why,
                });
                Err(io::Error::from(ErrorKind::UnexpectedEof))
            }
            Ok(read) => {
                journal.bytes.fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Err(error) => {
                journal.fail(EngineError::Unreadable {
                    path: path.clone(),
                    why: error.to_string(),
                });
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path};

    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, Arc<Journal>, FileToRead) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("f"), content).unwrap();
        let journal = Arc::new(Journal::default());
        let metadata = fs::symlink_metadata(folder.path().join("f")).unwrap();
        let root = Arc::new(File::open(folder.path()).unwrap());
        let listed = FileToRead::new(root, "f".into(), &metadata, journal.clone());
        (folder, journal, listed)
    }

    fn read(listed: FileToRead) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        listed
            .open()
            .map_err(|e| io::Error::other(e.to_string()))?
            .read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn a_file_that_grew_is_read_as_long_as_it_was_and_warned_of() {
        let (folder, journal, listed) = file(b"1234");
        let mut handle = fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join("f"))
            .unwrap();
        handle.write_all(b"5678").unwrap();
        assert_eq!(read(listed).unwrap(), b"1234");
        assert_eq!(journal.warnings(), ["f: was written to while it was copied"]);
        assert_eq!(journal.fault(), None);
    }

    #[test]
    fn a_file_that_shrank_fails_the_copy() {
        let (folder, journal, listed) = file(b"1234");
        fs::OpenOptions::new()
            .write(true)
            .open(folder.path().join("f"))
            .unwrap()
            .set_len(1)
            .unwrap();
        read(listed).unwrap_err();
        assert!(matches!(journal.fault(), Some(EngineError::Changed { path, .. }) if path == Path::new("f")));
    }

    #[test]
    fn a_file_that_vanished_is_left_out_and_warned_of() {
        let (folder, journal, listed) = file(b"1234");
        fs::remove_file(folder.path().join("f")).unwrap();
        read(listed).unwrap_err();
        assert_eq!(
            (journal.fault(), journal.vanished.load(Ordering::Relaxed)),
            (None, 1)
        );
    }

    #[test]
    fn a_link_that_took_the_place_of_a_file_is_not_followed() {
        let (folder, journal, listed) = file(b"1234");
        fs::remove_file(folder.path().join("f")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("f")).unwrap();
        read(listed).unwrap_err();
        assert!(matches!(journal.fault(), Some(EngineError::Unreadable { .. })));
    }
}
