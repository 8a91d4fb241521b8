//! What the TrayOrg's status says of its backups.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    scheduling::{objective, without_slots},
    subject::{Subject, placed_at},
    trouble::Trouble,
};
use crate::{
    api::{
        backup_schedule::BackupSchedule,
        conditions::{reasons, types},
        trayorg::{self, BackupStatus, RpoStatus, RtoStatus, TrayOrg},
    },
    controllers::{
        backup_facts::BackupView,
        conditions::{ConditionFact, Truth, find, whole_seconds},
    },
    domain::{
        ids::RunId,
        ledger::{LedgerState, Run, RunEnd},
        objectives::{RpoVerdict, RtoVerdict, rpo, rto},
        schedule::first_at_latest,
        volume_facts::Loss,
    },
};

/// What is read off a ledger.
pub struct Read<'a> {
    /// The ledger.
    pub state: &'a LedgerState,
    /// When the next run is due by the schedule.
    pub next_due: Option<Timestamp>,
    /// Volumes that lost their data.
    pub losses: &'a [Loss],
}

/// What the status says after a look at the ledger; and when its RPO verdict changes by time alone.
pub fn view(
    subject: &Subject,
    read: &Read<'_>,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> (BackupView, Option<Timestamp>) {
    judge(&subject.org, subject.schedule.as_deref(), read, trouble, now)
}

/// What a look at the ledger of an org will say that was only just placed, and whose workloads are `available` or not:
/// nothing has run. So its status need not be written again to say so.
pub fn before_any_run(
    org: &TrayOrg,
    schedule: &BackupSchedule,
    available: bool,
    now: Timestamp,
) -> BackupView {
    let waits = !available && !schedule.spec.suspend;
    let read = Read {
        state: &LedgerState::default(),
        next_due: first_at_latest(placed_at(org)).filter(|_| waits),
        losses: &[],
    };
    judge(org, Some(schedule), &read, None, now).0
}

fn judge(
    org: &TrayOrg,
    schedule: Option<&BackupSchedule>,
    read: &Read<'_>,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> (BackupView, Option<Timestamp>) {
    let objectives = schedule
        .map(|schedule| schedule.spec.objectives.clone())
        .unwrap_or_default();
    let point = rpo(read.state, objective(objectives.rpo_hours), placed_at(org), now);
    let time = rto(read.state, objective(objectives.rto_hours));
    let good = read.state.good_runs();
    let newest = good.first().copied();
    let status = BackupStatus {
        last_committed: newest.and_then(|(_, run)| run.committed_at()).map(api_time),
        consistency_point: newest.and_then(|(_, run)| consistency_point(run)).map(api_time),
        next_due: read.next_due.map(api_time),
        count: i32::try_from(good.len()).ok(),
        oldest: good
            .last()
            .and_then(|(_, run)| consistency_point(run))
            .map(api_time),
        bytes: Some(added(&good)),
        rpo: Some(RpoStatus {
            verdict: rpo_verdict(point.verdict),
            deadline: Some(api_time(point.deadline)),
        }),
        rto: Some(RtoStatus {
            verdict: rto_verdict(time.verdict),
            seconds: time.seconds.map(|seconds| seconds as i64),
            at: time.at.map(api_time),
        }),
    };
    let view = BackupView {
        status,
        healthy: healthy(read, trouble, || without_slots(org, schedule)),
        rpo: rpo_condition(point.verdict, point.deadline),
    };
    (view, point.changes_at)
}

/// What the status says while the ledger cannot be read: what it said before, until its own deadline.
pub fn unread(subject: &Subject, trouble: &Trouble, now: Timestamp) -> BackupView {
    let recorded = subject.org.status.clone().unwrap_or_default();
    let mut status = recorded.backup.unwrap_or_default();
    let said = find(&recorded.conditions, types::RPO_MET).map(ConditionFact::of);
    let deadline = status
        .rpo
        .as_ref()
        .and_then(|rpo| rpo.deadline.as_ref())
        .map(|deadline| deadline.0);
    let rpo = match (said, deadline) {
        (Some(said), Some(deadline)) if now < deadline => said,
        _ => {
            status.rpo = Some(RpoStatus {
                verdict: trayorg::RpoVerdict::Unknown,
                deadline: deadline.map(Time),
            });
            ConditionFact::new(Truth::Unknown, trouble.reason, trouble.message.clone())
        }
    };
    let healthy = ConditionFact::new(false, trouble.reason, trouble.message.clone());
    BackupView { status, healthy, rpo }
}

fn healthy(
    read: &Read<'_>,
    trouble: Option<&Trouble>,
    without_slots: impl FnOnce() -> Option<ConditionFact>,
) -> ConditionFact {
    if let Some(trouble) = trouble {
        return ConditionFact::new(false, trouble.reason, trouble.message.clone());
    }
    if let Some(loss) = read.losses.first() {
        let message = format!(
            "volume {} lost its data: no run is made until it is restored or given up",
            loss.volume
        );
        return ConditionFact::new(false, reasons::VOLUME_REPLACED, message);
    }
    if let Some(fact) = without_slots() {
        return fact;
    }
    let ended = read.state.runs.iter().filter(|(_, run)| run.end.is_some());
    let newest = ended.max_by_key(|(_, run)| run.planned_at);
    newest.map_or_else(
        || ConditionFact::new(Truth::Unknown, reasons::NO_SNAPSHOT_YET, "no run has ended yet"),
        |(id, run)| of_newest(id, run),
    )
}

fn of_newest(id: &RunId, run: &Run) -> ConditionFact {
    match &run.end {
        Some(RunEnd::Aborted { why, .. }) => {
            ConditionFact::new(false, reasons::LAST_RUN_FAILED, format!("run {id} failed: {why}"))
        }
        Some(RunEnd::Committed { manifest, .. }) if run.is_suspicious() => {
            let message = format!(
                "run {id} does not count until a person has looked at it: {}; to accept it, annotate the TrayOrg with platform.tray.ai/accept-run={id}",
                manifest.suspicions.join("; ")
            );
            ConditionFact::new(false, reasons::LAST_RUN_SUSPICIOUS, message)
        }
        _ => ConditionFact::new(
            true,
            reasons::LAST_RUN_GOOD,
            "the newest run is complete and verified",
        ),
    }
}

fn rpo_condition(verdict: RpoVerdict, deadline: Timestamp) -> ConditionFact {
    let deadline = whole_seconds(deadline);
    match verdict {
        RpoVerdict::Met => ConditionFact::new(
            true,
            reasons::WITHIN_RPO,
            format!("the newest good copy is recent enough until {deadline}"),
        ),
        RpoVerdict::Unknown => ConditionFact::new(
            Truth::Unknown,
            reasons::NO_SNAPSHOT_YET,
            format!("there is no good copy yet; one is needed by {deadline}"),
        ),
        RpoVerdict::AtRisk => ConditionFact::new(
            true,
            reasons::RPO_AT_RISK,
            format!("a good copy is needed by {deadline}, which is sooner than a run takes"),
        ),
        RpoVerdict::Breached => ConditionFact::new(
            false,
            reasons::RPO_BREACHED,
            format!("a good copy was needed by {deadline}"),
        ),
    }
}

fn rpo_verdict(verdict: RpoVerdict) -> trayorg::RpoVerdict {
    match verdict {
        RpoVerdict::Met => trayorg::RpoVerdict::Met,
        RpoVerdict::AtRisk => trayorg::RpoVerdict::AtRisk,
        RpoVerdict::Breached => trayorg::RpoVerdict::Breached,
        RpoVerdict::Unknown => trayorg::RpoVerdict::Unknown,
    }
}

fn rto_verdict(verdict: RtoVerdict) -> trayorg::RtoVerdict {
    match verdict {
        RtoVerdict::Estimated => trayorg::RtoVerdict::Estimated,
        RtoVerdict::Breached => trayorg::RtoVerdict::Breached,
        RtoVerdict::Unknown => trayorg::RtoVerdict::Unknown,
    }
}

fn consistency_point(run: &Run) -> Option<Timestamp> {
    run.manifest().map(|manifest| manifest.consistency_point)
}

fn added(runs: &[(&RunId, &Run)]) -> i64 {
    runs.iter()
        .filter_map(|(_, run)| run.manifest())
        .map(|manifest| manifest.bytes_added() as i64)
        .sum()
}

fn api_time(at: Timestamp) -> Time {
    Time(whole_seconds(at))
}
