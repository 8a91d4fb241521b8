//! Who leads.

use futures::FutureExt;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use tray_operator::adapters::kube::leader::Election;

use crate::support::api_server::{self, PATIENCE};

#[tokio::test]
async fn one_leads_and_the_next_takes_over_as_soon_as_it_resigns() {
    let client = api_server::shared().await.client().await;
    let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}});
    api_server::apply(&client, &system).await;

    let mut first = Election::stand(client.clone(), "first").await.unwrap();
    tokio::time::timeout(PATIENCE, first.won())
        .await
        .expect("nobody else stands");
    let mut second = Election::stand(client.clone(), "second").await.unwrap();
    assert!(second.won().now_or_never().is_none(), "two lead at once");

    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(client, "tray-system");
    let held = leases.list(&ListParams::default()).await.unwrap().items;
    // Beside it lie the locks of orgs.
    let ours = held
        .iter()
        .find(|lease| !lease.name_any().starts_with("repositories-"))
        .unwrap();
    let holder = ours.spec.as_ref().unwrap().holder_identity.clone();
    assert_eq!(holder.as_deref(), Some("first"));

    first.resign().await;
    tokio::time::timeout(PATIENCE, second.won())
        .await
        .expect("the Lease is free");
    second.resign().await;
}
