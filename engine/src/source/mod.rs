//! The folder that is copied, read strictly: whatever cannot be read stops the copy and is named.
//!
//! The library logs and leaves out what it cannot read; so this source keeps a record of its own.

mod reader;
mod walk;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustic_core::{ReadSource, RusticResult};

pub(crate) use reader::FileToRead;
pub(crate) use walk::{LOST_AND_FOUND, Walk, is_plain};

use crate::EngineError;

/// As many warnings are kept; more are counted.
const KEPT_WARNINGS: usize = 50;

/// What happened while a folder was read, shared by the walk and all readers.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    fault: Mutex<Option<EngineError>>,
    warnings: Mutex<(Vec<String>, u64)>,
    /// Entries that are no folders and were handed to the library.
    pub listed: AtomicU64,
    /// Of these, the ones that were gone when they were to be read.
    pub vanished: AtomicU64,
    /// Bytes of content read.
    pub bytes: AtomicU64,
}

impl Journal {
    /// Records why the copy must fail; the first reason stays.
    pub(crate) fn fail(&self, error: EngineError) {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    /// Why the copy must fail, if so.
    pub(crate) fn fault(&self) -> Option<EngineError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records something a person may want to know.
    pub(crate) fn warn(&self, path: &Path, what: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.0.len() < KEPT_WARNINGS {
            warnings.0.push(format!("{}: {what}", path.display()));
        } else {
            warnings.1 += 1;
        }
    }

    /// Records that an entry was listed and then gone.
    pub(crate) fn vanish(&self, path: &Path) {
        self.vanished.fetch_add(1, Ordering::Relaxed);
        self.warn(path, "vanished while it was copied, left out");
    }

    /// The warnings so far, and how many more there were.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = warnings.0.clone();
        all.sort();
        if warnings.1 > 0 {
            all.push(format!("and {} more", warnings.1));
        }
        all
    }
}

/// The folder as the library takes it.
#[derive(Debug)]
pub(crate) struct Source {
    pub root: PathBuf,
    /// Relative to `root`; empty = everything.
    pub paths: Vec<PathBuf>,
    pub journal: Arc<Journal>,
}

impl ReadSource for Source {
    type Open = FileToRead;
    type Iter = Walk;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Walk {
        Walk::new(&self.root, &self.paths, self.journal.clone())
    }
}
