//! What the operator remembers of objects it watches: a few facts of each, never the object.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ContainerStatus, Node, NodeSelectorRequirement, PersistentVolume, Pod},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;

use super::{
    mover_jobs::{self, Phase},
    table::Row,
};
use crate::domain::{names, residency::Places};

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

/// Identity of an object at one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its UID.
    pub uid: String,
    /// Its `resourceVersion`.
    pub version: u64,
}

impl Identity {
    /// From metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            // Decimal and counting upwards, as Kubernetes promises for its own and for custom kinds.
            version: metadata
                .resource_version
                .as_deref()
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
        }
    }
}

macro_rules! row {
    ($type:ty, $group:expr) => {
        impl Row for $type {
            type Key = Key;
            fn key(&self) -> Key {
                (self.namespace.clone(), self.name.clone())
            }
            fn uid(&self) -> &str {
                &self.identity.uid
            }
            fn version(&self) -> u64 {
                self.identity.version
            }
            fn group(&self) -> Option<&str> {
                let group: fn(&$type) -> Option<&str> = $group;
                group(self)
            }
        }

        impl $type {
            /// Whether both say the same of the same object, at whatever version.
            pub fn says_the_same(&self, other: &Self) -> bool {
                let mut other = other.clone();
                if other.identity.uid != self.identity.uid {
                    return false;
                }
                other.identity.version = self.identity.version;
                *self == other
            }
        }
    };
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFact {
    pub identity: Identity,
    /// Always empty.
    pub namespace: String,
    pub name: String,
    /// Label `topology.kubernetes.io/region`.
    pub region: Option<String>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Condition Ready is True.
    pub ready: bool,
}
row!(NodeFact, |node| node.region.as_deref());

impl NodeFact {
    /// From a node.
    pub fn of(node: &Node) -> Self {
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        Self {
            identity: Identity::of(&node.metadata),
            namespace: String::new(),
            name: node.name_any(),
            region: node.labels().get(names::NODE_REGION).cloned(),
            zone: node.labels().get(names::NODE_ZONE).cloned(),
            ready: conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
        }
    }
}

/// What is known of a StorageClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageClassFact {
    pub identity: Identity,
    /// Always empty.
    pub namespace: String,
    pub name: String,
    /// `reclaimPolicy`; Delete where it is not set.
    pub reclaim_policy: String,
}
row!(StorageClassFact, |_| None);

impl StorageClassFact {
    /// From a StorageClass.
    pub fn of(class: &StorageClass) -> Self {
        Self {
            identity: Identity::of(&class.metadata),
            namespace: String::new(),
            name: class.name_any(),
            reclaim_policy: class
                .reclaim_policy
                .clone()
                .unwrap_or_else(|| "Delete".to_owned()),
        }
    }
}

/// Why a pod does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its image cannot be pulled.
    Image,
    /// Its container cannot be made: a Secret or key is missing.
    Config,
    /// Its container ends again and again.
    Crashing,
    /// It fits no node.
    Unschedulable,
}

/// What is known of a pod that carries an org's label, or runs in an org's namespace whatever it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    pub identity: Identity,
    pub namespace: String,
    pub name: String,
    /// Label [`names::LABEL_ORG`].
    pub org: Option<String>,
    /// Label [`names::LABEL_WORKLOAD`].
    pub workload: Option<String>,
    /// Whether it is a mover's.
    pub mover: bool,
    /// Where it was placed.
    pub node: Option<String>,
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: String,
    /// Condition Ready is True.
    pub ready: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// The claims it mounts.
    pub claims: Vec<String>,
    /// Why it does not run, and what Kubernetes says of it.
    pub trouble: Option<(Trouble, String)>,
}
row!(PodFact, |pod| Some(&pod.namespace));

impl PodFact {
    /// Whether it may be an org's, or works for one.
    pub fn concerns_an_org(&self) -> bool {
        self.org.is_some() || names::may_be_of_an_org(&self.namespace)
    }

    /// It runs no more and holds no volume.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// From a pod.
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let volumes = spec.and_then(|s| s.volumes.as_deref()).unwrap_or_default();
        let claims = volumes.iter().filter_map(|v| v.persistent_volume_claim.as_ref());
        let labels = pod.labels();
        Self {
            identity: Identity::of(&pod.metadata),
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            org: labels.get(names::LABEL_ORG).cloned(),
            workload: labels.get(names::LABEL_WORKLOAD).cloned(),
            mover: labels
                .get(names::LABEL_COMPONENT)
                .is_some_and(|c| c == names::COMPONENT_MOVER),
            node: spec.and_then(|s| s.node_name.clone()),
            phase: status
                .and_then(|s| s.phase.clone())
                .unwrap_or_else(|| "Unknown".to_owned()),
            ready: conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            claims: claims.map(|c| c.claim_name.clone()).collect(),
            trouble: trouble(pod),
        }
    }
}

fn trouble(pod: &Pod) -> Option<(Trouble, String)> {
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        return Some((
            Trouble::Unschedulable,
            condition.message.clone().unwrap_or_default(),
        ));
    }
    let containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    containers.into_iter().find_map(container_trouble)
}

fn container_trouble(container: &ContainerStatus) -> Option<(Trouble, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let trouble = match waiting.reason.as_deref()? {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => Trouble::Image,
        "CreateContainerConfigError" => Trouble::Config,
        "CrashLoopBackOff" => Trouble::Crashing,
        _ => return None,
    };
    let said = waiting.message.as_deref().unwrap_or_default();
    // "back-off 40s restarting …" changes every time: a condition that repeats it would be written again and again.
    let said = match trouble {
        Trouble::Crashing => "its container ends again and again".to_owned(),
        Trouble::Image => format!("image {} cannot be pulled", container.image),
        Trouble::Config | Trouble::Unschedulable => said.to_owned(),
    };
    Some((trouble, said))
}

/// What is known of a PersistentVolume whose claim is in an org's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFact {
    pub identity: Identity,
    /// Always empty.
    pub namespace: String,
    pub name: String,
    /// Namespace and name of its claim. A volume that outlived its claim still names it: the data is still there.
    pub claim: Option<(String, String)>,
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

/// What is known of a mover's Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFact {
    pub identity: Identity,
    pub namespace: String,
    pub name: String,
    /// Label [`names::LABEL_ORG`].
    pub org: Option<String>,
    /// Label [`names::LABEL_OWNER`]: OrgSnapshot, OrgRestore or TrayOrg it works for.
    pub owner: Option<String>,
    /// Label [`names::LABEL_RUN`], lower case.
    pub run: Option<String>,
    /// Label [`names::LABEL_PART`].
    pub part: Option<String>,
    /// How far it is.
    pub phase: Phase,
}
row!(JobFact, |job| job.org.as_deref());

impl JobFact {
    /// From a Job.
    pub fn of(job: &Job) -> Self {
        let labels: &BTreeMap<String, String> = job.labels();
        let label = |name: &str| labels.get(name).cloned();
        Self {
            identity: Identity::of(&job.metadata),
            namespace: job.namespace().unwrap_or_default(),
            name: job.name_any(),
            org: label(names::LABEL_ORG),
            owner: label(names::LABEL_OWNER),
            run: label(names::LABEL_RUN),
            part: label(names::LABEL_PART),
            phase: mover_jobs::state_of(job).phase,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> PodFact {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": status});
        PodFact::of(&serde_json::from_value(pod).unwrap())
    }
    fn waiting(reason: &str, message: &str) -> serde_json::Value {
        json!({"containerStatuses": [{
            "name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}}
        }]})
    }

    #[test]
    fn a_pod_says_why_it_does_not_run() {
        let fact = pod(waiting("ImagePullBackOff", "Back-off pulling"));
        assert_eq!(
            fact.trouble,
            Some((Trouble::Image, "image i:1 cannot be pulled".to_owned()))
        );
        let fact = pod(waiting("CreateContainerConfigError", "secret \"s\" not found"));
        assert_eq!(
            fact.trouble,
            Some((Trouble::Config, "secret \"s\" not found".to_owned()))
        );
        assert_eq!(pod(waiting("ContainerCreating", "")).trouble, None);
        let fact = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
        ]}));
        assert_eq!(
            fact.trouble,
            Some((Trouble::Unschedulable, "0/3 nodes".to_owned()))
        );
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

    #[test]
    fn p1_a_pod_in_an_orgs_namespace_is_an_orgs_whatever_it_is_labelled() {
        let of = |namespace: &str, labels: serde_json::Value| {
            let pod = json!({"metadata": {"name": "p", "namespace": namespace, "labels": labels}});
            PodFact::of(&serde_json::from_value(pod).unwrap()).concerns_an_org()
        };
        assert!(of("org-acme-7c9e6679", json!({})));
        assert!(of("tray-system", json!({"platform.tray.ai/org": "acme"})));
        assert!(!of("kube-system", json!({})));
    }

    #[test]
    fn a_crash_loop_reads_the_same_at_every_restart() {
        let first = pod(waiting("CrashLoopBackOff", "back-off 10s restarting"));
        let later = pod(waiting("CrashLoopBackOff", "back-off 40s restarting"));
        assert_eq!(first.trouble, later.trouble);
    }
}
