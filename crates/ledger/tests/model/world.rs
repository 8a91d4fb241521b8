//! What the model is in: the bucket, the cluster, and what each process of the operator knows of both. Small, so that millions
//! fit into memory.

use super::ledgers::LedgerId;

/// Runs of a search: the one that is there at the start, and those that are asked for.
pub(crate) const RUNS: usize = 3;
/// Sweeps of a search.
pub(crate) const SWEEPS: usize = 2;
/// UIDs of a Job's name that are told apart.
pub(crate) const UIDS: u8 = 4;
/// Jobs, each a name: one a run that is asked for, two of the restore, one a sweep.
pub(crate) const JOBS: usize = RUNS - 1 + 2 + SWEEPS;

/// A Job by its name. It stands for the movers of all parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JobName {
    /// Of a run.
    Copy(u8),
    /// Of the restore: proves that the copy can come back.
    Proof,
    /// Of the restore: gives it back.
    Fill,
    /// Of a sweep.
    Prune(u8),
}

impl JobName {
    /// All of them, in the order of [`World::jobs`].
    pub(crate) const ALL: [Self; JOBS] = [
        Self::Copy(1),
        Self::Copy(2),
        Self::Proof,
        Self::Fill,
        Self::Prune(0),
        Self::Prune(1),
    ];

    /// Its place in [`World::jobs`].
    pub(crate) fn place(self) -> usize {
        match self {
            Self::Copy(run) => usize::from(run) - 1,
            Self::Proof => RUNS - 1,
            Self::Fill => RUNS,
            Self::Prune(sweep) => RUNS + 1 + usize::from(sweep),
        }
    }

    /// Its bit in a set of Jobs.
    pub(crate) fn bit(self) -> u8 {
        1 << self.place()
    }

    /// Whether it lies in the operator's namespace, and not in the org's.
    pub(crate) fn is_in_system(self) -> bool {
        matches!(self, Self::Prune(_))
    }
}

/// How far a Job is, as the API server has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// There is none of that name.
    #[default]
    Absent,
    /// Made, and not resumed.
    Suspended,
    /// Resumed; its pod may be there or not.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
}

/// A Job as a list or a watch shows it, with whether a pod of it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    /// How far it is.
    pub(crate) phase: Phase,
    /// It is on its way out, and stays until its pod is gone.
    pub(crate) deleting: bool,
    /// A pod of it lives.
    pub(crate) pod: bool,
    /// Its UID.
    pub(crate) uid: u8,
}

impl Shown {
    /// As `JobFact::may_be_at_work` of the operator.
    pub(crate) fn may_be_at_work(self) -> bool {
        self.deleting || matches!(self.phase, Phase::Suspended | Phase::Running)
    }
}

/// How far the pod of a mover is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Pod {
    /// There is none.
    #[default]
    None,
    /// It has read the ledger, and works.
    Works,
    /// A writer has read the index of the repository and copies this content, which it found there or not.
    Copies {
        /// What is on the volume.
        content: Pack,
        /// The repository had it already: only the snapshot is written.
        reuses: bool,
    },
    /// A pruner has removed what it was told and marked these packs.
    Frees {
        /// A set of packs.
        packs: u8,
    },
}

/// A Job, and its pod, which may outlive it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    /// How far it is.
    pub(crate) phase: Phase,
    /// It is on its way out.
    pub(crate) deleting: bool,
    /// Its pod.
    pub(crate) pod: Pod,
    /// Tells it from those of the same name before it: it is counted, from [`UIDS`] on anew.
    pub(crate) uid: u8,
    /// The pod of one of the same name that was deleted behind its back.
    pub(crate) orphan: Pod,
    /// What its task names: the runs whose data a pruner removes (a set), or the run that is restored.
    pub(crate) task: u8,
}

impl Job {
    /// The pods of that name that live.
    pub(crate) fn pods(self) -> impl Iterator<Item = Pod> {
        [self.pod, self.orphan]
            .into_iter()
            .filter(|pod| *pod != Pod::None)
    }

    /// What a list shows of it.
    pub(crate) fn shown(self) -> Shown {
        Shown {
            phase: self.phase,
            deleting: self.deleting,
            pod: self.pod != Pod::None,
            uid: if self.phase == Phase::Absent { 0 } else { self.uid },
        }
    }
}

/// A pack of the volume's repository: all that one content of the volume needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pack {
    /// The content of the first run.
    X,
    /// Another content.
    Y,
}

impl Pack {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::X, Self::Y];

    /// Its bit in a set of packs.
    pub(crate) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The bucket, without its ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    /// Packs that are there.
    pub(crate) packs: u8,
    /// Those of them that are marked.
    pub(crate) marked: u8,
    /// Snapshots in the repository: of each run, the packs that they need.
    pub(crate) snapshots: [u8; RUNS],
    /// The newest part record of each run: the pack that it needs.
    pub(crate) records: [Option<Pack>; RUNS],
}

/// Who holds the org's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Nobody.
    #[default]
    Nobody,
    /// `OrgSnapshot/…` of that run.
    Snapshot(u8),
    /// `OrgRestore/…`.
    Restore,
    /// `Prune/…`.
    Prune,
}

/// The OrgRestore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Restore {
    /// It is there.
    pub(crate) present: bool,
    /// The run in its status.
    pub(crate) pinned: Option<u8>,
    /// Its status says that all can come back.
    pub(crate) proven: bool,
    /// Its status says that it has ended.
    pub(crate) ended: bool,
}

impl Restore {
    /// Whether it waits for its end.
    pub(crate) fn is_under_way(self) -> bool {
        self.present && !self.ended
    }
}

/// The TrayOrg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Org {
    /// It is there.
    #[default]
    Present,
    /// A person has deleted it; the finalizer holds it.
    Terminating,
    /// It is gone.
    Gone,
}

/// The objects that people make, as the API server or a watch has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Objects {
    /// The TrayOrg.
    pub(crate) org: Org,
    /// OrgSnapshots that are there: a set of runs.
    pub(crate) snapshots: u8,
    /// The OrgRestore.
    pub(crate) restore: Restore,
}

/// What a lock is taken for, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// To begin a run.
    BeginRun(u8),
    /// To begin a sweep.
    BeginSweep,
    /// To begin the restore and pin its run.
    Resolve(u8),
    /// To do what is next for the restore.
    DriveRestore,
    /// To begin the restore of this run, which is pinned, and of which the ledger as it is known has no begin.
    BeginLate(u8),
    /// To start the mover of a sweep, with what it removes.
    StartSweep {
        /// Which sweep.
        sweep: u8,
        /// A set of runs.
        remove: u8,
    },
    /// To look at a sweep whose mover runs.
    WatchSweep,
    /// To write the end of a sweep whose mover has ended.
    EndSweep {
        /// Which sweep.
        sweep: u8,
        /// Badly.
        failed: bool,
        /// The Jobs to remove.
        jobs: Doomed,
    },
}

impl Purpose {
    /// In whose name.
    pub(crate) fn holder(self) -> Holder {
        match self {
            Self::BeginRun(run) => Holder::Snapshot(run),
            Self::Resolve(_) | Self::DriveRestore | Self::BeginLate(_) => Holder::Restore,
            Self::BeginSweep | Self::StartSweep { .. } | Self::WatchSweep | Self::EndSweep { .. } => {
                Holder::Prune
            }
        }
    }
}

/// Jobs that a process has decided to remove, as it saw them then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Doomed {
    /// A set of Jobs.
    pub(crate) jobs: u8,
    /// Those that had not ended: they go in the foreground.
    pub(crate) foreground: u8,
    /// Their UIDs.
    pub(crate) uids: [u8; JOBS],
}

/// What is appended to the ledger, where the state still asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    /// The claim of the process that writes it.
    Claim,
    /// The begin of a run, decided when the next entry was this one.
    RunPlanned {
        /// Which run.
        run: u8,
        /// The sequence number.
        next_seq: u8,
    },
    /// The begin of a sweep.
    SweepPlanned {
        /// The sequence number.
        next_seq: u8,
    },
    /// The good end of a run.
    RunCommitted {
        /// Which run.
        run: u8,
        /// What its record names.
        pack: Pack,
    },
    /// The bad end of a run.
    RunAborted {
        /// Which run.
        run: u8,
    },
    /// Retention lets a run go.
    Pruned {
        /// Which run.
        run: u8,
    },
    /// The end of a sweep.
    SweepEnded {
        /// Which sweep.
        sweep: u8,
        /// Badly.
        failed: bool,
    },
    /// The begin of the restore, decided when the next entry was this one.
    RestorePlanned {
        /// Of which run.
        run: u8,
        /// The sequence number.
        next_seq: u8,
    },
    /// The restore is filled.
    Filled {
        /// From which run.
        run: u8,
    },
    /// The restore has ended.
    Restored {
        /// Of which run.
        run: u8,
        /// Well.
        succeeded: bool,
    },
}

/// What follows a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// The pass ends.
    PassEnds,
    /// The pass observes again.
    PassGoesOn,
    /// The end of a run that is aborted, then its Jobs once more.
    Abort {
        /// Which run.
        run: u8,
        /// Its Jobs.
        jobs: Doomed,
    },
    /// What is left of a run that has ended.
    CleanUpRun {
        /// Which run.
        run: u8,
        /// Its Jobs.
        jobs: Doomed,
    },
    /// The lock of a run that has ended.
    UnlockRun(u8),
    /// The end of a sweep that is given up.
    GiveUpSweep {
        /// Which sweep.
        sweep: u8,
        /// The pass goes on.
        goes_on: bool,
    },
    /// What is left of a sweep that has ended.
    CleanUpSweep {
        /// Its Jobs.
        jobs: Doomed,
        /// The pass goes on.
        goes_on: bool,
    },
    /// The lock of a sweep that has ended.
    UnlockSweep {
        /// The pass goes on.
        goes_on: bool,
    },
    /// The run of the restore is pinned in its status.
    Pin(u8),
    /// The status of the restore says that it has ended.
    EndRestore,
    /// The Jobs of a restore that has ended.
    CleanUpRestore {
        /// The pass goes on.
        goes_on: bool,
    },
    /// The lock of a restore that has ended.
    UnlockRestore {
        /// The pass goes on.
        goes_on: bool,
    },
}

/// The next call of a process to the API server or to S3, with what it was decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// None: it is between two passes.
    #[default]
    None,
    /// Asks who holds the Lease, to claim the ledger: the pass goes on behind that.
    AskLease,
    /// Reads the OrgSnapshot of the open run, which the index does not have.
    ReadSnapshot {
        /// Of which run.
        run: u8,
    },
    /// Asks whether the OrgRestore of the open restore is there, which the index does not have as open.
    ReadRestore {
        /// Of which run.
        run: u8,
    },
    /// Takes the lock.
    Lock(Purpose),
    /// Asks for movers in a namespace, since somebody else has the lock.
    AskWhoWorks {
        /// What it is wanted for.
        purpose: Purpose,
        /// Who has it.
        holder: Holder,
        /// In the operator's namespace, after the org's.
        in_system: bool,
    },
    /// Takes the lock over.
    TakeOver {
        /// What for.
        purpose: Purpose,
        /// From whom.
        holder: Holder,
    },
    /// Asks for movers in a namespace, before something begins.
    AskBeforeBegin {
        /// What begins.
        purpose: Purpose,
        /// The next entry, when that was decided.
        next_seq: u8,
        /// In the operator's namespace, after the org's.
        in_system: bool,
    },
    /// Appends to the ledger.
    Append(Entry, Then),
    /// Makes a Job.
    Create {
        /// Which.
        job: JobName,
        /// What its task names.
        task: u8,
    },
    /// Writes the task of a Job and resumes it.
    Resume {
        /// Which.
        job: JobName,
        /// What its task names.
        task: u8,
        /// The one that was made or found.
        uid: u8,
    },
    /// Removes Jobs, one a call.
    Remove(Doomed, Then),
    /// Reads the part records of a run.
    ReadRecords {
        /// Of which run.
        run: u8,
        /// Its Jobs.
        jobs: Doomed,
    },
    /// Writes the status of the restore.
    WriteStatus(Restore, Then),
    /// Gives the lock back.
    Unlock(Holder, Then),
}

impl Call {
    /// Whether it changes anything but the ledger.
    pub(crate) fn acts(self) -> bool {
        match self {
            Self::Lock(_)
            | Self::TakeOver { .. }
            | Self::Create { .. }
            | Self::Resume { .. }
            | Self::Remove(..)
            | Self::WriteStatus(..)
            | Self::Unlock(..) => true,
            Self::None
            | Self::AskLease
            | Self::ReadSnapshot { .. }
            | Self::ReadRestore { .. }
            | Self::AskWhoWorks { .. }
            | Self::AskBeforeBegin { .. }
            | Self::Append(..)
            | Self::ReadRecords { .. } => false,
        }
    }
}

/// How far a pass is with what it does once; as `backup_pass::Done`, which has no hash.
pub(crate) type Progress = u8;

/// A process of the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// It runs, and takes itself for the leader.
    pub(crate) runs: bool,
    /// What it calls itself in claims: no other one that runs, and not the one that has made the newest claim, is called so.
    pub(crate) name: u8,
    /// So many entries of the ledger it has read; none = it has not opened the ledger.
    pub(crate) known: Option<u8>,
    /// What its pass does next.
    pub(crate) call: Call,
    /// How far its pass is.
    pub(crate) done: Progress,
    /// The OrgRestore as its pass has found it.
    pub(crate) restore: Restore,
    /// By the clock of its pass everything that is open is late, and everything that waits for its time is due.
    pub(crate) late: bool,
    /// Passes that it has begun since another one leads.
    pub(crate) stale_passes: u8,
    /// Its pass began when the one that leads had written already.
    pub(crate) is_followed: bool,
    /// Its index of Jobs.
    pub(crate) jobs: [Shown; JOBS],
    /// Its index of the objects that people make.
    pub(crate) objects: Objects,
}

/// The operator of another cluster, over the same bucket. What it does in its own cluster is not seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Rival {
    /// It has done nothing yet.
    #[default]
    Waits,
    /// It has read so many entries.
    HasRead(u8),
    /// It holds the claim, knows so many entries, and wants to begin a run.
    Holds(u8),
    /// It has written what it wanted, or was refused.
    IsDone,
}

/// What goes wrong, or comes at a bad time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process dies.
    Crash,
    /// A call to the API server was carried out, and its answer is lost.
    ApiAnswerLost,
    /// S3 does not answer while an entry is written; it was written or not.
    StoreAnswerLost,
    /// A pod dies before it is done.
    PodFails,
    /// Another process takes itself for the leader, and the first one goes on.
    TakeOver,
    /// A pass begins when everything that is open is late, and everything that waits for its time is due.
    Late,
    /// A person deletes an OrgSnapshot or the OrgRestore.
    ObjectDeleted,
    /// A person deletes the org.
    OrgDeleted,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Crash,
        Self::ApiAnswerLost,
        Self::StoreAnswerLost,
        Self::PodFails,
        Self::TakeOver,
        Self::Late,
        Self::ObjectDeleted,
        Self::OrgDeleted,
    ];
}

/// One state of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The ledger in the bucket.
    pub(crate) ledger: LedgerId,
    /// The rest of the bucket.
    pub(crate) bucket: Bucket,
    /// Who has the org's lock.
    pub(crate) lock: Holder,
    /// The Jobs, by [`JobName::place`].
    pub(crate) jobs: [Job; JOBS],
    /// What people made.
    pub(crate) objects: Objects,
    /// OrgSnapshots that were ever made: a set of runs.
    pub(crate) asked: u8,
    /// The OrgRestore was made.
    pub(crate) restore_asked: bool,
    /// The leader, which holds the Lease, and one that was the leader and has not noticed.
    pub(crate) processes: [Process; 2],
    /// The leader has written, and the one before it is still there.
    pub(crate) successor_wrote: bool,
    /// The one before has written behind that.
    pub(crate) wrote_behind: bool,
    /// The other cluster.
    pub(crate) rival: Rival,
}

impl World {
    /// The Job of that name.
    pub(crate) fn job(&self, name: JobName) -> Job {
        self.jobs[name.place()]
    }

    /// The same, to change.
    pub(crate) fn job_mut(&mut self, name: JobName) -> &mut Job {
        &mut self.jobs[name.place()]
    }

    /// All Jobs, as a list shows them.
    pub(crate) fn shown(&self) -> [Shown; JOBS] {
        self.jobs.map(Job::shown)
    }
}
