//! What an org's pods may reach and be reached by: nothing, but for the openings here. Policies only ever add, so each
//! opening is one policy of its own.
//!
//! Movers hold an org's data in clear. They share no opening with the org's own pods but DNS: nobody reaches them, and they
//! reach the backup location and, where they archive objects, the API server.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tray_api::{
    region::{Endpoints, RegionSpec},
    trayorg::{Egress, INTERNAL_CIDRS, Network, TrayOrgSpec},
};
use tray_domain::names;

use super::{Placement, Surroundings, workload_selector};
use crate::resources::child::{ChildKind, DesiredChild};

/// Port of S3, KMS and STS.
const HTTPS: u16 = 443;

/// The org's network policies.
pub fn policies(
    placement: &Placement,
    org: &TrayOrgSpec,
    region: &RegionSpec,
    surroundings: &Surroundings,
) -> Vec<DesiredChild> {
    let policy = |name: &str, selector: Value, ingress: Value, egress: Value| {
        let types: &[&str] = match (&ingress, &egress) {
            (Value::Null, Value::Null) => &["Ingress", "Egress"],
            (_, Value::Null) => &["Ingress"],
            (Value::Null, _) => &["Egress"],
            _ => &["Ingress", "Egress"],
        };
        let body = json!({
            "metadata": {"labels": placement.labels()},
            "spec": {"podSelector": selector, "policyTypes": types, "ingress": ingress, "egress": egress},
        });
        DesiredChild::new(ChildKind::NetworkPolicy, placement.namespace.clone(), name, body)
    };
    let own = json!([{"podSelector": own_pods()}]);
    let mut policies = vec![
        policy("tray-default-deny", json!({}), Value::Null, Value::Null),
        policy("tray-dns", json!({}), Value::Null, dns()),
        policy(
            "tray-same-namespace",
            own_pods(),
            json!([{"from": own}]),
            json!([{"to": own}]),
        ),
        policy(
            "tray-mover-backup",
            movers(None),
            Value::Null,
            json!([{"ports": tcp(&backup_ports(&region.backup.endpoints))}]),
        ),
        policy(
            "tray-mover-objects",
            movers(Some(names::OBJECTS_PART)),
            Value::Null,
            json!([{"ports": tcp(&surroundings.api_server_ports.iter().copied().collect())}]),
        ),
    ];
    let outside = outside(&org.network);
    if !outside.is_empty() {
        policies.push(policy(
            "tray-egress",
            own_pods(),
            Value::Null,
            json!([{"to": outside}]),
        ));
    }
    policies
}

/// Every pod but movers, which alone carry the label. Not by `NotIn`, which also selects pods without the label: not all
/// who read policies know that.
fn own_pods() -> Value {
    json!({"matchExpressions": [{"key": names::LABEL_COMPONENT, "operator": "DoesNotExist"}]})
}

/// The pods of one workload. A mover never counts among them, whatever its labels say.
pub(super) fn own_pods_of(workload: &str) -> Value {
    let mut selector = own_pods();
    selector["matchLabels"] = workload_selector(workload);
    selector
}

/// Movers, of one part or all. Only the operator's Jobs may carry the label: an admission policy holds that.
fn movers(part: Option<&str>) -> Value {
    let mut labels = json!({names::LABEL_COMPONENT: names::COMPONENT_MOVER});
    if let Some(part) = part {
        labels[names::LABEL_PART] = part.into();
    }
    json!({"matchLabels": labels})
}

fn dns() -> Value {
    json!([{
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }],
    }])
}

/// What is open outside of the cluster: blocks of addresses.
fn outside(network: &Network) -> Vec<Value> {
    let block = |cidr: &str| {
        let within = |internal: &&&str| internal.contains(':') == cidr.contains(':');
        let except: Vec<&str> = INTERNAL_CIDRS.iter().filter(within).copied().collect();
        json!({"ipBlock": {"cidr": cidr, "except": except}})
    };
    match network.egress {
        Egress::None => Vec::new(),
        Egress::PublicOnly => ["0.0.0.0/0", "::/0"].map(block).into(),
        // The CRD refuses ranges that touch an internal one.
        Egress::AllowList => {
            let cidrs = network.allow_cidrs.iter().flatten();
            cidrs.map(|cidr| json!({"ipBlock": {"cidr": cidr}})).collect()
        }
    }
}

/// Ports of S3, KMS and STS: HTTPS, and those of custom endpoints. Their addresses cannot be told: names are not part of
/// network policies, and AWS's addresses change.
fn backup_ports(endpoints: &Endpoints) -> BTreeSet<u16> {
    let custom = [&endpoints.s3, &endpoints.kms, &endpoints.sts];
    custom
        .into_iter()
        .filter_map(|url| port(url))
        .chain([HTTPS])
        .collect()
}

/// The port that a URL names; none where it names none.
fn port(url: &str) -> Option<u16> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    // Brackets hold an IPv6 address, whose colons are none before a port.
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_address.rsplit_once(':')?.1.parse().ok()
}

fn tcp(ports: &BTreeSet<u16>) -> Vec<Value> {
    ports
        .iter()
        .map(|port| json!({"port": port, "protocol": "TCP"}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;

    fn rendered(change: impl FnOnce(&mut TrayOrgSpec, &mut RegionSpec)) -> Vec<DesiredChild> {
        let (mut org, mut region) = (fixtures::org(), fixtures::region());
        change(&mut org, &mut region);
        policies(&fixtures::placement(), &org, &region, &fixtures::surroundings())
    }
    fn spec<'a>(policies: &'a [DesiredChild], name: &str) -> Option<&'a Value> {
        policies
            .iter()
            .find(|p| p.id.name == name)
            .map(|p| &p.body["spec"])
    }

    #[test]
    fn everything_is_denied_both_ways_first() {
        let policies = rendered(|_, _| {});
        let deny = spec(&policies, "tray-default-deny").unwrap();
        assert_eq!(deny["podSelector"], json!({}));
        assert_eq!(deny["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(deny["ingress"].is_null() && deny["egress"].is_null());
    }

    #[test]
    fn nobody_reaches_a_mover() {
        for policy in rendered(|_, _| {}) {
            let spec = &policy.body["spec"];
            if !spec["ingress"].is_null() {
                assert_eq!(spec["podSelector"], own_pods(), "{}", policy.id);
            }
        }
    }

    #[test]
    fn public_egress_leaves_out_every_internal_range() {
        let policies = rendered(|_, _| {});
        let to = &spec(&policies, "tray-egress").unwrap()["egress"][0]["to"];
        let excepted: Vec<&Value> = to
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|b| b["ipBlock"]["except"].as_array().unwrap())
            .collect();
        assert_eq!(excepted.len(), INTERNAL_CIDRS.len());
        assert_eq!(to[0]["ipBlock"]["cidr"], "0.0.0.0/0");
        assert!(
            to[0]["ipBlock"]["except"]
                .as_array()
                .unwrap()
                .contains(&json!("169.254.0.0/16"))
        );
        assert_eq!(to[1]["ipBlock"]["cidr"], "::/0");
        assert!(
            to[1]["ipBlock"]["except"]
                .as_array()
                .unwrap()
                .contains(&json!("fc00::/7"))
        );
    }

    #[test]
    fn an_allow_list_opens_what_it_names_and_none_opens_nothing() {
        let listed = rendered(|org, _| {
            org.network.egress = Egress::AllowList;
            org.network.allow_cidrs = Some(vec!["203.0.113.0/24".into()]);
        });
        let to = &spec(&listed, "tray-egress").unwrap()["egress"][0]["to"];
        assert_eq!(*to, json!([{"ipBlock": {"cidr": "203.0.113.0/24"}}]));
        let none = rendered(|org, _| org.network.egress = Egress::None);
        assert_eq!(spec(&none, "tray-egress"), None);
    }

    #[test]
    fn movers_reach_the_backup_location_and_those_of_objects_the_api_server() {
        let policies = rendered(|_, region| {
            region.backup.endpoints.s3 = "https://10.199.0.1:4566".into();
            region.backup.endpoints.kms = "https://[fd00::1]:9443/".into();
            region.backup.endpoints.sts = "https://sts.example".into();
        });
        let ports = |name: &str| -> Vec<i64> {
            let egress = &spec(&policies, name).unwrap()["egress"][0];
            egress["ports"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["port"].as_i64().unwrap())
                .collect()
        };
        assert_eq!(ports("tray-mover-backup"), [443, 4566, 9443]);
        assert_eq!(ports("tray-mover-objects"), [443, 6443]);
        let objects = &spec(&policies, "tray-mover-objects").unwrap()["podSelector"]["matchLabels"];
        assert_eq!(objects[names::LABEL_PART], "objects");
        let all = &spec(&policies, "tray-mover-backup").unwrap()["podSelector"]["matchLabels"];
        assert_eq!(*all, json!({"platform.tray.ai/component": "mover"}));
    }
}
