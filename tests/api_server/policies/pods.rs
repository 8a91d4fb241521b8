//! Pods, and what makes pods, as the cases need them.

use serde_json::{Value, json};

use super::{
    cases::create,
    world::{Ask, CLOUD_REGION},
};

/// Where pods are created in a namespace.
pub fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// The spec of a pod that keeps every rule of an org.
pub fn spec() -> Value {
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
pub fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

/// Creates every kind of object in `namespace` that makes pods, with that pod spec and these labels on its pods.
pub fn templates(namespace: &str, spec: &Value, labels: &Value) -> Vec<Ask> {
    let mut template = json!({"metadata": {"labels": labels}, "spec": spec});
    template["metadata"]["labels"]["app"] = "x".into();
    let mut finite = template.clone();
    finite["spec"]["restartPolicy"] = "Never".into();
    let selector = json!({"matchLabels": {"app": "x"}});
    let lasting = json!({"selector": selector, "template": template});
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
    ];
    let ask = |(api_version, plural, kind, spec): (&str, &str, &str, Value)| {
        let body = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        create(
            format!("/apis/{api_version}/namespaces/{namespace}/{plural}"),
            body,
        )
    };
    cases.map(ask).into()
}
