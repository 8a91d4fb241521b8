//! The folder that is filled: empty at first, and marked until it is whole.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::local;
use crate::{EngineError, source::LOST_AND_FOUND};

/// Lies in a target while it is being filled. What a crash leaves behind is cleared by the next try, and never copied.
pub(crate) const MARKER: &str = ".tray-restore-unfinished";

/// An entry of the target that no restore of ours left there; `None` = it can be filled.
pub(super) fn foreign_entry(target: &Path) -> Result<Option<PathBuf>, EngineError> {
    let names = entries(target)?;
    if names.iter().any(|name| name.ends_with(MARKER)) {
        return Ok(None);
    }
    Ok(names.into_iter().next())
}

fn entries(target: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let entries = fs::read_dir(target).map_err(|e| local(target, e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| local(target, e))?.path();
        if !path.ends_with(LOST_AND_FOUND) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Clears what an unfinished try left and marks the target.
pub(super) fn start(target: &Path) -> Result<Started, EngineError> {
    let marker = target.join(MARKER);
    File::create(&marker)
        .and_then(|file| file.sync_all())
        .map_err(|e| local(&marker, e))?;
    for path in entries(target)?.into_iter().filter(|path| *path != marker) {
        let metadata = fs::symlink_metadata(&path).map_err(|e| local(&path, e))?;
        let removed = if metadata.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|e| local(&path, e))?;
    }
    let started = Started {
        target: target.to_owned(),
        marker,
    };
    started.sync_folder()?;
    Ok(started)
}

/// A marked target.
pub(super) struct Started {
    target: PathBuf,
    marker: PathBuf,
}

impl Started {
    /// Brings everything that was written to the disk.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        let folder = File::open(&self.target).map_err(|e| local(&self.target, e))?;
        rustix::fs::syncfs(&folder).map_err(|e| local(&self.target, e))
    }

    /// Takes the mark away: the target is whole.
    pub(super) fn finish(self) -> Result<(), EngineError> {
        fs::remove_file(&self.marker).map_err(|e| local(&self.marker, e))?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), EngineError> {
        File::open(&self.target)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| local(&self.target, e))
    }
}
