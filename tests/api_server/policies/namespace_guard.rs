//! Namespaces of orgs, and the labels that the policies go by, are the operator's.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create, delete, replace},
    holds,
    world::{ORG, PLAIN, Who, metadata},
};

pub(super) const POLICY: &str = "tray-namespace-guard";

pub(super) fn cases() -> Vec<Case> {
    let path = format!("/api/v1/namespaces/{ORG}");
    let plain = format!("/api/v1/namespaces/{PLAIN}");
    let labels = |labels| change(path.clone(), json!({"metadata": {"labels": labels}}));
    let notes = |path: &str, notes| change(path, json!({"metadata": {"annotations": notes}}));
    let new = || {
        let labels = json!({"platform.tray.ai/org": "new"});
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "org-new", "labels": labels}});
        create("/api/v1/namespaces", body)
    };
    let finalize = |metadata: Value| {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {"finalizers": []}});
        replace(format!("{path}/finalize"), body)
    };
    let made = "are created and deleted by tray-operator alone: create or delete the TrayOrg instead";
    let labelled = "labels platform.tray.ai/* and pod-security.kubernetes.io/*";
    let noted = "annotations platform.tray.ai/*";
    vec![
        new().passes_for(Who::Operator),
        labels(json!({"platform.tray.ai/region": "eu-west-3"})).passes_for(Who::Operator),
        delete(path.clone()).passes_for(Who::Operator),
        labels(json!({"team": "a"})).passes_for(Who::Admin),
        notes(&path, json!({"team": "a"})).passes_for(Who::Admin),
        notes(&plain, json!({"platform.tray.ai/support-access": "all"})).passes_for(Who::Admin),
        delete(plain.clone()).passes_for(Who::Admin),
        finalize(metadata(ORG)).passes_for(Who::Controller("namespace-controller")),
        new().refused_to(Who::Admin, made),
        new().refused_to(Who::Neighbour("tray-mover"), made),
        delete(path.clone()).refused_to(Who::Admin, made),
        change(
            plain.clone(),
            json!({"metadata": {"labels": {"platform.tray.ai/org": "x"}}}),
        )
        .refused_to(Who::Admin, labelled),
        labels(json!({"platform.tray.ai/region": "us-west-2"})).refused_to(Who::Admin, labelled),
        labels(json!({"platform.tray.ai/org": null})).refused_to(Who::Admin, labelled),
        labels(json!({"pod-security.kubernetes.io/enforce": "privileged"})).refused_to(Who::Admin, labelled),
        labels(json!({"pod-security.kubernetes.io/enforce": null})).refused_to(Who::Admin, labelled),
        // The ways around the main resource.
        change(
            format!("{path}/status"),
            json!({"metadata": {"labels": {"platform.tray.ai/org": null}}}),
        )
        .refused_to(Who::Admin, labelled),
        finalize(json!({"name": ORG})).refused_to(Who::Admin, labelled),
        notes(&path, json!({"platform.tray.ai/support-access": "all"})).refused_to(Who::Admin, noted),
        notes(
            &path,
            json!({"platform.tray.ai/backup-place": "{\"bucket\":\"other\"}"}),
        )
        .refused_to(Who::Admin, noted),
        notes(&path, json!({"platform.tray.ai/backup-place": null})).refused_to(Who::Admin, noted),
    ]
}

#[tokio::test]
async fn p3_the_labels_that_policies_go_by_belong_to_the_operator() {
    holds(POLICY).await;
}
