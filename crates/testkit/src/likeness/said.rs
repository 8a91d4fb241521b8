//! Which fields of an object clients have said anything of. The others a server fills in, by schemas that the one in memory
//! does not have.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What stands for the items of a list, all of them.
const ITEMS: &str = "[]";

/// The fields that were said, as a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(BTreeMap<String, Said>);

impl Said {
    /// Hears the fields that a request names, also those that it takes away.
    pub(super) fn hear(&mut self, body: &Value) {
        match body {
            Value::Object(fields) => {
                for (field, value) in fields {
                    self.0.entry(field.clone()).or_default().hear(value);
                    if field == "stringData" {
                        // It is written, and read as this.
                        self.0.entry("data".to_owned()).or_default().hear(value);
                    }
                }
            }
            Value::Array(items) => {
                let all = self.0.entry(ITEMS.to_owned()).or_default();
                for item in items {
                    all.hear(item);
                }
            }
            _ => {}
        }
    }

    /// What of a value was said.
    pub(super) fn of(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let said = fields
                    .iter()
                    .filter_map(|(field, value)| Some((field.clone(), self.0.get(field)?.of(value))));
                Value::Object(said.collect::<Map<_, _>>())
            }
            Value::Array(items) => {
                let nothing = Self::default();
                let all = self.0.get(ITEMS).unwrap_or(&nothing);
                Value::Array(items.iter().map(|item| all.of(item)).collect())
            }
            other => other.clone(),
        }
    }

    /// Paths of the fields of a set as in `fieldsV1` of which something was said. Lists are leaves, as the server in memory
    /// has them.
    pub(super) fn owned(&self, fields: &Value, path: &str, found: &mut Vec<String>) {
        for (field, below) in fields.as_object().into_iter().flatten() {
            let Some(name) = field.strip_prefix("f:") else {
                continue;
            };
            let Some(said) = self.0.get(name) else { continue };
            let path = format!("{path}{name}");
            let has = |prefix: &str| {
                let mut below = below.as_object().into_iter().flatten();
                below.any(|(field, _)| field.starts_with(prefix))
            };
            if has("f:") {
                said.owned(below, &format!("{path}."), found);
            } else if has("k:") || has("v:") || !has(".") {
                found.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_said_is_kept_and_what_was_filled_in_is_not() {
        let mut said = Said::default();
        said.hear(&json!({"spec": {"ports": [{"port": 1}, {"name": "x"}], "gone": null, "none": {}}}));
        said.hear(&json!({"stringData": {"k": "v"}}));
        let answered = json!({
            "spec": {"ports": [{"name": "a", "port": 1, "protocol": "TCP"}], "gone": 1, "clusterIP": "10.0.0.1",
                "none": {"filled": 1}},
            "data": {"k": "dg=="}, "type": "Opaque",
        });
        let wanted = json!({
            "spec": {"ports": [{"name": "a", "port": 1}], "gone": 1, "none": {}}, "data": {"k": "dg=="},
        });
        assert_eq!(said.of(&answered), wanted);
    }

    #[test]
    fn of_owned_fields_lists_are_leaves() {
        let mut said = Said::default();
        said.hear(&json!({"a": {"b": 1}, "l": [1], "m": {"x": 1}, "e": {}}));
        let fields = json!({
            "f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:l": {"k:{\"n\":1}": {".": {}}}, "f:m": {".": {}}, "f:e": {},
        });
        let mut found = Vec::new();
        said.owned(&fields, "", &mut found);
        assert_eq!(found, ["a.b", "e", "l"]);
    }
}
