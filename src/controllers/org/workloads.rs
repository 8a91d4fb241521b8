//! What of an org's workloads runs at present, and why the rest does not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tray_api::{
    conditions::{reasons, types},
    workload::{Workload, WorkloadKind},
};
use tray_domain::replicas::Situation;

use super::validate::Valid;
use crate::{
    adapters::kube::{
        child::{ChildFact, ChildStatus, WorkloadFact},
        facts::{PodFact, PodProblem},
    },
    controllers::{
        conditions::{ConditionFact, is_true, listed},
        view::org::{OrgView, PlacedPod},
    },
    resources::{
        child::ChildKind,
        org::{
            claim,
            quota::{QuotaUse, is_full, taken_by_pod},
            workload,
        },
    },
};

/// What keeps the org's workloads from running, from what was observed.
pub(super) fn situation(observed: &OrgView, valid: &Valid) -> Situation {
    let lost_claims = match &observed.known.lost {
        Some(lost) => lost.keys().cloned().collect(),
        None if lost_is_recorded(observed) => claims_of_stopped(observed, valid),
        None => BTreeSet::new(),
    };
    Situation {
        suspended: observed.is_suspended(),
        restoring: observed.stopped_by().is_some(),
        lost_claims,
    }
}

/// Why workloads that are meant to run do not; none where nothing keeps them.
pub(super) fn why_stopped(situation: &Situation) -> Option<ConditionFact> {
    let (reason, message) = if situation.suspended {
        let message = "nothing runs while spec.lifecycle.state is Suspended";
        (reasons::SUSPENDED, message.to_owned())
    } else if situation.restoring {
        let message = "nothing runs until the restore has filled the volumes";
        (reasons::RESTORING, message.to_owned())
    } else if situation.lost_claims.is_empty() {
        return None;
    } else {
        let claims: Vec<&str> = situation.lost_claims.iter().map(String::as_str).collect();
        let message = format!(
            "the workloads of {} are stopped: their data is lost",
            claims.join(", ")
        );
        (reasons::VOLUME_REPLACED, message)
    };
    Some(ConditionFact::new(false, reason, message))
}

fn lost_is_recorded(observed: &OrgView) -> bool {
    let status = observed.org.status.as_ref();
    status.is_some_and(|status| is_true(&status.conditions, types::DATA_LOST))
}

/// After a start it is not known yet which claims are lost, only that some are. What was stopped for them stays so.
fn claims_of_stopped(observed: &OrgView, valid: &Valid) -> BTreeSet<String> {
    let stopped = observed.children.iter().filter(|child| {
        child.id.kind == ChildKind::StatefulSet
            && matches!(&child.observed, ChildStatus::Workload(fact) if fact.replicas == 0)
    });
    let stopped: BTreeSet<&str> = stopped.map(|child| child.id.name.as_str()).collect();
    let workloads = valid
        .effective
        .workloads
        .iter()
        .filter(|w| stopped.contains(w.name.as_str()));
    workloads.flat_map(claim::claim_names).collect()
}

/// WorkloadsAvailable of workloads that are meant to run. The first problem that a person can mend is told; else what is
/// still on its way.
pub(super) fn availability(
    workloads: &[Workload],
    children: &[std::sync::Arc<ChildFact>],
    pods: &[PlacedPod],
    uses: &[QuotaUse],
) -> ConditionFact {
    let facts: Facts<'_> = children.iter().filter_map(|child| workload_fact(child)).collect();
    let waiting: Vec<&Workload> = workloads
        .iter()
        .filter(|workload| !facts.get(&key(workload)).is_some_and(|f| f.rolled_out()))
        .collect();
    if waiting.is_empty() {
        return ConditionFact::new(
            true,
            reasons::AS_SPECIFIED,
            "every workload has its replicas available",
        );
    }
    let of = |workload: &&Workload| {
        let pods = newest_revision(workload, pods);
        pods.iter()
            .find_map(|pod| problem(workload, pod))
            .or_else(|| refused(workload, &facts, uses))
    };
    waiting
        .iter()
        .find_map(of)
        .unwrap_or_else(|| rolling_out(&waiting, &facts))
}

/// How workloads fare, by kind and name: one that changes its kind is two for a while.
type Facts<'a> = BTreeMap<(ChildKind, &'a str), &'a WorkloadFact>;

fn workload_fact(child: &ChildFact) -> Option<((ChildKind, &str), &WorkloadFact)> {
    let fact = child.observed.workload()?;
    Some(((child.id.kind, &child.id.name), fact))
}

fn key(workload: &Workload) -> (ChildKind, &str) {
    (workload::child_kind(workload.kind), &workload.name)
}

/// The workload's pods that are meant to stay: those of the revision that the youngest is of. Pods of an earlier one go as
/// soon as these run, whatever is wrong with them.
fn newest_revision<'a>(workload: &Workload, pods: &'a [PlacedPod]) -> Vec<&'a PodFact> {
    let of_workload = |pod: &&PodFact| pod.workload.as_deref() == Some(&*workload.name) && !pod.deleting;
    let mut pods: Vec<&PodFact> = pods
        .iter()
        .map(|placed| &*placed.pod)
        .filter(of_workload)
        .collect();
    if let Some(youngest) = pods.iter().max_by_key(|pod| pod.created).copied() {
        pods.retain(|pod| pod.revision == youngest.revision);
    }
    pods
}

/// What is wrong with a pod of the workload.
fn problem(workload: &Workload, pod: &PodFact) -> Option<ConditionFact> {
    let (problem, said) = pod.problem.as_ref()?;
    let (reason, remedy) = match problem {
        PodProblem::Image => (
            reasons::IMAGE_UNAVAILABLE,
            "correct the image, or give the nodes access to its registry",
        ),
        PodProblem::Config => (
            reasons::SECRET_MISSING,
            "create what envFromSecrets names in the org's namespace",
        ),
        PodProblem::Crashing => (reasons::CRASHING, "see `kubectl logs --previous`"),
        PodProblem::Unschedulable => (
            reasons::UNSCHEDULABLE,
            "add nodes to the region, or lower what the pod requests",
        ),
    };
    let message = format!("workload {}, pod {}: {said}; {remedy}", workload.name, pod.name);
    Some(ConditionFact::new(false, reason, message))
}

/// Why Kubernetes makes no pods of the workload. Its words are for people: by its numbers a quota has room for one pod more, or
/// it is something else.
fn refused(workload: &Workload, facts: &Facts<'_>, uses: &[QuotaUse]) -> Option<ConditionFact> {
    let said = facts.get(&key(workload))?.failure.as_deref()?;
    let reason = if is_full(uses, &taken_by_pod(workload)) {
        reasons::QUOTA_EXCEEDED
    } else {
        reasons::APPLY_REFUSED
    };
    Some(ConditionFact::new(
        false,
        reason,
        format!("workload {}: {said}", workload.name),
    ))
}

fn rolling_out(waiting: &[&Workload], facts: &Facts<'_>) -> ConditionFact {
    let named: Vec<String> = waiting
        .iter()
        .map(|workload| {
            let (kind, name) = key(workload);
            let former = match workload.kind {
                WorkloadKind::Deployment => ChildKind::StatefulSet,
                WorkloadKind::StatefulSet => ChildKind::Deployment,
            };
            if facts.contains_key(&(former, name)) {
                return format!("{kind} {name} is made when {former} {name} and its pods have gone");
            }
            let fact = facts.get(&(kind, name));
            let (ready, of) = fact.map_or((0, 0), |f| (f.available.min(f.updated), f.replicas));
            format!("{kind} {name} has {ready} of {of} replicas")
        })
        .collect();
    ConditionFact::new(false, reasons::ROLLING_OUT, listed(&named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{controllers::conditions::Truth, resources::org::fixtures};
    use serde_json::json;
    use std::sync::Arc;

    fn pod(name: &str, workload: &str, waiting: (&str, &str)) -> PlacedPod {
        pod_of(("1", "2026-01-01T00:00:00Z"), name, workload, waiting)
    }
    fn pod_of(
        (revision, created): (&str, &str),
        name: &str,
        workload: &str,
        (reason, message): (&str, &str),
    ) -> PlacedPod {
        let status = json!([{
            "name": "main", "image": "web:9", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }]);
        let pod = json!({
            "metadata": {"name": name, "namespace": "n", "creationTimestamp": created,
                "labels": {"platform.tray.ai/workload": workload, "pod-template-hash": revision}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "containerStatuses": status},
        });
        let pod = PodFact::of(&serde_json::from_value(pod).unwrap());
        PlacedPod {
            pod: Arc::new(pod),
            node: None,
        }
    }
    fn stateful_set(name: &str, replicas: i64, available: i64) -> Arc<ChildFact> {
        let live = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "generation": 1},
            "spec": {"replicas": replicas},
            "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": available, "availableReplicas": available},
        }))
        .unwrap();
        Arc::new(ChildFact::of(ChildKind::StatefulSet, &live))
    }

    #[test]
    fn workloads_are_available_when_all_are_rolled_out() {
        let running = [fixtures::database()];
        let fact = |available, pods: &[PlacedPod]| {
            availability(&running, &[stateful_set("db", 1, available)], pods, &[])
        };
        assert_eq!(fact(1, &[]).status, Truth::True);
        let rolling = fact(0, &[]);
        assert_eq!(
            (rolling.status, rolling.reason.as_str()),
            (Truth::False, "RollingOut")
        );
        assert_eq!(rolling.message, "StatefulSet db has 0 of 1 replicas");
        assert_eq!(
            availability(&running, &[], &[], &[]).reason,
            "RollingOut",
            "one that is not there is not available"
        );
    }

    #[test]
    fn a_workload_that_changes_its_kind_is_not_available_by_what_it_was_before() {
        let mut changed = fixtures::runtime();
        changed.name = "db".into();
        changed.replicas = Some(1);
        let fact = availability(&[changed], &[stateful_set("db", 1, 1)], &[], &[]);
        assert_eq!((fact.status, fact.reason.as_str()), (Truth::False, "RollingOut"));
        assert_eq!(
            fact.message,
            "Deployment db is made when StatefulSet db and its pods have gone"
        );
    }

    #[test]
    fn what_a_person_can_mend_is_told_and_named() {
        let running = [fixtures::database()];
        for (waiting, reason, named) in [
            (("ImagePullBackOff", "no"), "ImageUnavailable", "image web:9"),
            (
                ("CreateContainerConfigError", "secret \"api-keys\" not found"),
                "SecretMissing",
                "api-keys",
            ),
            (("CrashLoopBackOff", "back-off"), "Crashing", "pod db-0"),
        ] {
            let pods = [pod("db-0", "db", waiting)];
            let fact = availability(&running, &[stateful_set("db", 1, 0)], &pods, &[]);
            assert_eq!(fact.reason, reason);
            assert!(fact.message.contains(named), "{}", fact.message);
            let other = [pod("web-0", "web", waiting)];
            assert_eq!(
                availability(&running, &[stateful_set("db", 1, 0)], &other, &[]).reason,
                "RollingOut"
            );
        }
    }

    #[test]
    fn a_full_quota_is_told_from_another_refusal_by_its_numbers() {
        let live = serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "n", "generation": 1}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "conditions": [
                {"type": "ReplicaFailure", "status": "True", "message": "no pods are made"}]},
        }))
        .unwrap();
        let failing = [Arc::new(ChildFact::of(ChildKind::StatefulSet, &live))];
        for (used, reason) in [("49", "ApplyRefused"), ("50", "QuotaExceeded")] {
            let uses = [QuotaUse {
                resource: "pods",
                hard: "50".to_owned(),
                used: used.to_owned(),
            }];
            let fact = availability(&[fixtures::database()], &failing, &[], &uses);
            assert_eq!(fact.reason, reason, "{used}");
            assert!(fact.message.contains("no pods are made"), "{}", fact.message);
        }
    }

    #[test]
    fn what_is_wrong_with_pods_of_an_earlier_revision_is_no_news() {
        let running = [fixtures::database()];
        let told = |pods: &[PlacedPod]| availability(&running, &[stateful_set("db", 1, 0)], pods, &[]).reason;
        let earlier = |name| {
            let of = ("1", "2026-01-01T00:00:00Z");
            pod_of(of, name, "db", ("ImagePullBackOff", "no"))
        };
        let later = |waiting| pod_of(("2", "2026-01-01T00:00:09Z"), "db-m", "db", waiting);
        let missing = ("CreateContainerConfigError", "secret \"api-keys\" not found");
        assert_eq!(told(&[earlier("db-a"), later(missing)]), "SecretMissing");
        assert_eq!(told(&[later(missing), earlier("db-z")]), "SecretMissing");
        let starting = later(("ContainerCreating", ""));
        assert_eq!(told(&[earlier("db-a"), starting]), "RollingOut");
    }
}
