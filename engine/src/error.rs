//! Why an engine did not do what it was asked.

use std::path::PathBuf;

use crate::BlobError;

/// Every text names the path, pack or snapshot it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Something to be copied could not be read, so nothing was snapshotted.
    #[error("failed to read {}: {why}; make it readable for the workload's user or leave it out", path.display())]
    Unreadable {
        /// The first such path, below the root of the copy.
        path: PathBuf,
        /// What the system said, and how many more there are.
        why: String,
    },
    /// A file became shorter while it was read: no state of it was ever copied.
    #[error("{} changed while it was copied: {why}; copy it again, or quiesce the workload by a pre hook", path.display())]
    Changed {
        /// The first such path, below the root of the copy.
        path: PathBuf,
        /// What changed.
        why: String,
    },
    /// The store of the repository failed.
    #[error("failed to use the store: {0}")]
    Store(#[from] BlobError),
    /// The store holds no repository.
    #[error("no repository in {0}")]
    NoRepository(String),
    /// The repository does not open with this key.
    #[error("the key does not open the repository in {0}")]
    WrongKey(String),
    /// The repository holds no such snapshot.
    #[error("no snapshot {0} in the repository")]
    NoSnapshot(String),
    /// What lies in the repository is not what was written there.
    #[error("the repository is damaged: {0}")]
    Corrupt(String),
    /// A file of the repository is not what was written there. Neither text names anything of what was copied.
    #[error("the repository is damaged: {name} {why}")]
    Damaged {
        /// Which: `data/ab/ab…`.
        name: String,
        /// What is wrong with it: `is missing`.
        why: String,
    },
    /// What was restored is not what the snapshot holds.
    #[error("the restored data differs from the snapshot: {0}")]
    Mismatch(String),
    /// The request cannot be done as it stands.
    #[error("cannot do that: {0}")]
    Refused(String),
    /// A folder of this machine failed: the target of a restore or the work folder.
    #[error("failed to use {}: {why}", path.display())]
    Local {
        /// What was used.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The library below failed for another reason.
    #[error("the engine failed: {0}")]
    Internal(String),
}

impl EngineError {
    pub(crate) fn damaged(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged {
            name: name.into(),
            why: why.into(),
        }
    }

    /// Whether another try would fail in the same way until a person acts.
    pub fn permanent(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, BlobError::Unavailable(_)),
            Self::Changed { .. } | Self::Local { .. } | Self::Internal(_) => false,
            Self::Unreadable { .. }
            | Self::NoRepository(_)
            | Self::WrongKey(_)
            | Self::NoSnapshot(_)
            | Self::Corrupt(_)
            | Self::Damaged { .. }
            | Self::Mismatch(_)
            | Self::Refused(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_worth_another_try() {
        assert!(!EngineError::from(BlobError::Unavailable(String::new())).permanent());
        assert!(EngineError::from(BlobError::Denied(String::new())).permanent());
        let unreadable = EngineError::Unreadable {
            path: "a/b".into(),
            why: "permission denied".to_owned(),
        };
        assert!(unreadable.permanent());
        assert!(
            unreadable.to_string().contains("a/b: permission denied"),
            "{unreadable}"
        );
    }
}
