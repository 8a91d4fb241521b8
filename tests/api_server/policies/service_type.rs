//! Services of an org stay inside.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create},
    holds,
    world::{ORG, PLAIN, Who},
};

pub(super) const POLICY: &str = "tray-service-type";

/// A Service of the world in the org's namespace.
pub(super) const INSIDE: &str = "inside";

pub(super) fn cases() -> Vec<Case> {
    let path = |namespace: &str| format!("/api/v1/namespaces/{namespace}/services");
    let new = |namespace: &str, more: Value| {
        let mut spec = json!({"ports": [{"port": 80}], "selector": {"app": "x"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        create(
            path(namespace),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}),
        )
    };
    let kind = "spec.type of an org's Services must be ClusterIP";
    let addresses = "spec.externalIPs must not be set on an org's Services";
    let opened = || {
        change(
            format!("{}/{INSIDE}", path(ORG)),
            json!({"spec": {"type": "NodePort"}}),
        )
    };
    vec![
        new(ORG, json!({})).passes_for(Who::Admin),
        new(ORG, json!({"clusterIP": "None"})).passes_for(Who::Operator),
        new(PLAIN, json!({"type": "LoadBalancer"})).passes_for(Who::Admin),
        new(PLAIN, json!({"externalIPs": ["203.0.113.7"]})).passes_for(Who::Admin),
        new(ORG, json!({"type": "LoadBalancer"})).refused_to(Who::Admin, kind),
        new(ORG, json!({"type": "NodePort"})).refused_to(Who::Operator, kind),
        new(ORG, json!({"type": "ExternalName", "externalName": "x.example"})).refused_to(Who::Admin, kind),
        opened().refused_to(Who::Admin, kind),
        opened().refused_to(Who::Mover(ORG), kind),
        new(ORG, json!({"externalIPs": ["203.0.113.7"]})).refused_to(Who::Admin, addresses),
    ]
}

#[tokio::test]
async fn p4_an_org_has_no_door_but_the_gateway() {
    holds(POLICY).await;
}
