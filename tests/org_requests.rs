//! How much the operator asks of the API server for one org: alone in its process, since requests are counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{fs, path::Path, sync::Arc};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    chart,
    installed::{self, Operator, conditions, play_kubernetes},
};
use tray_operator::{
    controllers::{Driver, changes::Change, org::OrgDriver},
    telemetry::metrics::Controller,
};

/// Requests that an org may take from its creation until it is ready.
const BUDGET: u64 = 30;

fn examples(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    chart::documents(&fs::read_to_string(path).unwrap())
}

fn passes(operator: &Operator) -> u64 {
    operator
        .ctx
        .metrics
        .reconciles
        .get_or_create(&Controller { controller: "org" })
        .get()
}

#[tokio::test]
async fn an_org_takes_few_requests_to_be_made_and_none_to_be_kept() {
    let operator = installed::shared(|| vec![Arc::new(OrgDriver::default()) as Arc<dyn Driver>]).await;
    let client = api_server::shared().await.client().await;
    for object in [examples("policies.yaml"), examples("regions.yaml")].concat() {
        api_server::apply(&client, &object).await;
    }
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "AsSpecified", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let client_of_operator = installed::client().await;
    let regions = api_of(&client_of_operator, &examples("regions.yaml")[0])
        .await
        .unwrap();
    regions
        .patch_status("eu", &PatchParams::default(), &Patch::Merge(ready))
        .await
        .unwrap();
    let before = operator.requests();

    let acme = examples("orgs/acme-eu.yaml").remove(0);
    api_server::apply(&client, &acme).await;
    let orgs = api_of(&client, &acme).await.unwrap();
    let is_ready = eventually(async || {
        play_kubernetes(&client, "org-acme-7c9e6679").await;
        let org = serde_json::to_value(orgs.get("acme").await.unwrap()).unwrap();
        conditions(&org)
            .get("Ready")
            .is_some_and(|(status, _, _)| status == "True")
            .then_some(())
    });
    assert!(is_ready.await.is_some(), "{:#?}", orgs.get("acme").await);
    let made = operator.requests() - before;
    assert!((20..=BUDGET).contains(&made), "{made} requests");

    // A pass over what is as it should be asks nothing.
    for _ in 0..3 {
        let passed = passes(operator);
        operator.ctx.changes.publish(&Change::Org("acme".into()));
        assert!(
            eventually(async || (passes(operator) > passed).then_some(()))
                .await
                .is_some()
        );
    }
    // The event of becoming ready may have come after the status.
    assert!(
        operator.requests() - before <= made + 1,
        "{} requests",
        operator.requests() - before
    );
}
