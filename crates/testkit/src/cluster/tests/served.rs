//! Which kinds are served.

use kube::{
    api::ApiResource,
    core::GroupVersionKind,
    discovery::{ApiGroup, Discovery},
};
use serde_json::json;

use super::{any, create, refused, server};
use crate::cluster::of_kubernetes;

#[tokio::test(start_paused = true)]
async fn a_kind_is_served_until_it_is_withdrawn() {
    let server = server();
    let client = server.client("operator");
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let routes = any(&client, &ApiResource::from_gvk(&kind), Some("org"));
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": {},
    });
    create(&routes, route.clone()).await.unwrap();
    server.withdraw("httproutes.gateway.networking.k8s.io");
    let status = refused(create(&routes, route.clone()).await);
    assert_eq!(status.code, 404);
    assert!(status.details.is_none(), "a text, which is no status");
    let again = of_kubernetes()
        .into_iter()
        .find(|kind| kind.plural == "httproutes");
    server.serve(again.unwrap());
    create(&routes, route).await.unwrap();
    let older = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "HTTPRoute");
    let older = any(&client, &ApiResource::from_gvk(&older), Some("org"));
    assert_eq!(refused(older.get("r").await).code, 404, "another version");
}

#[tokio::test(start_paused = true)]
async fn what_is_served_is_told_in_two_answers() {
    let server = server();
    let discovery = Discovery::new(server.client("mover"))
        .run_aggregated()
        .await
        .unwrap();
    let served: Vec<String> = discovery
        .groups()
        .flat_map(ApiGroup::recommended_resources)
        .map(|(resource, _)| format!("{}.{}", resource.plural, resource.group))
        .collect();
    for wanted in ["pods.", "jobs.batch", "trayorgs.platform.tray.ai"] {
        assert!(
            served.iter().any(|served| served == wanted),
            "{wanted} in {served:?}"
        );
    }
    assert_eq!(server.trace().len(), 2);
}
