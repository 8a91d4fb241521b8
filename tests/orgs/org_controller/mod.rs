//! The TrayOrg controller on a real API server, with the operator's own rights and under the chart's policies. The tests
//! play kubelet and Kubernetes' controllers.

mod deletion;
mod life;
mod logs;
mod rollout;
#[path = "../../support/mod.rs"]
mod support;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;
use support::{
    api_server::{self, api_of, eventually},
    installed::conditions,
    org_world::{
        READY, child, delete, exempt, names, namespace_labels, namespace_of, object, org, orgs, patch, read,
        region, until, world,
    },
    orgs::allowed,
};

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
        ("v1", "ConfigMap", vec!["execution-log-policy"]),
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
    exempt(&client, "tray-child-guard", "tray-default-deny").await;
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
    exempt(&client, "tray-status-guard", "handmade").await;
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
async fn an_id_belongs_to_the_oldest_and_to_what_that_leaves_behind() {
    let client = world().await;
    let first = org("first", '6', &json!({}));
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
        conditions(&told)["Stalled"].2.contains("TrayOrg first"),
        "the holder is named"
    );
    assert_eq!(told["status"].get("namespace"), None);
    delete(&client, "first").await;
    let told = eventually(async || {
        let org = read(&client, "second").await?;
        conditions(&org)["Stalled"]
            .2
            .contains("OrgTombstone first-06666666")
            .then_some(())
    });
    assert!(told.await.is_some(), "{:#?}", read(&client, "second").await);
}

#[tokio::test]
async fn an_id_is_free_when_an_org_goes_that_was_never_placed() {
    let client = world().await;
    let id = json!({"orgId": "0e0e0e0e-0000-4000-8000-000000000001", "regionRef": {"name": "nowhere"}});
    api_server::apply(&client, &org("awaiting", 'e', &id)).await;
    until(&client, "awaiting", &[("Stalled", "True/RegionNotServed")]).await;
    api_server::apply(&client, &org("hopeful", 'e', &json!({"orgId": id["orgId"]}))).await;
    until(&client, "hopeful", &[("Stalled", "True/OrgIdInUse")]).await;
    delete(&client, "awaiting").await;
    until(&client, "hopeful", READY).await;
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

    // One that has run, is made unreadable, and is deleted: it ends, and everything stays as it is.
    let spec = json!({
        "orgId": "10900004-7777-4777-8777-777777777777", "lifecycle": {"deletionProtection": "Disabled"},
    });
    let garbled = org("garbled", '7', &spec);
    let namespace = namespace_of(&garbled);
    api_server::apply(&client, &garbled).await;
    until(&client, "garbled", READY).await;
    let before = names(&client, "apps/v1", "StatefulSet", &namespace).await;
    patch(&client, "garbled", &json!({"spec": {"plan": "Legacy"}})).await;
    let told = eventually(async || {
        let stalled = conditions(&read(&client, "garbled").await?).remove("Stalled")?;
        (stalled.1 == "Malformed").then_some(())
    });
    assert!(told.await.is_some());
    let params = DeleteParams::default();
    orgs(&client).await.delete("garbled", &params).await.unwrap();
    let went = eventually(async || read(&client, "garbled").await.is_none().then_some(())).await;
    assert!(went.is_some(), "its finalizer stays");
    let labels = namespace_labels(&client, &namespace).await;
    assert_eq!(
        labels.get("platform.tray.ai/orphaned").map(String::as_str),
        Some("true")
    );
    assert_eq!(names(&client, "apps/v1", "StatefulSet", &namespace).await, before);
    let records = names(&client, "v1", "ConfigMap", "tray-system").await;
    let ours = |record: &&String| record.starts_with("tray-orphaned-garbled-");
    assert_eq!(records.iter().filter(ours).count(), 1, "{records:?}");
    // The plan is one again, and so is the org.
    api_server::apply(&client, &allowed(&garbled)).await;
    until(&client, "garbled", READY).await;
    let labels = namespace_labels(&client, &namespace).await;
    assert!(!labels.contains_key("platform.tray.ai/orphaned"));
}
