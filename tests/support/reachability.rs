//! Who may reach whom under the NetworkPolicies of a cluster, as Cyclonus says (`e2e/tools/cyclonus`): it knows nothing of
//! this operator.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tools;

/// A pod, or an address outside of the cluster.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// Empty outside of the cluster.
    pub namespace: String,
    pub namespace_labels: BTreeMap<String, String>,
    pub pod_labels: BTreeMap<String, String>,
    pub ip: String,
}

impl Peer {
    /// An address outside of the cluster.
    pub(crate) fn address(ip: &str) -> Self {
        Self {
            ip: ip.to_owned(),
            ..Self::default()
        }
    }

    /// A pod in a namespace that has no labels but its name.
    pub(crate) fn pod(namespace: &str, labels: &[(&str, &str)]) -> Self {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self {
            namespace: namespace.to_owned(),
            namespace_labels: [owned(&("kubernetes.io/metadata.name", namespace))].into(),
            pod_labels: labels.iter().map(owned).collect(),
            ip: "10.244.0.9".to_owned(),
        }
    }
}

/// One question.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Question {
    pub from: Peer,
    pub to: Peer,
    pub port: u16,
    pub protocol: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    egress: bool,
    ingress: bool,
}

/// Whether each traffic flows: it may leave where it comes from, and enter where it goes.
pub(crate) fn ask(policies: &[Value], questions: &[Question]) -> Vec<bool> {
    let mut evaluator = Command::new(tools::program("reachability"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({"policies": policies, "questions": questions}).to_string();
    // Dropped at the end of the statement: the evaluator reads to the end.
    evaluator
        .stdin
        .take()
        .unwrap()
        .write_all(asked.as_bytes())
        .unwrap();
    let output = evaluator.wait_with_output().unwrap();
    assert!(output.status.success(), "the evaluator failed");
    let answers: Vec<Answer> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), questions.len());
    answers
        .iter()
        .map(|answer| answer.egress && answer.ingress)
        .collect()
}
