//! Restores in place: it is proven that every part of a run can come back; then the org's workloads stop, fresh claims are
//! filled, objects are put back, and the workloads start.
//!
//! Nothing here writes a workload or makes a claim: the TrayOrg controller does, by the phase of the OrgRestore. What is done
//! next, and for how long it is waited for, the domain decides.

mod begin;
mod end;
mod parts;
pub(super) mod rights;
pub(super) mod status;

use std::{borrow::Cow, sync::Arc, time::Duration};

use kube::ResourceExt;
use tracing::info;
use tray_api::{
    conditions::reasons,
    orgrestore::{OrgRestore, OrgRestoreStatus, RestorePhase},
};
use tray_domain::{
    claim_holders::FinishedPod,
    ids::{PartId, RunId},
    ledger::{Event, FilledClaim, LedgerState, OpenRestore},
    manifest::Manifest,
    restore_choice::RunChoice,
    restore_run::{RestoreEnd, RestoreFault, RestoreStep, ledger_name, next_step, pinned, recorded_end},
    restore_waits::{Wait, in_time},
};

use super::pass::{Pass, SOON};
use crate::{
    adapters::kube::{events::Severity, facts::JobFact},
    controllers::{
        backup::pass::holder,
        blocked::{Blocked, Until},
        changes::Change,
    },
    resources::mover_job::{proof_job_name, restore_job_name, restore_jobs},
};

pub(super) use begin::{facts, give_up, refuse, tell_turns};
pub(super) use end::end_gone;

/// What is said in place of the words of an end whose status was not written: the ledger holds its code alone.
const STATUS_LOST: &str =
    "that is what the ledger has; what was known besides was lost with a status that could not be written";

/// How often a restore is looked at, besides every change of what it waits for.
const LOOK: Duration = Duration::from_secs(30);

/// Why a restore failed.
pub(super) struct Failure {
    /// A constant of [`reasons`], or the code of an end that is in the ledger.
    pub reason: Cow<'static, str>,
    /// For people.
    pub why: String,
}

impl Failure {
    fn new(reason: impl Into<Cow<'static, str>>, why: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            why: why.into(),
        }
    }

    /// What the ledger has of it: a code. An earlier version wrote it in words.
    fn recorded(why: String) -> Self {
        if why.chars().all(char::is_alphanumeric) {
            let told = format!("{why}: {STATUS_LOST}");
            return Self::new(why, told);
        }
        Self::new(reasons::MOVER_FAILED, why)
    }
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self::new(blocked.reason, blocked.message)
    }
}

impl From<RestoreFault> for Failure {
    fn from(fault: RestoreFault) -> Self {
        let reason = match fault {
            RestoreFault::Part { .. } | RestoreFault::Proof { .. } => reasons::MOVER_FAILED,
            RestoreFault::LostAgain(_) => reasons::VOLUME_REPLACED,
            RestoreFault::ClaimsHeld(_) => reasons::CLAIM_HELD,
            RestoreFault::TookTooLong(_) => reasons::TOOK_TOO_LONG,
        };
        Self::new(reason, fault.to_string())
    }
}

/// How a restore comes to its end.
pub(super) enum End {
    /// Everything is back.
    Succeeded,
    /// Everything is back, and the workloads are not available; why.
    WithoutWorkloads(String),
    /// It failed.
    Failed(Failure),
}

impl From<RestoreEnd> for End {
    fn from(end: RestoreEnd) -> Self {
        match end {
            RestoreEnd::Succeeded => Self::Succeeded,
            RestoreEnd::WithoutWorkloads => Self::WithoutWorkloads(STATUS_LOST.to_owned()),
            RestoreEnd::Failed(why) => Self::Failed(Failure::recorded(why)),
        }
    }
}

/// How a restore names its run.
fn choice(restore: &OrgRestore) -> RunChoice<'_> {
    let named = &restore.spec.snapshot;
    match (&named.run_id, &named.as_of) {
        (Some(run_id), _) => RunChoice::Id(run_id),
        (None, Some(time)) => RunChoice::AsOf(time.0),
        (None, None) => RunChoice::LatestGood,
    }
}

/// Whether a mover of that name is the restore's: by its UID, since another one may have had its name.
pub(super) fn is_mover_of(restore: &OrgRestore, job: &str) -> bool {
    job.starts_with(&restore_jobs(&restore.uid().unwrap_or_default()))
}

/// The restore in the words of the ledger.
fn name_in_ledger(restore: &OrgRestore) -> String {
    ledger_name(&restore.name_any(), &restore.uid().unwrap_or_default())
}

/// What the ledger has of the restore as open.
fn open_in<'a>(state: &'a LedgerState, restore: &OrgRestore) -> Option<&'a OpenRestore> {
    let name = name_in_ledger(restore);
    state.restore.as_ref().filter(|open| open.restore == name)
}

/// The restore that is to be driven: the one that the ledger has as open, whichever is the oldest.
pub(super) fn driven<'a>(pass: &'a Pass<'_>, state: &LedgerState) -> Option<&'a OrgRestore> {
    let view = pass.subject.view;
    let mut restores = view.restores.iter().map(|restore| &**restore);
    restores
        .find(|restore| open_in(state, restore).is_some())
        .or(view.restore.as_deref())
}

/// Whether the ledger has a restore as open that no OrgRestore which is seen asks for.
pub(super) fn is_gone(pass: &Pass<'_>, state: &LedgerState) -> bool {
    let mut restores = pass.subject.view.restores.iter();
    state.restore.is_some() && !restores.any(|restore| open_in(state, restore).is_some())
}

fn job_name_of(restore: &OrgRestore, part: &PartId) -> String {
    restore_job_name(&restore.uid().unwrap_or_default(), part)
}

fn proof_name_of(restore: &OrgRestore, part: &PartId) -> String {
    proof_job_name(&restore.uid().unwrap_or_default(), part)
}

/// Brings a restore nearer to its end. Returns when to look again.
pub(super) async fn drive(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Duration, Blocked> {
    let begun = restore.status.as_ref().filter(|status| status.run_id.is_some());
    let Some(recorded) = begun else {
        return begin::resolve(pass, restore).await;
    };
    let state = pass.state();
    // What the ledger says is what the movers go by.
    let run_id = match open_in(&state, restore) {
        Some(open) => open.run_id.as_str(),
        None => recorded.run_id.as_deref().unwrap_or_default(),
    };
    let manifest = match pinned(&state, run_id) {
        Ok(manifest) => manifest,
        Err(unknown) => {
            let failed = Failure::new(reasons::RUN_NOT_FOUND, unknown.to_string());
            return end::end(pass, restore, recorded, End::Failed(failed)).await;
        }
    };
    let jobs = pass.movers_of(&restore.name_any());
    let observed = parts::observe(pass, restore, recorded, manifest, &jobs).await?;
    let waiting = status::waited(pass, recorded);
    let step = in_time(next_step(&observed), waiting, pass.now);
    let status = status::progress(pass, restore, recorded, &observed, &step, &jobs).await?;
    if let Some(ended) = recorded_end(&state, &name_in_ledger(restore)) {
        return end::end(pass, restore, &status, ended.into()).await;
    }
    // An end needs no lock.
    if step.wait().is_some()
        && let Some(after) = begin::hold(pass, restore, &manifest.run_id).await?
    {
        return Ok(after);
    }
    // The workloads stop by the status: nothing is taken from under them before it says so.
    let stops = |phase: Option<RestorePhase>| phase.is_some_and(RestorePhase::stops_workloads);
    if stops(status.phase) && !stops(restore.phase()) {
        write(pass, restore, status).await?;
        return Ok(Duration::ZERO);
    }
    let driving = Driving {
        pass,
        restore,
        manifest,
        jobs: &jobs,
    };
    match driving.carry_out(step).await {
        Ok(Carried::Goes(after)) => {
            write(pass, restore, status).await?;
            Ok(after)
        }
        Ok(Carried::Ends(ended)) => end::end(pass, restore, &status, ended).await,
        // It says what keeps it, and tries again.
        Err(blocked) => {
            let status = status::hindered(status, restore, &blocked.message, pass.now);
            write(pass, restore, status).await?;
            Err(blocked)
        }
    }
}

/// What came of a step.
enum Carried {
    /// Look again after that.
    Goes(Duration),
    /// It is the end.
    Ends(End),
}

/// A restore whose run is pinned.
struct Driving<'a> {
    pass: &'a Pass<'a>,
    restore: &'a OrgRestore,
    manifest: &'a Manifest,
    jobs: &'a [Arc<JobFact>],
}

impl Driving<'_> {
    async fn carry_out(&self, step: RestoreStep) -> Result<Carried, Blocked> {
        Ok(Carried::Goes(match step {
            RestoreStep::Resolve
            | RestoreStep::WaitForHolders(_)
            | RestoreStep::WaitUntilDrained(_)
            | RestoreStep::WaitForClaims(_)
            | RestoreStep::WaitForWorkloads(_) => LOOK,
            RestoreStep::RemoveClaims { claims, finished, .. } => {
                self.remove_claims(&claims, &finished).await?;
                LOOK
            }
            RestoreStep::Refill(parts) => {
                self.remove_movers(&parts).await?;
                SOON
            }
            RestoreStep::StartProofs(parts) => return self.start(&parts, true).await,
            RestoreStep::StartMovers(parts) => return self.start(&parts, false).await,
            RestoreStep::WaitForProofs | RestoreStep::WaitForMovers(_) => {
                parts::renew(self.pass, self.restore, self.manifest, self.jobs).await?
            }
            RestoreStep::RecordFilled(claims) => {
                self.record_filled(claims).await?;
                // The next look finds that nothing is lost any more, which lets the workloads start.
                Duration::ZERO
            }
            RestoreStep::Succeed => return Ok(Carried::Ends(End::Succeeded)),
            RestoreStep::SucceedWithoutWorkloads(why) => {
                return Ok(Carried::Ends(End::WithoutWorkloads(why)));
            }
            RestoreStep::Fail(fault) => return Ok(Carried::Ends(End::Failed(fault.into()))),
        }))
    }

    /// Starts the proofs or the movers of these parts. Where a person has to act first, the restore ends.
    async fn start(&self, parts: &[PartId], proves: bool) -> Result<Carried, Blocked> {
        let wanted = self.manifest.parts.iter();
        for part in wanted.filter(|part| parts.contains(&part.planned.part)) {
            let started = if proves {
                parts::prove(self.pass, self.restore, self.manifest, part).await
            } else {
                parts::start(self.pass, self.restore, self.manifest, part).await
            };
            match started {
                Err(blocked) if blocked.until != Until::Service => {
                    return Ok(Carried::Ends(End::Failed(blocked.into())));
                }
                started => started?,
            }
        }
        Ok(Carried::Goes(LOOK))
    }

    async fn remove_claims(&self, claims: &[PartId], finished: &[FinishedPod]) -> Result<(), Blocked> {
        let pass = self.pass;
        for FinishedPod { name, uid } in finished {
            let cluster = &pass.ctx.cluster;
            if cluster.delete_pod(pass.subject.namespace(), name, uid).await? {
                let note = format!(
                    "pod {name} had ended and held a claim that OrgRestore {} replaces: removed",
                    self.restore.name_any()
                );
                info!("{note}");
                let (org, events) = (pass.subject.org(), &pass.ctx.events);
                events
                    .publish(org, Severity::Normal, reasons::CLAIM_HELD, "Restore", note)
                    .await;
            }
        }
        // Those that it was decided on: a process that stood still may find claims by now that another one has filled.
        for present in pass.subject.claims() {
            if claims.contains(&present.volume) {
                let id = pass.subject.claim_id(&present.volume);
                pass.ctx.cluster.remove_that(&id, &present.uid).await?;
            }
        }
        Ok(())
    }

    /// Removes the movers that fill these parts.
    async fn remove_movers(&self, parts: &[PartId]) -> Result<(), Blocked> {
        let names: Vec<String> = parts.iter().map(|part| job_name_of(self.restore, part)).collect();
        for job in self.jobs.iter().filter(|job| names.contains(&job.name)) {
            info!(
                job = job.name,
                "the claim that it fills was replaced: filled anew"
            );
            self.pass.remove(job).await?;
        }
        Ok(())
    }

    /// From here these claims hold the data of their volumes.
    async fn record_filled(&self, claims: Vec<FilledClaim>) -> Result<(), Blocked> {
        let name = name_in_ledger(self.restore);
        let decided = self.pass.ledger.append_decided(self.pass.now, |state| {
            (!state.filled.contains_key(&name)).then(|| Event::Filled {
                restore: name.clone(),
                run_id: self.manifest.run_id.clone(),
                claims: claims.clone(),
            })
        });
        decided.await?;
        Ok(())
    }
}

/// Writes the status. The TrayOrg controller goes by its phase, so it is told at once of another one: the watch may show it in a
/// list, after which what is known already is no news.
async fn write(pass: &Pass<'_>, restore: &OrgRestore, mut status: OrgRestoreStatus) -> Result<(), Blocked> {
    status.observed_generation = restore.metadata.generation;
    let (cluster, restores) = (&pass.ctx.cluster, &pass.ctx.index.restores);
    // This very pass may have written it before.
    let known = restores.get(&restore.name_any());
    let known = known.filter(|known| known.uid() == restore.uid());
    let present = known.as_deref().unwrap_or(restore);
    let is_another_phase = status.phase != present.phase();
    let written = cluster
        .write_status(present, present.status.as_ref(), &status)
        .await?;
    if written && is_another_phase {
        pass.ctx.changes.publish(&Change::Restore {
            name: restore.name_any(),
            org: pass.subject.name().to_owned(),
        });
    }
    Ok(())
}

/// Says what the restore waits for before it goes on, or ends it where that takes too long. Returns when to look again.
pub(super) async fn wait(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    wait: Wait,
    message: &str,
) -> Result<Duration, Blocked> {
    let mut status = status::waiting(restore, reasons::WAITING, message, false, pass.now);
    status.waiting_for = Some(status::waiting_for(restore.status.as_ref(), wait, pass.now));
    if status::waited(pass, &status).is_some_and(|waited| waited.is_over(pass.now)) {
        pass.lead().await?;
        let failed = Failure::new(reasons::TOOK_TOO_LONG, format!("it took too long: {message}"));
        return end::end(pass, restore, &status, End::Failed(failed)).await;
    }
    write(pass, restore, status).await?;
    Ok(SOON)
}

/// Whether its status says already that it waits for a run or a sweep.
pub(super) fn waits_for_others(restore: &OrgRestore) -> bool {
    restore.status.as_ref().and_then(status::waits_for) == Some(Wait::OtherWork)
}

/// Says that a mover of earlier work is on its way out. Returns when to look again.
pub(super) async fn wait_for_mover(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    mover: &str,
) -> Result<Duration, Blocked> {
    let message = format!("waits for mover {mover} of earlier work to end");
    wait(pass, restore, Wait::OtherWork, &message).await
}

/// Locks the org's repositories. Returns who else has them, in words; none = the restore has.
async fn lock(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Option<String>, Blocked> {
    match pass.lock(&holder("OrgRestore", &restore.name_any())).await {
        Err(busy) if busy.reason == reasons::ORG_BUSY => Ok(Some(busy.message)),
        locked => locked.map(|()| None),
    }
}

/// The run in a status.
fn run_of(status: &OrgRestoreStatus) -> Option<RunId> {
    status.run_id.as_deref().and_then(|id| id.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_whose_status_was_lost_is_told_by_the_code_that_the_ledger_has() {
        let told = |why: &str| match End::from(RestoreEnd::Failed(why.to_owned())) {
            End::Failed(Failure { reason, why }) => (reason.into_owned(), why),
            _ => panic!("it failed"),
        };
        let (reason, why) = told("ClaimHeld");
        assert_eq!(reason, reasons::CLAIM_HELD);
        assert!(
            why.starts_with("ClaimHeld: ") && why.contains("could not be written"),
            "{why}"
        );
        // As an earlier version wrote it.
        let words = "part db: no space".to_owned();
        assert_eq!(told(&words), (reasons::MOVER_FAILED.to_owned(), words));
        let unavailable = End::from(RestoreEnd::WithoutWorkloads);
        assert!(matches!(unavailable, End::WithoutWorkloads(why) if why == STATUS_LOST));
    }
}
