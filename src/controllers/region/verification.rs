//! What was found out about a Region's backup and log location: when it was asked for, and how long it holds.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tray_api::region::Region;

use super::{
    location::{self, LocationVerdict, LocationVerdicts},
    log_location,
};
use crate::{
    adapters::kube::index::Index,
    controllers::{conditions::Truth, context::Context},
};

/// How long a backup location that is in order is taken for so.
const RECHECK: Duration = Duration::from_hours(24);
/// First and longest pause before a location that was not in order is asked for again.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_secs(15), Duration::from_hours(1));
/// How long all questions about a location may take.
const TIMEOUT: Duration = Duration::from_secs(45);

/// What was found out, by name of the Region. In memory: after a start every location is asked for once.
#[derive(Default)]
pub(super) struct Verifications(Mutex<HashMap<String, Verification>>);

/// When a location was asked for, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Verification {
    uid: Option<String>,
    generation: Option<i64>,
    at: Timestamp,
    /// What was found out about the backup location.
    pub verdict: LocationVerdict,
    /// Whether what is removed there goes. Where it does not, it is asked for again after an hour.
    pub hardened: LocationVerdict,
    /// Of the log location; none where the spec names none.
    pub logs: Option<LocationVerdict>,
    /// Times in a row that it was not in order.
    failures: u32,
}

impl Verification {
    fn good(&self) -> bool {
        is_good(&self.verdict) && self.logs.as_ref().is_none_or(is_good)
    }

    /// How long what was found holds.
    fn holds_for(&self) -> Duration {
        let (first, longest) = PAUSES;
        if self.good() {
            return if is_good(&self.hardened) { RECHECK } else { longest };
        }
        let factor = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16));
        first.saturating_mul(factor).min(longest)
    }

    /// How long it still holds at `now`; none where it does not.
    pub(super) fn left(&self, region: &Region, now: Timestamp) -> Option<Duration> {
        if self.uid != region.uid() || self.generation != region.metadata.generation {
            return None;
        }
        let age = Duration::try_from(now.duration_since(self.at).max(SignedDuration::ZERO)).ok()?;
        self.holds_for().checked_sub(age).filter(|left| !left.is_zero())
    }
}

fn is_good(verdict: &LocationVerdict) -> bool {
    matches!(verdict, LocationVerdict::Found(fact) if fact.status == Truth::True)
}

impl Verifications {
    fn by_name(&self) -> MutexGuard<'_, HashMap<String, Verification>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Region is gone.
    pub(super) fn forget(&self, name: &str) {
        self.by_name().remove(name);
    }

    /// Whether the present generation of a Region has been asked for.
    pub(super) fn know(&self, name: &str, index: &Index) -> bool {
        let Some(region) = index.regions.get(name) else {
            return false;
        };
        let known = self.by_name();
        known
            .get(name)
            .is_some_and(|known| known.uid == region.uid() && known.generation == region.metadata.generation)
    }

    /// What was found out about the backup location: asked for now, if what was found before does not hold any more.
    pub(super) async fn of(&self, ctx: &Context, region: &Region, now: Timestamp) -> Verification {
        let name = region.name_any();
        let before = self.by_name().get(&name).cloned();
        if let Some(before) = &before
            && before.left(region, now).is_some()
        {
            return before.clone();
        }
        // A service that hangs must not keep the rest of the status back.
        let silent = format!("S3 and KMS did not answer within {} s", TIMEOUT.as_secs());
        let (verdict, logs) = tokio::join!(
            tokio::time::timeout(TIMEOUT, location::verify(&region.spec, &*ctx.regions)),
            tokio::time::timeout(TIMEOUT, log_location::verify(&region.spec, &*ctx.regions)),
        );
        let verdicts = verdict.unwrap_or_else(|_| LocationVerdicts::unanswered(&silent));
        let logs = logs.unwrap_or(Some(LocationVerdict::Unanswered(silent)));
        let same_spec =
            before.filter(|b| b.uid == region.uid() && b.generation == region.metadata.generation);
        let mut verification = Verification {
            uid: region.uid(),
            generation: region.metadata.generation,
            at: now,
            verdict: verdicts.verified,
            hardened: verdicts.hardened,
            logs,
            failures: same_spec.map_or(0, |before| before.failures),
        };
        verification.failures = if verification.good() {
            0
        } else {
            verification.failures.saturating_add(1)
        };
        self.by_name().insert(name, verification.clone());
        verification
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::region::fixtures;

    #[test]
    fn a_region_is_known_in_the_generation_that_was_asked_for() {
        let (known, index) = (Verifications::default(), Index::default());
        let mut region = fixtures::region();
        index.regions.put(region.clone());
        assert!(!known.know("eu", &index), "nobody has asked");
        let verification = Verification {
            uid: region.uid(),
            generation: region.metadata.generation,
            at: Timestamp::UNIX_EPOCH,
            verdict: LocationVerdict::Unanswered("not yet".into()),
            hardened: LocationVerdict::Unanswered("not yet".into()),
            logs: None,
            failures: 0,
        };
        known.by_name().insert("eu".into(), verification);
        assert!(known.know("eu", &index));
        region.metadata.generation = Some(2);
        region.metadata.resource_version = Some("2".into());
        index.regions.put(region);
        assert!(!known.know("eu", &index), "its spec is another by now");
        known.forget("eu");
        assert!(known.by_name().is_empty());
    }
}
