//! Why a mover failed: one of a fixed list of reasons, whether another try may mend it, and a text that names the object.

use tray_domain::mover_task::{EXIT_PERMANENT, FailureReason, MoverOutcome};
use tray_engine::{BlobError, EngineError};
use tray_ledger::RemoteError;

use super::{archive::ArchiveError, keys::KeyError};
use crate::ports::ObjectError;

/// Exit code of a failure that another try may mend.
const EXIT_RETRYABLE: u8 = 1;

/// The end of a mover that did not do its task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Of the fixed list.
    pub reason: FailureReason,
    /// Whether another try would fail in the same way until a person acts.
    pub permanent: bool,
    /// What failed, by name, and what to do where that is known.
    pub message: String,
}

impl Failure {
    /// Nothing but a person's act mends it.
    pub fn permanent(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            permanent: true,
            message: message.into(),
        }
    }

    /// Another try may mend it.
    pub fn passing(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            permanent: false,
            ..Self::permanent(reason, message)
        }
    }

    /// A remote service failed; `what` says at what, if that is not plain from the error.
    pub fn remote(reason: FailureReason, error: &RemoteError, what: String) -> Self {
        // A right that was given a moment ago may take a while to be known everywhere.
        let permanent = !matches!(error, RemoteError::Denied(_) | RemoteError::Unavailable(_));
        Self {
            reason,
            permanent,
            message: format!("{what}{error}"),
        }
    }

    /// The same, put under another reason: what failed while proving a copy is a failed proof.
    #[must_use]
    pub fn under(self, reason: FailureReason) -> Self {
        match self.reason {
            // These say who did not answer, which is no proof of anything.
            FailureReason::BucketFailed | FailureReason::KeyFailed | FailureReason::Interrupted => self,
            _ => Self { reason, ..self },
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        if self.permanent {
            u8::try_from(EXIT_PERMANENT).unwrap_or(EXIT_RETRYABLE)
        } else {
            EXIT_RETRYABLE
        }
    }

    /// What the operator reads.
    pub fn outcome(&self) -> MoverOutcome {
        MoverOutcome::Failed {
            reason: self.reason,
            message: self.message.clone(),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let reason = match &error {
            EngineError::Store(error) => return error.clone().into(),
            EngineError::Unreadable { .. } | EngineError::Changed { .. } => FailureReason::SourceUnreadable,
            EngineError::NoRepository(_)
            | EngineError::WrongKey(_)
            | EngineError::NoSnapshot(_)
            | EngineError::Corrupt(_)
            | EngineError::Refused(_) => FailureReason::RepositoryFailed,
            EngineError::Mismatch(_) | EngineError::Local { .. } => FailureReason::TargetFailed,
            EngineError::Internal(_) => FailureReason::Internal,
        };
        Self {
            reason,
            permanent: error.permanent(),
            message: error.to_string(),
        }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        // A right that was given a moment ago may take a while to be known everywhere.
        let permanent = matches!(error, BlobError::NotFound(_) | BlobError::Corrupt(_));
        Self {
            reason: FailureReason::BucketFailed,
            permanent,
            message: error.to_string(),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::permanent(FailureReason::KeyFailed, error.to_string())
    }
}

/// Of KMS.
impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::remote(FailureReason::KeyFailed, &error, String::new())
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let reason = match error {
            ArchiveError::TooLarge => FailureReason::KubernetesFailed,
            ArchiveError::Unwritable(_) => FailureReason::Internal,
            _ => FailureReason::VerificationFailed,
        };
        Self::permanent(reason, error.to_string())
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        // As with the bucket: the mover's RoleBinding may be younger than its pod.
        Self::passing(FailureReason::KubernetesFailed, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_file_is_permanent_and_named() {
        let failure = Failure::from(EngineError::Unreadable {
            path: "data/secret".into(),
            why: "Permission denied".into(),
        });
        assert_eq!(failure.reason, FailureReason::SourceUnreadable);
        assert_eq!(i32::from(failure.exit_code()), EXIT_PERMANENT);
        assert!(failure.message.contains("data/secret"));
    }

    #[test]
    fn a_store_that_does_not_answer_is_tried_again() {
        let failure = Failure::from(EngineError::Store(BlobError::Unavailable("b".into())));
        assert_eq!(
            (failure.reason, failure.exit_code()),
            (FailureReason::BucketFailed, 1)
        );
        assert_eq!(failure.clone().under(FailureReason::VerificationFailed), failure);
    }

    #[test]
    fn what_is_damaged_while_proving_is_a_failed_proof() {
        let failure =
            Failure::from(EngineError::Corrupt("pack".into())).under(FailureReason::VerificationFailed);
        assert_eq!(failure.reason, FailureReason::VerificationFailed);
        assert!(failure.permanent);
    }
}
