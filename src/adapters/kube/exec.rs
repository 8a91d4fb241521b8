//! Runs a hook in a workload's pod and waits for its end. What a hook prints may hold secrets of its org, and failures are
//! read by people of others: nothing of it is kept, told or logged.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Client,
    api::{Api, AttachParams},
};
use tokio::io::{self, AsyncRead};
use tray_ports::{HookError, HookRunner, HookTarget};

/// Runs hooks by exec.
#[derive(Clone)]
pub struct PodExec {
    client: Client,
}

impl PodExec {
    /// By that client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn exec(&self, target: &HookTarget, command: &[String]) -> Result<(), HookError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
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
        tokio::join!(drain(stdout), drain(stderr));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
            status => Err(failure(target, command, status.as_ref())),
        }
    }
}

#[async_trait::async_trait]
impl HookRunner for PodExec {
    async fn run(&self, target: &HookTarget, command: &[String], timeout: Duration) -> Result<(), HookError> {
        match tokio::time::timeout(timeout, self.exec(target, command)).await {
            Ok(result) => result,
            Err(_) => Err(HookError::TimedOut {
                pod: target.pod.clone(),
                seconds: timeout.as_secs(),
            }),
        }
    }
}

/// Reads to the end and keeps nothing.
async fn drain(stream: Option<impl AsyncRead + Unpin>) {
    if let Some(mut stream) = stream {
        // A connection that breaks shows in the status.
        let _ = io::copy(&mut stream, &mut io::sink()).await;
    }
}

/// The failure of a command whose end `status` tells; none = nobody told.
fn failure(target: &HookTarget, command: &[String], status: Option<&Status>) -> HookError {
    let end = match status.map(|status| (exit_code(status), status.reason.as_deref())) {
        Some((Some(code), _)) => format!("exit code {code}"),
        // The message may quote what was printed.
        Some((None, reason)) => format!("no exit code ({})", reason.unwrap_or("no reason given")),
        None => "the connection ended before the command did".to_owned(),
    };
    let program = command.first().and_then(|word| word.split_whitespace().next());
    HookError::Failed {
        pod: target.pod.clone(),
        container: target.container.clone(),
        program: program.unwrap_or_default().to_owned(),
        end,
    }
}

/// The code that a command ended with; none where it did not come so far.
fn exit_code(status: &Status) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn a_failure_says_where_and_how_a_hook_ended_and_nothing_that_it_was_told_or_printed() {
        let target = HookTarget {
            namespace: "org-acme-7c9e6679".into(),
            pod: "db-0".into(),
            container: "main".into(),
        };
        let command = ["pg_basebackup --password=hunter2", "hunter2"].map(str::to_owned);
        let ended = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "exit code 3: hunter2",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        });
        let unknown = json!({"status": "Failure", "reason": "InternalError", "message": "hunter2"});
        for (status, end) in [
            (Some(ended), "exit code 3"),
            (Some(unknown), "no exit code (InternalError)"),
            (None, "the connection ended before the command did"),
        ] {
            let status: Option<Status> = status.map(|status| serde_json::from_value(status).unwrap());
            let said = failure(&target, &command, status.as_ref()).to_string();
            let known =
                format!("hook pg_basebackup in container main of pod db-0 failed: {end}; what it printed is");
            assert!(said.starts_with(&known), "{said}");
            assert!(said.contains("SupportAccess"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_hook_that_prints_much_is_not_stopped() {
        let (far, mut near) = io::duplex(16);
        let print = async move {
            near.write_all(&[b'x'; 4_096]).await.unwrap();
        };
        tokio::join!(drain(Some(far)), print);
    }
}
