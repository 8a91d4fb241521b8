//! Pruning: what retention says may go is written into the ledger, then a mover removes it from the bucket.
//!
//! The mover marks what nothing refers to any more; a later sweep frees it. So repositories are swept at once after
//! something became garbage, and daily while marks may be waiting.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::{
    pass::{Pass, Work},
    subject::{PRUNE_NAMESPACE, holder, prune_owner},
    trouble::Trouble,
};
use crate::{
    adapters::kube::mover_jobs::{MoverState, Phase},
    api::conditions::reasons,
    domain::{
        ids::PartId,
        ledger::{Event, LedgerState, RunEnd},
        mover_lifetime::RUN_DEADLINE,
        mover_task::{Action, MoverOutcome, PruneVolume},
        retention::{Retention, archives_to_remove, plan, repository_snapshots_to_keep},
        session_policy::SessionScope,
    },
    telemetry::metrics,
};

/// How long a marked pack waits: longer than a run may take, so that no run refers to it any more.
const KEEP_DELETE_HOURS: u32 = 23;
/// How long a new pack is left alone.
const KEEP_PACK_HOURS: u32 = 72;
/// Between two sweeps of a repository in which marks may be waiting.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// So long after something became garbage all of it is freed.
const SWEEP_FOR: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Between two tries of a sweep that failed.
const TRY_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Look at a running sweep, besides every change of its Job.
const LOOK: Duration = Duration::from_secs(60);

/// Writes down which runs go. Returns whether any did.
pub async fn retain(pass: &Pass<'_>) -> Result<bool, Trouble> {
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
    .map_err(|unsafe_| Trouble::new(reasons::PRUNING_STOPPED, unsafe_.to_string()))?;
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
pub fn next(pass: &Pass<'_>) -> Option<Timestamp> {
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
        pass.now.checked_add(SWEEP_EVERY).ok()?
    })
}

/// When the repositories of an org have to be swept; none = nothing is garbage.
fn sweep_at(state: &LedgerState) -> Option<Timestamp> {
    let garbage = state
        .runs
        .values()
        .filter_map(|run| match (&run.end, &run.pruned) {
            (_, Some((at, _))) | (Some(RunEnd::Aborted { at, .. }), None) => Some(*at),
            _ => None,
        });
    let newest = garbage.max()?;
    let swept = state
        .repositories
        .iter()
        .map(|volume| state.swept.get(volume).copied())
        .min()?;
    match swept {
        Some(swept) if swept > newest => {
            let next = swept.checked_add(SWEEP_EVERY).ok()?;
            (next.duration_since(newest) <= SWEEP_FOR).then_some(next)
        }
        _ => Some(newest),
    }
}

/// What a look at pruning found.
pub enum Sweep {
    /// A mover prunes; look again after that.
    Running(Duration),
    /// Nothing to do before then.
    Idle(Option<Timestamp>),
}

/// Brings the sweep of the org's repositories nearer to its end, or begins one that is due.
pub async fn sweep(pass: &Pass<'_>) -> Result<Sweep, Trouble> {
    let owner = prune_owner(pass.subject.name());
    let state = pass.state();
    let due = sweep_at(&state);
    let known = pass.ctx.index.jobs.of(pass.subject.name());
    if !known
        .iter()
        .any(|job| job.owner.as_deref() == Some(owner.as_str()))
    {
        return match due {
            Some(at) if at <= pass.now && !pass.subject.has_mover_pods(&pass.ctx.index) => {
                begin(pass, &state, &owner).await
            }
            due => Ok(Sweep::Idle(due)),
        };
    }
    let jobs = pass.jobs(PRUNE_NAMESPACE).of(&owner).await?;
    let Some(job) = jobs.first() else {
        return Ok(Sweep::Running(LOOK));
    };
    match job.phase {
        Phase::Suspended => begin(pass, &state, &owner).await,
        Phase::Running => {
            let next = pass
                .renew(PRUNE_NAMESPACE, &job.name, &SessionScope::Prune)
                .await?;
            Ok(Sweep::Running(next.min(LOOK)))
        }
        Phase::Succeeded => {
            swept(pass, &state, job).await?;
            finish(pass, job, "good").await
        }
        Phase::Failed => failed(pass, job).await,
    }
}

async fn begin(pass: &Pass<'_>, state: &LedgerState, owner: &str) -> Result<Sweep, Trouble> {
    pass.lock(&holder("Prune", pass.subject.name())).await?;
    let volume = |volume: &PartId| PruneVolume {
        volume: volume.clone(),
        keep: repository_snapshots_to_keep(state, volume),
        keep_delete_hours: KEEP_DELETE_HOURS,
        keep_pack_hours: KEEP_PACK_HOURS,
    };
    let action = Action::Prune {
        volumes: state.repositories.iter().map(volume).collect(),
        remove_archives: archives_to_remove(state),
    };
    let work = Work {
        name: format!("prune-{}", pass.subject.org_id()),
        namespace: PRUNE_NAMESPACE.to_owned(),
        owner: owner.to_owned(),
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
    Ok(Sweep::Running(LOOK))
}

/// Writes down what was removed.
async fn swept(pass: &Pass<'_>, state: &LedgerState, job: &MoverState) -> Result<(), Trouble> {
    let outcome = pass.jobs(PRUNE_NAMESPACE).outcome(&job.name).await?;
    let said = match outcome {
        Some(MoverOutcome::Pruned { volumes }) => volumes,
        // Its last words are lost: it is swept again in a day.
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

async fn failed(pass: &Pass<'_>, job: &MoverState) -> Result<Sweep, Trouble> {
    let again = job.created_at.and_then(|at| at.checked_add(TRY_AGAIN).ok());
    if again.is_some_and(|again| again > pass.now) {
        let why = match pass.jobs(PRUNE_NAMESPACE).outcome(&job.name).await? {
            Some(MoverOutcome::Failed { message, .. }) => message,
            _ => job.failure.clone().unwrap_or_default(),
        };
        warn!(job = job.name, why, "pruning failed; tried again in an hour");
        pass.unlock(&holder("Prune", pass.subject.name())).await?;
        return Ok(Sweep::Idle(again));
    }
    finish(pass, job, "failed").await
}

async fn finish(pass: &Pass<'_>, job: &MoverState, result: &'static str) -> Result<Sweep, Trouble> {
    pass.ctx
        .metrics
        .runs
        .get_or_create(&metrics::Run {
            kind: "prune",
            result,
        })
        .inc();
    pass.jobs(PRUNE_NAMESPACE).remove(&job.name).await?;
    pass.backup.issued.forget(PRUNE_NAMESPACE, &job.name);
    pass.unlock(&holder("Prune", pass.subject.name())).await?;
    Ok(Sweep::Running(Duration::from_secs(5)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ledger::testing::Story;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn repositories_are_swept_at_once_and_daily_until_everything_is_freed() {
        let mut story = Story::new();
        let volume: PartId = "data-db-0".parse().unwrap();
        story.tell(
            Event::RepoInit {
                volume: volume.clone(),
            },
            at("2026-01-01T00:00:00Z"),
        );
        let good = story.good("2026-01-01T00:00:00Z", 60);
        assert_eq!(sweep_at(&story.state), None);
        story.tell(
            Event::Pruned {
                run_id: good,
                why: "old".into(),
            },
            at("2026-01-16T00:00:00Z"),
        );
        assert_eq!(sweep_at(&story.state), Some(at("2026-01-16T00:00:00Z")));
        let mut sweep = |day: &str| {
            let event = Event::Swept {
                volume: volume.clone(),
                marked_packs: 1,
                freed_bytes: 0,
            };
            story.tell(event, at(day));
            sweep_at(&story.state)
        };
        assert_eq!(sweep("2026-01-16T01:00:00Z"), Some(at("2026-01-17T01:00:00Z")));
        assert_eq!(sweep("2026-01-20T01:00:00Z"), None);
    }
}
