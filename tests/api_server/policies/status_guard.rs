//! A status is what the operator found.

use serde_json::json;

use super::{
    cases::{Case, change},
    holds,
    world::{ORG, Who},
};

pub(super) const POLICY: &str = "tray-status-guard";

pub(super) fn cases() -> Vec<Case> {
    let status = |of: &str| {
        let path = format!("/apis/platform.tray.ai/v1alpha1/{of}/status");
        change(path, json!({"status": {"observedGeneration": 7}}))
    };
    let words = "status is written by tray-operator alone, not by";
    let mut cases = vec![
        status("trayorgs/acme").refused_to(Who::Neighbour("tray-mover"), words),
        status("trayorgs/acme").refused_to(Who::Controller("generic-garbage-collector"), words),
    ];
    let access = format!("namespaces/{ORG}/supportaccesses/open");
    for of in [
        "regions/eu",
        "retentionpolicies/standard",
        "backupschedules/standard",
        "trayorgs/acme",
        "orgsnapshots/run",
        "orgrestores/back",
        &access,
    ] {
        cases.push(status(of).passes_for(Who::Operator));
        cases.push(status(of).refused_to(Who::Admin, words));
    }
    cases
}

#[tokio::test]
async fn nobody_writes_verdicts_but_the_operator() {
    holds(POLICY).await;
}
