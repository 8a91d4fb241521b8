//! Webhook hosts on the real cluster, through a real Gateway: who gets in and who does not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use tray_e2e::demo::kube::Kube;
use tray_e2e::demo::orgs::{self, ORGS, Org};
use tray_e2e::gateway::Gateway;
use tray_e2e::{Progress, aws, install};

const ACME: Org = ORGS[0];
const GLOBEX: Org = ORGS[1];
const PATIENCE: Duration = Duration::from_secs(120);

/// One scenario after the other on one cluster: each needs the org as the one before left it.
#[test]
fn p21_calls_with_the_orgs_own_token_reach_it_and_no_others_do() {
    let cluster = support::start();
    let kube = Kube::of(&cluster).unwrap();
    let values = ["--set=webhooks.enabled=true"];
    install::install_with(&cluster, &values, Progress::start()).unwrap();
    orgs::apply_examples(&cluster).unwrap();
    for org in [&ACME, &GLOBEX] {
        // Ready, although nothing answers for the host yet.
        org.await_ready(&kube).unwrap();
        await_webhook(&kube, org, "GatewayApiMissing");
    }
    let gateway = Gateway::install(&cluster, Progress::start()).unwrap();
    for org in [&ACME, &GLOBEX] {
        await_webhook(&kube, org, "RouteAccepted");
    }
    let host = host(&kube, &ACME);
    assert_eq!(host, "7c9e6679-7425-40de-944b-e07fc1f90ae7.hooks.eu.tray.example");
    let (acme, globex) = (token(&kube, &ACME), token(&kube, &GLOBEX));
    assert_ne!(acme, globex);
    let calls = |what: &str, wanted: &[(Option<&str>, u16)]| {
        for (token, status) in wanted {
            assert_eq!(gateway.call(&host, *token).unwrap(), *status, "{what}: {token:?}");
        }
    };
    await_status(&kube, &gateway, &host, Some(&acme), 200);
    calls(
        "the token decides",
        &[
            (Some(&acme), 200),
            (Some("wrong"), 403),
            (Some(&format!("{acme}x")), 403),
            (None, 403),
            (Some(&globex), 403),
        ],
    );
    assert_eq!(
        gateway.call(&self::host(&kube, &GLOBEX), Some(&globex)).unwrap(),
        200
    );

    annotate(&kube, "one");
    let renewed = kube
        .wait(
            "the token was not replaced",
            PATIENCE,
            &["secret", "tray-webhook-token", "-n", ACME.namespace],
            |secret| Some(decode(&secret["data"]["token"])).filter(|token| *token != acme),
        )
        .unwrap();
    await_status(&kube, &gateway, &host, Some(&renewed), 200);
    calls(
        "both during the overlap",
        &[(Some(&acme), 200), (None, 403), (Some(&globex), 403)],
    );

    lifecycle(&kube, "Suspended");
    await_webhook(&kube, &ACME, "Suspended");
    // A call with the token is answered 503 as soon as no pod is left; only the new route answers it to all others.
    await_status(&kube, &gateway, &host, Some("wrong"), 503);
    calls(
        "nobody while suspended",
        &[(Some(&acme), 503), (Some(&renewed), 503), (None, 503)],
    );
    lifecycle(&kube, "Active");
    ACME.await_ready(&kube).unwrap();
    await_status(&kube, &gateway, &host, Some(&renewed), 200);
    calls("the same tokens after it", &[(Some(&acme), 200), (None, 403)]);

    let told = kube.run(&["get", "trayorgs,events", "-A", "-o", "json"]).unwrap();
    let logs = [
        "logs",
        "-n",
        "tray-system",
        "-l",
        "app.kubernetes.io/name=tray-operator",
        "--tail=-1",
    ];
    let told = told + &kube.run(&logs).unwrap();
    for token in [&acme, &renewed, &globex] {
        assert!(!told.contains(token.as_str()), "a token is told");
    }
    assert_eq!(aws::root_requests(cluster.dir()).unwrap(), Vec::<String>::new());
}

fn await_webhook(kube: &Kube, org: &Org, reason: &str) {
    let what = format!("{} did not say {reason} of its webhook host", org.name);
    let found = kube.wait(&what, PATIENCE, &["trayorg", org.name], |object| {
        let conditions = object["status"]["conditions"].as_array()?;
        let webhook = conditions.iter().find(|c| c["type"] == "WebhookReady")?;
        (webhook["reason"] == reason).then_some(())
    });
    assert!(
        found.is_ok(),
        "{found:?}\n{:#}",
        kube.get(&["trayorg", org.name]).unwrap()
    );
}

/// The Gateway takes up a change a moment after it said that it accepts it.
fn await_status(kube: &Kube, gateway: &Gateway<'_>, host: &str, token: Option<&str>, status: u16) {
    let what = format!("the Gateway did not answer {status}");
    kube.wait(&what, PATIENCE, &["gateway", "edge", "-n", "tray-edge"], |_| {
        (gateway.call(host, token).ok()? == status).then_some(())
    })
    .unwrap();
}

fn host(kube: &Kube, org: &Org) -> String {
    let org = kube.get(&["trayorg", org.name]).unwrap();
    org["status"]["webhookHost"].as_str().unwrap().to_owned()
}

fn token(kube: &Kube, org: &Org) -> String {
    let secret = ["secret", "tray-webhook-token", "-n", org.namespace];
    decode(&kube.get(&secret).unwrap()["data"]["token"])
}

fn decode(data: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD
        .decode(data.as_str().unwrap())
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

fn annotate(kube: &Kube, rotation: &str) {
    let annotation = format!("platform.tray.ai/rotate-webhook-token={rotation}");
    kube.run(&["annotate", "trayorg", ACME.name, &annotation])
        .unwrap();
}

fn lifecycle(kube: &Kube, state: &str) {
    let patch = json!({"spec": {"lifecycle": {"state": state}}}).to_string();
    kube.run(&["patch", "trayorg", ACME.name, "--type=merge", "--patch", &patch])
        .unwrap();
}
