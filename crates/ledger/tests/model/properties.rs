//! What must hold in each state, read off the world alone and never off what a process believes.

use std::fmt;

use super::{
    ledgers::{Known, Ledgers, recorded_end},
    pass::STALE,
    world::{Call, Job, JobName, Org, Pod, RUNS, World},
};

/// Something that must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A run that the ledger calls restorable lacks bytes.
    CopyLost,
    /// Of runs and sweeps, two work on the repositories at once.
    TwoAtWork,
    /// A mover of the restore is at work beside one of a run or a sweep.
    RestoreBesideOther,
    /// A mover is about to write into a run that was committed.
    WritesIntoCommitted,
    /// The status of the restore says that it has ended, and the ledger does not, although its run was pinned.
    EndsUnrecorded,
    /// More than one run, sweep or restore is open in the ledger.
    TwoOpen,
    /// An entry stands behind the claim of another cluster, or of another epoch.
    LedgerTorn,
    /// A leader of before has written behind the first entry of its successor.
    WritesBehindSuccessor,
    /// A leader of before does something in a pass that began behind the first entry of its successor.
    ActsBehindSuccessor,
    /// From here what was asked for never ends, even if nothing goes wrong any more.
    NoWayOut,
}

impl Violation {
    /// All of them.
    pub(crate) const ALL: &'static [Self] = &[
        Self::CopyLost,
        Self::TwoAtWork,
        Self::TwoOpen,
        Self::LedgerTorn,
        Self::WritesBehindSuccessor,
        Self::ActsBehindSuccessor,
        Self::NoWayOut,
        Self::RestoreBesideOther,
        Self::WritesIntoCommitted,
        Self::EndsUnrecorded,
    ];

    /// Whether it is in that world.
    pub(crate) fn is_in(self, world: &World, ledgers: &Ledgers) -> bool {
        let ledger = ledgers.of(world.ledger);
        let bucket = &world.bucket;
        let at_work = |which: fn(JobName) -> bool| -> usize {
            let names = JobName::ALL.into_iter().filter(|name| which(*name));
            names.map(|name| world.job(name).pods().count()).sum()
        };
        let writers = || at_work(|name| matches!(name, JobName::Copy(_) | JobName::Prune(_)));
        match self {
            Self::CopyLost => ledger
                .needs
                .iter()
                .zip(bucket.snapshots)
                .any(|(needs, snapshots)| {
                    needs.is_some_and(|pack| pack.bit() & bucket.packs & snapshots == 0)
                }),
            Self::TwoAtWork => writers() > 1,
            Self::RestoreBesideOther => {
                writers() > 0 && at_work(|name| matches!(name, JobName::Proof | JobName::Fill)) > 0
            }
            Self::WritesIntoCommitted => (1..RUNS as u8).any(|run| {
                let mut pods = world.job(JobName::Copy(run)).pods();
                let writes = pods.any(|pod| matches!(pod, Pod::Copies { .. }));
                writes && ledger.committed & (1 << run) != 0
            }),
            Self::EndsUnrecorded => {
                let restore = world.objects.restore;
                restore.ended && restore.pinned.is_some() && recorded_end(ledger).is_none()
            }
            Self::TwoOpen => {
                let runs = ledger.state.open_runs().count();
                let sweeps = usize::from(ledger.state.sweep.is_some());
                runs + sweeps + usize::from(ledger.state.restore.is_some()) > 1
            }
            Self::LedgerTorn => ledger.is_torn,
            Self::WritesBehindSuccessor => world.wrote_behind,
            Self::ActsBehindSuccessor => {
                let former = world.processes[STALE];
                former.is_followed && former.call.acts()
            }
            Self::NoWayOut => false,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CopyLost => "a run that the ledger calls restorable lacks bytes",
            Self::TwoAtWork => "of runs and sweeps, two are at work at once",
            Self::RestoreBesideOther => "a restore is at work beside a run or a sweep",
            Self::WritesIntoCommitted => "a mover writes into a run that was committed",
            Self::EndsUnrecorded => "a restore has ended, and the ledger knows nothing of it",
            Self::TwoOpen => "the ledger has two things open",
            Self::LedgerTorn => "an entry stands behind another's claim",
            Self::WritesBehindSuccessor => {
                "a leader of before has written behind the first entry of its successor"
            }
            Self::ActsBehindSuccessor => {
                "a leader of before acts in a pass that began behind the first entry of its successor"
            }
            Self::NoWayOut => "what was asked for never ends",
        })
    }
}

/// Whether all that was asked for has ended, and nothing is held. An org that another cluster holds waits for a person.
///
/// What was written and not answered is found by the next append. Where the leader wants nothing it rests without it.
pub(crate) fn is_goal(world: &World, ledgers: &Ledgers) -> bool {
    let ledger = ledgers.of(world.ledger);
    if ledger.is_ours() == Some(false) {
        return true;
    }
    let leader = &world.processes[0];
    let rests = leader.runs && leader.call == Call::None && leader.objects == world.objects;
    let is_idle = |known: &Known| known.state.is_idle();
    let known = leader.known.map(|entries| ledgers.prefix(world.ledger, entries));
    let is_quiet = |job: &Job| !job.shown().may_be_at_work() && job.pods().next().is_none();
    (is_idle(ledger) || (rests && known.is_some_and(is_idle)))
        && world.objects.snapshots & !ledger.runs == 0
        && !world.objects.restore.is_under_way()
        && world.objects.org == Org::Present
        && world.jobs.iter().all(is_quiet)
}
