//! Restores in place: it is proven that every part of a run can come back; then the org's workloads stop, fresh claims are
//! filled, objects are put back, and the workloads start.
//!
//! Nothing here writes a workload or makes a claim: the TrayOrg controller does, by the phase of the OrgRestore.

pub(super) mod status;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{info, warn};
use tray_api::{
    conditions::reasons,
    orgrestore::{OrgRestore, OrgRestoreStatus, RestorePart, RestorePartState, RestorePhase},
};
use tray_domain::{
    backup_pass::RestoreFacts,
    ids::{PartId, RunId},
    ledger::{Event, FilledClaim, RunEnd},
    manifest::{Manifest, ManifestPart, PartSource},
    mover_lifetime::RESTORE_DEADLINE,
    mover_task::Action,
    restore_choice::{RestoreRefusal, RunChoice, resolve as choose},
    restore_run::{
        ClaimProgress, MoverProgress, RestoreObserved, RestorePartProgress, RestoreStep, next_step, pinned,
        recorded_end, unrestorable,
    },
    session_policy::SessionScope,
};

use super::{
    pass::{Pass, SOON, Work},
    run::mounted,
};
use crate::{
    adapters::kube::{
        events::Severity,
        facts::{JobFact, Phase},
    },
    controllers::{
        backup::pass::holder,
        blocked::{Blocked, Until},
        changes::Change,
    },
    resources::{
        mover_job::{Access, proof_job_name, restore_job_name, restore_jobs},
        org::access::restore_binding,
    },
    telemetry::metrics,
};

/// How often a restore is looked at, besides every change of what it waits for.
const LOOK: Duration = Duration::from_secs(30);

/// Why a restore failed.
pub(super) struct Failure {
    /// A constant of [`reasons`].
    pub reason: &'static str,
    /// For people.
    pub why: String,
}

impl Failure {
    fn new(reason: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { reason, why }
    }
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self::new(blocked.reason, blocked.message)
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

/// What decides whether a restore is refused.
pub(super) fn facts(pass: &Pass<'_>, restore: &OrgRestore) -> RestoreFacts {
    let has_begun = has_begun(restore);
    RestoreFacts {
        has_begun,
        means_run: has_begun || chosen(pass, restore).is_ok(),
    }
}

fn chosen(pass: &Pass<'_>, restore: &OrgRestore) -> Result<RunId, RestoreRefusal> {
    let (state, stage) = (pass.state(), pass.subject.region.spec.stage);
    choose(&state, choice(restore), stage).map(|(run_id, _)| run_id.clone())
}

/// Ends a restore that means no run, before anything gives way to it.
pub(super) async fn refuse(pass: &Pass<'_>, restore: &OrgRestore) -> Result<(), Blocked> {
    if let Err(refusal) = chosen(pass, restore) {
        let recorded = restore.status.clone().unwrap_or_default();
        end(pass, restore, &recorded, Err(Blocked::from(refusal).into())).await?;
    }
    Ok(())
}

/// Ends the restore that has touched nothing yet, since what is `blocked` keeps all copies from being opened.
pub(super) async fn give_up(pass: &Pass<'_>, blocked: &Blocked) -> Result<(), Blocked> {
    let Some(restore) = &pass.subject.view.restore else {
        return Ok(());
    };
    let recorded = restore.status.clone().unwrap_or_default();
    if matches!(
        recorded.phase,
        None | Some(RestorePhase::Pending | RestorePhase::Proving)
    ) {
        let why = format!("it cannot be proven that the copy opens: {}", blocked.message);
        end(pass, restore, &recorded, Err(Failure::new(blocked.reason, why))).await?;
    }
    Ok(())
}

/// Takes back what movers of a restore may do in the org's namespace, where no restore is under way any more.
pub(super) async fn revoke(pass: &Pass<'_>) -> Result<(), Blocked> {
    let binding = restore_binding(&pass.subject.placement);
    Ok(pass.ctx.cluster.remove(&binding.id).await?)
}

/// Whether its run is pinned.
fn has_begun(restore: &OrgRestore) -> bool {
    let status = restore.status.as_ref();
    status.is_some_and(|status| status.run_id.is_some()) && !restore.has_ended()
}

/// The restore in the words of the ledger: its name may be used again, its UID never is.
fn ledger_name(restore: &OrgRestore) -> String {
    format!("{} ({})", restore.name_any(), restore.uid().unwrap_or_default())
}

/// Brings a restore nearer to its end. Returns when to look again.
pub(super) async fn drive(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Duration, Blocked> {
    let begun = restore.status.as_ref().filter(|status| status.run_id.is_some());
    let Some(recorded) = begun else {
        return resolve(pass, restore).await;
    };
    let state = pass.state();
    let manifest = match pinned(&state, recorded.run_id.as_deref().unwrap_or_default()) {
        Ok(manifest) => manifest,
        Err(unknown) => {
            let failed = Failure::new(reasons::RUN_NOT_FOUND, unknown.to_string());
            return end(pass, restore, recorded, Err(failed)).await;
        }
    };
    if let Some(busy) = lock(pass, restore).await? {
        return wait(pass, restore, &busy).await;
    }
    let jobs = pass.movers_of(&restore.name_any());
    let observed = observe(pass, restore, recorded, manifest, &jobs).await?;
    let step = next_step(&observed);
    let status = status::progress(pass, restore, recorded, &observed, &step, &jobs).await?;
    if let Some(result) = recorded_end(&state, &ledger_name(restore)) {
        let result = result.map_err(|why| Failure::new(reasons::MOVER_FAILED, why));
        return end(pass, restore, &status, result).await;
    }
    // The workloads stop by the status: nothing is taken from under them before it says so.
    let stops = |phase: Option<RestorePhase>| phase.is_some_and(RestorePhase::stops_workloads);
    if stops(status.phase) && !stops(restore.phase()) {
        write(pass, restore, status).await?;
        return Ok(Duration::ZERO);
    }
    let next = match step {
        RestoreStep::Resolve
        | RestoreStep::WaitUntilDrained
        | RestoreStep::WaitForClaims(_)
        | RestoreStep::WaitForWorkloads => LOOK,
        RestoreStep::RemoveClaims(claims) => {
            for claim in claims {
                pass.ctx.cluster.remove(&pass.subject.claim_id(&claim)).await?;
            }
            LOOK
        }
        RestoreStep::StartProofs(ref parts) | RestoreStep::StartMovers(ref parts) => {
            let proves = matches!(step, RestoreStep::StartProofs(_));
            for part in manifest
                .parts
                .iter()
                .filter(|part| parts.contains(&part.planned.part))
            {
                let started = if proves {
                    prove(pass, restore, manifest, part).await
                } else {
                    start(pass, restore, manifest, part).await
                };
                if let Err(blocked) = started {
                    if blocked.until == Until::Service {
                        return Err(blocked);
                    }
                    return end(pass, restore, &status, Err(blocked.into())).await;
                }
            }
            LOOK
        }
        RestoreStep::WaitForProofs | RestoreStep::WaitForMovers => {
            renew(pass, restore, manifest, &jobs).await?
        }
        RestoreStep::RecordFilled => {
            record_filled(pass, restore, manifest).await?;
            // The next look finds that nothing is lost any more, which lets the workloads start.
            Duration::ZERO
        }
        RestoreStep::Succeed => return end(pass, restore, &status, Ok(())).await,
        RestoreStep::Fail(why) => {
            let failed = Failure::new(reasons::MOVER_FAILED, why);
            return end(pass, restore, &status, Err(failed)).await;
        }
    };
    write(pass, restore, status).await?;
    Ok(next)
}

/// Writes the status. The TrayOrg controller goes by its phase, so it is told at once: the watch may show it in a list, after
/// which what is known already is no news.
async fn write(pass: &Pass<'_>, restore: &OrgRestore, mut status: OrgRestoreStatus) -> Result<(), Blocked> {
    status.observed_generation = restore.metadata.generation;
    let cluster = &pass.ctx.cluster;
    if cluster
        .write_status(restore, restore.status.as_ref(), &status)
        .await?
    {
        pass.ctx.changes.publish(&Change::Restore {
            name: restore.name_any(),
            org: pass.subject.name().to_owned(),
        });
    }
    Ok(())
}

/// Locks the org's repositories. Returns who else has them, in words; none = the restore has.
async fn lock(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Option<String>, Blocked> {
    match pass.lock(&holder("OrgRestore", &restore.name_any())).await {
        Err(busy) if busy.reason == reasons::ORG_BUSY => Ok(Some(busy.message)),
        locked => locked.map(|()| None),
    }
}

/// Says that a mover of earlier work is on its way out. Returns when to look again.
pub(super) async fn wait_for_mover(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    mover: &str,
) -> Result<Duration, Blocked> {
    let message = format!("waits for mover {mover} of earlier work to end");
    wait(pass, restore, &message).await
}

async fn wait(pass: &Pass<'_>, restore: &OrgRestore, message: &str) -> Result<Duration, Blocked> {
    let status = status::waiting(restore, reasons::WAITING, message, false, pass.now);
    pass.ctx
        .cluster
        .write_status(restore, restore.status.as_ref(), &status)
        .await?;
    Ok(SOON)
}

/// Pins the run, and the claims that are there now.
async fn resolve(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Duration, Blocked> {
    let state = pass.state();
    let resolved = choose(&state, choice(restore), pass.subject.region.spec.stage);
    // One that means no run was refused before anything gave way to it.
    let Some((run_id, run)) = resolved.ok() else {
        return Ok(Duration::ZERO);
    };
    let Some(manifest) = run.restorable() else {
        return Ok(LOOK);
    };
    if let Some(busy) = lock(pass, restore).await? {
        return wait(pass, restore, &busy).await;
    }
    // One of the same name that was deleted had the same lock.
    if let Some(mover) = pass.mover_at_work().await? {
        return wait_for_mover(pass, restore, &mover).await;
    }
    let digest = match &run.end {
        Some(RunEnd::Committed { manifest_digest, .. }) => Some(manifest_digest.clone()),
        _ => None,
    };
    let part = |part: &ManifestPart| {
        let claim = pass.subject.claim(&part.planned.part);
        RestorePart {
            part: part.planned.part.to_string(),
            state: RestorePartState::Pending,
            replaced_claim_uid: claim.map(|claim| claim.identity.uid.clone()),
            items: None,
            bytes: None,
            seconds: None,
        }
    };
    let parts = manifest.parts.iter().map(part).collect();
    let status = status::resolved(restore, run_id, digest, manifest.bytes(), parts, pass.now);
    pass.ctx
        .cluster
        .write_status(restore, restore.status.as_ref(), &status)
        .await?;
    info!(restore = restore.name_any(), run = %run_id, "restore begins");
    // The answer to the write is in the index: the next look goes on from it.
    Ok(Duration::ZERO)
}

async fn observe(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    manifest: &Manifest,
    jobs: &[Arc<JobFact>],
) -> Result<RestoreObserved, Blocked> {
    let mut parts = Vec::new();
    for part in &manifest.parts {
        let id = &part.planned.part;
        let job_of = |name: String| jobs.iter().find(|job| job.name == name).map(|job| &**job);
        let known = recorded.parts.iter().find(|known| known.part == id.as_str());
        let claim = matches!(part.planned.source, PartSource::Volume { .. }).then(|| ClaimProgress {
            replaced_uid: known.and_then(|known| known.replaced_claim_uid.clone()),
            present_uid: pass.subject.claim(id).map(|claim| claim.identity.uid.clone()),
        });
        let (subject, planned) = (pass.subject, &part.planned);
        let has_volume = subject.workload_of(id).is_some();
        let unrestorable = unrestorable(planned, has_volume, subject.capacity_bytes(id));
        let unrestorable = unrestorable.map(|why| MoverProgress::Failed(why.to_string()));
        let proof = match &unrestorable {
            Some(failed) => failed.clone(),
            // What is recorded holds: later the org is not as it was.
            None if known.is_some_and(|known| known.state != RestorePartState::Pending) => {
                MoverProgress::Succeeded
            }
            None => {
                let job = job_of(proof_name_of(restore, id));
                pass.progress(job).await?
            }
        };
        parts.push(RestorePartProgress {
            part: id.clone(),
            claim,
            proof,
            mover: match unrestorable {
                Some(failed) => failed,
                None => pass.progress(job_of(job_name_of(restore, id))).await?,
            },
        });
    }
    Ok(RestoreObserved {
        resolved: true,
        workload_pods: pass.subject.workload_pods().len(),
        parts,
        filled: pass.state().filled.contains_key(&ledger_name(restore)),
        workloads_available: pass.subject.view.is_suspended() || pass.subject.is_available(),
    })
}

fn job_name_of(restore: &OrgRestore, part: &PartId) -> String {
    restore_job_name(&restore.uid().unwrap_or_default(), part)
}

fn proof_name_of(restore: &OrgRestore, part: &PartId) -> String {
    proof_job_name(&restore.uid().unwrap_or_default(), part)
}

/// Starts the proof of one part: it mounts no volume, and its session only reads.
async fn prove(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    manifest: &Manifest,
    part: &ManifestPart,
) -> Result<(), Blocked> {
    let (id, run_id) = (&part.planned.part, manifest.run_id.clone());
    let content_digest = part.record.content_digest.clone();
    let name = ledger_name(restore);
    let action = match &part.planned.source {
        PartSource::Objects {} => Action::ProveObjects {
            restore: name,
            run_id,
            content_digest,
        },
        PartSource::Volume { .. } => Action::ProveVolume {
            restore: name,
            run_id,
            part: id.clone(),
            repository_snapshot: part.record.repository_snapshot.clone().unwrap_or_default(),
            content_digest,
            capacity_bytes: pass.subject.capacity_bytes(id).unwrap_or_default(),
        },
    };
    let name = proof_name_of(restore, id);
    pass.start(work(pass, restore, manifest, part, name, action))
        .await
}

/// Starts the mover of one part.
async fn start(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    manifest: &Manifest,
    part: &ManifestPart,
) -> Result<(), Blocked> {
    let (id, run_id) = (&part.planned.part, manifest.run_id.clone());
    let content_digest = part.record.content_digest.clone();
    let name = ledger_name(restore);
    let (action, volume) = match &part.planned.source {
        PartSource::Objects {} => {
            let binding = restore_binding(&pass.subject.placement);
            pass.ctx.cluster.ensure(&binding).await?;
            let action = Action::RestoreObjects {
                restore: name,
                run_id,
                namespace: pass.subject.namespace().to_owned(),
                content_digest,
            };
            (action, None)
        }
        PartSource::Volume { workload, .. } => {
            let action = Action::RestoreVolume {
                restore: name,
                run_id,
                part: id.clone(),
                repository_snapshot: part.record.repository_snapshot.clone().unwrap_or_default(),
                content_digest,
            };
            (action, Some(mounted(pass, id, workload, Access::ReadWrite)?))
        }
    };
    let name = job_name_of(restore, id);
    let work = Work {
        kubernetes_api: volume.is_none(),
        volume,
        ..work(pass, restore, manifest, part, name, action)
    };
    pass.start(work).await
}

/// What the movers of a restore have in common: no volume, and no Kubernetes API.
fn work(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    manifest: &Manifest,
    part: &ManifestPart,
    name: String,
    action: Action,
) -> Work {
    let run_id = manifest.run_id.clone();
    Work {
        name,
        namespace: pass.subject.namespace().to_owned(),
        owner: restore.name_any(),
        scope: scope(&run_id, part),
        run_id: Some(run_id),
        part: Some(part.planned.part.clone()),
        volume: None,
        kubernetes_api: false,
        consistency_point: None,
        deadline: RESTORE_DEADLINE,
        action,
    }
}

fn scope(run_id: &RunId, part: &ManifestPart) -> SessionScope {
    match part.planned.source {
        PartSource::Objects {} => SessionScope::RestoreObjects {
            run_id: run_id.clone(),
        },
        PartSource::Volume { .. } => SessionScope::RestoreVolume {
            volume: part.planned.part.clone(),
        },
    }
}

async fn renew(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    manifest: &Manifest,
    jobs: &[Arc<JobFact>],
) -> Result<Duration, Blocked> {
    let mut next = LOOK;
    for part in &manifest.parts {
        let id = &part.planned.part;
        let names = [job_name_of(restore, id), proof_name_of(restore, id)];
        let running = |job: &&Arc<JobFact>| names.contains(&job.name) && job.phase == Phase::Running;
        for job in jobs.iter().filter(running) {
            let due = pass.renew(job, &scope(&manifest.run_id, part)).await?;
            next = next.min(due);
        }
    }
    Ok(next)
}

/// From here the fresh claims hold the data of their volumes.
async fn record_filled(pass: &Pass<'_>, restore: &OrgRestore, manifest: &Manifest) -> Result<(), Blocked> {
    let volumes = manifest
        .parts
        .iter()
        .filter(|part| matches!(part.planned.source, PartSource::Volume { .. }));
    let claims: Vec<FilledClaim> = volumes
        .filter_map(|part| {
            let claim = pass.subject.claim(&part.planned.part)?;
            Some(FilledClaim {
                volume: part.planned.part.clone(),
                claim_uid: claim.identity.uid.clone(),
            })
        })
        .collect();
    let name = ledger_name(restore);
    let decided = pass.ledger.append_decided(pass.now, |state| {
        (!state.filled.contains_key(&name)).then(|| Event::Filled {
            restore: name.clone(),
            run_id: manifest.run_id.clone(),
            claims: claims.clone(),
        })
    });
    decided.await?;
    Ok(())
}

/// Writes the end into the ledger, then into the status, then removes what the restore needed.
async fn end(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    result: Result<(), Failure>,
) -> Result<Duration, Blocked> {
    let suspended = pass.subject.view.is_suspended();
    let status = status::ended(restore, recorded, &result, suspended, pass.now);
    let refused = status.refused_count.unwrap_or_default();
    let run_id: Option<RunId> = recorded.run_id.as_deref().and_then(|id| id.parse().ok());
    if let Some(run_id) = run_id {
        let name = ledger_name(restore);
        let event = Event::Restored {
            restore: name.clone(),
            run_id,
            succeeded: result.is_ok(),
            seconds: status.seconds.unwrap_or_default().unsigned_abs(),
            bytes: status.bytes.unwrap_or_default().unsigned_abs(),
            refused: refused.unsigned_abs(),
            // A code: what it says in full is for its status.
            why: result.as_ref().err().map(|failed| failed.reason.to_owned()),
        };
        let decided = pass.ledger.append_decided(pass.now, |state| {
            let known = state.restores.iter().any(|known| known.restore == name);
            (!known && state.runs.contains_key(run_of(&event)?)).then(|| event.clone())
        });
        decided.await?;
    }
    let name = restore.name_any();
    let told = match &result {
        Err(Failure { reason, why }) => Some((*reason, format!("OrgRestore {name} failed: {why}"))),
        Ok(()) if refused > 0 => Some((reasons::OBJECTS_REFUSED, status::refusals(&name, &status))),
        Ok(()) => None,
    };
    if let Some((reason, note)) = told {
        warn!("{note}");
        pass.ctx
            .events
            .publish(pass.subject.org(), Severity::Warning, reason, "Restore", note)
            .await;
    }
    let outcome = match &result {
        Err(_) => "failed",
        Ok(()) if refused > 0 => "refused",
        Ok(()) => "good",
    };
    pass.ctx
        .metrics
        .runs
        .get_or_create(&metrics::Run {
            kind: "restore",
            result: outcome,
        })
        .inc();
    write(pass, restore, status).await?;
    clean_up(pass, restore).await?;
    Ok(Duration::ZERO)
}

fn run_of(event: &Event) -> Option<&RunId> {
    match event {
        Event::Restored { run_id, .. } => Some(run_id),
        _ => None,
    }
}

async fn clean_up(pass: &Pass<'_>, restore: &OrgRestore) -> Result<(), Blocked> {
    // Those of this very pass, too.
    let (namespace, org) = (pass.subject.namespace(), pass.subject.name());
    for job in pass.ctx.movers.of_owner(namespace, org, &restore.name_any()) {
        pass.remove(&job).await?;
    }
    pass.ctx
        .cluster
        .remove(&restore_binding(&pass.subject.placement).id)
        .await?;
    pass.unlock(&holder("OrgRestore", &restore.name_any())).await
}

/// From the first moment to now.
fn elapsed(status: &OrgRestoreStatus, now: Timestamp) -> Option<SignedDuration> {
    Some(now.duration_since(status.started_at.as_ref()?.0))
}
