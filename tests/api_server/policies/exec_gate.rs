//! Pods of an org are entered by support staff whom it let in, and by hooks. Every attempt is in the audit log.

use super::{
    binding::WAITING,
    cases::{Case, connect},
    holds, pods,
    world::{ORG, PLAIN, STAFF, Who, world},
};
use crate::support::api_server::{self, eventually};

pub(super) const POLICY: &str = "tray-exec-gate";

const WORDS: &str = "no SupportAccess of role Debug is active in org-acme-00000001 for";

pub(super) fn cases() -> Vec<Case> {
    let pod = |namespace: &str, way: &str| connect(format!("{}/{WAITING}/{way}", pods::path(namespace)));
    let service = |namespace: &str| connect(format!("/api/v1/namespaces/{namespace}/services/inside/proxy/"));
    let look = |namespace: &str| pods::debug(namespace, WAITING, &[pods::debugger()]);
    let ways = [
        "exec?command=sh&stdout=true",
        "attach?stdout=true",
        "portforward?ports=1",
        "proxy/",
    ];
    let mut asks = vec![(look(PLAIN), look(ORG)), (service(PLAIN), service(ORG))];
    asks.extend(ways.map(|way| (pod(PLAIN, way), pod(ORG, way))));
    let mut cases = Vec::new();
    for (elsewhere, inside) in asks {
        cases.push(elsewhere.passes_for(Who::Admin));
        cases.push(inside.clone().passes_for(Who::Operator));
        cases.push(inside.clone().passes_for(Who::In(STAFF[0])));
        // Staff that this org did not let in, and whoever administers the cluster.
        cases.push(inside.clone().refused_to(Who::In(STAFF[1]), WORDS));
        cases.push(inside.clone().refused_to(Who::Neighbour("default"), WORDS));
        cases.push(inside.refused_to(Who::Admin, WORDS));
    }
    cases
}

#[tokio::test]
async fn p17_pods_of_an_org_are_entered_only_while_it_lets_support_in() {
    holds(POLICY).await;
}

#[tokio::test]
async fn p17_every_attempt_is_in_the_audit_log_with_org_user_and_by_what() {
    let world = world().await;
    let _all_bound = world.bound().await;
    for (who, user, by) in [
        (
            Who::Operator,
            "system:serviceaccount:tray-system:tray-operator",
            "operator",
        ),
        (Who::In(STAFF[0]), "somebody", "SupportAccess of support"),
        (Who::Admin, "admin", "refused"),
    ] {
        let path = format!("{}/{WAITING}/exec?command=audited&stdout=true", pods::path(ORG));
        let _ = world.dry_run(who, &connect(path)).await;
        let found = eventually(async || {
            let events = api_server::shared().await.audit();
            events.into_iter().find(|event| {
                let note = |key: &str| event["annotations"][format!("{POLICY}/{key}")].as_str();
                event["requestURI"]
                    .as_str()
                    .is_some_and(|uri| uri.contains("command=audited"))
                    && (note("org"), note("user"), note("by")) == (Some("acme"), Some(user), Some(by))
                    && note("org-id").is_some_and(|id| ORG.ends_with(&id[..8]))
            })
        });
        assert!(found.await.is_some(), "{user} by {by} is not in the audit log");
    }
}
