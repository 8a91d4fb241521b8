//! Runs a hook in a workload's pod and waits for its end. What a hook prints may hold secrets of its org, and failures are
//! read by people of others: nothing of it is kept, told or logged.
//!
//! A command runs on in its container when the connection to it is gone: Kubernetes ends it with the container alone. So each is
//! begun by a script (`hook.sh`) that first ends the one that runs there still, and the next one begins when that is done,
//! whoever began the first. A container without a shell cannot do that: there a hook begins only where it is known that none
//! runs.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Client,
    api::{Api, AttachParams},
};
use tokio::io::{self, AsyncRead, AsyncReadExt};
use tray_ports::{HookError, HookRunner, HookTarget};

/// What a hook is begun by. It says [`BEGUN`], then [`RUNS`] as it becomes the hook.
const SCRIPT: &str = include_str!("hook.sh");
const BEGUN: &[u8] = b"tray-hook\n";
const RUNS: &[u8] = b"tray-hook\ntray-hook-runs\n";
/// So much of what a command prints is read. One that prints more is not waited for.
const MOST_PRINTED: u64 = 64 << 20;

/// Runs hooks by exec.
#[derive(Clone)]
pub struct PodExec {
    client: Client,
}

/// What became of a command.
struct Ended {
    /// How it ended; none = nobody told.
    status: Option<Status>,
    /// How it began.
    said: Said,
}

/// What [`SCRIPT`] has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nothing: there is no shell.
    Nothing,
    /// It has begun, and could not end the hook before it.
    Begun,
    /// The hook has begun.
    Runs,
}

impl Said {
    fn of(printed: &[u8]) -> Self {
        if printed.starts_with(RUNS) {
            Self::Runs
        } else if printed.starts_with(BEGUN) {
            Self::Begun
        } else {
            Self::Nothing
        }
    }
}

impl PodExec {
    /// By that client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn exec(&self, target: &HookTarget, command: &[String]) -> Result<(), HookError> {
        let ended = self.attempt(target, scripted(command)).await?;
        match (ended.said, ended.status) {
            (Said::Runs, status) => judge(target, command, status),
            (_, None) => Err(HookError::Lost {
                pod: target.pod.clone(),
            }),
            (Said::Begun, Some(_)) => Err(not_free(target, "does not end")),
            (Said::Nothing, Some(_)) if command.is_empty() || !target.is_free => {
                Err(not_free(target, "may run on, and there is no shell to end it by"))
            }
            (Said::Nothing, Some(_)) => {
                let ended = self.attempt(target, command.to_vec()).await?;
                judge(target, command, ended.status)
            }
        }
    }

    async fn attempt(&self, target: &HookTarget, command: Vec<String>) -> Result<Ended, HookError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let params = AttachParams::default()
            .container(&target.container)
            .stdout(true)
            .stderr(true);
        let mut process =
            pods.exec(&target.pod, command, &params)
                .await
                .map_err(|source| HookError::Exec {
                    pod: target.pod.clone(),
                    source: Box::new(source),
                })?;
        let status = process.take_status();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        // Both are drained while the command runs: a full pipe would stop it.
        let (printed, ()) = tokio::join!(beginning(stdout), drain(stderr));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        Ok(Ended {
            status,
            said: Said::of(&printed),
        })
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

/// The command that becomes `command`.
fn scripted(command: &[String]) -> Vec<String> {
    let shell = ["sh", "-c", SCRIPT, "tray-hook"].map(str::to_owned);
    shell.into_iter().chain(command.iter().cloned()).collect()
}

/// What is printed first, as much of it as the script says. The rest is read, and not kept.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut printed = Vec::with_capacity(RUNS.len());
    if let Some(mut stream) = stream {
        // A connection that breaks shows in the status.
        let _ = (&mut stream)
            .take(RUNS.len() as u64)
            .read_to_end(&mut printed)
            .await;
        drain(Some(stream)).await;
    }
    printed
}

/// Reads to the end, or as much as anybody may print, and keeps nothing.
async fn drain(stream: Option<impl AsyncRead + Unpin>) {
    if let Some(stream) = stream {
        let _ = io::copy(&mut stream.take(MOST_PRINTED), &mut io::sink()).await;
    }
}

/// What the end of a command means.
fn judge(target: &HookTarget, command: &[String], status: Option<Status>) -> Result<(), HookError> {
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
        Some(status) => Err(failure(target, command, &status)),
        None => Err(HookError::Lost {
            pod: target.pod.clone(),
        }),
    }
}

fn not_free(target: &HookTarget, why: &'static str) -> HookError {
    HookError::NotFree {
        pod: target.pod.clone(),
        container: target.container.clone(),
        why,
    }
}

/// The failure of a command whose end `status` tells.
fn failure(target: &HookTarget, command: &[String], status: &Status) -> HookError {
    let end = match exit_code(status) {
        Some(code) => format!("exit code {code}"),
        // The message may quote what was printed.
        None => format!(
            "no exit code ({})",
            status.reason.as_deref().unwrap_or("no reason given")
        ),
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

    fn target() -> HookTarget {
        HookTarget {
            namespace: "org-acme-7c9e6679".into(),
            pod: "db-0".into(),
            container: "main".into(),
            is_free: true,
        }
    }

    #[test]
    fn a_failure_says_where_and_how_a_hook_ended_and_nothing_that_it_was_told_or_printed() {
        let command = ["pg_basebackup --password=hunter2", "hunter2"].map(str::to_owned);
        let ended = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "exit code 3: hunter2",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        });
        let unknown = json!({"status": "Failure", "reason": "InternalError", "message": "hunter2"});
        for (status, end) in [(ended, "exit code 3"), (unknown, "no exit code (InternalError)")] {
            let status: Status = serde_json::from_value(status).unwrap();
            let said = judge(&target(), &command, Some(status)).unwrap_err().to_string();
            let known =
                format!("hook pg_basebackup in container main of pod db-0 failed: {end}; what it printed is");
            assert!(said.starts_with(&known), "{said}");
            assert!(said.contains("SupportAccess"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let lost = judge(&target(), &command, None).unwrap_err();
        assert!(lost.may_run_on() && lost.to_string().contains("db-0"), "{lost}");
    }

    #[tokio::test]
    async fn a_hook_that_prints_much_is_not_stopped_and_nothing_of_it_is_kept() {
        let (far, mut near) = io::duplex(16);
        let print = async move {
            near.write_all(RUNS).await.unwrap();
            near.write_all(&[b'x'; 4_096]).await.unwrap();
        };
        let (printed, ()) = tokio::join!(beginning(Some(far)), print);
        assert_eq!(printed, RUNS);
        assert_eq!(Said::of(&printed), Said::Runs);
    }

    #[tokio::test]
    async fn a_hook_that_prints_without_end_is_not_read_without_end() {
        drain(Some(io::repeat(b'x'))).await;
    }

    #[test]
    fn what_the_script_says_tells_how_far_a_hook_came() {
        for (printed, said) in [
            ("", Said::Nothing),
            ("exec failed: no sh", Said::Nothing),
            ("tray-hook\n", Said::Begun),
            ("tray-hook\ntray-hook-runs\n", Said::Runs),
        ] {
            assert_eq!(Said::of(printed.as_bytes()), said, "{printed:?}");
        }
        assert!(SCRIPT.contains("echo tray-hook\n") && SCRIPT.contains("echo tray-hook-runs\n"));
        let command = scripted(&["pg_dump".to_owned(), "a b".to_owned()]);
        assert_eq!(command[3..], ["tray-hook", "pg_dump", "a b"]);
    }
}
