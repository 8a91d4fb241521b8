//! The garbage collector and the controller of namespaces.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tray_testkit::cluster::Name;

use super::{Kubernetes, Later, is_going, owners, text};

/// How long nothing of a namespace that goes is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where objects of a kind that owns others are.
fn resource_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Job" => "jobs.batch",
        "Deployment" => "deployments.apps",
        "StatefulSet" => "statefulsets.apps",
        _ => return None,
    })
}

impl Kubernetes {
    /// Keeps in mind who owns what.
    pub(super) fn remember(&mut self, resource: &str, name: &Name, old: Option<&Value>, new: Option<&Value>) {
        let uids = |object: Option<&Value>| -> BTreeSet<String> {
            let owners = object.into_iter().flat_map(owners);
            owners.map(|owner| owner.uid.to_owned()).collect()
        };
        let (before, now) = (uids(old), uids(new));
        for uid in before.difference(&now) {
            if let Some(owned) = self.owned.get_mut(uid) {
                owned.remove(&(resource.to_owned(), name.clone()));
                if owned.is_empty() {
                    self.owned.remove(uid);
                }
            }
        }
        for uid in now.difference(&before) {
            let owned = self.owned.entry(uid.clone()).or_default();
            owned.insert((resource.to_owned(), name.clone()));
        }
    }

    /// What an object owns, by its UID.
    pub(super) fn owned_by(&self, uid: &str) -> Vec<(String, Name)> {
        self.owned.get(uid).into_iter().flatten().cloned().collect()
    }

    /// An object that waits for the collector, or that has no owner any more.
    pub(super) fn collect(&mut self, resource: &str, name: &Name, object: &Value) {
        let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
        let has = |wanted: &str| finalizers.clone().any(|finalizer| finalizer == wanted);
        if is_going(object) && has("orphan") {
            self.orphan(object);
            self.let_go(resource, name, "orphan");
        } else if is_going(object) && has("foregroundDeletion") {
            self.collect_dependents(object);
            self.let_go_when_alone(resource, name, object);
        }
        let has_lost_owner = owners(object).any(|owner| {
            let place = Name::new(name.namespace.clone(), owner.name);
            let present = resource_of(owner.kind).map(|kind| {
                self.world
                    .server
                    .read(kind, &place, |found| text(found, "uid") == owner.uid)
            });
            present.is_some_and(|present| present != Some(true))
        });
        if has_lost_owner && !is_going(object) {
            self.delete(resource, name);
        }
    }

    /// Deletes what an object owns.
    pub(super) fn collect_dependents(&mut self, owner: &Value) {
        for (resource, name) in self.owned_by(text(owner, "uid")) {
            let goes = self.world.server.read(&resource, &name, is_going);
            if goes == Some(false) {
                self.delete(&resource, &name);
            }
        }
    }

    fn delete(&self, resource: &str, name: &Name) {
        let options = json!({"propagationPolicy": "Background"});
        let _ = self.world.server.delete(resource, name, &options);
    }

    fn orphan(&mut self, owner: &Value) {
        let uid = text(owner, "uid").to_owned();
        for (resource, name) in self.owned_by(&uid) {
            let _ = self.world.server.change(&resource, &name, |object| {
                if let Some(references) = object["metadata"]["ownerReferences"].as_array_mut() {
                    references.retain(|reference| reference["uid"] != uid.as_str());
                }
            });
        }
    }

    /// The owners of what has just gone may go, too.
    pub(super) fn let_owners_go(&mut self, gone: &Value) {
        let namespace = text(gone, "namespace").to_owned();
        for owner in owners(gone) {
            let Some(resource) = resource_of(owner.kind) else {
                continue;
            };
            let name = Name::new(namespace.clone(), owner.name);
            if let Some(present) = self.world.server.get(resource, &name)
                && text(&present, "uid") == owner.uid
                && is_going(&present)
            {
                self.let_go_when_alone(resource, &name, &present);
            }
        }
    }

    fn let_go_when_alone(&mut self, resource: &str, name: &Name, owner: &Value) {
        let uid = text(owner, "uid");
        let holds = self.owned_by(uid).into_iter().any(|(resource, name)| {
            let blocks = |object: &Value| owners(object).any(|owner| owner.uid == uid && owner.blocks);
            self.world.server.read(&resource, &name, blocks) == Some(true)
        });
        if !holds {
            self.let_go(resource, name, "foregroundDeletion");
        }
    }

    /// Takes a finalizer off.
    pub(super) fn let_go(&self, resource: &str, name: &Name, finalizer: &str) {
        let _ = self.world.server.change(resource, name, |object| {
            if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|present| present != finalizer);
            }
        });
    }

    /// A namespace was made, or begins to go.
    pub(super) fn namespace_written(&mut self, old: Option<&Value>, new: &Value) {
        let name = text(new, "name").to_owned();
        if old.is_none() {
            for object in [
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": "certificate"},
                    "metadata": {"name": "kube-root-ca.crt", "namespace": name}}),
            ] {
                let _ = self.world.server.put(object);
            }
        }
        if is_going(new) && !old.is_some_and(is_going) {
            self.later(LOOK, Later::Namespace(name));
        }
    }

    /// Deletes what is in a namespace that goes, and lets it go when nothing is left.
    pub(super) fn namespace(&mut self, name: &str) {
        let place = Name::new("", name);
        if self.world.server.read("namespaces", &place, is_going) != Some(true) {
            return;
        }
        let mut left = 0;
        for (resource, is_namespaced) in self.world.server.served() {
            if !is_namespaced {
                continue;
            }
            let inside = self.world.server.read_all(&resource, |object| {
                (text(object, "namespace") == name).then(|| (Name::of(object), is_going(object)))
            });
            for (object, goes) in inside.into_iter().flatten() {
                left += 1;
                if !goes {
                    self.delete(&resource, &object);
                }
            }
        }
        if left == 0 {
            let _ = self.world.server.finalize_namespace(name);
        } else {
            self.later(LOOK, Later::Namespace(name.to_owned()));
        }
    }
}
