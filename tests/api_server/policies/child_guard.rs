//! What isolates an org is the operator's.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create, delete},
    holds,
    world::{ORG, PLAIN, Who, world},
};

pub(super) const POLICY: &str = "tray-child-guard";

/// Objects of each guarded kind: where they are created, and a body without a name.
pub(super) fn guarded(namespace: &str) -> Vec<(String, Value)> {
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": "view"});
    let everybody = json!([{"apiGroup": rbac, "kind": "Group", "name": "system:authenticated"}]);
    [
        (
            "v1",
            "limitranges",
            json!({"kind": "LimitRange", "spec": {"limits": []}}),
        ),
        (
            "v1",
            "resourcequotas",
            json!({"kind": "ResourceQuota", "spec": {"hard": {"pods": "9"}}}),
        ),
        ("v1", "serviceaccounts", json!({"kind": "ServiceAccount"})),
        (
            "networking.k8s.io/v1",
            "networkpolicies",
            json!({"kind": "NetworkPolicy", "spec": {"podSelector": {}, "ingress": [{}]}}),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "rolebindings",
            json!({"kind": "RoleBinding", "roleRef": role, "subjects": everybody}),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "roles",
            json!({"kind": "Role", "rules": []}),
        ),
    ]
    .into_iter()
    .map(|(api_version, plural, mut body)| {
        body["apiVersion"] = api_version.into();
        let root = if api_version == "v1" { "api" } else { "apis" };
        (
            format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
            body,
        )
    })
    .collect()
}

/// Name of an object of every guarded kind that the operator made in the world.
pub(super) const OURS: &str = "tray-made";
/// Name of one that came there otherwise, before the policy.
pub(super) const FOREIGN: &str = "foreign";

pub(super) fn cases() -> Vec<Case> {
    let changed = "of tray-operator are changed and deleted by it alone";
    let made = "in namespaces of orgs are made by tray-operator alone";
    let named = |body: &Value, name: &str| {
        let mut body = body.clone();
        body["metadata"]["name"] = name.into();
        body
    };
    let mut cases = Vec::new();
    for (path, body) in guarded(ORG) {
        let label = |name: &str| {
            change(
                format!("{path}/{name}"),
                json!({"metadata": {"labels": {"a": "b"}}}),
            )
        };
        let new = || create(path.clone(), named(&body, "new"));
        let gone = |name: &str| delete(format!("{path}/{name}"));
        for operator in [new(), label(OURS), gone(OURS)] {
            cases.push(operator.passes_for(Who::Operator));
        }
        // A namespace that is deleted is emptied, and a restore puts back what was there.
        cases.push(gone(OURS).passes_for(Who::Controller("namespace-controller")));
        cases.push(label(OURS).passes_for(Who::Controller("generic-garbage-collector")));
        cases.push(new().passes_for(Who::Mover(ORG)));
        cases.push(label(FOREIGN).passes_for(Who::Mover(ORG)));
        cases.push(gone(FOREIGN).passes_for(Who::Admin));
        cases.push(new().refused_to(Who::Admin, made));
        cases.push(new().refused_to(Who::Mover(PLAIN), made));
        cases.push(new().refused_to(Who::Neighbour("tray-mover"), made));
        cases.push(label(FOREIGN).refused_to(Who::Admin, made));
        for who in [Who::Admin, Who::Mover(ORG)] {
            cases.push(label(OURS).refused_to(who, changed));
            cases.push(gone(OURS).refused_to(who, changed));
        }
    }
    for (path, body) in guarded(PLAIN) {
        cases.push(create(path, named(&body, "new")).passes_for(Who::Admin));
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let accounts = format!("/api/v1/namespaces/{ORG}/serviceaccounts");
    cases.push(create(accounts, account).passes_for(Who::Controller("service-account-controller")));
    // The quota's own count.
    let used = json!({"status": {"used": {"pods": "1"}}});
    let quota = format!("/api/v1/namespaces/{ORG}/resourcequotas/{OURS}/status");
    cases.push(change(quota, used).passes_for(Who::Controller("resourcequota-controller")));
    cases
}

#[tokio::test]
async fn p4_nobody_opens_an_org_beside_the_operator() {
    holds(POLICY).await;
}

/// The way in for an emergency, as the documentation has it: delete the binding, do what is needed, apply it again.
#[tokio::test]
async fn a_policy_lets_through_once_its_binding_is_deleted_and_refuses_when_it_is_back() {
    let world = world().await;
    let (path, mut body) = guarded(ORG).remove(3);
    body["metadata"]["name"] = "emergency".into();
    let opening = create(path.clone(), body);
    world
        .break_glass(POLICY, &opening, &delete(format!("{path}/emergency")))
        .await;
}
