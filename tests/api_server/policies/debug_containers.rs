//! A debug container is no way to Secrets.

use serde_json::{Value, json};

use super::{
    binding::WAITING,
    cases::Case,
    holds, pods,
    world::{ORG, PLAIN, STAFF, Who},
};
use crate::edit::with;

pub(super) const POLICY: &str = "tray-debug-containers";

pub(super) fn cases() -> Vec<Case> {
    let support = Who::In(STAFF[0]);
    let bring = |pointer: &str, value: Value| {
        let container = with(pods::debugger(), pointer, value);
        pods::debug(ORG, WAITING, &[container])
    };
    let beside = |pointer: &str, value: Value| {
        let container = with(pods::debugger(), pointer, value);
        pods::debug(ORG, pods::FROM_BEFORE, &[pods::old_debugger(), container])
    };
    let mount = |volumes: &[&str]| -> Value {
        let mounts = volumes
            .iter()
            .map(|volume| json!({"name": volume, "mountPath": format!("/{volume}")}));
        mounts.collect()
    };
    let taking = "debug container look must not set envFrom or env[].valueFrom";
    let mounting = "debug container look must not mount the pod's volumes keys, settings, all, self, inline";
    let mut cases = vec![
        pods::debug(ORG, WAITING, &[pods::debugger()]).passes_for(support),
        bring("/env", json!([{"name": "A", "value": "b"}])).passes_for(support),
        beside("/volumeMounts", mount(&[pods::SCRATCH])).passes_for(support),
        beside("/image", json!("i:2")).passes_for(Who::Operator),
    ];
    let keys = json!({"name": "keys", "key": "k"});
    for pointer in ["secretRef", "configMapRef"] {
        let from = json!([{pointer: {"name": "keys", "optional": true}}]);
        cases.push(bring("/envFrom", from.clone()).refused_to(support, taking));
        cases.push(bring("/envFrom", from.clone()).refused_to(Who::Operator, taking));
        let elsewhere = with(pods::debugger(), "/envFrom", from);
        cases.push(pods::debug(PLAIN, WAITING, &[elsewhere]).passes_for(Who::Admin));
    }
    for from in [
        json!({"secretKeyRef": keys}),
        json!({"configMapKeyRef": keys}),
        json!({"fieldRef": {"fieldPath": "metadata.annotations['a']"}}),
        json!({"resourceFieldRef": {"containerName": "main", "resource": "limits.memory"}}),
    ] {
        let env = json!([{"name": "A", "value": "b"}, {"name": "B", "valueFrom": from}]);
        cases.push(bring("/env", env).refused_to(support, taking));
    }
    for volume in pods::GIVEN {
        let both = mount(&[pods::SCRATCH, volume]);
        cases.push(beside("/volumeMounts", both).refused_to(support, mounting));
    }
    // The one that is wrong is named, and not those that were there.
    let wrong = with(
        with(pods::debugger(), "/name", json!("second")),
        "/envFrom",
        json!([{"secretRef": {"name": "keys"}}]),
    );
    let three = [pods::old_debugger(), pods::debugger(), wrong];
    cases.push(
        pods::debug(ORG, pods::FROM_BEFORE, &three).refused_to(support, "debug container second must not"),
    );
    cases
}

#[tokio::test]
async fn p17_a_debug_container_is_given_nothing_that_support_may_not_read() {
    holds(POLICY).await;
}
