//! The controllers: each has a [`Driver`], a queue of keys and a few workers.
//!
//! A driver looks at the index (no request), decides, makes the cluster agree and writes the status once, at the end,
//! only if it differs. [`run::run`] hands it one key at a time, never the same key twice at once, and looks again
//! when [`Driver::map_to_keys`] says that a change concerns a key, when [`Requeue`] says so, or after a [`Blocked`].

pub mod backup;
pub mod blocked;
pub mod board;
pub mod changes;
pub mod conditions;
pub mod context;
pub mod fences;
pub mod heartbeat;
pub mod malformed;
pub mod org;
mod orphans;
pub mod queue;
pub mod reference_counts;
pub mod region;
pub mod run;
pub mod specs;
pub mod support;
pub mod view;
pub mod watches;

use std::{sync::Arc, time::Duration};

pub use blocked::Blocked;
use changes::Change;
use context::Context;
use jiff::Timestamp;

use crate::adapters::kube::index::Index;

/// When a key that is as it should be is looked at again, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something changes.
    OnChange,
    /// After that long. Timers live in memory: compute the next one from recorded facts at every pass.
    After(Duration),
}

impl Requeue {
    /// The same, but after `delay` at the latest.
    #[must_use]
    pub fn or_sooner(self, delay: Option<Duration>) -> Self {
        match (self, delay) {
            (next, None) => next,
            (Self::OnChange, Some(delay)) => Self::After(delay),
            (Self::After(after), Some(delay)) => Self::After(after.min(delay)),
        }
    }
}

/// How long it is until `at`; nothing where that is past.
pub fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// What one controller does.
#[async_trait::async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Its name in logs and metrics: `region`, `org` ….
    fn name(&self) -> &'static str;

    /// What has to be done after a start before any controller begins.
    async fn begin(&self, _ctx: &Arc<Context>) {}

    /// The keys that have to be looked at after `change`.
    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String>;

    /// How long the look after `change` may wait, so that many changes of one sort end in one look.
    fn debounce(&self, _change: &Change, _index: &Index) -> Duration {
        Duration::ZERO
    }

    /// Every key there is: looked at once after a start.
    fn keys(&self, index: &Index) -> Vec<String>;

    /// The org that a key is about, for the log.
    fn org(&self, _index: &Index, _key: &str) -> Option<String> {
        None
    }

    /// The Region that a key is about, for the log.
    fn region(&self, index: &Index, key: &str) -> Option<String> {
        let org = index.orgs.get(&self.org(index, key)?)?;
        Some(org.spec.region_ref.name.clone())
    }

    /// Brings the object of that key nearer to what it should be.
    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_due_at_once() {
        let now = Timestamp::from_second(100).unwrap();
        for (at, want) in [(160, 60), (100, 0), (40, 0)] {
            let at = Timestamp::from_second(at).unwrap();
            assert_eq!(until(at, now), Duration::from_secs(want));
        }
    }
}
