//! What an OrgRestore shows.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    orgrestore::{OrgRestore, OrgRestoreStatus, RefusedObject, RestorePart, RestorePartState, RestorePhase},
};
use tray_domain::{
    ids::RunId,
    ledger::RestoreRecord,
    mover_task::{MoverOutcome, RefusedObjects},
    names,
    restore_run::{MoverProgress, RestoreObserved, RestoreStep},
};

use super::{Failure, elapsed, job_name_of};
use crate::{
    adapters::kube::facts::JobFact,
    controllers::{
        Blocked,
        backup::pass::Pass,
        conditions::{ConditionFact, Conditions, whole_seconds},
    },
};

/// What goes on before anything of the org is touched.
const PROVES: &str = "it is proven that every part can come back; the org runs on";
/// So many refused objects are named.
const MOST_REFUSED: usize = 100;
/// So many of them stand in a message.
const SHOWN_REFUSED: usize = 5;

/// The run is pinned.
pub(crate) fn resolved(
    restore: &OrgRestore,
    run_id: &RunId,
    manifest_digest: Option<String>,
    bytes: u64,
    parts: Vec<RestorePart>,
    now: Timestamp,
) -> OrgRestoreStatus {
    let recorded = restore.status.clone().unwrap_or_default();
    let mut status = OrgRestoreStatus {
        observed_generation: restore.metadata.generation,
        phase: Some(RestorePhase::Proving),
        run_id: Some(run_id.to_string()),
        manifest_digest,
        started_at: Some(Time(whole_seconds(now))),
        bytes: Some(0),
        bytes_total: Some(bytes as i64),
        parts,
        ..OrgRestoreStatus::default()
    };
    going_on(&mut status, &recorded, restore.metadata.generation, PROVES, now);
    status
}

/// How far it is.
pub(crate) async fn progress(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    observed: &RestoreObserved,
    step: &RestoreStep,
    jobs: &[Arc<JobFact>],
) -> Result<OrgRestoreStatus, Blocked> {
    let mut status = recorded.clone();
    for part in &mut status.parts {
        let Some(seen) = observed.parts.iter().find(|seen| seen.part.as_str() == part.part) else {
            continue;
        };
        part.state = match (&seen.mover, &seen.proof) {
            (MoverProgress::Failed(_), _) | (_, MoverProgress::Failed(_)) => RestorePartState::Failed,
            (MoverProgress::Running, _) => RestorePartState::Running,
            (MoverProgress::Succeeded, _) => RestorePartState::Restored,
            _ if observed.filled => RestorePartState::Restored,
            (_, MoverProgress::Succeeded) => RestorePartState::Proven,
            _ => RestorePartState::Pending,
        };
        let name = job_name_of(restore, &seen.part);
        let job = jobs.iter().find(|job| job.name == name);
        let (RestorePartState::Restored, None, Some(job)) = (part.state, part.items, job) else {
            continue;
        };
        match pass.ctx.movers.outcome(job).await? {
            Some(MoverOutcome::RestoredVolume {
                files,
                bytes,
                seconds,
            }) => {
                let filled = (Some(files as i64), Some(bytes as i64), Some(seconds as i64));
                (part.items, part.bytes, part.seconds) = filled;
            }
            Some(MoverOutcome::RestoredObjects {
                created,
                updated,
                unchanged,
                refused,
                named,
            }) => {
                part.items = Some((created + updated + unchanged) as i64);
                status.refused_count = Some(refused as i64);
                status.refused_objects = by_object(named);
            }
            _ => {}
        }
    }
    let bytes: i64 = status.parts.iter().filter_map(|part| part.bytes).sum();
    // Movers work side by side: the slowest one's time is all their time.
    let seconds = status
        .parts
        .iter()
        .filter_map(|part| part.seconds)
        .max()
        .unwrap_or_default();
    status.bytes = Some(bytes);
    status.rate_bytes_per_second = (bytes > 0).then(|| bytes / seconds.max(1));
    let (phase, mut message) = phase_of(step);
    if matches!(phase, RestorePhase::Proving | RestorePhase::Filling)
        && let Some(problem) = pass.subject.mover_problem(pass.now)
    {
        message = format!("{message}; {problem}");
    }
    status.phase = Some(phase);
    going_on(
        &mut status,
        recorded,
        restore.metadata.generation,
        &message,
        pass.now,
    );
    Ok(status)
}

/// It has come to its end.
pub(crate) fn ended(
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    result: &Result<(), Failure>,
    suspended: bool,
    now: Timestamp,
) -> OrgRestoreStatus {
    let mut status = recorded.clone();
    if result.is_ok() {
        tell_of_lost_report(&mut status);
    }
    let generation = restore.metadata.generation;
    status.observed_generation = generation;
    status.finished_at = Some(Time(whole_seconds(now)));
    status.seconds = elapsed(recorded, now).map(|elapsed| elapsed.as_secs());
    let before = restore
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let mut conditions = Conditions::new(before, generation, now);
    match result {
        Ok(()) if status.refused_count.unwrap_or_default() > 0 => {
            status.phase = Some(RestorePhase::SucceededWithRefusals);
            let message = refusals(&restore.name_any(), &status);
            let fact = ConditionFact::new(false, reasons::OBJECTS_REFUSED, message.clone());
            conditions.set(types::RESTORED, &fact);
            let fact = ConditionFact::new(true, reasons::OBJECTS_REFUSED, message);
            conditions.set(types::STALLED, &fact);
        }
        Ok(()) => {
            status.phase = Some(RestorePhase::Succeeded);
            let fact = ConditionFact::new(true, reasons::AS_SPECIFIED, succeeded(&status, suspended));
            conditions.set(types::RESTORED, &fact);
        }
        Err(Failure { reason, why }) => {
            status.phase = Some(RestorePhase::Failed);
            let fact = ConditionFact::new(false, reason, why.clone());
            conditions.set(types::RESTORED, &fact);
            conditions.set(types::STALLED, &ConditionFact::new(true, reason, why.clone()));
        }
    }
    status.conditions = conditions.build();
    status
}

/// It was made anew: what became of the restore of its name is told, and nothing is done.
pub(crate) fn made_before(restore: &OrgRestore, record: &RestoreRecord, now: Timestamp) -> OrgRestoreStatus {
    let generation = restore.metadata.generation;
    let recorded = restore.status.as_ref();
    let mut conditions = Conditions::new(
        recorded.map_or(&[][..], |status| &status.conditions),
        generation,
        now,
    );
    let name = restore.name_any();
    let again = format!(
        "a restore of this name ended at {}, and a name is one restore: nothing was restored again; to restore once more, create \
         an OrgRestore of another name than {name}",
        whole_seconds(record.at)
    );
    let phase = match (record.succeeded, record.refused) {
        (true, 0) => {
            conditions.set(
                types::RESTORED,
                &ConditionFact::new(true, reasons::AS_SPECIFIED, again),
            );
            RestorePhase::Succeeded
        }
        (true, refused) => {
            let why = format!("{refused} objects were refused; {again}");
            conditions
                .set(
                    types::RESTORED,
                    &ConditionFact::new(false, reasons::OBJECTS_REFUSED, why.clone()),
                )
                .set(
                    types::STALLED,
                    &ConditionFact::new(true, reasons::OBJECTS_REFUSED, why),
                );
            RestorePhase::SucceededWithRefusals
        }
        (false, _) => {
            let why = format!(
                "it failed: {}; {again}",
                record.why.as_deref().unwrap_or("why is not recorded")
            );
            conditions
                .set(
                    types::RESTORED,
                    &ConditionFact::new(false, reasons::MOVER_FAILED, why.clone()),
                )
                .set(
                    types::STALLED,
                    &ConditionFact::new(true, reasons::MOVER_FAILED, why),
                );
            RestorePhase::Failed
        }
    };
    OrgRestoreStatus {
        observed_generation: generation,
        phase: Some(phase),
        run_id: Some(record.run_id.to_string()),
        finished_at: Some(Time(whole_seconds(record.at))),
        seconds: i64::try_from(record.seconds).ok(),
        bytes: i64::try_from(record.bytes).ok(),
        refused_count: i64::try_from(record.refused).ok().filter(|refused| *refused > 0),
        conditions: conditions.build(),
        ..OrgRestoreStatus::default()
    }
}

/// The objects part ended well, and what it said is lost: whether any object was refused is not known.
fn tell_of_lost_report(status: &mut OrgRestoreStatus) {
    let mut parts = status.parts.iter();
    let lost = parts.any(|part| part.part == names::OBJECTS_PART && part.items.is_none());
    if lost {
        status.refused_count = Some(1);
        status.refused_objects = vec![RefusedObject {
            kind: "unknown".to_owned(),
            name: "unknown".to_owned(),
            reason: "ReportLost".to_owned(),
            message: Some(
                "the mover's report is lost, so it is not known whether any object was refused: compare the objects, or \
                 restore again"
                    .to_owned(),
            ),
        }];
    }
}

fn succeeded(status: &OrgRestoreStatus, suspended: bool) -> String {
    let volumes = status
        .parts
        .iter()
        .filter(|part| part.part != names::OBJECTS_PART);
    let workloads = if suspended {
        "the org stays suspended"
    } else {
        "the workloads are available"
    };
    format!(
        "{} volumes are filled and compared with the copy, no object was refused, and {workloads}",
        volumes.count()
    )
}

/// What an end with refused objects is told as.
pub(crate) fn refusals(restore: &str, status: &OrgRestoreStatus) -> String {
    let shown = status.refused_objects.iter().take(SHOWN_REFUSED).map(|refused| {
        let RefusedObject {
            kind, name, reason, ..
        } = refused;
        format!("{kind}/{name} ({reason})")
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let count = status.refused_count.unwrap_or_default();
    let more = if count > SHOWN_REFUSED as i64 {
        format!(" and {} more", count - SHOWN_REFUSED as i64)
    } else {
        String::new()
    };
    format!(
        "the volumes are filled and compared with the copy; objects that were refused: {shown}{more}; see \
         status.refusedObjects of OrgRestore {restore}, put right what refused them, then apply them from your \
         own manifests, or restore the same run once more, which replaces all volumes again"
    )
}

fn by_object(named: Vec<RefusedObjects>) -> Vec<RefusedObject> {
    let each = named.into_iter().flat_map(|of_one| {
        let RefusedObjects {
            kind,
            reason,
            message,
            names,
        } = of_one;
        names
            .into_iter()
            .enumerate()
            .map(move |(place, name)| RefusedObject {
                kind: kind.clone(),
                name,
                reason: reason.clone(),
                // It is of the first of them.
                message: (place == 0 && !message.is_empty()).then(|| message.clone()),
            })
    });
    each.take(MOST_REFUSED).collect()
}

/// It waits for its turn, or for its org.
pub(crate) fn waiting(
    restore: &OrgRestore,
    reason: &str,
    message: &str,
    stalled: bool,
    now: Timestamp,
) -> OrgRestoreStatus {
    let mut status = restore.status.clone().unwrap_or_default();
    let before = status.conditions.clone();
    let generation = restore.metadata.generation;
    status.observed_generation = generation;
    status.phase = status.phase.or(Some(RestorePhase::Pending));
    let mut conditions = Conditions::new(&before, generation, now);
    conditions.set(types::RESTORED, &ConditionFact::new(false, reason, message));
    let (type_, fact) = if stalled {
        (types::STALLED, ConditionFact::new(true, reason, message))
    } else {
        (types::RECONCILING, ConditionFact::new(true, reason, message))
    };
    conditions.set(type_, &fact);
    status.conditions = conditions.build();
    status
}

fn going_on(
    status: &mut OrgRestoreStatus,
    recorded: &OrgRestoreStatus,
    generation: Option<i64>,
    message: &str,
    now: Timestamp,
) {
    let mut conditions = Conditions::new(&recorded.conditions, generation, now);
    conditions.set(
        types::RESTORED,
        &ConditionFact::new(false, reasons::PROGRESSING, message),
    );
    conditions.reconciling(reasons::PROGRESSING, message);
    status.conditions = conditions.build();
}

fn phase_of(step: &RestoreStep) -> (RestorePhase, String) {
    let names = |parts: &[tray_domain::ids::PartId]| {
        parts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match step {
        RestoreStep::Resolve => (RestorePhase::Pending, "the run is being resolved".to_owned()),
        RestoreStep::StartProofs(_) | RestoreStep::WaitForProofs => {
            (RestorePhase::Proving, PROVES.to_owned())
        }
        RestoreStep::WaitUntilDrained => (RestorePhase::Draining, "the org's workloads stop".to_owned()),
        RestoreStep::RemoveClaims(claims) => (
            RestorePhase::Draining,
            format!("claims {} go; their volumes are retained", names(claims)),
        ),
        RestoreStep::WaitForClaims(claims) => (
            RestorePhase::Draining,
            format!("fresh claims {} are made", names(claims)),
        ),
        RestoreStep::StartMovers(_) | RestoreStep::WaitForMovers => (
            RestorePhase::Filling,
            "volumes are filled, objects are put back".to_owned(),
        ),
        RestoreStep::RecordFilled | RestoreStep::WaitForWorkloads | RestoreStep::Succeed => (
            RestorePhase::Starting,
            "everything is filled; the org's workloads start".to_owned(),
        ),
        RestoreStep::Fail(why) => (RestorePhase::Failed, why.clone()),
    }
}
