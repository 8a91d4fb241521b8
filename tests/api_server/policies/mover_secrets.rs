//! Secrets of the operator's are for movers alone.

use serde_json::{Value, json};
use tray_domain::names;
use tray_operator::resources::mover_job::{restore_job_name, snapshot_job_name};

use super::{
    binding::WAITING,
    cases::{Case, change, create},
    debug_containers, holds, pod_pinning, pods,
    world::{BARE, ORG, PLAIN, STAFF, Who, world},
};
use crate::{edit::with, support::api_server::eventually};

pub(super) const POLICY: &str = "tray-mover-secrets";

/// A mover of the world that is not named like one: what keeps debug containers out of it is not its name.
pub(super) const MARKED: &str = "marked";
/// A Deployment in the org's namespace from before the policy.
pub(super) const TAKING: &str = "taking";

const JOBS: Who = Who::Controller("job-controller");
const ENVIRONMENT: &str = "env and envFrom of containers must not take from";
const VOLUMES: &str = ".volumes must not refer to";
const PULLING: &str = ".imagePullSecrets must not name";

/// Names that movers' Jobs have or had.
pub(super) fn jobs() -> [String; 3] {
    let run = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
    let part = names::OBJECTS_PART.parse().unwrap();
    let uid = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    [
        snapshot_job_name(&run, &part),
        restore_job_name(uid, &part),
        format!("prune-{uid}"),
    ]
}

/// Names that movers' Secrets have or had, and that of the webhook token.
fn taken() -> Vec<String> {
    let jobs = jobs();
    let renamed = jobs.clone().map(|job| format!("tray-mover-{job}"));
    let mut taken = vec![names::WEBHOOK_TOKEN_SECRET.to_owned()];
    taken.extend(jobs);
    taken.extend(renamed);
    taken
}

/// Ways into the environment: a container's field, and its value.
fn environment(secret: &str) -> [(&'static str, Value); 2] {
    let key = json!({"name": secret, "key": "task.json", "optional": true});
    [
        (
            "envFrom",
            json!([{"configMapRef": {"name": "a"}}, {"secretRef": {"name": secret}}]),
        ),
        (
            "env",
            json!([{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"secretKeyRef": key}}]),
        ),
    ]
}

/// Every volume that refers to a Secret, but inline CSI volumes.
fn volumes(secret: &str) -> Vec<Value> {
    let named = json!({"name": secret});
    vec![
        json!({"secret": {"secretName": secret}}),
        json!({"projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": named}]}}),
        json!({"azureFile": {"secretName": secret, "shareName": "s"}}),
        json!({"cephfs": {"monitors": ["m"], "secretRef": named}}),
        json!({"cinder": {"volumeID": "v", "secretRef": named}}),
        json!({"flexVolume": {"driver": "d/d", "secretRef": named}}),
        json!({"iscsi": {"targetPortal": "1.2.3.4", "iqn": "iqn.2026-01.example.com:a", "lun": 0, "secretRef": named}}),
        json!({"rbd": {"monitors": ["m"], "image": "i", "secretRef": named}}),
        json!({"scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": named}}),
        json!({"storageos": {"volumeName": "v", "secretRef": named}}),
    ]
}

fn with_volume(mut volume: Value) -> Value {
    volume["name"] = "v".into();
    with(
        pods::spec(),
        "/volumes",
        json!([{"name": "scratch", "emptyDir": {}}, volume]),
    )
}

fn pulling(secret: &str) -> Value {
    with(
        pods::spec(),
        "/imagePullSecrets",
        json!([{"name": "own"}, {"name": secret}]),
    )
}

pub(super) fn cases() -> Vec<Case> {
    let pod = |namespace: &str, spec: &Value| create(pods::path(namespace), pods::pod(spec));
    let mut cases = Vec::new();
    for secret in taken() {
        for (field, value) in environment(&secret) {
            for sort in ["containers", "initContainers"] {
                let mut container = with(
                    pods::spec()["containers"][0].clone(),
                    &format!("/{field}"),
                    value.clone(),
                );
                container["name"] = "second".into();
                let mut spec = pods::spec();
                match spec[sort].as_array_mut() {
                    Some(containers) => containers.push(container),
                    None => spec[sort] = json!([container]),
                }
                cases.push(pod(PLAIN, &spec).passes_for(Who::Admin));
                cases.push(pod(ORG, &spec).refused_to(Who::Admin, ENVIRONMENT));
                cases.push(pod(ORG, &spec).refused_to(Who::Operator, ENVIRONMENT));
                cases.push(pod(ORG, &spec).refused_to(Who::Controller("replicaset-controller"), ENVIRONMENT));
                let mover = with(spec, "/serviceAccountName", json!("tray-mover"));
                cases.push(pod(ORG, &mover).passes_for(JOBS));
            }
        }
        // PodSecurity lets few of these volumes in, where its labels are.
        for volume in volumes(&secret) {
            let spec = with_volume(volume);
            cases.push(pod(PLAIN, &spec).passes_for(Who::Admin));
            cases.push(pod(BARE, &spec).refused_to(Who::Admin, VOLUMES));
            let mover = with(spec, "/priorityClassName", json!("tray-mover"));
            cases.push(pod(BARE, &mover).passes_for(JOBS));
        }
        cases.push(pod(ORG, &pulling(&secret)).refused_to(Who::Admin, PULLING));
    }
    cases.extend(of_the_orgs_own());
    cases.extend(in_templates());
    cases.extend(from_before());
    cases
}

fn of_the_orgs_own() -> Vec<Case> {
    let pod = |spec: &Value| create(pods::path(BARE), pods::pod(spec)).passes_for(Who::Admin);
    let mut cases = Vec::new();
    for secret in [
        "own",
        "stray-keys",
        "snap-shots",
        "restore-keys-2026",
        "prune-1234567g",
    ] {
        for (field, value) in environment(secret) {
            cases.push(pod(&with(pods::spec(), &format!("/containers/0/{field}"), value)));
        }
        for volume in volumes(secret) {
            cases.push(pod(&with_volume(volume)));
        }
        cases.push(pod(&pulling(secret)));
    }
    cases
}

fn in_templates() -> Vec<Case> {
    let mut cases = Vec::new();
    let secret = taken().swap_remove(1);
    let [(field, value), _] = environment(&secret);
    let taking = with(pods::spec(), &format!("/containers/0/{field}"), value);
    let mounting = with_volume(json!({"secret": {"secretName": secret}}));
    for (spec, words) in [
        (taking, ENVIRONMENT),
        (mounting, VOLUMES),
        (pulling(&secret), PULLING),
    ] {
        for ask in pods::templates(ORG, &spec, &json!({})) {
            let at = if ask.path.ends_with("/cronjobs") {
                "spec.jobTemplate.spec.template.spec"
            } else {
                "spec.template.spec"
            };
            cases.push(ask.clone().refused_to(Who::Admin, words));
            cases.push(ask.refused_to(Who::Operator, at));
        }
        for ask in pods::templates(PLAIN, &spec, &json!({})) {
            cases.push(ask.passes_for(Who::Admin));
        }
        // A mover's Job is the operator's.
        let mover = with(spec, "/serviceAccountName", json!("tray-mover"));
        for ask in pods::templates(ORG, &mover, &json!({})) {
            if ask.path.ends_with("/jobs") {
                cases.push(ask.passes_for(Who::Operator));
            }
        }
    }
    cases
}

fn from_before() -> Vec<Case> {
    let deployment = format!("/apis/apps/v1/namespaces/{ORG}/deployments/{TAKING}");
    let pod = format!("{}/{}", pods::path(ORG), pods::FROM_BEFORE);
    let other = json!({"spec": {"template": {"spec": {"hostname": "other"}}}});
    let mut containers = pods::from_before()["spec"]["containers"].clone();
    containers[0]["image"] = "other:1".into();
    vec![
        change(deployment.clone(), json!({"spec": {"replicas": 0}})).passes_for(Who::Admin),
        change(deployment, other).refused_to(Who::Admin, PULLING),
        change(pod.clone(), json!({"metadata": {"labels": {"a": "b"}}})).passes_for(Who::Admin),
        change(pod, json!({"spec": {"containers": containers}})).refused_to(Who::Admin, VOLUMES),
        // Debug containers come into it all the same.
        pods::debug(ORG, pods::FROM_BEFORE, &[pods::old_debugger(), pods::debugger()])
            .passes_for(Who::In(STAFF[0])),
    ]
}

#[tokio::test]
async fn p3_no_pod_but_a_mover_has_what_movers_work_with() {
    holds(POLICY).await;
}

#[tokio::test]
async fn p3_what_other_policies_refuse_for_every_name_is_refused_without_them() {
    let world = world().await;
    let csi = |secret: &str| {
        let volume = json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": secret}}});
        create(pods::path(BARE), pods::pod(&with_volume(volume)))
    };
    let debug = |pod: &str, secret: &str| {
        let from = json!([{"secretRef": {"name": secret}}]);
        pods::debug(ORG, pod, &[with(pods::debugger(), "/envFrom", from)])
    };
    let support = Who::In(STAFF[0]);
    for (other, who, own, taken, words) in [
        (
            pod_pinning::POLICY,
            Who::Admin,
            csi("own"),
            csi("tray-webhook-token"),
            VOLUMES,
        ),
        (
            debug_containers::POLICY,
            support,
            debug(WAITING, "own"),
            debug(MARKED, "tray-webhook-token"),
            ENVIRONMENT,
        ),
    ] {
        let work = async || {
            let refused = eventually(async || world.dry_run(who, &taken).await.err()).await;
            let said = refused.expect("it is let through").message;
            assert!(said.contains(POLICY) && said.contains(words), "{said}");
        };
        world.without(other, who, &own, work).await;
    }
}
