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
}

/// Runs hooks. What a hook prints may hold secrets of its org: nothing of it is kept, told or logged.
#[async_trait::async_trait]
pub trait HookRunner: Send + Sync {
    /// Runs `command` and waits for its end, at most `timeout`.
    async fn run(&self, target: &HookTarget, command: &[String], timeout: Duration) -> Result<(), HookError>;
}
