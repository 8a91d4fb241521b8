//! What is installed through the API: cluster DNS, the StorageClass and its volumes.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Inside;
use super::control_plane::kubectl;
use crate::error::{Error, Result};
use crate::files;
use crate::image::COREDNS;
use crate::paths::ClusterDir;
use crate::topology::{DNS_SERVICE, NODES, Node};
use crate::wait;

/// The StorageClass of the local volumes.
pub const STORAGE_CLASS: &str = "org-encrypted";
/// Volumes per node. A claim takes a whole one, and a released one is not used again (Retain).
pub const VOLUMES_PER_NODE: usize = 48;

/// Creates DNS, the StorageClass and the nodes' volumes.
pub fn install(inside: &Inside) -> Result<()> {
    let dns = include_str!("../../manifests/coredns.yaml")
        .replace("${IMAGE}", COREDNS)
        .replace("${ADDRESS}", &DNS_SERVICE.to_string());
    create(inside, dns)?;
    let mut objects = vec![storage_class()];
    for node in &NODES {
        for index in 0..VOLUMES_PER_NODE {
            files::make_dir(&inside.dir.node(node).volume(index))?;
            objects.push(volume(inside.dir, node, index));
        }
    }
    create(
        inside,
        json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string(),
    )
}

/// Waits until every node is Ready.
pub fn await_nodes(inside: &Inside) -> Result<()> {
    let list = kubectl(inside).args(["get", "nodes", "--output=json"]);
    wait::until(
        "the nodes did not become Ready",
        Duration::from_mins(1),
        &inside.dir.logs(),
        || {
            let ready = ready_nodes(&list.run()?)?;
            Ok((ready == NODES.len()).then_some(()))
        },
    )
}

/// Waits until the cluster's DNS is available.
pub fn await_dns(inside: &Inside) -> Result<()> {
    kubectl(inside)
        .args([
            "--namespace=kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout=60s",
        ])
        .run()
        .map(drop)
}

fn create(inside: &Inside, manifests: String) -> Result<()> {
    kubectl(inside)
        .args(["create", "--validate=false", "--filename=-"])
        .input(manifests)
        .run()
        .map(drop)
}

/// How many nodes of a `kubectl get nodes -o json` are Ready.
fn ready_nodes(list: &str) -> Result<usize> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        conditions: Vec<Condition>,
    }
    #[derive(Deserialize)]
    struct Condition {
        r#type: String,
        status: String,
    }
    let list: List = serde_json::from_str(list).map_err(Error::unexpected("the list of nodes"))?;
    let ready = |item: &Item| {
        item.status
            .conditions
            .iter()
            .any(|condition| condition.r#type == "Ready" && condition.status == "True")
    };
    Ok(list.items.iter().filter(|item| ready(item)).count())
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    })
}

/// Of type `local`, since the kubelet gives such a volume to the pod's fsGroup; to a hostPath it does not.
fn volume(dir: &ClusterDir, node: &Node, index: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": format!("{}-{index:02}", node.name),
            "labels": {
                "topology.kubernetes.io/region": node.region,
                "topology.kubernetes.io/zone": node.zone(),
            },
        },
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": "Filesystem",
            // What a claim may ask for at most. The folder behind it is not limited.
            "capacity": {"storage": "10Gi"},
            "local": {"path": dir.node(node).volume(index)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]},
            ]}]}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_say_so_are_ready() {
        let list = r#"{"items": [
            {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
            {"status": {}}
        ]}"#;
        assert_eq!(ready_nodes(list).unwrap(), 1);
    }
}
