//! What is remembered of a PersistentVolume.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, PersistentVolume};
use kube::ResourceExt;
use tray_domain::{names, residency::Places};

use super::{Identity, Key, Row};

/// What is known of a PersistentVolume whose claim is in an org's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFact {
    pub identity: Identity,
    /// Always empty.
    pub namespace: String,
    pub name: String,
    /// Namespace and name of its claim. A volume that outlived its claim still names it: the data is still there.
    pub claim: Option<(String, String)>,
    /// Whether that claim is there and has it.
    pub is_bound: bool,
    /// What its labels and its node affinity say of where it is.
    pub places: Places,
    /// Nodes that its node affinity names: it is where they are.
    pub nodes: BTreeSet<String>,
}
row!(VolumeFact, |volume| volume
    .claim
    .as_ref()
    .map(|(namespace, _)| namespace.as_str()));

/// Label of nodes whose value is, as good as always, the node's name.
const HOSTNAME: &str = "kubernetes.io/hostname";

impl VolumeFact {
    /// Whether its claim may be an org's.
    pub fn concerns_an_org(&self) -> bool {
        let claim = self.claim.as_ref();
        claim.is_some_and(|(namespace, _)| names::may_be_of_an_org(namespace))
    }

    /// From a PersistentVolume.
    pub fn of(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.as_ref();
        let claim = spec.and_then(|s| s.claim_ref.as_ref());
        let mut fact = Self {
            identity: Identity::of(&volume.metadata),
            namespace: String::new(),
            name: volume.name_any(),
            claim: claim.and_then(|c| Some((c.namespace.clone()?, c.name.clone()?))),
            is_bound: volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound"),
            places: Places::default(),
            nodes: BTreeSet::new(),
        };
        for (label, value) in volume.labels() {
            // A volume of several zones has them all in one label.
            fact.locate(label, value.split("__"));
        }
        let terms = spec
            .and_then(|s| s.node_affinity.as_ref()?.required.as_ref())
            .map(|required| required.node_selector_terms.as_slice())
            .unwrap_or_default();
        for term in terms {
            for wanted in term
                .match_expressions
                .iter()
                .flatten()
                .filter(|e| e.operator == "In")
            {
                fact.locate(&wanted.key, values(wanted));
            }
            let fields = term.match_fields.iter().flatten();
            for wanted in fields.filter(|f| f.key == "metadata.name" && f.operator == "In") {
                fact.nodes.extend(values(wanted).map(str::to_owned));
            }
        }
        fact
    }

    /// Takes in what a label, or an expression on nodes' labels, says of the place. Drivers have labels of their own:
    /// `topology.ebs.csi.aws.com/zone`.
    fn locate<'a>(&mut self, label: &str, values: impl Iterator<Item = &'a str>) {
        let found = match label {
            HOSTNAME => &mut self.nodes,
            label if label.ends_with("/region") => &mut self.places.regions,
            label if label.ends_with("/zone") => &mut self.places.zones,
            _ => return,
        };
        found.extend(values.map(str::to_owned));
    }
}

fn values(requirement: &NodeSelectorRequirement) -> impl Iterator<Item = &str> {
    requirement.values.iter().flatten().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_that_outlived_its_claim_is_not_bound() {
        for (status, is_bound) in [
            (json!({"phase": "Bound"}), true),
            (json!({"phase": "Released"}), false),
            (json!({}), false),
        ] {
            let volume = json!({"metadata": {"name": "v"}, "status": status,
                "spec": {"claimRef": {"namespace": "org-acme-7c9e6679", "name": "data-db-0"}}});
            let fact = VolumeFact::of(&serde_json::from_value(volume).unwrap());
            assert_eq!(fact.is_bound, is_bound);
            assert!(fact.claim.is_some());
        }
    }

    #[test]
    fn p1_a_volume_is_where_its_labels_and_its_node_affinity_say() {
        let of = |labels: serde_json::Value, terms: serde_json::Value| {
            VolumeFact::of(
                &serde_json::from_value(json!({
                    "metadata": {"name": "v", "labels": labels},
                    "spec": {
                        "claimRef": {"namespace": "org-acme-7c9e6679", "name": "data-db-0"},
                        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
                    },
                }))
                .unwrap(),
            )
        };
        let within = |key: &str, values: &[&str]| json!({"key": key, "operator": "In", "values": values});
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        for (labels, terms, regions, zones, nodes) in [
            (json!({}), json!([]), "", "", ""),
            (
                json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "ra__rb", "other": "x"}),
                json!([]),
                "r",
                "ra rb",
                "",
            ),
            (
                json!({}),
                json!([
                    {"matchExpressions": [within("topology.ebs.csi.aws.com/zone", &["ra"])]},
                    {"matchExpressions": [within("topology.kubernetes.io/zone", &["rb"]), within("x", &["y"])]},
                ]),
                "",
                "ra rb",
                "",
            ),
            (
                json!({}),
                json!([{
                    "matchExpressions": [
                        within("kubernetes.io/hostname", &["n1"]),
                        {"key": "topology.kubernetes.io/zone", "operator": "NotIn", "values": ["rz"]},
                    ],
                    "matchFields": [within("metadata.name", &["n2"])],
                }]),
                "",
                "",
                "n1 n2",
            ),
        ] {
            let fact = of(labels, terms);
            assert!(fact.concerns_an_org());
            let found = (
                list(&fact.places.regions),
                list(&fact.places.zones),
                list(&fact.nodes),
            );
            assert_eq!(found, (regions.to_owned(), zones.to_owned(), nodes.to_owned()));
        }
    }
}
