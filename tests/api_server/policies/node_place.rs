//! A node does not move itself.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create, delete},
    holds,
    world::{Ask, CLOUD_REGION, Who},
};

pub(super) const POLICY: &str = "tray-node-place";

const REGION: &str = "topology.kubernetes.io/region";
const PLACES: [&str; 4] = [
    REGION,
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];

fn label(of: &str, labels: Value) -> Ask {
    let patch = json!({"metadata": {"labels": labels}});
    change(format!("/api/v1/nodes/{of}"), patch)
}

pub(super) fn cases() -> Vec<Case> {
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
            "label topology.kubernetes.io/region of node in-oregon: nodes are not moved by kubelets, system:node:n1",
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
    cases.extend(of_pods());
    cases
}

/// Whoever is root on a node has the tokens of the pods on it.
fn of_pods() -> Vec<Case> {
    let pod = Who::PodOn("in-oregon");
    let words = "nodes are not moved by pods that run on them, system:serviceaccount:kube-system:node-agent";
    let mut cases = vec![
        delete("/api/v1/nodes/in-oregon").refused_to(
            pod,
            "nodes are not deleted by pods that run on them, system:serviceaccount:kube-system:node-agent",
        ),
        // All at once.
        delete("/api/v1/nodes").refused_to(pod, "an administrator deletes node in-oregon"),
        // Another node is not its own: whether it may, its rights say.
        delete("/api/v1/nodes/nowhere").passes_for(pod),
        label("in-ireland", json!({REGION: "us-west-2"})).passes_for(pod),
    ];
    for of in ["", "/status"] {
        let own = format!("in-oregon{of}");
        for value in [json!(CLOUD_REGION), json!(""), Value::Null] {
            cases.push(label(&own, json!({REGION: value})).refused_to(pod, words));
        }
        // What it adds beside does not help.
        let both = json!({REGION: CLOUD_REGION, PLACES[1]: "eu-west-1a"});
        cases
            .push(label(&own, both).refused_to(pod, "label topology.kubernetes.io/region of node in-oregon"));
        cases.push(label(&own, json!({REGION: "us-west-2", "example.com/disk": "ssd"})).passes_for(pod));
        // A cloud's controller on the node that it initialises.
        cases.push(label(&own, json!({PLACES[1]: "us-west-2a"})).passes_for(pod));
        let place = json!({REGION: CLOUD_REGION, PLACES[1]: "eu-west-1a"});
        cases.push(label(&format!("nowhere{of}"), place).passes_for(Who::PodOn("nowhere")));
    }
    cases
}

#[tokio::test]
async fn p1_a_node_does_not_say_where_it_is_twice() {
    holds(POLICY).await;
}
