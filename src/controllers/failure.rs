//! The three ways in which a reconcile does not reach its goal, by who has to do something.

use std::time::Duration;

use tray_ledger::RemoteError;

/// Why a reconcile did not reach its goal. The driver has written the status already; this decides when to look again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A person must act: looked at again when something changes, or when something else of it is due. The condition
    /// Stalled says what.
    #[error("{message}")]
    Stall {
        /// A constant of `api::conditions::reasons`.
        reason: &'static str,
        /// Names the object, the field and the remedy.
        message: String,
        /// Look again after this, even if nothing changes.
        again: Option<Duration>,
    },
    /// Something else has to happen first: looked at again then, or when something changes.
    #[error("{message}")]
    Wait {
        /// A constant of `api::conditions::reasons`.
        reason: &'static str,
        /// What is waited for.
        message: String,
        /// Look again after this, even if nothing changes.
        after: Duration,
    },
    /// A service did not answer, or refused for now: tried again after a pause that grows.
    #[error("{message}")]
    Retry {
        /// What failed.
        message: String,
    },
}

impl Failure {
    /// A person must act.
    pub fn stall(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Stall {
            reason,
            message: message.into(),
            again: None,
        }
    }

    /// Look again after `after`.
    pub fn wait(reason: &'static str, message: impl Into<String>, after: Duration) -> Self {
        Self::Wait {
            reason,
            message: message.into(),
            after,
        }
    }

    /// Try again.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry {
            message: message.into(),
        }
    }

    /// Label of metrics.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Stall { .. } => "stall",
            Self::Wait { .. } => "wait",
            Self::Retry { .. } => "retry",
        }
    }
}

impl From<kube::Error> for Failure {
    /// Without a better word for it, what the API server says is tried again.
    fn from(error: kube::Error) -> Self {
        Self::retry(describe(&error))
    }
}

impl From<RemoteError> for Failure {
    /// Tried again, too: rights and keys are put in order without the operator hearing of it.
    fn from(error: RemoteError) -> Self {
        Self::retry(error.to_string())
    }
}

/// An error of the Kubernetes client in one line: its own text says some things twice.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
