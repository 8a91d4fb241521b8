//! What an OrgRestore shows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{elapsed, job_name_of, said};
use crate::{
    adapters::kube::mover_jobs::MoverState,
    api::{
        conditions::{reasons, types},
        orgrestore::{OrgRestore, OrgRestoreStatus, RestorePart, RestorePartState, RestorePhase},
    },
    controllers::{
        backup::{pass::Pass, trouble::Trouble},
        conditions::{ConditionFact, Conditions, whole_seconds},
    },
    domain::{
        ids::RunId,
        restore_run::{MoverProgress, Observed, Step},
    },
};

/// The run is pinned.
pub fn resolved(
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
        phase: Some(RestorePhase::Draining),
        run_id: Some(run_id.to_string()),
        manifest_digest,
        started_at: Some(Time(whole_seconds(now))),
        bytes: Some(0),
        bytes_total: Some(bytes as i64),
        parts,
        ..OrgRestoreStatus::default()
    };
    going_on(
        &mut status,
        &recorded,
        restore.metadata.generation,
        "the org's workloads stop",
        now,
    );
    status
}

/// How far it is.
pub async fn progress(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    observed: &Observed,
    step: &Step,
    jobs: &[MoverState],
) -> Result<OrgRestoreStatus, Trouble> {
    let mut status = recorded.clone();
    for part in &mut status.parts {
        let Some(seen) = observed.parts.iter().find(|seen| seen.part.as_str() == part.part) else {
            continue;
        };
        part.state = match seen.mover {
            MoverProgress::Absent | MoverProgress::Suspended if !observed.filled => RestorePartState::Pending,
            MoverProgress::Running => RestorePartState::Running,
            MoverProgress::Failed(_) => RestorePartState::Failed,
            _ => RestorePartState::Restored,
        };
        let name = job_name_of(restore, &seen.part);
        let job = jobs.iter().find(|job| job.name == name);
        if let (RestorePartState::Restored, None, Some(job)) = (part.state, part.items, job)
            && let Some((items, bytes, seconds)) = said(pass, job).await?
        {
            (part.items, part.bytes, part.seconds) = (Some(items), Some(bytes), Some(seconds));
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
    let (phase, mut message) = told(step);
    if phase == RestorePhase::Filling
        && let Some(trouble) = pass.subject.mover_trouble(&pass.ctx.index)
    {
        message = format!("{message}; {trouble}");
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
pub fn ended(
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    result: &Result<(), (&'static str, String)>,
    now: Timestamp,
) -> OrgRestoreStatus {
    let mut status = recorded.clone();
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
        Ok(()) => {
            status.phase = Some(RestorePhase::Succeeded);
            let message = "every part is back and compared, and the workloads are available";
            conditions.set(
                types::RESTORED,
                &ConditionFact::new(true, reasons::AS_SPECIFIED, message),
            );
        }
        Err((reason, why)) => {
            status.phase = Some(RestorePhase::Failed);
            let fact = ConditionFact::new(false, reason, why.clone());
            conditions.set(types::RESTORED, &fact);
            conditions.set(types::STALLED, &ConditionFact::new(true, reason, why.clone()));
        }
    }
    status.conditions = conditions.build();
    status
}

/// It waits for its turn, or for its org.
pub fn waiting(
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

fn told(step: &Step) -> (RestorePhase, String) {
    let names = |parts: &[crate::domain::ids::PartId]| {
        parts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match step {
        Step::Resolve => (RestorePhase::Pending, "the run is being resolved".to_owned()),
        Step::WaitUntilDrained => (RestorePhase::Draining, "the org's workloads stop".to_owned()),
        Step::RemoveClaims(claims) => (
            RestorePhase::Draining,
            format!("claims {} go; their volumes are retained", names(claims)),
        ),
        Step::WaitForClaims(claims) => (
            RestorePhase::Draining,
            format!("fresh claims {} are made", names(claims)),
        ),
        Step::StartMovers(_) | Step::WaitForMovers => (
            RestorePhase::Filling,
            "volumes are filled, objects are put back".to_owned(),
        ),
        Step::RecordFilled | Step::WaitForWorkloads | Step::Succeed => (
            RestorePhase::Starting,
            "everything is filled; the org's workloads start".to_owned(),
        ),
        Step::Fail(why) => (RestorePhase::Failed, why.clone()),
    }
}
