//! How a whole ledger is held to itself, a part a day. Reading begins at the newest checkpoint, so what lies before it would
//! otherwise be believed for ever.
//!
//! A block is what lies between two multiples of [`CHECKPOINT_EVERY`], both included: it begins and ends with a checkpoint, so
//! that its last entry can be compared with what all before it add up to.

use std::ops::RangeInclusive;

use jiff::Timestamp;

use super::{CHECKPOINT_EVERY, LedgerState, RunEnd};
use crate::ids::{OrgId, RunId};

/// Every block is read once in so many days.
const DAYS: u64 = 28;
const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// The entries that are read today of a ledger whose next entry is `next_seq`: some blocks, others each day, and the newest ones
/// always, since what is decided today is decided on them. Ranges may overlap, and none is empty.
pub fn whole_within_days(next_seq: u64, org: &OrgId, now: Timestamp) -> Vec<RangeInclusive<u64>> {
    let Some(last) = next_seq.checked_sub(1) else {
        return Vec::new();
    };
    let blocks = last / CHECKPOINT_EVERY + 1;
    let at_once = blocks.div_ceil(DAYS);
    let day = (now.as_second().div_euclid(SECONDS_OF_A_DAY)).unsigned_abs();
    // Orgs of one age do not read on one day what is theirs to read.
    let own = org
        .as_str()
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let parts = blocks.div_ceil(at_once);
    let first = day.wrapping_add(own) % parts * at_once;
    let block = |first: u64, count: u64| {
        let end = (first + count).min(blocks) * CHECKPOINT_EVERY;
        first * CHECKPOINT_EVERY..=end.min(last)
    };
    let newest = blocks.saturating_sub(2);
    vec![block(first, at_once), block(newest, 2)]
}

/// What a checkpoint says otherwise than its entries.
pub type Disagreement = &'static str;

impl LedgerState {
    /// Holds what a checkpoint says to what the entries before it add up to, as far as it decides about data. What it remembers of the
    /// past is not compared: that differs with the version which wrote it.
    pub fn agrees_with(&self, checkpoint: &Self) -> Result<(), Disagreement> {
        let same = [
            ("the org", self.org_id == checkpoint.org_id),
            ("its claim", self.claim == checkpoint.claim),
            ("the org's key", self.kms_key_arn == checkpoint.kms_key_arn),
            (
                "the wrapped key",
                self.wrapped_key_digest == checkpoint.wrapped_key_digest,
            ),
            ("the repositories", self.repositories == checkpoint.repositories),
            ("the claims that hold data", self.holders == checkpoint.holders),
            ("the open sweep", self.sweep == checkpoint.sweep),
            ("the open restore", self.restore == checkpoint.restore),
            ("the runs", decisive(self).eq(decisive(checkpoint))),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(what),
            None => Ok(()),
        }
    }
}

/// The runs that can be restored, or are open, each with its end.
fn decisive(state: &LedgerState) -> impl Iterator<Item = (&RunId, Option<&RunEnd>)> {
    let runs = state.runs.iter();
    let decisive = runs.filter(|(_, run)| run.end.is_none() || run.restorable().is_some());
    decisive.map(|(id, run)| (id, run.end.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        ids::SweepId,
        ledger::{
            Event, Sweep,
            testing::{Story, org},
        },
    };

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * SECONDS_OF_A_DAY + 3_600).unwrap()
    }

    #[test]
    fn all_of_a_ledger_is_read_within_four_weeks_and_little_of_it_in_a_day() {
        for (entries, most) in [(1, 1), (64, 64), (65, 65), (4_400, 400), (44_000, 2_000)] {
            let mut read = BTreeSet::new();
            for today in 20_000..20_000 + 28 {
                let parts = whole_within_days(entries, &org(), day(today));
                let today: BTreeSet<u64> = parts.into_iter().flatten().collect();
                assert!(today.len() <= most, "{} of {entries}", today.len());
                assert!(today.contains(&(entries - 1)), "the newest are read always");
                read.extend(today);
            }
            assert_eq!(
                read.into_iter().collect::<Vec<_>>(),
                (0..entries).collect::<Vec<_>>()
            );
        }
        assert!(whole_within_days(0, &org(), day(1)).is_empty());
    }

    #[test]
    fn a_part_begins_at_a_checkpoint_and_ends_with_one_or_with_the_ledger() {
        for today in 0..40 {
            for part in whole_within_days(1_000, &org(), day(today)) {
                assert_eq!(part.start() % CHECKPOINT_EVERY, 0);
                assert!(
                    part.end() % CHECKPOINT_EVERY == 0 || *part.end() == 999,
                    "{part:?}"
                );
            }
        }
    }

    type Lie = fn(&mut LedgerState, &RunId);

    #[test]
    fn a_checkpoint_that_says_otherwise_of_what_decides_is_told_apart() {
        let mut story = Story::new();
        let run = story.good("2026-01-01T00:00:00Z", 60);
        let planned = Event::RestorePlanned {
            restore: "home (uid)".to_owned(),
            run_id: run.clone(),
        };
        story.tell(planned, "2026-01-02T00:00:00Z".parse().unwrap());
        let state = &story.state;
        assert_eq!(state.agrees_with(&state.clone()), Ok(()));
        let lies: [(Lie, &str); 7] = [
            (|state, run| drop(state.runs.remove(run)), "the runs"),
            (|state, _| state.holders.clear(), "the claims that hold data"),
            (|state, _| state.claim = None, "its claim"),
            (
                |state, _| state.wrapped_key_digest = Some(String::new()),
                "the wrapped key",
            ),
            (
                |state, _| {
                    let sweep_id = SweepId::of(Timestamp::UNIX_EPOCH, &org());
                    state.sweep = Some(Sweep {
                        sweep_id,
                        planned_at: Timestamp::UNIX_EPOCH,
                        part_records: true,
                    });
                },
                "the open sweep",
            ),
            (|state, _| state.restore = None, "the open restore"),
            (
                |state, run| {
                    let run = state.runs.get_mut(run).unwrap();
                    run.pruned = Some((Timestamp::UNIX_EPOCH, String::new()));
                },
                "the runs",
            ),
        ];
        for (lie, what) in lies {
            let mut checkpoint = state.clone();
            lie(&mut checkpoint, &run);
            assert_eq!(state.agrees_with(&checkpoint), Err(what));
        }
    }
}
