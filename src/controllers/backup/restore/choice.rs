//! Which run a restore means.

use tray_api::{conditions::reasons, orgrestore::SnapshotChoice};
use tray_domain::{
    ids::RunId,
    ledger::{LedgerState, Run},
    stage::Stage,
};

/// Why there is no such run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
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

impl Refusal {
    /// Reason of the condition.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Pruned { .. } => reasons::RUN_PRUNED,
            Self::ProductionData { .. } => reasons::PRODUCTION_DATA,
            Self::Unknown { .. } | Self::NoGood { .. } => reasons::RUN_NOT_FOUND,
        }
    }
}

/// The run that a choice means now, in a Region of stage `target`. A Suspicious run is restored only by its id.
pub(super) fn resolve<'a>(
    ledger: &'a LedgerState,
    choice: &SnapshotChoice,
    target: Stage,
) -> Result<(&'a RunId, &'a Run), Refusal> {
    let (id, run) = find(ledger, choice)?;
    match run.manifest() {
        Some(manifest) if !manifest.stage.may_enter(target) => {
            Err(Refusal::ProductionData { run_id: id.clone() })
        }
        _ => Ok((id, run)),
    }
}

fn find<'a>(ledger: &'a LedgerState, choice: &SnapshotChoice) -> Result<(&'a RunId, &'a Run), Refusal> {
    if let Some(wanted) = &choice.run_id {
        return by_id(ledger, wanted);
    }
    let as_of = choice.as_of.as_ref().map(|time| time.0);
    let in_time = |run: &Run| {
        let point = run.manifest().map(|manifest| manifest.consistency_point);
        as_of.is_none_or(|as_of| point.is_some_and(|point| point <= as_of))
    };
    let found = ledger.good_runs().into_iter().find(|(_, run)| in_time(run));
    found.ok_or_else(|| Refusal::NoGood {
        when: as_of
            .map(|at| format!(" with a consistency point at or before {at}"))
            .unwrap_or_default(),
        known: known(ledger),
    })
}

fn by_id<'a>(ledger: &'a LedgerState, wanted: &str) -> Result<(&'a RunId, &'a Run), Refusal> {
    let found = ledger
        .runs
        .iter()
        .find(|(id, run)| id.as_str() == wanted && run.manifest().is_some());
    let Some((id, run)) = found else {
        return Err(Refusal::Unknown {
            run_id: wanted.to_owned(),
            known: known(ledger),
        });
    };
    match &run.pruned {
        Some((_, why)) => Err(Refusal::Pruned {
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use tray_domain::ledger::{Event, testing::Story};

    fn by_run(id: &str) -> SnapshotChoice {
        SnapshotChoice {
            run_id: Some(id.to_owned()),
            ..SnapshotChoice::default()
        }
    }
    fn as_of(time: &str) -> SnapshotChoice {
        SnapshotChoice {
            as_of: Some(Time(time.parse().unwrap())),
            ..SnapshotChoice::default()
        }
    }
    fn latest() -> SnapshotChoice {
        SnapshotChoice {
            latest_good: Some(true),
            ..SnapshotChoice::default()
        }
    }

    #[test]
    fn the_newest_good_run_is_chosen_and_a_suspicious_one_only_by_its_id() {
        let mut story = Story::new();
        let first = story.good("2026-01-01T00:00:00Z", 60);
        let second = story.good("2026-01-02T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-03T00:00:00Z", 60);
        let chosen = |choice: &SnapshotChoice| {
            resolve(&story.state, choice, Stage::Production).map(|(id, _)| id.clone())
        };
        assert_eq!(chosen(&latest()), Ok(second.clone()));
        assert_eq!(chosen(&as_of("2026-01-01T23:59:59Z")), Ok(first));
        assert_eq!(chosen(&as_of("2026-01-02T00:00:00Z")), Ok(second));
        assert_eq!(chosen(&by_run(suspicious.as_str())), Ok(suspicious));
    }

    #[test]
    fn p20_a_run_of_production_is_restored_in_production_alone() {
        let mut story = Story::new();
        let run = story.good("2026-01-01T00:00:00Z", 60);
        for choice in [latest(), by_run(run.as_str()), as_of("2026-01-02T00:00:00Z")] {
            assert!(resolve(&story.state, &choice, Stage::Production).is_ok());
            let refusal = resolve(&story.state, &choice, Stage::NonProduction).unwrap_err();
            assert_eq!(refusal.reason(), reasons::PRODUCTION_DATA);
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
        for (choice, reason) in [
            (by_run(pruned.as_str()), reasons::RUN_PRUNED),
            (by_run(aborted.as_str()), reasons::RUN_NOT_FOUND),
            (by_run("01ARZ3NDEKTSV4RRFFQ69G5FAV"), reasons::RUN_NOT_FOUND),
            (as_of("2020-01-01T00:00:00Z"), reasons::RUN_NOT_FOUND),
        ] {
            let refusal = resolve(&story.state, &choice, Stage::Production).unwrap_err();
            assert_eq!(refusal.reason(), reason);
            assert!(refusal.to_string().ends_with(kept.as_str()), "{refusal}");
        }
    }
}
