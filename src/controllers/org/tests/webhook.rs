//! The webhook host.

use tray_api::conditions::{reasons, types};

use super::world::{ID, World, fact, reason_of, said};
use crate::{
    controllers::{
        changes::Change,
        conditions::is_true,
        org::{
            mapper::keys_of,
            webhook_host::{Exposure, WebhookFindings, exposure},
        },
    },
    resources::org::fixtures,
};

/// A placed org whose Region has an ingress, and whose `runtime` takes webhooks.
fn with_webhook() -> World {
    let mut world = World::placed();
    let spec = serde_json::to_value(fixtures::region_with_webhook()).unwrap();
    world.region["spec"] = spec;
    world
}

#[test]
fn p21_a_webhook_host_needs_a_workload_an_ingress_and_a_cluster_that_routes() {
    let reason = |exposure: Exposure<'_>| match exposure {
        Exposure::Unwanted => "none".to_owned(),
        Exposure::Impossible(fact) => fact.reason,
        Exposure::To(webhook) => webhook.workload.name.clone(),
    };
    let plain = World::placed().valid();
    assert_eq!(reason(exposure(&plain, true, true)), "none");
    let valid = with_webhook().valid();
    for (webhooks, gateway_api, wanted) in [
        (false, false, reasons::WEBHOOKS_DISABLED),
        (true, false, reasons::GATEWAY_API_MISSING),
        (true, true, "runtime"),
    ] {
        assert_eq!(reason(exposure(&valid, webhooks, gateway_api)), wanted);
    }
    let mut world = with_webhook();
    world.region["spec"]["ingress"].take();
    let valid = world.valid();
    let Exposure::Impossible(fact) = exposure(&valid, true, true) else {
        panic!("there is no ingress")
    };
    assert_eq!(fact.reason, reasons::INGRESS_MISSING);
    for named in ["runtime", "Region eu", "spec.ingress"] {
        assert!(fact.message.contains(named), "{}", fact.message);
    }
}

#[test]
fn p21_a_status_names_the_host_and_is_ready_without_it() {
    let missing = WebhookFindings {
        condition: Some(fact(false, "GatewayApiMissing")),
        again: None,
    };
    let told = with_webhook().status_with(&fact(true, "AsSpecified"), missing);
    let host = format!("{ID}.hooks.eu.example.com");
    assert_eq!(told.webhook_host, Some(host));
    assert_eq!(
        reason_of(&told, types::WEBHOOK_READY),
        said("False", "GatewayApiMissing")
    );
    assert!(is_true(&told.conditions, types::READY));
    let without = World::placed().status(&fact(true, "AsSpecified"));
    assert_eq!(without.webhook_host, None);
    assert_eq!(reason_of(&without, types::WEBHOOK_READY), None);
}

#[test]
fn orgs_of_regions_with_an_ingress_are_looked_at_when_the_gateway_api_comes() {
    for (world, concerned) in [
        (with_webhook(), vec!["acme".to_owned()]),
        (World::placed(), vec![]),
    ] {
        world.observed();
        assert_eq!(keys_of(&Change::GatewayApi, &world.index), concerned);
    }
}
