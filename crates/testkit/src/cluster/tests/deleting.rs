//! How objects go.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde_json::json;
use tray_api::kinds::Kind;

use super::{any, config_map, config_maps, create, refused, server};
use crate::cluster::Name;

fn of_uid(uid: &str) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    })
}

#[tokio::test(start_paused = true)]
async fn an_object_goes_at_once_if_it_is_the_one_that_is_meant() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let made = api
        .create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    assert!(refused(api.delete("a", &of_uid("other")).await).is_conflict());
    let gone = api.delete("a", &of_uid(&made.uid().unwrap())).await.unwrap();
    let status = gone.right().unwrap();
    assert!(status.is_success());
    assert_eq!(status.details.unwrap().uid, made.uid().unwrap());
    let missing = refused(api.delete("a", &DeleteParams::default()).await);
    assert!(missing.is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_an_object_until_it_is_taken_off() {
    let server = server();
    let client = server.client("operator");
    let orgs = any(&client, &Kind::TrayOrg.resource(), None);
    let resource = Kind::TrayOrg.resource();
    let org = json!({
        "apiVersion": resource.api_version, "kind": "TrayOrg",
        "metadata": {"name": "acme", "finalizers": ["a/b"]}, "spec": {},
    });
    create(&orgs, org).await.unwrap();
    let going = orgs
        .delete("acme", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(going.metadata.generation, Some(2), "the mark is counted");
    let since = going.metadata.deletion_timestamp.clone().unwrap();
    assert_eq!(since.0.to_string(), "2026-01-01T00:00:00Z");
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let again = orgs
        .delete("acme", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(again.resource_version(), going.resource_version());

    let params = PatchParams::default();
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["a/b", "c/d"]}}));
    assert!(refused(orgs.patch("acme", &params, &more).await).is_invalid());
    let none = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    let last = orgs.patch("acme", &params, &none).await.unwrap();
    assert!(last.finalizers().is_empty());
    assert!(orgs.get_opt("acme").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn how_a_deletion_goes_on_is_said_by_finalizers() {
    let server = server();
    let client = server.client("operator");
    let jobs: Api<Job> = Api::namespaced(client.clone(), "org");
    let job = |name: &str| -> Job { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    for (name, params, held) in [
        ("background", DeleteParams::background(), None),
        (
            "foreground",
            DeleteParams::foreground(),
            Some("foregroundDeletion"),
        ),
        (
            "orphan",
            DeleteParams {
                propagation_policy: Some(PropagationPolicy::Orphan),
                ..DeleteParams::default()
            },
            Some("orphan"),
        ),
        // Of Jobs alone, as ever.
        ("unsaid", DeleteParams::default(), Some("orphan")),
    ] {
        jobs.create(&PostParams::default(), &job(name)).await.unwrap();
        let answer = jobs.delete(name, &params).await.unwrap();
        let finalizers = answer.left().map(|going| going.finalizers().to_vec());
        assert_eq!(finalizers, held.map(|held| vec![held.to_owned()]), "{name}");
    }
    // The garbage collector lets it go.
    let name = Name::new("org", "foreground");
    server
        .change("jobs.batch", &name, |job| {
            job["metadata"]["finalizers"] = json!([]);
        })
        .unwrap();
    assert!(jobs.get_opt("foreground").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_runs_has_time_to_end() {
    let server = server();
    let client = server.client("operator");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "org");
    let pod = |name: &str, node: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [], "nodeName": node, "terminationGracePeriodSeconds": 60},
        })
    };
    let raw = any(&client, &ApiResource::erase::<Pod>(&()), Some("org"));
    create(&raw, pod("waits", "")).await.unwrap();
    pods.delete("waits", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(pods.get_opt("waits").await.unwrap().is_none(), "it runs nowhere");

    create(&raw, pod("runs", "node")).await.unwrap();
    pods.delete("runs", &DeleteParams::default()).await.unwrap();
    let going = pods.get("runs").await.unwrap();
    let until = going.metadata.deletion_timestamp.unwrap().0.to_string();
    assert_eq!(until, "2026-01-01T00:01:00Z");
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(60));
    pods.delete("runs", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        pods.get("runs").await.unwrap().resource_version(),
        going.metadata.resource_version
    );
    // The kubelet says that it has ended.
    server
        .delete(
            "pods",
            &Name::new("org", "runs"),
            &json!({"gracePeriodSeconds": 0}),
        )
        .unwrap();
    assert!(pods.get_opt("runs").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn claims_and_volumes_are_protected_from_the_start() {
    let server = server();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(server.client("operator"), "org");
    let claim = serde_json::from_value(json!({"metadata": {"name": "data"}, "spec": {}})).unwrap();
    let made = claims.create(&PostParams::default(), &claim).await.unwrap();
    assert_eq!(made.finalizers(), ["kubernetes.io/pvc-protection"]);
    assert_eq!(made.status.unwrap().phase.as_deref(), Some("Pending"));
    let volume =
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {}});
    let volume = server.put(volume).unwrap();
    assert_eq!(
        volume["metadata"]["finalizers"],
        json!(["kubernetes.io/pv-protection"])
    );
    claims.delete("data", &DeleteParams::background()).await.unwrap();
    assert!(
        claims
            .get("data")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn the_world_takes_an_object_away_whatever_holds_it() {
    let server = server();
    let api: Api<ConfigMap> = config_maps(&server.client("operator"));
    let mut held = config_map("a", json!({}));
    held.metadata.finalizers = Some(vec!["x/y".to_owned()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    server.remove("configmaps", &Name::new("org", "a"));
    assert!(api.get_opt("a").await.unwrap().is_none());
}
