//! Running a command in a container of a workload's pod.

use std::{error::Error, time::Duration};

/// Where a hook runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTarget {
    /// The org's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Whether it is known that no hook runs there any more. Where it is not, a hook begins only when the one before it has been
    /// ended, in a container in which that can be done.
    pub is_free: bool,
}

/// Why a hook did not succeed. Each names the pod.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The API server or kubelet refused, or the connection broke.
    #[error("failed to exec in pod {pod}: the API server or the kubelet refused, or the connection broke")]
    Exec {
        /// The pod.
        pod: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection ended before the command did: how that ended, and whether it has, nobody told.
    #[error("the connection to the hook in pod {pod} broke")]
    Lost {
        /// The pod.
        pod: String,
    },
    /// The command ended with a code other than 0, or was killed.
    #[error(
        "hook {program} in container {container} of pod {pod} failed: {end}; what it printed is kept nowhere: run it by hand \
         in that container, let in by a SupportAccess of role Debug"
    )]
    Failed {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// The command's first word: what follows may hold secrets.
        program: String,
        /// How it ended.
        end: String,
    },
    /// The command did not end in time.
    #[error("hook in pod {pod} did not end within {seconds} s")]
    TimedOut {
        /// The pod.
        pod: String,
        /// The limit.
        seconds: u64,
    },
    /// The hook before it runs on, or may, and cannot be ended: the command was not begun.
    #[error(
        "a hook that ran before it in container {container} of pod {pod} {why}: it was not begun; delete the pod, or end that \
         hook by hand, then run this one by hand"
    )]
    NotFree {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// Why it is not known to have ended.
        why: &'static str,
    },
}

impl HookError {
    /// Whether the command may run on in the pod.
    pub const fn may_run_on(&self) -> bool {
        matches!(
            self,
            Self::Exec { .. } | Self::Lost { .. } | Self::TimedOut { .. }
        )
    }

    /// Whether it was the way to the pod that failed: another try may succeed.
    pub const fn is_on_the_way(&self) -> bool {
        matches!(self, Self::Exec { .. } | Self::Lost { .. })
    }
}

/// Runs hooks. What a hook prints may hold secrets of its org: nothing of it is kept, told or logged.
///
/// In one container one hook runs at a time: before a command begins, whatever hook still runs there is ended, whoever began it.
#[async_trait::async_trait]
pub trait HookRunner: Send + Sync {
    /// Runs `command` and waits for its end, at most `timeout`. An empty command only ends what runs there.
    async fn run(&self, target: &HookTarget, command: &[String], timeout: Duration) -> Result<(), HookError>;
}
