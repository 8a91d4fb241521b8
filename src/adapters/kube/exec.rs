//! Runs a hook in a workload's pod and waits for its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of a hook's last output is kept for the message of a failure, in bytes.
const KEPT_OUTPUT: usize = 1_000;

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
    #[error("failed to exec in pod {pod}: {source}")]
    Exec {
        /// The pod.
        pod: String,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// The command ended with a code other than 0, or was killed.
    #[error("hook in pod {pod} failed: {message}; last output: {output}")]
    Failed {
        /// The pod.
        pod: String,
        /// What the kubelet says of its end.
        message: String,
        /// The end of stdout and stderr.
        output: String,
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

/// Runs `command` and waits for its end, at most `timeout`.
pub async fn run_hook(
    client: kube::Client,
    target: &HookTarget,
    command: &[String],
    timeout: Duration,
) -> Result<(), HookError> {
    match tokio::time::timeout(timeout, run(client, target, command)).await {
        Ok(result) => result,
        Err(_) => Err(HookError::TimedOut {
            pod: target.pod.clone(),
            seconds: timeout.as_secs(),
        }),
    }
}

async fn run(client: kube::Client, target: &HookTarget, command: &[String]) -> Result<(), HookError> {
    let pods: Api<Pod> = Api::namespaced(client, &target.namespace);
    let params = AttachParams::default()
        .container(&target.container)
        .stdout(true)
        .stderr(true);
    let exec_error = |source| HookError::Exec {
        pod: target.pod.clone(),
        source: Box::new(source),
    };
    let mut process = pods
        .exec(&target.pod, command, &params)
        .await
        .map_err(exec_error)?;
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    // Both are drained while the command runs: a full pipe would stop it.
    let (out, err) = tokio::join!(tail(stdout), tail(stderr));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let failed = |message: String| HookError::Failed {
        pod: target.pod.clone(),
        message,
        output: format!("{out}{err}").trim().to_owned(),
    };
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
        Some(status) => Err(failed(
            status.message.unwrap_or_else(|| "no reason given".to_owned()),
        )),
        None => Err(failed("the connection ended before the command did".to_owned())),
    }
}

/// Reads to the end and keeps the last [`KEPT_OUTPUT`] bytes.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(KEPT_OUTPUT);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_end_of_the_output_is_kept() {
        let text = format!("{}the reason", "x".repeat(3 * KEPT_OUTPUT));
        let kept = tail(Some(text.as_bytes())).await;
        assert_eq!(kept.len(), KEPT_OUTPUT);
        assert!(kept.ends_with("the reason"));
    }
}
