//! Snapshots and restores of an org are for those who have the right to them, on this very org.

use jiff::Timestamp;
use serde_json::{Value, json};
use tray_domain::{ids::RunId, schedule::snapshot_name, view};

use super::{
    cases::{Case, change, create, delete},
    delete_protection::UNPROTECTED,
    holds,
    world::{Ask, Who},
};
use crate::support::{chart, installed};

pub(super) const POLICY: &str = "tray-run-authority";

/// Has ClusterRole `tray-snapshot-requester`.
const SNAPSHOTS: Who = Who::Granted("sue", "snapshot-requesters");
/// Has ClusterRole `tray-restore-requester`.
const RESTORES: Who = Who::Granted("ron", "restore-requesters");
/// Has the role that the documentation has as an example, for acme alone.
const ONE_ORG: Who = Who::Granted("ann", "acme-oncall");
/// Writes TrayOrgs, OrgSnapshots and OrgRestores, and has no verb of ours.
const WRITER: Who = Who::Granted("wim", "writers");
/// The same, and ClusterRole `tray-snapshot-requester`.
const SNAPSHOT_WRITER: Who = Who::Granted("sam", "snapshot-writers");
/// Has every verb on TrayOrgs.
const EVERYTHING: Who = Who::Granted("eve", "everything");
const OPERATOR: Who = Who::Granted(installed::OPERATOR, "system:authenticated");
/// With more rights than the chart gives it: it is the policy that refuses.
const STRONGER_OPERATOR: Who = Who::Granted(installed::OPERATOR, "writers");
/// Deletes what lost its owner.
const GARBAGE: Who = Who::Granted(
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:authenticated",
);
/// An account in kube-system that may write our kinds.
const IN_KUBE_SYSTEM: Who = Who::Granted("system:serviceaccount:kube-system:somebody", "writers");

const RUNS: &str = "/apis/platform.tray.ai/v1alpha1";
/// An OrgSnapshot and an OrgRestore of acme, and those of another org.
pub(super) const OF_ACME: [&str; 2] = ["orgsnapshots/run", "orgrestores/back"];
pub(super) const OF_ANOTHER: [&str; 2] = ["orgsnapshots/other-run", "orgrestores/other-back"];

/// The roles and bindings of these people.
pub(super) fn rights() -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io";
    let group = "platform.tray.ai";
    let bind = |role: &str, people: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{role}-{people}")},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "Group", "name": people}]})
    };
    let role = |name: &str, rules: Value| -> Value {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
    };
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let runs = json!({"apiGroups": [group], "resources": ["orgsnapshots", "orgrestores"], "verbs": all});
    let mut objects = vec![
        role(
            "writer",
            json!([{"apiGroups": [group], "resources": ["trayorgs"], "verbs": all}, runs]),
        ),
        role(
            "everything",
            json!([{"apiGroups": [group], "resources": ["trayorgs"], "verbs": ["*"]}, runs]),
        ),
        bind("tray-snapshot-requester", "snapshot-requesters"),
        bind("tray-restore-requester", "restore-requesters"),
        bind("writer", "writers"),
        bind("writer", "snapshot-writers"),
        bind("tray-snapshot-requester", "snapshot-writers"),
        bind("everything", "everything"),
    ];
    objects.extend(documented());
    objects
}

/// What the documentation has whoever wants to give the rights for one org apply.
fn documented() -> Vec<Value> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/snapshots-and-restores.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page
        .split("```yaml\n")
        .find(|block| block.contains("resourceNames: [acme]"))
        .unwrap();
    let objects = chart::documents(example.split("```").next().unwrap());
    assert_eq!(objects.len(), 2, "a role and its binding");
    objects
}

fn new(kind: &str, name: &str, org: &str, more: Value) -> Ask {
    let plural = format!("{}s", kind.to_lowercase());
    let mut spec = json!({"orgRef": {"name": org}});
    if kind == "OrgRestore" {
        spec["snapshot"] = json!({"asOf": "2099-01-01T00:00:00Z"});
        spec["target"] = json!({"inPlace": true});
    }
    if let Value::Object(more) = more {
        spec.as_object_mut().unwrap().extend(more);
    }
    let body = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    create(format!("{RUNS}/{plural}"), body)
}

/// Ways to have a run go, or stay, without deleting it oneself.
fn changes(of: &str) -> [Ask; 3] {
    let path = || format!("{RUNS}/{of}");
    let gone = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone",
        "uid": "00000000-0000-4000-8000-000000000000"}]);
    [
        change(path(), json!({"metadata": {"ownerReferences": gone}})),
        change(path(), json!({"metadata": {"finalizers": ["example.com/stays"]}})),
        change(path(), json!({"metadata": {"annotations": {"a": "b"}}})),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let snapshot = |org: &str| new("OrgSnapshot", "new", org, Value::Null);
    let restore = |org: &str| new("OrgRestore", "new", org, Value::Null);
    let run = |of: &str| delete(format!("{RUNS}/{of}"));
    let mut cases = vec![
        snapshot("acme").passes_for(SNAPSHOTS),
        snapshot(UNPROTECTED).passes_for(SNAPSHOTS),
        restore("acme").passes_for(RESTORES),
        restore(UNPROTECTED).passes_for(RESTORES),
        snapshot("acme").passes_for(ONE_ORG),
        restore("acme").passes_for(ONE_ORG),
        // An org that is not there yet, or no more, has the same rights.
        snapshot("nobody").passes_for(SNAPSHOTS),
        run(OF_ACME[0]).passes_for(SNAPSHOTS),
        run(OF_ACME[1]).passes_for(RESTORES),
        run(OF_ACME[0]).passes_for(ONE_ORG),
        run(OF_ACME[1]).passes_for(ONE_ORG),
        restore(UNPROTECTED).passes_for(EVERYTHING),
        snapshot(UNPROTECTED).passes_for(EVERYTHING),
        restore("acme").passes_for(Who::Admin),
        // The operator makes and removes views, and never asks for a restore nor ends one.
        snapshot("acme").passes_for(OPERATOR),
        run(OF_ACME[0]).passes_for(OPERATOR),
        restore("acme").refused_to(STRONGER_OPERATOR, "needs the verb restore on trayorgs/acme"),
        run(OF_ACME[1]).refused_to(STRONGER_OPERATOR, "deletes an OrgRestore of TrayOrg acme"),
    ];
    for of in OF_ACME {
        cases.push(run(of).passes_for(GARBAGE));
        for ask in changes(of) {
            cases.push(ask.clone().passes_for(OPERATOR));
            cases.push(ask.clone().passes_for(GARBAGE));
            cases.push(ask.passes_for(EVERYTHING));
        }
    }
    cases.extend(refused());
    cases.extend(names());
    cases.extend(origins());
    cases
}

fn refused() -> Vec<Case> {
    let snapshot = |org: &str| new("OrgSnapshot", "new", org, Value::Null);
    let restore = |org: &str| new("OrgRestore", "new", org, Value::Null);
    let run = |of: &str| delete(format!("{RUNS}/{of}"));
    let of_another = "of TrayOrg unprotected needs the verb";
    let mut cases = vec![
        restore("acme").refused_to(
            WRITER,
            "whoever creates an OrgRestore of TrayOrg acme needs the verb restore on trayorgs/acme, which wim does not \
             have: bind ClusterRole tray-restore-requester, or one that gives the verb for this org alone",
        ),
        snapshot("acme").refused_to(
            WRITER,
            "whoever creates an OrgSnapshot of TrayOrg acme needs the verb snapshot on trayorgs/acme, which wim does not \
             have: bind ClusterRole tray-snapshot-requester",
        ),
        // The one right is not the other. RBAC alone refuses those of the chart's roles the other kind.
        restore("acme").refused_to(SNAPSHOT_WRITER, "needs the verb restore"),
        restore(UNPROTECTED).refused_to(ONE_ORG, of_another),
        snapshot(UNPROTECTED).refused_to(ONE_ORG, of_another),
        // In kube-system, and yet: controllers of Kubernetes never ask for any.
        restore("acme").refused_to(IN_KUBE_SYSTEM, "needs the verb restore"),
        snapshot("acme").refused_to(IN_KUBE_SYSTEM, "needs the verb snapshot"),
    ];
    for of in OF_ACME {
        cases.push(run(of).refused_to(WRITER, "whoever deletes an Org"));
        for ask in changes(of) {
            cases.push(ask.refused_to(WRITER, "whoever changes an Org"));
        }
    }
    for of in OF_ANOTHER {
        cases.push(run(of).refused_to(ONE_ORG, of_another));
    }
    cases
}

/// The names of an org's scheduled runs are kept for it: one that is taken is a run that is not made.
fn names() -> Vec<Case> {
    let slot: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let run: RunId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
    let named = |name: &str, org: &str| new("OrgSnapshot", name, org, Value::Null);
    let words = "is like those of the scheduled runs of another org than TrayOrg acme";
    let mut cases = vec![
        named("acme-2026", "acme").passes_for(ONE_ORG),
        named("other-now", "acme").passes_for(ONE_ORG),
        new(
            "OrgRestore",
            &snapshot_name(UNPROTECTED, slot),
            "acme",
            Value::Null,
        )
        .passes_for(ONE_ORG),
    ];
    let of_slot = |org: &str| snapshot_name(org, slot);
    let of_run = |org: &str| view::name(org, &run);
    for name in [of_slot("acme"), of_run("acme")] {
        cases.push(named(&name, "acme").passes_for(ONE_ORG));
    }
    for other in [UNPROTECTED, "acme-2", "ac"] {
        for name in [of_slot(other), of_run(other)] {
            cases.push(named(&name, "acme").refused_to(ONE_ORG, words));
            cases.push(named(&name, "acme").passes_for(OPERATOR));
        }
    }
    cases
}

/// What the schedule makes, and what is shown of the ledger, is the operator's: a slot dates a run.
fn origins() -> Vec<Case> {
    let snapshot = |more| new("OrgSnapshot", "new", "acme", more);
    let of_schedule = || snapshot(json!({"origin": "Schedule", "slot": "2099-01-01T00:00:00Z"}));
    let shown = || snapshot(json!({"origin": "Discovered", "runId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}));
    vec![
        snapshot(json!({"origin": "Request"})).passes_for(ONE_ORG),
        of_schedule().passes_for(OPERATOR),
        shown().passes_for(OPERATOR),
        of_schedule().refused_to(
            ONE_ORG,
            "spec.origin Schedule is for tray-operator alone, not for ann",
        ),
        of_schedule().refused_to(Who::Admin, "leave it out, and the snapshot is taken now"),
        shown().refused_to(ONE_ORG, "spec.origin Discovered is for tray-operator alone"),
    ]
}

#[tokio::test]
async fn p3_nobody_restores_or_starves_an_org_that_he_has_no_right_to() {
    holds(POLICY).await;
}
