//! Every rule of the CRDs and every admission policy, on a real API server: what it lets through and what it refuses.

mod support;

use serde_json::json;
use support::api_server;

#[tokio::test]
async fn crds_are_accepted() {
    let client = api_server::shared().await.client().await;
    for crd in tray_operator::api::crds::all_crds() {
        api_server::apply(&client, &serde_json::to_value(crd).unwrap()).await;
    }
    api_server::apply(&client, &json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "x"}, "spec": {}})).await;
}
