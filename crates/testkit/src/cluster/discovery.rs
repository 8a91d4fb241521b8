//! What the server serves, all in one answer: aggregated discovery.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    kinds::{ServedKind, Trait},
    request::Request,
    store::Store,
};

/// What can be done with every kind.
const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];

/// The kinds of the core (`/api`) or of all groups (`/apis`); none = the path is another.
pub(super) fn answer(store: &Store, request: &Request) -> Option<Value> {
    let path = request.call.path.split('?').next().unwrap_or_default();
    let is_core = match path.trim_end_matches('/') {
        "/api" => true,
        "/apis" => false,
        _ => return None,
    };
    let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<Value>>> = BTreeMap::new();
    for kind in store.kinds().filter(|kind| kind.group.is_empty() == is_core) {
        let versions = groups.entry(&kind.group).or_default();
        versions.entry(&kind.version).or_default().push(resource(kind));
    }
    let groups = groups.into_iter().map(|(group, versions)| {
        let versions = versions.into_iter().map(|(version, resources)| {
            json!({"version": version, "resources": resources, "freshness": "Current"})
        });
        let metadata = if group.is_empty() {
            json!({"creationTimestamp": null})
        } else {
            json!({"name": group, "creationTimestamp": null})
        };
        json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
    });
    Some(json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": groups.collect::<Vec<_>>(),
    }))
}

fn resource(kind: &ServedKind) -> Value {
    let names = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut resource = json!({
        "resource": kind.plural, "responseKind": names, "verbs": VERBS,
        "scope": if kind.is(Trait::Namespaced) { "Namespaced" } else { "Cluster" },
        "singularResource": kind.kind.to_lowercase(),
    });
    if kind.is(Trait::Status) {
        let status =
            json!({"subresource": "status", "responseKind": names, "verbs": ["get", "patch", "update"]});
        resource["subresources"] = json!([status]);
    }
    resource
}
