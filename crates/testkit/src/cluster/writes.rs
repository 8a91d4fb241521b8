//! What the server makes of a write: what it fills in, what it does not let change, and what it counts.

use std::sync::Arc;

use kube::core::Status;
use serde_json::{Value, json};

use super::{
    failure,
    fields::{self, Fields},
    immutable,
    kinds::{ServedKind, Trait},
    object::{self, Name, Stored},
    request::Verb,
    state::{Part, State, Writer},
};

/// What an update of an object leaves as it is.
const KEPT: [&str; 9] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

impl State {
    /// Makes an object in a namespace (empty = the kind has none).
    pub(super) fn create(
        &mut self,
        kind: &ServedKind,
        namespace: &str,
        wanted: Value,
        writer: &Writer,
        applied: Option<&Fields>,
    ) -> Result<Arc<Stored>, Box<Status>> {
        let mut new = Self::typed(kind, wanted)?;
        let metadata = &mut new["metadata"];
        if kind.is(Trait::Namespaced) {
            let said = metadata["namespace"].as_str().unwrap_or(namespace);
            if said != namespace {
                return Err(failure::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            metadata["namespace"] = json!(namespace);
        }
        if object::text(&new, "name").is_none()
            && let Some(prefix) = object::text(&new, "generateName").map(str::to_owned)
        {
            new["metadata"]["name"] = json!(format!("{prefix}{}", self.suffix()));
        }
        let name = Name::of(&new);
        if name.name.is_empty() {
            let why = "name or generateName is required";
            return Err(failure::invalid(
                kind,
                "",
                "FieldValueRequired",
                "metadata.name",
                why,
            ));
        }
        self.lets_new_in(kind, &name)?;
        if object::text(&new, "resourceVersion").is_some() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(failure(500, "InternalError", why));
        }
        self.fill_in(kind, &mut new, writer.part);
        self.admit(kind, writer, Verb::Create, None, Some(&new))?;
        if self.store.get(&kind.resource(), &name).is_some() {
            return Err(failure::already_exists(kind, &name.name));
        }
        let owners = fields::record(None, &new, &writer.manager, applied, self.now());
        self.put(kind, new, owners)
            .ok_or_else(|| failure::not_found(kind, &name.name))
    }

    /// An object of that kind, without what is null.
    fn typed(kind: &ServedKind, mut wanted: Value) -> Result<Value, Box<Status>> {
        object::check_type(kind, &wanted)?;
        super::merge::without_nulls(&mut wanted);
        wanted["apiVersion"] = json!(kind.api_version());
        wanted["kind"] = json!(kind.kind);
        if !wanted["metadata"].is_object() {
            wanted["metadata"] = json!({});
        }
        if kind.resource() == "secrets" {
            object::encode_secret(&mut wanted);
        }
        object::tidy(&mut wanted);
        // Who owns what is the server's to say.
        if let Some(metadata) = wanted["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        Ok(wanted)
    }

    /// Whether the namespace is there and takes in anything new.
    fn lets_new_in(&self, kind: &ServedKind, name: &Name) -> Result<(), Box<Status>> {
        if !kind.is(Trait::Namespaced) {
            return Ok(());
        }
        let namespaces = self.store.kind("namespaces");
        let namespace = self.store.get("namespaces", &Name::new("", &name.namespace));
        match (namespace, namespaces) {
            (Some(namespace), _) if object::is_terminating(&namespace.object) => {
                Err(failure::terminating(kind, &name.name, &name.namespace))
            }
            (None, Some(namespaces)) => Err(failure::not_found(&namespaces, &name.namespace)),
            _ => Ok(()),
        }
    }

    /// What the server says of a new object.
    fn fill_in(&mut self, kind: &ServedKind, new: &mut Value, part: Part) {
        let (now, uid) = (self.now(), self.uid());
        let metadata = &mut new["metadata"];
        for given in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove(given);
            }
        }
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(object::seconds(now));
        if kind.is(Trait::Generation) {
            metadata["generation"] = json!(1);
        }
        let protection = match kind.resource().as_str() {
            "persistentvolumeclaims" => Some("kubernetes.io/pvc-protection"),
            "persistentvolumes" => Some("kubernetes.io/pv-protection"),
            _ => None,
        };
        if let Some(protection) = protection {
            let mut finalizers = object::finalizers(new);
            if !finalizers.iter().any(|finalizer| finalizer == protection) {
                finalizers.push(protection.to_owned());
            }
            new["metadata"]["finalizers"] = json!(finalizers);
        }
        if kind.resource() == "namespaces" {
            new["spec"]["finalizers"] = json!(["kubernetes"]);
            let name = new["metadata"]["name"].clone();
            new["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        if !kind.is(Trait::Status) {
            return;
        }
        if part != Part::Whole
            && let Some(fields) = new.as_object_mut()
        {
            fields.remove("status");
        }
        if new.get("status").is_none() && !kind.is(Trait::Custom) {
            new["status"] = match kind.resource().as_str() {
                "namespaces" => json!({"phase": "Active"}),
                "pods" | "persistentvolumeclaims" | "persistentvolumes" => json!({"phase": "Pending"}),
                _ => json!({}),
            };
        }
    }

    /// Makes an object be `wanted`, as far as the write is about it. `resourceVersion` and `uid` in it have to be those of
    /// the object. What changes nothing is no write.
    pub(super) fn change(
        &mut self,
        kind: &ServedKind,
        old: &Arc<Stored>,
        wanted: Value,
        writer: &Writer,
        applied: Option<&Fields>,
    ) -> Result<Arc<Stored>, Box<Status>> {
        let before = &old.object;
        let name = Name::of(before);
        let wanted = Self::typed(kind, wanted)?;
        Self::is_meant(kind, before, &wanted)?;
        let mut new = match writer.part {
            Part::Status => {
                let mut new = before.clone();
                set(&mut new, "status", wanted.get("status"));
                new
            }
            Part::Main if kind.is(Trait::Status) => {
                let mut new = wanted;
                set(&mut new, "status", before.get("status"));
                new
            }
            Part::Main | Part::Whole => wanted,
        };
        for field in KEPT {
            set(&mut new["metadata"], field, before["metadata"].get(field));
        }
        if kind.resource() == "namespaces" && writer.part != Part::Whole {
            // What holds a namespace has a subresource of its own, for Kubernetes alone.
            set(&mut new, "spec", before.get("spec"));
        }
        if writer.part != Part::Whole {
            immutable::check(kind, before, &new)?;
        }
        if kind.is(Trait::Generation) && object::is_other(kind, before, &new) {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        self.admit(kind, writer, Verb::Update, Some(before), Some(&new))?;
        let owners = fields::record(Some(old), &new, &writer.manager, applied, self.now());
        if &new == before && owners == old.owners {
            return Ok(old.clone());
        }
        if object::is_let_go(&new) {
            // The answer shows it without what held it; the watch shows it as it was.
            self.take(kind, &name);
            return Ok(Arc::new(Stored::new(new, owners)));
        }
        self.put(kind, new, owners)
            .ok_or_else(|| failure::not_found(kind, &name.name))
    }

    /// Whether a write means the object that is there.
    pub(super) fn is_meant(kind: &ServedKind, present: &Value, wanted: &Value) -> Result<(), Box<Status>> {
        let name = object::text(present, "name").unwrap_or_default();
        for field in ["name", "namespace"] {
            let said = object::text(wanted, field);
            if said.is_some() && said != object::text(present, field) {
                return Err(failure::bad_request(format!(
                    "the {field} of the object does not match the {field} on the URL"
                )));
            }
        }
        let (said, is) = (object::text(wanted, "uid"), object::text(present, "uid"));
        if said.is_some() && said != is {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                said.unwrap_or_default(),
                is.unwrap_or_default()
            );
            return Err(failure::conflict(kind, name, &why));
        }
        let said = object::text(wanted, "resourceVersion");
        if said.is_some() && said != object::text(present, "resourceVersion") {
            let why =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(failure::conflict(kind, name, why));
        }
        Ok(())
    }

    /// Server-side apply: makes what is not there. Returns whether it was made.
    pub(super) fn apply(
        &mut self,
        kind: &ServedKind,
        name: &Name,
        wanted: Value,
        force: bool,
        writer: &Writer,
    ) -> Result<(Arc<Stored>, bool), Box<Status>> {
        let mut wanted = Self::typed(kind, wanted)?;
        if let Some(fields) = wanted.as_object_mut()
            && kind.is(Trait::Status)
        {
            fields.retain(|field, _| {
                (writer.part == Part::Status) == (field == "status") || field == "metadata"
            });
            fields.insert("apiVersion".to_owned(), json!(kind.api_version()));
        }
        let Some(old) = self.store.get(&kind.resource(), name) else {
            if writer.part == Part::Status {
                return Err(failure::not_found(kind, &name.name));
            }
            if let Some(uid) = object::text(&wanted, "uid") {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(failure::conflict(kind, &name.name, &why));
            }
            wanted["metadata"]["name"] = json!(name.name);
            let applied = fields::of_object(&wanted);
            let made = self.create(kind, &name.namespace, wanted, writer, Some(&applied))?;
            return Ok((made, true));
        };
        Self::is_meant(kind, &old.object, &wanted)?;
        let (new, applied) = fields::apply(Some(&old), &wanted, &writer.manager, force)
            .map_err(|conflicts| failure::apply_conflict(&conflicts))?;
        let changed = self.change(kind, &old, new, writer, Some(&applied))?;
        Ok((changed, false))
    }
}

fn set(object: &mut Value, field: &str, value: Option<&Value>) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    match value {
        Some(value) if fields.get(field) == Some(value) => {}
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
}
