//! The health checks that `docs/gitops/` gives to Argo CD and to Flux, on objects as an API server shows them
//! (in the folder of this name): the former in a Lua interpreter of the version that Argo CD runs (5.1), the latter by Flux's
//! own module.

use std::{fs, path::Path};

use mlua::{Lua, LuaSerdeExt};
use serde_json::Value;

use crate::support::flux::{self, RunVerdict};

/// File → what Argo CD has to say of the object in it, and what its message holds.
const EXPECTED: [(&str, &str, &str); 13] = [
    ("org-new", "Progressing", "waiting for tray-operator"),
    ("org-changed", "Progressing", "waiting for tray-operator"),
    ("org-rolling-out", "Progressing", "StatefulSet db has 0 of 1"),
    (
        "org-restoring",
        "Progressing",
        "OrgRestore acme-back is under way",
    ),
    ("org-ready", "Healthy", "every workload"),
    ("org-suspended", "Suspended", "suspended by spec.lifecycle.state"),
    ("org-stalled", "Degraded", "spec.retentionPolicyRef"),
    ("org-outside-region", "Degraded", "outside of ap-southeast-2"),
    ("region-ready", "Healthy", "as specified"),
    ("region-without-nodes", "Progressing", "no node"),
    ("region-stalled", "Degraded", "spec.backup.bucket"),
    ("schedule-ready", "Healthy", "can be used"),
    ("schedule-stalled", "Degraded", "name a day that comes"),
];

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Status and message that the check for objects of its kind gives.
fn health(object: &Value) -> (String, String) {
    let kind = object["kind"].as_str().unwrap();
    let checks = read("docs/gitops/argocd-cm.yaml");
    let key = format!("resource.customizations.health.platform.tray.ai_{kind}");
    let script = checks["data"][&key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key}"));
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let said: Value = lua.from_value(lua.load(script).eval().unwrap()).unwrap();
    let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"))
}

#[test]
fn argo_cd_shows_how_an_object_fares() {
    for (file, status, message) in EXPECTED {
        let (found, said) = health(&read(&format!("tests/checkout/gitops_health/{file}.yaml")));
        assert_eq!(found, status, "{file}: {said}");
        assert!(said.contains(message), "{file}: {said}");
    }
}

/// The `healthCheckExprs` of `docs/gitops/README.md`.
fn flux_expressions() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gitops/README.md");
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = text.split("```yaml\n").skip(1);
    let block = blocks.find(|block| block.contains("healthCheckExprs")).unwrap();
    let kustomization: Value = serde_yaml::from_str(block.split("```").next().unwrap()).unwrap();
    kustomization["spec"]["healthCheckExprs"].clone()
}

/// With the expressions of the documentation and without them: they only make it say more.
#[test]
fn flux_waits_for_what_argo_cd_calls_progressing_and_fails_on_what_it_calls_degraded() {
    let objects = EXPECTED.map(|(file, ..)| read(&format!("tests/checkout/gitops_health/{file}.yaml")));
    let plain = flux::verdicts(&objects);
    let told = flux::verdicts_by(&flux_expressions(), &objects);
    for ((file, health, _), verdicts) in EXPECTED.into_iter().zip(plain.iter().zip(&told)) {
        let wanted = match health {
            "Healthy" | "Suspended" => "Current",
            "Degraded" => "Failed",
            _ => "InProgress",
        };
        let (plain, told): (&RunVerdict, &RunVerdict) = verdicts;
        assert_eq!(told.status, wanted, "{file}: {told:?}");
        assert_eq!(plain.status, wanted, "{file} without expressions: {plain:?}");
    }
}

#[test]
fn every_captured_object_is_expected_to_be_something() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkout/gitops_health");
    assert_eq!(fs::read_dir(folder).unwrap().count(), EXPECTED.len());
}
