//! What never changes on a living object.

use kube::core::Status;
use serde_json::Value;

use super::{failure, kinds::ServedKind, object};

/// What may change in the spec of a StatefulSet.
const OF_STATEFUL_SETS: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Refuses a change of what never changes, with a cause that names the field.
pub(super) fn check(kind: &ServedKind, old: &Value, new: &Value) -> Result<(), Box<Status>> {
    let name = object::text(old, "name").unwrap_or_default();
    let forbid =
        |field: &str, why: &str| Err(failure::invalid(kind, name, "FieldValueForbidden", field, why));
    let before = object::finalizers(old);
    let is_new = |finalizer: &String| !before.contains(finalizer);
    if object::is_terminating(old) && object::finalizers(new).iter().any(is_new) {
        return forbid(
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted",
        );
    }
    let is_fixed = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|field, _| !OF_STATEFUL_SETS.contains(&field.as_str()));
        spec
    };
    match kind.resource().as_str() {
        "statefulsets.apps" if is_fixed(old) != is_fixed(new) => forbid(
            "spec",
            "updates to statefulset spec for fields other than those that may change are forbidden",
        ),
        "configmaps" | "secrets" if old["immutable"] == true => {
            for field in ["data", "binaryData", "immutable"] {
                if old[field] != new[field] {
                    return forbid(field, "field is immutable when `immutable` is set");
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
