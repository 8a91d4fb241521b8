//! Made, read, changed.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    coordination::v1::Lease,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tray_api::{kinds::Kind, trayorg::TrayOrg};

use super::{any, config_map, config_maps, create, refused, server};
use crate::cluster::Name;

fn own(kind: Kind) -> ApiResource {
    kind.resource()
}

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_what_the_server_says_of_it() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let made = api
        .create(&PostParams::default(), &config_map("a", json!({"k": "v"})))
        .await
        .unwrap();
    assert_eq!(made.uid().unwrap().len(), 36);
    assert_eq!(
        made.creation_timestamp().unwrap().0.to_string(),
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(made.resource_version().unwrap(), server.version().to_string());
    assert_eq!(made.metadata.generation, None, "not of this kind");
    assert_eq!(api.get("a").await.unwrap(), made);

    let again = refused(
        api.create(&PostParams::default(), &config_map("a", json!({})))
            .await,
    );
    assert_eq!((again.code, again.reason.as_str()), (409, "AlreadyExists"));
    let details = again.details.unwrap();
    assert_eq!(
        (details.kind.as_str(), details.name.as_str()),
        ("configmaps", "a")
    );

    let mut unnamed = config_map("", json!({}));
    unnamed.metadata.name = None;
    assert_eq!(
        refused(api.create(&PostParams::default(), &unnamed).await).code,
        422
    );
    unnamed.metadata.generate_name = Some("made-".to_owned());
    let one = api.create(&PostParams::default(), &unnamed).await.unwrap();
    let other = api.create(&PostParams::default(), &unnamed).await.unwrap();
    assert!(one.name_any().starts_with("made-") && one.name_any().len() == 10);
    assert_ne!(one.name_any(), other.name_any());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_missing_or_going_takes_nothing_in() {
    let server = server();
    let client = server.client("operator");
    let missing: Api<Secret> = Api::namespaced(client.clone(), "nowhere");
    let secret = serde_json::from_value(json!({"metadata": {"name": "s"}})).unwrap();
    let status = refused(missing.create(&PostParams::default(), &secret).await);
    assert!(status.is_not_found());
    assert_eq!(status.details.unwrap().kind, "namespaces");

    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete("org", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let going = namespaces.get("org").await.unwrap();
    assert_eq!(going.status.unwrap().phase.as_deref(), Some("Terminating"));
    let status = refused(
        config_maps(&client)
            .create(&PostParams::default(), &config_map("a", json!({})))
            .await,
    );
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");

    server.finalize_namespace("org").unwrap();
    assert!(namespaces.get_opt("org").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_of_what_is_selected_and_comes_in_pages() {
    let server = server();
    let client = server.client("operator");
    let api = config_maps(&client);
    for name in ["a", "b", "c"] {
        let mut made = config_map(name, json!({}));
        let labels = [("n".to_owned(), name.to_owned())];
        made.metadata.labels = Some(labels.into());
        api.create(&PostParams::default(), &made).await.unwrap();
    }
    let names = |list: kube::api::ObjectList<_>| -> Vec<String> {
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(
        names(api.list(&ListParams::default()).await.unwrap()),
        ["a", "b", "c"]
    );
    let some = ListParams::default().labels("n in (a,c)");
    assert_eq!(names(api.list(&some).await.unwrap()), ["a", "c"]);
    let one = ListParams::default().fields("metadata.name=b");
    assert_eq!(names(api.list(&one).await.unwrap()), ["b"]);

    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    assert_eq!(names(first), ["a", "b"]);
    api.delete("c", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let rest = ListParams::default().limit(2).continue_token(&token);
    let rest = api.list(&rest).await.unwrap();
    assert_eq!(rest.metadata.continue_, None);
    assert_eq!(names(rest), ["c"], "as it was when the list began");
    server.compact();
    let late = api
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await;
    assert_eq!(refused(late).code, 410);
}

#[tokio::test(start_paused = true)]
async fn items_of_a_list_say_what_they_are_only_where_a_crd_defines_them() {
    let server = server();
    let client = server.client("operator");
    let api = config_maps(&client);
    api.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    let resource = own(Kind::Region);
    let region =
        json!({"apiVersion": resource.api_version, "kind": "Region", "metadata": {"name": "r"}, "spec": {}});
    create(&any(&client, &resource, None), region).await.unwrap();
    let listed = async |path: &str| -> Value {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        client.request(request).await.unwrap()
    };
    let ours = listed(&format!("/apis/{}/regions", resource.api_version)).await;
    assert_eq!(
        (&ours["kind"], &ours["items"][0]["kind"]),
        (&json!("RegionList"), &json!("Region"))
    );
    let theirs = listed("/api/v1/configmaps").await;
    assert_eq!(theirs["kind"], "ConfigMapList");
    assert_eq!(theirs["items"][0].get("kind"), None);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_refused_before_it_is_done() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let status = refused(api.create(&dry, &config_map("a", json!({}))).await);
    assert_eq!(status.code, 415);
    assert!(server.all("configmaps").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_takes_away_what_is_null_and_means_one_object() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let made = api
        .create(
            &PostParams::default(),
            &config_map("a", json!({"k": "v", "l": "w"})),
        )
        .await
        .unwrap();
    let patch = |value| Patch::Merge(value);
    let params = PatchParams::default();
    let gone = json!({"metadata": {"uid": made.uid()}, "data": {"k": null}});
    let changed = api.patch("a", &params, &patch(gone)).await.unwrap();
    assert_eq!(serde_json::to_value(&changed.data).unwrap(), json!({"l": "w"}));
    assert_ne!(changed.resource_version(), made.resource_version());

    let version = changed.resource_version();
    let same = api
        .patch("a", &params, &patch(json!({"data": {"l": "w"}})))
        .await
        .unwrap();
    assert_eq!(
        same.resource_version(),
        version,
        "nothing changed, so nothing was written"
    );
    let fresh = json!({"metadata": {"resourceVersion": version}, "data": {"l": "x"}});
    api.patch("a", &params, &patch(fresh.clone())).await.unwrap();
    let stale = refused(api.patch("a", &params, &patch(fresh)).await);
    assert!(stale.is_conflict() && !stale.is_already_exists());
    let other = json!({"metadata": {"uid": "other"}, "data": {"l": "y"}});
    assert!(refused(api.patch("a", &params, &patch(other)).await).is_conflict());
    let missing = refused(api.patch("b", &params, &patch(json!({"data": {}}))).await);
    assert_eq!(missing.details.unwrap().kind, "configmaps");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_needs_the_version_that_is_there() {
    let server = server();
    let client = server.client("operator");
    let api: Api<Lease> = Api::namespaced(client.clone(), "org");
    let lease = |holder: &str| -> Lease {
        serde_json::from_value(json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder}}))
            .unwrap()
    };
    let made = api.create(&PostParams::default(), &lease("one")).await.unwrap();
    let mut second = made.clone();
    second.spec = lease("two").spec;
    api.replace("l", &PostParams::default(), &second).await.unwrap();
    let late = refused(api.replace("l", &PostParams::default(), &second).await);
    assert!(late.is_conflict());
    api.delete("l", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let gone = refused(api.replace("l", &PostParams::default(), &second).await);
    assert!(gone.is_conflict(), "it was read, and is another or none now");
    let never = refused(api.replace("l", &PostParams::default(), &lease("x")).await);
    assert!(never.is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_by_itself_and_only_the_spec_is_counted() {
    let server = server();
    let client = server.client("operator");
    let orgs = any(&client, &own(Kind::TrayOrg), None);
    let made = json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "acme"},
        "spec": {"a": 1}, "status": {"phase": "x"},
    });
    let mut made = made;
    made["apiVersion"] = json!(own(Kind::TrayOrg).api_version);
    let made = create(&orgs, made).await.unwrap();
    assert_eq!(made.data.get("status"), None, "not by the object itself");
    assert_eq!(made.metadata.generation, Some(1));

    let params = PatchParams::default();
    let both = Patch::Merge(json!({"spec": {"a": 2}, "status": {"phase": "y"}}));
    let told = orgs.patch_status("acme", &params, &both).await.unwrap();
    assert_eq!(told.data["status"], json!({"phase": "y"}));
    assert_eq!(told.data["spec"], json!({"a": 1}));
    assert_eq!(told.metadata.generation, Some(1));
    let changed = orgs.patch("acme", &params, &both).await.unwrap();
    assert_eq!(changed.data["spec"], json!({"a": 2}));
    assert_eq!(changed.metadata.generation, Some(2));
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "z"}}));
    let labelled = orgs.patch("acme", &params, &labelled).await.unwrap();
    assert_eq!(labelled.metadata.generation, Some(2));
    assert_eq!(labelled.data["status"], json!({"phase": "y"}));

    let mut replaced = labelled.clone();
    replaced.data["status"] = json!({"phase": "w"});
    let replaced = orgs
        .replace_status("acme", &PostParams::default(), &replaced)
        .await
        .unwrap();
    assert_eq!(replaced.data["status"], json!({"phase": "w"}));
    let stale = refused(
        orgs.replace_status("acme", &PostParams::default(), &labelled)
            .await,
    );
    assert!(stale.is_conflict());
    let typed: Api<TrayOrg> = Api::all(client);
    assert!(
        typed
            .get_metadata("acme")
            .await
            .unwrap()
            .metadata
            .managed_fields
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_that_part_has_no_such_path() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    api.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"status": {}}));
    let status = refused(api.patch_status("a", &PatchParams::default(), &patch).await);
    assert!(status.is_not_found(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn texts_of_a_secret_become_its_data() {
    let server = server();
    let api: Api<Secret> = Api::namespaced(server.client("operator"), "org");
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"a": "text"}})).unwrap();
    let made = api.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.string_data, None);
    assert_eq!(made.data.unwrap()["a"].0, b"text");
    let renewed = Patch::Merge(json!({"stringData": {"b": "more"}}));
    let renewed = api.patch("s", &PatchParams::default(), &renewed).await.unwrap();
    assert_eq!(renewed.data.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_never_changes_is_named_by_a_cause() {
    let server = server();
    let api: Api<StatefulSet> = Api::namespaced(server.client("operator"), "org");
    let resource = ApiResource::erase::<StatefulSet>(&());
    let sets = any(&server.client("operator"), &resource, Some("org"));
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"serviceName": "db", "replicas": 1, "selector": {}, "template": {}},
    });
    create(&sets, set).await.unwrap();
    let params = PatchParams::default();
    let fewer = Patch::Merge(json!({"spec": {"replicas": 0}}));
    assert_eq!(
        api.patch("db", &params, &fewer)
            .await
            .unwrap()
            .metadata
            .generation,
        Some(2)
    );
    let renamed = Patch::Merge(json!({"spec": {"serviceName": "other"}}));
    let status = refused(api.patch("db", &params, &renamed).await);
    assert!(status.is_invalid());
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str()),
        ("FieldValueForbidden", "spec")
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_calls_make_the_same_world() {
    let run = || async {
        let server = server();
        let api = config_maps(&server.client("operator"));
        api.create(&PostParams::default(), &config_map("a", json!({"k": "v"})))
            .await
            .unwrap();
        api.get_opt("b").await.unwrap();
        let found = server.get("configmaps", &Name::new("org", "a")).unwrap();
        (found, server.take_trace())
    };
    let (one, trace) = run().await;
    assert_eq!(run().await, (one, trace.clone()));
    let told: Vec<(&str, u16)> = trace
        .iter()
        .map(|asked| (asked.verb.as_str(), asked.code))
        .collect();
    assert_eq!(told, [("create", 201), ("get", 404)]);
    assert_eq!(trace[0].user, "operator");
}
