//! Lists what is to be copied, folder by folder and in the order of names, as the format stores it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::{Component, Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    vec,
};

use rustic_core::{ReadSourceEntry, RusticResult};

use super::{FileToRead, Journal};
use crate::{
    EngineError,
    attributes::{loss_of_time, node_of},
};

/// Made by the file system at its root, and readable by root alone.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";

/// What is wanted of a folder: everything, or some names and of each again a part.
#[derive(Clone, Debug)]
enum Wanted {
    Everything,
    Only(BTreeMap<OsString, Wanted>),
}

impl Wanted {
    fn of(paths: &[PathBuf]) -> Self {
        if paths.is_empty() {
            return Self::Everything;
        }
        let mut all = BTreeMap::new();
        for path in paths {
            Self::add(&mut all, path.components());
        }
        Self::Only(all)
    }

    fn add(names: &mut BTreeMap<OsString, Self>, mut path: std::path::Components<'_>) {
        let Some(name) = path.next() else { return };
        let below = names
            .entry(name.as_os_str().to_owned())
            .or_insert_with(|| Self::Only(BTreeMap::new()));
        match below {
            Self::Only(names) if path.clone().next().is_some() => Self::add(names, path),
            below => *below = Self::Everything,
        }
    }
}

/// Whether `path` stays below the folder it is relative to and names something in it.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// One folder on the way.
#[derive(Debug)]
struct Level {
    /// Relative to the root.
    path: PathBuf,
    names: vec::IntoIter<(OsString, Wanted)>,
    /// The names were asked for, so each has to be there.
    required: bool,
}

/// Walks over the folder; ends early once the copy must fail.
#[derive(Debug)]
pub(crate) struct Walk {
    root: PathBuf,
    /// Held open so that files are opened below it and nowhere else.
    root_handle: Option<Arc<File>>,
    levels: Vec<Level>,
    journal: Arc<Journal>,
}

impl Walk {
    pub(crate) fn new(root: &Path, paths: &[PathBuf], journal: Arc<Journal>) -> Self {
        let mut walk = Self {
            root: root.to_owned(),
            root_handle: None,
            levels: Vec::new(),
            journal,
        };
        let start = File::open(root).and_then(|handle| {
            walk.root_handle = Some(Arc::new(handle));
            walk.level(PathBuf::new(), Wanted::of(paths))
        });
        match start {
            Ok(level) => walk.levels.push(level),
            Err(error) => walk.unreadable(Path::new("."), &error),
        }
        walk
    }

    fn level(&self, path: PathBuf, wanted: Wanted) -> io::Result<Level> {
        match wanted {
            Wanted::Only(names) => Ok(Level {
                path,
                names: names.into_iter().collect::<Vec<_>>().into_iter(),
                required: true,
            }),
            Wanted::Everything => {
                let names = fs::read_dir(self.root.join(&path))?.map(|entry| Ok(entry?.file_name()));
                let mut names = names.collect::<io::Result<Vec<_>>>()?;
                names.sort_unstable();
                let names: Vec<_> = names.into_iter().map(|name| (name, Wanted::Everything)).collect();
                Ok(Level {
                    path,
                    names: names.into_iter(),
                    required: false,
                })
            }
        }
    }

    fn unreadable(&self, path: &Path, error: &io::Error) {
        self.journal.fail(EngineError::Unreadable {
            path: path.to_owned(),
            why: error.to_string(),
        });
    }

    /// The entry `name` of the innermost folder; `None` where it is left out.
    fn entry(
        &mut self,
        path: &Path,
        wanted: Wanted,
        required: bool,
    ) -> io::Result<Option<ReadSourceEntry<FileToRead>>> {
        let absolute = self.root.join(path);
        if path == Path::new(LOST_AND_FOUND) {
            self.journal.warn(path, "left out: it belongs to the file system");
            return Ok(None);
        }
        let metadata = fs::symlink_metadata(&absolute)?;
        if matches!(wanted, Wanted::Only(_)) && !metadata.is_dir() {
            return Err(io::Error::new(
                ErrorKind::NotADirectory,
                "is no folder, but something in it is asked for",
            ));
        }
        if metadata.file_type().is_socket() {
            self.journal
                .warn(path, "left out: a program makes its sockets anew");
            return Ok(None);
        }
        let node = node_of(&absolute, &metadata)?;
        if let Some(loss) = loss_of_time(&node) {
            self.journal.warn(path, loss);
        }
        let mut open = None;
        if metadata.is_dir() {
            match self.level(path.to_owned(), wanted) {
                // It was there a moment ago: as good as never listed.
                Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(None),
                level => self.levels.push(level?),
            }
        } else {
            self.journal.listed.fetch_add(1, Ordering::Relaxed);
            if let (true, Some(root)) = (metadata.is_file(), &self.root_handle) {
                open = Some(FileToRead::new(
                    root.clone(),
                    path.to_owned(),
                    &metadata,
                    self.journal.clone(),
                ));
            }
        }
        // The snapshot's paths start at its root, which is the volume's.
        Ok(Some(ReadSourceEntry {
            path: Path::new("/").join(path),
            node,
            open,
        }))
    }
}

impl Iterator for Walk {
    type Item = RusticResult<ReadSourceEntry<FileToRead>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.journal.fault().is_some() {
                return None;
            }
            let level = self.levels.last_mut()?;
            let Some((name, wanted)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let (path, required) = (level.path.join(name), level.required);
            match self.entry(&path, wanted, required) {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !required => {
                    self.journal.warn(&path, "vanished while it was copied, left out");
                }
                Err(error) => self.unreadable(&path, &error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn listed(root: &Path, paths: &[&str]) -> (Vec<String>, Option<EngineError>) {
        let journal = Arc::new(Journal::default());
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        let names = Walk::new(root, &paths, journal.clone())
            .map(|e| e.unwrap().path.display().to_string())
            .collect();
        (names, journal.fault())
    }

    #[test]
    fn folders_come_before_their_content_and_names_ascend() {
        let folder = tree(&["a/z", "a.b", "a/b/c", "lost+found/x", "b/lost+found"]);
        let (names, fault) = listed(folder.path(), &[]);
        assert_eq!(
            names,
            ["/a", "/a/b", "/a/b/c", "/a/z", "/a.b", "/b", "/b/lost+found"]
        );
        assert_eq!(fault, None);
    }

    #[test]
    fn only_what_is_asked_for_is_listed_with_the_folders_above() {
        let folder = tree(&["a/b/c", "a/b/d", "a/e", "f", "g/h"]);
        assert_eq!(
            listed(folder.path(), &["a/b", "f"]).0,
            ["/a", "/a/b", "/a/b/c", "/a/b/d", "/f"]
        );
        assert_eq!(
            listed(folder.path(), &["a/b/c", "a/b", "a/e"]).0,
            ["/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e"]
        );
    }

    #[test]
    fn what_is_asked_for_and_not_there_is_named() {
        let folder = tree(&["a/b", "f"]);
        for (asked, named) in [("x", "x"), ("a/x", "a/x"), ("f/x", "f")] {
            let fault = listed(folder.path(), &[asked]).1;
            assert!(
                matches!(&fault, Some(EngineError::Unreadable { path, .. }) if path == Path::new(named)),
                "{fault:?}"
            );
        }
        let fault = listed(&folder.path().join("none"), &[]).1;
        assert!(matches!(fault, Some(EngineError::Unreadable { .. })));
    }

    #[test]
    fn a_path_that_leaves_the_root_is_not_plain() {
        for (path, plain) in [
            ("a/b", true),
            ("", false),
            ("../a", false),
            ("/a", false),
            ("a/../b", false),
        ] {
            assert_eq!(is_plain(Path::new(path)), plain, "{path}");
        }
    }
}
