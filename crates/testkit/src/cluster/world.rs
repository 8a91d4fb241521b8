//! The server as the world around it sees it: Kubernetes' own controllers and nodes, played by a simulation. It reads and
//! writes whole objects, is refused nothing and disturbed by nothing.

use std::sync::{Arc, PoisonError};

use kube::core::Status;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    ApiServer, failure,
    fields::Manager,
    kinds::{ServedKind, Trait},
    listeners::{ListenerId, Next},
    object::{self, Name, Object},
    selector::Filter,
    state::{Part, Writer},
    store::Written,
};

/// Who the world is in `managedFields`.
const MANAGER: &str = "kube-controller-manager";

/// A write, as the world sees it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The kind: `<plural>` or `<plural>.<group>`.
    pub resource: String,
    written: Arc<Written>,
}

impl Change {
    /// Which object.
    pub fn name(&self) -> &Name {
        &self.written.name
    }

    /// As it was; none = it was made.
    pub fn before(&self) -> Option<&Value> {
        self.written.old.as_ref().map(|stored| &stored.object)
    }

    /// As it is; none = it is gone.
    pub fn after(&self) -> Option<&Value> {
        self.written.new.as_ref().map(|stored| &stored.object)
    }
}

/// The writes to some kinds, from some time on. It is forgotten when it is dropped.
pub struct Changes {
    server: ApiServer,
    id: ListenerId,
    woken: Arc<Notify>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.server.state().listeners.leave(self.id);
    }
}

impl Changes {
    /// The next change, when there is one.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.try_next() {
                return change;
            }
            self.woken.notified().await;
        }
    }

    /// The next change, if there is one.
    pub fn try_next(&mut self) -> Option<Change> {
        let next = self.server.state().listeners.next(self.id);
        let Next::Tell(told) = next else { return None };
        Some(Change {
            resource: told.resource,
            written: told.written,
        })
    }
}

impl ApiServer {
    /// An object; `resource` is `<plural>` or `<plural>.<group>`.
    pub fn get(&self, resource: &str, name: &Name) -> Option<Object> {
        self.state().store.get(resource, name).map(Object)
    }

    /// What somebody reads off an object, without a copy of it; none = it is not there.
    pub fn read<T>(&self, resource: &str, name: &Name, read: impl FnOnce(&Value) -> T) -> Option<T> {
        let found = self.state().store.get(resource, name)?;
        Some(read(&found.object))
    }

    /// The same of every object of a kind, by namespace and name.
    pub fn read_all<T>(&self, resource: &str, mut read: impl FnMut(&Value) -> T) -> Vec<T> {
        let found = self.state().store.all(resource);
        found.iter().map(|stored| read(&stored.object)).collect()
    }

    /// The kinds that are served, as `<plural>` or `<plural>.<group>`, with whether their objects are in namespaces.
    pub fn served(&self) -> Vec<(String, bool)> {
        let state = self.state();
        let kinds = state.store.kinds();
        kinds
            .map(|kind| (kind.resource(), kind.is(Trait::Namespaced)))
            .collect()
    }

    /// The kind that an object says to be of, as `<plural>` or `<plural>.<group>`; none = no such kind is served.
    pub fn resource_of(&self, object: &Value) -> Option<String> {
        self.kind_of(object).ok().map(|kind| kind.resource())
    }

    /// The objects of a kind, by namespace and name.
    pub fn all(&self, resource: &str) -> Vec<Object> {
        let found = self.state().store.all(resource);
        found.into_iter().map(Object).collect()
    }

    /// Makes an object, or makes the one of its name be so, status and all. It says its own kind.
    pub fn put(&self, object: Value) -> Result<Object, Box<Status>> {
        let kind = self.kind_of(&object)?;
        let name = Name::of(&object);
        let mut state = self.state();
        let present = state.store.get(&kind.resource(), &name);
        let written = match present {
            None => state.create(&kind, &name.namespace, object, &writer(), None),
            Some(present) => state.change(&kind, &present, object, &writer(), None),
        };
        Ok(Object(written?))
    }

    /// Changes an object in one step, status and all; none = it is not there. One that is going goes when nothing holds it
    /// any more: its finalizers, and of a namespace those of its spec.
    pub fn change(
        &self,
        resource: &str,
        name: &Name,
        change: impl FnOnce(&mut Value),
    ) -> Result<Option<Object>, Box<Status>> {
        let mut state = self.state();
        let kind = state.store.kind(resource);
        let present = state.store.get(resource, name);
        let (Some(kind), Some(present)) = (kind, present) else {
            return Ok(None);
        };
        let mut new = present.object.clone();
        change(&mut new);
        let changed = state.change(&kind, &present, new, &writer(), None)?;
        Ok(Some(Object(changed)))
    }

    /// Deletes an object as a client would, by options as in the body of its request (`gracePeriodSeconds`,
    /// `propagationPolicy`, `preconditions`). One that is not there is success.
    pub fn delete(&self, resource: &str, name: &Name, options: &Value) -> Result<(), Box<Status>> {
        let mut state = self.state();
        let Some(kind) = state.store.kind(resource) else {
            return Ok(());
        };
        match state.delete(&kind, name, options, &writer()) {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }

    /// Takes an object away, whatever holds it.
    pub fn remove(&self, resource: &str, name: &Name) {
        let mut state = self.state();
        if let Some(kind) = state.store.kind(resource) {
            state.take(&kind, name);
        }
    }

    /// Lets a namespace go that is going, as its controller does when nothing is left in it.
    pub fn finalize_namespace(&self, namespace: &str) -> Result<(), Box<Status>> {
        let name = Name::new("", namespace);
        self.change("namespaces", &name, |namespace| {
            namespace["spec"]["finalizers"] = json!([]);
        })?;
        Ok(())
    }

    /// The changes from now on, of these kinds (none = of all).
    pub fn changes(&self, resources: &[&str]) -> Changes {
        let resources = resources.iter().map(|&resource| resource.to_owned());
        let (id, woken) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .listeners
            .join(resources, Filter::default(), None);
        Changes {
            server: self.clone(),
            id,
            woken,
        }
    }

    /// Version of the last write.
    pub fn version(&self) -> u64 {
        self.state().store.version()
    }

    fn kind_of(&self, object: &Value) -> Result<Arc<ServedKind>, Box<Status>> {
        let state = self.state();
        let mut kinds = state.store.kinds();
        let found =
            kinds.find(|kind| object::check_type(kind, object).is_ok() && object["kind"] == kind.kind);
        found.cloned().ok_or_else(|| {
            let said = format!("{} {}", object["apiVersion"], object["kind"]);
            failure::bad_request(format!("no such kind: {said}"))
        })
    }
}

fn writer() -> Writer {
    Writer {
        user: MANAGER.to_owned(),
        manager: Manager {
            name: MANAGER.to_owned(),
            applies: false,
            of_status: false,
        },
        part: Part::Whole,
    }
}
