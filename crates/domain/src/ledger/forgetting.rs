//! What the state of a ledger forgets: it is bounded by what can still be restored, not by all that ever was.
//!
//! A run goes from the state once its data is known to be gone from the bucket (`Collected`). The newest run that failed and the
//! newest that ended stay nevertheless, since conditions speak of them, until newer ones take their place.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LedgerState, RestoreRecord, Run};
use crate::{ids::RunId, restore_run::object_of};

/// Runs that were forgotten and whose ids are remembered. An OrgSnapshot outlives its run by no more than this many: it is deleted
/// or says how it ended long before.
const REMEMBERED_RUNS: usize = 64;
/// Restores that are remembered, besides the newest that succeeded. A mover of an older one that only starts now does not exist.
const REMEMBERED_RESTORES: usize = 32;
/// Names of OrgRestores that are remembered besides: an OrgRestore in Git is made again at every turn of a cluster, years after.
const REMEMBERED_NAMES: usize = 512;

/// What is remembered of the runs and restores that were forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Forgotten {
    /// The last of them, in the order in which they were forgotten: none is run once more.
    pub runs: Vec<RunId>,
    /// When the newest of all of them was planned: slots before it are done with.
    pub planned_at: Option<Timestamp>,
    /// The newest slot that any of them was for.
    pub slot: Option<Timestamp>,
    /// The last names of OrgRestores, each once, in the order in which they were forgotten: none restores anything once more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restores: Vec<ForgottenRestore>,
}

/// What is remembered of a restore that was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForgottenRestore {
    /// Name of its OrgRestore.
    pub name: String,
    /// Everything came back.
    pub data_is_back: bool,
}

impl Forgotten {
    fn add(&mut self, run_id: RunId, run: &Run) {
        self.planned_at = self.planned_at.max(Some(run.planned_at));
        self.slot = self.slot.max(run.plan.slot);
        self.runs.push(run_id);
        let surplus = self.runs.len().saturating_sub(REMEMBERED_RUNS);
        self.runs.drain(..surplus);
    }

    fn add_restore(&mut self, record: &RestoreRecord) {
        let name = object_of(&record.restore).0.to_owned();
        self.restores.retain(|known| known.name != name);
        self.restores.push(ForgottenRestore {
            name,
            data_is_back: record.succeeded || record.data_is_back,
        });
        let surplus = self.restores.len().saturating_sub(REMEMBERED_NAMES);
        self.restores.drain(..surplus);
    }
}

impl LedgerState {
    /// Whether the run was ever planned, as far back as that is remembered.
    pub fn knows(&self, run_id: &RunId) -> bool {
        self.runs.contains_key(run_id) || self.forgotten.runs.contains(run_id)
    }

    /// Whether the run has ended, as far back as that is remembered.
    pub fn has_ended(&self, run_id: &RunId) -> bool {
        match self.runs.get(run_id) {
            Some(run) => run.end.is_some(),
            None => self.forgotten.runs.contains(run_id),
        }
    }

    /// Whether any run was ever planned.
    pub fn has_run(&self) -> bool {
        !self.runs.is_empty() || self.forgotten.planned_at.is_some()
    }

    /// When the newest run was planned, also of those that were forgotten.
    pub fn newest_planned(&self) -> Option<Timestamp> {
        let known = self.runs.values().map(|run| run.planned_at).max();
        known.max(self.forgotten.planned_at)
    }

    /// The run that ended last: of those that have ended, the one that was planned last.
    pub fn newest_ended(&self) -> Option<(&RunId, &Run)> {
        let ended = self.runs.iter().filter(|(_, run)| run.end.is_some());
        ended.max_by_key(|(id, run)| (run.planned_at, *id))
    }

    /// The data of these runs is gone. What can be restored is none of them, whatever an entry says.
    pub(super) fn collect(&mut self, runs: &[RunId], at: Timestamp) {
        for run_id in runs {
            if let Some(run) = self.runs.get_mut(run_id)
                && run.garbage_since().is_some()
            {
                run.collected_at.get_or_insert(at);
            }
        }
    }

    /// Forgets what nothing asks for any more.
    pub(super) fn forget(&mut self) {
        self.forget_runs();
        self.forget_restores();
    }

    fn forget_runs(&mut self) {
        let newest = [self.newest_failed(), self.newest_ended()];
        let told_of = newest.map(|newest| newest.map(|(id, _)| id.clone()));
        let gone: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(id, run)| run.collected_at.is_some() && !told_of.contains(&Some((*id).clone())))
            .map(|(id, _)| id.clone())
            .collect();
        for run_id in gone {
            if let Some(run) = self.runs.remove(&run_id) {
                self.forgotten.add(run_id, &run);
            }
        }
    }

    /// A restore that has filled its claims and never ended is remembered as long as its run.
    fn forget_restores(&mut self) {
        while self.restores.len() > REMEMBERED_RESTORES {
            let succeeded = self.restores.iter().rposition(|restore| restore.succeeded);
            let oldest = usize::from(succeeded == Some(0));
            let gone = self.restores.remove(oldest);
            self.filled.remove(&gone.restore);
            self.forgotten.add_restore(&gone);
        }
        let (filled, runs) = (&mut self.filled, &self.runs);
        filled.retain(|_, run_id| runs.contains_key(run_id));
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use jiff::SignedDuration;

    use super::*;
    use crate::{
        ids::SweepId,
        ledger::{
            Event,
            testing::{Story, org},
        },
        sweep::{collectable, due_at, garbage},
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
    /// A sweep that ends well after an hour, and what is gone then.
    fn sweep(story: &mut Story, on: &str) -> Vec<RunId> {
        let sweep_id = SweepId::of(at(on), &org());
        story.tell(Event::sweep_planned(sweep_id.clone()), at(on));
        let ended = Event::SweepEnded {
            sweep_id,
            failed: None,
        };
        story.tell(ended, at(on) + SignedDuration::from_hours(1));
        let runs = collectable(&story.state);
        if !runs.is_empty() {
            let collected = Event::Collected { runs: runs.clone() };
            story.tell(collected, at(on) + SignedDuration::from_hours(1));
        }
        runs
    }

    #[test]
    fn a_run_is_forgotten_once_its_data_is_gone_and_not_before() {
        let mut story = Story::new();
        let old = story.good("2026-01-01T00:00:00Z", 60);
        let kept = story.good("2026-01-02T00:00:00Z", 60);
        prune(&mut story, &old, "2026-01-16T00:00:00Z");
        // Too young to be marked, then marked, then too young to be freed.
        for on in [
            "2026-01-16T01:00:00Z",
            "2026-01-19T00:14:00Z",
            "2026-01-19T02:00:00Z",
            "2026-01-20T02:00:00Z",
        ] {
            assert_eq!(sweep(&mut story, on), []);
            assert_eq!(garbage(&story.state), from_ref(&old), "{on}");
        }
        assert!(story.state.runs[&old].marked_at.is_some());
        assert_eq!(sweep(&mut story, "2026-01-20T02:15:00Z"), from_ref(&old));
        assert_eq!(story.state.runs.keys().collect::<Vec<_>>(), [&kept]);
        assert_eq!((garbage(&story.state), due_at(&story.state)), (vec![], None));
        assert!(story.state.knows(&old) && story.state.has_run());
    }

    #[test]
    fn one_sweep_that_comes_late_marks_and_does_not_free() {
        let mut story = Story::new();
        let old = story.aborted("2026-01-01T00:00:00Z", 60);
        story.good("2026-01-02T00:00:00Z", 60);
        let ended = story.aborted("2026-01-03T00:00:00Z", 60);
        assert_eq!(sweep(&mut story, "2026-03-01T00:00:00Z"), []);
        assert_eq!(due_at(&story.state), Some(at("2026-03-02T00:00:00Z")));
        assert_eq!(
            sweep(&mut story, "2026-03-02T01:00:00Z"),
            [old.clone(), ended.clone()]
        );
        // The newest that failed is still told of, and swept no more.
        assert!(!story.state.runs.contains_key(&old) && story.state.runs.contains_key(&ended));
        assert_eq!((garbage(&story.state), due_at(&story.state)), (vec![], None));
        story.aborted("2026-03-03T00:00:00Z", 60);
        assert!(!story.state.runs.contains_key(&ended));
    }

    #[test]
    fn the_newest_run_that_ended_is_told_of_however_long_ago() {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-02T00:00:00Z", 60);
        prune(&mut story, &suspicious, "2026-01-20T00:00:00Z");
        sweep(&mut story, "2026-01-24T00:00:00Z");
        assert_eq!(sweep(&mut story, "2026-01-26T00:00:00Z"), from_ref(&suspicious));
        assert_eq!(story.state.newest_ended().unwrap().0, &suspicious);
        story.good("2026-01-27T00:00:00Z", 60);
        assert!(!story.state.runs.contains_key(&suspicious));
    }

    #[test]
    fn what_can_be_restored_or_is_open_is_never_forgotten() {
        let mut story = Story::new();
        let good = story.good("2026-01-01T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-02T00:00:00Z", 60);
        let open = story.open("2026-01-03T00:00:00Z");
        let all = vec![good, suspicious, open];
        story.tell(Event::Collected { runs: all.clone() }, at("2026-02-01T00:00:00Z"));
        assert_eq!(story.state.runs.keys().cloned().collect::<Vec<_>>(), all);
        assert!(story.state.runs.values().all(|run| run.collected_at.is_none()));
    }

    #[test]
    fn a_sweep_of_an_earlier_version_leaves_part_records_and_settles_nothing() {
        let mut story = Story::new();
        story.aborted("2026-01-01T00:00:00Z", 60);
        for on in ["2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z"] {
            let sweep_id = SweepId::of(at(on), &org());
            let planned = Event::SweepPlanned {
                sweep_id: sweep_id.clone(),
                part_records: false,
            };
            story.tell(planned, at(on));
            let ended = Event::SweepEnded {
                sweep_id,
                failed: None,
            };
            story.tell(ended, at(on));
        }
        assert_eq!(collectable(&story.state), []);
        assert_eq!(due_at(&story.state), Some(at("2026-01-08T00:00:00Z")));
    }

    #[test]
    fn a_forgotten_run_is_not_run_again_and_its_slot_is_done_with() {
        let mut story = Story::new();
        let old = story.at_slot("2026-01-01T00:00:00Z", 60);
        story.good("2025-12-01T00:00:00Z", 60);
        prune(&mut story, &old, "2026-01-16T00:00:00Z");
        story.good("2026-01-15T00:00:00Z", 60);
        sweep(&mut story, "2026-01-20T00:00:00Z");
        sweep(&mut story, "2026-01-22T00:00:00Z");
        assert!(!story.state.runs.contains_key(&old) && story.state.knows(&old));
        assert!(story.state.has_ended(&old));
        let open = story.open("2026-01-23T00:00:00Z");
        assert!(story.state.knows(&open) && !story.state.has_ended(&open));
        let unknown: RunId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert!(!story.state.knows(&unknown) && !story.state.has_ended(&unknown));
        let forgotten = &story.state.forgotten;
        assert_eq!(forgotten.slot, Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(forgotten.planned_at, forgotten.slot);
    }

    fn restored(story: &mut Story, run_id: &RunId, number: u64, succeeded: bool) {
        restored_by(story, run_id, format!("home ({number})"), number, succeeded);
    }

    fn restored_by(story: &mut Story, run_id: &RunId, restore: String, number: u64, succeeded: bool) {
        let filled = Event::Filled {
            restore: restore.clone(),
            run_id: run_id.clone(),
            claims: vec![],
        };
        story.tell(filled, at("2026-01-02T00:00:00Z"));
        let event = Event::Restored {
            restore,
            run_id: run_id.clone(),
            succeeded,
            data_is_back: succeeded,
            seconds: number,
            bytes: 0,
            refused: 0,
            why: None,
        };
        story.tell(event, at("2026-01-02T00:00:00Z"));
    }

    #[test]
    fn the_last_restores_are_remembered_and_the_newest_that_succeeded() {
        let mut story = Story::new();
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        for number in 0..100 {
            restored(&mut story, &run_id, number, number == 7);
        }
        let known: Vec<u64> = story.state.restores.iter().map(|known| known.seconds).collect();
        assert_eq!(known.len(), REMEMBERED_RESTORES);
        assert_eq!((known[0], known[1], known[31]), (7, 69, 99));
        assert_eq!(story.state.filled.len(), REMEMBERED_RESTORES);
        // All had one name.
        assert_eq!(story.state.forgotten.restores.len(), 1);
    }

    #[test]
    fn of_very_many_restores_the_last_names_are_remembered() {
        let mut story = Story::new();
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        for number in 0..1_000 {
            let restore = format!("home-{number} (uid)");
            restored_by(&mut story, &run_id, restore, number, number % 2 == 1);
        }
        let names = &story.state.forgotten.restores;
        assert_eq!(names.len(), REMEMBERED_NAMES);
        let last = names.last().unwrap();
        assert_eq!((last.name.as_str(), last.data_is_back), ("home-967", true));
        assert_eq!(names[0].name, "home-456");
    }

    #[test]
    fn a_restore_that_never_ended_is_remembered_as_long_as_its_run() {
        let mut story = Story::new();
        let old = story.good("2026-01-01T00:00:00Z", 60);
        let filled = Event::Filled {
            restore: "home (1)".into(),
            run_id: old.clone(),
            claims: vec![],
        };
        story.tell(filled, at("2026-01-02T00:00:00Z"));
        story.good("2026-01-03T00:00:00Z", 60);
        prune(&mut story, &old, "2026-01-20T00:00:00Z");
        sweep(&mut story, "2026-01-24T00:00:00Z");
        assert_eq!(story.state.filled.len(), 1);
        sweep(&mut story, "2026-01-26T00:00:00Z");
        assert_eq!(story.state.filled.len(), 0);
    }
}
