//! What is open in a ledger: at most one run, sweep or restore at a time, and whether the work of a mover is still wanted.
//!
//! A leader that is behind may start a mover of something that has ended. So a mover reads the ledger when it starts, and
//! touches nothing unless its work is open there.

use super::LedgerState;
use crate::ids::{RunId, SweepId};

/// What a mover works for, in the words of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work<'a> {
    /// A part of a run.
    Run(&'a RunId),
    /// A part of a restore of a run. `restore` is its name in the ledger.
    Restore {
        /// `<name> (<UID>)` of the OrgRestore.
        restore: &'a str,
        /// The run that comes back.
        run_id: &'a RunId,
    },
    /// A sweep.
    Sweep(&'a SweepId),
}

/// Why a mover's work is not wanted any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger does not have {what} as open: nothing was done")]
pub struct Ended {
    /// In words: `run 01…`.
    pub what: String,
}

impl LedgerState {
    /// Whether nothing is open that uses the org's repositories, neither a run nor a sweep nor a restore: one may begin.
    pub fn is_idle(&self) -> bool {
        self.sweep.is_none() && self.restore.is_none() && self.open_runs().next().is_none()
    }

    /// Whether the run may be pruned: it can still be restored, and nothing is open that may need it. A restore has pinned its
    /// run before it takes anything away.
    pub fn may_prune(&self, run_id: &RunId) -> bool {
        let run = self.runs.get(run_id);
        self.is_idle() && run.is_some_and(|run| run.restorable().is_some())
    }

    /// Whether `work` is open.
    pub fn check_open(&self, work: &Work<'_>) -> Result<(), Ended> {
        let (open, what) = match work {
            Work::Run(run_id) => (
                self.runs.get(run_id).is_some_and(|run| run.end.is_none()),
                format!("run {run_id}"),
            ),
            Work::Restore { restore, run_id } => {
                let is_open = self
                    .restore
                    .as_ref()
                    .is_some_and(|open| open.restore == *restore && open.run_id == **run_id);
                let is_there = self
                    .runs
                    .get(run_id)
                    .is_some_and(|run| run.restorable().is_some());
                (
                    is_open && is_there && !self.filled.contains_key(*restore),
                    format!("OrgRestore {restore} of run {run_id}"),
                )
            }
            Work::Sweep(sweep_id) => (
                self.sweep
                    .as_ref()
                    .is_some_and(|open| open.sweep_id == **sweep_id),
                format!("sweep {sweep_id}"),
            ),
        };
        if open { Ok(()) } else { Err(Ended { what }) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{Event, testing::Story};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn sweep(story: &Story, text: &str) -> SweepId {
        SweepId::of(at(text), story.state.org_id.as_ref().unwrap())
    }

    #[test]
    fn a_run_is_open_from_its_plan_to_its_first_end() {
        let mut story = Story::new();
        let ended = story.good("2026-01-01T00:00:00Z", 60);
        assert!(story.state.check_open(&Work::Run(&ended)).is_err());
        let open = story.open("2026-01-02T00:00:00Z");
        assert_eq!(story.state.check_open(&Work::Run(&open)), Ok(()));
        assert!(!story.state.is_idle());
        let unknown: RunId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let refused = story.state.check_open(&Work::Run(&unknown)).unwrap_err();
        assert!(refused.to_string().contains(unknown.as_str()), "{refused}");
    }

    #[test]
    fn a_run_that_a_restore_has_pinned_is_not_pruned() {
        let mut story = Story::new();
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        assert!(story.state.may_prune(&run_id));
        let planned = Event::RestorePlanned {
            restore: "home (7c9e6679)".to_owned(),
            run_id: run_id.clone(),
        };
        story.tell(planned, at("2026-01-20T00:00:00Z"));
        assert!(!story.state.may_prune(&run_id));
    }

    #[test]
    fn one_sweep_is_open_at_a_time_and_its_first_end_wins() {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 60);
        let (first, second) = (
            sweep(&story, "2026-01-02T00:00:00Z"),
            sweep(&story, "2026-01-03T00:00:00Z"),
        );
        let planned = |sweep_id: &SweepId| Event::sweep_planned(sweep_id.clone());
        let ended = |sweep_id: &SweepId, failed: Option<&str>| Event::SweepEnded {
            sweep_id: sweep_id.clone(),
            failed: failed.map(str::to_owned),
        };
        story.tell(planned(&first), at("2026-01-02T00:00:00Z"));
        story.tell(planned(&second), at("2026-01-02T00:00:01Z"));
        assert!(!story.state.is_idle());
        assert_eq!(story.state.check_open(&Work::Sweep(&first)), Ok(()));
        assert!(story.state.check_open(&Work::Sweep(&second)).is_err());
        story.tell(ended(&second, None), at("2026-01-02T00:00:02Z"));
        assert!(!story.state.is_idle(), "the end of another sweep ends nothing");
        story.tell(ended(&first, Some("BucketFailed")), at("2026-01-02T00:00:03Z"));
        story.tell(ended(&first, None), at("2026-01-02T00:00:04Z"));
        assert!(story.state.is_idle());
        assert!(story.state.check_open(&Work::Sweep(&first)).is_err());
        let (failed_at, why) = story.state.last_sweep.failed.clone().unwrap();
        assert_eq!(
            (failed_at, why.as_str()),
            (at("2026-01-02T00:00:03Z"), "BucketFailed")
        );
        assert_eq!(story.state.last_sweep.good, None);
    }

    #[test]
    fn a_restore_is_open_until_its_volumes_are_filled_or_it_has_ended() {
        let mut story = Story::new();
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        let work = Work::Restore {
            restore: "r (uid)",
            run_id: &run_id,
        };
        assert!(story.state.check_open(&work).is_err(), "it has not begun");
        let planned = |restore: &str| Event::RestorePlanned {
            restore: restore.to_owned(),
            run_id: run_id.clone(),
        };
        story.tell(planned("r (uid)"), at("2026-01-02T00:00:00Z"));
        story.tell(planned("another (uid)"), at("2026-01-02T00:00:01Z"));
        assert_eq!(story.state.check_open(&work), Ok(()));
        assert!(!story.state.is_idle());
        let another = Work::Restore {
            restore: "another (uid)",
            run_id: &run_id,
        };
        assert!(story.state.check_open(&another).is_err(), "one is open at a time");
        let mut filled = story.state.clone();
        filled.filled.insert("r (uid)".to_owned(), run_id.clone());
        assert!(filled.check_open(&work).is_err());
        let restored = |restore: &str| Event::Restored {
            restore: restore.to_owned(),
            run_id: run_id.clone(),
            succeeded: false,
            data_is_back: false,
            seconds: 1,
            bytes: 0,
            refused: 0,
            why: None,
        };
        story.tell(restored("another (uid)"), at("2026-01-02T00:00:02Z"));
        assert!(!story.state.is_idle(), "the end of another one ends nothing");
        story.tell(restored("r (uid)"), at("2026-01-02T00:00:03Z"));
        assert!(story.state.is_idle());
        assert!(story.state.check_open(&work).is_err());
    }
}
