//! What a Region consists of in the cluster: nodes, zones and the storage class. Pure.

use std::{collections::BTreeMap, sync::Arc};

use tray_api::{conditions::reasons, region::RegionSpec};

use crate::{
    adapters::kube::facts::{NodeFact, StorageClassFact},
    controllers::{conditions::ConditionFact, view::region::webhook_fault},
};

/// The ready nodes of a Region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// In its zones: what orgs may use.
    pub ready: i32,
    /// By zone. Every zone of the spec is there.
    pub zones: BTreeMap<String, i32>,
    /// Nodes of the cloud region, ready or not, in whatever zone.
    labelled: usize,
}

impl Nodes {
    /// Counts the nodes that carry the cloud region's label.
    pub fn count(spec: &RegionSpec, nodes: &[Arc<NodeFact>]) -> Self {
        let mut counted = Self {
            zones: spec.zones.iter().map(|zone| (zone.clone(), 0)).collect(),
            labelled: nodes.len(),
            ..Self::default()
        };
        for node in nodes.iter().filter(|node| node.ready) {
            let zone = node.zone.as_deref().and_then(|zone| counted.zones.get_mut(zone));
            if let Some(count) = zone {
                *count += 1;
                counted.ready += 1;
            }
        }
        counted
    }

    /// Condition NodesAvailable.
    pub fn available(&self, spec: &RegionSpec) -> ConditionFact {
        let (region, zones) = (&spec.cloud_region, spec.zones.join(", "));
        if self.ready > 0 {
            let message = format!("{} ready nodes of {region} in its zones", self.ready);
            ConditionFact::new(true, reasons::AS_SPECIFIED, message)
        } else if self.labelled == 0 {
            ConditionFact::new(
                false,
                reasons::NO_NODES,
                format!(
                    "no node carries the label topology.kubernetes.io/region={region}: add nodes of that region, or correct \
                     spec.cloudRegion"
                ),
            )
        } else {
            ConditionFact::new(
                false,
                reasons::NODES_NOT_READY,
                format!(
                    "{} nodes of {region} are there, none of them ready in one of spec.zones ({zones}): look at them with \
                     kubectl get nodes -l topology.kubernetes.io/region={region} -L topology.kubernetes.io/zone",
                    self.labelled
                ),
            )
        }
    }

    /// Condition ZonesAvailable: too few zones make an org less available, not less ready.
    pub fn zones_available(&self, spec: &RegionSpec) -> ConditionFact {
        let usable = self.zones.values().filter(|ready| **ready > 0).count();
        let wanted = usize::try_from(spec.min_zones).unwrap_or_default();
        let message = format!("{usable} of {} zones have ready nodes", self.zones.len());
        if usable >= wanted {
            return ConditionFact::new(true, reasons::AS_SPECIFIED, message);
        }
        let without = self.zones.iter().filter(|(_, ready)| **ready == 0);
        let without: Vec<_> = without.map(|(zone, _)| zone.as_str()).collect();
        ConditionFact::new(
            false,
            reasons::TOO_FEW_ZONES,
            format!(
                "{message}, spec.minZones is {wanted}: add ready nodes in {}, or lower spec.minZones",
                without.join(", ")
            ),
        )
    }
}

/// Condition IngressAvailable; none where the Region has no ingress. Orgs are ready without their webhook hosts.
pub fn ingress(spec: &RegionSpec, webhooks: bool, has_gateway_api: bool) -> Option<ConditionFact> {
    let ingress = spec.ingress.as_ref()?;
    let fault = webhook_fault(webhooks, has_gateway_api);
    Some(fault.unwrap_or_else(|| {
        let message = format!("orgs have webhook hosts under {}", ingress.domain);
        ConditionFact::new(true, reasons::AS_SPECIFIED, message)
    }))
}

/// Why the storage class cannot be used; none where it can.
pub fn storage_fault(spec: &RegionSpec, class: Option<&StorageClassFact>) -> Option<ConditionFact> {
    let name = &spec.storage.storage_class_name;
    let Some(class) = class else {
        return Some(ConditionFact::new(
            false,
            reasons::STORAGE_CLASS_MISSING,
            format!("there is no StorageClass {name}: create it, or correct spec.storage.storageClassName"),
        ));
    };
    (class.reclaim_policy != "Retain").then(|| {
        ConditionFact::new(
            false,
            reasons::STORAGE_CLASS_NOT_RETAINED,
            format!(
                "StorageClass {name} of spec.storage.storageClassName has reclaimPolicy {}, which deletes a volume with its \
                 claim: use a class with reclaimPolicy: Retain",
                class.reclaim_policy
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::kube::facts::Identity,
        controllers::{conditions::Truth, region::fixtures::spec},
    };

    fn node(zone: &str, ready: bool) -> Arc<NodeFact> {
        Arc::new(NodeFact {
            identity: Identity::default(),
            namespace: String::new(),
            name: format!("{zone}-node"),
            region: Some("eu-west-1".to_owned()),
            zone: Some(zone.to_owned()),
            ready,
        })
    }

    #[test]
    fn only_ready_nodes_in_zones_of_the_region_count() {
        let nodes = [
            node("eu-west-1a", true),
            node("eu-west-1a", true),
            node("eu-west-1b", false),
            node("eu-west-1z", true),
        ];
        let counted = Nodes::count(&spec(), &nodes);
        assert_eq!(counted.ready, 2);
        assert_eq!(counted.zones["eu-west-1a"], 2);
        assert_eq!(counted.zones["eu-west-1b"], 0);
        assert_eq!(counted.available(&spec()).status, Truth::True);
        let zones = counted.zones_available(&spec());
        assert_eq!(zones.reason, reasons::TOO_FEW_ZONES);
        assert!(zones.message.contains("eu-west-1b"), "{}", zones.message);
    }

    #[test]
    fn no_nodes_and_nodes_that_are_not_ready_are_told_apart() {
        let spec = spec();
        let none = Nodes::count(&spec, &[]).available(&spec);
        assert_eq!(none.reason, reasons::NO_NODES);
        assert!(none.message.contains("eu-west-1"));
        let down = Nodes::count(&spec, &[node("eu-west-1a", false)]).available(&spec);
        assert_eq!(down.reason, reasons::NODES_NOT_READY);
    }

    #[test]
    fn p21_an_ingress_needs_webhooks_to_be_switched_on_and_the_gateway_api() {
        let mut spec = spec();
        assert_eq!(ingress(&spec, false, false), None, "nobody asked for one");
        spec.ingress = serde_json::from_value(serde_json::json!(
            {"domain": "hooks.example.com", "gatewayRef": {"name": "edge", "namespace": "edge"}}
        ))
        .unwrap();
        for (webhooks, gateway_api, reason, named) in [
            (false, true, reasons::WEBHOOKS_DISABLED, "webhooks.enabled"),
            (true, false, reasons::GATEWAY_API_MISSING, "httproutes"),
            (true, true, reasons::AS_SPECIFIED, "hooks.example.com"),
        ] {
            let fact = ingress(&spec, webhooks, gateway_api).unwrap();
            assert_eq!(fact.reason, reason);
            assert!(fact.message.contains(named), "{}", fact.message);
        }
    }

    #[test]
    fn enough_zones_are_enough() {
        let spec = spec();
        let nodes = [node("eu-west-1a", true), node("eu-west-1b", true)];
        assert_eq!(
            Nodes::count(&spec, &nodes).zones_available(&spec).status,
            Truth::True
        );
    }

    #[test]
    fn a_class_that_deletes_volumes_is_refused() {
        let class = |policy: &str| StorageClassFact {
            identity: Identity::default(),
            namespace: String::new(),
            name: "org-encrypted".to_owned(),
            reclaim_policy: policy.to_owned(),
            provisioner: "ebs.csi.aws.com".to_owned(),
            encrypts: Some(true),
        };
        let reason = |class: Option<&StorageClassFact>| storage_fault(&spec(), class).map(|fact| fact.reason);
        assert_eq!(reason(None).as_deref(), Some(reasons::STORAGE_CLASS_MISSING));
        assert_eq!(
            reason(Some(&class("Delete"))).as_deref(),
            Some(reasons::STORAGE_CLASS_NOT_RETAINED)
        );
        assert_eq!(reason(Some(&class("Retain"))), None);
    }
}
