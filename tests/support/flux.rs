//! What Flux does with manifests and says of objects, by its own modules (`e2e/tools/flux`): they know nothing of this
//! operator.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{api_server::ApiServer, tools};

/// A Kustomization with its administrator's rights.
pub(crate) struct Flux {
    kubeconfig: tempfile::NamedTempFile,
}

/// What came of one reconciliation.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    /// `Kind/name` → `created`, `configured`, `unchanged`, `deleted`, `skipped`, `unknown`.
    pub changes: BTreeMap<String, String>,
    /// Empty where nothing failed.
    pub error: String,
}

/// How an object fares.
#[derive(Debug, Deserialize)]
pub(crate) struct RunVerdict {
    /// `InProgress`, `Current`, `Failed`, `Terminating`.
    pub status: String,
    pub message: String,
}

impl Flux {
    /// On the cluster of that API server.
    pub(crate) fn of(server: &ApiServer) -> Self {
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = serde_json::to_string(server.kubeconfig()).unwrap();
        kubeconfig.write_all(text.as_bytes()).unwrap();
        Self { kubeconfig }
    }

    /// Applies what Git has and prunes what it has no more, as kustomize-controller does.
    pub(crate) fn reconcile(&self, apply: &[Value], prune: &[Value], force: bool) -> Outcome {
        let wanted = json!({"apply": apply, "prune": prune, "force": force});
        run("reconcile", self.kubeconfig.path(), &wanted)
    }
}

/// What kstatus computes of each object.
pub(crate) fn verdicts(objects: &[Value]) -> Vec<RunVerdict> {
    verdicts_by(&json!([]), objects)
}

/// What a Kustomization with these `healthCheckExprs` says of each object.
pub(crate) fn verdicts_by(exprs: &Value, objects: &[Value]) -> Vec<RunVerdict> {
    let asked = json!({"objects": objects, "healthCheckExprs": exprs});
    run("status", Path::new(""), &asked)
}

fn run<T: DeserializeOwned>(what: &str, kubeconfig: &Path, input: &Value) -> T {
    let mut flux = Command::new(tools::program("flux"))
        .arg(what)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Dropped at the end of the statement: it reads to the end.
    flux.stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = flux.wait_with_output().unwrap();
    assert!(output.status.success(), "flux {what} failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
