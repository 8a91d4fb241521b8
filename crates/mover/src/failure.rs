//! Why a mover failed: one of a fixed list of reasons, whether another try may mend it, and what is told of it.
//!
//! Names of files and objects are the org's: they go into its part of the bucket, under its key. What goes into logs, statuses and
//! the ledger is told in words of our own: what S3 and KMS answered, in codes; files of repositories, whose names are digests.

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
    /// What failed, by name, and what to do where that is known. It may name what is the org's alone.
    pub message: String,
    /// The same for everybody.
    pub told: String,
}

impl Failure {
    /// Nothing but a person's act mends it. The message holds numbers, digests and names of our own.
    pub fn permanent(reason: FailureReason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            reason,
            permanent: true,
            told: message.clone(),
            message,
        }
    }

    /// What others said, or how files and objects are called, is not for everybody.
    #[must_use]
    pub fn withheld(self) -> Self {
        Self {
            told: self.reason.told().to_owned(),
            ..self
        }
    }

    fn of_ours(reason: FailureReason, permanent: bool, message: String) -> Self {
        Self {
            permanent,
            ..Self::permanent(reason, message)
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
        Self::of_ours(reason, permanent, format!("{what}{error}"))
    }

    /// The same, put under another reason: what failed while proving a copy is a failed proof.
    #[must_use]
    pub fn under(self, reason: FailureReason) -> Self {
        match self.reason {
            // These say who did not answer, which is no proof of anything.
            FailureReason::BucketFailed | FailureReason::KeyFailed | FailureReason::Interrupted => self,
            _ if self.told == self.reason.told() => Self { reason, ..self }.withheld(),
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
            message: self.told.clone(),
        }
    }

    /// What is kept of it for the org's own people, as JSON.
    pub fn details(&self) -> String {
        serde_json::json!({
            "formatVersion": 1,
            "reason": self.reason,
            "permanent": self.permanent,
            "message": self.message,
        })
        .to_string()
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
            | EngineError::Damaged { .. }
            | EngineError::Refused(_) => FailureReason::RepositoryFailed,
            EngineError::Mismatch(_) | EngineError::Local { .. } => FailureReason::TargetFailed,
            EngineError::Internal(_) => FailureReason::Internal,
        };
        let failure = Self::of_ours(reason, error.permanent(), error.to_string());
        match error {
            EngineError::Damaged { .. } => failure,
            _ => failure.withheld(),
        }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        // A right that was given a moment ago may take a while to be known everywhere.
        let permanent = matches!(error, BlobError::NotFound(_) | BlobError::Corrupt(_));
        Self::of_ours(FailureReason::BucketFailed, permanent, error.to_string())
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
        Self::permanent(reason, error.to_string()).withheld()
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        // As with the bucket: the mover's RoleBinding may be younger than its pod.
        Self::passing(FailureReason::KubernetesFailed, error.to_string()).withheld()
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
        assert!(failure.message.contains("data/secret") && failure.details().contains("data/secret"));
        let told = serde_json::to_string(&failure.outcome()).unwrap();
        assert!(
            !told.contains("data/secret") && !told.contains("denied"),
            "{told}"
        );
        assert!(told.contains("SourceUnreadable"), "{told}");
    }

    #[test]
    fn what_a_service_answered_and_which_file_of_a_repository_is_damaged_is_told() {
        let said = "s3:GetObject on s3://bucket/key: AccessDenied, HTTP 403; allow it to the role in use";
        let denied = RemoteError::Denied(said.into());
        let damaged = EngineError::Damaged {
            name: "data/ab/abcdef".into(),
            why: "is missing".into(),
        };
        for (failure, words) in [
            (Failure::from(BlobError::Denied(said.into())), said),
            (
                Failure::remote(FailureReason::KeyFailed, &denied, "the key: ".into()),
                said,
            ),
            (damaged.into(), "data/ab/abcdef is missing"),
            (
                Failure::permanent(FailureReason::TargetFailed, "its claim has 5 bytes"),
                "5 bytes",
            ),
        ] {
            assert!(failure.told.contains(words), "{}", failure.told);
            assert_eq!(failure.told, failure.message);
        }
        // What names a file of the volume besides is not.
        let of_file = EngineError::Corrupt("secrets/plan.txt: blob ab is in no pack of the index".into());
        let failure = Failure::from(of_file);
        assert!(failure.message.contains("plan.txt") && !failure.told.contains("plan.txt"));
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
