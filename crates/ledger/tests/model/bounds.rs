//! How far a search goes, and what is broken in it on purpose.

use super::world::Fault;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// What there is at the start.
    pub(crate) start: Start,
    /// OrgSnapshots that are asked for: two, or one behind [`Start::Garbage`].
    pub(crate) snapshots: u8,
    /// An OrgRestore is asked for.
    pub(crate) restore: bool,
    /// The process that leads at the start has claimed the ledger; else one before it has.
    pub(crate) claimed: bool,
    /// Nothing begins behind so many new entries, claims not counted: passes end there.
    pub(crate) entries: u8,
    /// Nobody claims behind so many new claims: passes end there.
    pub(crate) claims: u8,
    /// Passes that a leader of before begins before it notices that it leads no more.
    pub(crate) stale_passes: u8,
    /// What is not counted as going wrong.
    pub(crate) ordinary: &'static [Fault],
    /// What may go wrong first, second, and so on.
    pub(crate) faults: &'static [&'static [Fault]],
    /// The last of that may go wrong again and again.
    pub(crate) again_and_again: bool,
    /// What is broken.
    pub(crate) mutation: Mutation,
}

impl Bounds {
    /// One process without faults, and everything that people ask for.
    pub(crate) const QUIET: Self = Self {
        start: Start::OneRun,
        snapshots: 2,
        restore: true,
        claimed: true,
        entries: 8,
        claims: 3,
        stale_passes: 1,
        ordinary: &[],
        faults: &[],
        again_and_again: false,
        mutation: Mutation::Nothing,
    };

    /// What may go wrong behind so many faults.
    pub(crate) fn faults_behind(&self, faults: usize) -> &'static [Fault] {
        let last = self.faults.last().filter(|_| self.again_and_again);
        self.faults.get(faults).or(last).copied().unwrap_or_default()
    }

    /// That, with something broken.
    pub(crate) const fn broken(self, mutation: Mutation) -> Self {
        Self { mutation, ..self }
    }
}

/// What there is at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing, and another cluster that would have the org, too.
    Empty,
    /// One good run.
    OneRun,
    /// One good run, and one that was aborted behind its copy, so that a sweep is due.
    Garbage,
    /// The same, and the sweep is planned.
    OpenSweep,
}

impl Start {
    /// The first run that is asked for.
    pub(crate) fn first_run(self) -> u8 {
        match self {
            Self::Empty | Self::OneRun => 1,
            Self::Garbage | Self::OpenSweep => 2,
        }
    }
}

/// What is broken around the real functions, to prove that a search finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Nothing.
    #[default]
    Nothing,
    /// Whether a mover may be at work is read off the pods in the index, instead of the Jobs of the API server.
    JudgesByIndexedPods,
    /// A run or a sweep begins whatever came into the ledger since the movers were asked for.
    BeginsWithoutSequenceNumber,
    /// A mover works without reading the ledger.
    MoverReadsNoLedger,
    /// A Job is deleted by its name alone, so that one that was made anew under it goes, too.
    RemovesByName,
    /// A pass that acts does not read on in the ledger first: it goes by what it knows.
    DecidesOnWhatItKnows,
    /// A restore begins without an entry: it has the lock, and waits for the movers.
    RestoreBeginsWithoutEntry,
    /// A process takes the claim of any process of its cluster for its own.
    TakesClaimOfItsCluster,
    /// A process claims whether or not it holds the Lease.
    ClaimsUnasked,
    /// A process that was told once that it holds the Lease tries to claim until it has.
    AsksOnce,
}
