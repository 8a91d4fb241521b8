//! Which runs go: a pure plan over the ledger that never takes the last good copies of anything.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    ids::{PartId, RunId},
    ledger::LedgerState,
    manifest::Manifest,
};

/// How far the operator's clock and another may differ before nothing is removed on its word.
pub const LONGEST_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How long runs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days after which a run goes.
    pub keep_days: u32,
    /// Good copies of every volume, and of the objects, that stay however old they are.
    pub keep_at_least: usize,
}

/// A run that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The run.
    pub run_id: RunId,
    /// Why, for the ledger.
    pub why: String,
}

/// Why nothing may be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// The clock is behind what was written already.
    #[error(
        "the operator's clock ({now}) is behind the ledger's newest entry ({newest}): set the clock right"
    )]
    ClockBehind {
        /// The operator's clock.
        now: Timestamp,
        /// What the ledger says.
        newest: Timestamp,
    },
    /// The clock and S3's differ.
    #[error("the operator's clock and S3's differ by {seconds} s: set the clock right")]
    ClockSkewed {
        /// How far, S3's minus ours.
        seconds: i64,
    },
    /// The plan would take a copy that has to stay.
    #[error("the plan would leave {left} good copies of {part}, {least} have to stay")]
    TakesTooMuch {
        /// Of what.
        part: PartId,
        /// How many would be left.
        left: usize,
        /// How many have to stay.
        least: usize,
    },
}

/// Plans which runs go now. `skew` is S3's clock minus ours, where an answer has told it.
///
/// A run goes when its consistency point is older than `keep_days` and none of its parts is among the newest
/// `keep_at_least` good copies of that part. Suspicious runs that nobody accepted are no good copies of anything.
pub fn plan(
    ledger: &LedgerState,
    retention: Retention,
    skew: Option<SignedDuration>,
    now: Timestamp,
) -> Result<Vec<Removal>, Unsafe> {
    check_clock(ledger, skew, now)?;
    let oldest = now.checked_sub(SignedDuration::from_hours(24 * i64::from(retention.keep_days)));
    let Ok(oldest) = oldest else {
        return Ok(Vec::new());
    };
    let needed: BTreeSet<&RunId> = copies(ledger)
        .into_values()
        .flat_map(|runs| runs.into_iter().take(retention.keep_at_least))
        .collect();
    let removals: Vec<Removal> = ledger
        .restorable_runs()
        .into_iter()
        .filter(|(id, _)| !needed.contains(id))
        .filter_map(|(id, run)| Some((id, run.manifest()?)))
        .filter(|(_, manifest)| manifest.consistency_point < oldest)
        .map(|(id, manifest)| Removal {
            run_id: id.clone(),
            why: why(manifest, retention),
        })
        .collect();
    simulate(ledger, &removals, retention)?;
    Ok(removals)
}

fn why(manifest: &Manifest, retention: Retention) -> String {
    format!(
        "its consistency point {} is older than {} days, and {} newer good copies of each of its parts stay",
        manifest.consistency_point, retention.keep_days, retention.keep_at_least
    )
}

fn check_clock(ledger: &LedgerState, skew: Option<SignedDuration>, now: Timestamp) -> Result<(), Unsafe> {
    if let Some(newest) = ledger.last_at
        && newest.duration_since(now) > LONGEST_SKEW
    {
        return Err(Unsafe::ClockBehind { now, newest });
    }
    match skew {
        Some(skew) if skew.abs() > LONGEST_SKEW => Err(Unsafe::ClockSkewed {
            seconds: skew.as_secs(),
        }),
        _ => Ok(()),
    }
}

/// The good runs that hold each part, newest first.
fn copies(ledger: &LedgerState) -> BTreeMap<&PartId, Vec<&RunId>> {
    let mut copies: BTreeMap<&PartId, Vec<&RunId>> = BTreeMap::new();
    for (id, run) in ledger.good_runs() {
        for part in run.manifest().map_or(&[][..], |manifest| &manifest.parts) {
            copies.entry(&part.planned.part).or_default().push(id);
        }
    }
    copies
}

/// Counts what would be left, from the plan alone and not from how it was made.
fn simulate(ledger: &LedgerState, removals: &[Removal], retention: Retention) -> Result<(), Unsafe> {
    let gone: BTreeSet<&RunId> = removals.iter().map(|removal| &removal.run_id).collect();
    for (part, runs) in copies(ledger) {
        let left = runs.iter().filter(|run| !gone.contains(*run)).count();
        let least = retention.keep_at_least.max(1).min(runs.len());
        if left < least {
            return Err(Unsafe::TakesTooMuch {
                part: part.clone(),
                left,
                least,
            });
        }
    }
    Ok(())
}

/// The repository snapshots of `volume` that stay: those of every run that can be restored. Every other one, of aborted,
/// pruned or unknown runs, is garbage. Only valid while no run of the org is open.
pub fn repository_snapshots_to_keep(ledger: &LedgerState, volume: &PartId) -> Vec<String> {
    let parts = ledger
        .runs
        .values()
        .filter_map(|run| run.restorable())
        .flat_map(|manifest| &manifest.parts);
    parts
        .filter(|part| part.planned.part == *volume)
        .filter_map(|part| part.record.repository_snapshot.clone())
        .collect()
}

/// Runs whose objects archive is garbage: everything that ended and cannot be restored.
pub fn archives_to_remove(ledger: &LedgerState) -> Vec<RunId> {
    let garbage = ledger
        .runs
        .iter()
        .filter(|(_, run)| run.end.is_some() && run.restorable().is_none());
    garbage.map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        ledger::{Event, testing::Story},
        manifest::Verdict,
    };

    const STANDARD: Retention = Retention {
        keep_days: 14,
        keep_at_least: 3,
    };

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (1000 + day))
    }
    fn run(story: &mut Story, on: i64, volumes: &[(&str, u64)], verdict: Verdict) -> RunId {
        story.committed(day(on), 60, volumes, verdict)
    }
    fn gone(story: &Story, now: Timestamp) -> Vec<RunId> {
        plan(&story.state, STANDARD, None, now)
            .unwrap()
            .into_iter()
            .map(|removal| removal.run_id)
            .collect()
    }

    #[test]
    fn an_old_run_goes_when_enough_newer_ones_stay() {
        let mut story = Story::new();
        let old = run(&mut story, 0, &[("data-db-0", 1)], Verdict::Good);
        for on in 11..14 {
            run(&mut story, on, &[("data-db-0", 1)], Verdict::Good);
        }
        assert_eq!(gone(&story, day(14)), []);
        assert_eq!(gone(&story, day(16)), [old]);
    }

    #[test]
    fn the_last_copies_stay_however_old() {
        let mut story = Story::new();
        for on in 0..3 {
            run(&mut story, on, &[("data-db-0", 1)], Verdict::Good);
        }
        assert_eq!(gone(&story, day(900)), []);
    }

    #[test]
    fn suspicious_runs_do_not_count_and_go() {
        let mut story = Story::new();
        run(&mut story, 0, &[("data-db-0", 9)], Verdict::Good);
        let suspicious: Vec<_> = (1..5)
            .map(|on| run(&mut story, on, &[("data-db-0", 0)], Verdict::Suspicious))
            .collect();
        let mut planned = gone(&story, day(900));
        planned.sort();
        assert_eq!(planned, suspicious);
        story.tell(
            Event::RunAccepted {
                run_id: suspicious[3].clone(),
            },
            day(900),
        );
        assert!(!gone(&story, day(900)).contains(&suspicious[3]));
    }

    #[test]
    fn a_volume_that_newer_runs_lack_keeps_its_copies() {
        let mut story = Story::new();
        let with_web = run(
            &mut story,
            0,
            &[("data-db-0", 1), ("data-web-0", 1)],
            Verdict::Good,
        );
        let without = run(&mut story, 1, &[("data-db-0", 1)], Verdict::Good);
        for on in 2..6 {
            run(&mut story, on, &[("data-db-0", 1)], Verdict::Good);
        }
        let planned = gone(&story, day(900));
        assert!(
            !planned.contains(&with_web) && planned.contains(&without),
            "{planned:?}"
        );
    }

    #[test]
    fn a_clock_that_cannot_be_trusted_removes_nothing() {
        let mut story = Story::new();
        run(&mut story, 10, &[("data-db-0", 1)], Verdict::Good);
        let behind = plan(&story.state, STANDARD, None, day(9));
        assert!(matches!(behind, Err(Unsafe::ClockBehind { .. })), "{behind:?}");
        let skew = Some(SignedDuration::from_mins(-6));
        assert_eq!(
            plan(&story.state, STANDARD, skew, day(11)),
            Err(Unsafe::ClockSkewed { seconds: -360 })
        );
    }

    #[test]
    fn what_stays_in_a_repository_is_what_can_be_restored() {
        let mut story = Story::new();
        let kept = story.good("2026-01-01T00:00:00Z", 60);
        let pruned = story.good("2026-01-02T00:00:00Z", 60);
        let aborted = story.aborted("2026-01-03T00:00:00Z", 60);
        story.tell(
            Event::Pruned {
                run_id: pruned.clone(),
                why: "old".into(),
            },
            day(2000),
        );
        let volume = "data-db-0".parse().unwrap();
        assert_eq!(
            repository_snapshots_to_keep(&story.state, &volume),
            [format!("snapshot-data-db-0-{kept}")]
        );
        assert_eq!(archives_to_remove(&story.state), [pruned, aborted]);
    }

    prop_compose! {
        fn a_run()(on in 0i64..60, db in any::<bool>(), web in any::<bool>(), good in prop::bool::weighted(0.8)) -> (i64, bool, bool, bool) {
            (on, db, web, good)
        }
    }

    proptest! {
        /// Whatever the history: every part keeps its newest copies, nothing young goes, and planning again finds nothing.
        #[test]
        fn no_part_loses_its_last_copies(
            mut runs in prop::collection::vec(a_run(), 0..40),
            keep_days in 1u32..30,
            keep_at_least in 1usize..6,
        ) {
            runs.sort_unstable();
            runs.dedup_by_key(|run| run.0);
            let mut story = Story::new();
            for (on, db, web, good) in runs {
                let volumes: Vec<(&str, u64)> = [("data-db-0", db), ("data-web-0", web)].into_iter().filter(|v| v.1).map(|v| (v.0, 1)).collect();
                run(&mut story, on, &volumes, if good { Verdict::Good } else { Verdict::Suspicious });
            }
            let retention = Retention { keep_days, keep_at_least };
            let now = day(61);
            let before: BTreeMap<PartId, usize> = copies(&story.state).into_iter().map(|(part, runs)| (part.clone(), runs.len())).collect();
            for removal in plan(&story.state, retention, None, now).unwrap() {
                let point = story.state.runs[&removal.run_id].manifest().unwrap().consistency_point;
                prop_assert!(now.duration_since(point) > SignedDuration::from_hours(24 * i64::from(keep_days)));
                story.tell(Event::Pruned { run_id: removal.run_id, why: removal.why }, now);
            }
            let after = copies(&story.state);
            for (part, count) in before {
                prop_assert!(after.get(&part).map_or(0, Vec::len) >= count.min(keep_at_least));
            }
            prop_assert_eq!(plan(&story.state, retention, None, now).unwrap(), vec![]);
        }
    }
}
