//! How long an org's execution logs and snapshots are kept at present. What became shorter waits for a day: what is in
//! force until then is read off the recorded status. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tray_api::trayorg::{
    ExecutionLogsStatus, PendingReduction, RetainedField, SnapshotRetentionStatus, TrayOrgStatus,
};
use tray_domain::{
    reduction::{InForce, Pending},
    stage::Stage,
};

use super::validate::LEAST_KEEP_DAYS;
use crate::{controllers::view::org::OrgView, resources::org::log_policy};

/// How long things are kept, and what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Execution logs.
    pub logs: Option<ExecutionLogsStatus>,
    /// Snapshots.
    pub snapshots: Option<SnapshotRetentionStatus>,
    /// Shorter times that wait.
    pub pending: Vec<PendingReduction>,
}

impl Kept {
    /// What is recorded.
    pub(super) fn recorded(status: Option<&TrayOrgStatus>) -> Self {
        status.map_or_else(Self::default, |status| Self {
            logs: status.execution_logs,
            snapshots: status.snapshot_retention,
            pending: status.pending_reductions.clone(),
        })
    }

    /// When the first of what waits is in force. What is past was not taken in, and is when something changes: there is no
    /// RetentionPolicy.
    pub(super) fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.pending.iter().map(|pending| pending.at.0);
        waiting.filter(|at| *at > now).min()
    }

    fn held(&self, field: RetainedField) -> Option<InForce> {
        let in_force = match field {
            RetainedField::KeptHours => self.logs?.kept_hours,
            RetainedField::KeepDays => self.snapshots?.keep_days,
            RetainedField::KeepAtLeast => self.snapshots?.keep_at_least,
        };
        let pending = self.pending.iter().find(|pending| pending.field == field);
        Some(InForce {
            in_force,
            pending: pending.map(|pending| Pending {
                to: pending.to,
                at: pending.at.0,
            }),
        })
    }
}

/// How long things are kept now. While the org's RetentionPolicy is not there, what is recorded stays.
pub(super) fn kept(observed: &OrgView, now: Timestamp) -> Kept {
    let recorded = Kept::recorded(observed.org.status.as_ref());
    let Some(policy) = &observed.policy else {
        return recorded;
    };
    let mut pending = Vec::new();
    let mut hold = |field, wanted| {
        let held = recorded
            .held(field)
            .map_or_else(|| InForce::new(wanted), |held| held.next(wanted, now));
        pending.extend(held.pending.map(|waiting| PendingReduction {
            field,
            from: held.in_force,
            to: waiting.to,
            at: Time(waiting.at),
        }));
        held.in_force
    };
    let logs = log_policy::wanted(&observed.org.spec, &policy.spec);
    let logs = ExecutionLogsStatus {
        kept_hours: hold(RetainedField::KeptHours, logs.kept_hours),
        ..logs
    };
    let wanted = &policy.spec.snapshots;
    let keep_days = wanted.keep_days.max(least_keep_days(observed));
    let snapshots = SnapshotRetentionStatus {
        keep_days: hold(RetainedField::KeepDays, keep_days),
        keep_at_least: hold(RetainedField::KeepAtLeast, wanted.keep_at_least),
    };
    Kept {
        logs: Some(logs),
        snapshots: Some(snapshots),
        pending,
    }
}

/// A policy that keeps snapshots for less is refused to orgs of a Production region: it is not in force later, either.
fn least_keep_days(observed: &OrgView) -> i32 {
    let region = observed.region.as_ref();
    region.map_or(0, |region| match region.spec.stage {
        Stage::Production => LEAST_KEEP_DAYS,
        Stage::NonProduction => 0,
    })
}

/// What newly waits, for people: nobody may have meant it.
pub(super) fn news(before: Option<&TrayOrgStatus>, after: &TrayOrgStatus) -> Option<String> {
    let known = before.map(|status| status.pending_reductions.as_slice());
    let new = after
        .pending_reductions
        .iter()
        .filter(|pending| !known.is_some_and(|known| known.contains(pending)));
    let said: Vec<String> = new
        .map(|pending| {
            let PendingReduction { field, from, to, at } = pending;
            format!("{} goes from {from} to {to} at {}", field.as_str(), at.0)
        })
        .collect();
    (!said.is_empty()).then(|| {
        format!(
            "{}: to keep what is older, put the TrayOrg or its RetentionPolicy back before then",
            said.join("; ")
        )
    })
}
