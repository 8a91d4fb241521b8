//! What an org consists of, rendered from its TrayOrg and its Region. Every builder is pure and complete: the same
//! inputs give the same bodies, written the way an API server gives them back, so that a difference is a change.
//!
//! Children carry no ownerReference: a re-created CRD or a foreground deletion must not take an org's data along. They
//! are found by their labels.

use serde_json::{Map, Value, json};
use tray_api::{
    region::RegionSpec,
    trayorg::{ExecutionLogsStatus, PinnedRegion, TrayOrgSpec},
    workload::Workload,
};
use tray_domain::{backup_place::BackupPlace, ids::OrgId, names, replicas::Situation};

use super::child::DesiredChild;

pub mod access;
pub mod claim;
pub mod effective;
pub mod log_policy;
pub mod namespace;
pub mod network;
pub mod pod;
pub mod quota;
pub mod service;
pub mod webhook;
pub mod webhook_secret;
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
    /// Where its copies are; none = that is not pinned yet, and whatever its namespace says stays.
    pub backup: Option<BackupPlace>,
}

impl Placement {
    /// Of that org in that region; where its copies are is not said.
    pub fn new(org: impl Into<String>, org_id: OrgId, region: PinnedRegion) -> Self {
        let org = org.into();
        Self {
            namespace: names::org_namespace(&org, &org_id),
            org,
            org_id,
            region,
            backup: None,
        }
    }

    /// The same with its copies there.
    #[must_use]
    pub fn with_backup(self, backup: Option<BackupPlace>) -> Self {
        Self { backup, ..self }
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
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Which org, and where.
    pub placement: &'a Placement,
    /// Its spec.
    pub org: &'a TrayOrgSpec,
    /// Its Region's spec.
    pub region: &'a RegionSpec,
    /// What it runs: [`effective::workloads`] of both.
    pub workloads: &'a [Workload],
    /// What it may use: [`quota::limits`] of both, as far as they fit.
    pub limits: &'a quota::Limits,
    /// For how long its execution logs can be seen and are kept; none = that is not known, and whatever its workloads are
    /// told stays.
    pub logs: Option<&'a ExecutionLogsStatus>,
    /// What decides whether it runs.
    pub situation: &'a Situation,
    /// What the operator is told.
    pub surroundings: &'a Surroundings,
    /// The groups of support that may debug at present, separated by commas.
    pub support: Option<&'a str>,
}

/// An org's children by the order they have to be made in: the namespace; the operator's own access; what isolates;
/// claims; what runs, and what it is told. Those of one stage may be made at once.
///
/// The route of a webhook host is not among them, since it needs the org's token: [`webhook::route`].
///
/// Quotas come last: until their controller has counted once, the API server refuses what they are on.
pub fn children(inputs: &Inputs<'_>) -> Vec<Vec<DesiredChild>> {
    let Inputs {
        placement,
        org,
        region,
        workloads,
        ..
    } = *inputs;
    let mut isolation = network::policies(placement, org, region, inputs.surroundings);
    isolation.extend(access::service_accounts(placement));
    isolation.push(quota::limit_range(placement));
    let webhook = webhook::Webhook::of(region, workloads);
    isolation.extend(webhook.map(|webhook| webhook::network_policy(placement, &webhook)));
    let claims = workloads.iter().flat_map(|w| claim::claims(placement, region, w));
    let told = inputs.logs.map(|hours| log_policy::config_map(placement, hours));
    let mut running: Vec<DesiredChild> = told.into_iter().collect();
    for workload in workloads {
        let replicas = workload::replicas_now(workload, inputs.situation);
        running.push(workload::workload(placement, org, region, workload, replicas));
        running.extend(service::service(placement, workload));
        running.extend(service::disruption_budget(placement, workload));
    }
    vec![
        vec![namespace::namespace(
            placement,
            &org.owners,
            region,
            inputs.support,
        )],
        access::role_bindings(placement, &org.owners, log_policy::mode(org, inputs.logs)),
        isolation,
        claims.collect(),
        running,
        quota::quotas(placement, inputs.limits),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::resources::child::ChildKind;
    use tray_api::retention_policy::RetentionPolicySpec;
    use tray_domain::names;

    fn rendered() -> Vec<Vec<DesiredChild>> {
        let (placement, org, region) = (fixtures::placement(), fixtures::org(), fixtures::region());
        let effective = effective::workloads(&org, &region).unwrap();
        children(&Inputs {
            placement: &placement,
            org: &org,
            region: &region,
            workloads: &effective.workloads,
            limits: &quota::limits(&org, &region),
            logs: Some(&log_policy::wanted(&org, &RetentionPolicySpec::default())),
            situation: &Situation::default(),
            surroundings: &fixtures::surroundings(),
            support: None,
        })
    }

    #[test]
    fn nothing_runs_before_it_is_isolated_and_the_operator_may_enter() {
        let stages = rendered();
        let stage_of = |kind: ChildKind| {
            stages
                .iter()
                .position(|s| s.iter().any(|c| c.id.kind == kind))
                .unwrap()
        };
        assert_eq!(stage_of(ChildKind::Namespace), 0);
        for earlier in [
            ChildKind::RoleBinding,
            ChildKind::NetworkPolicy,
            ChildKind::LimitRange,
            ChildKind::PersistentVolumeClaim,
        ] {
            for running in [ChildKind::StatefulSet, ChildKind::Deployment] {
                assert!(
                    stage_of(earlier) < stage_of(running),
                    "{earlier} before {running}"
                );
            }
        }
        for counted in [ChildKind::PersistentVolumeClaim, ChildKind::Service] {
            assert!(
                stage_of(counted) < stage_of(ChildKind::ResourceQuota),
                "{counted}"
            );
        }
    }

    #[test]
    fn p3_every_child_says_whose_it_is_by_name_and_id_and_belongs_to_nobody() {
        for child in rendered().into_iter().flatten() {
            let metadata = &child.body["metadata"];
            assert_eq!(
                metadata["labels"][names::LABEL_MANAGED_BY],
                "tray-operator",
                "{}",
                child.id
            );
            assert_eq!(metadata["labels"][names::LABEL_ORG], "acme", "{}", child.id);
            assert_eq!(
                metadata["labels"][names::LABEL_ORG_ID],
                fixtures::placement().org_id.as_str()
            );
            assert!(metadata.get("ownerReferences").is_none(), "{}", child.id);
        }
    }

    #[test]
    fn no_two_children_have_one_name_and_all_are_in_the_namespace() {
        let all: Vec<DesiredChild> = rendered().into_iter().flatten().collect();
        let ids: BTreeSet<_> = all.iter().map(|child| child.id.clone()).collect();
        assert_eq!(ids.len(), all.len());
        let outside = ids.iter().filter(|id| id.namespace != "org-acme-7c9e6679");
        assert_eq!(
            outside.map(|id| id.kind).collect::<Vec<_>>(),
            [ChildKind::Namespace]
        );
    }
}
