//! Objects as the server holds them.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use jiff::{SignedDuration, Timestamp};
use kube::core::Status;
use serde_json::{Value, json};

use super::{
    failure::bad_request,
    kinds::{ServedKind, Trait},
};

/// Where an object is: its namespace (empty for a cluster-scoped kind) and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its namespace; empty where its kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Name {
    /// A name in a namespace; an empty one for a cluster-scoped kind.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The name that an object says.
    pub fn of(object: &Value) -> Self {
        Self::new(
            text(object, "namespace").unwrap_or_default(),
            text(object, "name").unwrap_or_default(),
        )
    }
}

/// An object, and its texts: each is written once, when somebody asks for it, and sent many times.
#[derive(Debug)]
pub(super) struct Stored {
    /// Without `managedFields`.
    pub(super) object: Value,
    /// What `managedFields` says.
    pub(super) owners: Arc<Vec<Value>>,
    text: OnceLock<String>,
    whole: OnceLock<String>,
}

impl Stored {
    pub(super) fn new(object: Value, owners: Arc<Vec<Value>>) -> Self {
        Self {
            object,
            owners,
            text: OnceLock::new(),
            whole: OnceLock::new(),
        }
    }

    /// With `managedFields`.
    pub(super) fn whole(&self) -> Value {
        let mut whole = self.object.clone();
        if !self.owners.is_empty() {
            whole["metadata"]["managedFields"] = Value::Array(self.owners.to_vec());
        }
        whole
    }

    /// As text, with `managedFields` or without.
    pub(super) fn text(&self, with_owners: bool) -> &str {
        if with_owners {
            self.whole.get_or_init(|| self.whole().to_string())
        } else {
            self.text.get_or_init(|| self.object.to_string())
        }
    }
}

/// An object as the world reads it, without a copy.
#[derive(Clone, Debug)]
pub struct Object(pub(super) Arc<Stored>);

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.0.object == other.0.object
    }
}

impl Deref for Object {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.object
    }
}

/// A text in an object's metadata; none where it is absent or empty.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object["metadata"][field].as_str().filter(|text| !text.is_empty())
}

pub(super) fn finalizers(object: &Value) -> Vec<String> {
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    finalizers
        .filter_map(|finalizer| finalizer.as_str().map(str::to_owned))
        .collect()
}

pub(super) fn is_terminating(object: &Value) -> bool {
    text(object, "deletionTimestamp").is_some()
}

/// Nothing holds it any more, so it goes with the write that took the last hold away.
pub(super) fn is_let_go(object: &Value) -> bool {
    let is_held_by_spec = object["spec"]["finalizers"]
        .as_array()
        .is_some_and(|held| !held.is_empty());
    is_terminating(object)
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && finalizers(object).is_empty()
        // Namespaces are held by one more list.
        && (object["kind"] != "Namespace" || !is_held_by_spec)
}

/// Begins a deletion: the mark is a change that is counted.
pub(super) fn mark_deleted(object: &mut Value, now: Timestamp, grace: i64) {
    let metadata = &mut object["metadata"];
    if metadata["deletionTimestamp"].is_null()
        && let Some(generation) = metadata["generation"].as_i64()
    {
        metadata["generation"] = json!(generation + 1);
    }
    let end = now.saturating_add(SignedDuration::from_secs(grace));
    metadata["deletionTimestamp"] = json!(seconds(end.unwrap_or(Timestamp::MAX)));
    metadata["deletionGracePeriodSeconds"] = json!(grace);
}

/// Times of metadata are in whole seconds.
pub(super) fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}

/// Whether what a kind counts is other than it was: all but metadata, and but for the status where that has a subresource
/// of its own.
pub(super) fn is_other(kind: &ServedKind, old: &Value, new: &Value) -> bool {
    let unheeded = |field: &str| {
        matches!(field, "metadata" | "apiVersion" | "kind") || (field == "status" && kind.is(Trait::Status))
    };
    let mut before = fields(old).filter(|(field, _)| !unheeded(field));
    let mut after = fields(new).filter(|(field, _)| !unheeded(field));
    before.any(|(field, value)| new.get(field) != Some(value))
        || after.any(|(field, _)| old.get(field).is_none())
}

fn fields(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// Puts a Secret's `stringData` into its `data`: it is written and never read.
pub(super) fn encode_secret(object: &mut Value) {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    let Some(Value::Object(texts)) = fields.remove("stringData") else {
        return;
    };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    for (name, text) in texts {
        data[name] = json!(BASE64_STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

/// Takes away lists and maps of metadata that are empty: the server keeps none.
pub(super) fn tidy(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| match value {
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::String(text) => !text.is_empty(),
            _ => true,
        });
    }
}

/// Whether an object says to be of that kind, or nothing of it.
pub(super) fn check_type(kind: &ServedKind, object: &Value) -> Result<(), Box<Status>> {
    if !object.is_object() {
        return Err(bad_request("the body is no object"));
    }
    let says = |field: &str, wanted: &str| object[field].as_str().is_none_or(|said| said == wanted);
    if says("apiVersion", &kind.api_version()) && says("kind", &kind.kind) {
        return Ok(());
    }
    Err(bad_request(format!(
        "the object is of another kind than {}",
        kind.resource()
    )))
}
