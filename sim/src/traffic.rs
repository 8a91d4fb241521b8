//! What is asked of the API server: how much of it by the operator, and how much happens besides.

use std::sync::Mutex;

use tray_testkit::cluster::{Traced, Verb};

use crate::lock::lock;

/// How the names of the operator's processes begin.
pub const OPERATOR: &str = "operator-";

/// Counts since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of the operator, but for watches.
    pub requests: u64,
    /// Of these, what was written.
    pub written: u64,
}

/// What is asked of the API server.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Counts>);

impl Traffic {
    /// Somebody asked.
    pub fn note(&self, asked: &Traced) {
        if asked.verb == Verb::Watch || !asked.user.starts_with(OPERATOR) {
            return;
        }
        let mut counts = lock(&self.0);
        counts.requests += 1;
        let is_done = (200..300).contains(&asked.code);
        counts.written += u64::from(asked.verb.writes() && is_done);
    }

    /// What was counted since it was asked last.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut *lock(&self.0))
    }
}
