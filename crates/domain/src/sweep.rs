//! When the repositories of an org are swept, the steps of a sweep, of which runs the data goes, and what people are told of
//! sweeps. Pure.
//!
//! A sweep removes what names the data of a run and marks what nothing refers to any more; a later one frees it. So an org is swept
//! at once after something became garbage, and daily until all of it is known to be gone: then the ledger says so (`Collected`), and
//! no sweep looks at it again.

use jiff::{SignedDuration, Timestamp};

use super::{
    ids::RunId,
    ledger::{LedgerState, Run, Sweep},
    mover_lifetime::RUN_DEADLINE,
};

/// Between two sweeps while marks may be waiting.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How long a marked pack waits: longer than a run may take, so that no run refers to it any more.
pub const KEEP_DELETE_HOURS: u32 = 23;
/// How long a new pack is left alone.
pub const KEEP_PACK_HOURS: u32 = 72;
/// What clocks may differ by before something is taken for marked, or for freed.
const MARGIN: SignedDuration = SignedDuration::from_mins(15);
/// A sweep that is planned so long after a run became garbage marks all that only it needed.
const MARKED_AFTER: SignedDuration = SignedDuration::from_hours(KEEP_PACK_HOURS as i64);
/// A sweep that is planned so long after those marks were made frees it.
const FREED_AFTER: SignedDuration = SignedDuration::from_hours(KEEP_DELETE_HOURS as i64);
/// Runs that one entry says to be gone.
const COLLECTED_AT_ONCE: usize = 256;
/// Between two tries of a sweep that failed.
const TRY_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// A sweep whose mover does not work by then is given up: it would keep runs from beginning.
const STARTS_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// So long a run waits for a sweep, which is no more than the RPO guard leaves for a second try.
const RUN_WAITS: SignedDuration = SignedDuration::from_mins(15);

/// Sweeps may fail for so long before it is told: most of what makes one fail passes.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// When the next sweep is due; none = nothing is garbage.
pub fn due_at(ledger: &LedgerState) -> Option<Timestamp> {
    let due = due_since(ledger)?;
    let failed = ledger.last_sweep.failed.as_ref();
    let again = failed.and_then(|(at, _)| at.checked_add(TRY_AGAIN).ok());
    Some(again.map_or(due, |again| due.max(again)))
}

/// Since when a sweep is due, or from when on, however often it was tried.
fn due_since(ledger: &LedgerState) -> Option<Timestamp> {
    let swept = last_good(ledger);
    let garbage = uncollected(ledger).filter_map(|(_, run)| run.garbage_since());
    // The pass that ends a run plans the sweep, too: both by one time.
    let (marked, new): (Vec<_>, Vec<_>) = garbage.partition(|since| swept >= Some(*since));
    let again = swept.filter(|_| !marked.is_empty());
    let again = again.and_then(|swept| swept.checked_add(EVERY).ok());
    new.into_iter().chain(again).min()
}

/// Why an open sweep ends before it has done its work, as the ledger's code for it; none = it goes on. What it has not done
/// the next one does.
fn must_end(open: &Sweep, mover_works: bool, run_waits: bool, now: Timestamp) -> Option<&'static str> {
    let age = now.duration_since(open.planned_at);
    let limit = SignedDuration::try_from(RUN_DEADLINE).unwrap_or(SignedDuration::MAX);
    if age > limit {
        Some("TookTooLong")
    } else if !mover_works && age > STARTS_WITHIN {
        Some("NotStarted")
    } else if run_waits && age > RUN_WAITS {
        Some("RunWaited")
    } else {
        None
    }
}

/// Who waits for an open sweep to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A run that was asked for, or is due: for a while.
    Run,
    /// A restore: not at all.
    Restore,
}

/// How far the mover of a sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepMover {
    /// No Job.
    Absent,
    /// Made, perhaps without its Secret.
    Suspended,
    /// Runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
}

/// What is seen of an open sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepObserved<'a> {
    /// The sweep.
    pub sweep: &'a Sweep,
    /// Its mover.
    pub mover: SweepMover,
    /// The first of the movers that prune for the org, whatever sweep they are of, that may be at work; none = none may.
    pub at_work: Option<&'a str>,
    /// Who waits for its end; where both do, the restore.
    pub waits: Option<Waiting>,
}

/// What to do next. A sweep that is given up needs no lock; everything else is done under the org's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepStep {
    /// It is given up, and a mover may still be at work: remove all movers that prune for the org, and look again.
    StopMovers {
        /// The ledger's code for why.
        why: &'static str,
        /// The mover.
        at_work: String,
    },
    /// It is given up, and no mover may be at work: remove what is left of them, and write the end with this code.
    GiveUp(&'static str),
    /// Start its mover. Where a person has to act before that can be, write the end with the code of the trouble: runs go on
    /// meanwhile.
    Start,
    /// Its mover runs: give it new credentials in time.
    Renew,
    /// Its mover ended well: write what was swept, then the end.
    RecordSwept,
    /// Its mover ended badly: write the end with the mover's code.
    Fail,
}

/// The next step of an open sweep.
pub fn next_step(observed: &SweepObserved<'_>, now: Timestamp) -> SweepStep {
    if let Some(why) = given_up(observed, now) {
        return observed
            .at_work
            .map_or(SweepStep::GiveUp(why), |at_work| SweepStep::StopMovers {
                why,
                at_work: at_work.to_owned(),
            });
    }
    match observed.mover {
        SweepMover::Absent | SweepMover::Suspended => SweepStep::Start,
        SweepMover::Running => SweepStep::Renew,
        SweepMover::Succeeded => SweepStep::RecordSwept,
        SweepMover::Failed => SweepStep::Fail,
    }
}

/// Why an open sweep is given up. What its mover has done is written down, however late, unless a restore waits.
fn given_up(observed: &SweepObserved<'_>, now: Timestamp) -> Option<&'static str> {
    if observed.waits == Some(Waiting::Restore) {
        return Some("RestoreAskedFor");
    }
    let mover_works = match observed.mover {
        SweepMover::Absent | SweepMover::Suspended => false,
        SweepMover::Running => true,
        SweepMover::Succeeded | SweepMover::Failed => return None,
    };
    let run_waits = observed.waits == Some(Waiting::Run);
    must_end(observed.sweep, mover_works, run_waits, now)
}

/// Sweeps that fail one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing<'a> {
    /// Since when one has been due.
    pub since: Timestamp,
    /// When the newest ended.
    pub failed_at: Timestamp,
    /// Why, as a code.
    pub why: &'a str,
    /// From then on people are told.
    pub told_at: Timestamp,
}

/// The sweeps that have failed since one was due; none = the last one ended well, or none is due.
pub fn failing(ledger: &LedgerState) -> Option<Failing<'_>> {
    let (failed_at, why) = ledger.last_sweep.failed.as_ref()?;
    let since = due_since(ledger)?;
    Some(Failing {
        since,
        failed_at: *failed_at,
        why,
        told_at: since.checked_add(PATIENCE).ok()?,
    })
}

/// The runs whose data a sweep removes: those that have ended, can never be restored, and are not known to be gone.
pub fn garbage(ledger: &LedgerState) -> Vec<RunId> {
    uncollected(ledger).map(|(id, _)| id.clone()).collect()
}

/// Garbage that is not known to be gone.
fn uncollected(ledger: &LedgerState) -> impl Iterator<Item = (&RunId, &Run)> {
    let runs = ledger.runs.iter();
    runs.filter(|(_, run)| run.garbage_since().is_some() && run.collected_at.is_none())
}

/// Notes of which runs a sweep that ended well has marked all that only they needed. What they had written is old enough by the
/// time that it was planned.
pub(crate) fn mark<'a>(runs: impl Iterator<Item = &'a mut Run>, planned_at: Timestamp, ended_at: Timestamp) {
    for run in runs {
        let is_marked = |since: Timestamp| planned_at.duration_since(since) >= MARKED_AFTER + MARGIN;
        if run.marked_at.is_none() && run.garbage_since().is_some_and(is_marked) {
            run.marked_at = Some(ended_at);
        }
    }
}

/// The runs whose data is gone from the bucket since the last sweep: what names it was removed, what only it needed was marked by
/// one sweep and freed by a later one. Empty = of none is that known.
pub fn collectable(ledger: &LedgerState) -> Vec<RunId> {
    let Some(swept) = ledger.last_sweep.good else {
        return Vec::new();
    };
    let freed = |run: &Run| {
        let marked = run.marked_at;
        marked.is_some_and(|marked| swept.duration_since(marked) >= FREED_AFTER + MARGIN)
    };
    let gone = uncollected(ledger).filter(|(_, run)| freed(run));
    gone.map(|(id, _)| id.clone()).take(COLLECTED_AT_ONCE).collect()
}

/// When the newest sweep that ended well was planned. Ledgers from before sweeps were entries of their own say so of each
/// repository.
fn last_good(ledger: &LedgerState) -> Option<Timestamp> {
    ledger.last_sweep.good.or_else(|| {
        let swept = ledger.repositories.iter().map(|volume| ledger.swept.get(volume));
        swept.min()?.copied()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ids::SweepId,
        ledger::{
            Event,
            testing::{Story, org},
        },
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn prune(story: &mut Story, run_id: &RunId, on: &str) {
        let event = Event::Pruned {
            run_id: run_id.clone(),
            why: "old".into(),
        };
        story.tell(event, at(on));
    }
    fn sweep(story: &mut Story, on: &str, failed: Option<&str>) {
        let sweep_id = SweepId::of(at(on), &org());
        story.tell(Event::sweep_planned(sweep_id.clone()), at(on));
        let failed = failed.map(str::to_owned);
        story.tell(Event::SweepEnded { sweep_id, failed }, at(on));
    }

    fn collect(story: &mut Story, on: &str) {
        let runs = collectable(&story.state);
        story.tell(Event::Collected { runs }, at(on));
    }

    #[test]
    fn an_org_is_swept_at_once_and_daily_until_everything_is_freed() {
        let mut story = Story::new();
        let good = story.good("2026-01-01T00:00:00Z", 60);
        assert_eq!(due_at(&story.state), None);
        prune(&mut story, &good, "2026-01-16T00:00:00Z");
        assert_eq!(due_at(&story.state), Some(at("2026-01-16T00:00:00Z")));
        sweep(&mut story, "2026-01-16T01:00:00Z", None);
        assert_eq!(due_at(&story.state), Some(at("2026-01-17T01:00:00Z")));
        sweep(&mut story, "2026-01-20T01:00:00Z", None);
        assert_eq!(due_at(&story.state), Some(at("2026-01-21T01:00:00Z")));
        sweep(&mut story, "2026-01-21T01:00:00Z", None);
        collect(&mut story, "2026-01-21T01:00:00Z");
        assert_eq!(due_at(&story.state), None);
    }

    #[test]
    fn a_sweep_that_was_planned_in_the_moment_of_the_end_is_not_followed_by_another() {
        let mut story = Story::new();
        story.aborted("2026-01-01T00:00:00Z", 60);
        sweep(&mut story, "2026-01-01T00:01:00Z", None);
        assert_eq!(due_at(&story.state), Some(at("2026-01-02T00:01:00Z")));
    }

    #[test]
    fn a_sweep_that_failed_is_tried_again_in_an_hour() {
        let mut story = Story::new();
        story.aborted("2026-01-01T00:00:00Z", 60);
        sweep(&mut story, "2026-01-01T01:00:00Z", Some("BucketFailed"));
        assert_eq!(due_at(&story.state), Some(at("2026-01-01T02:00:00Z")));
        sweep(&mut story, "2026-01-01T02:00:00Z", None);
        assert_eq!(due_at(&story.state), Some(at("2026-01-02T02:00:00Z")));
    }

    #[test]
    fn sweeps_that_fail_are_told_of_when_one_has_been_due_for_a_day() {
        let mut story = Story::new();
        story.aborted("2026-01-01T00:00:00Z", 60);
        sweep(&mut story, "2026-01-01T01:00:00Z", None);
        assert_eq!(failing(&story.state), None);
        // Due again on the second, for what the first has marked; what is garbage since changes nothing.
        sweep(&mut story, "2026-01-02T01:00:00Z", Some("BucketFailed"));
        story.aborted("2026-01-02T03:00:00Z", 60);
        sweep(&mut story, "2026-01-02T04:00:00Z", Some("RepositoryFailed"));
        let told = Failing {
            since: at("2026-01-02T01:00:00Z"),
            failed_at: at("2026-01-02T04:00:00Z"),
            why: "RepositoryFailed",
            told_at: at("2026-01-03T01:00:00Z"),
        };
        assert_eq!(failing(&story.state), Some(told.clone()));
        // While it is tried once more, the same is told.
        let sweep_id = SweepId::of(at("2026-01-03T02:00:00Z"), &org());
        let planned = Event::sweep_planned(sweep_id);
        story.tell(planned, at("2026-01-03T02:00:00Z"));
        assert_eq!(failing(&story.state), Some(told));
        sweep(&mut story, "2026-01-03T02:00:00Z", None);
        assert_eq!(failing(&story.state), None);
    }

    #[test]
    fn a_sweep_that_has_failed_once_after_long_rest_is_not_told_of_at_once() {
        let mut story = Story::new();
        let good = story.good("2026-01-01T00:00:00Z", 60);
        story.aborted("2026-01-01T01:00:00Z", 60);
        sweep(&mut story, "2026-01-06T01:00:00Z", None);
        sweep(&mut story, "2026-01-07T01:00:00Z", None);
        collect(&mut story, "2026-01-07T01:00:00Z");
        prune(&mut story, &good, "2026-02-01T00:00:00Z");
        sweep(&mut story, "2026-02-01T00:00:00Z", Some("BucketFailed"));
        let told_at = failing(&story.state).map(|failing| failing.told_at);
        assert_eq!(told_at, Some(at("2026-02-02T00:00:00Z")));
    }

    #[test]
    fn a_ledger_from_before_sweeps_were_entries_is_not_swept_anew() {
        let mut story = Story::new();
        let volume: crate::ids::PartId = "data-db-0".parse().unwrap();
        story.tell(
            Event::RepoInit {
                volume: volume.clone(),
            },
            at("2026-01-01T00:00:00Z"),
        );
        story.aborted("2026-01-01T00:00:00Z", 60);
        let swept = Event::Swept {
            volume,
            marked_packs: 1,
            freed_bytes: 0,
        };
        story.tell(swept, at("2026-01-01T01:00:00Z"));
        assert_eq!(due_at(&story.state), Some(at("2026-01-02T01:00:00Z")));
    }

    #[test]
    fn a_sweep_neither_waits_for_its_mover_nor_keeps_a_run_waiting_without_an_end() {
        let mut story = Story::new();
        story.aborted("2026-01-01T00:00:00Z", 60);
        let sweep_id = SweepId::of(at("2026-01-01T01:00:00Z"), &org());
        story.tell(Event::sweep_planned(sweep_id), at("2026-01-01T01:00:00Z"));
        let open = story.state.sweep.as_ref().unwrap();
        let look = |works, waits, now: &str| must_end(open, works, waits, at(now));
        for (works, waits, now, ends) in [
            (false, true, "2026-01-01T01:15:00Z", None),
            (false, false, "2026-01-01T01:15:01Z", Some("NotStarted")),
            (true, false, "2026-01-01T20:00:00Z", None),
            (true, true, "2026-01-01T01:15:01Z", Some("RunWaited")),
            (true, false, "2026-01-02T01:00:00Z", Some("TookTooLong")),
        ] {
            assert_eq!(look(works, waits, now), ends, "{now}");
        }
    }

    fn open_sweep() -> Sweep {
        let planned_at = at("2026-01-01T00:00:00Z");
        Sweep {
            sweep_id: SweepId::of(planned_at, &org()),
            planned_at,
            part_records: true,
        }
    }
    /// What is done so many minutes after the sweep was planned.
    fn step(
        minutes: i64,
        mover: SweepMover,
        at_work: Option<&'static str>,
        waits: Option<Waiting>,
    ) -> SweepStep {
        let sweep = open_sweep();
        let observed = SweepObserved {
            sweep: &sweep,
            mover,
            at_work,
            waits,
        };
        next_step(&observed, sweep.planned_at + SignedDuration::from_mins(minutes))
    }
    fn stops(why: &'static str) -> SweepStep {
        SweepStep::StopMovers {
            why,
            at_work: "sweep-1".to_owned(),
        }
    }

    #[test]
    fn an_open_sweep_follows_its_mover() {
        for (mover, want) in [
            (SweepMover::Absent, SweepStep::Start),
            (SweepMover::Suspended, SweepStep::Start),
            (SweepMover::Running, SweepStep::Renew),
            (SweepMover::Succeeded, SweepStep::RecordSwept),
            (SweepMover::Failed, SweepStep::Fail),
        ] {
            // One of another sweep may be on its way out, too.
            for at_work in [None, Some("sweep-1")] {
                assert_eq!(step(15, mover, at_work, None), want);
                assert_eq!(step(15, mover, at_work, Some(Waiting::Run)), want);
            }
        }
    }

    #[test]
    fn a_sweep_that_is_given_up_ends_once_no_mover_may_be_at_work() {
        for (minutes, mover, waits, why) in [
            (16, SweepMover::Absent, None, "NotStarted"),
            (16, SweepMover::Suspended, Some(Waiting::Run), "NotStarted"),
            (16, SweepMover::Running, Some(Waiting::Run), "RunWaited"),
            (1201, SweepMover::Running, None, "TookTooLong"),
            (1201, SweepMover::Absent, Some(Waiting::Run), "TookTooLong"),
        ] {
            assert_eq!(step(minutes, mover, Some("sweep-1"), waits), stops(why));
            assert_eq!(step(minutes, mover, None, waits), SweepStep::GiveUp(why));
        }
    }

    #[test]
    fn what_a_mover_has_done_is_written_down_however_late() {
        for waits in [None, Some(Waiting::Run)] {
            for minutes in [16, 1201] {
                let look = |mover| step(minutes, mover, Some("sweep-1"), waits);
                assert_eq!(look(SweepMover::Succeeded), SweepStep::RecordSwept);
                assert_eq!(look(SweepMover::Failed), SweepStep::Fail);
            }
        }
    }

    #[test]
    fn a_restore_waits_for_nothing_but_movers_on_their_way_out() {
        for mover in MOVERS {
            let waits = Some(Waiting::Restore);
            assert_eq!(step(0, mover, Some("sweep-1"), waits), stops("RestoreAskedFor"));
            assert_eq!(step(0, mover, None, waits), SweepStep::GiveUp("RestoreAskedFor"));
        }
    }

    const MOVERS: [SweepMover; 5] = [
        SweepMover::Absent,
        SweepMover::Suspended,
        SweepMover::Running,
        SweepMover::Succeeded,
        SweepMover::Failed,
    ];

    /// A cluster in which a mover may start or not, end or not, and go at once or later.
    #[derive(Debug)]
    struct Cluster {
        mover: SweepMover,
        leaving: bool,
    }

    impl Cluster {
        fn at_work(&self) -> Option<&'static str> {
            let works = self.leaving || matches!(self.mover, SweepMover::Suspended | SweepMover::Running);
            works.then_some("sweep-1")
        }

        fn carry_out(&mut self, step: &SweepStep, luck: u8) {
            match step {
                // A name is free again once what had it has gone.
                SweepStep::Start if !self.leaving => self.mover = MOVERS[usize::from(luck % 3)],
                SweepStep::Renew => self.mover = MOVERS[usize::from(luck % 3) + 2],
                SweepStep::StopMovers { .. } => {
                    self.leaving = luck.is_multiple_of(3);
                    self.mover = SweepMover::Absent;
                }
                _ => self.leaving &= luck.is_multiple_of(3),
            }
        }
    }

    proptest! {
        /// Whatever its mover does, an open sweep ends: within its deadline, within a quarter of an hour of a run that waits or
        /// a mover that does not start, and at once for a restore; and what is given up does not end under a mover.
        #[test]
        fn a_sweep_ends_in_time_whatever_its_mover_does(
            luck in prop::collection::vec(any::<u8>(), 1..40),
            waits in prop::sample::select(vec![None, Some(Waiting::Run), Some(Waiting::Restore)]),
            from in 0..1300_i64,
        ) {
            let mut cluster = Cluster { mover: SweepMover::Absent, leaving: false };
            let mut luck = luck.into_iter().cycle();
            let limit = match waits {
                None => 1201,
                Some(Waiting::Run) => from.clamp(16, 1201),
                Some(Waiting::Restore) => from.min(1201),
            };
            for minutes in 0.. {
                let waits = waits.filter(|_| minutes >= from);
                let step = step(minutes, cluster.mover, cluster.at_work(), waits);
                match step {
                    SweepStep::GiveUp(_) => {
                        prop_assert_eq!(cluster.at_work(), None);
                        break;
                    }
                    SweepStep::RecordSwept | SweepStep::Fail => break,
                    SweepStep::StopMovers { .. } => {}
                    SweepStep::Start | SweepStep::Renew => prop_assert!(minutes < limit, "{minutes}: {cluster:?}"),
                }
                // Whatever is on its way out has gone in the end.
                let leaves = if minutes > limit { 1 } else { luck.next().unwrap() };
                cluster.carry_out(&step, leaves);
                prop_assert!(minutes < limit + 3, "no end: {cluster:?}");
            }
        }
    }

    #[test]
    fn what_goes_is_what_has_ended_and_can_never_be_restored() {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 60);
        let pruned = story.good("2026-01-02T00:00:00Z", 60);
        let aborted = story.aborted("2026-01-03T00:00:00Z", 60);
        prune(&mut story, &pruned, "2026-01-20T00:00:00Z");
        story.open("2026-01-21T00:00:00Z");
        assert_eq!(garbage(&story.state), [pruned.clone(), aborted.clone()]);
        // What is gone is not named for ever.
        sweep(&mut story, "2026-01-20T01:00:00Z", None);
        sweep(&mut story, "2026-01-21T01:00:00Z", None);
        assert_eq!(collectable(&story.state), [aborted]);
        collect(&mut story, "2026-01-21T01:00:00Z");
        assert_eq!(garbage(&story.state), [pruned]);
    }
}
