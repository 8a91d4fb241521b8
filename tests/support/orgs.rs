//! Regions, nodes, orgs and their pods on an API server where nothing runs: tests say what the cluster shows.

use std::{collections::BTreeMap, fs, path::Path};

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    api_server::{self, api_of, eventually},
    chart,
    installed::{conditions, play_kubernetes},
};

/// An object of one of our kinds.
pub(crate) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The objects of a file in `examples/`.
pub(crate) fn examples(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    chart::documents(&fs::read_to_string(path).unwrap())
}

/// The APIs of a kind: of a namespace, or of the cluster where it is empty.
pub(crate) async fn api(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: &str,
) -> Api<DynamicObject> {
    let mut shape = json!({"apiVersion": api_version, "kind": kind, "metadata": {}});
    if !namespace.is_empty() {
        shape["metadata"]["namespace"] = namespace.into();
    }
    api_of(client, &shape).await.unwrap()
}

/// Merges `change` into an object.
pub(crate) async fn patch(api: &Api<DynamicObject>, name: &str, change: &Value) {
    let change = Patch::Merge(change);
    api.patch(name, &PatchParams::default(), &change).await.unwrap();
}

/// Merges `status` into an object's status.
pub(crate) async fn patch_status(api: &Api<DynamicObject>, name: &str, status: &Value) {
    let change = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &change)
        .await
        .unwrap();
}

/// The policies that orgs name, and the StorageClass of all Regions.
pub(crate) async fn platform(client: &Client) {
    for object in [
        object("RetentionPolicy", "standard", &json!({})),
        object("BackupSchedule", "standard", &json!({"schedule": "0 */12 * * *"})),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "org-encrypted"},
            "provisioner": "kubernetes.io/no-provisioner", "reclaimPolicy": "Retain"}),
    ] {
        api_server::apply(client, &object).await;
    }
}

/// A Region of the EU in zones `a` and `b`, whose orgs run a Deployment `web` of two pods; `more` changes its spec.
pub(crate) fn region(name: &str, cloud_region: &str, more: &Value) -> Value {
    let mut spec = json!({
        "jurisdiction": "EU", "cloudRegion": cloud_region, "minZones": 1,
        "zones": [format!("{cloud_region}a"), format!("{cloud_region}b")],
        "storage": {"storageClassName": "org-encrypted"},
        "backup": {
            "bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
            "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/k"},
            "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
        },
        "workloads": [{"name": "web", "kind": "Deployment", "image": "web:1", "replicas": 2, "runAsUser": 1000}],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("Region", name, &spec)
}

/// An org of plan Team in that Region; `id` are the first 8 digits of its orgId.
pub(crate) fn org(name: &str, id: &str, region: &str, more: &Value) -> Value {
    let mut spec = json!({
        "orgId": format!("{id}-7425-40de-944b-e07fc1f90ae7"), "regionRef": {"name": region}, "plan": "Team",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("TrayOrg", name, &spec)
}

/// The org as somebody applies it who may let it take up what is held of an earlier one, and says so.
pub(crate) fn allowed(org: &Value) -> Value {
    let mut org = org.clone();
    org["metadata"]["annotations"]["platform.tray.ai/reattach"] = "allowed".into();
    org
}

/// The object of one of our kinds as soon as its conditions are what is `wanted`: type → status/reason.
///
/// # Panics
/// When they do not become so, with what there is.
pub(crate) async fn until(client: &Client, kind: &str, name: &str, wanted: &[(&str, &str)]) -> Value {
    let api = api(client, "platform.tray.ai/v1alpha1", kind, "").await;
    let found = eventually(async || {
        let object = serde_json::to_value(api.get_opt(name).await.unwrap()?).unwrap();
        if let Some(namespace) = object["status"]["namespace"].as_str() {
            play_kubernetes(client, namespace).await;
        } else if let Some(id) = object["spec"]["orgId"].as_str() {
            play_kubernetes(client, &format!("org-{name}-{}", &id[..8])).await;
        }
        let present: BTreeMap<String, String> = conditions(&object)
            .into_iter()
            .map(|(type_, (status, reason, _))| (type_, format!("{status}/{reason}")))
            .collect();
        let met = wanted
            .iter()
            .all(|(type_, said)| present.get(*type_).is_some_and(|found| found == said));
        met.then_some(object)
    });
    match found.await {
        Some(object) => object,
        None => panic!(
            "{kind} {name} did not become {wanted:?}: {:#?}",
            api.get_opt(name).await
        ),
    }
}

/// The message of a condition.
pub(crate) fn message(object: &Value, type_: &str) -> String {
    conditions(object)
        .remove(type_)
        .map(|(_, _, message)| message)
        .unwrap_or_default()
}

/// A ready node in zone `a` of a cloud region.
pub(crate) async fn node(client: &Client, name: &str, cloud_region: &str) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
        "topology.kubernetes.io/region": cloud_region, "topology.kubernetes.io/zone": format!("{cloud_region}a"),
    }}});
    api_server::apply(client, &node).await;
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    patch_status(&api(client, "v1", "Node", "").await, name, &ready).await;
}

/// Says that a node is elsewhere.
pub(crate) async fn relabel(client: &Client, node: &str, cloud_region: &str) {
    let labels = json!({"metadata": {"labels": {
        "topology.kubernetes.io/region": cloud_region, "topology.kubernetes.io/zone": format!("{cloud_region}a"),
    }}});
    patch(&api(client, "v1", "Node", "").await, node, &labels).await;
}

/// Counts in every quota of a namespace, as Kubernetes does; of what `used` does not name nothing is used. Until then the
/// API server lets nothing in that a quota is on.
pub(crate) async fn count_quotas(client: &Client, namespace: &str, used: &Value) {
    let quotas = api(client, "v1", "ResourceQuota", namespace).await;
    for quota in quotas.list(&ListParams::default()).await.unwrap() {
        let hard = quota.data["spec"]["hard"].clone();
        let count = |(resource, _): (&String, &Value)| {
            let used = used.get(resource).cloned().unwrap_or_else(|| json!("0"));
            (resource.clone(), used)
        };
        let used: serde_json::Map<String, Value> = hard.as_object().unwrap().iter().map(count).collect();
        let name = quota.metadata.name.clone().unwrap();
        patch_status(&quotas, &name, &json!({"hard": hard, "used": used})).await;
    }
}

/// A pod that the policies let in, pinned to a cloud region.
pub(crate) fn pod(namespace: &str, name: &str, cloud_region: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "nodeSelector": {"topology.kubernetes.io/region": cloud_region},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": "web:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// Creates a pod, binds it to a node and lets it run there.
pub(crate) async fn run(client: &Client, pod: &Value, node: &str) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (namespace, name) = (
        text(&pod["metadata"]["namespace"]),
        text(&pod["metadata"]["name"]),
    );
    let pods = api(client, "v1", "Pod", &namespace).await;
    let object: DynamicObject = serde_json::from_value(pod.clone()).unwrap();
    pods.create(&PostParams::default(), &object).await.unwrap();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
    let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/pods/{name}/binding"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&binding).unwrap())
        .unwrap();
    client.request::<Value>(request).await.unwrap();
    patch_status(&pods, &name, &json!({"phase": "Running"})).await;
}

/// Whether a pod is gone, or being deleted.
pub(crate) async fn is_deleted(client: &Client, namespace: &str, name: &str) -> bool {
    let pod = api(client, "v1", "Pod", namespace)
        .await
        .get_opt(name)
        .await
        .unwrap();
    pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

/// Lets a deleted Job go, as the garbage collector does when its last pod has gone. Returns when it is gone.
pub(crate) async fn gone(jobs: &Api<Job>, name: &str) {
    let none: [&str; 0] = [];
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": none}}));
    let _ = jobs.patch(name, &PatchParams::default(), &let_go).await;
    let gone = eventually(async || jobs.get_opt(name).await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some(), "Job {name} stays");
}
