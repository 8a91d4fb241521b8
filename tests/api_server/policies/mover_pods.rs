//! The movers' identity, priority and label are for Jobs of the operator.

use serde_json::{Value, json};

use super::{
    binding::WAITING,
    cases::{Case, change, create},
    holds,
    mover_exec::MOVER,
    pods,
    world::{ORG, PLAIN, Who},
};
use crate::edit::with;

pub const POLICY: &str = "tray-mover-pods";

/// A Job of the world that was not started.
pub const SUSPENDED: &str = "suspended";

const JOBS: Who = Who::Controller("job-controller");

pub fn cases() -> Vec<Case> {
    let pod = |pointer: &str, value: &str| with(pods::pod(&pods::spec()), pointer, json!(value));
    let label = "/metadata/labels/platform.tray.ai~1component";
    let ways = [
        ("/spec/serviceAccountName", "tray-mover"),
        ("/spec/priorityClassName", "tray-mover"),
        (label, "mover"),
    ];
    let words = "are for Jobs of tray-operator, not for";
    let mut cases = Vec::new();
    for (pointer, value) in ways {
        let create = |namespace: &str| create(pods::path(namespace), pod(pointer, value));
        cases.push(create(ORG).passes_for(JOBS));
        cases.push(create(PLAIN).passes_for(Who::Admin));
        cases.push(create(ORG).refused_to(Who::Admin, words));
        cases.push(create(ORG).refused_to(Who::Controller("replicaset-controller"), words));
    }
    cases.push(
        create(pods::path(ORG), pod("/spec/serviceAccountName", "tray-workload")).passes_for(Who::Admin),
    );
    let marked = json!({"platform.tray.ai/component": "mover"});
    let plain = json!({});
    let mover = with(pods::spec(), "/serviceAccountName", json!("tray-mover"));
    let first = with(pods::spec(), "/priorityClassName", json!("tray-mover"));
    for (spec, labels) in [(&mover, &plain), (&first, &plain), (&pods::spec(), &marked)] {
        for ask in pods::templates(ORG, spec, labels) {
            // Even the operator makes movers by Jobs alone.
            let job = ask.path.ends_with("/jobs");
            cases.push(if job {
                ask.clone().passes_for(Who::Operator)
            } else {
                ask.clone().refused_to(Who::Operator, words)
            });
            cases.push(
                ask.clone()
                    .refused_to(Who::Controller("cronjob-controller"), words),
            );
            cases.push(ask.refused_to(Who::Admin, words));
        }
        for ask in pods::templates(PLAIN, spec, labels) {
            cases.push(ask.passes_for(Who::Admin));
        }
    }
    for ask in pods::templates(ORG, &pods::spec(), &plain) {
        cases.push(ask.passes_for(Who::Admin));
    }

    let label = |namespace: &str, pod: &str, labels: &Value| {
        change(
            format!("{}/{pod}", pods::path(namespace)),
            json!({"metadata": {"labels": labels}}),
        )
    };
    cases.push(label(PLAIN, WAITING, &marked).passes_for(Who::Admin));
    cases.push(label(ORG, WAITING, &json!({"a": "b"})).passes_for(Who::Admin));
    cases.push(label(ORG, WAITING, &marked).refused_to(Who::Admin, words));
    cases.push(label(ORG, MOVER, &json!({"a": "b"})).passes_for(Who::Admin));
    let image = |namespace: &str, pod: &str| {
        let mut containers = pods::spec()["containers"].clone();
        containers[0]["image"] = json!("other:1");
        change(
            format!("{}/{pod}", pods::path(namespace)),
            json!({"spec": {"containers": containers}}),
        )
    };
    cases.push(image(PLAIN, MOVER).passes_for(Who::Admin));
    cases.push(image(ORG, WAITING).passes_for(Who::Admin));
    for who in [Who::Admin, Who::Operator, JOBS] {
        cases.push(image(ORG, MOVER).refused_to(who, "the images of mover snap-1 never change"));
    }
    // The template of a Job that waits can be changed, too.
    let job = json!({"spec": {"template": {"metadata": {"labels": marked}}}});
    let waiting = format!("/apis/batch/v1/namespaces/{ORG}/jobs/{SUSPENDED}");
    cases.push(change(waiting, job).refused_to(Who::Admin, words));
    cases
}

#[tokio::test]
async fn p4_nobody_but_the_operator_runs_what_the_network_opens_for_movers() {
    holds(POLICY).await;
}
