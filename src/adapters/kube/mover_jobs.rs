//! The movers in the cluster: starts them, says how they fare, removes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{
    Client, ResourceExt,
    api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tray_domain::{
    ids::OrgId,
    mover_task::{MoverOutcome, MoverTask, SessionCredentials},
    names,
};

use crate::resources::mover_job::{Mover, secret_name};

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

/// One mover as the cluster shows it.
#[derive(Clone, Debug)]
pub struct MoverState {
    /// Name of the Job.
    pub name: String,
    /// Value of its part label.
    pub part: Option<String>,
    /// How far it is.
    pub phase: Phase,
    /// Recorded on the Job.
    pub consistency_point: Option<Timestamp>,
    /// Why the Job failed, in the Job controller's words.
    pub failure: Option<String>,
    /// It was deleted, and goes when its last pod has gone.
    pub deleting: bool,
    /// Name of its Secret.
    pub secret: String,
}

impl MoverState {
    /// Whether a pod of it may be at work, or may yet begin: it has not ended, or is on its way out. The Job controller says
    /// that a Job has ended only when its pods have.
    pub fn may_be_at_work(&self) -> bool {
        self.deleting || matches!(self.phase, Phase::Suspended | Phase::Running)
    }
}

/// Reads the state of a Job.
pub fn state_of(job: &Job) -> MoverState {
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
    MoverState {
        name: job.name_any(),
        part: job.labels().get(names::LABEL_PART).cloned(),
        phase,
        consistency_point: job
            .annotations()
            .get(names::ANNOTATION_CONSISTENCY_POINT)
            .and_then(|text| text.parse().ok()),
        failure: failed.map(|c| {
            let (reason, message) = (c.reason.as_deref(), c.message.as_deref());
            format!("{}: {}", reason.unwrap_or("Failed"), message.unwrap_or_default())
        }),
        deleting: job.metadata.deletion_timestamp.is_some(),
        secret: secret_of(job).unwrap_or_else(|| secret_name(&job.name_any())),
    }
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

/// The movers of one namespace.
#[derive(Clone)]
pub struct MoverJobs {
    client: Client,
    namespace: String,
}

impl MoverJobs {
    /// Of that namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The movers that work for `owner` (an OrgSnapshot, an OrgRestore, or a TrayOrg).
    pub async fn of(&self, owner: &str) -> Result<Vec<MoverState>, kube::Error> {
        self.labelled(names::LABEL_OWNER, owner).await
    }

    /// All movers of an org in this namespace, asked of the API server.
    pub async fn of_org(&self, org: &OrgId) -> Result<Vec<MoverState>, kube::Error> {
        self.labelled(names::LABEL_ORG_ID, org.as_str()).await
    }

    async fn labelled(&self, label: &str, value: &str) -> Result<Vec<MoverState>, kube::Error> {
        let selector = format!(
            "{}={},{label}={value}",
            names::LABEL_COMPONENT,
            names::COMPONENT_MOVER,
        );
        let jobs = self.jobs().list(&ListParams::default().labels(&selector)).await?;
        Ok(jobs.items.iter().map(state_of).collect())
    }

    /// Job suspended, then its Secret, then the Job resumed. Each step finds what an earlier try left.
    pub async fn start(
        &self,
        mover: &Mover,
        task: &MoverTask,
        credentials: &SessionCredentials,
        ca_bundle: Option<&[u8]>,
    ) -> Result<(), kube::Error> {
        let params = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let job = match self.jobs().create(&params, &mover.job()).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.jobs().get(&mover.name).await?
            }
            other => other?,
        };
        let uid = job.uid().unwrap_or_default();
        let mut secret = mover
            .secret(&uid, task, credentials, ca_bundle)
            .map_err(kube::Error::SerdeError)?;
        // A Job that an earlier version made may mount one of another name.
        if let Some(mounted) = secret_of(&job) {
            secret.metadata.name = Some(mounted);
        }
        self.apply_secret(&secret).await?;
        self.jobs()
            .patch(
                &mover.name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": {"uid": uid}, "spec": {"suspend": false}})),
            )
            .await?;
        Ok(())
    }

    async fn apply_secret(&self, secret: &Secret) -> Result<(), kube::Error> {
        let params = PatchParams::apply(names::OPERATOR).force();
        self.secrets()
            .patch(&secret.name_any(), &params, &Patch::Apply(secret))
            .await?;
        Ok(())
    }

    /// Puts new credentials into `secret`, where the running mover reads them.
    pub async fn renew(&self, secret: &str, credentials: &SessionCredentials) -> Result<(), kube::Error> {
        use tray_domain::mover_task::CREDENTIALS_FILE;
        let body = serde_json::to_string(credentials).map_err(kube::Error::SerdeError)?;
        let patch = json!({"stringData": BTreeMap::from([(CREDENTIALS_FILE, body)])});
        self.secrets()
            .patch(secret, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// What the newest pod of a mover said at its end; none where it said nothing that can be read.
    pub async fn outcome(&self, name: &str) -> Result<Option<MoverOutcome>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut pods = pods
            .list(&ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}")))
            .await?
            .items;
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.creation_timestamp().map(|t| t.0)));
        let said = pods.iter().find_map(|pod| {
            let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
            statuses
                .first()?
                .state
                .as_ref()?
                .terminated
                .as_ref()?
                .message
                .clone()
        });
        Ok(said.and_then(|message| serde_json::from_str(&message).ok()))
    }

    /// Removes a mover with its pods and its Secret. The Job of one that has not ended stays until its last pod has gone, so
    /// that it is seen for as long as anything of it may write. One that is gone already is success.
    pub async fn remove(&self, name: &str, phase: Phase) -> Result<(), kube::Error> {
        let params = match phase {
            Phase::Suspended | Phase::Running => DeleteParams::foreground(),
            Phase::Succeeded | Phase::Failed => DeleteParams::background(),
        };
        match self.jobs().delete(name, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn job(spec: serde_json::Value, conditions: serde_json::Value) -> Job {
        serde_json::from_value(
            json!({"metadata": {"name": "j"}, "spec": spec, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }
    fn phase(suspend: bool, conditions: serde_json::Value) -> Phase {
        state_of(&job(json!({"suspend": suspend, "template": {}}), conditions)).phase
    }

    #[test]
    fn a_job_holds_until_it_has_ended_and_while_it_goes() {
        let ended = json!([{"type": "Complete", "status": "True"}]);
        let holds = |suspend, conditions| {
            let made = job(json!({"suspend": suspend, "template": {}}), conditions);
            state_of(&made).may_be_at_work()
        };
        assert!(holds(true, json!([])), "somebody may resume it");
        assert!(holds(false, json!([])), "whether or not a pod of it is seen");
        assert!(!holds(false, ended.clone()));
        let mut going = job(json!({"template": {}}), ended);
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(state_of(&going).may_be_at_work());
    }

    #[test]
    fn credentials_go_where_the_job_reads_them_and_where_no_other_pod_can() {
        let secret = |mounted: &[&str]| {
            let volumes = mounted
                .iter()
                .map(|name| json!({"name": "v", "secret": {"secretName": name}}));
            let volumes: Vec<serde_json::Value> = volumes.collect();
            let spec = json!({"template": {"spec": {"containers": [], "volumes": volumes}}});
            state_of(&job(spec, json!([]))).secret
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
            state_of(&job(json!({"template": {}}), json!([]))).secret,
            "tray-mover-j"
        );
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
