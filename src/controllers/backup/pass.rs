//! One look at one org: what its steps share.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tray_api::conditions::reasons;
use tray_domain::{
    exclusion::{Beginning, Busy, Seen, begin, take_over},
    ids::{KmsKeyArn, PartId, RunId},
    ledger::{Event, LedgerState},
    mover_lifetime::{CREDENTIALS_LIFETIME, renew_at},
    mover_task::{Action, MoverOutcome, MoverTask, SessionCredentials},
    names,
    session_policy::{SessionScope, session_policy},
    snapshot_run::{MoverFailure, MoverProgress},
};
use tray_ledger::Ledger;
use tray_ports::RegionServices;

use super::BackupDriver;
use crate::{
    adapters::kube::{
        facts::{JobFact, Phase},
        repository_lock::Lock,
    },
    controllers::{Blocked, context::Context, until, view::subject::Subject},
    resources::mover_job::{Mover, MoverVolume},
};

/// Look again where a mover of earlier work may still be there, or is not seen yet.
pub(super) const SOON: Duration = Duration::from_secs(5);
/// The longest name that STS takes for a session.
const LONGEST_SESSION_NAME: usize = 64;

/// One look at one org.
pub(super) struct Pass<'a> {
    /// What every controller has.
    pub ctx: &'a Arc<Context>,
    /// What outlives the pass.
    pub backup: &'a BackupDriver,
    /// The org.
    pub subject: &'a Subject<'a>,
    /// Bucket, KMS and STS.
    pub services: RegionServices,
    /// Its ledger, claimed.
    pub ledger: Ledger,
    /// This very pass has read the ledger; else it was in memory, and others may have written since.
    pub has_read: bool,
    /// Its key.
    pub key: KmsKeyArn,
    /// The time of this pass.
    pub now: Timestamp,
    /// When this process looked at an org first: what was to be done before that, nobody may have done.
    pub looks_since: Timestamp,
}

/// A mover to start.
pub(super) struct Work {
    /// Name of Job and Secret.
    pub name: String,
    /// The org's namespace, or the operator's.
    pub namespace: String,
    /// OrgSnapshot, OrgRestore, or what prunes.
    pub owner: String,
    /// The run.
    pub run_id: Option<RunId>,
    /// The part.
    pub part: Option<PartId>,
    /// What it mounts.
    pub volume: Option<MoverVolume>,
    /// Whether it talks to the Kubernetes API.
    pub kubernetes_api: bool,
    /// When the part's hook began.
    pub consistency_point: Option<Timestamp>,
    /// How long it may take.
    pub deadline: Duration,
    /// What it does.
    pub action: Action,
    /// What it may do.
    pub scope: SessionScope,
}

impl Pass<'_> {
    /// What the ledger says now.
    pub(super) fn state(&self) -> Arc<LedgerState> {
        self.ledger.state()
    }

    /// The movers of a run or a restore of the org when the pass began, by the name of its OrgSnapshot or OrgRestore.
    pub(super) fn movers_of(&self, owner: &str) -> Vec<Arc<JobFact>> {
        let namespace = self.subject.namespace();
        let mut jobs = self.subject.view.movers.clone();
        jobs.retain(|job| job.namespace == namespace && job.owner.as_deref() == Some(owner));
        jobs
    }

    /// The movers that prune for the org, whatever sweep they are of.
    pub(super) fn pruners(&self) -> Vec<Arc<JobFact>> {
        let org_id = self.subject.org_id().as_str();
        let mut jobs = self.subject.view.movers.clone();
        jobs.retain(|job| job.namespace == PRUNE_NAMESPACE && job.org_id.as_deref() == Some(org_id));
        jobs
    }

    /// Removes a mover.
    pub(super) async fn remove(&self, job: &JobFact) -> Result<(), Blocked> {
        self.ctx.movers.remove(job).await?;
        self.backup.issued.forget(&job.namespace, &job.name);
        Ok(())
    }

    /// Credentials for one piece of work.
    async fn credentials(&self, scope: &SessionScope, name: &str) -> Result<SessionCredentials, Blocked> {
        let Some(role) = &self.subject.region.spec.backup.mover_role_arn else {
            let region = &self.subject.placement.region.name;
            let message =
                format!("Region {region} has no spec.backup.moverRoleArn: set the role that movers assume");
            return Err(Blocked::person(reasons::MOVER_ROLE_MISSING, message));
        };
        let subject = self.subject;
        let (location, org) = (&subject.location, subject.org_id());
        let policy = session_policy(scope, location, org, &self.key, &subject.ledger_key)?;
        let session: String = name.chars().take(LONGEST_SESSION_NAME).collect();
        let issued = self
            .services
            .sessions
            .assume(role, &session, &policy, CREDENTIALS_LIFETIME)
            .await;
        issued.map_err(|error| {
            Blocked::remote(
                reasons::BUCKET_UNAVAILABLE,
                &format!("assume {role} for {name}"),
                &error,
            )
        })
    }

    /// Starts a mover; one that was started already goes on.
    pub(super) async fn start(&self, work: Work) -> Result<(), Blocked> {
        let credentials = self.credentials(&work.scope, &work.name).await?;
        let settings = &self.ctx.settings;
        let mover = Mover {
            name: work.name,
            namespace: work.namespace,
            org_name: self.subject.name().to_owned(),
            org_id: self.subject.org_id().clone(),
            owner: work.owner,
            run_id: work.run_id,
            part: work.part,
            cloud_region: self.subject.placement.region.cloud_region.clone(),
            image: settings.mover_image.clone(),
            image_pull_policy: settings.mover_image_pull_policy.clone(),
            volume: work.volume,
            kubernetes_api: work.kubernetes_api,
            consistency_point: work.consistency_point,
            deadline_seconds: i64::try_from(work.deadline.as_secs()).unwrap_or(i64::MAX),
        };
        let task = MoverTask {
            org_id: self.subject.org_id().clone(),
            location: self.subject.location.clone(),
            kms_key_arn: self.key.clone(),
            action: work.action,
        };
        let movers = &self.ctx.movers;
        movers
            .start(&mover, &task, &credentials, settings.ca_bundle.as_deref())
            .await?;
        self.backup.issued.set(&mover.namespace, &mover.name, self.now);
        Ok(())
    }

    /// Gives a running mover new credentials when half of the old ones' life is over. Returns when that is next.
    pub(super) async fn renew(&self, job: &JobFact, scope: &SessionScope) -> Result<Duration, Blocked> {
        let (namespace, name) = (job.namespace.as_str(), job.name.as_str());
        // Unknown after a start of the operator: then at once.
        let due = self
            .backup
            .issued
            .get(namespace, name)
            .map(renew_at)
            .filter(|due| *due > self.now);
        let due = if let Some(due) = due {
            due
        } else {
            let credentials = self.credentials(scope, name).await?;
            self.ctx.movers.renew(job, &credentials).await?;
            self.backup.issued.set(namespace, name, self.now);
            renew_at(self.now)
        };
        Ok(until(due, self.now))
    }

    /// How far a mover is, from its Job; none = there is no Job.
    pub(super) async fn progress(&self, job: Option<&JobFact>) -> Result<MoverProgress, Blocked> {
        let Some(job) = job else {
            return Ok(MoverProgress::Absent);
        };
        Ok(match job.phase {
            Phase::Suspended => MoverProgress::Suspended,
            Phase::Running => MoverProgress::Running,
            Phase::Succeeded => MoverProgress::Succeeded,
            Phase::Failed => MoverProgress::Failed(self.why(job).await?),
        })
    }

    /// Why a mover failed: the reason of its last words, else of its Job.
    async fn why(&self, job: &JobFact) -> Result<MoverFailure, Blocked> {
        Ok(match self.ctx.movers.outcome(job).await? {
            Some(MoverOutcome::Failed { reason, message }) => MoverFailure {
                code: format!("{reason:?}"),
                words: message,
            },
            _ => MoverFailure {
                code: job.failure.clone().unwrap_or_else(|| "EndedSilently".to_owned()),
                words: String::new(),
            },
        })
    }

    /// Name of a mover of the org that may be at work on its repositories, asked of the API server.
    async fn mover_at_work(&self) -> Result<Option<String>, Blocked> {
        self.other_mover_at_work(|_| false).await
    }

    /// The same, but for those of that name.
    async fn other_mover_at_work(&self, is_own: impl Fn(&str) -> bool) -> Result<Option<String>, Blocked> {
        for namespace in [self.subject.namespace(), PRUNE_NAMESPACE] {
            let asked = self.ctx.movers.asked(namespace, self.subject.org_id()).await?;
            let mut at_work = asked
                .into_iter()
                .filter(|job| job.may_be_at_work() && !is_own(&job.name));
            if let Some(job) = at_work.next() {
                return Ok(Some(job.name));
            }
        }
        Ok(None)
    }

    /// Writes the entry that begins a run, a sweep or a restore, where [`begin`] lets it.
    pub(super) async fn begin(&self, event: &Event) -> Result<Beginning, Blocked> {
        self.begin_beside(event, |_| false).await
    }

    /// The same, where movers of that name may be at work: they are of what begins.
    pub(super) async fn begin_beside(
        &self,
        event: &Event,
        is_own: impl Fn(&str) -> bool,
    ) -> Result<Beginning, Blocked> {
        let next_seq = self.state().next_seq;
        let at_work = self.other_mover_at_work(is_own).await?;
        let seen = Seen {
            next_seq,
            at_work: at_work.as_deref(),
        };
        if let Beginning::Waits(mover) = begin(&seen, &self.state()) {
            return Ok(Beginning::Waits(mover));
        }
        let written = self.ledger.append_decided(self.now, |state| {
            (begin(&seen, state) == Beginning::Written).then(|| event.clone())
        });
        Ok(match written.await? {
            Some(_) => Beginning::Written,
            None => Beginning::Overtaken,
        })
    }

    /// Locks the org's repositories for `holder`, or says who has them.
    pub(super) async fn lock(&self, holder: &str) -> Result<(), Blocked> {
        let (locks, org) = (&self.ctx.locks, self.subject.org_id());
        let mut lock = locks.lock(org, holder, None).await?;
        if let Lock::HeldBy(other) = &lock {
            let at_work = self.mover_at_work().await?;
            take_over(other, at_work.as_deref())?;
            lock = locks.lock(org, holder, Some(other)).await?;
        }
        match lock {
            Lock::Held => Ok(()),
            Lock::HeldBy(holder) => Err(Busy { holder, mover: None }.into()),
        }
    }

    /// Gives the lock back.
    pub(super) async fn unlock(&self, holder: &str) -> Result<(), Blocked> {
        Ok(self.ctx.locks.release(self.subject.org_id(), holder).await?)
    }
}

/// The holder of an org's repositories in the words of the lock: `<kind>/<name>`.
pub(super) fn holder(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

/// Label value of the movers that prune for an org.
pub(super) fn prune_owner(org: &str) -> String {
    format!("{org}.prune")
}

/// Name of the namespace that pruning runs in.
pub(super) const PRUNE_NAMESPACE: &str = names::SYSTEM_NAMESPACE;
