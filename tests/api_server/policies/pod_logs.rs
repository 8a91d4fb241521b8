//! Logs of an org do not come into the status of its pods.

use serde_json::{Value, json};

use super::{
    binding::WAITING,
    cases::{Case, change, create},
    holds, pods,
    world::{BARE, ORG, PLAIN, STAFF, Who},
};
use crate::edit::with;

pub(super) const POLICY: &str = "tray-pod-logs";

/// A Deployment in the org's namespace from before the policy.
pub(super) const TELLING: &str = "telling";

const COPIED: &str = "FallbackToLogsOnError";

pub(super) fn cases() -> Vec<Case> {
    let support = Who::In(STAFF[0]);
    let policy = |value: &str| {
        with(
            pods::spec(),
            "/containers/0/terminationMessagePolicy",
            json!(value),
        )
    };
    let beside = |sort: &str| {
        let mut second = policy(COPIED)["containers"][0].clone();
        second["name"] = "second".into();
        let mut spec = pods::spec();
        match spec[sort].as_array_mut() {
            Some(containers) => containers.push(second),
            None => spec[sort] = json!([second]),
        }
        spec
    };
    let pod = |namespace: &str, spec: &Value| create(pods::path(namespace), pods::pod(spec));
    let words = "must not be FallbackToLogsOnError, which copies the org's logs into the pod's status";
    let mut cases = vec![
        pod(ORG, &policy("File")).passes_for(Who::Admin),
        pod(PLAIN, &policy(COPIED)).passes_for(Who::Admin),
        pod(ORG, &policy(COPIED)).refused_to(
            Who::Admin,
            "spec: terminationMessagePolicy of container main must not be FallbackToLogsOnError",
        ),
        pod(BARE, &policy(COPIED)).refused_to(Who::Operator, words),
        pod(BARE, &policy(COPIED)).refused_to(Who::Controller("replicaset-controller"), words),
        pod(ORG, &beside("containers")).refused_to(Who::Admin, "of container second must not be"),
        pod(ORG, &beside("initContainers")).refused_to(Who::Admin, "of container second must not be"),
    ];
    for ask in pods::templates(ORG, &policy("File"), &json!({})) {
        cases.push(ask.passes_for(Who::Operator));
    }
    for ask in pods::templates(PLAIN, &policy(COPIED), &json!({})) {
        cases.push(ask.passes_for(Who::Admin));
    }
    for spec in [policy(COPIED), beside("initContainers")] {
        for ask in pods::templates(ORG, &spec, &json!({})) {
            cases.push(ask.clone().refused_to(Who::Admin, words));
            cases.push(ask.refused_to(Who::Operator, words));
        }
    }
    // Movers as well: what they say in the end is in a file.
    let mover = with(policy(COPIED), "/serviceAccountName", json!("tray-mover"));
    cases.push(pod(ORG, &mover).refused_to(Who::Controller("job-controller"), words));

    let telling = with(pods::debugger(), "/terminationMessagePolicy", json!(COPIED));
    cases.push(pods::debug(ORG, WAITING, std::slice::from_ref(&telling)).refused_to(support, words));
    let old = pods::old_debugger();
    cases.push(pods::debug(ORG, pods::FROM_BEFORE, &[old.clone(), pods::debugger()]).passes_for(support));
    cases.push(
        pods::debug(ORG, pods::FROM_BEFORE, &[old, telling]).refused_to(support, "of container look must"),
    );

    let before = format!("/apis/apps/v1/namespaces/{ORG}/deployments/{TELLING}");
    cases.push(change(before.clone(), json!({"spec": {"replicas": 0}})).passes_for(Who::Admin));
    let other = json!({"spec": {"template": {"spec": {"hostname": "other"}}}});
    cases.push(
        change(before, other).refused_to(Who::Admin, "spec.template.spec: terminationMessagePolicy of"),
    );
    cases
}

#[tokio::test]
async fn p12_no_pod_of_an_org_copies_its_logs_into_its_status() {
    holds(POLICY).await;
}
