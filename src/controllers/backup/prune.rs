//! Pruning: what retention says may go is written into the ledger, then a sweep removes it from the bucket. A sweep is an
//! entry of the ledger before its mover is made, and ends with one: while it is open no run begins.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};
use tray_api::conditions::reasons;
use tray_domain::{
    ids::SweepId,
    ledger::{Event, LedgerState, Sweep},
    mover_lifetime::RUN_DEADLINE,
    mover_task::{Action, MoverOutcome},
    retention::{Retention, plan},
    session_policy::SessionScope,
    sweep,
};

use super::{
    pass::{Beginning, Pass, Work},
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

/// How long a marked pack waits: longer than a run may take, so that no run refers to it any more.
const KEEP_DELETE_HOURS: u32 = 23;
/// How long a new pack is left alone.
const KEEP_PACK_HOURS: u32 = 72;
/// A copy that has to stay for its number is looked at again after that.
const LOOK_DAILY: SignedDuration = SignedDuration::from_hours(24);
/// Look at a running sweep, besides every change of its Job.
const LOOK: Duration = Duration::from_secs(60);
/// Look again where a mover of earlier work may still be there.
const SOON: Duration = Duration::from_secs(5);

/// Writes down which runs go. Returns whether any did.
pub(super) async fn retain(pass: &Pass<'_>) -> Result<bool, Blocked> {
    let Some(snapshots) = pass.subject.snapshot_retention() else {
        return Ok(false);
    };
    let retention = Retention {
        keep_days: u32::try_from(snapshots.keep_days).unwrap_or(u32::MAX),
        keep_at_least: usize::try_from(snapshots.keep_at_least).unwrap_or(usize::MAX),
    };
    let removals = plan(
        &pass.state(),
        retention,
        pass.services.store.clock_skew(),
        pass.now,
    )
    .map_err(|unsafe_| Blocked::person(reasons::PRUNING_STOPPED, unsafe_.to_string()))?;
    for removal in &removals {
        info!(run = %removal.run_id, why = removal.why, "run pruned");
        let event = Event::Pruned {
            run_id: removal.run_id.clone(),
            why: removal.why.clone(),
        };
        let decided = pass.ledger.append_decided(pass.now, |state| {
            let restorable = state
                .runs
                .get(&removal.run_id)
                .is_some_and(|run| run.restorable().is_some());
            restorable.then(|| event.clone())
        });
        decided.await?;
    }
    Ok(!removals.is_empty())
}

/// When the oldest copy that may go by age does.
pub(super) fn next(pass: &Pass<'_>) -> Option<Timestamp> {
    let keep = pass.subject.snapshot_retention()?.keep_days;
    let state = pass.state();
    let (_, oldest) = state.restorable_runs().into_iter().next_back()?;
    let goes = oldest
        .manifest()?
        .consistency_point
        .checked_add(SignedDuration::from_hours(24 * i64::from(keep)))
        .ok()?;
    // One that has to stay for its number is looked at daily.
    Some(if goes > pass.now {
        goes
    } else {
        pass.now.checked_add(LOOK_DAILY).ok()?
    })
}

/// What a look at pruning found.
pub(super) enum Pruning {
    /// A mover prunes, or may still be there; look again after that.
    Running(Duration),
    /// Nothing to do before then.
    Idle(Option<Timestamp>),
}

/// Begins the sweep that is due.
pub(super) async fn begin(pass: &Pass<'_>) -> Result<Pruning, Blocked> {
    let due = sweep::due_at(&pass.state());
    if due.is_none_or(|at| at > pass.now) {
        return Ok(Pruning::Idle(due));
    }
    pass.lock(&lock_holder(pass)).await?;
    let sweep_id = SweepId::of(pass.now, pass.subject.org_id());
    Ok(match pass.begin(&Event::SweepPlanned { sweep_id }).await? {
        Beginning::Written | Beginning::Overtaken => Pruning::Running(Duration::ZERO),
        Beginning::Waits(_) => Pruning::Running(SOON),
    })
}

/// Brings the open sweep nearer to its end; whether a run waits for it is asked only where one is open. Returns when to
/// look again; none = no sweep is.
pub(super) async fn drive(
    pass: &Pass<'_>,
    run_waits: impl FnOnce() -> bool,
) -> Result<Option<Duration>, Blocked> {
    let state = pass.state();
    let Some(open) = &state.sweep else {
        return Ok(None);
    };
    let name = job_name(pass, open);
    let jobs = pass.pruners();
    let job = jobs.iter().find(|job| job.name == name);
    let phase = job.map_or(Phase::Suspended, |job| job.phase);
    if matches!(phase, Phase::Suspended | Phase::Running)
        && let Some(why) = sweep::must_end(open, phase == Phase::Running, run_waits(), pass.now)
    {
        warn!(job = name, why, "pruning is given up; tried again in an hour");
        let mover = stop(pass, open, &jobs, why).await?;
        return Ok(Some(mover.map_or(Duration::ZERO, |_| SOON)));
    }
    pass.lock(&lock_holder(pass)).await?;
    match (phase, job) {
        (Phase::Running, Some(job)) => {
            let next = pass.renew(job, &SessionScope::Prune).await?;
            Ok(next.min(LOOK))
        }
        (Phase::Succeeded, Some(job)) => {
            swept(pass, &state, job).await?;
            end(pass, open, None, &jobs).await
        }
        (Phase::Failed, Some(job)) => {
            let why = failure(pass, job).await?;
            end(pass, open, Some(why), &jobs).await
        }
        _ => start_or_end(pass, &state, open, &jobs).await,
    }
    .map(Some)
}

/// Starts the mover of a sweep. Where a person has to act first, the sweep ends: runs go on meanwhile.
async fn start_or_end(
    pass: &Pass<'_>,
    state: &LedgerState,
    open: &Sweep,
    jobs: &[Arc<JobFact>],
) -> Result<Duration, Blocked> {
    match start(pass, state, open).await {
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

/// Ends an open sweep for what does not wait for hours: what a sweep has not done the next one does. `why` is the ledger's code
/// for it. Returns the mover that is still on its way out; none = no sweep is open any more.
pub(super) async fn give_way(pass: &Pass<'_>, why: &str) -> Result<Option<String>, Blocked> {
    let state = pass.state();
    let Some(open) = &state.sweep else {
        return Ok(None);
    };
    stop(pass, open, &pass.pruners(), why).await
}

/// Removes the movers of a sweep, and ends it once none may be at work any more. Returns the one that may.
async fn stop(
    pass: &Pass<'_>,
    open: &Sweep,
    jobs: &[Arc<JobFact>],
    why: &str,
) -> Result<Option<String>, Blocked> {
    remove(pass, jobs).await?;
    if let Some(job) = jobs.iter().find(|job| job.may_be_at_work()) {
        return Ok(Some(job.name.clone()));
    }
    end(pass, open, Some(why.to_owned()), &[]).await?;
    Ok(None)
}

/// Name of the Job of an open sweep.
pub(super) fn job_name(pass: &Pass<'_>, open: &Sweep) -> String {
    sweep_job_name(pass.subject.org_id(), &open.sweep_id)
}

fn lock_holder(pass: &Pass<'_>) -> String {
    holder("Prune", pass.subject.name())
}

async fn start(pass: &Pass<'_>, state: &LedgerState, open: &Sweep) -> Result<Duration, Blocked> {
    let action = Action::Prune {
        sweep_id: open.sweep_id.clone(),
        planned_at: open.planned_at,
        volumes: state.repositories.clone(),
        remove: sweep::garbage(state),
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
async fn swept(pass: &Pass<'_>, state: &LedgerState, job: &JobFact) -> Result<(), Blocked> {
    let outcome = pass.ctx.movers.outcome(job).await?;
    let said = match outcome {
        Some(MoverOutcome::Pruned { volumes }) => volumes,
        // Its last words are lost: how much it was is not known.
        _ => Vec::new(),
    };
    for volume in &state.repositories {
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
