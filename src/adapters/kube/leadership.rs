//! Whether this process still leads, asked where something tells that another one works, too.
//!
//! A process that stood still may have lost the Lease and not know it for some seconds ([`super::leader`]). Its successor writes
//! statuses by what it knows, and each would put right what the other has written, as fast as the API server answers. Nobody but the
//! operator writes statuses: whoever finds one that it wrote itself to be another looks at the Lease before it writes it again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use tray_ledger::Leadership;

use super::{compare::digest, leader::LEASE};

/// For how long at least it is known what this process has written: longer than two lead at once, far shorter than it lives.
const WINDOW: Duration = Duration::from_secs(600);

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
#[error("this process does not hold the Lease {LEASE}: nothing is written over what another one wrote")]
struct NotLeading;

/// Fails where this process does not hold the Lease, or nobody says whether it does.
pub(super) async fn check(leadership: &dyn Leadership) -> Result<(), kube::Error> {
    match leadership.is_held().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(kube::Error::Service(NotLeading.into())),
        Err(unknown) => Err(kube::Error::Service(unknown.into())),
    }
}

/// The statuses that this process has written in the last minutes, by the UID of their object.
#[derive(Default)]
pub(super) struct Written(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    since: Option<Instant>,
    new: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Written {
    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process has made a status be so.
    pub(super) fn note(&self, uid: &str, status: &Value) {
        self.generations().note(uid, status, Instant::now());
    }

    /// Whether a status is not as this process has written it.
    pub(super) fn is_by_another(&self, uid: &str, status: &Value) -> bool {
        self.generations().is_by_another(uid, status)
    }
}

impl Generations {
    fn note(&mut self, uid: &str, status: &Value, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) > WINDOW) {
            self.since = Some(now);
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(digest(uid), digest(status));
    }

    fn is_by_another(&self, uid: &str, status: &Value) -> bool {
        let uid = digest(uid);
        let known = self.new.get(&uid).or_else(|| self.old.get(&uid));
        known.is_some_and(|known| *known != digest(status))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_wrote_over_is_known_for_a_while() {
        let (mut written, start) = (Generations::default(), Instant::now());
        let (ours, theirs) = (json!({"phase": "Pending"}), json!({"phase": "Copying"}));
        assert!(!written.is_by_another("a", &theirs), "nothing was written");
        written.note("a", &ours, start);
        assert!(!written.is_by_another("a", &ours));
        assert!(written.is_by_another("a", &theirs));
        assert!(!written.is_by_another("b", &theirs));
        written.note("a", &theirs, start);
        assert!(written.is_by_another("a", &ours), "the newest counts");
        for (seconds, known) in [(601, true), (1_202, false)] {
            written.note("b", &ours, start + Duration::from_secs(seconds));
            assert_eq!(written.is_by_another("a", &ours), known, "{seconds}");
        }
    }
}
