//! Restores in place: it is proven that every part of a run can come back; then the org's workloads stop, fresh claims are
//! filled, objects are put back, and the workloads start.
//!
//! Nothing here writes a workload or makes a claim: the TrayOrg controller does, since the board of backup facts tells
//! it that a restore is under way.

mod choice;
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
    ids::{PartId, RunId},
    ledger::{Event, FilledClaim, LedgerState, RunEnd},
    manifest::{Manifest, ManifestPart, PartSource},
    mover_lifetime::RESTORE_DEADLINE,
    mover_task::{Action, MoverOutcome},
    restore_run::{ClaimProgress, MoverProgress, Observed, PartProgress, Step, next_step},
    session_policy::SessionScope,
};

use super::{
    pass::{Pass, Work},
    run::mounted,
    trouble::Trouble,
};
use crate::{
    adapters::kube::{
        events::Severity,
        mover_jobs::{MoverState, Phase},
    },
    controllers::backup::pass::holder,
    resources::{
        mover_job::{Access, proof_job_name, restore_job_name, restore_jobs},
        org::access::restore_binding,
    },
    telemetry::metrics,
};

/// How often a restore is looked at, besides every change of what it waits for.
const LOOK: Duration = Duration::from_secs(30);
/// Look again where a mover of earlier work is on its way out.
const SOON: Duration = Duration::from_secs(5);

/// The restore of the org that has not ended: the oldest one.
pub(super) fn under_way(restores: &[Arc<OrgRestore>]) -> Option<Arc<OrgRestore>> {
    let open = restores
        .iter()
        .filter(|restore| !restore.has_ended() && restore.metadata.deletion_timestamp.is_none());
    open.min_by_key(|restore| (restore.creation_timestamp(), restore.name_any()))
        .cloned()
}

/// Whether a mover of that name is the restore's: by its UID, since another one may have had its name.
pub(super) fn is_mover_of(restore: &OrgRestore, job: &str) -> bool {
    job.starts_with(&restore_jobs(&restore.uid().unwrap_or_default()))
}

/// Ends a restore that means no run, before anything gives way to it. Returns whether it did.
pub(super) async fn refuse(pass: &Pass<'_>, restore: &OrgRestore) -> Result<bool, Trouble> {
    if has_begun(restore) {
        return Ok(false);
    }
    let (choice, stage) = (&restore.spec.snapshot, pass.subject.region.spec.stage);
    let refused = choice::resolve(&pass.state(), choice, stage)
        .err()
        .map(|refusal| (refusal.reason(), refusal.to_string()));
    let Some(refused) = refused else {
        return Ok(false);
    };
    let recorded = restore.status.clone().unwrap_or_default();
    end(pass, restore, &recorded, Err(refused)).await?;
    Ok(true)
}

/// Ends the restore that has touched nothing yet, since `trouble` keeps all copies from being opened.
pub(super) async fn give_up(pass: &Pass<'_>, trouble: &Trouble) -> Result<(), Trouble> {
    let Some(restore) = under_way(&pass.ctx.index.restores.of_org(pass.subject.name())) else {
        return Ok(());
    };
    let recorded = restore.status.clone().unwrap_or_default();
    if matches!(
        recorded.phase,
        None | Some(RestorePhase::Pending | RestorePhase::Proving)
    ) {
        let why = format!("it cannot be proven that the copy opens: {}", trouble.message);
        end(pass, &restore, &recorded, Err((trouble.reason, why))).await?;
    }
    Ok(())
}

/// Takes back what movers of a restore may do in the org's namespace, where no restore is under way any more.
pub(super) async fn revoke(pass: &Pass<'_>) -> Result<(), Trouble> {
    let binding = restore_binding(&pass.subject.placement);
    Ok(pass.ctx.cluster.remove(&binding.id).await?)
}

/// Whether its run is pinned.
pub(super) fn has_begun(restore: &OrgRestore) -> bool {
    let status = restore.status.as_ref();
    status.is_some_and(|status| status.run_id.is_some()) && !restore.has_ended()
}

/// The restore in the words of the ledger: its name may be used again, its UID never is.
fn ledger_name(restore: &OrgRestore) -> String {
    format!("{} ({})", restore.name_any(), restore.uid().unwrap_or_default())
}

/// Brings a restore nearer to its end. Returns when to look again.
pub(super) async fn drive(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Duration, Trouble> {
    let begun = restore.status.as_ref().filter(|status| status.run_id.is_some());
    let Some(recorded) = begun else {
        return resolve(pass, restore).await;
    };
    let run_id: Option<RunId> = recorded.run_id.as_deref().and_then(|id| id.parse().ok());
    let state = pass.state();
    let manifest = run_id
        .as_ref()
        .and_then(|id| state.runs.get(id))
        .and_then(|run| run.manifest());
    let Some(manifest) = manifest else {
        let why = "the run in its status is not in the org's ledger: the status was edited by hand";
        return end(
            pass,
            restore,
            recorded,
            Err((reasons::RUN_NOT_FOUND, why.to_owned())),
        )
        .await;
    };
    if let Some(busy) = lock(pass, restore).await? {
        return wait(pass, restore, &busy).await;
    }
    let jobs = pass
        .jobs(pass.subject.namespace())
        .of(&restore.name_any())
        .await?;
    let observed = observe(pass, restore, recorded, manifest, &jobs).await?;
    // Nothing stops before it is proven that all of it can come back. Once the claims are filled the workloads may start:
    // that is what is waited for from then on.
    let stops = observed.is_proven() && !observed.filled;
    pass.ctx
        .backup_facts
        .set_restoring(pass.subject.org_id(), stops.then(|| restore.name_any()));
    let step = next_step(&observed);
    let mut status = status::progress(pass, restore, recorded, &observed, &step, &jobs).await?;
    if let Some(result) = recorded_end(&state, restore) {
        return end(pass, restore, &status, result).await;
    }
    let next = match step {
        Step::Resolve | Step::WaitUntilDrained | Step::WaitForClaims(_) | Step::WaitForWorkloads => LOOK,
        Step::RemoveClaims(claims) => {
            for claim in claims {
                pass.ctx.cluster.remove(&pass.subject.claim_id(&claim)).await?;
            }
            LOOK
        }
        Step::StartProofs(ref parts) | Step::StartMovers(ref parts) => {
            let proves = matches!(step, Step::StartProofs(_));
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
                if let Err(trouble) = started {
                    if trouble.transient {
                        return Err(trouble);
                    }
                    return end(pass, restore, &status, Err((trouble.reason, trouble.message))).await;
                }
            }
            LOOK
        }
        Step::WaitForProofs | Step::WaitForMovers => renew(pass, restore, manifest, &jobs).await?,
        Step::RecordFilled => {
            record_filled(pass, restore, manifest).await?;
            // The next look finds that nothing is lost any more, which lets the workloads start.
            Duration::ZERO
        }
        Step::Succeed => return end(pass, restore, &status, Ok(())).await,
        Step::Fail(why) => return end(pass, restore, &status, Err((reasons::MOVER_FAILED, why))).await,
    };
    status.observed_generation = restore.metadata.generation;
    pass.ctx
        .cluster
        .write_status(restore, restore.status.as_ref(), &status)
        .await?;
    Ok(next)
}

/// Locks the org's repositories. Returns who else has them, in words; none = the restore has.
async fn lock(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Option<String>, Trouble> {
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
) -> Result<Duration, Trouble> {
    let message = format!("waits for mover {mover} of earlier work to end");
    wait(pass, restore, &message).await
}

async fn wait(pass: &Pass<'_>, restore: &OrgRestore, message: &str) -> Result<Duration, Trouble> {
    let status = status::waiting(restore, reasons::WAITING, message, false, pass.now);
    pass.ctx
        .cluster
        .write_status(restore, restore.status.as_ref(), &status)
        .await?;
    Ok(SOON)
}

/// Pins the run, and the claims that are there now.
async fn resolve(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Duration, Trouble> {
    let state = pass.state();
    let resolved = choice::resolve(&state, &restore.spec.snapshot, pass.subject.region.spec.stage);
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
    if let Some(mover) = pass.movers_at_work().await?.first() {
        return wait_for_mover(pass, restore, &mover.name).await;
    }
    let digest = match &run.end {
        Some(RunEnd::Committed { manifest_digest, .. }) => Some(manifest_digest.clone()),
        _ => None,
    };
    let part = |part: &ManifestPart| {
        let claim = pass.subject.claim(&pass.ctx.index, &part.planned.part);
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
    jobs: &[MoverState],
) -> Result<Observed, Trouble> {
    let mut parts = Vec::new();
    for part in &manifest.parts {
        let id = &part.planned.part;
        let job_of = |name: String| jobs.iter().find(|job| job.name == name);
        let known = recorded.parts.iter().find(|known| known.part == id.as_str());
        let claim = matches!(part.planned.source, PartSource::Volume { .. }).then(|| ClaimProgress {
            replaced_uid: known.and_then(|known| known.replaced_claim_uid.clone()),
            present_uid: pass
                .subject
                .claim(&pass.ctx.index, id)
                .map(|claim| claim.identity.uid.clone()),
        });
        let namespace = pass.subject.namespace();
        let unrestorable = unrestorable(pass, part).map(MoverProgress::Failed);
        let proof = match &unrestorable {
            Some(failed) => failed.clone(),
            // What is recorded holds: later the org is not as it was.
            None if known.is_some_and(|known| known.state != RestorePartState::Pending) => {
                MoverProgress::Succeeded
            }
            None => {
                let job = job_of(proof_name_of(restore, id));
                pass.progress(namespace, job).await?
            }
        };
        parts.push(PartProgress {
            part: id.clone(),
            claim,
            proof,
            mover: match unrestorable {
                Some(failed) => failed,
                None => pass.progress(namespace, job_of(job_name_of(restore, id))).await?,
            },
        });
    }
    Ok(Observed {
        resolved: true,
        workload_pods: pass.subject.workload_pods(&pass.ctx.index).len(),
        parts,
        filled: pass.state().filled.contains_key(&ledger_name(restore)),
        workloads_available: pass.subject.is_suspended() || pass.subject.is_available(&pass.ctx.index),
    })
}

/// Why a part has nowhere to go.
fn unrestorable(pass: &Pass<'_>, part: &ManifestPart) -> Option<String> {
    let PartSource::Volume { workload, .. } = &part.planned.source else {
        return None;
    };
    let id = &part.planned.part;
    if pass.subject.workload_of(id).is_none() {
        return Some(format!(
            "the org has no volume {id} any more: give workload {workload} its volume and replicas back, then make a new OrgRestore"
        ));
    }
    pass.subject.capacity_bytes(id).is_none().then(|| {
        format!("how large volume {id} may be is not known: correct volume.size of workload {workload}, then make a new OrgRestore")
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
) -> Result<(), Trouble> {
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
) -> Result<(), Trouble> {
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
    jobs: &[MoverState],
) -> Result<Duration, Trouble> {
    let mut next = LOOK;
    for part in &manifest.parts {
        let id = &part.planned.part;
        let names = [job_name_of(restore, id), proof_name_of(restore, id)];
        let running = |job: &&MoverState| names.contains(&job.name) && job.phase == Phase::Running;
        for job in jobs.iter().filter(running) {
            let due = pass
                .renew(pass.subject.namespace(), job, &scope(&manifest.run_id, part))
                .await?;
            next = next.min(due);
        }
    }
    Ok(next)
}

/// The end that the ledger has of the restore: its status was not written, whatever cut that short.
fn recorded_end(state: &LedgerState, restore: &OrgRestore) -> Option<Result<(), (&'static str, String)>> {
    let name = ledger_name(restore);
    let known = state.restores.iter().find(|known| known.restore == name)?;
    Some(if known.succeeded {
        Ok(())
    } else {
        let why = known
            .why
            .clone()
            .unwrap_or_else(|| "its reason is lost".to_owned());
        Err((reasons::MOVER_FAILED, why))
    })
}

/// From here the fresh claims hold the data of their volumes.
async fn record_filled(pass: &Pass<'_>, restore: &OrgRestore, manifest: &Manifest) -> Result<(), Trouble> {
    let volumes = manifest
        .parts
        .iter()
        .filter(|part| matches!(part.planned.source, PartSource::Volume { .. }));
    let claims: Vec<FilledClaim> = volumes
        .filter_map(|part| {
            let claim = pass.subject.claim(&pass.ctx.index, &part.planned.part)?;
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
    result: Result<(), (&'static str, String)>,
) -> Result<Duration, Trouble> {
    let suspended = pass.subject.is_suspended();
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
            why: result.as_ref().err().map(|(_, why)| why.clone()),
        };
        let decided = pass.ledger.append_decided(pass.now, |state| {
            let known = state.restores.iter().any(|known| known.restore == name);
            (!known && state.runs.contains_key(run_of(&event)?)).then(|| event.clone())
        });
        decided.await?;
    }
    let name = restore.name_any();
    let told = match &result {
        Err((reason, why)) => Some((*reason, format!("OrgRestore {name} failed: {why}"))),
        Ok(()) if refused > 0 => Some((reasons::OBJECTS_REFUSED, status::refusals(&name, &status))),
        Ok(()) => None,
    };
    if let Some((reason, note)) = told {
        warn!("{note}");
        pass.ctx
            .events
            .publish(&*pass.subject.org, Severity::Warning, reason, "Restore", note)
            .await;
    }
    let outcome = match &result {
        Err(_) => "failed",
        Ok(()) if refused > 0 => "refused",
        Ok(()) => "good",
    };
    pass.ctx.backup_facts.set_restoring(pass.subject.org_id(), None);
    pass.ctx
        .metrics
        .runs
        .get_or_create(&metrics::Run {
            kind: "restore",
            result: outcome,
        })
        .inc();
    pass.ctx
        .cluster
        .write_status(restore, restore.status.as_ref(), &status)
        .await?;
    clean_up(pass, restore).await?;
    Ok(Duration::ZERO)
}

fn run_of(event: &Event) -> Option<&RunId> {
    match event {
        Event::Restored { run_id, .. } => Some(run_id),
        _ => None,
    }
}

async fn clean_up(pass: &Pass<'_>, restore: &OrgRestore) -> Result<(), Trouble> {
    let jobs = pass.jobs(pass.subject.namespace());
    for job in jobs.of(&restore.name_any()).await? {
        jobs.remove(&job.name, job.phase).await?;
        pass.backup.issued.forget(pass.subject.namespace(), &job.name);
    }
    pass.ctx
        .cluster
        .remove(&restore_binding(&pass.subject.placement).id)
        .await?;
    pass.unlock(&holder("OrgRestore", &restore.name_any())).await
}

/// What the mover of a part said at its end; none where its words are lost.
async fn said(pass: &Pass<'_>, job: &MoverState) -> Result<Option<MoverOutcome>, Trouble> {
    Ok(pass.jobs(pass.subject.namespace()).outcome(&job.name).await?)
}

/// From the first moment to now.
fn elapsed(status: &OrgRestoreStatus, now: Timestamp) -> Option<SignedDuration> {
    Some(now.duration_since(status.started_at.as_ref()?.0))
}
