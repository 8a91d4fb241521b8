//! Sweeps: what was pruned is removed from the bucket. A sweep is an entry of the ledger before its mover, the pruner, is made,
//! and ends with one: while it is open no run begins.

use std::{sync::Arc, time::Duration};

use tracing::warn;
use tray_domain::{
    exclusion::Beginning,
    ids::SweepId,
    ledger::{Event, Sweep},
    mover_lifetime::RUN_DEADLINE,
    mover_task::{Action, MoverOutcome},
    session_policy::SessionScope,
    sweep::{
        KEEP_DELETE_HOURS, KEEP_PACK_HOURS, SweepMover, SweepObserved, SweepStep, Waiting, garbage, next_step,
    },
};

use super::{
    audit::hold,
    pass::{Pass, SOON, Work},
};
use crate::{
    adapters::kube::facts::{JobFact, Phase},
    controllers::{
        backup::pass::{PRUNE_NAMESPACE, holder, prune_owner},
        blocked::{Blocked, Until},
    },
    resources::mover_job::sweep_job_name,
    telemetry::metrics,
};

/// Look at a running sweep, besides every change of its Job.
const LOOK: Duration = Duration::from_secs(60);

/// Begins the sweep that is due. Returns when to look again.
pub(super) async fn begin(pass: &Pass<'_>) -> Result<Duration, Blocked> {
    hold(pass).await?;
    pass.lock(&lock_holder(pass)).await?;
    let sweep_id = SweepId::of(pass.now, pass.subject.org_id());
    Ok(match pass.begin(&Event::sweep_planned(sweep_id)).await? {
        Beginning::Written | Beginning::Overtaken => Duration::ZERO,
        Beginning::Waits(_) => SOON,
    })
}

/// What became of a look at an open sweep.
pub(super) enum Driven {
    /// It goes on, or has ended; look again after that.
    Again(Duration),
    /// It was given up and has ended.
    GivenUp,
    /// It is given up; this mover of it may still be at work.
    Stopping(String),
}

/// Brings an open sweep nearer to its end; `waits` = who waits for that.
pub(super) async fn drive(pass: &Pass<'_>, open: &Sweep, waits: Option<Waiting>) -> Result<Driven, Blocked> {
    let name = job_name(pass, open);
    let jobs = pass.pruners();
    let job = jobs.iter().find(|job| job.name == name);
    let observed = SweepObserved {
        sweep: open,
        mover: job.map_or(SweepMover::Absent, |job| match job.phase {
            Phase::Suspended => SweepMover::Suspended,
            Phase::Running => SweepMover::Running,
            Phase::Succeeded => SweepMover::Succeeded,
            Phase::Failed => SweepMover::Failed,
        }),
        at_work: jobs
            .iter()
            .find(|job| job.may_be_at_work())
            .map(|job| job.name.as_str()),
        waits,
    };
    match next_step(&observed, pass.now) {
        SweepStep::StopMovers { why, at_work } => {
            warn!(job = name, why, "the sweep is given up; tried again in an hour");
            remove(pass, &jobs).await?;
            Ok(Driven::Stopping(at_work))
        }
        SweepStep::GiveUp(why) => {
            // The index may not show its mover yet.
            let at_work = pass.ctx.movers.at_work(PRUNE_NAMESPACE, pass.subject.org_id());
            if let Some(mover) = at_work.await? {
                return Ok(Driven::Stopping(mover));
            }
            warn!(
                job = name,
                why, "the sweep has been given up; tried again in an hour"
            );
            remove(pass, &jobs).await?;
            end(pass, open, Some(why.to_owned()), &[]).await?;
            Ok(Driven::GivenUp)
        }
        step => {
            pass.lock(&lock_holder(pass)).await?;
            let job = job.map(|job| &**job);
            carry_out(pass, open, step, job, &jobs).await.map(Driven::Again)
        }
    }
}

/// Carries out a step of a sweep that goes on. Returns when to look again.
async fn carry_out(
    pass: &Pass<'_>,
    open: &Sweep,
    step: SweepStep,
    job: Option<&JobFact>,
    jobs: &[Arc<JobFact>],
) -> Result<Duration, Blocked> {
    match (step, job) {
        (SweepStep::Renew, Some(job)) => Ok(pass.renew(job, &SessionScope::Prune).await?.min(LOOK)),
        (SweepStep::RecordSwept, Some(job)) => {
            swept(pass, job).await?;
            end(pass, open, None, jobs).await
        }
        (SweepStep::Fail, Some(job)) => {
            let why = failure(pass, job).await?;
            end(pass, open, Some(why), jobs).await
        }
        (SweepStep::Start, _) => start_or_end(pass, open, jobs).await,
        // Each of the others was decided by a Job that is there.
        _ => Ok(SOON),
    }
}

/// Starts the mover of a sweep. Where a person has to act first, the sweep ends: runs go on meanwhile.
async fn start_or_end(pass: &Pass<'_>, open: &Sweep, jobs: &[Arc<JobFact>]) -> Result<Duration, Blocked> {
    match start(pass, open).await {
        Err(blocked) if blocked.until != Until::Service => {
            warn!(
                code = blocked.reason,
                why = blocked.message,
                "no pruner can be started; tried again in an hour"
            );
            end(pass, open, Some(blocked.reason.to_owned()), jobs).await
        }
        done => done,
    }
}

/// Name of the Job of an open sweep.
pub(super) fn job_name(pass: &Pass<'_>, open: &Sweep) -> String {
    sweep_job_name(pass.subject.org_id(), &open.sweep_id)
}

fn lock_holder(pass: &Pass<'_>) -> String {
    holder("Prune", pass.subject.name())
}

async fn start(pass: &Pass<'_>, open: &Sweep) -> Result<Duration, Blocked> {
    let state = pass.state();
    let action = Action::Prune {
        sweep_id: open.sweep_id.clone(),
        planned_at: open.planned_at,
        volumes: state.repositories.clone(),
        remove: garbage(&state),
        keep_delete_hours: KEEP_DELETE_HOURS,
        keep_pack_hours: KEEP_PACK_HOURS,
    };
    let work = Work {
        name: job_name(pass, open),
        namespace: PRUNE_NAMESPACE.to_owned(),
        owner: prune_owner(pass.subject.name()),
        run_id: None,
        part: None,
        volume: None,
        kubernetes_api: false,
        consistency_point: None,
        deadline: RUN_DEADLINE,
        action,
        scope: SessionScope::Prune,
    };
    pass.start(work).await?;
    Ok(LOOK)
}

/// Writes down what was removed.
async fn swept(pass: &Pass<'_>, job: &JobFact) -> Result<(), Blocked> {
    let outcome = pass.ctx.movers.outcome(job).await?;
    let said = match outcome {
        Some(MoverOutcome::Pruned { volumes }) => volumes,
        // Its last words are lost: how much it was is not known.
        _ => Vec::new(),
    };
    for volume in &pass.state().repositories {
        let pruned = said.iter().find(|pruned| pruned.volume == *volume);
        let event = Event::Swept {
            volume: volume.clone(),
            marked_packs: pruned.map_or(0, |pruned| pruned.marked_packs),
            freed_bytes: pruned.map_or(0, |pruned| pruned.freed_bytes),
        };
        pass.ledger.append(event, pass.now).await?;
    }
    Ok(())
}

/// Why a pruner failed, as a code; its words are in the log.
async fn failure(pass: &Pass<'_>, job: &JobFact) -> Result<String, Blocked> {
    let (code, said) = match pass.ctx.movers.outcome(job).await? {
        Some(MoverOutcome::Failed { reason, message }) => (format!("{reason:?}"), message),
        _ => ("JobFailed".to_owned(), job.failure.clone().unwrap_or_default()),
    };
    warn!(
        job = job.name,
        code, said, "pruning failed; tried again in an hour"
    );
    Ok(code)
}

/// The end is in the ledger before the Job goes: a sweep without a Job is one that was not started.
async fn end(
    pass: &Pass<'_>,
    open: &Sweep,
    failed: Option<String>,
    jobs: &[Arc<JobFact>],
) -> Result<Duration, Blocked> {
    let result = if failed.is_none() { "good" } else { "failed" };
    let event = Event::SweepEnded {
        sweep_id: open.sweep_id.clone(),
        failed,
    };
    let decided = pass.ledger.append_decided(pass.now, |state| {
        let is_open = state.sweep.as_ref() == Some(open);
        is_open.then(|| event.clone())
    });
    decided.await?;
    pass.ctx
        .metrics
        .runs
        .get_or_create(&metrics::Run {
            kind: "prune",
            result,
        })
        .inc();
    remove(pass, jobs).await?;
    pass.unlock(&lock_holder(pass)).await?;
    Ok(Duration::ZERO)
}

async fn remove(pass: &Pass<'_>, jobs: &[Arc<JobFact>]) -> Result<(), Blocked> {
    for job in jobs {
        pass.remove(job).await?;
    }
    Ok(())
}
