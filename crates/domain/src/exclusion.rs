//! How pieces of work on an org's repositories exclude each other. Pure.
//!
//! A run, a sweep or a restore begins with an entry of the ledger, which is written only where nothing is open, no mover may be
//! at work, and nothing has begun since the API server was asked which movers there are. The lock is taken before that. It has
//! no expiry: it is taken over from a holder that has ended.

use super::ledger::LedgerState;

/// What is seen before the entry that begins something is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Sequence number of the ledger's next entry, read **before** the API server was asked for the movers.
    pub next_seq: u64,
    /// The first of the org's movers that may be at work, asked of the API server; none = none may.
    pub at_work: Option<&'a str>,
}

/// What becomes of beginning a run, a sweep or a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Its entry may be written: after the append, it is.
    Written,
    /// This mover may be at work.
    Waits(String),
    /// The ledger has gone on, or something is open: look again.
    Overtaken,
}

/// Whether the entry that begins a run, a sweep or a restore is written next in `ledger`. Decided anew whenever another entry was faster:
/// whoever begins anything writes one.
pub fn begin(seen: &Seen<'_>, ledger: &LedgerState) -> Beginning {
    if let Some(mover) = seen.at_work {
        return Beginning::Waits(mover.to_owned());
    }
    if ledger.next_seq == seen.next_seq && ledger.is_idle() {
        Beginning::Written
    } else {
        Beginning::Overtaken
    }
}

/// Somebody else works on the org's repositories.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the org's repositories are in use by {holder}{}", said(.mover.as_deref()))]
pub struct Busy {
    /// `<kind>/<name>`.
    pub holder: String,
    /// The mover that may still be at work, where that is known.
    pub mover: Option<String>,
}

fn said(mover: Option<&str>) -> String {
    mover.map_or_else(String::new, |mover| {
        format!(": waits for mover {mover} of earlier work to end")
    })
}

/// Whether the org's lock may be taken over from `holder`. Where none of the org's movers may be at work the holder has ended:
/// one process works on an org at a time, and it gives the lock back before it begins something else. `at_work` is the first
/// of the movers that may be; none = none may.
pub fn take_over(holder: &str, at_work: Option<&str>) -> Result<(), Busy> {
    match at_work {
        None => Ok(()),
        Some(mover) => Err(Busy {
            holder: holder.to_owned(),
            mover: Some(mover.to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ids::{RunId, SweepId},
        ledger::{
            Event,
            testing::{Story, org},
        },
    };

    const PLANNED: &str = "2026-01-02T00:00:00Z";

    fn planned() -> Timestamp {
        PLANNED.parse().unwrap()
    }
    fn begins(story: &Story, next_seq: u64, at_work: Option<&str>) -> Beginning {
        begin(&Seen { next_seq, at_work }, &story.state)
    }

    #[test]
    fn something_begins_where_nothing_is_open_and_nothing_may_be_at_work() {
        let mut idle = Story::new();
        idle.good("2026-01-01T00:00:00Z", 60);
        let mut running = idle.clone();
        running.open(PLANNED);
        let mut swept = idle.clone();
        let sweep_id = SweepId::of(planned(), &org());
        swept.tell(Event::sweep_planned(sweep_id), planned());
        let mut restoring = idle.clone();
        let run_id = restoring.state.newest_good().unwrap().0.clone();
        let restore = "home (uid)".to_owned();
        restoring.tell(Event::RestorePlanned { restore, run_id }, planned());
        let waits = Beginning::Waits("copy-1".to_owned());
        for (story, at_work, want) in [
            (&idle, None, Beginning::Written),
            (&running, None, Beginning::Overtaken),
            (&swept, None, Beginning::Overtaken),
            (&restoring, None, Beginning::Overtaken),
            (&idle, Some("copy-1"), waits.clone()),
            (&running, Some("copy-1"), waits),
        ] {
            assert_eq!(begins(story, story.state.next_seq, at_work), want);
        }
    }

    #[test]
    fn what_began_and_ended_since_the_movers_were_asked_for_overtakes() {
        let mut story = Story::new();
        let before = story.state.next_seq;
        story.aborted(PLANNED, 60);
        assert!(story.state.is_idle());
        assert_eq!(begins(&story, before, None), Beginning::Overtaken);
        assert_eq!(begins(&story, story.state.next_seq, None), Beginning::Written);
    }

    #[test]
    fn a_lock_is_taken_over_from_a_holder_that_has_ended() {
        assert_eq!(take_over("OrgRestore/home", None), Ok(()));
        let busy = take_over("OrgRestore/home", Some("copy-1")).unwrap_err();
        assert_eq!(
            busy.to_string(),
            "the org's repositories are in use by OrgRestore/home: waits for mover copy-1 of earlier work to end"
        );
    }

    /// How far an operator is with beginning a run.
    #[derive(Clone, Default)]
    enum Operator {
        #[default]
        Idle,
        HasRead {
            next_seq: u64,
        },
        HasAsked {
            next_seq: u64,
            at_work: Option<String>,
        },
    }

    /// One ledger and one cluster, in which several operators take themselves for the leader.
    struct World {
        story: Story,
        operators: [Operator; 3],
        /// Movers that may be at work: each of the run that it was started for while that was open.
        movers: Vec<RunId>,
        at: Timestamp,
    }

    #[derive(Clone, Debug)]
    enum Action {
        ReadLedger(usize),
        AskForMovers(usize),
        Begin(usize),
        StartMover,
        EndRun,
        MoverGoes,
    }

    impl World {
        fn new() -> Self {
            Self {
                story: Story::new(),
                operators: Default::default(),
                movers: Vec::new(),
                at: planned(),
            }
        }

        fn open(&self) -> Option<RunId> {
            self.story.state.open_runs().next().map(|(id, _)| id.clone())
        }

        fn act(&mut self, action: &Action) {
            self.at += SignedDuration::from_secs(1);
            match action {
                Action::ReadLedger(at) => {
                    let next_seq = self.story.state.next_seq;
                    self.operators[*at] = Operator::HasRead { next_seq };
                }
                Action::AskForMovers(at) => {
                    let at_work = self.movers.first().map(ToString::to_string);
                    if let Operator::HasRead { next_seq } = self.operators[*at] {
                        self.operators[*at] = Operator::HasAsked { next_seq, at_work };
                    }
                }
                Action::Begin(at) => self.begin(*at),
                Action::StartMover => self.movers.extend(self.open()),
                Action::EndRun => {
                    if let Some(run_id) = self.open() {
                        let why = "ended".to_owned();
                        self.story.tell(Event::RunAborted { run_id, why }, self.at);
                    }
                }
                Action::MoverGoes => {
                    self.movers.pop();
                }
            }
        }

        fn begin(&mut self, at: usize) {
            let operator = std::mem::take(&mut self.operators[at]);
            let Operator::HasAsked { next_seq, at_work } = operator else {
                return;
            };
            let at_work = at_work.as_deref();
            if begin(&Seen { next_seq, at_work }, &self.story.state) == Beginning::Written {
                self.story.planned(self.at, &[("data-db-0", 1)]);
            }
        }
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            3 => (0..3_usize).prop_map(Action::ReadLedger),
            3 => (0..3_usize).prop_map(Action::AskForMovers),
            3 => (0..3_usize).prop_map(Action::Begin),
            2 => Just(Action::StartMover),
            1 => Just(Action::EndRun),
            1 => Just(Action::MoverGoes),
        ]
    }

    proptest! {
        /// However the looks of several operators lie between each other, one thing is open, and no mover of something that has
        /// ended is at work beside it.
        #[test]
        fn one_thing_is_at_work_at_a_time(actions in prop::collection::vec(action(), 0..80)) {
            let mut world = World::new();
            for action in actions {
                world.act(&action);
                prop_assert!(world.story.state.open_runs().count() <= 1);
                if let Some(open) = world.open() {
                    prop_assert!(world.movers.iter().all(|mover| *mover == open), "after {action:?}");
                }
            }
        }
    }
}
