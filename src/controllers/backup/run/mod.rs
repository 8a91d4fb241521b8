//! Snapshot runs: planned into the ledger, carried out by movers, committed or aborted.

mod end;
pub(super) mod hooks;
pub(super) mod let_go;

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    kinds::Kind,
    orgsnapshot::{OrgSnapshot, Origin},
};
use tray_domain::{
    exclusion::Beginning,
    hook_run::has_begun_all,
    ids::{PartId, RunId},
    ledger::{Event, LedgerState, Run},
    manifest::{Consistency, PartSource, PlannedPart, RunPlan},
    mover_lifetime::RUN_DEADLINE,
    mover_task::Action,
    run_plan::{self, VolumeFacts},
    session_policy::SessionScope,
    snapshot_run::{
        PresentVolume, RunFault, RunObserved, RunPartProgress, RunStep, RunSurroundings, fault, next_step,
        request_fault,
    },
    view,
    volume_facts::{Loss, PresentClaim},
};

use super::pass::{Pass, SOON, Work};
use crate::{
    adapters::kube::facts::{JobFact, Phase},
    controllers::{Blocked, backup::pass::holder, changes::Change, view::schedule},
    resources::{
        mover_job::{Access, MoverVolume, snapshot_job_name},
        org::claim,
    },
};

/// How often a run is looked at while its movers work, besides every change of their Jobs.
const LOOK: Duration = Duration::from_secs(60);

/// Whether an OrgSnapshot asks for a run that is not in the ledger.
pub(super) fn is_wanted(snapshot: &OrgSnapshot) -> bool {
    snapshot.spec.origin != Origin::Discovered && snapshot.metadata.deletion_timestamp.is_none()
}

/// The run of an OrgSnapshot: given, or computed from its slot (else its creation) and UID; of one that was made anew the run
/// that the ledger has by its name.
pub(super) fn run_id_of(snapshot: &OrgSnapshot, ledger: &LedgerState) -> Option<RunId> {
    if let Some(given) = &snapshot.spec.run_id {
        return given.parse().ok();
    }
    let created = snapshot.creation_timestamp()?.0;
    let at = snapshot.spec.slot.as_ref().map_or(created, |slot| slot.0);
    let own = RunId::of(at, &snapshot.uid()?);
    Some(view::run_of(ledger, &snapshot.name_any(), own))
}

/// Writes the plan of a run into the ledger. An answer is why it waits, in words.
pub(super) async fn begin(
    pass: &Pass<'_>,
    snapshot: &OrgSnapshot,
    run_id: &RunId,
) -> Result<Option<String>, Blocked> {
    let volumes = match volumes(pass) {
        Ok(volumes) => volumes,
        Err(claim) => return Ok(Some(format!("waits for claim {claim} of the org"))),
    };
    let name = snapshot.name_any();
    pass.lock(&holder("OrgSnapshot", &name)).await?;
    let slot = snapshot.spec.slot.as_ref().map(|slot| slot.0);
    let claims = pass.subject.view.claims_with_volume(pass.subject.namespace());
    let plan = RunPlan {
        not_copied: run_plan::not_copied(claims, &volumes),
        objectives: Some(schedule::in_force(pass.subject.schedule())),
        ..run_plan::plan(run_id.clone(), &name, slot, &volumes)
    };
    Ok(match pass.begin(&Event::RunPlanned { plan }).await? {
        Beginning::Written | Beginning::Overtaken => None,
        Beginning::Waits(mover) => Some(format!("waits for mover {mover} of earlier work to end")),
    })
}

/// Every volume of the org; an error is the claim that is not there yet.
fn volumes(pass: &Pass<'_>) -> Result<Vec<VolumeFacts>, String> {
    let mut volumes = Vec::new();
    for workload in pass.subject.workloads {
        for name in claim::claim_names(workload) {
            let Ok(claim) = name.parse::<PartId>() else {
                return Err(name);
            };
            let Some(present) = pass.subject.claim(&claim) else {
                return Err(name);
            };
            let backup = workload.backup.as_ref();
            volumes.push(VolumeFacts {
                claim_uid: present.identity.uid.clone(),
                workload: workload.name.clone(),
                excluded: backup.is_some_and(|backup| backup.exclude),
                paths: backup.map(|backup| backup.paths.clone()).unwrap_or_default(),
                has_hooks: backup.is_some_and(|backup| backup.pre.is_some()),
                mounted: pass.subject.pod_with(&claim).is_some(),
                claim,
            });
        }
    }
    Ok(volumes)
}

/// Brings an open run nearer to its end. Returns when to look again: at once where it has ended.
pub(super) async fn drive(
    pass: &Pass<'_>,
    run_id: &RunId,
    run: &Run,
    losses: &[Loss],
    restore: Option<&str>,
) -> Result<Duration, Blocked> {
    let plan = &run.plan;
    let jobs = pass.movers_of(&plan.snapshot_name);
    let job_of = |part: &PartId| {
        let name = snapshot_job_name(run_id, part);
        jobs.iter().find(|job| job.name == name).map(|job| &**job)
    };
    let mut parts = Vec::new();
    for planned in &plan.parts {
        parts.push(RunPartProgress {
            part: planned.part.clone(),
            needs_hook: planned.consistency == Consistency::Hooks,
            mover: pass.progress(job_of(&planned.part)).await?,
        });
    }
    let observed = RunObserved {
        parts,
        pre: pass.backup.hooks.progress(run_id),
        must_end: fault_of(pass, run_id, run, losses, restore).await?,
    };
    match next_step(&observed) {
        RunStep::RunPreHooks(claims) if has_mover(pass, run_id, &claims).await? => Ok(SOON),
        RunStep::RunPreHooks(claims) => {
            begin_hooks(pass, run_id, run, &claims);
            Ok(LOOK)
        }
        RunStep::WaitForHooks => Ok(LOOK),
        RunStep::StartMovers(parts) => {
            for planned in plan.parts.iter().filter(|planned| parts.contains(&planned.part)) {
                start(pass, run_id, plan, planned, job_of(&planned.part)).await?;
            }
            Ok(LOOK)
        }
        RunStep::WaitForMovers => renew(pass, run_id, plan, &jobs).await,
        RunStep::Commit => end::commit(pass, run_id, plan, &jobs)
            .await
            .map(|()| Duration::ZERO),
        RunStep::Abort(why) => end::abort(pass, run_id, plan, &jobs, &why)
            .await
            .map(|()| Duration::ZERO),
    }
}

/// Whether a part of these claims has a mover that the index does not show yet: its hook has run, and must not run again under
/// the copy.
async fn has_mover(pass: &Pass<'_>, run_id: &RunId, claims: &[PartId]) -> Result<bool, Blocked> {
    let (namespace, org_id) = (pass.subject.namespace(), pass.subject.org_id());
    let made = pass.ctx.movers.asked(namespace, org_id).await?;
    let names: Vec<String> = claims
        .iter()
        .map(|claim| snapshot_job_name(run_id, claim))
        .collect();
    Ok(made.iter().any(|job| names.contains(&job.name)))
}

/// Whether the run's OrgSnapshot still asks for it. Another operator may have planned the run of one that this one's watch
/// has not shown yet: only the API server says that it is gone.
async fn is_asked_for(pass: &Pass<'_>, run_id: &RunId, snapshot: &str) -> Result<bool, Blocked> {
    let state = pass.state();
    let asks =
        |snapshot: &OrgSnapshot| run_id_of(snapshot, &state).as_ref() == Some(run_id) && is_wanted(snapshot);
    let index = &pass.ctx.index;
    if index.snapshots.get(snapshot).is_some_and(|known| asks(&known)) {
        return Ok(true);
    }
    if index.malformed(Kind::OrgSnapshot, snapshot).is_some() {
        return Ok(false);
    }
    let present: Option<OrgSnapshot> = pass.ctx.cluster.read(snapshot).await?;
    Ok(present.is_some_and(|present| asks(&present)))
}

/// Why an open run must not go on. Whether it is asked for is a request, made where nothing else ends it.
async fn fault_of(
    pass: &Pass<'_>,
    run_id: &RunId,
    run: &Run,
    losses: &[Loss],
    restore: Option<&str>,
) -> Result<Option<RunFault>, Blocked> {
    let parts = run.plan.parts.iter();
    let volumes: Vec<PresentVolume> = parts.filter_map(|planned| present(pass, planned)).collect();
    let seen = RunSurroundings {
        losses,
        restore,
        volumes: &volumes,
    };
    if let Some(found) = fault(run, &seen, pass.now) {
        return Ok(Some(found));
    }
    let is_asked_for = is_asked_for(pass, run_id, &run.plan.snapshot_name).await?;
    Ok(request_fault(&run.plan, is_asked_for))
}

/// The volume of a part as it is there now.
fn present(pass: &Pass<'_>, planned: &PlannedPart) -> Option<PresentVolume> {
    let claim = pass.subject.claim(&planned.part)?;
    Some(PresentVolume {
        claim: PresentClaim {
            volume: planned.part.clone(),
            uid: claim.identity.uid.clone(),
        },
        pod: pass.subject.pod_with(&planned.part).map(|pod| pod.name.clone()),
    })
}

fn begin_hooks(pass: &Pass<'_>, run_id: &RunId, run: &Run, claims: &[PartId]) {
    let of = let_go::of(pass, run_id, &run.plan.snapshot_name);
    let is_free = has_begun_all(run.planned_at, pass.looks_since);
    match hooks::pre_hooks(pass.subject, claims, is_free) {
        Ok(hooks) => pass.backup.hooks.begin(pass.ctx, of, hooks),
        Err(why) => {
            pass.backup.hooks.fail(&of, why);
            pass.ctx.changes.publish(&Change::Snapshot {
                name: of.snapshot,
                org: of.name,
            });
        }
    }
}

/// Starts the mover of one part.
async fn start(
    pass: &Pass<'_>,
    run_id: &RunId,
    plan: &RunPlan,
    planned: &PlannedPart,
    job: Option<&JobFact>,
) -> Result<(), Blocked> {
    // What stands on the Job was recorded when its hook had just run; this process may know nothing of it.
    let recorded = job.and_then(|job| job.consistency_point);
    let point = recorded.or_else(|| pass.backup.hooks.point(run_id, &planned.part));
    let (part, run) = (planned.part.clone(), run_id.clone());
    let (action, volume) = match &planned.source {
        PartSource::Objects {} => {
            let namespace = pass.subject.namespace().to_owned();
            (
                Action::SnapshotObjects {
                    run_id: run,
                    part,
                    namespace,
                },
                None,
            )
        }
        PartSource::Volume { workload, paths, .. } => {
            repository(pass, &planned.part).await?;
            let (paths, consistency) = (paths.clone(), planned.consistency);
            let consistency_point = point.unwrap_or(pass.now);
            let volume = mounted(pass, &planned.part, workload, Access::ReadOnly)?;
            let action = Action::SnapshotVolume {
                run_id: run,
                part,
                paths,
                consistency,
                consistency_point,
            };
            (action, Some(volume))
        }
    };
    let work = Work {
        name: snapshot_job_name(run_id, &planned.part),
        namespace: pass.subject.namespace().to_owned(),
        owner: plan.snapshot_name.clone(),
        run_id: Some(run_id.clone()),
        part: Some(planned.part.clone()),
        kubernetes_api: volume.is_none(),
        volume,
        consistency_point: point,
        deadline: RUN_DEADLINE,
        scope: scope(run_id, planned),
        action,
    };
    pass.start(work).await
}

/// Writes down that a volume has a repository, before a mover makes it: the pruner looks at what is written down.
async fn repository(pass: &Pass<'_>, volume: &PartId) -> Result<(), Blocked> {
    let decided = pass.ledger.append_decided(pass.now, |state| {
        (!state.repositories.contains(volume)).then(|| Event::RepoInit {
            volume: volume.clone(),
        })
    });
    decided.await?;
    Ok(())
}

/// How a mover mounts a claim: as its workload does.
pub(super) fn mounted(
    pass: &Pass<'_>,
    claim: &PartId,
    workload: &str,
    access: Access,
) -> Result<MoverVolume, Blocked> {
    let known = pass
        .subject
        .workload(workload)
        .and_then(|workload| Some((workload, workload.run_as_user?)));
    let Some((workload, run_as_user)) = known else {
        let message = format!("volume {claim} belongs to workload {workload}, which the org no longer runs");
        return Err(Blocked::person(reasons::MOVER_FAILED, message));
    };
    let pod = pass.subject.pod_with(claim);
    Ok(MoverVolume {
        claim: claim.clone(),
        claim_uid: pass.subject.claim(claim).map(|claim| claim.identity.uid.clone()),
        access,
        node: pod.and_then(|pod| pod.node.clone()),
        run_as_user,
        // Where a workload names no group, its files belong to the group of the same number as its user.
        run_as_group: workload.run_as_group.unwrap_or(run_as_user),
        fs_group: workload.fs_group,
    })
}

fn scope(run_id: &RunId, planned: &PlannedPart) -> SessionScope {
    let run_id = run_id.clone();
    match planned.source {
        PartSource::Objects {} => SessionScope::SnapshotObjects { run_id },
        PartSource::Volume { .. } => SessionScope::SnapshotVolume {
            run_id,
            volume: planned.part.clone(),
        },
    }
}

/// Renews what running movers need. Returns when to look again.
async fn renew(
    pass: &Pass<'_>,
    run_id: &RunId,
    plan: &RunPlan,
    jobs: &[Arc<JobFact>],
) -> Result<Duration, Blocked> {
    let mut next = LOOK;
    for planned in &plan.parts {
        let name = snapshot_job_name(run_id, &planned.part);
        let running = |job: &&Arc<JobFact>| job.name == name && job.phase == Phase::Running;
        if let Some(job) = jobs.iter().find(running) {
            let due = pass.renew(job, &scope(run_id, planned)).await?;
            next = next.min(due);
        }
    }
    Ok(next)
}
