//! The movers' identity, priority and label are for Jobs of the operator.

use serde_json::{Value, json};

use super::{
    binding::WAITING,
    cases::{Case, change, create},
    holds,
    mover_exec::MOVER,
    mover_secrets, pods,
    world::{Ask, ORG, PLAIN, Who},
};
use crate::edit::with;

pub(super) const POLICY: &str = "tray-mover-pods";

/// A Job of the world that was not started.
pub(super) const SUSPENDED: &str = "suspended";
/// A Job of the world from before the policies: named and labelled like a mover's, and held by a finalizer.
pub(super) const TAKEN: &str = "snap-01arz3ndektsv4rrffq69g5fav-db";

const LABEL: &str = "platform.tray.ai/component";
const JOBS: Who = Who::Controller("job-controller");

pub(super) fn cases() -> Vec<Case> {
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
    let marked = json!({LABEL: "mover"});
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
    cases.extend(of_jobs());
    cases.extend(of_jobs_that_are_there());
    cases
}

/// Creates a Job (or CronJob, by its plural) in `namespace` with that value at `pointer`, and no more of a mover.
fn job(namespace: &str, plural: &str, pointer: &str, value: Value) -> Ask {
    let asks = pods::templates(namespace, &pods::spec(), &json!({}));
    let end = format!("/{plural}");
    let mut ask = asks.into_iter().find(|ask| ask.path.ends_with(&end)).unwrap();
    ask.body = with(ask.body, pointer, value);
    ask
}

/// What the operator would take for the Job of a mover, or a CronJob that makes such.
fn of_jobs() -> Vec<Case> {
    let words = "that is for movers of tray-operator, not for";
    let mut cases = Vec::new();
    let named =
        |namespace: &str, plural: &str, name: &str| job(namespace, plural, "/metadata/name", json!(name));
    for name in mover_secrets::jobs() {
        let mut generated = job(ORG, "jobs", "/metadata/name", Value::Null);
        generated.body = with(
            generated.body,
            "/metadata/generateName",
            json!(format!("{name}-")),
        );
        cases.push(generated.refused_to(Who::Admin, "jobs with name"));
        cases.push(named(ORG, "jobs", &name).passes_for(Who::Operator));
        for plural in ["jobs", "cronjobs"] {
            cases.push(named(ORG, plural, &name).refused_to(Who::Admin, words));
            cases.push(named(ORG, plural, &name).refused_to(Who::Controller("cronjob-controller"), words));
            cases.push(named(PLAIN, plural, &name).passes_for(Who::Admin));
        }
    }
    // A CronJob's Jobs have minutes behind its name.
    for name in ["snap", "restore", "prune"] {
        cases
            .push(named(ORG, "cronjobs", name).refused_to(Who::Admin, "create an OrgSnapshot or OrgRestore"));
        cases.push(named(ORG, "jobs", name).passes_for(Who::Admin));
        let made = named(ORG, "jobs", &format!("{name}-29345678"));
        cases.push(made.refused_to(Who::Controller("cronjob-controller"), words));
    }
    for name in ["snap-shots", "restore-keys-2026", "prune-1234567g", "tray"] {
        for plural in ["jobs", "cronjobs"] {
            cases.push(named(ORG, plural, name).passes_for(Who::Admin));
        }
    }
    let label = LABEL.replace('/', "~1");
    for (plural, at) in [
        ("jobs", "/metadata/labels"),
        ("cronjobs", "/spec/jobTemplate/metadata/labels"),
    ] {
        let labelled =
            |namespace: &str, value: &str| job(namespace, plural, &format!("{at}/{label}"), json!(value));
        let words = "with label platform.tray.ai/component=mover: that is for movers of tray-operator";
        cases.push(labelled(ORG, "mover").refused_to(Who::Admin, words));
        cases.push(labelled(ORG, "mover").refused_to(Who::Controller("cronjob-controller"), words));
        cases.push(labelled(ORG, "mover").passes_for(Who::Operator));
        cases.push(labelled(ORG, "workload").passes_for(Who::Admin));
        cases.push(labelled(PLAIN, "mover").passes_for(Who::Admin));
    }
    cases
}

/// Whoever works on Jobs that are there can go on, and makes none of them a mover's.
fn of_jobs_that_are_there() -> Vec<Case> {
    let metadata = |of: &str, patch: Value| {
        let path = format!("/apis/batch/v1/namespaces/{ORG}/jobs/{of}");
        change(path, json!({"metadata": patch}))
    };
    let labelled = || metadata(SUSPENDED, json!({"labels": {LABEL: "mover"}}));
    vec![
        metadata(TAKEN, json!({"labels": {"a": "b"}})).passes_for(JOBS),
        metadata(TAKEN, json!({"finalizers": null})).passes_for(Who::Controller("generic-garbage-collector")),
        metadata(SUSPENDED, json!({"labels": {"a": "b"}})).passes_for(Who::Admin),
        labelled().refused_to(Who::Admin, "with label platform.tray.ai/component=mover"),
        labelled().refused_to(JOBS, "with label platform.tray.ai/component=mover"),
        labelled().passes_for(Who::Operator),
    ]
}

#[tokio::test]
async fn p4_nobody_but_the_operator_runs_what_the_network_opens_for_movers() {
    holds(POLICY).await;
}
