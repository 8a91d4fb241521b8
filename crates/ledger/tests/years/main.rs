//! Ledgers of orgs that are old: what is kept of them is bounded by what can be restored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod damage;
mod earlier;
mod org;
mod written;

use proptest::prelude::*;

use org::{Luck, Org};

/// The largest checkpoint of an org with three volumes.
const LARGEST_CHECKPOINT: usize = 150_000;
/// Half days of a year.
const YEAR: usize = 2 * 365;

#[test]
fn the_checkpoint_of_an_org_is_as_large_after_ten_years_as_after_one() {
    let mut org = Org::new(3);
    let mut bytes = Vec::new();
    for half_day in 1..=10 * YEAR {
        org.lives(match half_day {
            day if day % 97 == 0 => Luck::Fails,
            day if day % 193 == 0 => Luck::SweepFails,
            day if day % 61 == 0 => Luck::Restored,
            _ => Luck::Good,
        });
        if [YEAR, 5 * YEAR, 10 * YEAR].contains(&half_day) {
            bytes.push(org.checkpoint_bytes());
        }
    }
    println!(
        "checkpoint after 1, 5 and 10 years: {bytes:?} bytes; {} entries, {} runs in it",
        org.state.next_seq,
        org.state.runs.len()
    );
    let (least, most) = (*bytes.iter().min().unwrap(), *bytes.iter().max().unwrap());
    assert!(most <= LARGEST_CHECKPOINT, "{bytes:?}");
    assert!(most - least < most / 8, "it grows: {bytes:?}");
    let named = org.sweeps.iter().map(|(named, _)| *named).max().unwrap();
    let deleted = org.sweeps.iter().map(|(_, deleted)| *deleted).max().unwrap();
    println!("a sweep was told of {named} runs at most, and deleted {deleted} objects at most");
    assert!(named <= 20 && deleted <= 20, "{named}, {deleted}");
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        8 => Just(Luck::Good),
        1 => Just(Luck::Fails),
        1 => Just(Luck::Breaks),
        1 => Just(Luck::SweepFails),
        1 => Just(Luck::Restored),
        1 => Just(Luck::RestoreLeft),
        2 => Just(Luck::Down),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens for half a year: what can be restored is all there, what cannot is gone from the bucket before it is
    /// forgotten, and the state is bounded by both.
    #[test]
    fn what_is_forgotten_is_gone_and_what_is_kept_is_bounded(
        weeks in prop::collection::vec((luck(), prop::collection::vec(luck(), 1..14)), 1..26),
    ) {
        let mut org = Org::new(1);
        for (usual, week) in weeks {
            for luck in week {
                org.lives(luck);
                // What can be restored was never touched by a sweep.
                for run in org.restorable() {
                    prop_assert!(org.bucket.contains_key(&run), "{run} is gone");
                }
                // What lies in the bucket is known: nothing is forgotten that is there.
                for run in org.bucket.keys() {
                    prop_assert!(org.state.runs.contains_key(run), "{run} is forgotten");
                }
                let not_gone = org.state.runs.values().filter(|run| run.collected_at.is_none());
                prop_assert!(org.state.runs.len() <= not_gone.count() + 2);
                prop_assert!(org.state.forgotten.runs.len() <= 64 && org.state.restores.len() <= 33);
            }
            org.lives(usual);
        }
        // In quiet times all that was garbage is forgotten within a week.
        for _ in 0..16 {
            org.lives(Luck::Good);
        }
        let kept = org.restorable();
        let told_of = org.state.newest_failed().map(|(id, _)| id.clone());
        let old = |run: &&tray_domain::ids::RunId| {
            let garbage = org.state.runs[*run].garbage_since();
            garbage.is_some_and(|since| org.now.duration_since(since).as_hours() > 24 * 7)
        };
        let left: Vec<_> = org.state.runs.keys().filter(|run| !kept.contains(run) && told_of.as_ref() != Some(run)).filter(old).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_state_is_the_same_whether_all_entries_are_read_or_a_checkpoint() {
    let mut org = Org::new(3);
    let lucks = [
        Luck::Good,
        Luck::Fails,
        Luck::Restored,
        Luck::Breaks,
        Luck::SweepFails,
    ];
    for half_day in 0..120 {
        org.lives(lucks[half_day % lucks.len()]);
        let text = serde_json::to_string(&org.state).unwrap();
        let read: tray_domain::ledger::LedgerState = serde_json::from_str(&text).unwrap();
        assert_eq!(read, org.state);
    }
}
