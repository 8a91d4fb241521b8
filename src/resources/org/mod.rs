//! What an org consists of, rendered from its TrayOrg and its Region. Every builder is pure and complete: the same
//! inputs give the same bodies, written the way an API server gives them back, so that a difference is a change.
//!
//! Children carry no ownerReference: a re-created CRD or a foreground deletion must not take an org's data along. They
//! are found by their labels.

use serde_json::{Map, Value, json};

use super::child::DesiredChild;
use crate::{
    api::{
        region::RegionSpec,
        trayorg::{PinnedRegion, TrayOrgSpec},
        workload::Workload,
    },
    domain::{ids::OrgId, names, replicas::Situation},
};

pub mod access;
pub mod claim;
pub mod effective;
pub mod namespace;
pub mod network;
pub mod pod;
pub mod quota;
pub mod service;
pub mod workload;

#[cfg(test)]
pub(crate) mod fixtures;

/// Which org, and where it was placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Name of the TrayOrg.
    pub org: String,
    /// Its id.
    pub org_id: OrgId,
    /// Its namespace.
    pub namespace: String,
    /// Where it is pinned to.
    pub region: PinnedRegion,
}

impl Placement {
    /// Of that org in that region.
    pub fn new(org: impl Into<String>, org_id: OrgId, region: PinnedRegion) -> Self {
        let org = org.into();
        Self {
            namespace: names::org_namespace(&org, &org_id),
            org,
            org_id,
            region,
        }
    }

    /// The labels of every child.
    fn labels(&self) -> Map<String, Value> {
        let mut labels = Map::new();
        labels.insert(names::LABEL_MANAGED_BY.into(), names::OPERATOR.into());
        labels.insert(names::LABEL_ORG.into(), self.org.clone().into());
        labels.insert(names::LABEL_ORG_ID.into(), self.org_id.to_string().into());
        labels
    }

    /// The labels of what belongs to one workload.
    fn workload_labels(&self, workload: &str) -> Map<String, Value> {
        let mut labels = self.labels();
        labels.insert(names::LABEL_WORKLOAD.into(), workload.into());
        labels
    }
}

/// What selects the pods of a workload. Never changes: selectors of workloads cannot.
fn workload_selector(workload: &str) -> Value {
    json!({names::LABEL_WORKLOAD: workload})
}

/// What the operator itself is told and an org's children depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Ports on which pods reach the API server, after the Service's address was translated.
    pub api_server_ports: Vec<u16>,
}

/// Everything an org's children are rendered from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Which org, and where.
    pub placement: &'a Placement,
    /// Its spec.
    pub org: &'a TrayOrgSpec,
    /// Its Region's spec.
    pub region: &'a RegionSpec,
    /// What it runs: [`effective::workloads`] of both.
    pub workloads: &'a [Workload],
    /// What decides whether it runs.
    pub situation: &'a Situation,
    /// What the operator is told.
    pub surroundings: &'a Surroundings,
}

/// An org's children by the order they have to be made in: the namespace; the operator's own access; what isolates and
/// limits; claims; what runs. Those of one stage may be made at once.
pub fn children(inputs: &Inputs<'_>) -> Vec<Vec<DesiredChild>> {
    let Inputs {
        placement,
        org,
        region,
        ..
    } = *inputs;
    let isolation = [
        quota::quotas(placement, org, region),
        network::policies(placement, org, region, inputs.surroundings),
        access::service_accounts(placement),
    ];
    let claims = inputs
        .workloads
        .iter()
        .flat_map(|w| claim::claims(placement, region, w));
    let running = inputs.workloads.iter().flat_map(|w| {
        let replicas = workload::replicas_now(w, inputs.situation);
        let mut children = vec![workload::workload(placement, org, region, w, replicas)];
        children.extend(service::service(placement, w));
        children.extend(service::disruption_budget(placement, w));
        children
    });
    vec![
        vec![namespace::namespace(placement, region)],
        access::role_bindings(placement, &org.owners),
        isolation.into_iter().flatten().collect(),
        claims.collect(),
        running.collect(),
    ]
}
