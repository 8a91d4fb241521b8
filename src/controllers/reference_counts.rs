//! Counts the orgs that name a RetentionPolicy or a BackupSchedule. By that count the chart refuses to delete what is in
//! use. A RetentionPolicy shows besides which of its orgs will keep something for a shorter time soon, and a BackupSchedule
//! whether it can be used: each org that names it goes on without it until it can.

use std::{
    collections::{BTreeSet, HashMap},
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use tray_api::{
    backup_schedule::{BackupSchedule, BackupScheduleStatus},
    conditions::{reasons, types},
    retention_policy::{MOST_PENDING_REDUCTIONS, OrgReduction, RetentionPolicy, RetentionPolicyStatus},
    shared::Usage,
    trayorg::{PendingReduction, TrayOrg},
};
use tray_domain::slots::Slots;

use super::{
    Blocked, Driver, Requeue,
    changes::Change,
    conditions::{ConditionFact, Conditions},
    context::Context,
};
use crate::adapters::kube::index::{Index, OwnKind};

/// How long a count may be behind while many orgs come or go. That something is in use, or no more, is written at once.
const PAUSE: Duration = Duration::from_secs(5);

/// A kind that orgs name.
pub trait Named: OwnKind {
    /// Name of its controller.
    const CONTROLLER: &'static str;
    /// Its status.
    type Status: Serialize + PartialEq + Send + Sync;
    /// The object that an org names.
    fn named_by(org: &TrayOrg) -> &str;
    /// The object of this kind that changed.
    fn changed(change: &Change) -> Option<&str>;
    /// Its status as recorded.
    fn recorded(&self) -> Option<&Self::Status>;
    /// How many orgs name it, by its status.
    fn usage(status: &Self::Status) -> Usage;
    /// Its status, with the orgs that name it.
    fn status(&self, usage: Usage, orgs: &[Arc<TrayOrg>], now: Timestamp) -> Self::Status;
    /// What its status shows of an org that names it.
    fn shown(_: &TrayOrg) -> &[PendingReduction] {
        &[]
    }
}

impl Named for RetentionPolicy {
    const CONTROLLER: &'static str = "retention-policy";
    type Status = RetentionPolicyStatus;
    fn named_by(org: &TrayOrg) -> &str {
        &org.spec.retention_policy_ref.name
    }
    fn changed(change: &Change) -> Option<&str> {
        match change {
            Change::RetentionPolicy(name) => Some(name),
            _ => None,
        }
    }
    fn recorded(&self) -> Option<&RetentionPolicyStatus> {
        self.status.as_ref()
    }
    fn usage(status: &RetentionPolicyStatus) -> Usage {
        status.usage()
    }
    fn status(&self, usage: Usage, orgs: &[Arc<TrayOrg>], _: Timestamp) -> RetentionPolicyStatus {
        let of = |org: &Arc<TrayOrg>| {
            let name = org.name_any();
            let waiting = Self::shown(org).iter();
            waiting
                .map(|pending| OrgReduction::of(&name, pending))
                .collect::<Vec<_>>()
        };
        let mut pending_reductions: Vec<OrgReduction> = orgs.iter().flat_map(of).collect();
        let order = |reduction: &OrgReduction| {
            let field = reduction.field.as_str();
            (reduction.at.0, reduction.org.clone(), field)
        };
        pending_reductions.sort_by_cached_key(order);
        pending_reductions.truncate(MOST_PENDING_REDUCTIONS);
        RetentionPolicyStatus {
            observed_generation: usage.observed_generation,
            orgs: usage.orgs,
            pending_reductions,
        }
    }
    fn shown(org: &TrayOrg) -> &[PendingReduction] {
        let status = org.status.as_ref();
        status.map_or(&[], |status| &status.pending_reductions)
    }
}

impl Named for BackupSchedule {
    const CONTROLLER: &'static str = "backup-schedule";
    type Status = BackupScheduleStatus;
    fn named_by(org: &TrayOrg) -> &str {
        &org.spec.backup_schedule_ref.name
    }
    fn changed(change: &Change) -> Option<&str> {
        match change {
            Change::BackupSchedule(name) => Some(name),
            _ => None,
        }
    }
    fn recorded(&self) -> Option<&BackupScheduleStatus> {
        self.status.as_ref()
    }
    fn usage(status: &BackupScheduleStatus) -> Usage {
        status.usage()
    }
    fn status(&self, usage: Usage, _: &[Arc<TrayOrg>], now: Timestamp) -> BackupScheduleStatus {
        let recorded = self.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let mut conditions = Conditions::new(recorded, usage.observed_generation, now);
        match Slots::parse(&self.spec.schedule, &self.spec.time_zone) {
            Ok(_) => {
                let message = "the schedule and its time zone can be used";
                conditions.set(
                    types::READY,
                    &ConditionFact::new(true, reasons::AS_SPECIFIED, message),
                );
            }
            Err(invalid) => {
                conditions.stalled(reasons::SCHEDULE_INVALID, &invalid.to_string());
            }
        }
        BackupScheduleStatus {
            observed_generation: usage.observed_generation,
            orgs: usage.orgs,
            conditions: conditions.build(),
        }
    }
}

/// Writes the status of one such kind; keys are names.
pub struct ReferenceCountDriver<K> {
    /// What each org named when it was last seen, and what is shown of it: most changes of an org are no news here.
    named: Mutex<HashMap<String, (String, Vec<PendingReduction>)>>,
    /// Since when a count has been behind.
    behind: Mutex<HashMap<String, Timestamp>>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for ReferenceCountDriver<K> {
    fn default() -> Self {
        Self {
            named: Mutex::default(),
            behind: Mutex::default(),
            kind: PhantomData,
        }
    }
}

#[async_trait::async_trait]
impl<K: Named> Driver for ReferenceCountDriver<K> {
    fn name(&self) -> &'static str {
        K::CONTROLLER
    }

    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            Change::Org(org) => self.renamed(org, index),
            change => K::changed(change).map(str::to_owned).into_iter().collect(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        K::objects(index).names()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let Some(object) = K::objects(&ctx.index).get(key) else {
            locked(&self.behind).remove(key);
            return Ok(Requeue::OnChange);
        };
        let mut orgs = ctx.index.orgs.all();
        orgs.retain(|org| K::named_by(org) == key);
        let usage = Usage {
            observed_generation: object.meta().generation,
            orgs: Some(i32::try_from(orgs.len()).unwrap_or(i32::MAX)),
        };
        let now = ctx.now();
        let status = object.status(usage, &orgs, now);
        if let Some(rest) = self.pause_left(key, object.recorded(), &status, now) {
            return Ok(Requeue::After(rest));
        }
        ctx.cluster
            .write_status(&*object, object.recorded(), &status)
            .await?;
        Ok(Requeue::OnChange)
    }
}

impl<K: Named> ReferenceCountDriver<K> {
    /// What an org named before and what it names now, where that is not the same or shows something else of it.
    fn renamed(&self, org: &str, index: &Index) -> Vec<String> {
        let now = index.orgs.get(org);
        let now = now.map(|org| (K::named_by(&org).to_owned(), K::shown(&org).to_vec()));
        let mut named = locked(&self.named);
        let before = match &now {
            Some(now) => named.insert(org.to_owned(), now.clone()),
            None => named.remove(org),
        };
        if before == now {
            return Vec::new();
        }
        let names: BTreeSet<String> = [before, now]
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
            .collect();
        names.into_iter().collect()
    }

    /// How long the count may still wait; none = it is written now.
    fn pause_left(
        &self,
        key: &str,
        old: Option<&K::Status>,
        new: &K::Status,
        now: Timestamp,
    ) -> Option<Duration> {
        let mut behind = locked(&self.behind);
        let merely_behind = old.is_some_and(|old| {
            let (before, after) = (K::usage(old), K::usage(new));
            old != new
                && before.observed_generation == after.observed_generation
                && before.in_use()
                && after.in_use()
        });
        if !merely_behind {
            behind.remove(key);
            return None;
        }
        let since = *behind.entry(key.to_owned()).or_insert(now);
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let rest = PAUSE.checked_sub(waited).filter(|rest| !rest.is_zero());
        if rest.is_none() {
            behind.remove(key);
        }
        rest
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use tray_api::retention_policy::RetentionPolicySpec;

    fn driver() -> ReferenceCountDriver<RetentionPolicy> {
        ReferenceCountDriver::default()
    }

    fn org(name: &str, policy: &str, version: u8) -> TrayOrg {
        let org = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg",
            "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string()},
            "spec": {"plan": "Pro", "retentionPolicyRef": {"name": policy}},
        });
        serde_json::from_value(org).unwrap()
    }

    #[test]
    fn only_what_an_org_named_and_names_now_is_counted_again() {
        let (driver, index) = (driver(), Index::default());
        let change = Change::Org("acme".to_owned());
        index.orgs.put(org("acme", "short", 1));
        assert_eq!(driver.map_to_keys(&change, &index), ["short"]);
        assert!(driver.map_to_keys(&change, &index).is_empty());
        index.orgs.put(org("acme", "long", 2));
        assert_eq!(driver.map_to_keys(&change, &index), ["long", "short"]);
        index.orgs.remove("acme", None);
        assert_eq!(driver.map_to_keys(&change, &index), ["long"]);
        let edited = Change::RetentionPolicy("long".to_owned());
        assert_eq!(driver.map_to_keys(&edited, &index), ["long"]);
    }

    #[test]
    fn a_policy_shows_what_waits_those_first_that_are_in_force_first() {
        let (driver, index) = (driver(), Index::default());
        let waiting = |name: &str, version: u8, at: &str| {
            let mut org = serde_json::to_value(org(name, "short", version)).unwrap();
            org["status"] = json!({"pendingReductions": [
                {"field": "snapshotRetention.keepDays", "from": 14, "to": 7, "at": at},
                {"field": "executionLogs.keptHours", "from": 720, "to": 24, "at": at},
            ]});
            serde_json::from_value::<TrayOrg>(org).unwrap()
        };
        let change = Change::Org("acme".to_owned());
        index.orgs.put(org("acme", "short", 1));
        driver.map_to_keys(&change, &index);
        index.orgs.put(waiting("acme", 2, "2026-01-02T00:00:00Z"));
        assert_eq!(
            driver.map_to_keys(&change, &index),
            ["short"],
            "it shows something else"
        );
        index.orgs.put(waiting("globex", 3, "2026-01-01T00:00:00Z"));
        let orgs = index.orgs.all();
        let policy = RetentionPolicy::new("short", RetentionPolicySpec::default());
        let at = Timestamp::UNIX_EPOCH;
        let status = policy.status(Usage::default(), &orgs, at);
        let shown: Vec<String> = status
            .pending_reductions
            .iter()
            .map(|r| format!("{} {}", r.org, r.field.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                "globex executionLogs.keptHours",
                "globex snapshotRetention.keepDays",
                "acme executionLogs.keptHours",
                "acme snapshotRetention.keepDays",
            ]
        );
        let many: Vec<_> = (0..60).map(|_| orgs[0].clone()).collect();
        assert_eq!(
            policy
                .status(Usage::default(), &many, at)
                .pending_reductions
                .len(),
            50
        );
    }

    #[test]
    fn a_schedule_says_whether_it_can_be_used_and_since_when() {
        let schedule = |text: &str, zone: &str, status: Option<BackupScheduleStatus>| {
            let schedule = json!({
                "apiVersion": "platform.tray.ai/v1alpha1", "kind": "BackupSchedule", "metadata": {"name": "nightly"},
                "spec": {"schedule": text, "timeZone": zone}, "status": status,
            });
            serde_json::from_value::<BackupSchedule>(schedule).unwrap()
        };
        let usage = Usage {
            observed_generation: Some(2),
            orgs: Some(1),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let said = |status: &BackupScheduleStatus| -> Vec<String> {
            let conditions = status.conditions.iter();
            conditions
                .map(|c| {
                    format!(
                        "{} {} {} {}",
                        c.type_, c.status, c.reason, c.last_transition_time.0
                    )
                })
                .collect()
        };
        let good = schedule("0 3 * * *", "Europe/Berlin", None).status(usage, &[], at(0));
        assert_eq!(said(&good), ["Ready True AsSpecified 1970-01-01T00:00:00Z"]);
        assert_eq!(
            schedule("0 3 * * *", "Europe/Berlin", Some(good.clone())).status(usage, &[], at(9)),
            good,
            "nothing to write"
        );
        for (text, zone, field) in [
            ("0 3 * * *", "Europe/Berlln", "spec.timeZone"),
            ("H H * * *", "Europe/Berlin", "spec.schedule"),
            ("0 0 30 2 *", "Europe/Berlin", "spec.schedule"),
        ] {
            let bad = schedule(text, zone, Some(good.clone())).status(usage, &[], at(9));
            assert_eq!(
                said(&bad),
                [
                    "Ready False ScheduleInvalid 1970-01-01T00:00:09Z",
                    "Stalled True ScheduleInvalid 1970-01-01T00:00:09Z"
                ]
            );
            assert!(bad.conditions[0].message.starts_with(field), "{bad:?}");
            let mended = schedule("0 3 * * *", "Etc/UTC", Some(bad)).status(usage, &[], at(20));
            assert_eq!(said(&mended), ["Ready True AsSpecified 1970-01-01T00:00:20Z"]);
        }
    }

    #[test]
    fn a_count_waits_but_not_that_something_is_in_use_or_no_more() {
        let usage = |generation, orgs| RetentionPolicyStatus {
            observed_generation: Some(generation),
            orgs: Some(orgs),
            ..RetentionPolicyStatus::default()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let driver = driver();
        let left =
            |old: Option<&RetentionPolicyStatus>, new, second| driver.pause_left("p", old, &new, at(second));
        assert_eq!(left(None, usage(1, 0), 0), None);
        assert_eq!(left(Some(&usage(1, 0)), usage(1, 1), 0), None);
        assert_eq!(left(Some(&usage(1, 5)), usage(1, 0), 0), None);
        assert_eq!(left(Some(&usage(1, 5)), usage(2, 6), 0), None);
        let behind = usage(1, 5);
        assert_eq!(left(Some(&behind), usage(1, 6), 100), Some(PAUSE));
        assert_eq!(
            left(Some(&behind), usage(1, 7), 104),
            Some(Duration::from_secs(1))
        );
        assert_eq!(left(Some(&behind), usage(1, 8), 105), None);
        assert_eq!(left(Some(&behind), usage(1, 9), 106), Some(PAUSE));
    }
}
