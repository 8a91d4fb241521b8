//! Seeds that are simulated at every test. `make simulate` searches others.

#![allow(clippy::unwrap_used, reason = "in a test this is an assertion")]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tray_sim::{
    log,
    simulation::{self, Fenced, Plan, Report},
};

/// Worlds in which everything goes wrong now and then, and nothing that must never be was found.
///
/// 7: two that lead at once undo each other's statuses; while requests took no time, that had no end.
/// 32: a restore fails, and nobody but a person asks for it again.
/// 135: what was made longer and shorter again is in force a day later.
/// 166: each failure is told in other words, and each of them was a change that set off the next try.
const KEPT: &[u64] = &[2, 6, 7, 32, 135, 166];
/// Worlds of two days, by the first seed and how many.
const SHORT: (u64, u64) = (101, 60);
/// Worlds of two months, in which runs are pruned, and what is left of them is swept.
const LONG: (u64, u64) = (1, 2);

/// A world of three orgs in which things go wrong.
const fn plan(seed: u64, days: u64) -> Plan {
    Plan {
        seed,
        orgs: 3,
        days,
        faults: true,
        fenced: None,
    }
}

fn simulate(plan: &Plan) -> Report {
    simulation::run(plan).unwrap()
}

/// Simulates worlds, as many at once as there are processors. What was found in each, and how often each rare path was taken.
fn all(plans: &[Plan]) -> (Vec<String>, BTreeMap<&'static str, u64>) {
    let (next, found, counted) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
    let work = || {
        while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
            let report = simulate(plan);
            let mut counted: std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> = counted.lock().unwrap();
            for (what, count) in report.counted {
                *counted.entry(what).or_default() += count;
            }
            drop(counted);
            if !report.broken.is_empty() {
                let steps = log::in_words(&report.last);
                let text = format!("{plan:?}: {:#?}\nthe steps before:\n{steps}", report.broken);
                let mut found: std::sync::MutexGuard<'_, Vec<String>> = found.lock().unwrap();
                found.push(text);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    (found.into_inner().unwrap(), counted.into_inner().unwrap())
}

#[test]
fn the_same_seed_is_the_same_world_twice() {
    let plan = Plan {
        seed: 1,
        orgs: 2,
        days: 2,
        faults: true,
        fenced: None,
    };
    let (one, other) = (simulate(&plan), simulate(&plan));
    assert!(one.trace.1 > 1_000, "{:?}", one.trace);
    assert_eq!(one.trace, other.trace);
    let another = Plan { seed: 2, ..plan };
    assert_ne!(simulate(&another).trace, other.trace);
}

#[test]
fn nothing_breaks_where_nothing_goes_wrong() {
    let plan = Plan {
        seed: 1,
        orgs: 1,
        days: 4,
        faults: false,
        fenced: None,
    };
    let (found, _) = all(&[plan]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Another cluster takes the orgs over, while this one may die, stand still and start anew, and people ask for copies and restores.
#[test]
fn a_cluster_that_was_fenced_does_nothing() {
    let fenced = |(seed, faults)| Plan {
        seed,
        orgs: 2,
        days: 3,
        faults,
        fenced: Some(Fenced {
            after: 24,
            asleep: false,
        }),
    };
    let (found, _) = all(&[(1, false), (2, true), (3, true)].map(fenced));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The whole cluster slept, its leader in the middle of whatever it did: it still holds the Lease when it wakes, and nobody told it.
#[test]
fn a_cluster_that_was_fenced_while_it_slept_writes_nothing_when_it_wakes() {
    let fenced = |(seed, faults)| Plan {
        seed,
        orgs: 2,
        days: 2,
        faults,
        fenced: Some(Fenced {
            after: 14,
            asleep: true,
        }),
    };
    let (found, _) = all(&[(1, false), (2, true), (3, true), (4, true)].map(fenced));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_that_must_never_be_is_found() {
    // The longest first, so that the last ones are short.
    let long = (LONG.0..).take(LONG.1 as usize).map(|seed| plan(seed, 60));
    let kept = KEPT.iter().map(|seed| plan(*seed, 2));
    let short = (SHORT.0..).take(SHORT.1 as usize).map(|seed| plan(seed, 2));
    let plans: Vec<Plan> = long.chain(kept).chain(short).collect();
    let (found, counted) = all(&plans);
    assert!(found.is_empty(), "{}", found.join("\n"));
    for rare in [
        "a run is pruned",
        "a sweep marks packs",
        "a sweep frees packs",
        "a checkpoint is written",
        "a restore succeeds",
        "an org is back",
        "a process dies",
        "a process stands still",
        "AWS is away",
        "an answer of AWS is lost",
        "a watch is too late",
        "a restore that failed is asked for again",
    ] {
        assert!(counted.contains_key(rare), "never: {rare}; {counted:#?}");
    }
}
