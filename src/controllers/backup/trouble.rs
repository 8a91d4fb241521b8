//! Why an org's backups do not get on, in the words of its condition BackupHealthy.

use std::time::Duration;

use tray_api::conditions::reasons;
use tray_domain::session_policy::SessionPolicyError;
use tray_ledger::{LedgerStoreError, RemoteError};

use crate::{
    adapters::kube::apply::ApplyError,
    controllers::{
        conditions::ConditionFact,
        failure::{Failure, describe},
    },
};

/// How long a person's remedy may go unnoticed: rights and keys are put in order without the operator hearing of it.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Trouble {
    /// A constant of [`reasons`].
    pub reason: &'static str,
    /// Names the object and the remedy.
    pub message: String,
    /// A service did not answer: it is tried again soon, and no person has to act yet.
    pub transient: bool,
}

impl Trouble {
    /// A person has to act.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            transient: false,
        }
    }

    /// The bucket, KMS or STS failed at what `action` says; `reason` where it is not just away.
    pub(super) fn remote(reason: &'static str, action: &str, error: &RemoteError) -> Self {
        let transient = matches!(error, RemoteError::Unavailable(_));
        Self {
            reason,
            message: format!("failed to {action}: {error}"),
            transient,
        }
    }

    /// The same as the org's condition BackupHealthy.
    pub(crate) fn fact(&self) -> ConditionFact {
        ConditionFact::new(false, self.reason, self.message.clone())
    }

    /// When the org is looked at again.
    pub(super) fn into_failure(self) -> Failure {
        if self.transient {
            Failure::retry(self.message)
        } else {
            Failure::wait(self.reason, self.message, LOOK_AGAIN)
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        Self {
            reason: reasons::RETRYING,
            message: describe(&error),
            transient: true,
        }
    }
}

impl From<ApplyError> for Trouble {
    fn from(error: ApplyError) -> Self {
        Self {
            reason: reasons::APPLY_REFUSED,
            message: error.to_string(),
            transient: true,
        }
    }
}

impl From<LedgerStoreError> for Trouble {
    fn from(error: LedgerStoreError) -> Self {
        let reason = match &error {
            LedgerStoreError::ClaimLost { .. } => reasons::CLAIM_LOST,
            LedgerStoreError::Invalid { .. } | LedgerStoreError::Stray { .. } => reasons::LEDGER_INVALID,
            LedgerStoreError::Newer { .. } => reasons::LEDGER_NEWER,
            LedgerStoreError::Unclaimed { .. } | LedgerStoreError::Overtaken { .. } => reasons::RETRYING,
            LedgerStoreError::Remote { .. } => reasons::BUCKET_UNAVAILABLE,
        };
        Self {
            reason,
            transient: error.is_transient(),
            message: error.to_string(),
        }
    }
}

impl From<SessionPolicyError> for Trouble {
    fn from(error: SessionPolicyError) -> Self {
        Self::new(reasons::MOVER_FAILED, error.to_string())
    }
}
