//! Who owns which fields of an object: what `metadata.managedFields` says, and what server-side apply goes by.
//!
//! A set of fields is a tree as in `fieldsV1`, `{"f:spec": {"f:type": {}}}`; one without branches is empty. Every list is a
//! leaf: its items are not told apart, whatever their kind says of keys.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

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
    let mut fields = tree(object);
    for unowned in ["f:apiVersion", "f:kind"] {
        fields.remove(unowned);
    }
    if let Some(Value::Object(metadata)) = fields.get_mut("f:metadata") {
        metadata.retain(|field, _| OF_METADATA.contains(&field.trim_start_matches("f:")));
        if metadata.is_empty() {
            fields.remove("f:metadata");
        }
    }
    fields
}

fn tree(value: &Value) -> Fields {
    let fields = value.as_object().into_iter().flatten();
    fields
        .map(|(field, value)| (format!("f:{field}"), Value::Object(tree(value))))
        .collect()
}

/// The fields of `new` that are other than in `old`.
pub(super) fn changed(old: &Value, new: &Value) -> Fields {
    let mut fields = of_object(new);
    keep_changed(&mut fields, old, new);
    fields
}

fn keep_changed(fields: &mut Fields, old: &Value, new: &Value) {
    fields.retain(|field, below| {
        let field = field.trim_start_matches("f:");
        let (before, after) = (old.get(field), new.get(field));
        match (before, after, below) {
            (Some(before @ Value::Object(_)), Some(after), Value::Object(below)) if !below.is_empty() => {
                keep_changed(below, before, after);
                !below.is_empty()
            }
            _ => before != after,
        }
    });
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

fn entries(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array();
    entries.cloned().unwrap_or_default()
}

/// What `manager` owns of an object by entries of its own.
fn owned_by(object: &Value, manager: &Manager) -> Fields {
    let mut entries = entries(object).into_iter();
    let own = entries.find(|entry| manager.is_of(entry));
    let fields = own.and_then(|entry| entry["fieldsV1"].as_object().cloned());
    fields.unwrap_or_default()
}

/// Writes down that `manager` made `new` out of `old` (null = it was made): what it changed is its own alone. One that
/// applies owns all that it `applied`, also what it found so.
pub(super) fn record(
    old: &Value,
    new: &mut Value,
    manager: &Manager,
    applied: Option<&Fields>,
    now: Timestamp,
) {
    let changed = changed(old, new);
    let mut own = applied.cloned().unwrap_or_else(|| {
        let mut own = owned_by(old, manager);
        join(&mut own, &changed);
        own
    });
    retain_present(&mut own, new);
    let mut kept = Vec::new();
    for mut entry in entries(old) {
        if manager.is_of(&entry) {
            // It stands as it was: an entry's time is that of its last change.
            if entry["fieldsV1"].as_object() == Some(&own) && changed.is_empty() {
                kept.push(entry);
                own.clear();
            }
            continue;
        }
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
        kept.push(manager.entry(&new["apiVersion"].clone(), now, own));
    }
    if let Some(metadata) = new["metadata"].as_object_mut() {
        if kept.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(kept));
        }
    }
}

/// What comes of applying `wanted` to `old` (null = nothing is there), and the fields that were applied. Without `force` it
/// fails where somebody else owns a field with another value: the managers and fields.
pub(super) fn apply(
    old: &Value,
    wanted: &Value,
    manager: &Manager,
    force: bool,
) -> Result<(Value, Fields), Vec<(String, String)>> {
    let applied = of_object(wanted);
    if !force {
        let changes = changed(old, wanted);
        let mut conflicts = Vec::new();
        for entry in entries(old).iter().filter(|entry| !manager.is_of(entry)) {
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
    let mut new = if old.is_object() { old.clone() } else { json!({}) };
    // What it applied before, and no longer does, goes, unless others own it too.
    let mut given_up = owned_by(old, manager);
    subtract(&mut given_up, &applied);
    for entry in entries(old).iter().filter(|entry| !manager.is_of(entry)) {
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
    fn written(old: &Value, mut new: Value, manager: &Manager) -> Value {
        record(old, &mut new, manager, None, Timestamp::UNIX_EPOCH);
        new
    }
    fn owners(object: &Value) -> Vec<(String, Value)> {
        let entries = entries(object);
        let owner = |entry: &Value| {
            (
                entry["manager"].as_str().unwrap().to_owned(),
                entry["fieldsV1"].clone(),
            )
        };
        entries.iter().map(owner).collect()
    }

    #[test]
    fn a_change_moves_a_field_to_who_made_it() {
        let made = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"a": 1, "b": {"c": 1}}});
        let made = written(&Value::Null, made, &updates("one"));
        assert_eq!(
            owners(&made),
            [(
                "one".to_owned(),
                json!({"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}})
            )]
        );
        let mut changed = made.clone();
        changed["spec"]["b"]["c"] = json!(2);
        let changed = written(&made, changed, &updates("other"));
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
        let (mut made, fields) = apply(&Value::Null, &wanted, &applies("one"), false).unwrap();
        record(
            &Value::Null,
            &mut made,
            &applies("one"),
            Some(&fields),
            Timestamp::UNIX_EPOCH,
        );
        let mut touched = made.clone();
        touched["metadata"]["labels"]["c"] = json!("theirs");
        let touched = written(&made, touched, &updates("other"));
        let less = json!({"metadata": {"labels": {"a": "1"}}});
        let (left, _) = apply(&touched, &less, &applies("one"), false).unwrap();
        assert_eq!(left["metadata"]["labels"], json!({"a": "1", "c": "theirs"}));
        assert!(left.get("data").is_none());
    }

    #[test]
    fn another_value_of_somebody_elses_field_is_a_conflict_until_forced() {
        let made = written(
            &Value::Null,
            json!({"metadata": {}, "spec": {"holder": "one", "n": 1}}),
            &updates("one"),
        );
        let wanted = json!({"spec": {"holder": "other", "n": 1}});
        let refused = apply(&made, &wanted, &applies("other"), false).unwrap_err();
        assert_eq!(refused, [("one".to_owned(), ".spec.holder".to_owned())]);
        let (mut forced, fields) = apply(&made, &wanted, &applies("other"), true).unwrap();
        record(
            &made,
            &mut forced,
            &applies("other"),
            Some(&fields),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            owners(&forced),
            [
                ("one".to_owned(), json!({"f:spec": {"f:n": {}}})),
                ("other".to_owned(), json!({"f:spec": {"f:holder": {}, "f:n": {}}})),
            ]
        );
    }
}
