//! Which runs of the ledger the cluster shows, and which run an OrgSnapshot is of.

use super::{ids::RunId, ledger::LedgerState, names};

/// The runs that have an OrgSnapshot of the operator's: the open ones, the newest good one, and the newest failed one.
pub fn shown(ledger: &LedgerState) -> Vec<RunId> {
    let open = ledger.open_runs().map(|(id, _)| id);
    let good = ledger.newest_good();
    let failed = ledger.newest_failed();
    let mut shown: Vec<RunId> = open
        .chain(good.map(|(id, _)| id))
        .chain(failed.map(|(id, _)| id))
        .cloned()
        .collect();
    shown.sort();
    shown.dedup();
    shown
}

/// The run of the OrgSnapshot `name`; `own` = the one of this very object, by its creation and UID.
///
/// A name is one run for as long as that run can be restored: an object that somebody makes anew, as tools do of what lies in
/// Git, asks for nothing more. Of a run that failed or is gone it asks again.
pub fn run_of(ledger: &LedgerState, name: &str, own: RunId) -> RunId {
    if ledger.knows(&own) {
        return own;
    }
    let namesakes = ledger
        .runs
        .iter()
        .filter(|(_, run)| run.plan.snapshot_name == name);
    let restorable = namesakes.filter(|(_, run)| run.restorable().is_some());
    let newest = restorable.max_by_key(|(id, run)| (run.planned_at, *id));
    newest.map_or(own, |(id, _)| id.clone())
}

/// Name of the OrgSnapshot of a run whose own is taken. The longest org and a run together are longer than a name may be.
pub fn name(org_name: &str, run: &RunId) -> String {
    names::bounded(format!("{org_name}-{}", run.as_str().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Event, testing::Story};

    #[test]
    fn an_orgsnapshot_that_is_made_anew_is_of_the_same_run_while_that_can_be_restored() {
        let mut story = Story::new();
        let good = story.good("2026-01-01T00:00:00Z", 60);
        let failed = story.aborted("2026-01-02T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-03T00:00:00Z", 60);
        let open = story.open("2026-01-04T00:00:00Z");
        let name = |story: &Story, run: &RunId| story.state.runs[run].plan.snapshot_name.clone();
        let again: RunId = RunId::of("2026-01-05T00:00:00Z".parse().unwrap(), "another");
        let of = |story: &Story, of: &RunId| run_of(&story.state, &name(story, of), again.clone());
        for (run, found) in [
            (&good, &good),
            (&suspicious, &suspicious),
            // Nothing came of it: it is asked for again.
            (&failed, &again),
            // Who deletes the object of an open run ends that.
            (&open, &again),
        ] {
            assert_eq!(of(&story, run), *found);
            assert_eq!(
                run_of(&story.state, &name(&story, run), run.clone()),
                *run,
                "its own"
            );
        }
        assert_eq!(run_of(&story.state, "another-name", again.clone()), again);
        story.tell(
            Event::Pruned {
                run_id: good.clone(),
                why: "aged".into(),
            },
            "2026-01-06T00:00:00Z".parse().unwrap(),
        );
        assert_eq!(of(&story, &good), again, "nothing of it is left");
        assert_eq!(
            run_of(&story.state, &name(&story, &good), good.clone()),
            good,
            "of the object that was there"
        );
        // Another object of that name asks for no run that is there, while its own is remembered.
        story.state.forgotten.runs.push(again.clone());
        assert_eq!(of(&story, &suspicious), again, "it was run already");
    }

    #[test]
    fn three_runs_are_shown_however_many_there_are() {
        let mut story = Story::new();
        assert_eq!(shown(&story.state), []);
        story.good("2026-01-01T00:00:00Z", 60);
        story.aborted("2026-01-02T00:00:00Z", 60);
        let failed = story.aborted("2026-01-03T00:00:00Z", 60);
        let good = story.good("2026-01-04T00:00:00Z", 60);
        let open = story.planned("2026-01-05T00:00:00Z".parse().unwrap(), &[]).run_id;
        assert_eq!(shown(&story.state), [failed, good, open]);
    }

    #[test]
    fn the_failed_run_that_is_shown_is_the_one_planned_last_whatever_its_id() {
        let mut story = Story::new();
        let first = story.aborted("2026-01-01T00:00:00Z", 60);
        story.aborted("2026-01-02T00:00:00Z", 60);
        let run = story.state.runs.get_mut(&first).unwrap();
        run.planned_at = "2026-01-03T00:00:00Z".parse().unwrap();
        assert_eq!(shown(&story.state), [first]);
    }

    #[test]
    fn a_suspicious_run_is_shown_as_failed() {
        let mut story = Story::new();
        let good = story.good("2026-01-01T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-02T00:00:00Z", 60);
        assert_eq!(shown(&story.state), [good, suspicious]);
    }
}
