//! Who owns which fields of an object: what `metadata.managedFields` says, and what server-side apply goes by.
//!
//! A set of fields is a tree as in `fieldsV1`, `{"f:spec": {"f:type": {}}}`; one without branches is empty. Every list is a
//! leaf: its items are not told apart, whatever their kind says of keys.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::object::Stored;

/// A set of fields.
pub(super) type Fields = Map<String, Value>;

/// Fields of metadata that have owners.
const OF_METADATA: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];

/// Who writes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) applies: bool,
    pub(super) of_status: bool,
}

impl Manager {
    fn operation(&self) -> &'static str {
        if self.applies { "Apply" } else { "Update" }
    }

    fn is_of(&self, entry: &Value) -> bool {
        entry["manager"] == self.name.as_str()
            && entry["operation"] == self.operation()
            && (entry["subresource"] == "status") == self.of_status
    }

    fn entry(&self, api_version: &Value, now: Timestamp, fields: Fields) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": self.operation(), "apiVersion": api_version,
            "time": super::object::seconds(now), "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        if self.of_status {
            entry["subresource"] = json!("status");
        }
        entry
    }
}

/// The fields of an object that have owners.
pub(super) fn of_object(object: &Value) -> Fields {
    changed(&Value::Null, object)
}

fn tree(value: &Value) -> Fields {
    let fields = value.as_object().into_iter().flatten();
    fields
        .map(|(field, value)| (format!("f:{field}"), Value::Object(tree(value))))
        .collect()
}

/// The fields of `new` that have owners and are other than in `old`.
pub(super) fn changed(old: &Value, new: &Value) -> Fields {
    other_than(old, new, Level::Object)
}

/// Where in an object a field is: not everything has owners.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Metadata,
    Below,
}

impl Level {
    /// Where what is in that field is; none = the field has no owners.
    fn below(self, field: &str) -> Option<Self> {
        match (self, field) {
            (Self::Object, "apiVersion" | "kind") => None,
            (Self::Object, "metadata") => Some(Self::Metadata),
            (Self::Metadata, field) if !OF_METADATA.contains(&field) => None,
            _ => Some(Self::Below),
        }
    }
}

/// The fields of `new` that are other than in `old`. Nothing is written down of what is the same: most of an object is.
fn other_than(old: &Value, new: &Value, level: Level) -> Fields {
    let mut fields = Fields::new();
    for (field, after) in new.as_object().into_iter().flatten() {
        let Some(level) = level.below(field) else {
            continue;
        };
        let before = old.get(field).unwrap_or(&Value::Null);
        let has_fields = after.as_object().is_some_and(|fields| !fields.is_empty());
        if level == Level::Metadata || (has_fields && before.is_object()) {
            let below = other_than(before, after, level);
            if !below.is_empty() {
                fields.insert(format!("f:{field}"), Value::Object(below));
            }
        } else if old.get(field) != Some(after) {
            fields.insert(format!("f:{field}"), Value::Object(tree(after)));
        }
    }
    fields
}

/// Adds the fields of another set.
pub(super) fn join(fields: &mut Fields, other: &Fields) {
    for (field, below) in other {
        match (fields.get_mut(field), below) {
            (Some(Value::Object(fields)), Value::Object(below)) => join(fields, below),
            _ => drop(fields.insert(field.clone(), below.clone())),
        }
    }
}

/// Takes away the fields of another set, and what is below them.
pub(super) fn subtract(fields: &mut Fields, other: &Fields) {
    fields.retain(|field, below| match (below, other.get(field)) {
        (Value::Object(below), Some(Value::Object(other))) => {
            if below.is_empty() || other.is_empty() {
                return false;
            }
            subtract(below, other);
            !below.is_empty()
        }
        _ => true,
    });
}

/// Takes away the fields that the object has no more.
fn retain_present(fields: &mut Fields, object: &Value) {
    fields.retain(|field, below| {
        let Some(value) = object.get(field.trim_start_matches("f:")) else {
            return false;
        };
        match below {
            Value::Object(below) if !below.is_empty() => {
                retain_present(below, value);
                !below.is_empty()
            }
            _ => true,
        }
    });
}

/// The fields that both sets have, as paths: `.spec.type`.
fn shared(one: &Fields, other: &Fields, path: &str, found: &mut Vec<String>) {
    for (field, below) in one {
        let Some(other) = other.get(field) else { continue };
        let path = format!("{path}.{}", field.trim_start_matches("f:"));
        match (below, other) {
            (Value::Object(below), Value::Object(other)) if !below.is_empty() && !other.is_empty() => {
                shared(below, other, &path, found);
            }
            _ => found.push(path),
        }
    }
}

/// What `manager` owns of an object by entries of its own.
fn owned_by(owners: &[Value], manager: &Manager) -> Fields {
    let own = owners.iter().find(|entry| manager.is_of(entry));
    let fields = own.and_then(|entry| entry["fieldsV1"].as_object().cloned());
    fields.unwrap_or_default()
}

fn object_of(stored: Option<&Stored>) -> &Value {
    stored.map_or(&Value::Null, |stored| &stored.object)
}

fn owners_of(stored: Option<&Stored>) -> &[Value] {
    stored.map_or(&[], |stored| &stored.owners)
}

/// Who owns what after `manager` made `new` out of `old` (none = it was made): what it changed is its own alone. One that applies
/// owns all that it `applied`, also what it found so.
pub(super) fn record(
    old: Option<&Stored>,
    new: &Value,
    manager: &Manager,
    applied: Option<&Fields>,
    now: Timestamp,
) -> Arc<Vec<Value>> {
    let changed = changed(object_of(old), new);
    let before = owners_of(old);
    let mut own = applied.cloned().unwrap_or_else(|| {
        let mut own = owned_by(before, manager);
        join(&mut own, &changed);
        own
    });
    retain_present(&mut own, new);
    let mut kept = Vec::new();
    for entry in before {
        if manager.is_of(entry) {
            // It stands as it was: an entry's time is that of its last change.
            if entry["fieldsV1"].as_object() == Some(&own) && changed.is_empty() {
                kept.push(entry.clone());
                own.clear();
            }
            continue;
        }
        let mut entry = entry.clone();
        if let Value::Object(fields) = &mut entry["fieldsV1"] {
            subtract(fields, &changed);
            retain_present(fields, new);
            if fields.is_empty() {
                continue;
            }
        }
        kept.push(entry);
    }
    if !own.is_empty() {
        kept.push(manager.entry(&new["apiVersion"], now, own));
    }
    Arc::new(kept)
}

/// What comes of applying `wanted` to `old` (none = nothing is there), and the fields that were applied. Without `force` it
/// fails where somebody else owns a field with another value: the managers and fields.
pub(super) fn apply(
    old: Option<&Stored>,
    wanted: &Value,
    manager: &Manager,
    force: bool,
) -> Result<(Value, Fields), Vec<(String, String)>> {
    let applied = of_object(wanted);
    let (before, owners) = (object_of(old), owners_of(old));
    if !force {
        let changes = changed(before, wanted);
        let mut conflicts = Vec::new();
        for entry in owners.iter().filter(|entry| !manager.is_of(entry)) {
            let mut found = Vec::new();
            if let Some(fields) = entry["fieldsV1"].as_object() {
                shared(&changes, fields, "", &mut found);
            }
            let by = entry["manager"].as_str().unwrap_or_default();
            conflicts.extend(found.into_iter().map(|field| (by.to_owned(), field)));
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    let mut new = if before.is_object() {
        before.clone()
    } else {
        json!({})
    };
    // What it applied before, and no longer does, goes, unless others own it too.
    let mut given_up = owned_by(owners, manager);
    subtract(&mut given_up, &applied);
    for entry in owners.iter().filter(|entry| !manager.is_of(entry)) {
        if let Some(fields) = entry["fieldsV1"].as_object() {
            subtract(&mut given_up, fields);
        }
    }
    remove(&mut new, &given_up);
    overlay(&mut new, wanted);
    Ok((new, applied))
}

fn remove(object: &mut Value, fields: &Fields) {
    let Value::Object(object) = object else { return };
    for (field, below) in fields {
        let name = field.trim_start_matches("f:");
        match below {
            Value::Object(below) if !below.is_empty() => {
                if let Some(value) = object.get_mut(name) {
                    remove(value, below);
                    if value.as_object().is_some_and(Map::is_empty) {
                        object.remove(name);
                    }
                }
            }
            _ => drop(object.remove(name)),
        }
    }
}

fn overlay(object: &mut Value, wanted: &Value) {
    match (object, wanted) {
        (Value::Object(object), Value::Object(wanted)) => {
            for (field, value) in wanted {
                match object.get_mut(field) {
                    Some(present) => overlay(present, value),
                    None => drop(object.insert(field.clone(), value.clone())),
                }
            }
        }
        (object, wanted) => object.clone_from(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(name: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            applies: false,
            of_status: false,
        }
    }
    fn applies(name: &str) -> Manager {
        Manager {
            applies: true,
            ..updates(name)
        }
    }
    fn written(old: Option<&Stored>, new: Value, manager: &Manager, applied: Option<&Fields>) -> Stored {
        let owners = record(old, &new, manager, applied, Timestamp::UNIX_EPOCH);
        Stored::new(new, owners)
    }
    fn owners(stored: &Stored) -> Vec<(String, Value)> {
        let owner = |entry: &Value| {
            (
                entry["manager"].as_str().unwrap().to_owned(),
                entry["fieldsV1"].clone(),
            )
        };
        stored.owners.iter().map(owner).collect()
    }

    #[test]
    fn a_change_moves_a_field_to_who_made_it() {
        let made = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"a": 1, "b": {"c": 1}}});
        let made = written(None, made, &updates("one"), None);
        assert_eq!(
            owners(&made),
            [(
                "one".to_owned(),
                json!({"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}})
            )]
        );
        let mut changed = made.object.clone();
        changed["spec"]["b"]["c"] = json!(2);
        let changed = written(Some(&made), changed, &updates("other"), None);
        assert_eq!(
            owners(&changed),
            [
                ("one".to_owned(), json!({"f:spec": {"f:a": {}}})),
                ("other".to_owned(), json!({"f:spec": {"f:b": {"f:c": {}}}})),
            ]
        );
    }

    #[test]
    fn what_is_no_longer_applied_goes_unless_others_own_it() {
        let wanted = json!({"metadata": {"labels": {"a": "1", "b": "1"}}, "data": {"k": "v"}});
        let (made, fields) = apply(None, &wanted, &applies("one"), false).unwrap();
        let made = written(None, made, &applies("one"), Some(&fields));
        let mut touched = made.object.clone();
        touched["metadata"]["labels"]["c"] = json!("theirs");
        let touched = written(Some(&made), touched, &updates("other"), None);
        let less = json!({"metadata": {"labels": {"a": "1"}}});
        let (left, _) = apply(Some(&touched), &less, &applies("one"), false).unwrap();
        assert_eq!(left["metadata"]["labels"], json!({"a": "1", "c": "theirs"}));
        assert!(left.get("data").is_none());
    }

    #[test]
    fn another_value_of_somebody_elses_field_is_a_conflict_until_forced() {
        let made = json!({"metadata": {}, "spec": {"holder": "one", "n": 1}});
        let made = written(None, made, &updates("one"), None);
        let wanted = json!({"spec": {"holder": "other", "n": 1}});
        let refused = apply(Some(&made), &wanted, &applies("other"), false).unwrap_err();
        assert_eq!(refused, [("one".to_owned(), ".spec.holder".to_owned())]);
        let (forced, fields) = apply(Some(&made), &wanted, &applies("other"), true).unwrap();
        let forced = written(Some(&made), forced, &applies("other"), Some(&fields));
        assert_eq!(
            owners(&forced),
            [
                ("one".to_owned(), json!({"f:spec": {"f:n": {}}})),
                ("other".to_owned(), json!({"f:spec": {"f:holder": {}, "f:n": {}}})),
            ]
        );
    }

    #[test]
    fn what_is_of_the_server_has_no_owner() {
        let made = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s", "uid": "u", "labels": {}, "annotations": {"a": "1"}}, "spec": {},
        });
        let fields = Value::Object(of_object(&made));
        assert_eq!(
            fields,
            json!({"f:metadata": {"f:annotations": {"f:a": {}}, "f:labels": {}}, "f:spec": {}})
        );
    }
}
