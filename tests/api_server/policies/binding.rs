//! Nobody puts a pod of an org on a node of another region, the scheduler included.

use serde_json::{Value, json};

use super::{
    cases::{Case, create},
    holds,
    world::{Ask, CLOUD_REGION, ORG, PLAIN, Who},
};

pub(super) const POLICY: &str = "tray-binding";

/// Nodes that the world has, by region; one says nothing of where it is.
pub(super) const NODES: &[(&str, Option<&str>)] = &[
    ("in-ireland", Some("eu-west-1")),
    ("in-oregon", Some("us-west-2")),
    ("nowhere", None),
];
/// A pod in each namespace of the world that no node has yet.
pub(super) const WAITING: &str = "waiting";

fn bind(namespace: &str, path: &str, node: &str, labels: &Value) -> Ask {
    let body = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": WAITING, "labels": labels},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    create(format!("/api/v1/namespaces/{namespace}/{path}"), body)
}

pub(super) fn cases() -> Vec<Case> {
    let now = "pods/waiting/binding";
    let to = |node: &str| bind(ORG, now, node, &json!({}));
    let lying = json!({"topology.kubernetes.io/region": CLOUD_REGION});
    let elsewhere = "run on nodes of region 'eu-west-1' only: node in-oregon is in 'us-west-2'";
    let older = "pods of an org are bound by pods/binding alone";
    vec![
        to("in-ireland").passes_for(Who::Scheduler),
        bind(PLAIN, now, "in-oregon", &json!({})).passes_for(Who::Scheduler),
        bind(PLAIN, "bindings", "in-oregon", &json!({})).passes_for(Who::Admin),
        to("in-oregon").refused_to(Who::Scheduler, elsewhere),
        to("in-oregon").refused_to(Who::Operator, elsewhere),
        // The region of the node is what counts, whatever the caller says of it.
        bind(ORG, now, "in-oregon", &lying).refused_to(Who::Admin, elsewhere),
        to("nowhere").refused_to(Who::Admin, "node nowhere is in ''"),
        // There the API server believes the caller.
        bind(ORG, "bindings", "in-oregon", &lying).refused_to(Who::Admin, older),
        bind(ORG, "bindings", "in-ireland", &json!({})).refused_to(Who::Scheduler, older),
    ]
}

#[tokio::test]
async fn p1_no_pod_of_an_org_is_bound_to_a_node_of_another_region() {
    holds(POLICY).await;
}
