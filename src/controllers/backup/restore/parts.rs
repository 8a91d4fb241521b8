//! The parts of a restore: how far each is, and its movers.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use tray_api::orgrestore::{OrgRestore, OrgRestoreStatus, RestorePartState, RestorePhase};
use tray_domain::{
    claim_holders::holders,
    ids::{PartId, RunId},
    manifest::{Manifest, ManifestPart, PartSource},
    mover_lifetime::RESTORE_DEADLINE,
    mover_task::Action,
    restore_run::{
        ClaimProgress, MoverFailure, MoverProgress, RestoreObserved, RestorePartProgress, unrestorable,
    },
    session_policy::SessionScope,
    volume_facts::losses,
};

use super::{LOOK, job_name_of, name_in_ledger, proof_name_of};
use crate::{
    adapters::kube::facts::{JobFact, Phase},
    controllers::{
        Blocked,
        backup::{
            pass::{Pass, Work},
            run::mounted,
        },
    },
    resources::{mover_job::Access, org::access::restore_binding},
};

/// What is recorded and seen of a restore whose run is pinned.
pub(super) async fn observe(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    manifest: &Manifest,
    jobs: &[Arc<JobFact>],
) -> Result<RestoreObserved, Blocked> {
    let mut parts = Vec::new();
    for part in &manifest.parts {
        parts.push(observe_part(pass, restore, recorded, part, jobs).await?);
    }
    let present = |part: &RestorePartProgress| {
        let claim = part.claim.as_ref();
        claim.is_some_and(|claim| claim.present_uid.is_some())
    };
    let claims: Vec<PartId> = parts
        .iter()
        .filter(|part| present(part))
        .map(|part| part.part.clone())
        .collect();
    let filled = pass.state().filled.contains_key(&name_in_ledger(restore));
    let lost_again = if filled {
        lost_again(pass, manifest).await?
    } else {
        Vec::new()
    };
    let pods = pass.subject.workload_pods();
    Ok(RestoreObserved {
        resolved: true,
        has_stopped: recorded.phase.is_some_and(RestorePhase::stops_workloads),
        workload_pods: pods.iter().map(|pod| pod.name.clone()).collect(),
        holders: holders(&pass.subject.naming_pods(), &claims),
        parts,
        filled,
        lost_again,
        unavailable: pass.subject.unavailable(),
    })
}

async fn observe_part(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    part: &ManifestPart,
    jobs: &[Arc<JobFact>],
) -> Result<RestorePartProgress, Blocked> {
    let (id, planned) = (&part.planned.part, &part.planned);
    let job_of = |name: String| jobs.iter().find(|job| job.name == name).map(|job| &**job);
    let mover = job_of(job_name_of(restore, id));
    let known = recorded.parts.iter().find(|known| known.part == id.as_str());
    let claim = matches!(planned.source, PartSource::Volume { .. }).then(|| {
        let present = pass.subject.claim(id);
        let said = present.as_ref().and_then(|claim| claim.observed.claim());
        ClaimProgress {
            replaced_uid: known.and_then(|known| known.replaced_claim_uid.clone()),
            present_uid: present.as_ref().map(|claim| claim.identity.uid.clone()),
            mover_uid: mover.and_then(|job| job.claim_uid.clone()),
            is_bound: said.is_some_and(|claim| claim.phase == "Bound"),
        }
    });
    let subject = pass.subject;
    let has_volume = subject.workload_of(id).is_some();
    if let Some(why) = unrestorable(planned, has_volume, subject.capacity_bytes(id)) {
        let failed = MoverProgress::Failed(MoverFailure {
            code: String::new(),
            words: why.to_string(),
        });
        return Ok(RestorePartProgress {
            part: id.clone(),
            claim,
            proof: failed.clone(),
            mover: failed,
        });
    }
    // What is recorded holds: later the org is not as it was.
    let is_proven = known.is_some_and(|known| known.state != RestorePartState::Pending);
    Ok(RestorePartProgress {
        part: id.clone(),
        claim,
        proof: if is_proven {
            MoverProgress::Succeeded
        } else {
            pass.progress(job_of(proof_name_of(restore, id))).await?
        },
        mover: pass.progress(mover).await?,
    })
}

/// Volumes of the run that were filled, and whose claims are gone or others by now. The index may be behind, and another process
/// may have filled them: the API server is asked.
async fn lost_again(pass: &Pass<'_>, manifest: &Manifest) -> Result<Vec<PartId>, Blocked> {
    let mut lost = Vec::new();
    for loss in losses(&pass.state(), &pass.subject.claims()) {
        let is_of_run = manifest.parts.iter().any(|part| part.planned.part == loss.volume);
        if !is_of_run {
            continue;
        }
        let present = pass
            .ctx
            .cluster
            .uid_of(&pass.subject.claim_id(&loss.volume))
            .await?;
        if present.as_ref() != Some(&loss.lost_uid) {
            lost.push(loss.volume);
        }
    }
    Ok(lost)
}

/// Starts the proof of one part: it mounts no volume, and its session only reads.
pub(super) async fn prove(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    manifest: &Manifest,
    part: &ManifestPart,
) -> Result<(), Blocked> {
    let (id, run_id) = (&part.planned.part, manifest.run_id.clone());
    let content_digest = part.record.content_digest.clone();
    let name = name_in_ledger(restore);
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
pub(super) async fn start(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    manifest: &Manifest,
    part: &ManifestPart,
) -> Result<(), Blocked> {
    let (id, run_id) = (&part.planned.part, manifest.run_id.clone());
    let content_digest = part.record.content_digest.clone();
    let name = name_in_ledger(restore);
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

/// Renews what running movers need. Returns when to look again.
pub(super) async fn renew(
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
            if job.name == names[0] && matches!(part.planned.source, PartSource::Objects {}) {
                // Somebody may have taken it away: no request where it is there.
                pass.ctx
                    .cluster
                    .ensure(&restore_binding(&pass.subject.placement))
                    .await?;
            }
            let due = pass.renew(job, &scope(&manifest.run_id, part)).await?;
            next = next.min(due);
        }
    }
    Ok(next)
}
