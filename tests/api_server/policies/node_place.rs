//! A node does not move itself.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create, delete},
    holds,
    world::{CLOUD_REGION, Who},
};

pub const POLICY: &str = "tray-node-place";

const REGION: &str = "topology.kubernetes.io/region";
const PLACES: [&str; 4] = [
    REGION,
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];

pub fn cases() -> Vec<Case> {
    let label = |of: &str, labels: Value| {
        change(
            format!("/api/v1/nodes/{of}"),
            json!({"metadata": {"labels": labels}}),
        )
    };
    let new = |region: &str| {
        let labels = json!({REGION: region, PLACES[1]: format!("{region}a")});
        let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": labels}});
        create("/api/v1/nodes", body)
    };
    let cloud = Who::Controller("cloud-controller-manager");
    let mut cases = vec![
        // A first registration, and a restart with the same labels.
        new(CLOUD_REGION).passes_for(Who::Kubelet),
        label(
            "in-ireland",
            json!({REGION: CLOUD_REGION, "example.com/disk": "ssd"}),
        )
        .passes_for(Who::Kubelet),
        label("in-ireland/status", json!({"example.com/disk": "ssd"})).passes_for(Who::Kubelet),
        label("in-ireland", json!({REGION: "us-west-2"})).passes_for(Who::Admin),
        label("nowhere", json!({REGION: CLOUD_REGION, PLACES[1]: "eu-west-1a"})).passes_for(cloud),
        delete("/api/v1/nodes/nowhere").passes_for(Who::Admin),
        delete("/api/v1/nodes/nowhere").passes_for(cloud),
        delete("/api/v1/nodes/in-oregon").refused_to(
            Who::Kubelet,
            "nodes are not deleted by kubelets, system:node:n1: an administrator deletes node in-oregon",
        ),
    ];
    for of in ["", "/status"] {
        let at = |node: &str| format!("{node}{of}");
        cases.push(label(&at("in-oregon"), json!({REGION: CLOUD_REGION})).refused_to(
            Who::Kubelet,
            "label topology.kubernetes.io/region of node in-oregon is not changed by kubelets, system:node:n1",
        ));
        // Gone is changed, and so is empty.
        for value in [Value::Null, json!("")] {
            cases.push(
                label(&at("in-oregon"), json!({REGION: value}))
                    .refused_to(Who::Kubelet, "label topology.kubernetes.io/region of node"),
            );
        }
        for place in PLACES {
            for node in ["in-ireland", "nowhere"] {
                cases.push(label(&at(node), json!({place: "us-west-2"})).refused_to(
                    Who::Kubelet,
                    "an administrator, or the cloud's controller, says where",
                ));
            }
        }
    }
    cases
}

#[tokio::test]
async fn p1_a_node_does_not_say_where_it_is_twice() {
    holds(POLICY).await;
}
