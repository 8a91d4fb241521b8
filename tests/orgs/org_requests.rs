//! How much the operator asks of the API server for one org: alone with it, since requests are counted.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use support::{
    api_server::{self, api_of, eventually},
    installed::{self, conditions, play_kubernetes},
    operator::passes,
    orgs::examples,
};
use tray_operator::controllers::{Driver, changes::Change, org::OrgDriver};

/// Requests that an org may take from its creation until it is ready.
const BUDGET: u64 = 30;

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
        let passed = passes(&operator.ctx, "org");
        operator.ctx.changes.publish(&Change::Org("acme".into()));
        assert!(
            eventually(async || (passes(&operator.ctx, "org") > passed).then_some(()))
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
