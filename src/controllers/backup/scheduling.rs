//! When the next run is due, and the OrgSnapshot of the one that is.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tray_api::{
    orgsnapshot::{OrgSnapshot, OrgSnapshotSpec, Origin},
    shared::NameRef,
};
use tray_domain::{
    schedule::{Circumstances, Due, Schedule, due, snapshot_name},
    slots::Slots,
};

use super::pass::Pass;
use crate::controllers::{
    Blocked,
    view::{schedule::objective, subject::Subject},
};

/// Makes the OrgSnapshot of the run that is due at `slot`.
pub(super) async fn schedule(pass: &Pass<'_>, slot: Timestamp) -> Result<(), Blocked> {
    let spec = OrgSnapshotSpec {
        org_ref: NameRef::new(pass.subject.name()),
        origin: Origin::Schedule,
        slot: Some(Time(slot)),
        run_id: None,
    };
    let name = snapshot_name(pass.subject.name(), slot);
    pass.ctx
        .cluster
        .create_own(&OrgSnapshot::new(&name, spec))
        .await?;
    Ok(())
}

/// A slot whose OrgSnapshot can be made: the name of `slot` may belong to one that has ended, where the ledger that knew its run
/// was given up.
pub(super) fn free(pass: &Pass<'_>, slot: Timestamp) -> Timestamp {
    let name = snapshot_name(pass.subject.name(), slot);
    let taken = pass.ctx.index.snapshots.get(&name);
    if taken.is_some_and(|taken| taken.has_ended()) {
        Timestamp::from_second(pass.now.as_second()).unwrap_or(slot)
    } else {
        slot
    }
}

/// The slots of the org; none where its BackupSchedule is not there or cannot be read.
pub(super) fn of(subject: &Subject<'_>) -> Option<Schedule> {
    let spec = &subject.schedule()?.spec;
    let slots = Slots::parse(&spec.schedule, &spec.time_zone).ok()?;
    let window = u32::try_from(spec.window_minutes).unwrap_or_default();
    Some(Schedule::new(slots, window, subject.org_id()))
}

/// When the next run is due. Without slots the RPO goes on counting, by the objectives that
/// [`backups`](crate::controllers::view::backups) judges by.
pub(super) fn next(pass: &Pass<'_>, schedule: Option<&Schedule>) -> Due {
    let subject = pass.subject;
    let spec = subject.schedule().map(|schedule| &schedule.spec);
    let objectives = spec.map(|spec| spec.objectives.clone()).unwrap_or_default();
    let circumstances = Circumstances {
        placed_at: subject.placed_at(),
        workloads_available: subject.is_available(),
        rpo: objective(objectives.rpo_hours),
        suspended: spec.is_some_and(|spec| spec.suspend),
    };
    due(schedule, &pass.state(), &circumstances, pass.now)
}
