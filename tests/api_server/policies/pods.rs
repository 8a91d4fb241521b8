//! Pods, and what makes pods, as the cases need them.

use serde_json::{Value, json};

use super::{
    cases::{change, create},
    world::{Ask, CLOUD_REGION},
};

/// Where pods are created in a namespace.
pub(super) fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// The spec of a pod that keeps every rule of an org.
pub(super) fn spec() -> Value {
    json!({
        "nodeSelector": {"topology.kubernetes.io/region": CLOUD_REGION},
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "main", "image": "i:1",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}

/// A pod of that spec.
pub(super) fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

/// A pod of the world's org that was there before the policies, with volumes of every kind that gives something, and with a
/// debug container. It keeps few of the rules.
pub(super) const FROM_BEFORE: &str = "from-before";
/// Its volumes whose contents debug containers must not have.
pub(super) const GIVEN: [&str; 5] = ["keys", "settings", "all", "self", "inline"];
/// Its volume that they may have.
pub(super) const SCRATCH: &str = "scratch";

/// That pod without its debug container, [`old_debugger`].
pub(super) fn from_before() -> Value {
    let mut spec = spec();
    spec["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    let name = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    spec["volumes"] = json!([
        {"name": "keys", "secret": {"secretName": "tray-webhook-token"}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "all", "projected": {"sources": [{"secret": {"name": "keys"}}]}},
        {"name": "self", "downwardAPI": {"items": name}},
        {"name": "inline", "csi": {"driver": "secrets-store.csi.k8s.io"}},
        {"name": SCRATCH, "emptyDir": {}},
    ]);
    json!({"spec": spec})
}

/// A debug container that keeps every rule.
pub(super) fn debugger() -> Value {
    let mut container = spec()["containers"][0].clone();
    container["name"] = "look".into();
    container["securityContext"]["runAsNonRoot"] = true.into();
    container["securityContext"]["runAsUser"] = 1.into();
    container
}

/// A debug container that keeps none, in [`FROM_BEFORE`].
pub(super) fn old_debugger() -> Value {
    let mut container = debugger();
    container["name"] = "old".into();
    container["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    container["envFrom"] = json!([{"secretRef": {"name": "tray-webhook-token"}}]);
    container["volumeMounts"] = json!([{"name": "keys", "mountPath": "/keys"}]);
    container
}

/// Gives a pod these debug containers.
pub(super) fn debug(namespace: &str, pod: &str, containers: &[Value]) -> Ask {
    let at = format!("{}/{pod}/ephemeralcontainers", path(namespace));
    change(at, json!({"spec": {"ephemeralContainers": containers}}))
}

/// Creates every kind of object in `namespace` that makes pods, with that pod spec and these labels on its pods.
pub(super) fn templates(namespace: &str, spec: &Value, labels: &Value) -> Vec<Ask> {
    let mut template = json!({"metadata": {"labels": labels}, "spec": spec});
    template["metadata"]["labels"]["app"] = "x".into();
    let mut finite = template.clone();
    finite["spec"]["restartPolicy"] = "Never".into();
    let selector = json!({"matchLabels": {"app": "x"}});
    let lasting = json!({"selector": selector, "template": template.clone()});
    let mut set = lasting.clone();
    set["serviceName"] = "x".into();
    let job = json!({"template": finite});
    let cases = [
        ("apps/v1", "deployments", "Deployment", lasting.clone()),
        ("apps/v1", "statefulsets", "StatefulSet", set),
        ("apps/v1", "daemonsets", "DaemonSet", lasting.clone()),
        ("apps/v1", "replicasets", "ReplicaSet", lasting),
        ("batch/v1", "jobs", "Job", job.clone()),
        (
            "batch/v1",
            "cronjobs",
            "CronJob",
            json!({"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}),
        ),
        (
            "v1",
            "replicationcontrollers",
            "ReplicationController",
            json!({"selector": {"app": "x"}, "template": template}),
        ),
    ];
    let ask = |(api_version, plural, kind, spec): (&str, &str, &str, Value)| {
        let body = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let root = if api_version == "v1" { "api" } else { "apis" };
        create(
            format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
            body,
        )
    };
    cases.map(ask).into()
}
