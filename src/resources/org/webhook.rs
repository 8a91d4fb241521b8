//! An org's webhook host: which it is, the route from the Gateway to the workload, and what lets that through.
//!
//! A call with a good token reaches the workload. Every other call is answered by the responder beside the operator: 403,
//! or 503 while the org is suspended. The tokens stand in the route, so who may read HTTPRoutes may read them.

use serde_json::{Value, json};
use tray_api::{
    region::{Ingress, RegionSpec},
    workload::Workload,
};
use tray_domain::{
    ids::OrgId,
    names,
    webhook_tokens::{HEADER, Tokens},
};

use super::{Placement, network::own_pods_of};
use crate::resources::child::{ChildId, ChildKind, DesiredChild};

/// Where an org's webhook host leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Webhook<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// Its port that takes the calls.
    pub port: i32,
    /// Where they come in.
    pub ingress: &'a Ingress,
}

impl<'a> Webhook<'a> {
    /// Of an org that runs these workloads in that region; none where it has no webhook host.
    pub fn of(region: &'a RegionSpec, workloads: &'a [Workload]) -> Option<Self> {
        let workload = workload(workloads)?;
        let name = &workload.webhook.as_ref()?.port;
        Some(Self {
            workload,
            port: workload.ports.iter().find(|port| port.name == *name)?.port,
            ingress: region.ingress.as_ref()?,
        })
    }
}

/// The workload that takes an org's webhooks; an org has one at most.
pub fn workload(workloads: &[Workload]) -> Option<&Workload> {
    workloads.iter().find(|workload| workload.webhook.is_some())
}

/// Host of the webhooks of the org with that id in that region; none where the region has no ingress.
pub fn webhook_host(org_id: &OrgId, region: &RegionSpec) -> Option<String> {
    let ingress = region.ingress.as_ref()?;
    Some(names::webhook_host(org_id, &ingress.domain))
}

/// Which child the route is.
pub fn route_id(placement: &Placement) -> ChildId {
    ChildId {
        kind: ChildKind::HttpRoute,
        namespace: placement.namespace.clone(),
        name: names::WEBHOOK.into(),
    }
}

/// The route of the org's host.
pub fn route(
    placement: &Placement,
    webhook: &Webhook<'_>,
    tokens: &Tokens,
    is_suspended: bool,
) -> DesiredChild {
    let gateway = &webhook.ingress.gateway_ref;
    let rules = if is_suspended {
        vec![rule(&[any()], &responder(names::RESPONDER_SUSPENDED_PORT))]
    } else {
        let with_token: Vec<Value> = tokens.good().map(|token| carrying(token.as_str())).collect();
        let workload = json!({"name": webhook.workload.name, "namespace": null, "port": webhook.port});
        vec![
            rule(&with_token, &workload),
            rule(&[any()], &responder(names::RESPONDER_FORBIDDEN_PORT)),
        ]
    };
    let body = json!({
        "metadata": {"labels": placement.labels()},
        "spec": {
            "parentRefs": [{
                "group": "gateway.networking.k8s.io", "kind": "Gateway",
                "name": gateway.name, "namespace": gateway.namespace,
                "sectionName": null, "port": null,
            }],
            "hostnames": [names::webhook_host(&placement.org_id, &webhook.ingress.domain)],
            "rules": rules,
        },
    });
    let ChildId {
        kind,
        namespace,
        name,
    } = route_id(placement);
    DesiredChild::new(kind, namespace, name, body)
}

/// Nulls, since a filter could send the calls elsewhere, token and all.
fn rule(matches: &[Value], backend: &Value) -> Value {
    let mut backend = backend.clone();
    backend["group"] = "".into();
    backend["kind"] = "Service".into();
    backend["weight"] = 1.into();
    backend["filters"] = Value::Null;
    json!({"matches": matches, "filters": null, "backendRefs": [backend]})
}

/// Every path.
fn any() -> Value {
    json!({"path": {"type": "PathPrefix", "value": "/"}, "headers": null, "method": null, "queryParams": null})
}

fn carrying(token: &str) -> Value {
    let mut found = any();
    found["headers"] = json!([{"type": "Exact", "name": HEADER, "value": token}]);
    found
}

fn responder(port: u16) -> Value {
    json!({"name": names::RESPONDER, "namespace": names::SYSTEM_NAMESPACE, "port": port})
}

/// Lets the org's routes lead to the responder. One for each org: the Gateway API knows no pattern for namespaces.
pub fn grant(placement: &Placement) -> DesiredChild {
    let body = json!({
        "metadata": {"labels": placement.labels()},
        "spec": {
            "from": [{
                "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": placement.namespace,
            }],
            "to": [{"group": "", "kind": "Service", "name": names::RESPONDER}],
        },
    });
    DesiredChild::new(
        ChildKind::ReferenceGrant,
        names::SYSTEM_NAMESPACE,
        placement.namespace.clone(),
        body,
    )
}

/// Lets the Gateway's namespace reach the workload, at that one port.
pub fn network_policy(placement: &Placement, webhook: &Webhook<'_>) -> DesiredChild {
    let gateway = &webhook.ingress.gateway_ref.namespace;
    let from = json!([{"namespaceSelector": {"matchLabels": {names::NAMESPACE_NAME: gateway}}}]);
    let body = json!({
        "metadata": {"labels": placement.labels()},
        "spec": {
            "podSelector": own_pods_of(&webhook.workload.name),
            "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": [{"port": webhook.port, "protocol": "TCP"}]}],
            "egress": null,
        },
    });
    let namespace = placement.namespace.clone();
    DesiredChild::new(ChildKind::NetworkPolicy, namespace, names::WEBHOOK, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;
    use tray_domain::webhook_tokens::Token;

    fn tokens(previous: bool) -> Tokens {
        let token = |letter: &str| Token::new(&letter.repeat(43)).unwrap();
        let until = jiff::Timestamp::from_second(5).unwrap();
        Tokens {
            current: token("b"),
            previous: previous.then(|| (token("a"), until)),
            rotation: None,
        }
    }

    fn rendered(tokens: &Tokens, is_suspended: bool) -> Value {
        let (placement, region) = (fixtures::placement(), fixtures::region_with_webhook());
        let webhook = Webhook::of(&region, &region.workloads).unwrap();
        route(&placement, &webhook, tokens, is_suspended).body["spec"].clone()
    }

    /// (tokens, namespace, name and port of the backend) of each rule.
    fn rules(spec: &Value) -> Vec<(Vec<String>, String, String, i64)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |rule: &Value| {
            let matches = rule["matches"].as_array().unwrap().iter();
            let tokens = matches.filter_map(|m| m["headers"].as_array());
            let backends = rule["backendRefs"].as_array().unwrap();
            assert_eq!(backends.len(), 1);
            let backend = &backends[0];
            (
                tokens.map(|headers| text(&headers[0]["value"])).collect(),
                text(&backend["namespace"]),
                text(&backend["name"]),
                backend["port"].as_i64().unwrap(),
            )
        };
        spec["rules"].as_array().unwrap().iter().map(of).collect()
    }

    #[test]
    fn p21_a_good_token_leads_to_the_workload_and_all_else_to_the_responder() {
        let spec = rendered(&tokens(false), false);
        assert_eq!(
            spec["hostnames"],
            json!(["7c9e6679-7425-40de-944b-e07fc1f90ae7.hooks.eu.example.com"])
        );
        assert_eq!(spec["parentRefs"][0]["name"], "edge");
        assert_eq!(spec["parentRefs"][0]["namespace"], "tray-edge");
        let responder = |port| {
            (
                vec![],
                "tray-system".to_owned(),
                "tray-responder".to_owned(),
                port,
            )
        };
        let workload = |tokens: &[&str]| {
            let tokens = tokens.iter().map(|letter| letter.repeat(43)).collect();
            (tokens, String::new(), "runtime".to_owned(), 8080)
        };
        assert_eq!(rules(&spec), [workload(&["b"]), responder(8403)]);
        assert_eq!(
            rules(&rendered(&tokens(true), false)),
            [workload(&["b", "a"]), responder(8403)],
            "both tokens during the overlap"
        );
        let suspended = rendered(&tokens(true), true);
        assert_eq!(rules(&suspended), [responder(8503)]);
        assert!(
            !suspended.to_string().contains("bbb"),
            "no token where none is asked for"
        );
    }

    #[test]
    fn the_header_is_compared_as_a_whole() {
        let spec = rendered(&tokens(false), false);
        let header = &spec["rules"][0]["matches"][0]["headers"][0];
        assert_eq!(
            (&header["type"], &header["name"]),
            (&json!("Exact"), &json!("x-csrf-token"))
        );
    }

    #[test]
    fn an_org_without_a_webhook_workload_or_a_region_without_ingress_has_no_host() {
        let region = fixtures::region();
        assert_eq!(Webhook::of(&region, &region.workloads), None);
        assert_eq!(webhook_host(&fixtures::placement().org_id, &region), None);
        let with = fixtures::region_with_webhook();
        assert_eq!(Webhook::of(&region, &with.workloads), None, "no ingress");
        assert!(webhook_host(&fixtures::placement().org_id, &with).is_some());
    }

    #[test]
    fn p21_only_the_gateways_namespace_reaches_the_one_port() {
        let (placement, region) = (fixtures::placement(), fixtures::region_with_webhook());
        let webhook = Webhook::of(&region, &region.workloads).unwrap();
        let spec = &network_policy(&placement, &webhook).body["spec"];
        assert_eq!(
            spec["podSelector"]["matchLabels"],
            json!({"platform.tray.ai/workload": "runtime"})
        );
        assert_eq!(
            spec["ingress"],
            json!([{
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tray-edge"}}}],
                "ports": [{"port": 8080, "protocol": "TCP"}],
            }])
        );
    }

    #[test]
    fn the_grant_opens_the_responder_to_this_orgs_routes_alone() {
        let grant = grant(&fixtures::placement());
        assert_eq!(
            (grant.id.namespace.as_str(), grant.id.name.as_str()),
            ("tray-system", "org-acme-7c9e6679")
        );
        assert_eq!(grant.body["spec"]["from"][0]["namespace"], "org-acme-7c9e6679");
        assert_eq!(
            grant.body["spec"]["to"],
            json!([{"group": "", "kind": "Service", "name": "tray-responder"}])
        );
    }
}
