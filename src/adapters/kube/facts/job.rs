//! What is known of a mover's Job: all that anybody asks of one is read off it here.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use kube::ResourceExt;
use tray_domain::names;

use super::{Identity, Key};
use crate::{adapters::kube::table::Row, resources::mover_job::secret_name};

/// How far a mover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, but its Secret may be missing: start it again, which is idempotent.
    Suspended,
    /// Started, not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly, and will not be tried again.
    Failed,
}

/// What is known of a mover's Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFact {
    pub identity: Identity,
    pub namespace: String,
    pub name: String,
    /// Label [`names::LABEL_ORG`].
    pub org: Option<String>,
    /// Label [`names::LABEL_ORG_ID`].
    pub org_id: Option<String>,
    /// Label [`names::LABEL_OWNER`]: OrgSnapshot, OrgRestore or TrayOrg it works for.
    pub owner: Option<String>,
    /// How far it is.
    pub phase: Phase,
    /// Recorded on the Job: when the hook of its part began.
    pub consistency_point: Option<Timestamp>,
    /// Recorded on the Job: UID of the claim that it fills.
    pub claim_uid: Option<String>,
    /// Why it failed, in the Job controller's one word: `DeadlineExceeded`.
    pub failure: Option<String>,
    /// When its controller began it: from then on it has a pod, unless none can be made.
    pub started: Option<Timestamp>,
    /// Whether its controller knows of a pod of it, whatever became of that.
    pub has_pod: bool,
    /// It was deleted, and goes when its last pod has gone.
    pub deleting: bool,
    /// Name of its Secret.
    pub secret: String,
}
row!(JobFact, |job| job.org.as_deref());

impl JobFact {
    /// From a Job.
    pub fn of(job: &Job) -> Self {
        let label = |name: &str| job.labels().get(name).cloned();
        let conditions = job
            .status
            .as_ref()
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let condition = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
        let failed = condition("Failed");
        let phase = if failed.is_some() {
            Phase::Failed
        } else if condition("Complete").is_some() {
            Phase::Succeeded
        } else if job.spec.as_ref().and_then(|s| s.suspend) == Some(true) {
            Phase::Suspended
        } else {
            Phase::Running
        };
        Self {
            identity: Identity::of(&job.metadata),
            namespace: job.namespace().unwrap_or_default(),
            name: job.name_any(),
            org: label(names::LABEL_ORG),
            org_id: label(names::LABEL_ORG_ID),
            owner: label(names::LABEL_OWNER),
            phase,
            consistency_point: job
                .annotations()
                .get(names::ANNOTATION_CONSISTENCY_POINT)
                .and_then(|text| text.parse().ok()),
            claim_uid: job.annotations().get(names::ANNOTATION_CLAIM_UID).cloned(),
            failure: failed.map(|c| c.reason.clone().unwrap_or_else(|| "Failed".to_owned())),
            started: job
                .status
                .as_ref()
                .and_then(|s| s.start_time.as_ref())
                .map(|time| time.0),
            has_pod: job.status.as_ref().is_some_and(has_pod),
            deleting: job.metadata.deletion_timestamp.is_some(),
            secret: secret_of(job).unwrap_or_else(|| secret_name(&job.name_any())),
        }
    }

    /// Whether a pod of it may be at work, or may yet begin: it has not ended, or is on its way out. The Job controller says
    /// that a Job has ended only when its pods have.
    pub fn may_be_at_work(&self) -> bool {
        self.deleting || matches!(self.phase, Phase::Suspended | Phase::Running)
    }
}

fn has_pod(status: &JobStatus) -> bool {
    let counts = [status.active, status.succeeded, status.failed, status.terminating];
    counts.into_iter().flatten().any(|count| count > 0)
}

/// The Secret that a Job mounts: one that an earlier version made may have another name. Only such a name counts as no other
/// pod may refer to: the Job may be somebody else's, who mounts a Secret that he can read.
fn secret_of(job: &Job) -> Option<String> {
    let volumes = job.spec.as_ref()?.template.spec.as_ref()?.volumes.as_ref()?;
    volumes
        .iter()
        .filter_map(|volume| volume.secret.as_ref()?.secret_name.as_ref())
        .find(|name| names::is_operators_secret(name))
        .cloned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn job(spec: serde_json::Value, conditions: serde_json::Value) -> Job {
        serde_json::from_value(
            json!({"metadata": {"name": "j"}, "spec": spec, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }
    fn phase(suspend: bool, conditions: serde_json::Value) -> Phase {
        JobFact::of(&job(json!({"suspend": suspend, "template": {}}), conditions)).phase
    }

    #[test]
    fn a_job_holds_until_it_has_ended_and_while_it_goes() {
        let ended = json!([{"type": "Complete", "status": "True"}]);
        let holds = |suspend, conditions| {
            let made = job(json!({"suspend": suspend, "template": {}}), conditions);
            JobFact::of(&made).may_be_at_work()
        };
        assert!(holds(true, json!([])), "somebody may resume it");
        assert!(holds(false, json!([])), "whether or not a pod of it is seen");
        assert!(!holds(false, ended.clone()));
        let mut going = job(json!({"template": {}}), ended);
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(JobFact::of(&going).may_be_at_work());
    }

    #[test]
    fn a_job_of_which_no_pod_can_be_made_has_none() {
        let of = |status: serde_json::Value| {
            let job = json!({"metadata": {"name": "j"}, "spec": {"template": {}}, "status": status});
            let fact = JobFact::of(&serde_json::from_value(job).unwrap());
            (fact.started.is_some(), fact.has_pod)
        };
        let at = "2026-01-01T00:00:00Z";
        assert_eq!(of(json!({})), (false, false));
        assert_eq!(of(json!({"startTime": at})), (true, false));
        assert_eq!(of(json!({"startTime": at, "active": 0})), (true, false));
        for counted in ["active", "succeeded", "failed", "terminating"] {
            assert_eq!(
                of(json!({"startTime": at, counted: 1})),
                (true, true),
                "{counted}"
            );
        }
    }

    #[test]
    fn credentials_go_where_the_job_reads_them_and_where_no_other_pod_can() {
        let secret = |mounted: &[&str]| {
            let volumes = mounted
                .iter()
                .map(|name| json!({"name": "v", "secret": {"secretName": name}}));
            let volumes: Vec<serde_json::Value> = volumes.collect();
            let spec = json!({"template": {"spec": {"containers": [], "volumes": volumes}}});
            JobFact::of(&job(spec, json!([]))).secret
        };
        let earlier = "snap-01arz3ndektsv4rrffq69g5fav-data-db-0";
        assert_eq!(secret(&[earlier]), earlier);
        assert_eq!(secret(&["tray-mover-j"]), "tray-mover-j");
        // Somebody made a Job of that name before, and reads what it mounts.
        for foreign in ["own", "snap-x", "mover-j"] {
            assert_eq!(secret(&[foreign]), "tray-mover-j", "{foreign}");
        }
        assert_eq!(secret(&["own", earlier]), earlier);
        assert_eq!(
            JobFact::of(&job(json!({"template": {}}), json!([]))).secret,
            "tray-mover-j"
        );
    }

    #[test]
    fn it_says_which_claim_it_fills() {
        let mut made = job(json!({"template": {}}), json!([]));
        assert_eq!(JobFact::of(&made).claim_uid, None);
        let annotation = (names::ANNOTATION_CLAIM_UID.to_owned(), "uid".to_owned());
        made.metadata.annotations = Some([annotation].into());
        assert_eq!(JobFact::of(&made).claim_uid.as_deref(), Some("uid"));
    }

    #[test]
    fn the_phase_comes_from_the_conditions() {
        assert_eq!(phase(true, json!([])), Phase::Suspended);
        assert_eq!(phase(false, json!([])), Phase::Running);
        assert_eq!(
            phase(false, json!([{"type": "Complete", "status": "True"}])),
            Phase::Succeeded
        );
        assert_eq!(
            phase(false, json!([{"type": "Failed", "status": "True"}])),
            Phase::Failed
        );
        // Announced, but its last pod has not ended: not yet.
        assert_eq!(
            phase(false, json!([{"type": "FailureTarget", "status": "True"}])),
            Phase::Running
        );
    }
}
