//! The chart, rendered by Helm.

use std::{path::PathBuf, process::Command};

use serde::Deserialize;
use serde_json::Value;

use super::tools;

/// The chart's folder.
pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "charts", "tray-operator"]
        .iter()
        .collect()
}

/// `helm <args>` with the chart's folder: what it printed, or why it failed.
pub(crate) fn helm(args: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(tools::program("helm"))
        .args(args)
        // Nothing of the user's own Helm decides what a test sees.
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// `helm template` in the operator's namespace: every object, or why it was refused.
pub(crate) fn render(args: &[&str]) -> Result<Vec<Value>, String> {
    let chart = folder();
    let fixed = [
        "template",
        "tray-operator",
        chart.to_str().unwrap(),
        "--namespace",
        "tray-system",
    ];
    helm(&[&fixed, args].concat()).map(|yaml| documents(&yaml))
}

/// Arguments that render what `helm upgrade` would on Kubernetes 1.36: it serves mutating policies, and our kinds already.
pub(crate) const UPGRADE: [&str; 2] = [
    "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
    "--api-versions=platform.tray.ai/v1alpha1",
];

/// What of the chart completes orgs as they are created: mutating policies and their bindings.
pub(crate) fn mutating_policies(args: &[&str]) -> Vec<Value> {
    let mut objects = render(args).unwrap();
    objects.retain(|object| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("MutatingAdmissionPolicy"))
    });
    objects
}

/// The documents of a YAML file that are not empty.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(yaml).map(|d| Value::deserialize(d).unwrap());
    documents.filter(|value| !value.is_null()).collect()
}
