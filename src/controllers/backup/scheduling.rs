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
use crate::controllers::{Blocked, view::schedule::objective};

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

/// When the next run is due. A BackupSchedule that is not there or cannot be read has no slots; the RPO goes on counting,
/// by the objectives that [`backups`](crate::controllers::view::backups) judges by.
pub(super) fn next(pass: &Pass<'_>) -> Due {
    let subject = pass.subject;
    let spec = subject.schedule().map(|schedule| &schedule.spec);
    let slots = spec.and_then(|spec| Slots::parse(&spec.schedule, &spec.time_zone).ok());
    let schedule = spec.zip(slots).map(|(spec, slots)| {
        let window = u32::try_from(spec.window_minutes).unwrap_or_default();
        Schedule::new(slots, window, subject.org_id())
    });
    let objectives = spec.map(|spec| spec.objectives.clone()).unwrap_or_default();
    let circumstances = Circumstances {
        placed_at: subject.placed_at(),
        workloads_available: subject.is_available(),
        rpo: objective(objectives.rpo_hours),
        suspended: spec.is_some_and(|spec| spec.suspend),
    };
    due(schedule.as_ref(), &pass.state(), &circumstances, pass.now)
}
