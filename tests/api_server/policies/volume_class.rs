//! Volumes of an org are of its region's class and its own.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create},
    holds,
    world::{CLASS, ORG, PLAIN, Who},
};

pub(super) const POLICY: &str = "tray-volume-class";

/// Claim of the world that was made under another class than the region's is now.
pub(super) const OLD: &str = "old";
/// Claim of the world that is of the region's class.
pub(super) const NEW: &str = "new";

/// The spec of a claim of that class.
pub(super) fn claim(class: &Value) -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}})
}

pub(super) fn cases() -> Vec<Case> {
    let path = |namespace: &str| format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
    let new = |namespace: &str, class: Value, volume: Option<&str>| {
        let mut spec = claim(&class);
        if let Some(volume) = volume {
            spec["volumeName"] = volume.into();
        }
        let body = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": spec});
        create(path(namespace), body)
    };
    let label = |name: &str| {
        change(
            format!("{}/{name}", path(ORG)),
            json!({"metadata": {"labels": {"a": "b"}}}),
        )
    };
    let bind = || {
        change(
            format!("{}/{NEW}", path(ORG)),
            json!({"spec": {"volumeName": "pv"}}),
        )
    };
    let class =
        "spec.storageClassName must be 'org-encrypted', the StorageClass of the org's region, not 'cheap'";
    let volume = "spec.volumeName must not be set on claims of an org";
    vec![
        new(ORG, json!(CLASS), None).passes_for(Who::Admin),
        new(ORG, json!(CLASS), Some("kept")).passes_for(Who::Operator),
        new(PLAIN, json!("cheap"), Some("pv")).passes_for(Who::Admin),
        label(OLD).passes_for(Who::Admin),
        bind().passes_for(Who::Controller("persistent-volume-binder")),
        new(ORG, json!("cheap"), None).refused_to(Who::Admin, class),
        new(ORG, json!("cheap"), None).refused_to(Who::Operator, class),
        new(ORG, json!("cheap"), None).refused_to(Who::Controller("statefulset-controller"), class),
        new(ORG, Value::Null, None).refused_to(Who::Admin, "the StorageClass of the org's region, not ''"),
        new(ORG, json!(CLASS), Some("of-another-org")).refused_to(Who::Admin, volume),
        new(ORG, json!(CLASS), Some("of-another-org")).refused_to(Who::Mover(ORG), volume),
        bind().refused_to(Who::Admin, volume),
    ]
}

#[tokio::test]
async fn p5_volumes_of_an_org_are_of_the_class_of_its_region_and_nobody_elses() {
    holds(POLICY).await;
}
