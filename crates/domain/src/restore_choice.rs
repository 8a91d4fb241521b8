//! Which run a restore means.

use jiff::Timestamp;

use super::{
    ids::RunId,
    ledger::{LedgerState, Run},
    stage::Stage,
};

/// How a restore names its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunChoice<'a> {
    /// By its id.
    Id(&'a str),
    /// The newest good run.
    LatestGood,
    /// The newest good run whose consistency point is not after that time.
    AsOf(Timestamp),
}

/// Why there is no such run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreRefusal {
    /// Not in the org's ledger, or it never became a result.
    #[error(
        "spec.snapshot.runId: the ledger of this org holds no committed run {run_id}; runs that can be restored: {known}"
    )]
    Unknown {
        /// As given.
        run_id: String,
        /// The newest ones.
        known: String,
    },
    /// Its data is gone.
    #[error("spec.snapshot.runId: run {run_id} was pruned ({why}); runs that can be restored: {known}")]
    Pruned {
        /// As given.
        run_id: String,
        /// Why it was.
        why: String,
        /// The newest ones.
        known: String,
    },
    /// What customers put into production stays there.
    #[error(
        "spec.snapshot: run {run_id} was taken in production and is never restored into a Region whose spec.stage is \
         NonProduction: restore it in a Production Region"
    )]
    ProductionData {
        /// The run.
        run_id: RunId,
    },
    /// No good run is old enough, or there is none at all.
    #[error("spec.snapshot: this org has no good run{when}; runs that can be restored: {known}")]
    NoGood {
        /// ` at or before <time>`, or nothing.
        when: String,
        /// The newest ones.
        known: String,
    },
}

/// The run that a choice means now, in a Region of stage `target`. A Suspicious run is restored only by its id.
pub fn resolve<'a>(
    ledger: &'a LedgerState,
    choice: RunChoice<'_>,
    target: Stage,
) -> Result<(&'a RunId, &'a Run), RestoreRefusal> {
    let (id, run) = find(ledger, choice)?;
    match run.manifest() {
        Some(manifest) if !manifest.stage.may_enter(target) => {
            Err(RestoreRefusal::ProductionData { run_id: id.clone() })
        }
        _ => Ok((id, run)),
    }
}

fn find<'a>(ledger: &'a LedgerState, choice: RunChoice<'_>) -> Result<(&'a RunId, &'a Run), RestoreRefusal> {
    let as_of = match choice {
        RunChoice::Id(wanted) => return by_id(ledger, wanted),
        RunChoice::LatestGood => None,
        RunChoice::AsOf(time) => Some(time),
    };
    let in_time = |run: &Run| {
        let point = run.manifest().map(|manifest| manifest.consistency_point);
        as_of.is_none_or(|as_of| point.is_some_and(|point| point <= as_of))
    };
    let found = ledger.good_runs().into_iter().find(|(_, run)| in_time(run));
    found.ok_or_else(|| RestoreRefusal::NoGood {
        when: as_of
            .map(|at| format!(" with a consistency point at or before {at}"))
            .unwrap_or_default(),
        known: known(ledger),
    })
}

fn by_id<'a>(ledger: &'a LedgerState, wanted: &str) -> Result<(&'a RunId, &'a Run), RestoreRefusal> {
    let found = ledger
        .runs
        .iter()
        .find(|(id, run)| id.as_str() == wanted && run.manifest().is_some());
    let Some((id, run)) = found else {
        return Err(RestoreRefusal::Unknown {
            run_id: wanted.to_owned(),
            known: known(ledger),
        });
    };
    match &run.pruned {
        Some((_, why)) => Err(RestoreRefusal::Pruned {
            run_id: wanted.to_owned(),
            why: why.clone(),
            known: known(ledger),
        }),
        None => Ok((id, run)),
    }
}

/// The newest runs that can be restored, for the message.
fn known(ledger: &LedgerState) -> String {
    const SHOWN: usize = 5;
    let runs: Vec<&str> = ledger
        .restorable_runs()
        .into_iter()
        .take(SHOWN)
        .map(|(id, _)| id.as_str())
        .collect();
    if runs.is_empty() {
        "none".to_owned()
    } else {
        runs.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Event, testing::Story};

    type Is = fn(&RestoreRefusal) -> bool;

    fn as_of(time: &str) -> RunChoice<'static> {
        RunChoice::AsOf(time.parse().unwrap())
    }

    #[test]
    fn the_newest_good_run_is_chosen_and_a_suspicious_one_only_by_its_id() {
        let mut story = Story::new();
        let first = story.good("2026-01-01T00:00:00Z", 60);
        let second = story.good("2026-01-02T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-03T00:00:00Z", 60);
        let chosen = |choice: RunChoice<'_>| {
            resolve(&story.state, choice, Stage::Production).map(|(id, _)| id.clone())
        };
        assert_eq!(chosen(RunChoice::LatestGood), Ok(second.clone()));
        assert_eq!(chosen(as_of("2026-01-01T23:59:59Z")), Ok(first));
        assert_eq!(chosen(as_of("2026-01-02T00:00:00Z")), Ok(second));
        assert_eq!(chosen(RunChoice::Id(suspicious.as_str())), Ok(suspicious));
    }

    #[test]
    fn p20_a_run_of_production_is_restored_in_production_alone() {
        let mut story = Story::new();
        let run = story.good("2026-01-01T00:00:00Z", 60);
        for choice in [
            RunChoice::LatestGood,
            RunChoice::Id(run.as_str()),
            as_of("2026-01-02T00:00:00Z"),
        ] {
            assert!(resolve(&story.state, choice, Stage::Production).is_ok());
            let refusal = resolve(&story.state, choice, Stage::NonProduction).unwrap_err();
            assert!(matches!(refusal, RestoreRefusal::ProductionData { .. }));
            assert!(refusal.to_string().contains(run.as_str()), "{refusal}");
        }
    }

    #[test]
    fn what_cannot_be_restored_is_named_with_what_can() {
        let mut story = Story::new();
        let pruned = story.good("2026-01-01T00:00:00Z", 60);
        let kept = story.good("2026-01-02T00:00:00Z", 60);
        let aborted = story.aborted("2026-01-03T00:00:00Z", 60);
        story.tell(
            Event::Pruned {
                run_id: pruned.clone(),
                why: "old".into(),
            },
            "2026-02-01T00:00:00Z".parse().unwrap(),
        );
        let unknown: Is = |refusal| matches!(refusal, RestoreRefusal::Unknown { .. });
        for (choice, is) in [
            (
                RunChoice::Id(pruned.as_str()),
                (|refusal| matches!(refusal, RestoreRefusal::Pruned { .. })) as Is,
            ),
            (RunChoice::Id(aborted.as_str()), unknown),
            (RunChoice::Id("01ARZ3NDEKTSV4RRFFQ69G5FAV"), unknown),
            (as_of("2020-01-01T00:00:00Z"), |refusal| {
                matches!(refusal, RestoreRefusal::NoGood { .. })
            }),
        ] {
            let refusal = resolve(&story.state, choice, Stage::Production).unwrap_err();
            assert!(is(&refusal), "{refusal:?}");
            assert!(refusal.to_string().ends_with(kept.as_str()), "{refusal}");
        }
    }
}
