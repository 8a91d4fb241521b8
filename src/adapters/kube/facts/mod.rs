//! What the operator remembers of objects it watches: a few facts of each, never the object.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{core::v1::Node, storage::v1::StorageClass},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;
use tray_domain::{encryption, names};

use super::table::Row;

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

// After the macro that they use.
mod job;
mod pod;
mod volume;

pub use job::{JobFact, Phase};
pub use pod::{PodFact, PodProblem};
pub use volume::VolumeFact;

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
    /// Who makes its volumes.
    pub provisioner: String,
    /// Whether they are encrypted at rest; none = its parameters do not say.
    pub encrypts: Option<bool>,
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
            encrypts: encryption::encrypts(
                &class.provisioner,
                class.parameters.as_ref().unwrap_or(&BTreeMap::new()),
            ),
            provisioner: class.provisioner.clone(),
        }
    }
}
