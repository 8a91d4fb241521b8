//! What webhook hosts cost in requests: alone with the operator, since its requests are counted.

#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeSet, sync::Arc};

use kube::{
    Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    installed::{self, conditions, play_kubernetes},
    operator::Operator,
    orgs::{self, object},
};
use tray_operator::controllers::{Driver, org::OrgDriver};

fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![Arc::new(OrgDriver::default())]
}

async fn prepare(client: &Client) {
    let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}});
    api_server::apply(client, &system).await;
    let webhook = json!({"port": "http"});
    for (name, webhook) in [("hooks", webhook), ("plain", Value::Null)] {
        let region = orgs::region(
            name,
            "eu-west-1",
            &json!({
                "zones": ["eu-west-1a"],
                "ingress": {"domain": "hooks.example.com", "gatewayRef": {"name": "edge", "namespace": "tray-edge"}},
                "workloads": [{"name": "web", "kind": "Deployment", "image": "web:1",
                    "ports": [{"name": "http", "port": 8080}], "webhook": webhook}],
            }),
        );
        api_server::apply(client, &region).await;
        let ready = json!({"type": "Ready", "status": "True", "reason": "AsSpecified", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = Patch::Merge(json!({"status": {"conditions": [ready]}}));
        let regions = api_of(client, &region).await.unwrap();
        regions
            .patch_status(name, &PatchParams::default(), &status)
            .await
            .unwrap();
    }
    for (kind, spec) in [
        ("RetentionPolicy", json!({})),
        ("BackupSchedule", json!({"schedule": "0 */12 * * *"})),
    ] {
        api_server::apply(client, &object(kind, "standard", &spec)).await;
    }
    installed::gateway_api(client).await;
}

async fn until_ready(client: &Client, org: &Value) {
    let orgs = api_of(client, org).await.unwrap();
    let name = org["metadata"]["name"].as_str().unwrap();
    let ready = eventually(async || {
        let org = serde_json::to_value(orgs.get(name).await.unwrap()).unwrap();
        if let Some(namespace) = org["status"]["namespace"].as_str() {
            play_kubernetes(client, namespace).await;
        }
        let said = conditions(&org);
        let has_host = org["spec"]["regionRef"]["name"] == "hooks";
        let is_exposed = said
            .get("WebhookReady")
            .is_some_and(|(_, reason, _)| reason == "RoutePending");
        (said.get("Ready")?.0 == "True" && is_exposed == has_host).then_some(())
    });
    assert!(ready.await.is_some(), "{:#?}", orgs.get(name).await);
}

/// Reads of single objects and writes, and how many of each.
fn asked(operator: &Operator) -> BTreeSet<String> {
    let requests = operator.requests(&["get", "create", "update", "patch", "delete"]);
    requests.into_iter().collect()
}

#[tokio::test]
async fn p21_a_token_is_never_read_while_the_operator_lives_and_once_after_a_start() {
    let first = Operator::new().await;
    let client = api_server::shared().await.client().await;
    prepare(&client).await;
    let working = first.start(drivers()).await;
    let orgs = [
        ("hooked", "hooks", '1'),
        ("second", "hooks", '2'),
        ("plain", "plain", '3'),
    ]
    .map(|(name, region, digit)| {
        let id = format!("{digit}0000000-0000-4000-8000-000000000000");
        object(
            "TrayOrg",
            name,
            &json!({"orgId": id, "regionRef": {"name": region}, "plan": "Team"}),
        )
    });
    for org in &orgs {
        api_server::apply(&client, org).await;
    }
    for org in &orgs {
        until_ready(&client, org).await;
    }
    let made = asked(&first);
    for wanted in [
        "create httproutes 2",
        "create referencegrants 2",
        "create secrets 2",
    ] {
        assert!(made.contains(wanted), "{wanted}: {made:?}");
    }
    assert!(
        !made.iter().any(|request| request.starts_with("get ")),
        "{made:?}"
    );
    working.stop().await;

    let second = Operator::new().await;
    let working = second.start(drivers()).await;
    // Every org has been looked at when the last one's token has been read and a change of another is carried out.
    let plain = &orgs[2];
    let rename = Patch::Merge(json!({"spec": {"displayName": "Plain"}}));
    let api = api_of(&client, plain).await.unwrap();
    let renamed = api
        .patch("plain", &PatchParams::default(), &rename)
        .await
        .unwrap();
    let seen = eventually(async || {
        let org = api.get("plain").await.unwrap();
        let is_seen = org.data["status"]["observedGeneration"] == json!(renamed.metadata.generation);
        (is_seen && asked(&second).contains("get secrets 2")).then_some(())
    });
    assert!(seen.await.is_some(), "{:?}", asked(&second));
    let expected = ["get secrets 2", "patch trayorgs/status 1"].map(str::to_owned);
    assert_eq!(asked(&second), BTreeSet::from(expected));
    working.stop().await;
}
