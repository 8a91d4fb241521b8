//! All that can happen next in a world: a call of a process, what a watch shows, a step of a pod, a wish of a person, a fault.

use super::{
    bounds::{Bounds, Mutation, Start},
    ledgers::{Answers, Ledgers, Outcome, Who, is_open},
    pass::{Acting, Answer, STALE},
    world::{
        Call, Entry, Fault, Job, JobName, Org, Pack, Phase, Pod, Process, Purpose, Restore, Rival, World,
    },
};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A process begins a pass, by a clock that is late or not.
    BeginPass(u8, bool),
    /// A process makes its next call.
    Call(u8, Answer),
    /// The watch of Jobs catches up.
    ShowJobs(u8),
    /// The watches of OrgSnapshots, OrgRestores and TrayOrgs catch up.
    ShowObjects(u8),
    /// A process takes the org down that is being deleted.
    TakeDown(u8),
    /// A process starts and leads.
    Start,
    /// Another one leads, and the first does not notice.
    TakeOver,
    /// The one that leads no more notices.
    Notice,
    /// A process dies.
    Crash(u8),
    /// The pod of a Job starts, and reads the ledger.
    PodStarts(JobName),
    /// A writer reads the repository's index and copies this content.
    PodCopies(JobName, Which, Pack),
    /// A pruner removes what it was told, and marks what nothing refers to.
    PodMarks(JobName, Which),
    /// A pod does the rest, and ends.
    PodEnds(JobName, Which),
    /// A pod dies; its Job makes another one or not.
    PodFails {
        /// Whose.
        job: JobName,
        /// Another one comes.
        again: bool,
    },
    /// What was deleted is gone.
    JobGoes(JobName, Which),
    /// A person asks for the next snapshot.
    AskForSnapshot(u8),
    /// A person asks for a restore.
    AskForRestore,
    /// A person deletes the OrgSnapshot of a run.
    DeleteSnapshot(u8),
    /// A person deletes the OrgRestore.
    DeleteRestore,
    /// A person deletes the org.
    DeleteOrg,
    /// A person applies the org again.
    ApplyAgain,
    /// The other cluster's operator does what is next.
    Rival,
}

/// Which pod of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// That of the Job.
    OfJob,
    /// One whose Job was deleted behind its back.
    Orphan,
}

/// What an action makes of a world.
pub(crate) struct Next {
    /// The action.
    pub(crate) action: Action,
    /// The world behind it.
    pub(crate) world: World,
    /// The fault that it is.
    pub(crate) fault: Option<Fault>,
    /// Something would have begun in a ledger that is full.
    pub(crate) cut: bool,
}

/// Finds what can happen.
pub(crate) struct Actions<'a> {
    /// All ledgers.
    pub(crate) ledgers: &'a mut Ledgers,
    /// How far the search goes.
    pub(crate) bounds: &'a Bounds,
    /// What may go wrong.
    pub(crate) faults: &'a [Fault],
}

impl Actions<'_> {
    /// All that can happen in that world and changes it.
    pub(crate) fn of(&mut self, world: &World, found: &mut Vec<Next>) {
        found.clear();
        for at in 0..world.processes.len() as u8 {
            self.of_process(world, at, found);
        }
        for job in JobName::ALL {
            self.of_job(world, job, found);
        }
        self.of_people(world, found);
        self.of_rival(world, found);
        self.settle(world, found);
    }

    /// Takes out what changes nothing.
    fn settle(&self, world: &World, found: &mut Vec<Next>) {
        for next in &mut *found {
            next.fault = next.fault.filter(|fault| !self.bounds.ordinary.contains(fault));
            self.forget(&mut next.world);
        }
        found.retain(|next| next.cut || next.world != *world);
    }

    /// One step of a fair course without faults: a leader of before ends, the watches catch up, calls are answered, pods do their
    /// work, people want nothing more, and where nothing else is left a pass begins, late. None = nothing moves.
    pub(crate) fn fair(&mut self, world: &World) -> Option<Next> {
        let mut found = Vec::new();
        self.of(world, &mut found);
        let late = Action::BeginPass(0, true);
        let process = &world.processes[0];
        let begins = process.runs && process.call == Call::None;
        if begins && !found.iter().any(|next| next.action == late) {
            self.acts(world, 0, late, None, &mut found, |acting| {
                acting.begin_pass(true);
            });
            self.settle(world, &mut found);
        }
        let rank = |next: &Next| match next.action {
            Action::Notice => Some(0),
            Action::Start => Some(1),
            Action::ApplyAgain => Some(2),
            Action::PodStarts(_)
            | Action::PodCopies(..)
            | Action::PodMarks(..)
            | Action::PodEnds(..)
            | Action::JobGoes(..) => Some(3),
            Action::ShowJobs(_) | Action::ShowObjects(_) => Some(4),
            Action::Call(_, Answer::Comes) => Some(5),
            Action::TakeDown(_) => Some(6),
            Action::BeginPass(_, true) => Some(7),
            Action::Rival => Some(8),
            _ => None,
        };
        let ranked = found.into_iter().filter_map(|next| Some((rank(&next)?, next)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, next)| next)
    }

    /// What nobody will ever ask for again is not told apart.
    fn forget(&self, world: &mut World) {
        let ledger = self.ledgers.of(world.ledger);
        let processes = world.processes.iter().filter_map(|process| process.known);
        let open_for = processes.map(|entries| self.ledgers.prefix(world.ledger, entries).open_run);
        let open = open_for.chain([ledger.open_run]).flatten();
        let open = open.fold(!ledger.runs, |open, run| open | 1 << run);
        for (run, record) in world.bucket.records.iter_mut().enumerate() {
            if open & (1 << run) == 0 {
                *record = None;
            }
        }
        for job in &mut world.jobs {
            if !matches!(job.phase, Phase::Suspended | Phase::Running) && job.orphan == Pod::None {
                job.task = 0;
            }
        }
        if self.bounds.mutation != Mutation::JudgesByIndexedPods {
            for process in &mut world.processes {
                for shown in &mut process.jobs {
                    shown.pod = false;
                }
            }
        }
    }

    fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault) || self.bounds.ordinary.contains(&fault)
    }

    fn acts(
        &mut self,
        world: &World,
        at: u8,
        action: Action,
        fault: Option<Fault>,
        found: &mut Vec<Next>,
        act: impl FnOnce(&mut Acting<'_>),
    ) {
        if fault.is_some_and(|fault| !self.may(fault)) {
            return;
        }
        let mut acting = Acting {
            ledgers: self.ledgers,
            bounds: self.bounds,
            world: *world,
            at: usize::from(at),
            cut: false,
        };
        act(&mut acting);
        let (world, cut) = (acting.world, acting.cut);
        push(found, action, world, fault, cut);
    }

    fn of_process(&mut self, world: &World, at: u8, found: &mut Vec<Next>) {
        let process = world.processes[usize::from(at)];
        let is_leader = at == 0;
        if !process.runs {
            if is_leader {
                push(found, Action::Start, self.started(world), None, false);
            }
            return;
        }
        let mut gone = *world;
        gone.processes[usize::from(at)] = Process::default();
        gone.successor_wrote &= gone.processes[STALE].runs;
        if !is_leader {
            push(found, Action::Notice, gone, None, false);
        }
        if self.may(Fault::Crash) {
            push(found, Action::Crash(at), gone, Some(Fault::Crash), false);
        }
        if is_leader && !world.processes[1].runs && self.may(Fault::TakeOver) {
            let mut both = *world;
            both.processes = [Process::default(), process];
            both.successor_wrote = false;
            let both = self.started(&both);
            push(found, Action::TakeOver, both, Some(Fault::TakeOver), false);
        }
        let mut shown = *world;
        shown.processes[usize::from(at)].jobs = world.shown();
        push(found, Action::ShowJobs(at), shown, None, false);
        let mut shown = *world;
        shown.processes[usize::from(at)].objects = world.objects;
        push(found, Action::ShowObjects(at), shown, None, false);
        match process.call {
            Call::None if process.objects.org == Org::Terminating => {
                let action = Action::TakeDown(at);
                self.acts(world, at, action, None, found, |acting| {
                    acting.take_down();
                });
            }
            Call::None if is_leader || process.stale_passes < self.bounds.stale_passes => {
                // Of a leader of before it is enough that it is behind.
                for late in [false, true].into_iter().take(1 + usize::from(is_leader)) {
                    let action = Action::BeginPass(at, late);
                    let fault = late.then_some(Fault::Late);
                    self.acts(world, at, action, fault, found, |acting| {
                        acting.begin_pass(late);
                    });
                }
            }
            Call::None => {}
            call => self.calls(world, at, call, found),
        }
    }

    /// A process starts and holds the Lease: its first lists show everything as it is.
    fn started(&self, world: &World) -> World {
        let mut world = *world;
        let claimed_by = self.ledgers.of(world.ledger).claimed_by;
        let former = world.processes[STALE];
        let is_free = |name: &u8| claimed_by != Some(*name) && !(former.runs && former.name == *name);
        world.processes[0] = Process {
            runs: true,
            // Two names are taken at most.
            name: (0..=2).find(is_free).unwrap_or_default(),
            jobs: world.shown(),
            objects: world.objects,
            ..Process::default()
        };
        world
    }

    fn calls(&mut self, world: &World, at: u8, call: Call, found: &mut Vec<Next>) {
        let mut can = |answer, fault, found: &mut Vec<Next>| {
            let action = Action::Call(at, answer);
            self.acts(world, at, action, fault, found, |acting| {
                acting.carry_out(answer);
            });
        };
        can(Answer::Comes, None, found);
        match call {
            Call::Append(..) => {
                for answer in [Answer::IsLost, Answer::NothingWasDone] {
                    can(answer, Some(Fault::StoreAnswerLost), found);
                }
            }
            // Nothing comes of a question whose answer is lost.
            Call::AskLease
            | Call::ReadSnapshot { .. }
            | Call::ReadRestore { .. }
            | Call::AskWhoWorks { .. }
            | Call::AskBeforeBegin { .. }
            | Call::ReadRecords { .. } => {}
            _ => can(Answer::IsLost, Some(Fault::ApiAnswerLost), found),
        }
    }

    fn of_job(&mut self, world: &World, name: JobName, found: &mut Vec<Next>) {
        let job = world.job(name);
        if job.phase == Phase::Running && !job.deleting && job.pod == Pod::None {
            let mut next = *world;
            let reads = self.bounds.mutation != Mutation::MoverReadsNoLedger;
            let ledger = self.ledgers.of(world.ledger);
            if reads && !is_open(ledger, name, job.task, self.bounds.mutation) {
                next.job_mut(name).phase = Phase::Failed;
            } else {
                next.job_mut(name).pod = Pod::Works;
            }
            push(found, Action::PodStarts(name), next, None, false);
        }
        if job.pod != Pod::None && self.may(Fault::PodFails) {
            for again in [false, true] {
                let mut next = *world;
                let job = next.job_mut(name);
                job.pod = Pod::None;
                if !again {
                    job.phase = Phase::Failed;
                }
                let action = Action::PodFails { job: name, again };
                push(found, action, next, Some(Fault::PodFails), false);
            }
        }
        for which in [Which::OfJob, Which::Orphan] {
            self.of_pod(world, name, which, found);
        }
        if job.deleting {
            let mut next = *world;
            *next.job_mut(name) = Job {
                uid: job.uid,
                orphan: job.orphan,
                ..Job::default()
            };
            push(found, Action::JobGoes(name, Which::OfJob), next, None, false);
        }
        if job.orphan != Pod::None {
            let mut next = *world;
            next.job_mut(name).orphan = Pod::None;
            push(found, Action::JobGoes(name, Which::Orphan), next, None, false);
        }
    }

    fn of_pod(&self, world: &World, name: JobName, which: Which, found: &mut Vec<Next>) {
        let job = world.job(name);
        let pod = match which {
            Which::OfJob => job.pod,
            Which::Orphan => job.orphan,
        };
        match (name, pod) {
            (_, Pod::None) => {}
            (JobName::Copy(_), Pod::Works) => {
                for content in Pack::ALL {
                    let mut next = *world;
                    let there = world.bucket.packs & !world.bucket.marked;
                    let reuses = there & content.bit() != 0;
                    *pod_mut(&mut next, name, which) = Pod::Copies { content, reuses };
                    push(found, Action::PodCopies(name, which, content), next, None, false);
                }
            }
            (JobName::Prune(_), Pod::Works) => {
                let mut next = *world;
                let packs = mark(&mut next, job.task);
                *pod_mut(&mut next, name, which) = Pod::Frees { packs };
                push(found, Action::PodMarks(name, which), next, None, false);
            }
            (_, pod) => {
                let mut next = *world;
                let succeeds = self.finish(&mut next, name, pod, job.task);
                *pod_mut(&mut next, name, which) = Pod::None;
                if which == Which::OfJob {
                    next.job_mut(name).phase = if succeeds { Phase::Succeeded } else { Phase::Failed };
                }
                push(found, Action::PodEnds(name, which), next, None, false);
            }
        }
    }

    /// The last act of a mover; whether it ends well.
    fn finish(&self, world: &mut World, name: JobName, pod: Pod, task: u8) -> bool {
        let bucket = &mut world.bucket;
        match (name, pod) {
            (JobName::Copy(run), Pod::Copies { content, reuses }) => {
                if !reuses {
                    // A pack of its own: what was marked is another one.
                    bucket.packs |= content.bit();
                    bucket.marked &= !content.bit();
                }
                bucket.snapshots[usize::from(run)] |= content.bit();
                bucket.records[usize::from(run)] = Some(content);
                true
            }
            (JobName::Prune(_), Pod::Frees { packs }) => {
                bucket.packs &= !(packs & bucket.marked);
                bucket.marked &= bucket.packs;
                true
            }
            _ => {
                let needs = self.ledgers.of(world.ledger).needs[usize::from(task)];
                needs.is_some_and(|pack| bucket.packs & pack.bit() != 0)
            }
        }
    }

    fn of_people(&self, world: &World, found: &mut Vec<Next>) {
        let first = self.bounds.start.first_run();
        let run = first + world.asked.count_ones() as u8;
        if run < first + self.bounds.snapshots {
            let mut next = *world;
            next.asked |= 1 << run;
            next.objects.snapshots |= 1 << run;
            push(found, Action::AskForSnapshot(run), next, None, false);
        }
        if self.bounds.restore && !world.restore_asked {
            let mut next = *world;
            next.restore_asked = true;
            next.objects.restore = Restore {
                present: true,
                ..Restore::default()
            };
            push(found, Action::AskForRestore, next, None, false);
        }
        if self.may(Fault::ObjectDeleted) {
            for run in first..first + self.bounds.snapshots {
                if world.objects.snapshots & (1 << run) != 0 {
                    let mut next = *world;
                    next.objects.snapshots &= !(1 << run);
                    let fault = Some(Fault::ObjectDeleted);
                    push(found, Action::DeleteSnapshot(run), next, fault, false);
                }
            }
            if world.objects.restore.present {
                let mut next = *world;
                next.objects.restore = Restore::default();
                push(
                    found,
                    Action::DeleteRestore,
                    next,
                    Some(Fault::ObjectDeleted),
                    false,
                );
            }
        }
        if world.objects.org == Org::Present && self.may(Fault::OrgDeleted) {
            let mut next = *world;
            next.objects.org = Org::Terminating;
            push(found, Action::DeleteOrg, next, Some(Fault::OrgDeleted), false);
        }
        if world.objects.org == Org::Gone {
            let mut next = *world;
            next.objects.org = Org::Present;
            push(found, Action::ApplyAgain, next, None, false);
        }
    }

    /// The other cluster reads, claims, and begins a run, where the ledger lets it.
    fn of_rival(&mut self, world: &World, found: &mut Vec<Next>) {
        if self.bounds.start != Start::Empty {
            return;
        }
        let ledger = self.ledgers.of(world.ledger);
        let mut next = *world;
        let (known, entry) = match world.rival {
            Rival::IsDone => return,
            Rival::Waits => {
                next.rival = Rival::HasRead(ledger.len());
                return push(found, Action::Rival, next, None, false);
            }
            Rival::HasRead(known) => (known, Entry::Claim),
            Rival::Holds(known) => (
                known,
                Entry::RunPlanned {
                    run: 2,
                    next_seq: known,
                },
            ),
        };
        let from = (world.ledger, known);
        let appended = self.ledgers.append(from, Who::Rival, entry, Answers::All);
        next.ledger = appended.ledger;
        next.rival = if entry == Entry::Claim && appended.outcome != Outcome::ClaimLost {
            Rival::Holds(appended.known)
        } else {
            Rival::IsDone
        };
        push(found, Action::Rival, next, None, false);
    }
}

fn push(found: &mut Vec<Next>, action: Action, world: World, fault: Option<Fault>, cut: bool) {
    found.push(Next {
        action,
        world,
        fault,
        cut,
    });
}

fn pod_mut(world: &mut World, name: JobName, which: Which) -> &mut Pod {
    let job = world.job_mut(name);
    match which {
        Which::OfJob => &mut job.pod,
        Which::Orphan => &mut job.orphan,
    }
}

/// What a pruner does first: the snapshots of the runs that it was told go, what is needed again is taken back, and what nothing
/// refers to is marked. Returns what it frees.
fn mark(world: &mut World, remove: u8) -> u8 {
    let bucket = &mut world.bucket;
    let mut needed = 0;
    for (run, packs) in bucket.snapshots.iter_mut().enumerate() {
        if remove & (1 << run) != 0 {
            *packs = 0;
        }
        needed |= *packs;
    }
    bucket.marked = bucket.packs & !needed;
    bucket.marked
}

impl Action {
    /// What happens, in words.
    pub(crate) fn words(self, before: &World) -> String {
        let process = |at: u8| match (at, before.processes[1].runs) {
            (0, false) => "the operator",
            (0, true) => "the new leader",
            _ => "the leader of before",
        };
        match self {
            Self::BeginPass(at, false) => format!("{} begins a pass", process(at)),
            Self::BeginPass(at, true) => format!("{} begins a pass a day and an hour later", process(at)),
            Self::Call(at, answer) => {
                let how = match answer {
                    Answer::Comes => "",
                    Answer::IsLost => "; it is done, and the answer is lost",
                    Answer::NothingWasDone => "; S3 does not answer, and nothing was done",
                };
                format!(
                    "{} {}{how}",
                    process(at),
                    words_of(before.processes[usize::from(at)].call)
                )
            }
            Self::ShowJobs(at) => format!("its watch shows {} the Jobs as they are", process(at)),
            Self::ShowObjects(at) => {
                format!(
                    "its watches show {} what people have made and deleted",
                    process(at)
                )
            }
            Self::TakeDown(at) => format!("{} takes the org down that is being deleted", process(at)),
            Self::Start => "an operator starts and holds the Lease".to_owned(),
            Self::TakeOver => {
                "another operator holds the Lease, and the one before does not notice".to_owned()
            }
            Self::Notice => "the leader of before notices that it leads no more, and ends".to_owned(),
            Self::Crash(at) => format!("{} dies", process(at)),
            Self::PodStarts(job) => format!("a pod of {} starts and reads the ledger", name_of(job)),
            Self::PodCopies(job, which, pack) => format!(
                "{} of {} reads the repository's index and copies content {pack:?}",
                pod_of(which),
                name_of(job)
            ),
            Self::PodMarks(job, which) => format!(
                "{} of {} removes the snapshots that it was told and marks what nothing needs",
                pod_of(which),
                name_of(job)
            ),
            Self::PodEnds(job, which) => {
                format!("{} of {} does the rest and ends", pod_of(which), name_of(job))
            }
            Self::PodFails { job, again } => {
                let then = if again {
                    "another one comes"
                } else {
                    "its Job has failed"
                };
                format!("the pod of {} dies; {then}", name_of(job))
            }
            Self::JobGoes(job, Which::OfJob) => format!("{}, which was deleted, is gone", name_of(job)),
            Self::JobGoes(job, Which::Orphan) => format!("the pod that {} has left is gone", name_of(job)),
            Self::AskForSnapshot(run) => format!("a person asks for snapshot {run}"),
            Self::AskForRestore => "a person asks for a restore".to_owned(),
            Self::DeleteSnapshot(run) => format!("a person deletes OrgSnapshot {run}"),
            Self::DeleteRestore => "a person deletes the OrgRestore".to_owned(),
            Self::DeleteOrg => "a person deletes the org".to_owned(),
            Self::ApplyAgain => "a person applies the org again".to_owned(),
            Self::Rival => match before.rival {
                Rival::Waits => "the other cluster's operator reads the ledger".to_owned(),
                Rival::HasRead(_) => "the other cluster's operator claims the ledger".to_owned(),
                _ => "the other cluster's operator plans a run".to_owned(),
            },
        }
    }
}

fn pod_of(which: Which) -> &'static str {
    match which {
        Which::OfJob => "the pod",
        Which::Orphan => "the pod that outlives its Job",
    }
}

fn name_of(job: JobName) -> String {
    match job {
        JobName::Copy(run) => format!("the mover of run {run}"),
        JobName::Proof => "the proof of the restore".to_owned(),
        JobName::Fill => "the mover of the restore".to_owned(),
        JobName::Prune(sweep) => format!("the pruner of sweep {sweep}"),
    }
}

fn place_of(in_system: bool) -> &'static str {
    if in_system {
        "tray-system"
    } else {
        "the org's namespace"
    }
}

fn purpose_of(purpose: Purpose) -> String {
    match purpose {
        Purpose::BeginRun(run) => format!("begin run {run}"),
        Purpose::BeginSweep => "begin a sweep".to_owned(),
        Purpose::Resolve(run) => format!("restore run {run}"),
        Purpose::DriveRestore => "go on with the restore".to_owned(),
        Purpose::BeginLate(run) => format!("begin the restore of run {run}, which is under way"),
        Purpose::StartSweep { sweep, .. } => format!("start the pruner of sweep {sweep}"),
        Purpose::WatchSweep => "look at the sweep".to_owned(),
        Purpose::EndSweep { sweep, .. } => format!("end sweep {sweep}"),
    }
}

fn words_of(call: Call) -> String {
    match call {
        Call::None => "does nothing".to_owned(),
        Call::AskLease => "asks the API server who holds the Lease".to_owned(),
        Call::ReadSnapshot { run } => format!("asks the API server for OrgSnapshot {run}"),
        Call::ReadRestore { run } => format!("asks the API server for the OrgRestore of run {run}"),
        Call::Lock(purpose) => format!("takes the lock to {}", purpose_of(purpose)),
        Call::AskWhoWorks {
            holder, in_system, ..
        } => format!(
            "finds the lock with {holder:?} and asks for movers in {}",
            place_of(in_system)
        ),
        Call::TakeOver { purpose, holder } => {
            format!("takes the lock over from {holder:?} to {}", purpose_of(purpose))
        }
        Call::AskBeforeBegin {
            purpose, in_system, ..
        } => format!(
            "asks for movers in {} to {}",
            place_of(in_system),
            purpose_of(purpose)
        ),
        Call::Append(entry, _) => format!("writes {entry:?}, if the ledger still asks for it"),
        Call::Create { job, .. } => format!("makes {}, suspended", name_of(job)),
        Call::Resume { job, .. } => format!("resumes {}", name_of(job)),
        Call::Remove(doomed, _) => {
            let first = JobName::ALL[doomed.jobs.trailing_zeros() as usize];
            format!("deletes {}", name_of(first))
        }
        Call::ReadRecords { run, .. } => format!("reads the part records of run {run}"),
        Call::WriteStatus(status, _) => {
            let what = if status.ended {
                "has ended".to_owned()
            } else if status.proven {
                "is proven".to_owned()
            } else {
                format!("restores run {}", status.pinned.unwrap_or_default())
            };
            format!("writes into the status of the OrgRestore that it {what}")
        }
        Call::Unlock(holder, _) => format!("gives the lock of {holder:?} back"),
    }
}
