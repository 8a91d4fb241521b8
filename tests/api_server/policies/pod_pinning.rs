//! Pods of an org ask for its region themselves.

use serde_json::json;

use super::{
    cases::{Case, change, create},
    holds, pods,
    world::{BARE, ORG, PLAIN, Who},
};
use crate::edit::with;

pub(super) const POLICY: &str = "tray-pod-pinning";

/// A Deployment in the org's namespace from before the policy, which asks for no region.
pub(super) const UNPINNED: &str = "unpinned";

pub(super) fn cases() -> Vec<Case> {
    let pod = |pointer: &str, value| pods::pod(&with(pods::spec(), pointer, value));
    let region = "/nodeSelector/topology.kubernetes.io~1region";
    let right = || create(pods::path(ORG), pods::pod(&pods::spec()));
    let csi = json!([{"name": "v", "csi": {"driver": "d"}}]);
    let claim = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let missing_in_template = "spec.template.spec.nodeSelector must hold";
    let missing = "spec.nodeSelector must hold topology.kubernetes.io/region: 'eu-west-1'";
    let mut cases = vec![
        right().passes_for(Who::Admin),
        right().passes_for(Who::Controller("replicaset-controller")),
        create(pods::path(ORG), pod("/volumes", claim)).passes_for(Who::Admin),
        // Elsewhere pods go where they like.
        create(pods::path(PLAIN), pod("/nodeName", json!("n1"))).passes_for(Who::Admin),
        create(pods::path(PLAIN), pod("/nodeSelector", json!({}))).passes_for(Who::Admin),
        create(pods::path(ORG), pod("/nodeSelector", json!({}))).refused_to(Who::Admin, missing),
        create(pods::path(ORG), pod(region, json!("us-west-2"))).refused_to(Who::Admin, missing),
        create(pods::path(ORG), pod(region, json!("us-west-2"))).refused_to(Who::Operator, missing),
        create(pods::path(ORG), pod(region, json!("us-west-2")))
            .refused_to(Who::Controller("job-controller"), missing),
        create(pods::path(ORG), pod("/nodeName", json!("n1")))
            .refused_to(Who::Admin, "spec.nodeName must not be set"),
        create(pods::path(BARE), pod("/volumes", csi.clone()))
            .refused_to(Who::Admin, "must not hold inline CSI volumes"),
    ];
    // What makes pods is refused with the place in it, whoever makes it.
    for ask in pods::templates(ORG, &pods::spec(), &json!({})) {
        cases.push(ask.clone().passes_for(Who::Admin));
        cases.push(ask.passes_for(Who::Operator));
    }
    for ask in pods::templates(PLAIN, &with(pods::spec(), "/nodeSelector", json!({})), &json!({})) {
        cases.push(ask.passes_for(Who::Admin));
    }
    for ask in pods::templates(ORG, &with(pods::spec(), region, json!("us-west-2")), &json!({})) {
        let words = if ask.path.ends_with("/cronjobs") {
            "spec.jobTemplate.spec.template.spec.nodeSelector must hold"
        } else {
            "spec.template.spec.nodeSelector must hold topology.kubernetes.io/region: 'eu-west-1'"
        };
        cases.push(ask.clone().refused_to(Who::Admin, words));
        cases.push(ask.refused_to(Who::Operator, words));
    }
    for ask in pods::templates(BARE, &with(pods::spec(), "/volumes", csi), &json!({})) {
        cases.push(ask.refused_to(Who::Admin, "spec.volumes must not hold inline CSI volumes"));
    }
    for ask in pods::templates(ORG, &with(pods::spec(), "/nodeName", json!("n1")), &json!({})) {
        cases.push(ask.refused_to(Who::Admin, "spec.nodeName must not be set"));
    }
    // What was there before can be scaled and labelled, but its pods cannot be changed for others that are no better.
    let old = format!("/apis/apps/v1/namespaces/{ORG}/deployments/{UNPINNED}");
    cases.push(change(old.clone(), json!({"spec": {"replicas": 0}})).passes_for(Who::Admin));
    let other = json!({"spec": {"template": {"spec": {"hostname": "other"}}}});
    cases.push(change(old, other).refused_to(Who::Admin, missing_in_template));
    cases
}

#[tokio::test]
async fn p1_a_pod_that_does_not_ask_for_the_region_of_its_org_is_refused() {
    holds(POLICY).await;
}
