//! A store in a folder: for copies of a repository that somebody carries away, and for tests.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{BlobError, BlobInfo, BlobStore};

/// Ending of files that are being written; such files are no blobs.
const PARTIAL: &str = ".partial";

/// Blobs as files below a folder. One process at a time writes to it.
#[derive(Clone, Debug)]
pub struct DirStore {
    root: PathBuf,
}

impl DirStore {
    /// A store in `root`, which is made when the first blob is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the blob `name` lies.
    ///
    /// Names come from listings of this store or are made by the engine; one that would leave the folder is a fault.
    fn path(&self, name: &str) -> Result<PathBuf, BlobError> {
        let plain = !name.is_empty() && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if plain {
            Ok(self.root.join(name))
        } else {
            Err(BlobError::Denied(format!("{name:?} is no blob name")))
        }
    }

    fn collect(&self, folder: &Path, prefix: &str, into: &mut Vec<BlobInfo>) -> Result<(), BlobError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound && folder == self.root => return Ok(()),
            entries => entries.map_err(|e| failure(folder, &e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| failure(folder, &e))?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(|e| failure(&path, &e))?;
            if metadata.is_dir() {
                self.collect(&path, prefix, into)?;
                continue;
            }
            let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            let name =
                name.ok_or_else(|| BlobError::Corrupt(format!("{} has no blob name", path.display())))?;
            if !name.starts_with(prefix) || name.ends_with(PARTIAL) {
                continue;
            }
            let modified = metadata.modified().map_err(|e| failure(&path, &e))?;
            into.push(BlobInfo {
                name: name.to_owned(),
                size: metadata.len(),
                last_modified: nearest(modified),
            });
        }
        Ok(())
    }
}

impl BlobStore for DirStore {
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        let mut blobs = Vec::new();
        self.collect(&self.root, prefix, &mut blobs)?;
        blobs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(blobs)
    }

    fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        let path = self.path(name)?;
        fs::read(&path).map(Bytes::from).map_err(|e| failure(&path, &e))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        let path = self.path(name)?;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(range.start))?;
            let wanted = range.end.saturating_sub(range.start);
            let mut bytes = Vec::with_capacity(wanted as usize);
            file.take(wanted).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|e| failure(&path, &e))?;
        if bytes.len() as u64 != range.end.saturating_sub(range.start) {
            return Err(BlobError::Corrupt(format!(
                "{} ends before byte {}",
                path.display(),
                range.end
            )));
        }
        Ok(bytes.into())
    }

    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError> {
        let path = self.path(name)?;
        if let Ok(held) = fs::read(&path) {
            return if held == body {
                Ok(())
            } else {
                Err(BlobError::Corrupt(format!(
                    "{} holds other content",
                    path.display()
                )))
            };
        }
        let partial = PathBuf::from(format!("{}{PARTIAL}", path.display()));
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = File::create(&partial)?;
            file.write_all(&body)?;
            file.sync_data()?;
            fs::rename(&partial, &path)
        };
        write().map_err(|e| failure(&path, &e))
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failure(&path, &error)),
            _ => Ok(()),
        }
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

/// The nearest time that we have: one odd file must not hide all others.
fn nearest(time: SystemTime) -> Timestamp {
    let beyond = if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::try_from(time).unwrap_or(beyond)
}

fn failure(path: &Path, error: &io::Error) -> BlobError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => BlobError::NotFound(text),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => BlobError::Denied(text),
        _ => BlobError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, DirStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::new(folder.path().join("blobs"));
        (folder, store)
    }

    #[test]
    fn what_is_put_is_listed_and_read() {
        let (_folder, store) = store();
        assert_eq!(store.list("").unwrap(), []);
        for name in ["b", "a/x", "a/y"] {
            store
                .put_if_absent(name, Bytes::from(format!("content of {name}")))
                .unwrap();
        }
        let names = |prefix| {
            store
                .list(prefix)
                .unwrap()
                .into_iter()
                .map(|b| b.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["a/x", "a/y", "b"]);
        assert_eq!(names("a/"), ["a/x", "a/y"]);
        assert_eq!(store.get("a/x").unwrap(), "content of a/x");
        assert_eq!(store.get_range("a/x", 3..7).unwrap(), "tent");
        assert!(matches!(
            store.get_range("a/x", 3..70),
            Err(BlobError::Corrupt(_))
        ));
    }

    #[test]
    fn a_taken_name_keeps_its_content() {
        let (_folder, store) = store();
        store.put_if_absent("a", Bytes::from_static(b"one")).unwrap();
        store.put_if_absent("a", Bytes::from_static(b"one")).unwrap();
        assert!(matches!(
            store.put_if_absent("a", Bytes::from_static(b"two")),
            Err(BlobError::Corrupt(_))
        ));
        assert_eq!(store.get("a").unwrap(), "one");
    }

    #[test]
    fn deleting_what_is_gone_is_success_and_reading_it_is_not() {
        let (_folder, store) = store();
        store.put_if_absent("a", Bytes::new()).unwrap();
        store.delete("a").unwrap();
        store.delete("a").unwrap();
        assert!(matches!(store.get("a"), Err(BlobError::NotFound(_))));
    }

    #[test]
    fn an_odd_time_of_a_file_is_listed_as_the_nearest_there_is() {
        use std::time::Duration;
        let before = |nanoseconds| SystemTime::UNIX_EPOCH - Duration::from_nanos(nanoseconds);
        let after = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let ages = SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40);
        for (time, expected) in [
            (before(1_500_000_000), Timestamp::new(-1, -500_000_000).unwrap()),
            (before(1), Timestamp::new(0, -1).unwrap()),
            (after(0), Timestamp::UNIX_EPOCH),
            (after(1 << 40), Timestamp::MAX),
            (ages, Timestamp::MIN),
        ] {
            assert_eq!(nearest(time), expected, "{time:?}");
        }
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let (_folder, store) = store();
        for name in ["", "../a", "/etc/passwd", "a//b", "a/./b"] {
            assert!(matches!(store.get(name), Err(BlobError::Denied(_))), "{name}");
        }
    }
}
