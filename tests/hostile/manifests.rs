//! Three hundred manifests from a seed: the API server refuses each, or the operator answers it in a condition. None stops it,
//! nor any other org.

use std::{collections::BTreeMap, str::FromStr};

use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tray_api::kinds::Kind;

use crate::{
    generator::Generator,
    support::{
        api_server::{self, eventually},
        installed::{self, conditions, play_kubernetes},
        orgs::{self, org, until},
        tools,
    },
    valid, world,
};

/// Another one is named by `TRAY_HOSTILE_SEED`. The same at every run unless somebody looks for more: what fails has been
/// changed since it last passed.
const SEED: u64 = 20_260_101;
/// Manifests of each kind, in this order: what comes later may name what was let in. Of any other kind there are
/// [`OF_OTHERS`], after these.
const KINDS: [(Kind, usize); 8] = [
    (Kind::RetentionPolicy, 15),
    (Kind::BackupSchedule, 30),
    (Kind::Region, 70),
    (Kind::TrayOrg, 110),
    (Kind::OrgSnapshot, 25),
    (Kind::OrgRestore, 25),
    (Kind::SupportAccess, 20),
    (Kind::OrgTombstone, 5),
];
const OF_OTHERS: usize = 20;

/// Admins of the org that lets support in.
const ADMINS: &str = "good-admins";

fn seed() -> u64 {
    let named = tools::variable("TRAY_HOSTILE_SEED").and_then(|seed| u64::from_str(seed.to_str()?).ok());
    named.unwrap_or(SEED)
}

/// What an API server said to a manifest.
enum Answer {
    Stored(Value),
    Refused(u16, String),
}

async fn create(client: &Client, plural: &str, namespace: &str, manifest: &Value) -> Answer {
    let within = if namespace.is_empty() {
        String::new()
    } else {
        format!("namespaces/{namespace}/")
    };
    let request = Request::post(format!("/apis/platform.tray.ai/v1alpha1/{within}{plural}"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(manifest).unwrap())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(stored) => Answer::Stored(stored),
        Err(kube::Error::Api(status)) => Answer::Refused(status.code, status.message.clone()),
        Err(error) => panic!("{error}: {manifest}"),
    }
}

/// What is there of an object now; none where it is gone.
async fn look(client: &Client, object: &Value) -> Option<Value> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let api = orgs::api(
        client,
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
    )
    .await;
    let found = api.get_opt(text("/metadata/name")).await.unwrap();
    found.map(|object| serde_json::to_value(object).unwrap())
}

/// Whether the operator has said of it what there is to say.
fn is_told(object: &Value) -> bool {
    let said = conditions(object);
    let honest = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    let speaks = match object["kind"].as_str() {
        // What it leads to is said by the orgs that name it.
        Some("RetentionPolicy") => object["status"]["orgs"].is_u64(),
        _ => {
            !said.is_empty()
                && said
                    .values()
                    .all(|(_, reason, message)| !reason.is_empty() && !message.is_empty())
        }
    };
    honest && speaks
}

/// How many manifests of each kind.
fn manifests() -> impl Iterator<Item = (Kind, usize)> {
    let is_other = |kind: &Kind| KINDS.iter().all(|(named, _)| named != kind);
    let others = Kind::ALL.into_iter().filter(is_other);
    KINDS.into_iter().chain(others.map(|kind| (kind, OF_OTHERS)))
}

#[tokio::test]
async fn hostile_manifests_are_refused_or_told_and_stop_nobody() {
    let seed = seed();
    println!("to repeat this: TRAY_HOSTILE_SEED={seed}");
    let (operator, client) = world().await;
    let owners = json!({"owners": [{"kind": "Group", "name": ADMINS, "role": "Admin"}]});
    // Its namespace is the one that `valid` lets support into.
    api_server::apply(&client, &org("valid", "7c9e6679", "eu", &owners)).await;
    until(&client, "TrayOrg", "valid", &[("Ready", "True/AsSpecified")]).await;

    let mut generator = Generator::new(seed);
    for (kind, name) in [
        ("Region", "eu"),
        ("RetentionPolicy", "standard"),
        ("BackupSchedule", "standard"),
        ("TrayOrg", "valid"),
    ] {
        generator.knows(kind, name);
    }
    let admin = api_server::shared()
        .await
        .client_as(Some("ann"), &[ADMINS, "system:authenticated"])
        .await;
    // What the operator alone may say is in some of them: the controllers are to see it.
    let as_operator = api_server::shared()
        .await
        .client_as(Some(installed::OPERATOR), &["system:masters"])
        .await;
    let (mut stored, mut failures, mut codes) =
        (Vec::new(), Vec::new(), BTreeMap::<(String, u16), u32>::new());
    for (kind, number) in manifests() {
        let plural = kind.resource().plural;
        for _ in 0..number {
            let manifest = generator.manifest(kind.as_str());
            let (by, namespace) = match kind {
                Kind::SupportAccess => (&admin, valid::NAMESPACE),
                Kind::OrgSnapshot => (&as_operator, ""),
                _ => (&client, ""),
            };
            let code = match create(by, &plural, namespace, &manifest).await {
                Answer::Stored(object) => {
                    generator.knows(kind.as_str(), object["metadata"]["name"].as_str().unwrap());
                    stored.push(object);
                    201
                }
                Answer::Refused(code @ 400..=499, said) if !said.is_empty() => code,
                Answer::Refused(code, said) => {
                    failures.push(format!("{code} {said}: {manifest}"));
                    code
                }
            };
            *codes.entry((kind.to_string(), code)).or_default() += 1;
        }
    }
    println!("{codes:?}");

    let mut reasons = BTreeMap::<String, u32>::new();
    for object in &stored {
        let told = eventually(async || {
            let Some(now) = look(&client, object).await else {
                // A view of the ledger, of which each org keeps three.
                assert_eq!(object["kind"], "OrgSnapshot");
                return Some(json!({"gone": object}));
            };
            if let Some(namespace) = now["status"]["namespace"].as_str() {
                play_kubernetes(&client, namespace).await;
            }
            is_told(&now).then_some(now)
        });
        match told.await {
            Some(now) => {
                for (type_, (status, reason, said)) in conditions(&now) {
                    *reasons
                        .entry(format!("{} {type_} {status}/{reason}", now["kind"]))
                        .or_default() += 1;
                    // What cannot be rendered has no place in a schema.
                    if reason == "ApplyRefused" {
                        failures.push(format!("{} {}: {said}", now["kind"], now["metadata"]["name"]));
                    }
                }
            }
            None => failures.push(format!("nothing is said of {:?}", look(&client, object).await)),
        }
    }
    println!("{reasons:#?}");
    assert!(failures.is_empty(), "{failures:#?}");
    // Enough of them came through to the controllers.
    let placed = reasons.get("\"TrayOrg\" Placed True/AsSpecified");
    assert!(
        stored.len() > 50 && placed.is_some_and(|orgs| *orgs > 3),
        "{} stored, {placed:?} placed",
        stored.len()
    );
    // Nothing goes round in circles, and nothing waits.
    let passes = operator.passes();
    assert!(
        passes < 15 * stored.len() as u64,
        "{passes} passes over {} objects",
        stored.len()
    );
    api_server::apply(&client, &org("good", "60000d00", "eu", &json!({}))).await;
    until(&client, "TrayOrg", "good", &[("Ready", "True/AsSpecified")]).await;
    let drained = eventually(async || (operator.queued() == 0).then_some(())).await;
    assert!(drained.is_some(), "{} keys wait", operator.queued());
    assert_eq!(installed::panics(), Vec::<String>::new());
    assert!(operator.is_alive());
}
