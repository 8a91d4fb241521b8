//! What a pass does for an org whose ledger is open: it observes, the domain decides ([`next_work`]), it carries out, and
//! observes again, until what it has carried out ends it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    orgrestore::OrgRestore,
    orgsnapshot::{OrgSnapshot, SnapshotPhase},
};
use tray_domain::{
    backup_pass::{Done, PassFacts, PassWork, next_work},
    ids::RunId,
    ledger::{LedgerState, Run},
    restore_waits::Wait,
    schedule::Due,
    snapshot_run::HookProgress,
    sweep::{Waiting, due_at},
    volume_facts::losses,
};

use super::{
    pass::{PRUNE_NAMESPACE, Pass, SOON},
    prune::prune,
    restore, run, scheduling,
    snapshots::Phases,
    sweep::{self, Driven},
};
use crate::{
    adapters::kube::facts::{JobFact, Phase},
    controllers::{
        Blocked, Requeue,
        conditions::{listed, whole_seconds},
        until,
        view::region::elsewhere,
    },
};

/// When an org is looked at again.
#[derive(Default)]
pub(super) struct Again {
    /// When the next run is due by the schedule.
    pub next_due: Option<Timestamp>,
    at: Vec<Timestamp>,
    after: Option<Duration>,
}

impl Again {
    /// Then.
    pub(super) fn at(&mut self, at: Option<Timestamp>) {
        self.at.extend(at);
    }

    /// After that.
    pub(super) fn after(&mut self, after: Option<Duration>) {
        self.after = self.after.into_iter().chain(after).min();
    }

    /// Whether what was begun goes on.
    pub(super) fn is_soon(&self) -> bool {
        self.after.is_some()
    }

    /// The soonest of the known times.
    pub(super) fn at_latest(&self) -> Timestamp {
        self.at.iter().min().copied().unwrap_or(Timestamp::MAX)
    }

    /// The soonest of all.
    pub(super) fn next(&self, now: Timestamp) -> Requeue {
        let times = self.at.iter().map(|at| until(*at, now));
        Requeue::OnChange.or_sooner(times.chain(self.after).min())
    }
}

/// Does what is next for the org, until it has to be looked at again. Before the first piece of work that changes anything it
/// reads on in a ledger that was in memory, and decides anew: an idle pass costs no request.
pub(super) async fn advance(pass: &Pass<'_>, again: &mut Again, phases: &mut Phases) -> Result<(), Blocked> {
    let elsewhere = elsewhere(&pass.subject.region);
    let schedule = scheduling::of(pass.subject);
    let (mut done, mut has_read) = (Done::default(), pass.has_read);
    restore::tell_turns(pass, restore::driven(pass, &pass.state())).await?;
    loop {
        let (state, pending) = (pass.state(), pending(pass));
        let restore = restore::driven(pass, &state);
        let losses = losses(&state, &pass.subject.claims());
        let waiting = pending.first().map(|snapshot| snapshot.name_any());
        let seen = PassFacts {
            restore: restore.map(|restore| restore::facts(pass, restore)),
            has_gone_restore: restore::is_gone(pass, &state),
            has_open_run: state.open_runs().next().is_some(),
            has_open_sweep: state.sweep.is_some(),
            losses: &losses,
            elsewhere,
            waiting: waiting.as_deref(),
            due: scheduling::next(pass, schedule.as_ref()),
            sweep_due_at: due_at(&state),
        };
        let work = next_work(&seen, done, pass.now);
        let carried_out = CarryingOut {
            pass,
            state: &state,
            restore,
            pending: &pending,
            seen: &seen,
        };
        if !has_read && carried_out.acts(&work) {
            has_read = true;
            let read = pass.ledger.refresh().await.map_err(Blocked::from);
            if let Err(blocked) = &read {
                // The bucket does not answer: the run is where it was.
                tell_open_run(pass, Some(blocked), phases);
                carried_out.say_why_others_wait(Some(blocked), phases);
            }
            read?;
            continue;
        }
        done = done.after(&work);
        let ended = carried_out.carry_out(work, again, phases).await;
        if !matches!(ended, Ok(Ends::No)) {
            carried_out.say_why_others_wait(ended.as_ref().err(), phases);
        }
        if let Ends::Yes(after) = ended? {
            again.after(after);
            return Ok(());
        }
    }
}

/// Says how far the open run is; `blocked`: what keeps it.
fn tell_open_run(pass: &Pass<'_>, blocked: Option<&Blocked>, phases: &mut Phases) {
    let state = pass.state();
    if let Some((run_id, run)) = state.open_runs().next() {
        let (phase, mut message) = how_far(pass, run_id, run);
        if let Some(blocked) = blocked {
            message = format!("{message}; {blocked}");
        }
        phases.insert(run.plan.snapshot_name.clone(), (phase, message));
    }
}

/// How far an open run is, and what it waits for.
fn how_far(pass: &Pass<'_>, run_id: &RunId, run: &Run) -> (SnapshotPhase, String) {
    let since = format!("the run is open since {}", whole_seconds(run.planned_at));
    if pass.backup.hooks.progress(run_id) == HookProgress::Running {
        let running = pass.backup.hooks.running(run_id);
        let named: Vec<String> = running.iter().map(ToString::to_string).collect();
        let waits = if named.is_empty() {
            "its pre hooks wait for other hooks to end".to_owned()
        } else {
            listed(&named)
        };
        return (SnapshotPhase::Hooks, format!("{waits}; {since}"));
    }
    let (namespace, org) = (pass.subject.namespace(), pass.subject.name());
    let movers = pass.ctx.movers.of_owner(namespace, org, &run.plan.snapshot_name);
    let copied = movers.iter().filter(|job| job.phase == Phase::Succeeded).count();
    let planned = run.plan.parts.len();
    let hindered = pass.subject.mover_problem(pass.now);
    let hindered = hindered.map_or_else(String::new, |why| format!("; {why}"));
    let message = format!("{copied} of {planned} parts are copied and verified{hindered}; {since}");
    (SnapshotPhase::Copying, message)
}

/// Whether a piece of work ends the pass.
enum Ends {
    /// It does; look again after that, besides all changes.
    Yes(Option<Duration>),
    /// Observe again.
    No,
}

/// What a piece of work is carried out by.
struct CarryingOut<'a> {
    pass: &'a Pass<'a>,
    state: &'a LedgerState,
    restore: Option<&'a OrgRestore>,
    /// OrgSnapshots that ask for a run, the oldest first.
    pending: &'a [Arc<OrgSnapshot>],
    seen: &'a PassFacts<'a>,
}

impl CarryingOut<'_> {
    /// Whether a piece of work changes anything, as far as it is known.
    fn acts(&self, work: &PassWork<'_>) -> bool {
        match work {
            PassWork::RemoveLeftovers => !self.leftovers().is_empty(),
            work => work.is_decided_on_the_newest(),
        }
    }

    async fn carry_out(
        &self,
        work: PassWork<'_>,
        again: &mut Again,
        phases: &mut Phases,
    ) -> Result<Ends, Blocked> {
        let pass = self.pass;
        if matches!(work, PassWork::BeginRun(_) | PassWork::PruneRuns)
            && let Due::At(at) = self.seen.due
        {
            again.next_due = Some(at);
            again.at(Some(at));
        }
        Ok(match work {
            PassWork::RefuseRestore => {
                if let Some(restore) = self.restore {
                    restore::refuse(pass, restore).await?;
                }
                Ends::Yes(Some(Duration::ZERO))
            }
            // Also where it has ended: what was seen of the org may be old by now.
            PassWork::DriveRun => {
                self.tell_of_what_gives_way("the run that is open").await?;
                Ends::Yes(Some(self.drive_run(phases).await?))
            }
            PassWork::RemoveLeftovers => {
                self.remove_leftovers().await?;
                Ends::No
            }
            PassWork::EndGoneRestore => match &self.state.restore {
                Some(open) if restore::end_gone(pass, open).await? => Ends::No,
                // The watch will show it.
                _ => Ends::Yes(Some(SOON)),
            },
            PassWork::GiveWay => {
                self.tell_of_what_gives_way("the sweep that is open").await?;
                match (self.drive_sweep(Some(Waiting::Restore)).await?, self.restore) {
                    (Some(Driven::Stopping(mover)), Some(restore)) => {
                        Ends::Yes(Some(restore::wait_for_mover(pass, restore, &mover).await?))
                    }
                    _ => Ends::No,
                }
            }
            PassWork::DriveRestore => match self.restore {
                Some(restore) => Ends::Yes(Some(restore::drive(pass, restore).await?)),
                None => Ends::Yes(None),
            },
            PassWork::DriveSweep => {
                let driven = self.drive_sweep(self.seen.waits()).await?;
                let since = self
                    .state
                    .sweep
                    .as_ref()
                    .map(|sweep| whole_seconds(sweep.planned_at));
                let since = since.map_or_else(String::new, |at| format!(", which is open since {at}"));
                self.wait_all(phases, &format!("waits for pruning to end{since}"));
                Ends::Yes(Some(match driven {
                    Some(Driven::Again(after)) => after,
                    Some(Driven::Stopping(_)) => SOON,
                    Some(Driven::GivenUp) | None => Duration::ZERO,
                }))
            }
            PassWork::HoldForLoss(loss) => {
                let message = format!(
                    "waits: volume {} lost its data, see DataLost of TrayOrg {}",
                    loss.volume,
                    pass.subject.name()
                );
                self.wait_all(phases, &message);
                Ends::Yes(None)
            }
            PassWork::HoldElsewhere(why) => {
                let message = format!("no snapshot is taken while the backup location lies elsewhere: {why}");
                return Err(Blocked::person(reasons::BACKUP_OUTSIDE_REGION, message));
            }
            PassWork::MakeSnapshot { slot } => {
                scheduling::schedule(pass, scheduling::free(pass, slot)).await?;
                Ends::No
            }
            PassWork::BeginRun(_) => Ends::Yes(self.begin_run(phases).await?),
            PassWork::PruneRuns => {
                again.at(prune(pass).await?);
                Ends::No
            }
            PassWork::BeginSweep => Ends::Yes(Some(sweep::begin(pass).await?)),
            PassWork::Rest(at) => {
                again.at(at);
                Ends::Yes(None)
            }
        })
    }

    /// The restore says what ends for it, before that takes its time; later it knows better.
    async fn tell_of_what_gives_way(&self, what: &str) -> Result<(), Blocked> {
        if let Some(restore) = self.restore.filter(|restore| !restore::waits_for_others(restore)) {
            let message = format!("waits for {what} to end: it is given up for the restore");
            restore::wait(self.pass, restore, Wait::OtherWork, &message).await?;
        }
        Ok(())
    }

    /// Brings the open run nearer to its end, and says how far it is. Returns when to look again.
    async fn drive_run(&self, phases: &mut Phases) -> Result<Duration, Blocked> {
        let pass = self.pass;
        let Some((run_id, run)) = self.state.open_runs().next() else {
            return Ok(Duration::ZERO);
        };
        let restore = self.restore.map(ResourceExt::name_any);
        let drive = run::drive(pass, run_id, run, self.seen.losses, restore.as_deref()).await;
        // Also where a service did not answer: the run is where it was.
        tell_open_run(pass, drive.as_ref().err(), phases);
        drive
    }

    /// Brings the open sweep nearer to its end; none = none is open.
    async fn drive_sweep(&self, waits: Option<Waiting>) -> Result<Option<Driven>, Blocked> {
        match &self.state.sweep {
            Some(open) => sweep::drive(self.pass, open, waits).await.map(Some),
            None => Ok(None),
        }
    }

    /// Begins the run of the oldest OrgSnapshot that asks for one. Returns when to look again.
    async fn begin_run(&self, phases: &mut Phases) -> Result<Option<Duration>, Blocked> {
        let oldest = self.pending.first();
        let Some((snapshot, run_id)) =
            oldest.and_then(|oldest| Some((oldest, run::run_id_of(oldest, self.state)?)))
        else {
            return Ok(None);
        };
        let begun = run::begin(self.pass, snapshot, &run_id).await;
        let message = match &begun {
            Ok(None) => return Ok(Some(Duration::ZERO)),
            Ok(Some(waits)) => waits.clone(),
            Err(blocked) => blocked.to_string(),
        };
        phases.insert(snapshot.name_any(), (SnapshotPhase::Pending, message));
        begun.map(|_| Some(SOON))
    }

    /// Every OrgSnapshot that asks for a run and of which nothing is said yet says what it waits for.
    fn say_why_others_wait(&self, blocked: Option<&Blocked>, phases: &mut Phases) {
        let open = self.pass.state();
        let open = open.open_runs().next().map(|(_, run)| {
            let (name, since) = (&run.plan.snapshot_name, whole_seconds(run.planned_at));
            format!("waits for OrgSnapshot {name}, whose run is open since {since}")
        });
        let restore = self
            .restore
            .map(|restore| format!("waits for OrgRestore {}, which is under way", restore.name_any()));
        let why = blocked
            .map(|blocked| format!("waits: {blocked}"))
            .or(open)
            .or(restore);
        let mut before: Option<String> = None;
        for snapshot in self.pending {
            let name = snapshot.name_any();
            let earlier =
                before.map(|before| format!("waits for OrgSnapshot {before}, which was asked for before"));
            if let Some(message) = why.clone().or(earlier) {
                phases
                    .entry(name.clone())
                    .or_insert((SnapshotPhase::Pending, message));
            }
            before = Some(name);
        }
    }

    /// Every OrgSnapshot that asks for a run says what it waits for.
    fn wait_all(&self, phases: &mut Phases, message: &str) {
        let waiting = self.pending.iter().map(|snapshot| snapshot.name_any());
        phases.extend(waiting.map(|name| (name, (SnapshotPhase::Pending, message.to_owned()))));
    }

    /// Removes the movers of runs, restores and sweeps that have ended: the operator died before it did, or one that was behind
    /// made them. Those of the restore that is under way and of the open sweep stay.
    async fn remove_leftovers(&self) -> Result<(), Blocked> {
        for job in self.leftovers() {
            self.pass.remove(job).await?;
        }
        Ok(())
    }

    fn leftovers(&self) -> Vec<&Arc<JobFact>> {
        let pass = self.pass;
        let open = self.state.sweep.as_ref().map(|open| sweep::job_name(pass, open));
        let is_wanted = |job: &JobFact| {
            open.as_ref() == Some(&job.name)
                || self
                    .restore
                    .is_some_and(|restore| restore::is_mover_of(restore, &job.name))
        };
        let places = [pass.subject.namespace(), PRUNE_NAMESPACE];
        let movers = pass.subject.view.movers.iter();
        movers
            .filter(|job| places.contains(&job.namespace.as_str()) && !is_wanted(job) && !job.deleting)
            .collect()
    }
}

/// OrgSnapshots that ask for a run, the oldest first: with one that this very pass has made.
fn pending(pass: &Pass<'_>) -> Vec<Arc<OrgSnapshot>> {
    let state = pass.state();
    let mut pending = pass.ctx.index.snapshots.of_org(pass.subject.name());
    pending.retain(|snapshot| {
        run::is_wanted(snapshot)
            && !snapshot.has_ended()
            && run::run_id_of(snapshot, &state).is_some_and(|id| !state.knows(&id))
    });
    pending.sort_by_key(|snapshot| (snapshot.creation_timestamp(), snapshot.name_any()));
    pending
}
