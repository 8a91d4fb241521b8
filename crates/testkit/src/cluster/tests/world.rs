//! The world beside the clients.

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::Status,
};
use serde_json::json;

use super::{config_map, config_maps, refused, server};
use crate::cluster::{Admission, Name, Review, Verb, failure};

#[tokio::test(start_paused = true)]
async fn the_world_hears_of_writes_and_answers_with_its_own() {
    let server = server();
    let jobs: Api<Job> = Api::namespaced(server.client("operator"), "org");
    let mut changes = server.changes(&["jobs.batch"]);
    let job = serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": {"suspend": true}})).unwrap();
    jobs.create(&PostParams::default(), &job).await.unwrap();
    let made = changes.next().await;
    assert_eq!(
        (made.resource.as_str(), made.name()),
        ("jobs.batch", &Name::new("org", "j"))
    );
    assert!(made.before().is_none());
    server
        .change("jobs.batch", made.name(), |job| {
            job["status"] = json!({"active": 1});
        })
        .unwrap();
    assert_eq!(jobs.get("j").await.unwrap().status.unwrap().active, Some(1));
    let told = changes.try_next().unwrap();
    assert_eq!(told.after().unwrap()["status"]["active"], 1);
    let resumed = Patch::Merge(json!({"spec": {"suspend": false}}));
    jobs.patch("j", &PatchParams::default(), &resumed).await.unwrap();
    let told = changes.try_next().unwrap();
    assert_eq!(told.after().unwrap()["metadata"]["generation"], 2);
    assert!(changes.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_world_puts_whole_objects() {
    let server = server();
    let node = |ready: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let made = server.put(node("True")).unwrap();
    let changed = server.put(node("False")).unwrap();
    assert_eq!(made["metadata"]["uid"], changed["metadata"]["uid"]);
    assert_eq!(
        server.all("nodes")[0]["status"]["conditions"][0]["status"],
        "False"
    );
    let unknown = json!({"apiVersion": "v2", "kind": "Node", "metadata": {"name": "n"}});
    assert_eq!(server.put(unknown).unwrap_err().code, 400);
}

/// Lets nobody take a key away.
struct KeepsKey;

impl Admission for KeepsKey {
    fn admit(&mut self, review: &Review<'_>) -> Result<(), Box<Status>> {
        let had = review.old.is_some_and(|old| old["data"]["k"].is_string());
        let has = review.new.is_some_and(|new| new["data"]["k"].is_string());
        if review.verb == Verb::Update && had && !has {
            return Err(failure(403, "Forbidden", format!("{} may not", review.user)));
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn policies_are_the_worlds() {
    let server = server();
    server.set_admission(KeepsKey);
    let api = config_maps(&server.client("operator"));
    api.create(&PostParams::default(), &config_map("a", json!({"k": "v"})))
        .await
        .unwrap();
    let params = PatchParams::default();
    let gone = Patch::Merge(json!({"data": {"k": null}}));
    let status = refused(api.patch("a", &params, &gone).await);
    assert!(status.is_forbidden());
    assert_eq!(status.message, "operator may not");
    let name = Name::new("org", "a");
    server
        .change("configmaps", &name, |object| {
            object["data"] = json!({});
        })
        .unwrap();
}
