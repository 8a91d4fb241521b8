//! What a pass does next for an org whose ledger is open, as a pure function of what it has observed.
//!
//! A pass observes, decides, carries out, and observes again, until what it has carried out ends it. The order:
//! 1. A restore that means no run is refused, since nothing gives way to it.
//! 2. The run that is open is driven.
//! 3. What ended work has left behind goes; a restore that nobody asks for any more is ended in the ledger.
//! 4. The restore is driven; an open sweep gives way to it.
//! 5. The sweep that is open is driven.
//! 6. A volume that lost its data, or a backup location that lies elsewhere, holds up what follows.
//! 7. The run that waits or is due is begun.
//! 8. Runs are pruned, and the sweep that is due is begun.

use jiff::Timestamp;

use super::{schedule::Due, sweep::Waiting, volume_facts::Loss};

/// What is seen of the restore that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreFacts {
    /// The ledger has it as open, or its run is pinned.
    pub has_begun: bool,
    /// The run that it asks for is in the ledger and can be restored here. Of one that has begun it is not asked.
    pub means_run: bool,
}

impl RestoreFacts {
    fn is_refused(self) -> bool {
        !self.has_begun && !self.means_run
    }
}

/// What is recorded and seen of an org.
#[derive(Clone, Debug)]
pub struct PassFacts<'a> {
    /// The restore that is under way: the one that has begun, else the oldest that has not ended.
    pub restore: Option<RestoreFacts>,
    /// The ledger has a restore as open whose OrgRestore is not seen, or does not ask for it any more.
    pub has_gone_restore: bool,
    /// The ledger has a run as open.
    pub has_open_run: bool,
    /// The ledger has a sweep as open.
    pub has_open_sweep: bool,
    /// Volumes that lost their data.
    pub losses: &'a [Loss],
    /// Why the backup location lies elsewhere; none = it does not.
    pub elsewhere: Option<&'a str>,
    /// The oldest OrgSnapshot that asks for a run which is not in the ledger.
    pub waiting: Option<&'a str>,
    /// When the next run is due by schedule.
    pub due: Due,
    /// When the next sweep is due; none = nothing is garbage.
    pub sweep_due_at: Option<Timestamp>,
}

impl PassFacts<'_> {
    /// Who waits for an open sweep to end.
    pub fn waits(&self) -> Option<Waiting> {
        let run_waits = self.waiting.is_some() || matches!(self.due, Due::Now { .. });
        match self.restore {
            Some(_) => Some(Waiting::Restore),
            None => run_waits.then_some(Waiting::Run),
        }
    }
}

/// How far a pass has come with what it does once, in the order in which it does it. Its effect may not show in the next
/// observation, so it is remembered here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Done {
    /// Nothing.
    #[default]
    Nothing,
    /// [`PassWork::RemoveLeftovers`].
    LeftoversRemoved,
    /// [`PassWork::MakeSnapshot`].
    SnapshotMade,
    /// [`PassWork::PruneRuns`].
    RunsPruned,
}

impl Done {
    /// How far the pass has come after `work`.
    #[must_use]
    pub fn after(self, work: &PassWork<'_>) -> Self {
        match work {
            PassWork::RemoveLeftovers => Self::LeftoversRemoved,
            PassWork::MakeSnapshot { .. } => Self::SnapshotMade,
            PassWork::PruneRuns => Self::RunsPruned,
            _ => self,
        }
    }
}

/// One piece of work. Each says what follows where it was carried out; where it could not be, the pass ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassWork<'a> {
    /// End the restore: it means no run. The pass ends.
    RefuseRestore,
    /// Bring the open run nearer to its end. The pass ends; where the run has, another one begins at once.
    DriveRun,
    /// Remove the movers of work that has ended: all but those of the restore and of the open sweep. Observe again.
    RemoveLeftovers,
    /// Write the end of the open restore, unless its OrgRestore turns out to be there. Observe again where it has ended.
    EndGoneRestore,
    /// Give the open sweep up for the restore. The pass ends, unless the sweep has.
    GiveWay,
    /// Bring the restore nearer to its end. The pass ends.
    DriveRestore,
    /// Bring the open sweep nearer to its end. The pass ends.
    DriveSweep,
    /// Say that a volume lost its data. The pass ends.
    HoldForLoss(&'a Loss),
    /// Say that the backup location lies elsewhere, and why. The pass ends.
    HoldElsewhere(&'a str),
    /// Make the OrgSnapshot of the run that is due. Observe again.
    MakeSnapshot {
        /// The slot that names the run.
        slot: Timestamp,
    },
    /// Begin the run of this OrgSnapshot. The pass ends.
    BeginRun(&'a str),
    /// Write down which runs go. Observe again.
    PruneRuns,
    /// Begin the sweep that is due. The pass ends.
    BeginSweep,
    /// Nothing is left to do; a sweep is due then. The pass ends.
    Rest(Option<Timestamp>),
}

impl PassWork<'_> {
    /// Whether it changes something that others may have changed since the ledger was read: then it is decided on the newest.
    /// [`PassWork::RemoveLeftovers`] and [`PassWork::PruneRuns`] come in each pass, and mostly find nothing: whoever carries them
    /// out reads on where they do.
    pub fn is_decided_on_the_newest(&self) -> bool {
        match self {
            PassWork::RefuseRestore
            | PassWork::DriveRun
            | PassWork::EndGoneRestore
            | PassWork::GiveWay
            | PassWork::DriveRestore
            | PassWork::DriveSweep
            | PassWork::MakeSnapshot { .. }
            | PassWork::BeginRun(_)
            | PassWork::BeginSweep => true,
            PassWork::RemoveLeftovers
            | PassWork::PruneRuns
            | PassWork::HoldForLoss(_)
            | PassWork::HoldElsewhere(_)
            | PassWork::Rest(_) => false,
        }
    }
}

/// The next piece of work of a pass that has come as far as `done`.
pub fn next_work<'a>(seen: &PassFacts<'a>, done: Done, now: Timestamp) -> PassWork<'a> {
    if seen.restore.is_some_and(RestoreFacts::is_refused) {
        return PassWork::RefuseRestore;
    }
    if seen.has_open_run {
        return PassWork::DriveRun;
    }
    if done < Done::LeftoversRemoved {
        return PassWork::RemoveLeftovers;
    }
    if seen.has_gone_restore {
        return PassWork::EndGoneRestore;
    }
    match seen.restore {
        Some(_) if seen.has_open_sweep => PassWork::GiveWay,
        Some(_) => PassWork::DriveRestore,
        None => without_restore(seen, done, now),
    }
}

fn without_restore<'a>(seen: &PassFacts<'a>, done: Done, now: Timestamp) -> PassWork<'a> {
    if seen.has_open_sweep {
        return PassWork::DriveSweep;
    }
    // A copy of an empty volume would bury the last good one, and a pruner would take it.
    if let Some(loss) = seen.losses.first() {
        return PassWork::HoldForLoss(loss);
    }
    // A restore may still bring the data home; none is taken out.
    if let Some(why) = seen.elsewhere {
        return PassWork::HoldElsewhere(why);
    }
    run(seen, done).unwrap_or_else(|| pruning(seen, done, now))
}

/// Begins the run that waits, or makes the OrgSnapshot of the one that is due. One that was made and does not show holds nothing
/// up.
fn run<'a>(seen: &PassFacts<'a>, done: Done) -> Option<PassWork<'a>> {
    match (seen.waiting, seen.due) {
        (Some(snapshot), _) => Some(PassWork::BeginRun(snapshot)),
        (None, Due::Now { slot }) if done < Done::SnapshotMade => Some(PassWork::MakeSnapshot { slot }),
        (None, _) => None,
    }
}

fn pruning<'a>(seen: &PassFacts<'a>, done: Done, now: Timestamp) -> PassWork<'a> {
    if done < Done::RunsPruned {
        return PassWork::PruneRuns;
    }
    match seen.sweep_due_at {
        Some(at) if at <= now => PassWork::BeginSweep,
        later => PassWork::Rest(later),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }
    fn later() -> Timestamp {
        now() + SignedDuration::from_hours(1)
    }
    fn loss() -> Loss {
        Loss {
            volume: "data-db-0".parse().unwrap(),
            lost_uid: "old".into(),
            present_uid: None,
        }
    }
    const BEGUN: RestoreFacts = RestoreFacts {
        has_begun: true,
        means_run: false,
    };
    const ASKED_FOR: RestoreFacts = RestoreFacts {
        has_begun: false,
        means_run: true,
    };
    const MEANS_NO_RUN: RestoreFacts = RestoreFacts {
        has_begun: false,
        means_run: false,
    };

    /// Everything at once.
    fn everything(losses: &[Loss]) -> PassFacts<'_> {
        PassFacts {
            restore: Some(MEANS_NO_RUN),
            has_gone_restore: true,
            has_open_run: true,
            has_open_sweep: true,
            losses,
            elsewhere: Some("the bucket moved"),
            waiting: Some("acme-1"),
            due: Due::Now { slot: now() },
            sweep_due_at: Some(now()),
        }
    }

    /// The whole order: each line takes away what came first before it.
    #[test]
    fn one_thing_comes_after_the_other() {
        let losses = [loss()];
        let mut seen = everything(&losses);
        let mut done = Done::Nothing;
        let mut look = |change: &dyn Fn(&mut PassFacts<'_>), want: PassWork<'_>| {
            change(&mut seen);
            let work = next_work(&seen, done, now());
            assert_eq!(work, want);
            done = done.after(&work);
        };
        look(&|_| {}, PassWork::RefuseRestore);
        look(&|seen| seen.restore = Some(ASKED_FOR), PassWork::DriveRun);
        look(&|seen| seen.restore = Some(BEGUN), PassWork::DriveRun);
        look(&|seen| seen.has_open_run = false, PassWork::RemoveLeftovers);
        look(&|_| {}, PassWork::EndGoneRestore);
        look(&|seen| seen.has_gone_restore = false, PassWork::GiveWay);
        look(&|seen| seen.has_open_sweep = false, PassWork::DriveRestore);
        look(&|seen| seen.restore = Some(ASKED_FOR), PassWork::DriveRestore);
        look(
            &|seen| (seen.restore, seen.has_open_sweep) = (None, true),
            PassWork::DriveSweep,
        );
        look(
            &|seen| seen.has_open_sweep = false,
            PassWork::HoldForLoss(&losses[0]),
        );
        look(
            &|seen| seen.losses = &[],
            PassWork::HoldElsewhere("the bucket moved"),
        );
        look(&|seen| seen.elsewhere = None, PassWork::BeginRun("acme-1"));
        look(
            &|seen| seen.waiting = None,
            PassWork::MakeSnapshot { slot: now() },
        );
        // It does not show that the OrgSnapshot was made.
        look(&|_| {}, PassWork::PruneRuns);
        look(&|_| {}, PassWork::BeginSweep);
        look(
            &|seen| seen.sweep_due_at = Some(later()),
            PassWork::Rest(Some(later())),
        );
        look(&|seen| seen.sweep_due_at = None, PassWork::Rest(None));
    }

    #[test]
    fn an_org_that_has_nothing_to_do_is_tidied_once_a_pass() {
        let seen = PassFacts {
            restore: None,
            has_gone_restore: false,
            has_open_run: false,
            has_open_sweep: false,
            losses: &[],
            elsewhere: None,
            waiting: None,
            due: Due::At(later()),
            sweep_due_at: None,
        };
        let mut done = Done::Nothing;
        for want in [
            PassWork::RemoveLeftovers,
            PassWork::PruneRuns,
            PassWork::Rest(None),
            PassWork::Rest(None),
        ] {
            let work = next_work(&seen, done, now());
            assert_eq!(work, want);
            done = done.after(&work);
        }
    }

    #[test]
    fn a_sweep_is_waited_for_by_a_restore_or_by_a_run_that_is_asked_for_or_due() {
        let (due, not_due) = (Due::Now { slot: now() }, Due::At(later()));
        for (restore, waiting, due, waits) in [
            (None, None, not_due, None),
            (None, None, Due::Never, None),
            (None, None, due, Some(Waiting::Run)),
            (None, Some("acme-1"), not_due, Some(Waiting::Run)),
            (Some(BEGUN), None, not_due, Some(Waiting::Restore)),
            (Some(ASKED_FOR), Some("acme-1"), due, Some(Waiting::Restore)),
        ] {
            let seen = PassFacts {
                restore,
                waiting,
                due,
                ..everything(&[])
            };
            assert_eq!(seen.waits(), waits, "{seen:?}");
        }
    }

    /// An org in which work is done or not.
    #[derive(Clone, Debug)]
    #[allow(
        clippy::struct_excessive_bools,
        reason = "each is there or not, whatever else is"
    )]
    struct Org {
        restore: Option<RestoreFacts>,
        gone_restore: bool,
        run: bool,
        sweep: bool,
        losses: Vec<Loss>,
        elsewhere: bool,
        snapshot: bool,
        due: bool,
        /// Runs that retention lets go.
        old: bool,
        garbage: bool,
    }

    impl Org {
        fn seen(&self) -> PassFacts<'_> {
            PassFacts {
                restore: self.restore,
                has_gone_restore: self.gone_restore,
                has_open_run: self.run,
                has_open_sweep: self.sweep,
                losses: &self.losses,
                elsewhere: self.elsewhere.then_some("the bucket moved"),
                waiting: self.snapshot.then_some("acme-1"),
                due: if self.due {
                    Due::Now { slot: now() }
                } else {
                    Due::At(later())
                },
                sweep_due_at: self.garbage.then(now),
            }
        }

        /// Does what `work` says, and perhaps brings it to its end. Returns whether the pass ends.
        fn carry_out(&mut self, work: &PassWork<'_>, ends: bool) -> bool {
            match work {
                PassWork::RefuseRestore => self.restore = None,
                PassWork::DriveRun => {
                    self.run &= !ends;
                    return !ends;
                }
                PassWork::GiveWay => {
                    self.sweep &= !ends;
                    return !ends;
                }
                PassWork::DriveRestore if ends => {
                    self.restore = None;
                    self.losses.clear();
                }
                PassWork::DriveRestore => self.restore = Some(BEGUN),
                PassWork::DriveSweep => self.sweep &= !ends,
                PassWork::EndGoneRestore => {
                    self.gone_restore &= !ends;
                    return !ends;
                }
                PassWork::RemoveLeftovers => return false,
                PassWork::MakeSnapshot { .. } => {
                    self.snapshot = ends;
                    return false;
                }
                PassWork::BeginRun(_) => {
                    self.run = ends;
                    self.snapshot &= !ends;
                    self.due &= !ends;
                }
                PassWork::PruneRuns => {
                    self.garbage |= self.old;
                    self.old = false;
                    return false;
                }
                PassWork::BeginSweep => {
                    self.sweep = ends;
                    self.garbage &= !ends;
                }
                PassWork::HoldForLoss(_) | PassWork::HoldElsewhere(_) | PassWork::Rest(_) => {}
            }
            true
        }

        fn is_held(&self) -> bool {
            !self.losses.is_empty() || self.elsewhere
        }

        /// What a piece of work must not meet.
        fn check(&self, work: &PassWork<'_>) -> Result<(), TestCaseError> {
            let alone = self.restore.is_none() && !self.gone_restore && !self.run && !self.sweep;
            match work {
                PassWork::RefuseRestore => prop_assert_eq!(self.restore, Some(MEANS_NO_RUN)),
                PassWork::DriveRun => prop_assert!(self.run),
                _ => prop_assert!(!self.run, "beside an open run"),
            }
            match work {
                PassWork::EndGoneRestore => prop_assert!(self.gone_restore),
                PassWork::DriveRestore => {
                    prop_assert!(self.restore.is_some() && !self.sweep && !self.gone_restore);
                }
                PassWork::GiveWay => prop_assert!(self.restore.is_some() && self.sweep),
                PassWork::DriveSweep => prop_assert_eq!(self.restore, None),
                PassWork::MakeSnapshot { .. } | PassWork::BeginRun(_) => {
                    prop_assert!(alone && !self.is_held());
                }
                PassWork::PruneRuns | PassWork::BeginSweep | PassWork::Rest(_) => {
                    prop_assert!(alone && !self.is_held() && !self.snapshot);
                }
                _ => {}
            }
            Ok(())
        }

        /// One pass, of which each piece of work comes to its end or not. Returns the last piece.
        fn pass(&mut self, luck: &mut dyn Iterator<Item = bool>) -> Result<String, TestCaseError> {
            let mut done = Done::Nothing;
            for _ in 0..7 {
                let before = self.clone();
                let seen = before.seen();
                let work = next_work(&seen, done, now());
                prop_assert_eq!(&work, &next_work(&seen, done, now()));
                before.check(&work)?;
                if self.carry_out(&work, luck.next().unwrap_or(true)) {
                    return Ok(format!("{work:?}"));
                }
                let after = done.after(&work);
                prop_assert!(after >= done, "{work:?} after {done:?}");
                done = after;
            }
            Err(TestCaseError::fail(format!("the pass has no end: {self:?}")))
        }
    }

    fn org() -> impl Strategy<Value = Org> {
        let restores = vec![None, Some(MEANS_NO_RUN), Some(ASKED_FOR), Some(BEGUN)];
        let restore = prop::sample::select(restores);
        (restore, any::<[bool; 9]>()).prop_map(|(restore, is)| {
            let [
                gone_restore,
                run,
                sweep,
                lost,
                elsewhere,
                snapshot,
                due,
                old,
                garbage,
            ] = is;
            Org {
                restore,
                gone_restore,
                run,
                sweep,
                losses: lost.then(loss).into_iter().collect(),
                elsewhere,
                snapshot,
                due,
                old,
                garbage,
            }
        })
    }

    proptest! {
        /// Whatever there is to do, and whatever comes to its end or not, a pass ends, and nothing is done beside what excludes
        /// it.
        #[test]
        fn a_pass_ends_and_does_nothing_beside_what_excludes_it(
            mut org in org(),
            luck in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut luck = luck.into_iter();
            for _ in 0..8 {
                org.pass(&mut luck)?;
            }
        }

        /// Where everything comes to its end, so does an org: it rests, or says what a person has to do.
        #[test]
        fn an_org_comes_to_rest(mut org in org()) {
            for _ in 0..8 {
                org.pass(&mut std::iter::empty())?;
            }
            let last = org.pass(&mut std::iter::empty())?;
            prop_assert!(!org.run && !org.sweep && !org.gone_restore && org.restore.is_none(), "{org:?}");
            if org.is_held() {
                prop_assert!(last.starts_with("Hold"), "{last}");
            } else {
                prop_assert!(!org.snapshot && !org.due && !org.old && !org.garbage, "{org:?}");
                prop_assert_eq!(last, "Rest(None)");
            }
        }
    }
}
