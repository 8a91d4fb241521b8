//! Counts the orgs that name a RetentionPolicy or a BackupSchedule. By that count the chart refuses to delete what is in
//! use.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{Driver, Failure, Next, changes::Change, context::Context};
use crate::{
    adapters::kube::index::{Index, OwnKind},
    api::{
        backup_schedule::BackupSchedule, retention_policy::RetentionPolicy, shared::Usage, trayorg::TrayOrg,
    },
};

/// How long a count may be behind while many orgs come or go. That something is in use, or no more, is written at once.
const PAUSE: Duration = Duration::from_secs(5);

/// A kind that orgs name.
pub trait Named: OwnKind {
    /// Name of its controller.
    const CONTROLLER: &'static str;
    /// The object that an org names.
    fn named_by(org: &TrayOrg) -> &str;
    /// The object of this kind that changed.
    fn changed(change: &Change) -> Option<&str>;
    /// Its status.
    fn usage(&self) -> Option<&Usage>;
}

impl Named for RetentionPolicy {
    const CONTROLLER: &'static str = "retention-policy";
    fn named_by(org: &TrayOrg) -> &str {
        &org.spec.retention_policy_ref.name
    }
    fn changed(change: &Change) -> Option<&str> {
        match change {
            Change::RetentionPolicy(name) => Some(name),
            _ => None,
        }
    }
    fn usage(&self) -> Option<&Usage> {
        self.status.as_ref()
    }
}

impl Named for BackupSchedule {
    const CONTROLLER: &'static str = "backup-schedule";
    fn named_by(org: &TrayOrg) -> &str {
        &org.spec.backup_schedule_ref.name
    }
    fn changed(change: &Change) -> Option<&str> {
        match change {
            Change::BackupSchedule(name) => Some(name),
            _ => None,
        }
    }
    fn usage(&self) -> Option<&Usage> {
        self.status.as_ref()
    }
}

/// Writes the status of one such kind; keys are names.
pub struct UsageDriver<K> {
    /// What each org named when it was last seen: most changes of an org are no news here.
    named: Mutex<HashMap<String, String>>,
    /// Since when a count has been behind.
    behind: Mutex<HashMap<String, Timestamp>>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for UsageDriver<K> {
    fn default() -> Self {
        Self {
            named: Mutex::default(),
            behind: Mutex::default(),
            kind: PhantomData,
        }
    }
}

#[async_trait::async_trait]
impl<K: Named> Driver for UsageDriver<K> {
    fn name(&self) -> &'static str {
        K::CONTROLLER
    }

    fn concerns(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            Change::Org(org) => self.renamed(org, index),
            change => K::changed(change).map(str::to_owned).into_iter().collect(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        K::objects(index).names()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Next, Failure> {
        let Some(object) = K::objects(&ctx.index).get(key) else {
            locked(&self.behind).remove(key);
            return Ok(Next::OnChange);
        };
        let orgs = ctx.index.orgs.all();
        let orgs = orgs.iter().filter(|org| K::named_by(org) == key).count();
        let usage = Usage {
            observed_generation: object.meta().generation,
            orgs: Some(i32::try_from(orgs).unwrap_or(i32::MAX)),
        };
        if let Some(rest) = self.pause_left(key, object.usage(), &usage, ctx.now()) {
            return Ok(Next::After(rest));
        }
        ctx.cluster.write_status(&*object, object.usage(), &usage).await?;
        Ok(Next::OnChange)
    }
}

impl<K: Named> UsageDriver<K> {
    /// What an org named before and what it names now, where that is not the same.
    fn renamed(&self, org: &str, index: &Index) -> Vec<String> {
        let now = index.orgs.get(org).map(|org| K::named_by(&org).to_owned());
        let mut named = locked(&self.named);
        let before = match &now {
            Some(now) => named.insert(org.to_owned(), now.clone()),
            None => named.remove(org),
        };
        if before == now {
            return Vec::new();
        }
        before.into_iter().chain(now).collect()
    }

    /// How long the count may still wait; none = it is written now.
    fn pause_left(&self, key: &str, old: Option<&Usage>, new: &Usage, now: Timestamp) -> Option<Duration> {
        let mut behind = locked(&self.behind);
        let merely_behind = old.is_some_and(|old| {
            old != new && old.observed_generation == new.observed_generation && old.in_use() && new.in_use()
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

    fn driver() -> UsageDriver<RetentionPolicy> {
        UsageDriver::default()
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
        assert_eq!(driver.concerns(&change, &index), ["short"]);
        assert!(driver.concerns(&change, &index).is_empty());
        index.orgs.put(org("acme", "long", 2));
        assert_eq!(driver.concerns(&change, &index), ["short", "long"]);
        index.orgs.remove("acme", None);
        assert_eq!(driver.concerns(&change, &index), ["long"]);
        let edited = Change::RetentionPolicy("long".to_owned());
        assert_eq!(driver.concerns(&edited, &index), ["long"]);
    }

    #[test]
    fn a_count_waits_but_not_that_something_is_in_use_or_no_more() {
        let usage = |generation, orgs| Usage {
            observed_generation: Some(generation),
            orgs: Some(orgs),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let driver = driver();
        let left = |old: Option<&Usage>, new, second| driver.pause_left("p", old, &new, at(second));
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
