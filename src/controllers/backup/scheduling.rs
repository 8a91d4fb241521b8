//! Makes the OrgSnapshots that are due by the schedule.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{pass::Pass, trouble::Trouble};
use crate::{
    api::{
        conditions::reasons,
        orgsnapshot::{OrgSnapshot, OrgSnapshotSpec, Origin},
        shared::NameRef,
    },
    domain::schedule::{Circumstances, Due, Schedule, due, snapshot_name},
};

/// Makes the OrgSnapshot of the run that is due at `slot`.
pub async fn schedule(pass: &Pass<'_>, slot: Timestamp) -> Result<(), Trouble> {
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

/// When the next run is due. Without a BackupSchedule none is: the org's status says that it is missing.
pub fn next(pass: &Pass<'_>) -> Result<Due, Trouble> {
    let Some(schedule) = &pass.subject.schedule else {
        return Ok(Due::Never);
    };
    let spec = &schedule.spec;
    let window = u32::try_from(spec.window_minutes).unwrap_or_default();
    let times = Schedule::parse(&spec.schedule, &spec.time_zone, window, pass.subject.org_id()).map_err(
        |invalid| {
            let name = &pass.subject.org.spec.backup_schedule_ref.name;
            Trouble::new(
                reasons::BACKUP_SCHEDULE_INVALID,
                format!("BackupSchedule {name}: {invalid}"),
            )
        },
    )?;
    let circumstances = Circumstances {
        placed_at: pass.subject.placed_at(),
        workloads_available: pass.subject.is_available(&pass.ctx.index),
        rpo: objective(spec.objectives.rpo_hours),
        suspended: spec.suspend,
    };
    Ok(due(&times, &pass.state(), &circumstances, pass.now))
}

/// An objective in hours.
pub fn objective(hours: i32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(hours))
}
