//! What is remembered of a child: enough to say in a moment, without a request, whether it is as it should be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tray_domain::names;

use super::{compare::digest, facts::Identity, live::Live};
use crate::resources::{
    child::{ChildId, ChildKind},
    org::quota::{LIMITED, QuotaUse},
};

/// What is remembered of a child.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildFact {
    /// Which child.
    pub id: ChildId,
    /// At which version.
    pub identity: Identity,
    /// The org (TrayOrg name) that its label says it is of.
    pub org: Option<String>,
    /// Its labels of ours. Of Namespaces all, which say where an org is pinned to; of others what says which grant of
    /// support they are of.
    pub labels: BTreeMap<String, String>,
    /// Its annotations of ours; kept of Namespaces alone.
    pub annotations: BTreeMap<String, String>,
    /// It is being deleted.
    pub deleting: bool,
    /// What its controller says of it.
    pub observed: ChildStatus,
    /// Of its substance.
    pub(super) digest: u64,
    /// How its substance compares with what it should be.
    pub(super) state: State,
}

/// How a child's substance compares with what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not been compared: the substance is kept until it is. `before` = digest of the wanted body that the child
    /// covered before it changed, where it is known to have done so: what differs from that, somebody else changed.
    New {
        /// As JSON.
        substance: Box<str>,
        /// Digest of a wanted body.
        before: Option<u64>,
    },
    /// It covers the wanted body of that digest: a settled child costs a few numbers.
    Settled(u64),
}

/// What a child's controller says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildStatus {
    /// Nothing that matters here.
    Nothing,
    /// Of a Deployment or StatefulSet.
    Workload(WorkloadFact),
    /// Of a claim.
    Claim(ClaimFact),
    /// Of a quota: the limits that Kubernetes has counted.
    Quota(Vec<QuotaUse>),
    /// Of an HTTPRoute.
    Route(RouteFact),
    /// Of a Namespace: when it was made.
    Namespace(Timestamp),
}

impl ChildStatus {
    /// When a Namespace was made.
    pub fn made_at(&self) -> Option<Timestamp> {
        match self {
            Self::Namespace(made_at) => Some(*made_at),
            _ => None,
        }
    }

    /// What is said of a Deployment or StatefulSet.
    pub fn workload(&self) -> Option<&WorkloadFact> {
        match self {
            Self::Workload(fact) => Some(fact),
            _ => None,
        }
    }

    /// What is said of a claim.
    pub fn claim(&self) -> Option<&ClaimFact> {
        match self {
            Self::Claim(fact) => Some(fact),
            _ => None,
        }
    }

    /// What is said of an HTTPRoute.
    pub fn route(&self) -> Option<&RouteFact> {
        match self {
            Self::Route(fact) => Some(fact),
            _ => None,
        }
    }
}

/// How a Deployment or StatefulSet fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadFact {
    /// Generation of its spec.
    pub generation: i64,
    /// Generation that its status answers.
    pub observed_generation: i64,
    /// Replicas its spec asks for.
    pub replicas: i64,
    /// Replicas of the newest template.
    pub updated: i64,
    /// Replicas that are available.
    pub available: i64,
    /// Replicas there are, of any template.
    pub present: i64,
    /// Why replicas cannot be made, in Kubernetes' words.
    pub failure: Option<String>,
}

impl WorkloadFact {
    /// Its controller has seen the newest spec, and all replicas are of it and available.
    pub fn rolled_out(&self) -> bool {
        self.observed_generation >= self.generation
            && self.updated >= self.replicas
            && self.available >= self.replicas
            && self.present == self.replicas
    }
}

/// What is known of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFact {
    /// Pending, Bound or Lost.
    pub phase: String,
    /// PersistentVolume it is bound to.
    pub volume: Option<String>,
}

/// What its Gateway says of an HTTPRoute, in its newest generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteFact {
    /// Nothing yet.
    Pending,
    /// It takes all of it.
    Accepted,
    /// It does not take it, or cannot follow it. In the Gateway's words.
    Refused(String),
}

impl ChildFact {
    /// From the object as the API server gives it.
    pub fn of(kind: ChildKind, live: &Live) -> Self {
        let metadata = &live.metadata;
        let substance = live.substance();
        Self {
            id: id_of(kind, live),
            identity: Identity::of(metadata),
            org: metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(names::LABEL_ORG).cloned()),
            labels: kept(kind, metadata.labels.as_ref()),
            annotations: kept(kind, metadata.annotations.as_ref()),
            deleting: metadata.deletion_timestamp.is_some(),
            observed: observed(kind, live),
            digest: digest(&substance),
            state: State::New {
                substance: substance.into(),
                before: None,
            },
        }
    }

    /// The same child after `before`: what was found out about it stays true while its substance is the same.
    pub(super) fn after(mut self, before: &Self) -> Self {
        if before.identity.uid != self.identity.uid {
            return self;
        }
        match (&mut self.state, &before.state) {
            _ if before.digest == self.digest => self.state = before.state.clone(),
            (State::New { before, .. }, State::Settled(wanted)) => *before = Some(*wanted),
            (State::New { before, .. }, State::New { before: known, .. }) => *before = *known,
            (State::Settled(_), _) => {}
        }
        self
    }

    /// Whether something changed that anybody asks for.
    pub(super) fn differs(&self, before: &Self) -> bool {
        self.identity.uid != before.identity.uid
            || self.digest != before.digest
            || self.deleting != before.deleting
            || self.observed != before.observed
            || self.org != before.org
    }
}

/// Which child an object is.
pub(super) fn id_of(kind: ChildKind, live: &Live) -> ChildId {
    ChildId {
        kind,
        namespace: live.metadata.namespace.clone().unwrap_or_default(),
        name: live.metadata.name.clone().unwrap_or_default(),
    }
}

/// Of a Namespace all of ours; of anything else what says which grant it is of.
fn kept(kind: ChildKind, map: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let is_kept = |name: &str| match kind {
        ChildKind::Namespace => name.starts_with(names::GROUP),
        _ => name == names::LABEL_SUPPORT_UID,
    };
    map.into_iter()
        .flatten()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn observed(kind: ChildKind, live: &Live) -> ChildStatus {
    match kind {
        ChildKind::Deployment | ChildKind::StatefulSet => {
            let (spec, status): (WorkloadSpec, WorkloadStatus) = (live.spec(), live.status());
            let failure = |condition: &WorkloadCondition| {
                condition.type_ == "ReplicaFailure" && condition.status == "True"
            };
            ChildStatus::Workload(WorkloadFact {
                generation: live.metadata.generation.unwrap_or_default(),
                observed_generation: status.observed_generation,
                replicas: spec.replicas.unwrap_or(1),
                updated: status.updated_replicas,
                available: status.available_replicas,
                present: status.replicas,
                failure: status
                    .conditions
                    .into_iter()
                    .find(failure)
                    .and_then(|c| c.message),
            })
        }
        ChildKind::PersistentVolumeClaim => {
            let (spec, status): (ClaimSpec, ClaimStatus) = (live.spec(), live.status());
            ChildStatus::Claim(ClaimFact {
                phase: status.phase.unwrap_or_else(|| "Pending".to_owned()),
                volume: spec.volume_name,
            })
        }
        ChildKind::ResourceQuota => {
            let (spec, status): (QuotaSpec, QuotaStatus) = (live.spec(), live.status());
            let counted = LIMITED.into_iter().filter_map(|resource| {
                Some(QuotaUse {
                    resource,
                    hard: spec.hard.get(resource)?.clone(),
                    used: status.used.get(resource)?.clone(),
                })
            });
            ChildStatus::Quota(counted.collect())
        }
        ChildKind::HttpRoute => {
            let generation = live.metadata.generation.unwrap_or_default();
            ChildStatus::Route(route(&live.spec(), &live.status(), generation))
        }
        ChildKind::Namespace => {
            let made_at = live.metadata.creation_timestamp.as_ref();
            made_at.map_or(ChildStatus::Nothing, |at| ChildStatus::Namespace(at.0))
        }
        _ => ChildStatus::Nothing,
    }
}

#[derive(Default, Deserialize)]
struct WorkloadSpec {
    replicas: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WorkloadStatus {
    observed_generation: i64,
    updated_replicas: i64,
    available_replicas: i64,
    replicas: i64,
    conditions: Vec<WorkloadCondition>,
}

#[derive(Deserialize)]
struct WorkloadCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct QuotaSpec {
    hard: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct QuotaStatus {
    used: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct ClaimStatus {
    phase: Option<String>,
}

/// A route is taken when its Gateway says both: that it takes it, and that it finds what it leads to.
fn route(spec: &Value, status: &Value, generation: i64) -> RouteFact {
    let gateway = &spec["parentRefs"][0];
    let ours = |parent: &&Value| {
        let of = &parent["parentRef"];
        of["name"] == gateway["name"] && of["namespace"] == gateway["namespace"]
    };
    let parents = status["parents"].as_array().into_iter().flatten();
    let said: Vec<&Value> = parents
        .filter(ours)
        .filter_map(|parent| parent["conditions"].as_array())
        .flatten()
        .filter(|c| c["observedGeneration"].as_i64().unwrap_or(generation) >= generation)
        .collect();
    let of = |type_: &str| said.iter().find(|c| c["type"] == type_);
    let mut pending = false;
    for type_ in ["Accepted", "ResolvedRefs"] {
        match of(type_) {
            Some(condition) if condition["status"] == "True" => {}
            Some(condition) if condition["status"] == "False" => {
                let word = |field: &str| condition[field].as_str().unwrap_or_default();
                return RouteFact::Refused(format!("{}: {}", word("reason"), word("message")));
            }
            _ => pending = true,
        }
    }
    if pending {
        RouteFact::Pending
    } else {
        RouteFact::Accepted
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(version: &str, replicas: i64, available: i64) -> ChildFact {
        let live: Live = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": version, "generation": 1,
                "labels": {"platform.tray.ai/org": "acme", "other": "x"}},
            "spec": {"replicas": replicas},
            "status": {"observedGeneration": 1, "replicas": available, "updatedReplicas": available, "availableReplicas": available}
        }))
        .unwrap();
        ChildFact::of(ChildKind::Deployment, &live)
    }

    #[test]
    fn a_new_status_leaves_a_child_settled_and_a_new_spec_does_not() {
        let mut settled = deployment("1", 2, 0);
        settled.state = State::Settled(7);
        let available = deployment("2", 2, 2).after(&settled);
        assert_eq!(available.state, State::Settled(7));
        assert!(available.differs(&settled));
        let edited = deployment("3", 3, 2).after(&settled);
        let again = deployment("4", 4, 2).after(&edited);
        for fact in [edited, again] {
            assert!(
                matches!(&fact.state, State::New { before: Some(7), .. }),
                "who changed it since it was settled was somebody else: {fact:?}"
            );
        }
    }

    #[test]
    fn a_workload_is_rolled_out_when_every_replica_is_new_and_available() {
        for (replicas, available, rolled_out) in [(2, 2, true), (2, 1, false), (0, 0, true), (0, 1, false)] {
            let ChildStatus::Workload(fact) = deployment("1", replicas, available).observed else {
                panic!("a Deployment is a workload");
            };
            assert_eq!(fact.rolled_out(), rolled_out, "{available} of {replicas}");
        }
    }

    #[test]
    fn of_a_quota_only_what_limits_an_org_is_kept() {
        let live: Live = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tray-pods", "namespace": "n"},
            "spec": {"hard": {"pods": "200", "requests.cpu": "16", "requests.memory": "32Gi"}},
            "status": {"hard": {"pods": "200"}, "used": {"pods": "7", "requests.cpu": "1500m", "services": "3"}},
        }))
        .unwrap();
        let of = |resource, hard: &str, used: &str| QuotaUse {
            resource,
            hard: hard.into(),
            used: used.into(),
        };
        let wanted = vec![of("requests.cpu", "16", "1500m"), of("pods", "200", "7")];
        let fact = ChildFact::of(ChildKind::ResourceQuota, &live);
        assert_eq!(fact.observed, ChildStatus::Quota(wanted));
    }

    #[test]
    fn p21_a_route_is_accepted_when_its_gateway_takes_it_and_finds_where_it_leads() {
        let parent = |name: &str, conditions: Value| json!({"parentRef": {"name": name, "namespace": "edge"}, "controllerName": "c", "conditions": conditions});
        let said = |type_: &str, status: &str, generation: i64| json!({"type": type_, "status": status, "reason": "Why", "message": "because", "observedGeneration": generation});
        let all = json!([said("Accepted", "True", 2), said("ResolvedRefs", "True", 2)]);
        for (parents, want, why) in [
            (json!([]), RouteFact::Pending, "nobody has answered"),
            (json!([parent("ours", all.clone())]), RouteFact::Accepted, "both"),
            (
                json!([parent("former", all)]),
                RouteFact::Pending,
                "another Gateway's answer",
            ),
            (
                json!([parent(
                    "ours",
                    json!([said("Accepted", "True", 1), said("ResolvedRefs", "True", 1)])
                )]),
                RouteFact::Pending,
                "the answer to an older route",
            ),
            (
                json!([parent("ours", json!([said("Accepted", "True", 2)]))]),
                RouteFact::Pending,
                "half an answer",
            ),
            (
                json!([parent(
                    "ours",
                    json!([said("Accepted", "True", 2), said("ResolvedRefs", "False", 2)])
                )]),
                RouteFact::Refused("Why: because".into()),
                "it leads nowhere",
            ),
        ] {
            let live: Live = serde_json::from_value(json!({
                "metadata": {"name": "r", "namespace": "n", "generation": 2},
                "spec": {"parentRefs": [{"name": "ours", "namespace": "edge"}]}, "status": {"parents": parents},
            }))
            .unwrap();
            let fact = ChildFact::of(ChildKind::HttpRoute, &live);
            assert_eq!(fact.observed.route(), Some(&want), "{why}");
        }
    }

    #[test]
    fn of_our_labels_and_annotations_only_what_is_asked_for_is_kept() {
        let metadata = json!({
            "name": "n", "labels": {"platform.tray.ai/org": "acme", "platform.tray.ai/region": "eu", "other": "x"},
            "annotations": {"platform.tray.ai/support-access": "support", "other": "x"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        let live: Live = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        let namespace = ChildFact::of(ChildKind::Namespace, &live);
        assert_eq!((namespace.labels.len(), namespace.annotations.len()), (2, 1));
        let service = ChildFact::of(ChildKind::Service, &live);
        assert!(service.labels.is_empty() && service.annotations.is_empty());
        let made_at = |fact: &ChildFact| fact.observed.made_at().map(|at| at.to_string());
        assert_eq!(made_at(&namespace).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(made_at(&service), None);
        assert_eq!(service.org.as_deref(), Some("acme"));
    }
}
