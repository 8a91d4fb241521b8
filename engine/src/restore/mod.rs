//! Writes a snapshot into a folder and compares what then lies there.
//!
//! Own code, since the library's restore panics when the store fails, takes a gigabyte of memory, and only logs what
//! it cannot set.

mod compare;
mod fill;
mod links;
mod settle;
mod target;
mod times;

use std::{io, path::Path};

use crate::{
    EngineError, Progress, RestoreReport, SnapshotId,
    format::{Index, SnapshotRecord, Trees, Vault},
};

pub(crate) use links::Links;
pub(crate) use target::MARKER;

/// See [`crate::Repository::restore`].
pub(crate) fn run(
    vault: &Vault,
    id: &SnapshotId,
    target: &Path,
    progress: &dyn Progress,
) -> Result<RestoreReport, EngineError> {
    let snapshot = SnapshotRecord::read(vault, id)?;
    let index = Index::load(vault)?;
    let mut trees = Trees::new(vault, &index);
    if let Some(foreign) = target::foreign_entry(target)? {
        // A try before this one may have got to the end and not been heard.
        let found = compare::run(&index, &mut trees, snapshot.tree, target);
        return found.map_err(|error| match error {
            EngineError::Mismatch(_) | EngineError::Local { .. } => {
                let (foreign, target) = (foreign.display(), target.display());
                EngineError::Refused(format!(
                    "restore into {target}: it holds {foreign}; give it an empty folder"
                ))
            }
            other => other,
        });
    }
    let started = target::start(target)?;
    let mut warnings = Warnings::default();
    fill::run(
        vault,
        &index,
        &mut trees,
        snapshot.tree,
        target,
        &mut warnings,
        progress,
    )?;
    settle::folders(&mut trees, snapshot.tree, target, &mut warnings)?;
    started.sync()?;
    let mut report = compare::run(&index, &mut trees, snapshot.tree, target)?;
    started.finish()?;
    report.warnings = warnings.with(report.warnings);
    Ok(report)
}

/// What this process was not allowed to set.
#[derive(Default)]
pub(crate) struct Warnings {
    texts: Vec<String>,
    more: u64,
}

impl Warnings {
    /// As many are kept; more are counted.
    const KEPT: usize = 50;

    pub(crate) fn add(&mut self, path: &Path, what: &str) {
        if self.texts.len() < Self::KEPT {
            self.texts.push(format!("{}: {what}", path.display()));
        } else {
            self.more += 1;
        }
    }

    fn with(mut self, others: Vec<String>) -> Vec<String> {
        for other in others {
            if !self.texts.contains(&other) {
                self.texts.push(other);
            }
        }
        if self.more > 0 {
            self.texts.push(format!("and {} more", self.more));
        }
        self.texts
    }
}

pub(crate) fn local(path: &Path, error: impl Into<io::Error>) -> EngineError {
    EngineError::Local {
        path: path.to_owned(),
        why: error.into().to_string(),
    }
}
