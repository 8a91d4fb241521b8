//! Tombstones are the operator's.

use serde_json::json;

use super::{
    cases::{Case, change, create, delete},
    holds,
    world::{Who, tombstone},
};

pub(super) const POLICY: &str = "tray-tombstone-guard";

pub(super) fn cases() -> Vec<Case> {
    let all = "/apis/platform.tray.ai/v1alpha1/orgtombstones";
    let one = format!("{all}/gone");
    let new = || create(all, tombstone("new"));
    let labelled = || change(one.clone(), json!({"metadata": {"labels": {"a": "b"}}}));
    let words = "tombstones are made, changed and removed by tray-operator alone";
    vec![
        new().passes_for(Who::Operator),
        labelled().passes_for(Who::Operator),
        delete(one.clone()).passes_for(Who::Operator),
        new().refused_to(Who::Admin, words),
        labelled().refused_to(Who::Admin, words),
        delete(one.clone()).refused_to(Who::Admin, words),
        delete(all).refused_to(Who::Controller("namespace-controller"), words),
    ]
}

#[tokio::test]
async fn nobody_forges_or_removes_a_tombstone() {
    holds(POLICY).await;
}
