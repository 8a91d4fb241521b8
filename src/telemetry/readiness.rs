//! Whether this process is ready, and what it still waits for.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

/// What is still waited for. Nothing at first: a process that waits to lead is ready to take over.
#[derive(Debug, Default)]
pub struct Readiness {
    missing: Mutex<BTreeSet<String>>,
    changed: Notify,
}

impl Readiness {
    /// From now on `what` is waited for.
    pub fn needs(&self, what: impl Into<String>) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.insert(what.into());
    }

    /// `what` is there.
    pub fn has(&self, what: &str) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.remove(what);
        self.changed.notify_waiters();
    }

    /// What is still waited for.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.iter().cloned().collect()
    }

    /// Until nothing is waited for.
    pub async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that what comes in between is not missed.
            changed.as_mut().enable();
            if self.missing().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_is_ready_when_nothing_is_missing() {
        let readiness = Readiness::default();
        assert!(readiness.wait().now_or_never().is_some());
        readiness.needs("nodes");
        readiness.needs("pods");
        assert_eq!(readiness.missing(), ["nodes", "pods"]);
        let mut wait = Box::pin(readiness.wait());
        assert!((&mut wait).now_or_never().is_none());
        readiness.has("nodes");
        readiness.has("pods");
        assert!(wait.now_or_never().is_some());
    }
}
