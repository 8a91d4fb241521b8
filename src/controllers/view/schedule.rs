//! What a BackupSchedule gives an org.

use jiff::SignedDuration;
use tray_api::{backup_schedule::BackupSchedule, conditions::reasons, trayorg::TrayOrg};
use tray_domain::{manifest, slots::Slots};

use crate::controllers::conditions::ConditionFact;

/// Why the BackupSchedule that `org` names gives it no slots.
pub(crate) fn without_slots(org: &TrayOrg, schedule: Option<&BackupSchedule>) -> Option<ConditionFact> {
    let name = &org.spec.backup_schedule_ref.name;
    let suspended = schedule.is_some_and(|schedule| schedule.spec.suspend);
    let meanwhile = if suspended {
        "it is suspended, so no run is due"
    } else {
        "until then runs are due by the RPO alone"
    };
    let fact = |reason, why| Some(ConditionFact::new(false, reason, format!("{why}; {meanwhile}")));
    let Some(schedule) = schedule else {
        let why =
            format!("spec.backupScheduleRef: there is no BackupSchedule {name}: create it, or name another");
        return fact(reasons::BACKUP_SCHEDULE_MISSING, why);
    };
    let spec = &schedule.spec;
    let invalid = Slots::parse(&spec.schedule, &spec.time_zone).err()?;
    fact(
        reasons::BACKUP_SCHEDULE_INVALID,
        format!("BackupSchedule {name}: {invalid}"),
    )
}

/// An objective in hours. One that no CRD of ours takes is read as an hour: runs would follow each other without end.
pub(crate) fn objective(hours: i32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(hours.max(1)))
}

/// What an org is held to by that BackupSchedule, as runs record it: without one the defaults.
pub(crate) fn in_force(schedule: Option<&BackupSchedule>) -> manifest::Objectives {
    let spec = schedule.map(|schedule| &schedule.spec);
    let held = spec.map(|spec| spec.objectives.clone()).unwrap_or_default();
    let hours = |hours: i32| u32::try_from(hours.max(1)).unwrap_or(1);
    let slots = spec.filter(|spec| !spec.suspend);
    manifest::Objectives {
        rpo_hours: hours(held.rpo_hours),
        rto_hours: hours(held.rto_hours),
        schedule: slots.map(|spec| spec.schedule.clone()),
        time_zone: slots.map(|spec| spec.time_zone.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn org() -> TrayOrg {
        let org = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "acme"},
            "spec": {"plan": "Pro", "backupScheduleRef": {"name": "nightly"}},
        });
        serde_json::from_value(org).unwrap()
    }
    fn schedule(spec: serde_json::Value) -> BackupSchedule {
        let schedule = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "BackupSchedule", "metadata": {"name": "nightly"},
            "spec": spec,
        });
        serde_json::from_value(schedule).unwrap()
    }

    #[test]
    fn a_schedule_without_slots_is_told_with_object_field_and_remedy() {
        let good = schedule(json!({"schedule": "0 3 * * *", "suspend": true}));
        assert_eq!(without_slots(&org(), Some(&good)), None);
        let zone = schedule(json!({"schedule": "0 3 * * *", "timeZone": "Europe/Berlln"}));
        let cron = schedule(json!({"schedule": "H H * * *"}));
        for (schedule, reason, parts) in [
            (
                None,
                reasons::BACKUP_SCHEDULE_MISSING,
                ["spec.backupScheduleRef", "create it"],
            ),
            (
                Some(zone),
                reasons::BACKUP_SCHEDULE_INVALID,
                ["spec.timeZone", "such as Etc/UTC"],
            ),
            (
                Some(cron),
                reasons::BACKUP_SCHEDULE_INVALID,
                ["spec.schedule", "the minute (first field)"],
            ),
        ] {
            let fact = without_slots(&org(), schedule.as_ref()).unwrap();
            assert_eq!(fact.reason, reason);
            for part in parts
                .into_iter()
                .chain(["BackupSchedule nightly", "by the RPO alone"])
            {
                assert!(fact.message.contains(part), "{}", fact.message);
            }
        }
    }

    #[test]
    fn a_run_records_what_its_org_was_held_to() {
        let told = |spec| {
            let held = in_force(Some(&schedule(spec)));
            (held.rpo_hours, held.rto_hours, held.schedule)
        };
        let own = json!({"schedule": "0 3 * * *", "objectives": {"rpoHours": 6, "rtoHours": 2}});
        assert_eq!(told(own), (6, 2, Some("0 3 * * *".to_owned())));
        let suspended = json!({"schedule": "0 3 * * *", "suspend": true});
        assert_eq!(told(suspended), (24, 14, None), "no run is due by it");
        let none = in_force(None);
        assert_eq!((none.rpo_hours, none.schedule, none.time_zone), (24, None, None));
    }

    #[test]
    fn no_objective_is_shorter_than_an_hour_nor_too_long_to_count_with() {
        let hour = SignedDuration::from_hours(1);
        for hours in [i32::MIN, -1, 0, 1] {
            assert_eq!(objective(hours), hour);
        }
        assert!(objective(i32::MAX) > objective(168));
    }
}
