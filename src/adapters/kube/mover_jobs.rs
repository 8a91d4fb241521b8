//! The movers in the cluster: starts them, says how they fare, removes them.
//!
//! How far a Job is has one source, the index: the answers to writes go into it at once. It may be behind, also just after a
//! start, so what hangs on a Job *not* being there is asked of the API server: before a run or a sweep begins, before a hook
//! runs, before a sweep is given up.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{
    Client, ResourceExt,
    api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
use tray_domain::{
    ids::OrgId,
    mover_task::{CREDENTIALS_FILE, MoverOutcome, MoverTask, SessionCredentials},
    names,
};

use super::{
    facts::{JobFact, Phase},
    index::Index,
    table::Row,
};
use crate::resources::mover_job::Mover;

/// Why a mover could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A Job of its name is there, and is not the operator's: it gets no credentials, and how it ends says nothing.
    #[error(
        "Job {name} in namespace {namespace} has the name of a mover and is none: delete it, and find out who made it"
    )]
    Foreign {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server did not do it.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Whether a Job that is there already is the mover that was to be made, by the labels that it is found by.
fn is_same_mover(wanted: &Job, found: &Job) -> bool {
    let found = found.labels();
    [
        names::LABEL_COMPONENT,
        names::LABEL_ORG,
        names::LABEL_ORG_ID,
        names::LABEL_OWNER,
    ]
    .iter()
    .all(|label| found.get(*label) == wanted.labels().get(*label))
}

/// The movers of all orgs.
#[derive(Clone)]
pub struct MoverJobs {
    client: Client,
    index: Arc<Index>,
}

impl MoverJobs {
    /// Writes with `client`, reads `index`.
    pub fn new(client: Client, index: Arc<Index>) -> Self {
        Self { client, index }
    }

    fn jobs(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.client.clone(), namespace)
    }
    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The movers of an org in `namespace` that work for `owner` (an OrgSnapshot or an OrgRestore), as they are known now: with
    /// those that this very pass has made.
    pub fn of_owner(&self, namespace: &str, org: &str, owner: &str) -> Vec<Arc<JobFact>> {
        let mut jobs = self.index.jobs.of(org);
        jobs.retain(|job| job.namespace == namespace && job.owner.as_deref() == Some(owner));
        jobs
    }

    /// The movers of an org in `namespace`, asked of the API server: neither a pod nor an index tells of one that was made a
    /// moment ago, or whose node does not answer.
    pub async fn asked(&self, namespace: &str, org: &OrgId) -> Result<Vec<JobFact>, kube::Error> {
        let selector = format!(
            "{}={},{}={org}",
            names::LABEL_COMPONENT,
            names::COMPONENT_MOVER,
            names::LABEL_ORG_ID,
        );
        let params = ListParams::default().labels(&selector);
        let jobs = self.jobs(namespace).list(&params).await?;
        Ok(jobs.items.iter().map(JobFact::of).collect())
    }

    /// The first of them that may be at work.
    pub async fn at_work(&self, namespace: &str, org: &OrgId) -> Result<Option<String>, kube::Error> {
        let asked = self.asked(namespace, org).await?;
        let mut at_work = asked.into_iter().filter(JobFact::may_be_at_work);
        Ok(at_work.next().map(|job| job.name))
    }

    /// Job suspended, then its Secret, then the Job resumed. Each step finds what an earlier try left.
    pub async fn start(
        &self,
        mover: &Mover,
        task: &MoverTask,
        credentials: &SessionCredentials,
        ca_bundle: Option<&[u8]>,
    ) -> Result<(), StartError> {
        let params = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let jobs = self.jobs(&mover.namespace);
        let wanted = mover.job();
        let job = match jobs.create(&params, &wanted).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => jobs.get(&mover.name).await?,
            other => other?,
        };
        if !is_same_mover(&wanted, &job) {
            return Err(StartError::Foreign {
                namespace: mover.namespace.clone(),
                name: mover.name.clone(),
            });
        }
        let (uid, made) = (job.uid().unwrap_or_default(), JobFact::of(&job));
        let mut secret = mover
            .secret(&uid, task, credentials, ca_bundle)
            .map_err(kube::Error::SerdeError)?;
        // A Job that an earlier version made may mount one of another name.
        secret.metadata.name = Some(made.secret.clone());
        self.index.jobs.answer(made);
        let params = PatchParams::apply(names::OPERATOR).force();
        let applied = Patch::Apply(&secret);
        self.secrets(&mover.namespace)
            .patch(&secret.name_any(), &params, &applied)
            .await?;
        let resumed = jobs
            .patch(
                &mover.name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": {"uid": uid}, "spec": {"suspend": false}})),
            )
            .await?;
        self.index.jobs.answer(JobFact::of(&resumed));
        Ok(())
    }

    /// Puts new credentials where the running mover reads them.
    pub async fn renew(&self, job: &JobFact, credentials: &SessionCredentials) -> Result<(), kube::Error> {
        let body = serde_json::to_string(credentials).map_err(kube::Error::SerdeError)?;
        let patch = json!({"stringData": BTreeMap::from([(CREDENTIALS_FILE, body)])});
        self.secrets(&job.namespace)
            .patch(&job.secret, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// What the newest pod of a mover said at its end; none where it said nothing that can be read.
    pub async fn outcome(&self, job: &JobFact) -> Result<Option<MoverOutcome>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &job.namespace);
        let mut pods = pods
            .list(&ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name)))
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
    pub async fn remove(&self, job: &JobFact) -> Result<(), kube::Error> {
        let params = match job.phase {
            Phase::Suspended | Phase::Running => DeleteParams::foreground(),
            Phase::Succeeded | Phase::Failed => DeleteParams::background(),
        };
        // Another one of its name may be at work by now: how that goes is not known here.
        let params = params.preconditions(Preconditions {
            uid: Some(job.identity.uid.clone()),
            resource_version: None,
        });
        match self.jobs(&job.namespace).delete(&job.name, &params).await {
            // It goes when its last pod has gone.
            Ok(answer) if answer.is_left() => {
                answer.map_left(|going| self.index.jobs.answer(JobFact::of(&going)));
            }
            Ok(_) => drop(self.index.jobs.remove(&job.key(), Some(job.uid()))),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                self.index.jobs.remove(&job.key(), Some(job.uid()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
