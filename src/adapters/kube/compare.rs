//! Whether a live object is what was wanted, and the patch that makes it so.
//!
//! A wanted body mentions what matters; the server adds defaults to it. So a live object *covers* a wanted body when
//! everything the body mentions reads the same, every `null` of it is absent, and lists have the same length: those
//! that the API merges by a key ([`KEYED_LISTS`]) in any order, all others in this one. A few maps are ours as a whole
//! ([`WHOLE_MAPS`]), and a few fields with all that is in them ([`WHOLE_TREES`]): what the body does not mention in
//! them must not be there.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};
use tray_domain::quantity::milli;

/// Maps that the server adds nothing to: selectors, quotas, what a ConfigMap says, and the resources of containers (those
/// of pods it does add to, but pods are not children).
const WHOLE_MAPS: &[&str] = &[
    "nodeSelector",
    "selector",
    "podSelector",
    "namespaceSelector",
    "matchLabels",
    "hard",
    "resources",
    "limits",
    "requests",
    "data",
];
/// Fields that the server adds nothing to, however deep: who may reach whom and who may do what. One peer more in a rule
/// of a NetworkPolicy, or one field more in a peer, opens what should be closed.
const WHOLE_TREES: &[&str] = &[
    "ingress",
    "egress",
    "podSelector",
    "roleRef",
    "subjects",
    "scopeSelector",
];
/// Lists whose items the API finds by a field, whatever their order.
const KEYED_LISTS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "name"),
];
/// Fields under which texts are quantities: the server writes `1024Mi` as `1Gi`.
const QUANTITIES: &[&str] = &[
    "hard",
    "limits",
    "requests",
    "default",
    "defaultRequest",
    "max",
    "min",
    "sizeLimit",
];

/// The value of a Service's `clusterIP` that is no address.
const HEADLESS: &str = "None";

/// A number that is the same for the same.
pub fn digest(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The first field of `live` that is not as `wanted` says, as a path; none where `live` covers `wanted`.
pub fn difference(wanted: &Value, live: &Value) -> Option<String> {
    differs(wanted, live, &mut Vec::new())
}

/// The same of one field, given as a path: the first in it that differs. None also where `wanted` does not mention it.
pub fn difference_at(field: &str, wanted: &Value, live: &Value) -> Option<String> {
    let mut path: Vec<&str> = field.split('.').collect();
    let mut wanted = wanted;
    for name in &path {
        wanted = wanted.as_object()?.get(*name)?;
    }
    let live = path.iter().fold(live, |live, name| &live[*name]);
    differs(wanted, live, &mut path)
}

fn differs<'a>(wanted: &'a Value, live: &Value, path: &mut Vec<&'a str>) -> Option<String> {
    let here = |path: &[&str]| Some(path.join("."));
    match (wanted, live) {
        // The server leaves empty maps and lists out.
        (Value::Null, empty) | (empty, Value::Null) if is_empty(empty, path) => None,
        // Any address: which one is the server's to choose.
        (Value::Null, Value::String(address)) if path.last() == Some(&"clusterIP") && address != HEADLESS => {
            None
        }
        (Value::Object(wanted), Value::Object(live)) => {
            if is_whole(path) && live.keys().any(|key| !wanted.contains_key(key)) {
                return here(path);
            }
            for (key, wanted) in wanted {
                path.push(key);
                let found = differs(wanted, live.get(key).unwrap_or(&Value::Null), path);
                path.pop();
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        (Value::Array(wanted), Value::Array(live)) => {
            if wanted.len() != live.len() {
                return here(path);
            }
            let key = path.last().and_then(|field| key_of(field));
            // An item is no map of that name: the items of a LimitRange's `limits` get defaults.
            path.push("[]");
            let found = wanted.iter().zip(live).find_map(|(wanted, opposite)| {
                differs(wanted, namesake(wanted, live, key).unwrap_or(opposite), path)
            });
            path.pop();
            found
        }
        (wanted, live) if wanted == live => None,
        (wanted, live) if is_quantity(path) && same_quantity(wanted, live) => None,
        _ => here(path),
    }
}

fn is_whole(path: &[&str]) -> bool {
    path.last().is_some_and(|field| WHOLE_MAPS.contains(field)) || in_whole_tree(path)
}

fn in_whole_tree(path: &[&str]) -> bool {
    path.iter().any(|field| WHOLE_TREES.contains(field))
}

fn key_of(list: &str) -> Option<&'static str> {
    KEYED_LISTS
        .iter()
        .find(|(name, _)| *name == list)
        .map(|(_, key)| *key)
}

/// The live item that the API takes for `wanted`; none where the list has no key, or no such item.
fn namesake<'l>(wanted: &Value, live: &'l [Value], key: Option<&str>) -> Option<&'l Value> {
    let key = key?;
    let name = wanted.get(key)?;
    live.iter().find(|item| item.get(key) == Some(name))
}

/// Whether the value says as much as none. An empty selector in a rule does not: it selects everything.
fn is_empty(value: &Value, path: &[&str]) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => !in_whole_tree(path) && map.values().all(|value| is_empty(value, path)),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn is_quantity(path: &[&str]) -> bool {
    path.iter().any(|field| QUANTITIES.contains(field))
}

fn same_quantity(one: &Value, other: &Value) -> bool {
    let amount = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        milli(&text)
    };
    amount(one).is_some_and(|one| amount(other) == Some(one))
}

/// `wanted` without its nulls: what is posted.
pub fn without_nulls(wanted: &Value) -> Value {
    match wanted {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// JSON merge patch that makes an object cover `wanted`: the whole body, with null for what must not be there, and the
/// UID as precondition. `live` is the object as last read, where it is at hand.
pub fn patch(wanted: &Value, live: Option<&Value>, uid: &str) -> Value {
    let mut patch = wanted.clone();
    if let Some(live) = live {
        clear(&mut patch, live, &mut Vec::new());
    }
    drop_nulls_in_lists(&mut patch);
    if let Some(metadata) = patch
        .as_object_mut()
        .map(|fields| fields.entry("metadata").or_insert_with(|| json!({})))
    {
        metadata["uid"] = Value::from(uid);
    }
    patch
}

/// Null for what `live` has where all is ours.
fn clear<'a>(patch: &mut Value, live: &'a Value, path: &mut Vec<&'a str>) {
    let (Value::Object(patch), Value::Object(live)) = (patch, live) else {
        return;
    };
    let whole = is_whole(path);
    for (key, live) in live {
        if let Some(wanted) = patch.get_mut(key) {
            path.push(key);
            clear(wanted, live, path);
            path.pop();
        } else if whole {
            patch.insert(key.clone(), Value::Null);
        }
    }
}

/// A merge patch replaces lists as a whole: a null in one would be stored.
fn drop_nulls_in_lists(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(drop_nulls_in_lists),
        Value::Array(items) => {
            for item in items {
                *item = without_nulls(item);
            }
        }
        _ => {}
    }
}

/// RFC 7386 patch from `old` to `new`: only what differs, null for what is gone; none where nothing differs.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in after {
        let before = before.get(key).unwrap_or(&Value::Null);
        if let Some(change) = merge_diff(before, value) {
            patch.insert(key.clone(), change);
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_server_are_no_drift_and_changes_are() {
        let wanted = json!({"spec": {"replicas": 2, "paused": null, "list": [{"a": 1}], "empty": {}}});
        let same =
            json!({"spec": {"replicas": 2, "list": [{"a": 1, "default": true}], "revisionHistoryLimit": 10}});
        assert_eq!(difference(&wanted, &same), None);
        for (live, path) in [
            (
                json!({"spec": {"replicas": 3, "list": [{"a": 1}]}}),
                "spec.replicas",
            ),
            (json!({"spec": {"replicas": 2, "list": []}}), "spec.list"),
            (
                json!({"spec": {"replicas": 2, "list": [{"a": 1}], "paused": true}}),
                "spec.paused",
            ),
            (json!({}), "spec.replicas"),
        ] {
            let found = difference(&wanted, &live);
            assert!(
                found.as_deref().is_some_and(|p| path.starts_with(p)),
                "{live}: {found:?}"
            );
        }
    }

    #[test]
    fn a_service_that_is_not_headless_has_any_address_and_not_none() {
        let service = |address: Value| json!({"spec": {"clusterIP": address}});
        let (any, headless) = (service(Value::Null), service("None".into()));
        for (wanted, live, field) in [
            (&any, service("10.0.0.7".into()), None),
            (&any, json!({"spec": {}}), None),
            (&any, service("None".into()), Some("spec.clusterIP")),
            (&headless, service("None".into()), None),
            (&headless, service("10.0.0.7".into()), Some("spec.clusterIP")),
        ] {
            assert_eq!(difference(wanted, &live).as_deref(), field, "{wanted} {live}");
            assert_eq!(
                difference_at("spec.clusterIP", wanted, &live).as_deref(),
                field,
                "{wanted} {live}"
            );
        }
    }

    #[test]
    fn one_field_is_compared_as_it_is_in_the_whole() {
        let claims =
            |size: &str| json!({"spec": {"templates": [{"resources": {"requests": {"storage": size}}}]}});
        let at = |wanted: &Value, live: &Value| difference_at("spec.templates", wanted, live);
        assert_eq!(at(&claims("1024Mi"), &claims("1Gi")), None, "as quantities");
        let found = at(&claims("1Gi"), &claims("2Gi"));
        assert_eq!(
            found.as_deref(),
            Some("spec.templates.[].resources.requests.storage")
        );
        assert_eq!(at(&json!({"spec": {}}), &claims("1Gi")), None, "not mentioned");
        let none = json!({"spec": {"templates": null}});
        assert_eq!(at(&none, &claims("1Gi")).as_deref(), Some("spec.templates"));
        assert_eq!(at(&none, &json!({"spec": {"replicas": 1}})), None);
    }

    #[test]
    fn quantities_are_compared_by_amount_only_where_they_are_quantities() {
        let pod = |amount: &str| json!({"resources": {"requests": {"memory": amount}}});
        assert_eq!(difference(&pod("1024Mi"), &pod("1Gi")), None);
        assert!(difference(&pod("1024Mi"), &pod("2Gi")).is_some());
        assert!(difference(&json!({"value": "1000m"}), &json!({"value": "1"})).is_some());
    }

    #[test]
    fn a_selector_that_somebody_widened_is_drift_and_is_narrowed_again() {
        let wanted = json!({"spec": {"nodeSelector": {"region": "eu"}}});
        let live = json!({"spec": {"nodeSelector": {"region": "eu", "disk": "fast"}, "replicas": 1}});
        assert_eq!(difference(&wanted, &live).as_deref(), Some("spec.nodeSelector"));
        assert_eq!(
            patch(&wanted, Some(&live), "u"),
            json!({"metadata": {"uid": "u"}, "spec": {"nodeSelector": {"region": "eu", "disk": null}}})
        );
    }

    #[test]
    fn a_rule_that_somebody_opened_further_is_drift_however_deep() {
        let policy = |peer: Value| json!({"spec": {"ingress": [{"from": [peer]}]}});
        let own = json!({"podSelector": {"matchLabels": {"a": "b"}}});
        let wanted = policy(own.clone());
        assert_eq!(difference(&wanted, &policy(own.clone())), None);
        let mut everywhere = own;
        everywhere["namespaceSelector"] = json!({});
        assert_eq!(
            difference(&wanted, &policy(everywhere)).as_deref(),
            Some("spec.ingress.[].from.[]"),
            "an empty selector selects everything: it is not the same as none"
        );
        let subjects = |subject: Value| json!({"subjects": [subject]});
        let group = json!({"kind": "Group", "name": "a"});
        let elsewhere = json!({"kind": "Group", "name": "a", "namespace": "n"});
        assert!(difference(&subjects(group), &subjects(elsewhere)).is_some());
    }

    #[test]
    fn lists_with_a_key_may_be_in_any_order_and_others_may_not() {
        let pod = |list: &str, items: [Value; 2]| json!({list: items});
        let (a, b) = (
            json!({"name": "a", "value": "1"}),
            json!({"name": "b", "value": "2"}),
        );
        let (first, second) = (
            pod("env", [a.clone(), b.clone()]),
            pod("env", [b.clone(), a.clone()]),
        );
        assert_eq!(difference(&first, &second), None);
        let renamed = pod("env", [b.clone(), json!({"name": "c", "value": "1"})]);
        assert!(difference(&first, &renamed).is_some());
        assert!(difference(&pod("args", [a.clone(), b.clone()]), &pod("args", [b, a])).is_some());
    }

    #[test]
    fn defaults_of_a_limit_range_are_no_drift() {
        let wanted = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}});
        let live = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "2"}}]}});
        assert_eq!(difference(&wanted, &live), None);
    }

    #[test]
    fn a_limit_that_somebody_added_to_a_container_is_drift() {
        let container = |resources: Value| json!({"containers": [{"name": "a", "resources": resources}]});
        let wanted = container(json!({"requests": {"cpu": "100m"}}));
        let with_default = container(json!({"requests": {"cpu": "0.1"}}));
        assert_eq!(difference(&wanted, &with_default), None);
        for added in [
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}),
            json!({"requests": {"cpu": "100m", "memory": "1Gi"}}),
        ] {
            assert!(difference(&wanted, &container(added)).is_some());
        }
    }

    #[test]
    fn nulls_are_not_posted_and_not_put_into_lists() {
        let wanted = json!({"spec": {"paused": null, "containers": [{"name": "a", "limits": null}]}});
        assert_eq!(
            without_nulls(&wanted),
            json!({"spec": {"containers": [{"name": "a"}]}})
        );
        assert_eq!(
            patch(&wanted, None, "u"),
            json!({"metadata": {"uid": "u"}, "spec": {"paused": null, "containers": [{"name": "a"}]}})
        );
    }

    #[test]
    fn a_merge_patch_holds_what_differs_and_nothing_else() {
        let old = json!({"a": 1, "gone": {"x": 1}, "map": {"same": 1, "new": 2}, "list": [1]});
        let new = json!({"a": 1, "map": {"same": 1, "new": 3}, "list": [1, 2]});
        assert_eq!(
            merge_diff(&old, &new),
            Some(json!({"gone": null, "map": {"new": 3}, "list": [1, 2]}))
        );
        assert_eq!(merge_diff(&new, &new), None);
    }
}
