//! Who leads.

use std::sync::Arc;

use futures::FutureExt;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tray_ledger::Leadership;
use tray_operator::adapters::{
    clock::SystemClock,
    kube::leader::{Election, LeaseLook},
};

use crate::support::{api_server, objects::PATIENCE};

#[tokio::test]
async fn one_leads_until_it_resigns_or_another_has_the_lease_and_is_told() {
    let client = api_server::shared().await.client().await;
    let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}});
    api_server::apply(&client, &system).await;

    let mut first = Election::stand(client.clone(), "first").await.unwrap();
    tokio::time::timeout(PATIENCE, first.won())
        .await
        .expect("nobody else stands");
    let mut second = Election::stand(client.clone(), "second").await.unwrap();
    assert!(second.won().now_or_never().is_none(), "two lead at once");
    let held_by = async |identity: &str| {
        let (clock, holder) = (Arc::new(SystemClock), format!("{identity}/1"));
        let look = LeaseLook::new(client.clone(), identity, holder, clock, Arc::default());
        look.is_held().await
    };
    assert_eq!(
        (held_by("first").await, held_by("second").await),
        (Ok(true), Ok(false))
    );

    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(client.clone(), "tray-system");
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
    assert_eq!(
        (held_by("first").await, held_by("second").await),
        (Ok(false), Ok(true))
    );

    // As after a pause in which the Lease ran out and somebody else took it.
    let taken = json!({"spec": {"holderIdentity": "third", "renewTime": "2099-01-01T00:00:00.000000Z"}});
    let name = ours.name_any();
    leases
        .patch(&name, &PatchParams::default(), &Patch::Merge(taken))
        .await
        .unwrap();
    assert_eq!(
        held_by("second").await,
        Ok(false),
        "it may not have been told yet"
    );
    tokio::time::timeout(PATIENCE, second.lost())
        .await
        .expect("it goes on as if it led");
    second.resign().await;
    let held = leases.get(&name).await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(
        held.as_deref(),
        Some("third"),
        "who has lost the Lease gives nothing back"
    );
}
