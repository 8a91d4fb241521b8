//! When each running mover was last given credentials.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

/// Kept in memory: what is not known after a start is renewed at once.
#[derive(Default)]
pub(super) struct CredentialTimes {
    movers: Mutex<HashMap<(String, String), Timestamp>>,
}

impl CredentialTimes {
    fn movers(&self) -> MutexGuard<'_, HashMap<(String, String), Timestamp>> {
        self.movers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the mover was given credentials, if this process knows.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Timestamp> {
        self.movers()
            .get(&(namespace.to_owned(), name.to_owned()))
            .copied()
    }

    /// It was given some.
    pub(super) fn set(&self, namespace: &str, name: &str, at: Timestamp) {
        self.movers().insert((namespace.to_owned(), name.to_owned()), at);
    }

    /// It is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.movers().remove(&(namespace.to_owned(), name.to_owned()));
    }
}
