//! Which runs of the ledger the cluster shows: at most three per org.

use super::{ids::RunId, ledger::LedgerState, names};

/// The runs that have an OrgSnapshot: the open ones, the newest good one, and the newest failed one.
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

/// Name of the OrgSnapshot of a run whose own is taken. The longest org and a run together are longer than a name may be.
pub fn name(org_name: &str, run: &RunId) -> String {
    names::bounded(format!("{org_name}-{}", run.as_str().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::Story;

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
