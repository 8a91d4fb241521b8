//! What of what is played does not do as it says: for the tests of what must hold, which has to be found broken then.

use std::{collections::BTreeSet, sync::Mutex};

use crate::lock::lock;

/// A way in which the world lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Movers say that they have filled a volume, and have not.
    NothingIsFilled,
    /// Hooks are said to have run, and have not.
    NoHookRuns,
    /// The operator's processes are gone, and nobody says so.
    NobodyLeads,
}

/// The lies that the world tells: none, unless a test says otherwise.
#[derive(Debug, Default)]
pub struct Lies(Mutex<BTreeSet<Lie>>);

impl Lies {
    /// From now on.
    pub fn tell(&self, lie: Lie) {
        lock(&self.0).insert(lie);
    }

    /// Whether it is told.
    pub fn are_told(&self, lie: Lie) -> bool {
        lock(&self.0).contains(&lie)
    }
}
