//! What is remembered of a child: enough to say in a moment, without a request, whether it is as it should be.

use std::{collections::BTreeMap, sync::Arc};

use kube::api::{DynamicObject, ObjectMeta};
use serde_json::Value;

use super::{
    compare::{digest, substance},
    facts::Identity,
    table::Row,
};
use crate::{
    domain::names,
    resources::{
        child::{ChildId, ChildKind},
        org::quota::{LIMITED, QuotaUse},
    },
};

/// What is remembered of a child.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildFact {
    /// Which child.
    pub id: ChildId,
    /// At which version.
    pub identity: Identity,
    /// Its labels of ours.
    pub labels: BTreeMap<String, String>,
    /// Its annotations of ours.
    pub annotations: BTreeMap<String, String>,
    /// It is being deleted.
    pub deleting: bool,
    /// What its controller says of it.
    pub observed: Observed,
    /// Of its substance.
    pub(super) digest: u64,
    /// Its substance, until it has been compared with what it should be: a settled child costs a few numbers.
    pub(super) body: Option<Arc<Value>>,
    /// Digest of the wanted body that it was found to cover.
    pub(super) settled_for: Option<u64>,
}

/// What a child's controller says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
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
}

impl Observed {
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

impl Row for ChildFact {
    type Key = ChildId;
    fn key(&self) -> ChildId {
        self.id.clone()
    }
    fn uid(&self) -> &str {
        &self.identity.uid
    }
    fn version(&self) -> u64 {
        self.identity.version
    }
    fn group(&self) -> Option<&str> {
        self.labels.get(names::LABEL_ORG).map(String::as_str)
    }
}

impl ChildFact {
    /// From the object as the API server gives it.
    pub fn of(kind: ChildKind, object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let mut whole = object.data.clone();
        if let Value::Object(fields) = &mut whole {
            // `data` has no metadata of its own.
            fields.insert("metadata".to_owned(), own_metadata(metadata));
        }
        let body = substance(&whole);
        Self {
            id: ChildId {
                kind,
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
            },
            identity: Identity::of(metadata),
            labels: ours(metadata.labels.as_ref()),
            annotations: ours(metadata.annotations.as_ref()),
            deleting: metadata.deletion_timestamp.is_some(),
            observed: observed(kind, metadata, &object.data),
            digest: digest(&body),
            body: Some(Arc::new(body)),
            settled_for: None,
        }
    }

    /// The same child after `before`: what was found out about it stays true while its substance is the same.
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before
            && before.identity.uid == self.identity.uid
            && before.digest == self.digest
        {
            self.settled_for = before.settled_for;
            if before.settled_for.is_some() {
                self.body = None;
            }
        }
        self
    }

    /// Whether something changed that anybody asks for.
    pub(super) fn differs(&self, before: &Self) -> bool {
        self.identity.uid != before.identity.uid
            || self.digest != before.digest
            || self.deleting != before.deleting
            || self.observed != before.observed
            || self.labels != before.labels
    }
}

fn ours(map: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    map.into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with(names::GROUP))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn own_metadata(metadata: &ObjectMeta) -> Value {
    serde_json::json!({"labels": metadata.labels, "annotations": metadata.annotations})
}

fn observed(kind: ChildKind, metadata: &ObjectMeta, data: &Value) -> Observed {
    let (spec, status) = (&data["spec"], &data["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    match kind {
        ChildKind::Deployment | ChildKind::StatefulSet => Observed::Workload(WorkloadFact {
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: number(&status["observedGeneration"]),
            replicas: spec["replicas"].as_i64().unwrap_or(1),
            updated: number(&status["updatedReplicas"]),
            available: number(&status["availableReplicas"]),
            present: number(&status["replicas"]),
            failure: status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")
                .and_then(|c| c["message"].as_str().map(str::to_owned)),
        }),
        ChildKind::PersistentVolumeClaim => Observed::Claim(ClaimFact {
            phase: status["phase"].as_str().unwrap_or("Pending").to_owned(),
            volume: spec["volumeName"].as_str().map(str::to_owned),
        }),
        ChildKind::ResourceQuota => {
            let counted = LIMITED.into_iter().filter_map(|resource| {
                Some(QuotaUse {
                    resource,
                    hard: spec["hard"][resource].as_str()?.to_owned(),
                    used: status["used"][resource].as_str()?.to_owned(),
                })
            });
            Observed::Quota(counted.collect())
        }
        ChildKind::HttpRoute => Observed::Route(route(spec, status, metadata.generation.unwrap_or_default())),
        _ => Observed::Nothing,
    }
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
    use serde_json::json;

    use super::*;

    fn deployment(version: &str, replicas: i64, available: i64) -> ChildFact {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": version, "generation": 1,
                "labels": {"platform.tray.ai/org": "acme", "other": "x"}},
            "spec": {"replicas": replicas},
            "status": {"observedGeneration": 1, "replicas": available, "updatedReplicas": available, "availableReplicas": available}
        }))
        .unwrap();
        ChildFact::of(ChildKind::Deployment, &object)
    }

    #[test]
    fn a_new_status_leaves_a_child_settled_and_a_new_spec_does_not() {
        let mut settled = deployment("1", 2, 0);
        settled.settled_for = Some(7);
        settled.body = None;
        let available = deployment("2", 2, 2).after(Some(&settled));
        assert_eq!((available.settled_for, &available.body), (Some(7), &None));
        assert!(available.differs(&settled));
        let edited = deployment("3", 3, 2).after(Some(&settled));
        assert!(edited.settled_for.is_none() && edited.body.is_some());
    }

    #[test]
    fn a_workload_is_rolled_out_when_every_replica_is_new_and_available() {
        for (replicas, available, rolled_out) in [(2, 2, true), (2, 1, false), (0, 0, true), (0, 1, false)] {
            let Observed::Workload(fact) = deployment("1", replicas, available).observed else {
                panic!("a Deployment is a workload");
            };
            assert_eq!(fact.rolled_out(), rolled_out, "{available} of {replicas}");
        }
    }

    #[test]
    fn of_a_quota_only_what_limits_an_org_is_kept() {
        let object: DynamicObject = serde_json::from_value(json!({
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
        let fact = ChildFact::of(ChildKind::ResourceQuota, &object);
        assert_eq!(fact.observed, Observed::Quota(wanted));
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
            let object: DynamicObject = serde_json::from_value(json!({
                "metadata": {"name": "r", "namespace": "n", "generation": 2},
                "spec": {"parentRefs": [{"name": "ours", "namespace": "edge"}]}, "status": {"parents": parents},
            }))
            .unwrap();
            let fact = ChildFact::of(ChildKind::HttpRoute, &object);
            assert_eq!(fact.observed.route(), Some(&want), "{why}");
        }
    }

    #[test]
    fn only_our_labels_are_kept_and_the_org_is_the_group() {
        let fact = deployment("1", 1, 1);
        assert_eq!(fact.labels.len(), 1);
        assert_eq!(fact.group(), Some("acme"));
    }
}
