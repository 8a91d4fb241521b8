//! Bad input: what a person or a tool may hand to the API server, with the chart's policies installed and every
//! controller of the operator at work. A program of its own: that the operator panics nowhere is read off all threads of the
//! process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

#[path = "../api_server/edit.rs"]
mod edit;
mod generator;
mod limits;
mod manifests;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "another test uses the rest")]
#[path = "../api_server/crds/valid.rs"]
mod valid;

use kube::Client;
use serde_json::json;
use support::{
    api_server,
    installed::{self, Operator},
    orgs::{node, platform, region, until},
};

/// The operator with all its controllers, a Region `eu` that is ready, and the policies that orgs name.
async fn world() -> (&'static Operator, Client) {
    let operator = installed::shared(tray_operator::operator::drivers).await;
    let client = api_server::shared().await.client().await;
    installed::gateway_api(&client).await;
    platform(&client).await;
    node(&client, "eu-a", "eu-west-1").await;
    let runtime = json!({"name": "runtime", "kind": "Deployment", "image": "runtime:1", "replicas": 2, "runAsUser": 1000});
    let region = region("eu", "eu-west-1", &json!({"workloads": [runtime]}));
    api_server::apply(&client, &region).await;
    until(&client, "Region", "eu", &[("Ready", "True/AsSpecified")]).await;
    (operator, client)
}
