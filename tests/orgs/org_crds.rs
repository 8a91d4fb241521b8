//! The CRDs are deleted and installed again: every org is taken up as it was. On an API server of its own, since every
//! other test needs them.

#[path = "../support/mod.rs"]
mod support;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use support::{
    api_server::{self, api_of, eventually},
    org_world::{READY, names, namespace_labels, namespace_of, org, uid, until, world},
    orgs::allowed,
};
use tray_api::crds;

#[tokio::test]
async fn crds_deleted_and_installed_again_lose_no_namespace_and_no_volume() {
    let client = world().await;
    let orgs: Vec<_> = ["one", "two"]
        .into_iter()
        .zip(['1', '2'])
        .map(|(name, digit)| org(name, digit, &json!({})))
        .collect();
    let mut before = vec![];
    for org in &orgs {
        api_server::apply(&client, org).await;
        until(&client, org["metadata"]["name"].as_str().unwrap(), READY).await;
        before.push(data(&client, &namespace_of(org)).await);
    }

    let shape =
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {}});
    let api = api_of(&client, &shape).await.unwrap();
    let meant = Patch::Merge(json!({"metadata": {"annotations": {"platform.tray.ai/allow-delete": "true"}}}));
    for crd in crds::all_crds() {
        let name = crd.metadata.name.unwrap();
        api.patch(&name, &PatchParams::default(), &meant).await.unwrap();
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    let gone = eventually(async || {
        let left = api.list(&kube::api::ListParams::default()).await.unwrap();
        left.items.is_empty().then_some(())
    });
    assert!(gone.await.is_some(), "an org holds its CRD up");
    for (org, before) in orgs.iter().zip(&before) {
        let namespace = namespace_of(org);
        assert_eq!(data(&client, &namespace).await, *before);
        assert_eq!(names(&client, "apps/v1", "StatefulSet", &namespace).await, ["db"]);
        assert_eq!(
            namespace_labels(&client, &namespace).await["platform.tray.ai/orphaned"],
            "true"
        );
    }

    for crd in crds::all_crds() {
        api_server::apply(&client, &serde_json::to_value(crd).unwrap()).await;
    }
    world().await;
    for (org, before) in orgs.iter().zip(&before) {
        // Without the verb nobody takes them up; all that they run goes on meanwhile.
        let name = org["metadata"]["name"].as_str().unwrap();
        api_server::apply(&client, org).await;
        until(&client, name, &[("Stalled", "True/ReattachNotAllowed")]).await;
        assert_eq!(data(&client, &namespace_of(org)).await, *before);
        api_server::apply(&client, &allowed(org)).await;
        until(&client, name, READY).await;
        let namespace = namespace_of(org);
        assert_eq!(data(&client, &namespace).await, *before);
        assert!(
            !namespace_labels(&client, &namespace)
                .await
                .contains_key("platform.tray.ai/orphaned")
        );
    }
}

/// UIDs of what must not be lost, and of what runs.
async fn data(client: &kube::Client, namespace: &str) -> [String; 3] {
    [
        uid(client, "v1", "Namespace", "", namespace).await,
        uid(client, "v1", "PersistentVolumeClaim", namespace, "data-db-0").await,
        uid(client, "apps/v1", "StatefulSet", namespace, "db").await,
    ]
}
