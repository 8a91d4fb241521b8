//! Which runs go: a pure plan over the ledger that never takes the last good copies of anything.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    ids::{PartId, RunId},
    ledger::{LedgerState, Run},
    manifest::{Manifest, RunVerdict},
    volume_facts::suspects,
};

/// How far the operator's clock and another may differ before nothing is removed on its word.
pub const LONGEST_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A copy that has to stay for its number is looked at again after that.
const LOOK_DAILY: SignedDuration = SignedDuration::from_hours(24);

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
/// A run goes when its consistency point is older than `keep_days`, none of its parts is among the newest `keep_at_least`
/// good copies of that part, and none holds folders that newer good copies leave out ([`last_of_folders`]). Suspicious runs
/// that nobody accepted are no good copies of anything.
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
        .chain(last_of_folders(ledger, None).into_values().flatten())
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

/// When it is worth planning again, without anything new: once the oldest copy is past its age, or a day from now where it
/// stays although it is; none = there is no copy.
pub fn plan_again_at(ledger: &LedgerState, retention: Retention, now: Timestamp) -> Option<Timestamp> {
    let (_, oldest) = ledger.restorable_runs().into_iter().next_back()?;
    let point = oldest.manifest()?.consistency_point;
    let keep = SignedDuration::from_hours(24 * i64::from(retention.keep_days));
    let goes = point.checked_add(keep).ok()?;
    if goes > now {
        Some(goes)
    } else {
        now.checked_add(LOOK_DAILY).ok()
    }
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
    for (part, runs) in last_of_folders(ledger, None) {
        let left = runs.iter().filter(|run| !gone.contains(*run)).count();
        if left < runs.len() {
            return Err(Unsafe::TakesTooMuch {
                part: part.clone(),
                left,
                least: runs.len(),
            });
        }
    }
    Ok(())
}

/// What was once well copied keeps a copy: for each part, the newest good run of each of its folders, newest run first. A run
/// whose folders are all in newer ones adds nothing. What a person accepted is all that has to be kept of what was before, of
/// the parts that [it was accepted for](is_accepted_for). The run `asked_for` counts like a good one.
fn last_of_folders<'a>(
    ledger: &'a LedgerState,
    asked_for: Option<&RunId>,
) -> BTreeMap<&'a PartId, Vec<&'a RunId>> {
    let mut kept: BTreeMap<&PartId, (Folders<'_>, Vec<&RunId>)> = BTreeMap::new();
    let counts = |(id, run): &(&RunId, &Run)| run.is_good() || asked_for == Some(*id);
    for (id, run) in ledger.restorable_runs().into_iter().filter(counts) {
        let Some(manifest) = run.manifest() else {
            continue;
        };
        for part in &manifest.parts {
            let (folders, runs) = kept.entry(&part.planned.part).or_default();
            if folders.take_in(part.planned.source.paths()) {
                runs.push(id);
            }
            folders.whole |= run.is_accepted() && is_accepted_for(manifest, &part.planned.part);
        }
    }
    kept.into_iter().map(|(part, (_, runs))| (part, runs)).collect()
}

/// Whether a person who accepts the run speaks of that part, and lets older copies of its folders go. A Suspicious run tells of
/// the parts that looked wrong, and nobody has asked about the others; a good one tells of all that it leaves out.
fn is_accepted_for(manifest: &Manifest, part: &PartId) -> bool {
    manifest.verdict == RunVerdict::Good || suspects(manifest, part)
}

/// The parts of which older copies go by their age once a person has accepted the run: it leaves out folders of them that older
/// good runs hold. Empty for a run that was accepted.
pub fn lets_go<'a>(ledger: &'a LedgerState, run: &RunId) -> Vec<&'a PartId> {
    let mut runs = ledger
        .restorable_runs()
        .into_iter()
        .skip_while(|(id, _)| *id != run);
    let Some(manifest) = runs.next().and_then(|(_, run)| run.manifest()) else {
        return Vec::new();
    };
    let older: BTreeSet<&RunId> = runs.map(|(id, _)| id).collect();
    let kept = last_of_folders(ledger, Some(run));
    let parts = manifest.parts.iter().map(|part| &part.planned.part);
    parts
        .filter(|part| is_accepted_for(manifest, part))
        .filter(|part| {
            kept.get(part)
                .is_some_and(|runs| runs.iter().any(|run| older.contains(run)))
        })
        .collect()
}

/// The newest good run, if it leaves out folders of which older good runs hold the newest copy, and the parts that they are
/// of. Where that is meant, a person accepts the run, and the older copies go by their age. One that was Suspicious and accepted
/// is not asked about again: the next good run is.
pub fn leaves_out(ledger: &LedgerState) -> Option<(&RunId, Vec<&PartId>)> {
    let (newest, _) = ledger.newest_good()?;
    let left_out = lets_go(ledger, newest);
    (!left_out.is_empty()).then_some((newest, left_out))
}

/// Folders of a volume that are copied.
#[derive(Default)]
struct Folders<'a> {
    whole: bool,
    paths: BTreeSet<&'a str>,
}

impl<'a> Folders<'a> {
    /// Adds these folders (none = all there is); whether any of them was not in yet.
    fn take_in(&mut self, paths: &'a [String]) -> bool {
        if self.whole {
            return false;
        }
        if paths.is_empty() {
            self.whole = true;
            return true;
        }
        let new: Vec<&str> = paths
            .iter()
            .map(String::as_str)
            .filter(|path| !self.holds(path))
            .collect();
        self.paths.extend(&new);
        !new.is_empty()
    }

    fn holds(&self, path: &str) -> bool {
        let mut above = std::path::Path::new(path).ancestors();
        above.any(|folder| folder.to_str().is_some_and(|folder| self.paths.contains(folder)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ledger::{Event, testing::Story},
        manifest::Consistency,
    };

    const STANDARD: Retention = Retention {
        keep_days: 14,
        keep_at_least: 3,
    };

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (1000 + day))
    }
    fn run(story: &mut Story, on: i64, volumes: &[(&str, u64)], verdict: RunVerdict) -> RunId {
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
        let old = run(&mut story, 0, &[("data-db-0", 1)], RunVerdict::Good);
        for on in 11..14 {
            run(&mut story, on, &[("data-db-0", 1)], RunVerdict::Good);
        }
        assert_eq!(gone(&story, day(14)), []);
        assert_eq!(gone(&story, day(16)), [old]);
    }

    #[test]
    fn the_plan_is_made_again_when_the_oldest_copy_is_past_its_age_or_daily() {
        let mut story = Story::new();
        let again = |story: &Story, now| plan_again_at(&story.state, STANDARD, now);
        assert_eq!(again(&story, day(0)), None);
        run(&mut story, 2, &[("data-db-0", 1)], RunVerdict::Good);
        run(&mut story, 1, &[("data-db-0", 1)], RunVerdict::Suspicious);
        let before = day(15) - SignedDuration::from_secs(1);
        for (now, want) in [
            (day(3), day(15)),
            (before, day(15)),
            (day(15), day(16)),
            (day(20), day(21)),
        ] {
            assert_eq!(again(&story, now), Some(want), "{now}");
        }
    }

    #[test]
    fn the_last_copies_stay_however_old() {
        let mut story = Story::new();
        for on in 0..3 {
            run(&mut story, on, &[("data-db-0", 1)], RunVerdict::Good);
        }
        assert_eq!(gone(&story, day(900)), []);
    }

    #[test]
    fn suspicious_runs_do_not_count_and_go() {
        let mut story = Story::new();
        run(&mut story, 0, &[("data-db-0", 9)], RunVerdict::Good);
        let suspicious: Vec<_> = (1..5)
            .map(|on| run(&mut story, on, &[("data-db-0", 0)], RunVerdict::Suspicious))
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
            RunVerdict::Good,
        );
        let without = run(&mut story, 1, &[("data-db-0", 1)], RunVerdict::Good);
        for on in 2..6 {
            run(&mut story, on, &[("data-db-0", 1)], RunVerdict::Good);
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
        run(&mut story, 10, &[("data-db-0", 1)], RunVerdict::Good);
        let behind = plan(&story.state, STANDARD, None, day(9));
        assert!(matches!(behind, Err(Unsafe::ClockBehind { .. })), "{behind:?}");
        let skew = Some(SignedDuration::from_mins(-6));
        assert_eq!(
            plan(&story.state, STANDARD, skew, day(11)),
            Err(Unsafe::ClockSkewed { seconds: -360 })
        );
    }

    fn of_folders(story: &mut Story, on: i64, paths: &[&str]) -> RunId {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let volume = ("data-db-0", 10, Consistency::Live, &paths[..]);
        story.copied(day(on), &[volume], RunVerdict::Good)
    }

    #[test]
    fn folders_that_newer_runs_leave_out_keep_a_copy_until_a_person_accepts() {
        let mut story = Story::new();
        let older = of_folders(&mut story, 0, &[]);
        let whole = of_folders(&mut story, 1, &[]);
        let folders: Vec<RunId> = (2..8).map(|on| of_folders(&mut story, on, &["backup"])).collect();
        let goes = gone(&story, day(900));
        assert!(goes.contains(&older) && !goes.contains(&whole), "{goes:?}");
        let (run, parts) = leaves_out(&story.state).unwrap();
        assert_eq!((run, parts), (&folders[5], vec![&"data-db-0".parse().unwrap()]));
        accept(&mut story, &folders[5]);
        assert!(gone(&story, day(900)).contains(&whole));
        assert_eq!(leaves_out(&story.state), None);
    }

    fn accept(story: &mut Story, run_id: &RunId) {
        let run_id = run_id.clone();
        story.tell(Event::RunAccepted { run_id }, day(900));
    }
    /// A run of `db`, of these folders and so many files, and of all of `web`.
    fn of_both(
        story: &mut Story,
        on: i64,
        (folders, db): (&[&str], u64),
        web: u64,
        verdict: RunVerdict,
    ) -> RunId {
        let folders: Vec<String> = folders.iter().map(|&folder| folder.to_owned()).collect();
        let all: [String; 0] = [];
        let volumes = [
            ("data-db-0", db, Consistency::Live, &folders[..]),
            ("data-web-0", web, Consistency::Live, &all[..]),
        ];
        story.copied(day(on), &volumes, verdict)
    }

    #[test]
    fn accepting_a_suspicious_run_lets_nothing_go_of_parts_that_it_did_not_look_wrong_in() {
        let db: PartId = "data-db-0".parse().unwrap();
        let mut story = Story::new();
        let whole = of_both(&mut story, 0, (&[], 10), 10, RunVerdict::Good);
        for on in 1..5 {
            of_both(&mut story, on, (&["backup"], 9), 10, RunVerdict::Good);
        }
        let emptied = of_both(&mut story, 5, (&["backup"], 9), 0, RunVerdict::Suspicious);
        assert_eq!(lets_go(&story.state, &emptied), Vec::<&PartId>::new());
        accept(&mut story, &emptied);
        assert!(!gone(&story, day(900)).contains(&whole));
        assert_eq!(
            leaves_out(&story.state),
            None,
            "it is accepted, and lets no more go"
        );
        accept(&mut story, &emptied);
        assert!(
            !gone(&story, day(900)).contains(&whole),
            "accepted twice is accepted once"
        );
        // The next good run tells of it, and can be accepted for it.
        let next = of_both(&mut story, 6, (&["backup"], 9), 0, RunVerdict::Good);
        assert_eq!(leaves_out(&story.state), Some((&next, vec![&db])));
        accept(&mut story, &next);
        assert!(gone(&story, day(900)).contains(&whole));
    }

    #[test]
    fn accepting_a_suspicious_run_lets_go_what_it_leaves_out_of_the_parts_that_looked_wrong() {
        let db: PartId = "data-db-0".parse().unwrap();
        let mut story = Story::new();
        let whole = of_both(&mut story, 0, (&[], 10), 10, RunVerdict::Good);
        let narrow = of_both(&mut story, 1, (&["backup"], 1), 10, RunVerdict::Suspicious);
        for on in 2..5 {
            of_both(&mut story, on, (&["backup"], 9), 10, RunVerdict::Good);
        }
        assert_eq!(lets_go(&story.state, &narrow), [&db]);
        assert!(!gone(&story, day(900)).contains(&whole));
        accept(&mut story, &narrow);
        assert_eq!(lets_go(&story.state, &narrow), Vec::<&PartId>::new());
        assert!(gone(&story, day(900)).contains(&whole));
    }

    #[test]
    fn a_folder_is_covered_by_itself_by_what_is_above_it_and_by_several_runs_together() {
        for (older, newer, goes) in [
            (vec!["a"], vec![vec!["a"]], true),
            (vec!["a/b"], vec![vec!["a"]], true),
            (vec!["a"], vec![vec!["a/b"]], false),
            (vec!["ab"], vec![vec!["a"]], false),
            (vec!["a", "b"], vec![vec!["a"], vec!["b"]], true),
            (vec!["a", "b"], vec![vec!["a"]], false),
            (vec!["a"], vec![vec![]], true),
            (vec![], vec![vec!["a"]], false),
        ] {
            let mut story = Story::new();
            let run = of_folders(&mut story, 0, &older);
            for on in 1..8 {
                let paths = &newer[usize::try_from(on).unwrap() % newer.len()];
                of_folders(&mut story, on, paths);
            }
            assert_eq!(
                gone(&story, day(900)).contains(&run),
                goes,
                "{older:?} then {newer:?}"
            );
        }
    }

    prop_compose! {
        fn a_run()(on in 0i64..60, db in any::<bool>(), web in any::<bool>(), good in prop::bool::weighted(0.8), folders in 0usize..4) -> (i64, bool, bool, bool, usize) {
            (on, db, web, good, folders)
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
            let folders: [Vec<String>; 4] = [vec![], vec!["a".into()], vec!["a/b".into()], vec!["c".into(), "a".into()]];
            for (on, db, web, good, paths) in runs {
                let volume = |name| (name, 1, Consistency::Live, &folders[paths][..]);
                let volumes: Vec<_> = [("data-db-0", db), ("data-web-0", web)].into_iter().filter(|v| v.1).map(|v| volume(v.0)).collect();
                story.copied(day(on), &volumes, if good { RunVerdict::Good } else { RunVerdict::Suspicious });
            }
            let retention = Retention { keep_days, keep_at_least };
            let now = day(61);
            let of_folders: BTreeSet<RunId> = last_of_folders(&story.state, None).into_values().flatten().cloned().collect();
            let before: BTreeMap<PartId, usize> = copies(&story.state).into_iter().map(|(part, runs)| (part.clone(), runs.len())).collect();
            for removal in plan(&story.state, retention, None, now).unwrap() {
                let point = story.state.runs[&removal.run_id].manifest().unwrap().consistency_point;
                prop_assert!(now.duration_since(point) > SignedDuration::from_hours(24 * i64::from(keep_days)));
                story.tell(Event::Pruned { run_id: removal.run_id, why: removal.why }, now);
            }
            prop_assert!(of_folders.iter().all(|id| story.state.runs[id].is_good()));
            let after = copies(&story.state);
            for (part, count) in before {
                prop_assert!(after.get(&part).map_or(0, Vec::len) >= count.min(keep_at_least));
            }
            prop_assert_eq!(plan(&story.state, retention, None, now).unwrap(), vec![]);
        }
    }
}
