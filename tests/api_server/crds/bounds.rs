//! Types, lengths, patterns, ranges, enums and required fields of every spec: each is broken, alone, in a valid object.
//! The cases come from the schemas themselves, so a new field has its own as soon as [`super::valid`] sets it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tray_api::crds;

use super::{Creation, valid};
use crate::edit::with;

/// One wrong value, and words of the refusal besides the field.
struct Wrong {
    pointer: String,
    value: Value,
    says: &'static str,
}

/// Walks a schema along an object that is right.
#[derive(Default)]
struct Walk {
    wrong: Vec<Wrong>,
    /// Paths of the schema that some object has a value for.
    seen: BTreeSet<String>,
}

impl Walk {
    fn breaks(&mut self, pointer: &str, says: &'static str, value: Value) {
        self.wrong.push(Wrong {
            pointer: pointer.to_owned(),
            value,
            says,
        });
    }

    /// `path` is in the schema, `pointer` in the object, where it has `value`.
    fn visit(&mut self, path: &str, pointer: &str, schema: &Value, value: &Value) {
        if self.seen.insert(path.to_owned()) {
            self.break_value(pointer, schema, value);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(name) {
                self.visit(
                    &format!("{path}.{name}"),
                    &format!("{pointer}/{name}"),
                    property,
                    value,
                );
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.visit(
                &format!("{path}[]"),
                &format!("{pointer}/{index}"),
                &schema["items"],
                item,
            );
        }
    }

    fn break_value(&mut self, pointer: &str, schema: &Value, value: &Value) {
        let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
        match schema["type"].as_str() {
            Some("object") => self.breaks(pointer, "must be of type object", json!("text")),
            Some("array") => self.breaks(pointer, "must be of type array", json!("text")),
            Some("string") if schema["format"] != "date-time" => {
                self.breaks(pointer, "must be of type string", json!(["list"]));
            }
            Some("integer") => self.breaks(pointer, "must be of type integer", json!("text")),
            Some("boolean") => self.breaks(pointer, "must be of type boolean", json!("text")),
            _ => {}
        }
        if let Some(minimum) = bound("minimum") {
            self.breaks(pointer, "greater than or equal to", json!(minimum - 1));
        }
        if let Some(maximum) = bound("maximum") {
            self.breaks(pointer, "less than or equal to", json!(maximum + 1));
        }
        if !schema["enum"].is_null() {
            self.breaks(pointer, "supported values", json!("Other"));
        }
        if schema["format"] == "date-time" {
            self.breaks(pointer, "must be of type date-time", json!("yesterday"));
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap();
            self.breaks(&format!("{pointer}/{name}"), "Required value", Value::Null);
        }
        self.break_text(pointer, schema, value);
        self.break_list(pointer, schema, value);
    }

    fn break_text(&mut self, pointer: &str, schema: &Value, value: &Value) {
        let length = |name: &str| usize::try_from(schema[name].as_u64().unwrap_or_default()).unwrap();
        if !schema["pattern"].is_null() {
            let text = "~".repeat(length("minLength").max(1));
            self.breaks(pointer, "should match", json!(text));
        }
        if length("minLength") > 0 {
            let text = &value.as_str().unwrap()[..length("minLength") - 1];
            self.breaks(pointer, "should be at least", json!(text));
        }
        if length("maxLength") > 0 {
            let text = "a".repeat(length("maxLength") + 1);
            self.breaks(pointer, "may not be more than", json!(text));
        }
    }

    fn break_list(&mut self, pointer: &str, schema: &Value, value: &Value) {
        let Some(first) = value.as_array().and_then(|items| items.first()) else {
            return;
        };
        if schema["minItems"].as_u64().is_some() {
            self.breaks(pointer, "should have at least", json!([]));
        }
        if let Some(most) = schema["maxItems"].as_u64() {
            let many = vec![first.clone(); usize::try_from(most).unwrap() + 1];
            self.breaks(pointer, "must have at most", json!(many));
        }
        if matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set")) {
            self.breaks(pointer, "Duplicate value", json!([first, first]));
        }
    }
}

/// Every path of a schema that can have a value.
fn paths(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        paths(&format!("{path}.{name}"), property, found);
    }
    if schema["items"].is_object() {
        paths(&format!("{path}[]"), &schema["items"], found);
    }
}

/// `/spec/zones/0` as the API server writes it: `spec.zones[0]`.
fn field(pointer: &str) -> String {
    let steps = pointer.split('/').skip(1);
    let written = steps.map(|step| match step.parse::<usize>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!(".{step}"),
    });
    written.collect::<String>().trim_start_matches('.').to_owned()
}

#[tokio::test]
async fn every_bound_of_every_field_is_held_and_named() {
    let mut failures = Vec::new();
    let mut cases = 0;
    for crd in crds::all_crds() {
        let crd = serde_json::to_value(crd).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let creation = Creation::of(kind).await;
        let mut unset = BTreeSet::new();
        paths("spec", &schema["properties"]["spec"], &mut unset);
        let mut seen = BTreeSet::new();
        for object in valid::all().into_iter().filter(|object| object["kind"] == kind) {
            let mut walk = Walk {
                seen: std::mem::take(&mut seen),
                ..Walk::default()
            };
            walk.visit("spec", "/spec", &schema["properties"]["spec"], &object["spec"]);
            for name in ["-", "Upper", &"a".repeat(64)] {
                walk.breaks("/metadata/name", "metadata.name", json!(name));
            }
            seen = walk.seen;
            cases += walk.wrong.len();
            for Wrong { pointer, value, says } in walk.wrong {
                let refused = creation.refusal(&with(object.clone(), &pointer, value)).await;
                let causes = refused.unwrap_or_default();
                let named = causes.iter().any(|c| {
                    format!("{}: {}", c.field, c.message).contains(says)
                        && c.field.starts_with(&field(&pointer))
                });
                if !named {
                    failures.push(format!("{kind} {pointer}: not {says:?}, but {causes:?}"));
                }
            }
        }
        unset.retain(|path| !seen.contains(path));
        assert!(
            unset.is_empty(),
            "no valid {kind} sets {unset:?}: add them to valid.rs"
        );
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(cases > 300, "{cases} cases");
}
