//! Invariant 26: an org whose changes were undone is like one that was never changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use super::{Invariants, Org};
use crate::{
    lock::lock,
    manifests::{NOTE, Variant},
    simulation,
    world::World,
};

/// The kinds that the operator makes for an org and that say nothing of its past.
const MADE: [&str; 12] = [
    "configmaps",
    "deployments.apps",
    "limitranges",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "resourcequotas",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "serviceaccounts",
    "services",
    "statefulsets.apps",
    "persistentvolumeclaims",
];
/// What of an object is its own.
const OWN: [&str; 6] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
];

/// What an org's namespace holds, by kind and name, without what differs from object to object.
pub type Children = BTreeMap<(String, String), Value>;

impl Invariants {
    /// 26: what was changed and changed back has left nothing.
    pub(super) fn is_like_new(&self) {
        let fresh = fresh(&self.world, self.plan.seed, self.plan.orgs);
        for (org, fresh) in self.orgs.iter().zip(fresh.iter()) {
            self.compare(org, fresh, &children(&self.world, &org.namespace()));
        }
    }

    fn compare(&self, org: &Org, fresh: &Children, found: &Children) {
        let names: std::collections::BTreeSet<_> = fresh.keys().chain(found.keys()).collect();
        for name in names {
            let (wanted, is) = (fresh.get(name), found.get(name));
            if wanted != is {
                let text =
                    |object: Option<&Value>| object.map_or_else(|| "none".to_owned(), Value::to_string);
                let what = format!(
                    "{} {} of {} is {}, and of a new org {}",
                    name.0,
                    name.1,
                    org.name,
                    text(is),
                    text(wanted)
                );
                self.world.log.broken(26, what);
            }
        }
    }
}

/// What the operator made in a namespace.
pub fn children(world: &World, namespace: &str) -> Children {
    let of_kind = |kind: &str| {
        let found = world.server.read_all(kind, |object| {
            let metadata = &object["metadata"];
            let is_made = metadata["namespace"] == namespace && metadata["name"] != NOTE;
            is_made.then(|| stripped(object))
        });
        let named = |object: Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            ((kind.to_owned(), name), object)
        };
        found.into_iter().flatten().map(named).collect::<Vec<_>>()
    };
    MADE.iter().flat_map(|kind| of_kind(kind)).collect()
}

/// An object without what is its own alone.
fn stripped(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !OWN.contains(&field.as_str()));
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("volumeName");
    }
    object
}

/// The children of orgs in a world of the same variant in which nothing has ever happened. There are few variants, and a world
/// takes a while, so each is simulated once: on a thread of its own, since each world is a runtime.
fn fresh(world: &World, seed: u64, orgs: usize) -> Arc<Vec<Children>> {
    type Known = BTreeMap<(Variant, usize), Arc<Vec<Children>>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let name = (Variant::drawn(&world.random), orgs);
    let mut known = lock(&KNOWN);
    if let Some(fresh) = known.get(&name) {
        return fresh.clone();
    }
    let simulated = thread::spawn(move || simulation::fresh(seed, orgs)).join();
    let fresh = Arc::new(simulated.ok().and_then(Result::ok).unwrap_or_default());
    known.insert(name, fresh.clone());
    fresh
}
