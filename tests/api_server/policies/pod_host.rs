//! Pods of an org see nothing of the node that they share with other orgs.

use serde_json::{Value, json};

use super::{
    cases::{Case, create},
    holds, pods,
    world::{BARE, PLAIN, Who},
};
use crate::edit::with;

pub(super) const POLICY: &str = "tray-pod-host";

pub(super) fn cases() -> Vec<Case> {
    let pod = |namespace: &str, pointer: &str, value: Value| {
        create(
            pods::path(namespace),
            pods::pod(&with(pods::spec(), pointer, value)),
        )
    };
    let path = json!([{"name": "v", "hostPath": {"path": "/"}}]);
    let scratch = json!([{"name": "v", "emptyDir": {}}]);
    let volumes = "must not hold hostPath volumes";
    let namespaces = "must not set hostNetwork, hostPID or hostIPC";
    let mut cases = vec![
        pod(BARE, "/volumes", scratch).passes_for(Who::Admin),
        pod(BARE, "/hostNetwork", json!(false)).passes_for(Who::Admin),
        pod(PLAIN, "/volumes", path.clone()).passes_for(Who::Admin),
        pod(PLAIN, "/hostPID", json!(true)).passes_for(Who::Admin),
        pod(BARE, "/volumes", path.clone()).refused_to(Who::Admin, volumes),
        pod(BARE, "/volumes", path.clone()).refused_to(Who::Operator, volumes),
    ];
    for field in ["/hostNetwork", "/hostPID", "/hostIPC"] {
        cases.push(pod(BARE, field, json!(true)).refused_to(Who::Admin, namespaces));
    }
    for ask in pods::templates(BARE, &with(pods::spec(), "/volumes", path), &json!({})) {
        cases.push(ask.refused_to(Who::Admin, volumes));
    }
    for ask in pods::templates(BARE, &with(pods::spec(), "/hostIPC", json!(true)), &json!({})) {
        cases.push(ask.refused_to(Who::Admin, namespaces));
    }
    cases
}

#[tokio::test]
async fn p3_no_pod_of_an_org_sees_its_node() {
    holds(POLICY).await;
}
