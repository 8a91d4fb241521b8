//! What is remembered of a pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use tray_domain::names;

use super::{Identity, Key, Row};

/// Labels that Deployments and StatefulSets tell the revisions of their pods apart by.
const REVISIONS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// Why a pod does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodProblem {
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
    /// Revision of the workload that it is of, by the label of its controller.
    pub revision: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
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
    pub problem: Option<(PodProblem, String)>,
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
            revision: REVISIONS.iter().find_map(|label| labels.get(*label)).cloned(),
            created: pod
                .creation_timestamp()
                .map(|time| time.0.as_second())
                .unwrap_or_default(),
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
            problem: problem(pod),
        }
    }
}

fn problem(pod: &Pod) -> Option<(PodProblem, String)> {
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        return Some((
            PodProblem::Unschedulable,
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

fn container_trouble(container: &ContainerStatus) -> Option<(PodProblem, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let problem = match waiting.reason.as_deref()? {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => PodProblem::Image,
        "CreateContainerConfigError" => PodProblem::Config,
        "CrashLoopBackOff" => PodProblem::Crashing,
        _ => return None,
    };
    let said = waiting.message.as_deref().unwrap_or_default();
    // "back-off 40s restarting …" changes every time: a condition that repeats it would be written again and again.
    let said = match problem {
        PodProblem::Crashing => "its container ends again and again".to_owned(),
        PodProblem::Image => format!("image {} cannot be pulled", container.image),
        PodProblem::Config | PodProblem::Unschedulable => said.to_owned(),
    };
    Some((problem, said))
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
            fact.problem,
            Some((PodProblem::Image, "image i:1 cannot be pulled".to_owned()))
        );
        let fact = pod(waiting("CreateContainerConfigError", "secret \"s\" not found"));
        assert_eq!(
            fact.problem,
            Some((PodProblem::Config, "secret \"s\" not found".to_owned()))
        );
        assert_eq!(pod(waiting("ContainerCreating", "")).problem, None);
        let fact = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
        ]}));
        assert_eq!(
            fact.problem,
            Some((PodProblem::Unschedulable, "0/3 nodes".to_owned()))
        );
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
        assert_eq!(first.problem, later.problem);
    }
}
