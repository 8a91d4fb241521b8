//! Server-side apply, and who owns what.

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use kube_lease_manager::LeaseManagerBuilder;
use serde_json::{Value, json};

use super::{config_map, config_maps, refused, server};

fn applied(data: Value) -> Patch<Value> {
    Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}))
}

fn data(object: &ConfigMap) -> Value {
    serde_json::to_value(&object.data).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_is_made_and_what_is_no_longer_applied_goes() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let params = PatchParams::apply("tray-operator").force();
    let made = api
        .patch("a", &params, &applied(json!({"k": "v", "l": "w"})))
        .await
        .unwrap();
    assert_eq!(made.namespace().as_deref(), Some("org"));
    let theirs = Patch::Merge(json!({"data": {"m": "theirs"}}));
    api.patch("a", &PatchParams::default(), &theirs).await.unwrap();
    let changed = api
        .patch("a", &params, &applied(json!({"k": "v2"})))
        .await
        .unwrap();
    assert_eq!(data(&changed), json!({"k": "v2", "m": "theirs"}));
    let again = api
        .patch("a", &params, &applied(json!({"k": "v2"})))
        .await
        .unwrap();
    assert_eq!(again.resource_version(), changed.resource_version());
    let codes: Vec<u16> = server.trace().iter().map(|asked| asked.code).collect();
    assert_eq!(codes, [201, 200, 200, 200]);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_field_is_taken_by_force_alone() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let made = config_map("a", json!({"k": "v"}));
    api.create(&PostParams::default(), &made).await.unwrap();
    let params = PatchParams::apply("tray-operator");
    let status = refused(api.patch("a", &params, &applied(json!({"k": "w"}))).await);
    assert!(status.is_conflict());
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str()),
        ("FieldManagerConflict", ".data.k")
    );
    let forced = api
        .patch("a", &params.force(), &applied(json!({"k": "w"})))
        .await
        .unwrap();
    assert_eq!(data(&forced), json!({"k": "w"}));
    let entries = forced.metadata.managed_fields.unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].manager.as_deref(), Some("tray-operator"));
    assert_eq!(entries[0].operation.as_deref(), Some("Apply"));
}

#[tokio::test(start_paused = true)]
async fn a_uid_says_which_object_is_meant() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let params = PatchParams::apply("tray-operator").force();
    let with_uid = |uid: &str| {
        Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": uid}, "data": {},
        }))
    };
    assert!(refused(api.patch("a", &params, &with_uid("u")).await).is_conflict());
    let made = api
        .patch("a", &params, &applied(json!({"k": "v"})))
        .await
        .unwrap();
    assert!(refused(api.patch("a", &params, &with_uid("u")).await).is_conflict());
    api.patch("a", &params, &with_uid(&made.uid().unwrap()))
        .await
        .unwrap();
}

/// Its own clock is the system's, so the runtime's is not paused here.
#[tokio::test]
async fn the_lease_manager_wins_and_gives_back() {
    let server = server();
    let build = |identity: &str| {
        LeaseManagerBuilder::new(server.client(identity), "lead")
            .with_namespace("org")
            .with_identity(identity)
            .with_duration(15)
            .with_grace(5)
            .build()
    };
    let leases: Api<Lease> = Api::namespaced(server.client("test"), "org");
    let holder = async || leases.get("lead").await.unwrap().spec.unwrap().holder_identity;
    for identity in ["one", "two"] {
        let (mut leads, keeper) = build(identity).await.unwrap().watch().await;
        while !*leads.borrow_and_update() {
            leads.changed().await.unwrap();
        }
        assert_eq!(holder().await.as_deref(), Some(identity));
        drop(leads);
        keeper.await.unwrap().unwrap();
        assert_eq!(holder().await, None);
    }
}
