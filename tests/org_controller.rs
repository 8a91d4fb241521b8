//! The TrayOrg controller on a real API server, with the operator's own rights and under the chart's policies. The tests
//! play kubelet and Kubernetes' controllers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    installed::{self, conditions, play_kubernetes},
};
use tray_operator::controllers::{Driver, malformed::MalformedObjects, org::OrgDriver};

fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![
        Arc::new(OrgDriver::default()),
        Arc::new(MalformedObjects::default()),
    ]
}

/// A cluster with Region `eu`, ready, and the policies that orgs name; the operator runs.
async fn world() -> Client {
    installed::shared(drivers).await;
    let client = api_server::shared().await.client().await;
    region(&client, "eu", "eu-west-1").await;
    for (kind, spec) in [
        ("RetentionPolicy", json!({})),
        ("BackupSchedule", json!({"schedule": "0 */12 * * *"})),
    ] {
        api_server::apply(&client, &object(kind, "standard", &spec)).await;
    }
    client
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

async fn region(client: &Client, name: &str, cloud_region: &str) {
    let region = object(
        "Region",
        name,
        &json!({
            "jurisdiction": "EU", "cloudRegion": cloud_region, "zones": [format!("{cloud_region}a")], "minZones": 1,
            "storage": {"storageClassName": "org-encrypted"},
            "backup": {
                "bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
                "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/k"},
                "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
            },
            "workloads": [{
                "name": "db", "kind": "StatefulSet", "image": "db:1", "runAsUser": 999, "ports": [{"name": "sql", "port": 5432}],
                "volume": {"size": "1Gi", "mountPath": "/data"},
            }],
        }),
    );
    api_server::apply(client, &region).await;
    let ready = json!({"type": "Ready", "status": "True", "reason": "AsSpecified", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = Patch::Merge(json!({"status": {"observedGeneration": 1, "conditions": [ready]}}));
    let api = api_of(&installed::client().await, &region).await.unwrap();
    api.patch_status(name, &PatchParams::default(), &status)
        .await
        .unwrap();
}

/// An org with the id `<digit>…`.
fn org(name: &str, digit: char, more: &Value) -> Value {
    let id: String = "77777777-7777-4777-8777-777777777777"
        .replace('7', &digit.to_string())
        .replacen(digit, "0", 1);
    let id = format!("{}4{}", &id[..14], &id[15..]);
    let mut spec = json!({"orgId": id, "regionRef": {"name": "eu"}, "plan": "Team",
        "owners": [{"kind": "Group", "name": "them", "role": "Admin"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("TrayOrg", name, &spec)
}

fn namespace_of(org: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!(
        "org-{}-{}",
        text(&org["metadata"]["name"]),
        &text(&org["spec"]["orgId"])[..8]
    )
}

async fn orgs(client: &Client) -> Api<DynamicObject> {
    api_of(client, &object("TrayOrg", "x", &json!({}))).await.unwrap()
}

async fn read(client: &Client, name: &str) -> Option<Value> {
    let found = orgs(client).await.get_opt(name).await.unwrap();
    found.map(|object| serde_json::to_value(object).unwrap())
}

/// The org as soon as its conditions are what is `wanted`: type → status/reason.
async fn until(client: &Client, name: &str, wanted: &[(&str, &str)]) -> Value {
    let found = eventually(async || {
        let org = read(client, name).await?;
        if let Some(namespace) = org["status"]["namespace"].as_str() {
            play_kubernetes(client, namespace).await;
        } else if let Some(id) = org["spec"]["orgId"].as_str() {
            play_kubernetes(client, &format!("org-{name}-{}", &id[..8])).await;
        }
        let present: BTreeMap<String, String> = conditions(&org)
            .into_iter()
            .map(|(type_, (status, reason, _))| (type_, format!("{status}/{reason}")))
            .collect();
        let honest = org["status"]["observedGeneration"] == org["metadata"]["generation"];
        let met = wanted
            .iter()
            .all(|(type_, said)| present.get(*type_).is_some_and(|p| p == said));
        (honest && met).then_some(org)
    });
    match found.await {
        Some(org) => org,
        None => panic!(
            "{name} did not become {wanted:?}: {:#?}",
            read(client, name).await
        ),
    }
}

const READY: &[(&str, &str)] = &[("Ready", "True/AsSpecified"), ("Placed", "True/AsSpecified")];

fn child(api_version: &str, kind: &str, namespace: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}})
}

async fn names(client: &Client, api_version: &str, kind: &str, namespace: &str) -> Vec<String> {
    let api = api_of(client, &child(api_version, kind, namespace))
        .await
        .unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    list.into_iter()
        .filter_map(|object| object.metadata.name)
        .collect()
}

async fn namespace_labels(client: &Client, name: &str) -> BTreeMap<String, String> {
    let shape = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}});
    let namespace = api_of(client, &shape).await.unwrap().get(name).await.unwrap();
    namespace.metadata.labels.unwrap()
}

async fn patch(client: &Client, name: &str, change: &Value) {
    orgs(client)
        .await
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_org_is_placed_with_all_it_consists_of() {
    let client = world().await;
    let acme = org("acme", '1', &json!({}));
    let namespace = namespace_of(&acme);
    api_server::apply(&client, &acme).await;
    let ready = until(&client, "acme", READY).await;
    assert_eq!(ready["status"]["namespace"], namespace);
    assert_eq!(
        ready["status"]["region"],
        json!({"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"})
    );
    assert_eq!(ready["metadata"]["finalizers"], json!(["platform.tray.ai/org"]));
    for (api_version, kind, wanted) in [
        ("v1", "ResourceQuota", vec!["tray-objects", "tray-pods"]),
        ("v1", "LimitRange", vec!["tray-defaults"]),
        ("v1", "PersistentVolumeClaim", vec!["data-db-0"]),
        ("v1", "Service", vec!["db"]),
        ("apps/v1", "StatefulSet", vec!["db"]),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            vec!["tray-admins", "tray-archive", "tray-operator"],
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            vec![
                "tray-default-deny",
                "tray-dns",
                "tray-egress",
                "tray-mover-backup",
                "tray-mover-objects",
                "tray-same-namespace",
            ],
        ),
    ] {
        assert_eq!(
            names(&client, api_version, kind, &namespace).await,
            wanted,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn what_somebody_edits_or_removes_is_put_back_and_what_a_spec_drops_goes() {
    let client = world().await;
    let edited = org("edited", '2', &json!({}));
    let namespace = namespace_of(&edited);
    api_server::apply(&client, &edited).await;
    until(&client, "edited", READY).await;

    let sets = api_of(&client, &child("apps/v1", "StatefulSet", &namespace))
        .await
        .unwrap();
    let image = async || {
        sets.get("db").await.unwrap().data["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let other =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "evil:1"}]}}}});
    sets.patch("db", &PatchParams::default(), &Patch::Strategic(other))
        .await
        .unwrap();
    assert!(
        eventually(async || (image().await == "db:1").then_some(()))
            .await
            .is_some(),
        "an edit stays"
    );

    let policies = api_of(
        &client,
        &child("networking.k8s.io/v1", "NetworkPolicy", &namespace),
    )
    .await
    .unwrap();
    installed::unbind(&client, "tray-child-guard").await;
    let removed = async || {
        policies
            .delete("tray-default-deny", &DeleteParams::default())
            .await
            .ok()
    };
    assert!(eventually(removed).await.is_some());
    let back = eventually(async || policies.get_opt("tray-default-deny").await.unwrap().map(drop)).await;
    assert!(back.is_some(), "a removal stays");

    patch(
        &client,
        "edited",
        &json!({"spec": {"network": {"egress": "None"}, "owners": null,
        "overrides": [{"name": "db", "image": "db:2"}]}}),
    )
    .await;
    until(&client, "edited", READY).await;
    assert_eq!(image().await, "db:2", "a changed spec rolls out");
    let gone = eventually(async || {
        policies
            .get_opt("tray-egress")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    assert!(gone.is_some());
    let bindings = names(&client, "rbac.authorization.k8s.io/v1", "RoleBinding", &namespace).await;
    assert_eq!(bindings, ["tray-archive", "tray-operator"]);
}

#[tokio::test]
async fn a_status_edited_by_hand_is_corrected() {
    let client = world().await;
    api_server::apply(&client, &org("handmade", '3', &json!({}))).await;
    let right = until(&client, "handmade", READY).await;
    let wrong = Patch::Merge(json!({"status": {"raisedWorkloads": ["made-up"], "conditions": null}}));
    installed::unbind(&client, "tray-status-guard").await;
    let orgs = orgs(&client).await;
    let params = PatchParams::default();
    let edited = async || orgs.patch_status("handmade", &params, &wrong).await.ok();
    assert!(eventually(edited).await.is_some());
    let corrected = eventually(async || {
        let org = read(&client, "handmade").await?;
        (org["status"]["conditions"].is_array() && org["status"].get("raisedWorkloads").is_none())
            .then_some(org)
    });
    let corrected = corrected.await.expect("the status stays wrong");
    assert_eq!(conditions(&corrected), conditions(&right));
}

#[tokio::test]
async fn a_deleted_org_leaves_its_data_and_finds_it_again() {
    let client = world().await;
    let gone = org("gone", '4', &json!({}));
    let namespace = namespace_of(&gone);
    api_server::apply(&client, &gone).await;
    until(&client, "gone", READY).await;
    let refused = orgs(&client)
        .await
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is protected"), "{refused}");

    patch(
        &client,
        "gone",
        &json!({"spec": {"lifecycle": {"deletionProtection": "Disabled"}}}),
    )
    .await;
    orgs(&client)
        .await
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    let went = eventually(async || read(&client, "gone").await.is_none().then_some(())).await;
    assert!(went.is_some(), "the finalizer stays");
    // A StatefulSet that is deleted in the foreground waits for a garbage collector, which does not run here.
    assert_eq!(
        names(&client, "apps/v1", "StatefulSet", &namespace).await,
        Vec::<String>::new()
    );
    assert_eq!(
        names(&client, "rbac.authorization.k8s.io/v1", "RoleBinding", &namespace).await,
        Vec::<String>::new()
    );
    assert_eq!(
        names(&client, "v1", "PersistentVolumeClaim", &namespace).await,
        ["data-db-0"]
    );
    assert_eq!(
        namespace_labels(&client, &namespace).await["platform.tray.ai/retained"],
        "true"
    );
    let claims = api_of(&client, &child("v1", "PersistentVolumeClaim", &namespace))
        .await
        .unwrap();
    let claim = claims.get("data-db-0").await.unwrap().metadata.uid;

    api_server::apply(&client, &gone).await;
    until(&client, "gone", READY).await;
    assert_eq!(
        claims.get("data-db-0").await.unwrap().metadata.uid,
        claim,
        "the same claim"
    );
    assert!(
        !namespace_labels(&client, &namespace)
            .await
            .contains_key("platform.tray.ai/retained")
    );

    // Under another Region it does not come back: its data is where it is.
    patch(
        &client,
        "gone",
        &json!({"spec": {"lifecycle": {"deletionProtection": "Disabled"}}}),
    )
    .await;
    orgs(&client)
        .await
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    eventually(async || read(&client, "gone").await.is_none().then_some(()))
        .await
        .unwrap();
    region(&client, "elsewhere", "eu-west-3").await;
    let mut moved = gone.clone();
    moved["spec"]["regionRef"]["name"] = "elsewhere".into();
    api_server::apply(&client, &moved).await;
    until(
        &client,
        "gone",
        &[
            ("Stalled", "True/RegionChanged"),
            ("Ready", "False/RegionChanged"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_org_deleted_past_its_protection_keeps_everything() {
    let client = world().await;
    let bypassed = org("bypassed", '5', &json!({}));
    let namespace = namespace_of(&bypassed);
    api_server::apply(&client, &bypassed).await;
    until(&client, "bypassed", READY).await;
    // What the deletion of the CRD does to every org: nobody asks the policy.
    let policies = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {}});
    let api = api_of(&client, &policies).await.unwrap();
    let exempt =
        json!({"spec": {"matchConditions": [{"name": "test", "expression": "request.name != 'bypassed'"}]}});
    api.patch(
        "tray-delete-protection",
        &PatchParams::default(),
        &Patch::Merge(exempt),
    )
    .await
    .unwrap();
    let deleted = eventually(async || {
        orgs(&client)
            .await
            .delete("bypassed", &DeleteParams::default())
            .await
            .ok();
        read(&client, "bypassed").await.is_none().then_some(())
    });
    assert!(deleted.await.is_some(), "the finalizer stays");
    assert_eq!(names(&client, "apps/v1", "StatefulSet", &namespace).await, ["db"]);
    assert_eq!(
        names(&client, "rbac.authorization.k8s.io/v1", "RoleBinding", &namespace)
            .await
            .len(),
        3
    );
    assert_eq!(
        namespace_labels(&client, &namespace).await["platform.tray.ai/retained"],
        "true"
    );
}

#[tokio::test]
async fn an_id_belongs_to_the_oldest_and_is_free_when_that_is_gone() {
    let client = world().await;
    let first = org(
        "first",
        '6',
        &json!({"lifecycle": {"deletionProtection": "Disabled"}}),
    );
    api_server::apply(&client, &first).await;
    until(&client, "first", READY).await;
    let mut second = first.clone();
    second["metadata"]["name"] = "second".into();
    api_server::apply(&client, &second).await;
    let told = until(
        &client,
        "second",
        &[("Stalled", "True/OrgIdInUse"), ("Placed", "False/OrgIdInUse")],
    )
    .await;
    assert!(
        conditions(&told)["Stalled"].2.contains("first"),
        "the holder is named"
    );
    assert_eq!(told["status"].get("namespace"), None);
    orgs(&client)
        .await
        .delete("first", &DeleteParams::default())
        .await
        .unwrap();
    until(&client, "second", READY).await;
}

#[tokio::test]
async fn an_org_waits_for_the_region_and_the_policies_that_it_names() {
    let client = world().await;
    let early = org(
        "early",
        '8',
        &json!({"regionRef": {"name": "later"}, "backupScheduleRef": {"name": "later"}}),
    );
    api_server::apply(&client, &early).await;
    let told = until(&client, "early", &[("Stalled", "True/RegionNotServed")]).await;
    assert!(conditions(&told)["Stalled"].2.contains("Region later"));
    region(&client, "later", "eu-west-1").await;
    until(&client, "early", &[("Stalled", "True/BackupScheduleMissing")]).await;
    assert_eq!(
        names(&client, "v1", "ServiceAccount", &namespace_of(&early)).await,
        Vec::<String>::new()
    );
    api_server::apply(
        &client,
        &object("BackupSchedule", "later", &json!({"schedule": "0 0 * * *"})),
    )
    .await;
    until(&client, "early", READY).await;
}

#[tokio::test]
async fn a_namespace_of_somebody_else_is_left_alone() {
    let client = world().await;
    let taken = org("taken", '9', &json!({}));
    let foreign =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace_of(&taken)}});
    api_server::apply(&client, &foreign).await;
    api_server::apply(&client, &taken).await;
    let told = until(&client, "taken", &[("Stalled", "True/NamespaceTaken")]).await;
    assert!(conditions(&told)["Stalled"].2.contains(&namespace_of(&taken)));
}

#[tokio::test]
async fn an_org_that_an_older_version_stored_is_told_and_stops_nobody() {
    let client = world().await;
    let crds =
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {}});
    let api = api_of(&client, &crds).await.unwrap();
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/plan/enum";
    let add = json!([{"op": "add", "path": format!("{path}/-"), "value": "Legacy"}]);
    let looser = Patch::Json::<()>(serde_json::from_value(add).unwrap());
    api.patch("trayorgs.platform.tray.ai", &PatchParams::default(), &looser)
        .await
        .unwrap();
    let legacy = org("legacy", 'a', &json!({"plan": "Legacy"}));
    let params = PatchParams::apply("tests").force();
    let stored = eventually(async || {
        let object: DynamicObject = serde_json::from_value(legacy.clone()).unwrap();
        orgs(&client)
            .await
            .patch("legacy", &params, &Patch::Apply(&object))
            .await
            .ok()
            .map(drop)
    });
    assert!(stored.await.is_some());
    let told = eventually(async || {
        let org = read(&client, "legacy").await?;
        conditions(&org)
            .get("Stalled")
            .filter(|(_, reason, _)| reason == "Malformed")
            .cloned()
    });
    let (_, _, message) = told.await.expect("nothing is said of it");
    assert!(
        message.contains("plan") || message.contains("Legacy"),
        "{message}"
    );
    api_server::apply(&client, &org("modern", 'b', &json!({}))).await;
    until(&client, "modern", READY).await;
}
