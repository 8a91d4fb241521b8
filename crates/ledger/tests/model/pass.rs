//! A pass of the controller of backups, call by call: what `src/controllers/backup` does between two requests, with the domain's
//! decisions. Each function says which file it stands for.

use jiff::Timestamp;
use tray_domain::{
    backup_pass::{Done, PassFacts, PassWork, RestoreFacts, next_work},
    claim_holders::Holders,
    exclusion::{Beginning, Seen, begin, take_over},
    restore_run::{self, MoverFailure, MoverProgress, RestoreObserved, RestorePartProgress, RestoreStep},
    schedule::Due,
    snapshot_run::{self, RunObserved, RunPartProgress, RunStep, RunSurroundings, fault, request_fault},
    sweep::{self, SweepMover, SweepObserved, SweepStep, Waiting},
};

use super::{
    bounds::{Bounds, Mutation},
    ledgers::{Answers, Cluster, Known, Ledgers, Outcome, is_filled, present_volumes, recorded_end, run_id},
    world::{
        Call, Doomed, Entry, Holder, Job, JobName, Org, Phase, Pod, Process, Purpose, RUNS, Restore, SWEEPS,
        Shown, Then, UIDS, World,
    },
};

/// How the API server and S3 answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// In time.
    Comes,
    /// The call is carried out, and its answer is lost.
    IsLost,
    /// S3 was not reached.
    NothingWasDone,
}

/// One process that does one call in a world.
pub(crate) struct Acting<'a> {
    /// All ledgers.
    pub(crate) ledgers: &'a mut Ledgers,
    /// How far the search goes.
    pub(crate) bounds: &'a Bounds,
    /// The world, which it changes.
    pub(crate) world: World,
    /// Which process.
    pub(crate) at: usize,
    /// Something would have begun in a ledger that is full: the pass ends instead, as if S3 did not answer.
    pub(crate) cut: bool,
}

/// The place of the process that leads no more and has not noticed.
pub(crate) const STALE: usize = 1;

const DONE: [Done; 4] = [
    Done::Nothing,
    Done::LeftoversRemoved,
    Done::SnapshotMade,
    Done::RunsPruned,
];

impl Acting<'_> {
    fn process(&self) -> &Process {
        &self.world.processes[self.at]
    }
    fn process_mut(&mut self) -> &mut Process {
        &mut self.world.processes[self.at]
    }
    fn known(&self) -> &Known {
        let entries = self.process().known.unwrap_or_default();
        self.ledgers.prefix(self.world.ledger, entries)
    }
    fn now(&self) -> Timestamp {
        self.ledgers.now(self.world.ledger, self.process().late)
    }
    fn shown(&self, job: JobName) -> Shown {
        self.process().jobs[job.place()]
    }

    /// `mod.rs`: a pass begins, if the org is there. The first one of a process reads the ledger, and claims it where nobody has.
    pub(crate) fn begin_pass(&mut self, late: bool) {
        if self.process().objects.org != Org::Present {
            return;
        }
        self.process_mut().late = late;
        self.process_mut().restore = self.process().objects.restore;
        if self.at == STALE {
            self.process_mut().stale_passes += 1;
        }
        let mut has_read = self.bounds.mutation == Mutation::DecidesOnWhatItKnows;
        if self.process().known.is_none() {
            self.read_on();
            has_read = true;
        }
        match self.known().is_ours() {
            None => self.calls(Call::Append(Entry::Claim, Then::PassGoesOn)),
            Some(true) => self.observe(has_read),
            Some(false) => self.pass_ends(),
        }
    }

    fn read_on(&mut self) {
        let entries = self.ledgers.of(self.world.ledger).len();
        self.process_mut().known = Some(entries);
    }

    fn pass_ends(&mut self) {
        let process = self.process_mut();
        process.call = Call::None;
        process.done = 0;
        process.late = false;
        process.restore = Restore::default();
    }

    /// The next request; where there is nothing to remove there is none.
    fn calls(&mut self, call: Call) {
        match call {
            Call::Remove(Doomed { jobs: 0, .. }, then) => self.follow(then),
            call => self.process_mut().call = call,
        }
    }

    /// `work.rs`, `advance`: observes and decides until there is a request to make, or the pass ends. Before the first one it reads
    /// on in the ledger, and decides anew.
    fn observe(&mut self, mut has_read: bool) {
        loop {
            let decided = self.decide();
            let done = self.process().done;
            match decided {
                Decided::Calls(_) if !has_read => {
                    has_read = true;
                    self.read_on();
                    if self.known().is_ours() == Some(false) {
                        return self.pass_ends();
                    }
                }
                Decided::Calls(call) => return self.calls(call),
                Decided::Ends => return self.pass_ends(),
                Decided::Observes(next) => {
                    assert!(next as u8 > done, "a pass that goes round");
                    self.process_mut().done = next as u8;
                }
            }
        }
    }

    fn facts(&self, name: Option<&'static str>) -> PassFacts<'static> {
        let (process, known) = (self.process(), self.known());
        let restore = process.restore;
        PassFacts {
            restore: restore.is_under_way().then(|| RestoreFacts {
                has_begun: restore.pinned.is_some() || known.open_restore.is_some(),
                means_run: restore.pinned.is_some()
                    || known.open_restore.is_some()
                    || known.restorable.is_some(),
            }),
            has_gone_restore: known.open_restore.is_some() && !restore.is_under_way(),
            has_open_run: known.open_run.is_some(),
            has_open_sweep: known.open_sweep.is_some(),
            losses: &[],
            elsewhere: None,
            waiting: name,
            due: Due::Never,
            sweep_due_at: sweep::due_at(&known.state),
        }
    }

    fn decide(&mut self) -> Decided {
        let waiting = self.waiting();
        let facts = self.facts(waiting.map(|_| "snapshot"));
        let done = DONE[usize::from(self.process().done)];
        let work = next_work(&facts, done, self.now());
        let after = done.after(&work);
        match work {
            PassWork::RefuseRestore => self.end_restore(None, false),
            PassWork::DriveRun => self.drive_run(None),
            PassWork::RemoveLeftovers => self.remove_leftovers(after),
            PassWork::EndGoneRestore => match self.known().open_restore {
                Some(run) => Decided::Calls(Call::ReadRestore { run }),
                None => Decided::Ends,
            },
            PassWork::GiveWay => self.drive_sweep(Some(Waiting::Restore), true),
            PassWork::DriveRestore => self.drive_restore(),
            PassWork::DriveSweep => self.drive_sweep(facts.waits(), false),
            PassWork::BeginRun(_) => {
                let run = waiting.unwrap_or_default();
                Decided::Calls(Call::Lock(Purpose::BeginRun(run)))
            }
            PassWork::PruneRuns => self.retain(after),
            PassWork::BeginSweep => Decided::Calls(Call::Lock(Purpose::BeginSweep)),
            PassWork::Rest(_) => Decided::Ends,
            PassWork::HoldForLoss(_) | PassWork::HoldElsewhere(_) | PassWork::MakeSnapshot { .. } => {
                unreachable!("{work:?} is not modelled")
            }
        }
    }

    /// `work.rs`, `pending`: the oldest OrgSnapshot whose run is not in the ledger.
    fn waiting(&self) -> Option<u8> {
        let wanted = self.process().objects.snapshots & !self.known().runs;
        (0..RUNS as u8).find(|run| wanted & (1 << run) != 0)
    }

    /// The Jobs of the index among these, as somebody removes them.
    fn doomed(&self, which: impl Fn(JobName, Shown) -> bool) -> Doomed {
        let mut doomed = Doomed::default();
        for job in JobName::ALL {
            let shown = self.shown(job);
            if shown.phase == Phase::Absent || !which(job, shown) {
                continue;
            }
            doomed.jobs |= job.bit();
            doomed.uids[job.place()] = shown.uid;
            if matches!(shown.phase, Phase::Suspended | Phase::Running) {
                doomed.foreground |= job.bit();
            }
        }
        doomed
    }

    /// `work.rs`, `remove_leftovers`.
    fn remove_leftovers(&self, after: Done) -> Decided {
        let open = self.known().open_sweep;
        let restores = self.process().restore.is_under_way();
        let doomed = self.doomed(|job, shown| {
            let is_wanted = match job {
                JobName::Copy(_) => false,
                JobName::Proof | JobName::Fill => restores,
                JobName::Prune(sweep) => open == Some(sweep),
            };
            !is_wanted && !shown.deleting
        });
        if doomed.jobs == 0 {
            return Decided::Observes(after);
        }
        Decided::Calls(Call::Remove(doomed, Then::PassGoesOn))
    }

    /// `prune.rs`, `retain`.
    fn retain(&mut self, after: Done) -> Decided {
        let (ledger, late) = (self.world.ledger, self.process().late);
        let known = self.process().known.unwrap_or_default();
        let Some(run) = self.ledgers.removal(ledger, known, late) else {
            return Decided::Observes(after);
        };
        Decided::Calls(Call::Append(Entry::Pruned { run }, Then::PassGoesOn))
    }

    /// `run/mod.rs`, `drive`. `is_asked_for`: what the API server has said of the OrgSnapshot, where it was asked.
    fn drive_run(&self, is_asked_for: Option<bool>) -> Decided {
        let known = self.known();
        let Some(run) = known.open_run else {
            return Decided::Ends;
        };
        let record = &known.state.runs[&run_id(run)];
        let name = JobName::Copy(run);
        let volumes = present_volumes();
        let surroundings = RunSurroundings {
            losses: &[],
            restore: self.process().restore.is_under_way().then_some("home"),
            volumes: &volumes,
        };
        let mut found = fault(record, &surroundings, self.now());
        if found.is_none() {
            let in_index = self.process().objects.snapshots & (1 << run) != 0;
            let Some(is_asked_for) = is_asked_for.or(in_index.then_some(true)) else {
                return Decided::Calls(Call::ReadSnapshot { run });
            };
            found = request_fault(&record.plan, is_asked_for);
        }
        let mover = progress(self.shown(name));
        let parts = record.plan.parts.iter().map(|planned| RunPartProgress {
            part: planned.part.clone(),
            needs_hook: false,
            mover: mover.clone(),
        });
        let observed = RunObserved {
            parts: parts.collect(),
            pre: snapshot_run::HookProgress::NotBegun,
            must_end: found,
        };
        let jobs = self.doomed(|job, _| job == name);
        Decided::Calls(match snapshot_run::next_step(&observed) {
            RunStep::StartMovers(_) => Call::Create { job: name, task: 0 },
            RunStep::WaitForMovers => return Decided::Ends,
            RunStep::Commit => Call::ReadRecords { run, jobs },
            RunStep::Abort(_) => Call::Remove(jobs, Then::Abort { run, jobs }),
            RunStep::RunPreHooks(_) | RunStep::WaitForHooks => unreachable!("hooks are not modelled"),
        })
    }

    /// `prune.rs`, `drive`, up to the lock. `gives_way`: a restore waits, and the pass goes on where the sweep has ended.
    fn drive_sweep(&self, waits: Option<Waiting>, gives_way: bool) -> Decided {
        let known = self.known();
        let (Some(sweep), Some(open)) = (known.open_sweep, &known.state.sweep) else {
            return Decided::Ends;
        };
        let jobs = self.doomed(|job, _| job.is_in_system());
        let pruners = JobName::ALL.into_iter().filter(|job| job.is_in_system());
        let mut at_work = pruners.filter(|job| self.shown(*job).may_be_at_work());
        let observed = SweepObserved {
            sweep: open,
            mover: match self.shown(JobName::Prune(sweep)).phase {
                Phase::Absent => SweepMover::Absent,
                Phase::Suspended => SweepMover::Suspended,
                Phase::Running => SweepMover::Running,
                Phase::Succeeded => SweepMover::Succeeded,
                Phase::Failed => SweepMover::Failed,
            },
            at_work: at_work.next().map(|_| "sweep"),
            waits,
        };
        let end = |failed| Call::Lock(Purpose::EndSweep { sweep, failed, jobs });
        Decided::Calls(match sweep::next_step(&observed, self.now()) {
            SweepStep::StopMovers { .. } => Call::Remove(jobs, Then::PassEnds),
            SweepStep::GiveUp(_) => {
                let goes_on = gives_way;
                Call::Remove(jobs, Then::GiveUpSweep { sweep, goes_on })
            }
            SweepStep::Start => Call::Lock(Purpose::StartSweep {
                sweep,
                remove: known.garbage,
            }),
            SweepStep::Renew => Call::Lock(Purpose::WatchSweep),
            SweepStep::RecordSwept => end(false),
            SweepStep::Fail => end(true),
        })
    }

    /// `restore/mod.rs`, `drive`, and `restore/begin.rs`, `resolve`, up to the lock.
    fn drive_restore(&self) -> Decided {
        let (known, restore) = (self.known(), self.process().restore);
        Decided::Calls(match restore.pinned {
            None => match known.open_restore.or(known.restorable) {
                Some(run) => Call::Lock(Purpose::Resolve(run)),
                None => return Decided::Ends,
            },
            Some(run) => {
                let run = known.open_restore.unwrap_or(run);
                // The run in its status is not in the ledger.
                if known.committed & (1 << run) == 0 {
                    return self.end_restore(Some(run), false);
                }
                let step = self.next_restore_step(run);
                if let Some(succeeded) = recorded_end(known) {
                    return self.end_restore(Some(run), succeeded);
                }
                match step.wait() {
                    Some(_) => Call::Lock(Purpose::DriveRestore),
                    None => return self.carry_out_restore(run, step),
                }
            }
        })
    }

    /// `restore/mod.rs`, `drive`, under the lock.
    fn restore_step(&self) -> Decided {
        let (known, restore) = (self.known(), self.process().restore);
        let Some(run) = restore.pinned else {
            return Decided::Ends;
        };
        let begins_without = self.bounds.mutation == Mutation::RestoreBeginsWithoutEntry;
        let Some(run) = known.open_restore.or(begins_without.then_some(run)) else {
            return Decided::Calls(Call::AskBeforeBegin {
                purpose: Purpose::BeginLate(run),
                next_seq: known.len(),
                in_system: false,
            });
        };
        let step = self.next_restore_step(run);
        self.carry_out_restore(run, step)
    }

    /// `restore/parts.rs`, `observe`.
    fn next_restore_step(&self, run: u8) -> RestoreStep {
        let (known, restore) = (self.known(), self.process().restore);
        let proof = if restore.proven {
            MoverProgress::Succeeded
        } else {
            progress(self.shown(JobName::Proof))
        };
        let mover = progress(self.shown(JobName::Fill));
        let record = known.state.runs.get(&run_id(run));
        let parts = record.map_or(&[][..], |run| &run.plan.parts).iter();
        let parts = parts.map(|planned| RestorePartProgress {
            part: planned.part.clone(),
            claim: None,
            proof: proof.clone(),
            mover: mover.clone(),
        });
        restore_run::next_step(&RestoreObserved {
            resolved: true,
            has_stopped: restore.proven,
            workload_pods: Vec::new(),
            holders: Holders::default(),
            parts: parts.collect(),
            filled: is_filled(known),
            lost_again: Vec::new(),
            unavailable: None,
        })
    }

    fn carry_out_restore(&self, run: u8, step: RestoreStep) -> Decided {
        let restore = self.process().restore;
        let proofs = matches!(step, RestoreStep::StartProofs(_) | RestoreStep::WaitForProofs);
        if step.wait().is_some() && !proofs && !restore.proven {
            let proven = Restore {
                proven: true,
                ..restore
            };
            return Decided::Calls(Call::WriteStatus(proven, Then::PassEnds));
        }
        Decided::Calls(match step {
            RestoreStep::StartProofs(_) => Call::Create {
                job: JobName::Proof,
                task: run,
            },
            RestoreStep::StartMovers(_) => Call::Create {
                job: JobName::Fill,
                task: run,
            },
            RestoreStep::WaitForProofs | RestoreStep::WaitForMovers(_) => return Decided::Ends,
            RestoreStep::RecordFilled(_) => Call::Append(Entry::Filled { run }, Then::PassEnds),
            RestoreStep::Succeed => return self.end_restore(Some(run), true),
            RestoreStep::Fail(_) => return self.end_restore(Some(run), false),
            RestoreStep::Resolve
            | RestoreStep::WaitForHolders(_)
            | RestoreStep::WaitUntilDrained(_)
            | RestoreStep::RemoveClaims { .. }
            | RestoreStep::WaitForClaims(_)
            | RestoreStep::Refill(_)
            | RestoreStep::WaitForWorkloads(_)
            | RestoreStep::SucceedWithoutWorkloads(_) => unreachable!("{step:?} is not modelled"),
        })
    }

    /// `restore/end.rs`, `end`: ledger, then status, then what it needed.
    fn end_restore(&self, run: Option<u8>, succeeded: bool) -> Decided {
        Decided::Calls(match run {
            Some(run) => Call::Append(Entry::Restored { run, succeeded }, Then::EndRestore),
            None => self.ended_restore(),
        })
    }
    fn ended_restore(&self) -> Call {
        let ended = Restore {
            ended: true,
            ..self.process().restore
        };
        Call::WriteStatus(ended, Then::CleanUpRestore { goes_on: false })
    }

    /// `restore/end.rs`, `end_gone`: only the API server says that its OrgRestore is gone, or does not ask for it any more.
    fn read_restore(&mut self, run: u8) {
        if self.world.objects.restore.is_under_way() {
            return self.pass_ends();
        }
        let entry = Entry::Restored {
            run,
            succeeded: false,
        };
        self.calls(Call::Append(entry, Then::CleanUpRestore { goes_on: true }));
    }

    fn follow(&mut self, then: Then) {
        let call = match then {
            Then::PassEnds => return self.pass_ends(),
            Then::PassGoesOn => return self.observe(true),
            Then::Abort { run, jobs } => {
                Call::Append(Entry::RunAborted { run }, Then::CleanUpRun { run, jobs })
            }
            Then::CleanUpRun { run, jobs } => Call::Remove(jobs, Then::UnlockRun(run)),
            Then::UnlockRun(run) => Call::Unlock(Holder::Snapshot(run), Then::PassGoesOn),
            Then::GiveUpSweep { sweep, goes_on } => {
                let jobs = Doomed::default();
                let entry = Entry::SweepEnded { sweep, failed: true };
                Call::Append(entry, Then::CleanUpSweep { jobs, goes_on })
            }
            Then::CleanUpSweep { jobs, goes_on } => Call::Remove(jobs, Then::UnlockSweep { goes_on }),
            Then::UnlockSweep { goes_on } => Call::Unlock(Holder::Prune, goes_on_or_ends(goes_on)),
            Then::Pin(run) => self.pins(run),
            Then::EndRestore => self.ended_restore(),
            Then::CleanUpRestore { goes_on } => {
                let jobs = self.doomed(|job, _| matches!(job, JobName::Proof | JobName::Fill));
                Call::Remove(jobs, Then::UnlockRestore { goes_on })
            }
            Then::UnlockRestore { goes_on } => Call::Unlock(Holder::Restore, goes_on_or_ends(goes_on)),
        };
        self.calls(call);
    }

    /// Carries out the call that is next, and goes on from its answer to the next one.
    pub(crate) fn carry_out(&mut self, answer: Answer) {
        if let Call::Append(entry, then) = self.process().call {
            return self.append(entry, then, answer);
        }
        let before = *self.process();
        self.request();
        if answer == Answer::IsLost {
            // What it did is done; the process knows nothing of it, and its pass ends with an error.
            let process = self.process_mut();
            *process = before;
            self.pass_ends();
        }
    }

    fn append(&mut self, entry: Entry, then: Then, answer: Answer) {
        let answers = match answer {
            Answer::Comes => Answers::All,
            Answer::IsLost => Answers::NoneAfterTheWrite,
            Answer::NothingWasDone => Answers::None,
        };
        let known = self.process().known.unwrap_or_default();
        let from = (self.world.ledger, known);
        let appended = self.ledgers.append(from, Cluster::Ours, entry, answers);
        if appended.ledger != self.world.ledger && self.is_too_much(entry) {
            self.cut = true;
            return self.pass_ends();
        }
        self.world.ledger = appended.ledger;
        self.process_mut().known = Some(appended.known);
        match appended.outcome {
            // Something else has begun, or it has itself: the next pass finds out.
            Outcome::NotWanted if matches!(entry, Entry::RestorePlanned { .. }) => self.pass_ends(),
            Outcome::Written | Outcome::NotWanted => self.follow(then),
            Outcome::NoAnswer | Outcome::ClaimLost => self.pass_ends(),
        }
    }

    /// Whether the entry begins something in a ledger that is full.
    fn is_too_much(&self, entry: Entry) -> bool {
        let known = self.ledgers.of(self.world.ledger);
        let is_full = known.len() >= self.ledgers.at_start + self.bounds.entries;
        match entry {
            Entry::RunPlanned { .. } | Entry::Pruned { .. } | Entry::RestorePlanned { .. } => is_full,
            Entry::SweepPlanned { .. } => is_full || known.sweeps.len() == SWEEPS,
            _ => false,
        }
    }

    fn request(&mut self) {
        match self.process().call {
            Call::None | Call::Append(..) => unreachable!(),
            Call::ReadSnapshot { run } => {
                let is_there = self.world.objects.snapshots & (1 << run) != 0;
                match self.drive_run(Some(is_there)) {
                    Decided::Calls(call) => self.calls(call),
                    _ => self.pass_ends(),
                }
            }
            Call::ReadRestore { run } => self.read_restore(run),
            Call::Lock(purpose) => self.lock(purpose, None),
            Call::TakeOver { purpose, holder } => self.lock(purpose, Some(holder)),
            Call::AskWhoWorks {
                purpose,
                holder,
                in_system,
            } => self.ask_who_works(purpose, holder, in_system),
            Call::AskBeforeBegin {
                purpose,
                next_seq,
                in_system,
            } => self.ask_before_begin(purpose, next_seq, in_system),
            Call::Create { job, task } => self.create(job, task),
            Call::Resume { job, task, uid } => self.resume(job, task, uid),
            Call::Remove(doomed, then) => self.remove(doomed, then),
            Call::ReadRecords { run, jobs } => {
                let record = self.world.bucket.records[usize::from(run)];
                self.calls(match record {
                    Some(pack) => {
                        let entry = Entry::RunCommitted { run, pack };
                        Call::Append(entry, Then::CleanUpRun { run, jobs })
                    }
                    None => Call::Remove(jobs, Then::Abort { run, jobs }),
                });
            }
            Call::WriteStatus(status, then) => self.write_status(status, then),
            Call::Unlock(holder, then) => {
                if self.world.lock == holder {
                    self.world.lock = Holder::Nobody;
                }
                self.follow(then);
            }
        }
    }

    /// `repository_lock.rs`, `lock`. The Lease's version guards the replacement, so it is one step.
    fn lock(&mut self, purpose: Purpose, ended: Option<Holder>) {
        let (present, wanted) = (self.world.lock, purpose.holder());
        if present == Holder::Nobody || present == wanted || Some(present) == ended {
            self.world.lock = wanted;
            self.locked(purpose);
        } else if ended.is_none() {
            self.calls(Call::AskWhoWorks {
                purpose,
                holder: present,
                in_system: false,
            });
        } else {
            self.pass_ends();
        }
    }

    fn locked(&mut self, purpose: Purpose) {
        let next_seq = self.known().len();
        let ask = Call::AskBeforeBegin {
            purpose,
            next_seq,
            in_system: false,
        };
        match purpose {
            // Its status was not written.
            Purpose::Resolve(run) if self.known().open_restore.is_some() => {
                let pins = self.pins(run);
                self.calls(pins);
            }
            Purpose::BeginRun(_) | Purpose::BeginSweep | Purpose::Resolve(_) | Purpose::BeginLate(_) => {
                self.calls(ask);
            }
            Purpose::DriveRestore => match self.restore_step() {
                Decided::Calls(call) => self.calls(call),
                _ => self.pass_ends(),
            },
            Purpose::StartSweep { sweep, remove } => self.calls(Call::Create {
                job: JobName::Prune(sweep),
                task: remove,
            }),
            Purpose::WatchSweep => self.pass_ends(),
            Purpose::EndSweep { sweep, failed, jobs } => {
                let then = Then::CleanUpSweep { jobs, goes_on: false };
                self.calls(Call::Append(Entry::SweepEnded { sweep, failed }, then));
            }
        }
    }

    /// `pass.rs`, `mover_at_work`, in one namespace: a mover that may be at work.
    fn at_work(&self, in_system: bool, purpose: Purpose) -> Option<&'static str> {
        let is_own = |job: JobName| {
            let of_restore = matches!(job, JobName::Proof | JobName::Fill);
            of_restore && matches!(purpose, Purpose::BeginLate(_))
        };
        let mut jobs = JobName::ALL
            .into_iter()
            .filter(|job| job.is_in_system() == in_system && !is_own(*job));
        let works = |job: JobName| match self.bounds.mutation {
            Mutation::JudgesByIndexedPods => self.shown(job).pod,
            _ => self.world.job(job).shown().may_be_at_work(),
        };
        jobs.any(works).then_some("mover")
    }

    /// `pass.rs`, `lock`, where somebody else has it.
    fn ask_who_works(&mut self, purpose: Purpose, holder: Holder, in_system: bool) {
        let at_work = self.at_work(in_system, purpose);
        if at_work.is_none() && !in_system {
            self.calls(Call::AskWhoWorks {
                purpose,
                holder,
                in_system: true,
            });
        } else if take_over("another", at_work).is_ok() {
            self.calls(Call::TakeOver { purpose, holder });
        } else {
            self.pass_ends();
        }
    }

    /// `pass.rs`, `begin`; `restore/begin.rs`, `resolve` and `hold`.
    fn ask_before_begin(&mut self, purpose: Purpose, next_seq: u8, in_system: bool) {
        let at_work = self.at_work(in_system, purpose);
        if at_work.is_none() && !in_system {
            return self.calls(Call::AskBeforeBegin {
                purpose,
                next_seq,
                in_system: true,
            });
        }
        let seen = Seen {
            next_seq: u64::from(next_seq),
            at_work,
        };
        let waits = matches!(begin(&seen, &self.known().state), Beginning::Waits(_));
        let call = match purpose {
            _ if waits => return self.pass_ends(),
            Purpose::BeginRun(run) => Call::Append(Entry::RunPlanned { run, next_seq }, Then::PassEnds),
            Purpose::Resolve(run) if self.bounds.mutation == Mutation::RestoreBeginsWithoutEntry => {
                self.pins(run)
            }
            Purpose::Resolve(run) => Call::Append(Entry::RestorePlanned { run, next_seq }, Then::Pin(run)),
            Purpose::BeginLate(run) => Call::Append(Entry::RestorePlanned { run, next_seq }, Then::PassEnds),
            _ => Call::Append(Entry::SweepPlanned { next_seq }, Then::PassEnds),
        };
        self.calls(call);
    }

    fn pins(&self, run: u8) -> Call {
        let pinned = Restore {
            pinned: Some(run),
            ..self.process().restore
        };
        Call::WriteStatus(pinned, Then::PassEnds)
    }

    /// `mover_jobs.rs`, `start`: the Job is made, or found.
    fn create(&mut self, name: JobName, task: u8) {
        let job = self.world.job_mut(name);
        if job.phase == Phase::Absent {
            job.phase = Phase::Suspended;
            job.deleting = false;
            job.uid = (job.uid + 1) % UIDS;
        }
        let (uid, shown) = (job.uid, job.shown());
        self.process_mut().jobs[name.place()] = shown;
        self.calls(Call::Resume { job: name, task, uid });
    }

    /// `mover_jobs.rs`, `start`: its task is written, and it is resumed.
    fn resume(&mut self, name: JobName, task: u8, uid: u8) {
        let job = self.world.job_mut(name);
        if job.phase == Phase::Absent || job.uid != uid {
            return self.pass_ends();
        }
        if job.pod == Pod::None {
            job.task = task;
        }
        if job.phase == Phase::Suspended {
            job.phase = Phase::Running;
        }
        let shown = job.shown();
        self.process_mut().jobs[name.place()] = shown;
        self.pass_ends();
    }

    /// `mover_jobs.rs`, `remove`, of the first of these Jobs.
    fn remove(&mut self, doomed: Doomed, then: Then) {
        let name = JobName::ALL[doomed.jobs.trailing_zeros() as usize];
        self.remove_one(name, doomed);
        let rest = Doomed {
            jobs: doomed.jobs & !name.bit(),
            ..doomed
        };
        self.calls(Call::Remove(rest, then));
    }

    fn remove_one(&mut self, name: JobName, doomed: Doomed) {
        let uid = doomed.uids[name.place()];
        let by_uid = self.bounds.mutation != Mutation::RemovesByName;
        let job = self.world.job_mut(name);
        if !by_uid || job.uid == uid {
            remove(job, doomed.foreground & name.bit() != 0);
            let shown = job.shown();
            self.process_mut().jobs[name.place()] = shown;
        } else {
            // 409: the one that was meant is gone.
            self.process_mut().jobs[name.place()] = Shown::default();
        }
    }

    fn write_status(&mut self, status: Restore, then: Then) {
        let present = &mut self.world.objects.restore;
        if !present.present {
            // 404: the pass ends with an error.
            return self.pass_ends();
        }
        *present = status;
        self.process_mut().objects.restore = status;
        self.follow(then);
    }

    /// `org/deletion.rs`: the movers in the org's namespace go, and the finalizer.
    pub(crate) fn take_down(&mut self) {
        let doomed = self.doomed(|job, _| !job.is_in_system());
        for job in JobName::ALL {
            if doomed.jobs & job.bit() != 0 {
                self.remove_one(job, doomed);
            }
        }
        if self.world.objects.org == Org::Terminating {
            self.world.objects.org = Org::Gone;
        }
        self.process_mut().objects.org = self.world.objects.org;
    }
}

/// Deletes a Job by its name.
fn remove(job: &mut Job, in_foreground: bool) {
    if job.phase == Phase::Absent {
        return;
    }
    if in_foreground {
        job.deleting = true;
    } else {
        // Its pod goes after it: one that still lives is not seen any more.
        if job.pod != Pod::None {
            job.orphan = std::mem::take(&mut job.pod);
        }
        job.phase = Phase::Absent;
        job.deleting = false;
    }
}

fn goes_on_or_ends(goes_on: bool) -> Then {
    if goes_on { Then::PassGoesOn } else { Then::PassEnds }
}

/// `pass.rs`, `progress`.
fn progress(job: Shown) -> MoverProgress {
    match job.phase {
        Phase::Absent => MoverProgress::Absent,
        Phase::Suspended => MoverProgress::Suspended,
        Phase::Running => MoverProgress::Running,
        Phase::Succeeded => MoverProgress::Succeeded,
        Phase::Failed => MoverProgress::Failed(MoverFailure {
            code: "Failed".to_owned(),
            words: String::new(),
        }),
    }
}

/// What comes of a decision.
enum Decided {
    /// A request.
    Calls(Call),
    /// The pass ends.
    Ends,
    /// Nothing to request: the pass has come so far, and observes again.
    Observes(Done),
}
