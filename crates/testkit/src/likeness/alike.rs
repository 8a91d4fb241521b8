//! Whether two values mean the same to a client.

use std::collections::BTreeSet;

use serde_json::Value;
use tray_domain::quantity;

/// Where two values differ, and how; none = they mean the same. What is absent is as what is empty, for a server leaves out
/// what is; a quantity is the same however it is written.
pub fn difference(one: &Value, other: &Value) -> Option<String> {
    differs(one, other, "")
}

fn differs(one: &Value, other: &Value, path: &str) -> Option<String> {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            let all: BTreeSet<&String> = fields.keys().chain(others.keys()).collect();
            all.into_iter().find_map(|field| {
                let (one, other) = (fields.get(field), others.get(field));
                let (one, other) = (one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null));
                differs(one, other, &format!("{path}.{field}"))
            })
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let mut pairs = items.iter().zip(others).enumerate();
            pairs.find_map(|(at, (one, other))| differs(one, other, &format!("{path}[{at}]")))
        }
        _ if one == other || (is_nothing(one) && is_nothing(other)) || is_same_quantity(one, other) => None,
        _ => Some(format!("{path}: {one} and {other}")),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

fn is_same_quantity(one: &Value, other: &Value) -> bool {
    let milli = |value: &Value| match value {
        Value::String(text) => quantity::milli(text),
        Value::Number(number) => quantity::milli(&number.to_string()),
        _ => None,
    };
    milli(one).is_some_and(|one| milli(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_means_the_same_is_alike() {
        for (one, other) in [
            (json!({"a": "1Gi"}), json!({"a": "1024Mi"})),
            (json!({"cpu": 1}), json!({"cpu": "1000m"})),
            (
                json!({"a": {}, "b": false, "c": 0, "d": [], "e": {"f": null}}),
                json!({}),
            ),
            (json!([1, {"a": null}]), json!([1, {}])),
        ] {
            assert_eq!(difference(&one, &other), None, "{one} {other}");
        }
    }

    #[test]
    fn what_differs_is_named_by_its_path() {
        for (one, other, said) in [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), r".a.b: 1 and 2"),
            (json!({"a": ["x"]}), json!({}), r#".a: ["x"] and null"#),
            (json!({"a": [1, 2]}), json!({"a": [1]}), ".a: [1,2] and [1]"),
            (json!(["1"]), json!(["x"]), r#"[0]: "1" and "x""#),
        ] {
            assert_eq!(difference(&one, &other).as_deref(), Some(said));
        }
    }
}
