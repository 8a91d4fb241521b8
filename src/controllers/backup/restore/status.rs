//! What an OrgRestore shows.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    orgrestore::{
        LaterObject, OrgRestore, OrgRestoreStatus, RefusedObject, RestorePart, RestorePartState,
        RestorePhase, RestoreWait, RestoreWaiting,
    },
};
use tray_domain::{
    ids::{PartId, RunId},
    ledger::RestoreRecord,
    mover_task::{LaterObjects, MoverOutcome, RefusedObjects},
    names,
    restore_once::MadeBefore,
    restore_run::{MoverProgress, RestoreObserved, RestoreStep},
    restore_waits::{Wait, Waiting},
};

use super::{End, Failure, job_name_of};
use crate::{
    adapters::kube::facts::JobFact,
    controllers::{
        Blocked,
        backup::pass::Pass,
        conditions::{ConditionFact, Conditions, find, listed, whole_seconds},
    },
};

/// What goes on before anything of the org is touched.
const PROVES: &str = "it is proven that every part can come back; the org runs on";
/// So many objects are named that were refused, or came later.
const MOST_NAMED: usize = 100;
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
        waiting_for: Some(waiting_for(Some(&recorded), Wait::Proofs, now)),
        ..OrgRestoreStatus::default()
    };
    going_on(&mut status, &recorded, restore.metadata.generation, PROVES, now);
    status
}

/// What it waits for, and since when: as recorded, where it is the same.
pub(crate) fn waiting_for(recorded: Option<&OrgRestoreStatus>, wait: Wait, now: Timestamp) -> RestoreWaiting {
    let what = shown(wait);
    let recorded = recorded.and_then(|status| status.waiting_for.as_ref());
    let same = recorded.filter(|recorded| recorded.what == what);
    same.cloned().unwrap_or(RestoreWaiting {
        what,
        since: Time(whole_seconds(now)),
    })
}

/// What its status says that it waits for.
pub(crate) fn waits_for(status: &OrgRestoreStatus) -> Option<Wait> {
    let waiting = status.waiting_for.as_ref()?;
    WAITS
        .iter()
        .find(|(_, what)| *what == waiting.what)
        .map(|(wait, _)| *wait)
}

/// The same, and for how long.
pub(crate) fn waited(pass: &Pass<'_>, status: &OrgRestoreStatus) -> Option<Waiting> {
    Some(Waiting {
        wait: waits_for(status)?,
        since: status.waiting_for.as_ref()?.since.0,
        looks_since: pass.looks_since,
    })
}

const WAITS: [(Wait, RestoreWait); 9] = [
    (Wait::Turn, RestoreWait::Turn),
    (Wait::OtherWork, RestoreWait::OtherWork),
    (Wait::Proofs, RestoreWait::Proofs),
    (Wait::ClaimHolders, RestoreWait::ClaimHolders),
    (Wait::Pods, RestoreWait::Pods),
    (Wait::ClaimsGone, RestoreWait::ClaimsGone),
    (Wait::ClaimsMade, RestoreWait::ClaimsMade),
    (Wait::Fills, RestoreWait::Fills),
    (Wait::Workloads, RestoreWait::Workloads),
];

fn shown(wait: Wait) -> RestoreWait {
    match wait {
        Wait::Turn => RestoreWait::Turn,
        Wait::OtherWork => RestoreWait::OtherWork,
        Wait::Proofs => RestoreWait::Proofs,
        Wait::ClaimHolders => RestoreWait::ClaimHolders,
        Wait::Pods => RestoreWait::Pods,
        Wait::ClaimsGone => RestoreWait::ClaimsGone,
        Wait::ClaimsMade => RestoreWait::ClaimsMade,
        Wait::Fills => RestoreWait::Fills,
        Wait::Workloads => RestoreWait::Workloads,
    }
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
        if let RestoreStep::RecordFilled(claims) = step {
            let mut claims = claims.iter();
            let filled = claims.find(|claim| claim.volume == seen.part);
            part.filled_claim_uid = filled.map(|claim| claim.claim_uid.clone());
        }
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
                later,
                later_named,
            }) => {
                part.items = Some((created + updated + unchanged) as i64);
                status.refused_count = Some(refused as i64);
                status.refused_objects = by_object(named);
                status.later_count = later.map(|later| later as i64);
                status.later_objects = later_by_object(later_named);
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
    if phase == RestorePhase::Filling {
        message += &beside(&observed.holders.living);
    }
    status.phase = Some(phase);
    status.waiting_for = step
        .wait()
        .map(|wait| waiting_for(Some(recorded), wait, pass.now));
    going_on(
        &mut status,
        recorded,
        restore.metadata.generation,
        &message,
        pass.now,
    );
    Ok(status)
}

/// Pods of others that use a claim which is filled: the copy may end up as something else.
fn beside(living: &[String]) -> String {
    if living.is_empty() {
        return String::new();
    }
    format!(
        "; pods {} use a claim that is filled: delete them",
        listed(living)
    )
}

/// What a step needs did not answer: it is tried again.
pub(crate) fn hindered(
    mut status: OrgRestoreStatus,
    restore: &OrgRestore,
    why: &str,
    now: Timestamp,
) -> OrgRestoreStatus {
    let recorded = restore.status.clone().unwrap_or_default();
    let said = find(&status.conditions, types::RESTORED).map(|said| said.message.clone());
    let message = format!("{}; it is tried again: {why}", said.unwrap_or_default());
    going_on(&mut status, &recorded, restore.metadata.generation, &message, now);
    status
}

/// It has come to its end.
pub(crate) fn ended(
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    end: &End,
    suspended: bool,
    now: Timestamp,
) -> OrgRestoreStatus {
    let mut status = recorded.clone();
    status.waiting_for = None;
    if !matches!(end, End::Failed(_)) {
        tell_of_lost_report(&mut status);
    }
    let generation = restore.metadata.generation;
    status.observed_generation = generation;
    status.finished_at = Some(Time(whole_seconds(now)));
    status.seconds = elapsed(restore, now).map(|elapsed| elapsed.as_secs().max(0));
    let before = restore
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let mut conditions = Conditions::new(before, generation, now);
    let has_refusals = status.refused_count.unwrap_or_default() > 0;
    match end {
        End::Succeeded | End::WithoutWorkloads(_) if has_refusals => {
            status.phase = Some(RestorePhase::SucceededWithRefusals);
            let mut message = refusals(&restore.name_any(), &status);
            if let End::WithoutWorkloads(why) = end {
                message = format!("{message}; the workloads are not available: {why}");
            }
            let fact = ConditionFact::new(false, reasons::OBJECTS_REFUSED, message.clone());
            conditions.set(types::RESTORED, &fact);
            let fact = ConditionFact::new(true, reasons::OBJECTS_REFUSED, message);
            conditions.set(types::STALLED, &fact);
        }
        End::Succeeded => {
            status.phase = Some(RestorePhase::Succeeded);
            let workloads = if suspended {
                "the org stays suspended"
            } else {
                "the workloads are available"
            };
            let message = succeeded(&status, workloads);
            let fact = ConditionFact::new(true, reasons::AS_SPECIFIED, message);
            conditions.set(types::RESTORED, &fact);
        }
        End::WithoutWorkloads(why) => {
            status.phase = Some(RestorePhase::Succeeded);
            let message = succeeded(&status, &format!("the workloads are not available: {why}"));
            let fact = ConditionFact::new(true, reasons::WORKLOADS_UNAVAILABLE, message);
            conditions.set(types::RESTORED, &fact);
            conditions.set(types::STALLED, &fact);
        }
        End::Failed(Failure { reason, why }) => {
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
pub(crate) fn made_before(restore: &OrgRestore, known: MadeBefore<'_>, now: Timestamp) -> OrgRestoreStatus {
    let generation = restore.metadata.generation;
    let name = restore.name_any();
    let (phase, fact) = match known {
        MadeBefore::Known(record) => told_again(&name, record),
        MadeBefore::Forgotten { data_is_back } => told_of_forgotten(&name, data_is_back),
    };
    let before = restore
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let mut conditions = Conditions::new(before, generation, now);
    conditions.set(types::RESTORED, &fact);
    if fact.reason != reasons::AS_SPECIFIED {
        conditions.set(
            types::STALLED,
            &ConditionFact::new(true, &fact.reason, fact.message.clone()),
        );
    }
    let status = OrgRestoreStatus {
        observed_generation: generation,
        phase: Some(phase),
        conditions: conditions.build(),
        ..OrgRestoreStatus::default()
    };
    let MadeBefore::Known(record) = known else {
        return status;
    };
    OrgRestoreStatus {
        run_id: Some(record.run_id.to_string()),
        finished_at: Some(Time(whole_seconds(record.at))),
        seconds: i64::try_from(record.seconds).ok(),
        bytes: i64::try_from(record.bytes).ok(),
        refused_count: i64::try_from(record.refused).ok().filter(|refused| *refused > 0),
        ..status
    }
}

/// What is told of one that was made anew long after the first one.
fn told_of_forgotten(name: &str, data_is_back: bool) -> (RestorePhase, ConditionFact) {
    let again = format!(
        "a restore of this name ended long ago, and a name is one restore: nothing was restored again; to restore once more, \
         create an OrgRestore of another name than {name}"
    );
    if data_is_back {
        let fact = ConditionFact::new(
            true,
            reasons::AS_SPECIFIED,
            format!("everything came back; {again}"),
        );
        return (RestorePhase::Succeeded, fact);
    }
    let message = format!("it failed, why is not known any more; {again}");
    (
        RestorePhase::Failed,
        ConditionFact::new(false, reasons::MOVER_FAILED, message),
    )
}

/// How a restore ended, as one of the same name tells it that was made anew.
fn told_again(name: &str, record: &RestoreRecord) -> (RestorePhase, ConditionFact) {
    let again = format!(
        "a restore of this name ended at {}, and a name is one restore: nothing was restored again; to restore once more, create \
         an OrgRestore of another name than {name}",
        whole_seconds(record.at)
    );
    let why = record.why.as_deref().unwrap_or("why is not recorded");
    let is_back = record.succeeded || record.data_is_back;
    match (is_back, record.refused) {
        (true, 0) if record.succeeded => (
            RestorePhase::Succeeded,
            ConditionFact::new(true, reasons::AS_SPECIFIED, again),
        ),
        (true, 0) => (
            RestorePhase::Succeeded,
            ConditionFact::new(
                true,
                reasons::WORKLOADS_UNAVAILABLE,
                format!("every volume came back, and the workloads were not available: {why}; {again}"),
            ),
        ),
        (true, refused) => (
            RestorePhase::SucceededWithRefusals,
            ConditionFact::new(
                false,
                reasons::OBJECTS_REFUSED,
                format!("{refused} objects were refused; {again}"),
            ),
        ),
        (false, _) => (
            RestorePhase::Failed,
            ConditionFact::new(false, reasons::MOVER_FAILED, format!("it failed: {why}; {again}")),
        ),
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

/// From its creation to now.
fn elapsed(restore: &OrgRestore, now: Timestamp) -> Option<SignedDuration> {
    Some(now.duration_since(restore.creation_timestamp()?.0))
}

fn succeeded(status: &OrgRestoreStatus, workloads: &str) -> String {
    let volumes = status
        .parts
        .iter()
        .filter(|part| part.part != names::OBJECTS_PART);
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
    each.take(MOST_NAMED).collect()
}

fn later_by_object(named: Vec<LaterObjects>) -> Vec<LaterObject> {
    let each = named.into_iter().flat_map(|LaterObjects { kind, names }| {
        names.into_iter().map(move |name| LaterObject {
            kind: kind.clone(),
            name,
        })
    });
    each.take(MOST_NAMED).collect()
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
    let names = |parts: &[PartId]| {
        let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        listed(&parts)
    };
    match step {
        RestoreStep::Resolve => (RestorePhase::Pending, "the run is being resolved".to_owned()),
        RestoreStep::StartProofs(_) | RestoreStep::WaitForProofs => {
            (RestorePhase::Proving, PROVES.to_owned())
        }
        RestoreStep::WaitForHolders(pods) => (
            RestorePhase::Proving,
            format!(
                "every part can come back; waits for pods {}, which use claims that are to be replaced: delete them. The org runs on",
                listed(pods)
            ),
        ),
        RestoreStep::WaitUntilDrained(pods) => (
            RestorePhase::Draining,
            format!("the org's workloads stop; pods {} still run", listed(pods)),
        ),
        RestoreStep::RemoveClaims { claims, held_by, .. } => {
            let held = if held_by.is_empty() {
                String::new()
            } else {
                format!("; pods {} hold them: delete those", listed(held_by))
            };
            (
                RestorePhase::Draining,
                format!("claims {} go; their volumes are retained{held}", names(claims)),
            )
        }
        RestoreStep::WaitForClaims(claims) => (
            RestorePhase::Draining,
            format!("fresh claims {} are made", names(claims)),
        ),
        RestoreStep::Refill(claims) => (
            RestorePhase::Filling,
            format!(
                "claims {} were replaced while they were filled: filled anew",
                names(claims)
            ),
        ),
        RestoreStep::WaitForMovers(unbound) if !unbound.is_empty() => (
            RestorePhase::Filling,
            format!(
                "volumes are filled, objects are put back; claims {} have no volume yet",
                names(unbound)
            ),
        ),
        RestoreStep::StartMovers(_) | RestoreStep::WaitForMovers(_) => (
            RestorePhase::Filling,
            "volumes are filled, objects are put back".to_owned(),
        ),
        RestoreStep::WaitForWorkloads(why) => (
            RestorePhase::Starting,
            format!("everything is filled; the org's workloads start: {why}"),
        ),
        RestoreStep::RecordFilled(_) | RestoreStep::Succeed | RestoreStep::SucceedWithoutWorkloads(_) => (
            RestorePhase::Starting,
            "everything is filled; the org's workloads start".to_owned(),
        ),
        RestoreStep::Fail(fault) => (RestorePhase::Failed, fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::conditions::Truth;

    #[test]
    fn one_that_was_made_anew_tells_how_the_first_one_ended() {
        use RestorePhase::{Failed, Succeeded, SucceededWithRefusals};

        let record = |succeeded, data_is_back, refused| RestoreRecord {
            restore: "acme-back (u1)".into(),
            run_id: RunId::of("2026-01-01T00:00:00Z".parse().unwrap(), "u"),
            succeeded,
            data_is_back,
            seconds: 1,
            bytes: 1,
            refused,
            why: (!succeeded).then(|| "image i cannot be pulled".to_owned()),
            at: "2026-01-02T00:00:00Z".parse().unwrap(),
        };
        for (ended, phase, reason, why) in [
            (record(true, true, 0), Succeeded, reasons::AS_SPECIFIED, ""),
            // As it was written before there was such an end.
            (record(true, false, 0), Succeeded, reasons::AS_SPECIFIED, ""),
            (
                record(false, true, 0),
                Succeeded,
                reasons::WORKLOADS_UNAVAILABLE,
                "every volume came back, and the workloads were not available: image i cannot be pulled; ",
            ),
            (
                record(true, true, 2),
                SucceededWithRefusals,
                reasons::OBJECTS_REFUSED,
                "2 objects were refused; ",
            ),
            (
                record(false, true, 2),
                SucceededWithRefusals,
                reasons::OBJECTS_REFUSED,
                "2 objects were refused; ",
            ),
            (
                record(false, false, 0),
                Failed,
                reasons::MOVER_FAILED,
                "it failed: image i cannot be pulled; ",
            ),
        ] {
            let (told, fact) = told_again("acme-back", &ended);
            assert_eq!((told, &*fact.reason), (phase, reason));
            let again = format!("{why}a restore of this name ended at 2026-01-02T00:00:00Z");
            assert!(fact.message.starts_with(&again), "{}", fact.message);
            assert!(
                fact.message.ends_with("of another name than acme-back"),
                "{}",
                fact.message
            );
        }
        for (data_is_back, phase) in [(true, Succeeded), (false, Failed)] {
            let (told, fact) = told_of_forgotten("acme-back", data_is_back);
            assert_eq!((told, fact.status == Truth::True), (phase, data_is_back));
            assert!(
                fact.message.ends_with("of another name than acme-back"),
                "{}",
                fact.message
            );
        }
    }
}
