//! What the operator has to do when an object goes is not skipped.

use serde_json::json;

use super::{
    cases::{Case, change},
    holds,
    world::{ORG, Who},
};

pub(super) const POLICY: &str = "tray-finalizer-guard";

pub(super) fn cases() -> Vec<Case> {
    let finalizers = |of: &str, finalizers| {
        change(
            format!("/apis/platform.tray.ai/v1alpha1/{of}"),
            json!({"metadata": {"finalizers": finalizers}}),
        )
    };
    let words = "finalizers platform.tray.ai/* are removed by tray-operator alone";
    let access = format!("namespaces/{ORG}/supportaccesses/open");
    vec![
        finalizers("trayorgs/acme", json!([])).passes_for(Who::Operator),
        finalizers(
            "trayorgs/acme",
            json!(["platform.tray.ai/org", "example.com/mine"]),
        )
        .passes_for(Who::Admin),
        finalizers("trayorgs/unplaced", json!([])).passes_for(Who::Admin),
        finalizers("trayorgs/acme", json!([])).refused_to(Who::Admin, words),
        finalizers("trayorgs/acme", json!(["example.com/mine"])).refused_to(Who::Neighbour("default"), words),
        finalizers(&access, json!([])).refused_to(Who::Admin, words),
    ]
}

#[tokio::test]
async fn the_operator_alone_lets_an_org_go() {
    holds(POLICY).await;
}
