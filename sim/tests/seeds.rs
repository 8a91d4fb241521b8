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
    simulation::{self, Plan, Report},
};

/// Worlds in which everything goes wrong now and then, and nothing that must never be was found.
///
/// 7: two that lead at once undo each other's statuses; while requests took no time, that had no end.
/// 32: a restore fails, and nobody but a person asks for it again.
const KEPT: &[u64] = &[2, 6, 7, 32];
/// Worlds of two days, by the first seed and how many.
const SHORT: (u64, u64) = (101, 80);
/// Worlds of two months, in which runs are pruned, and what is left of them is swept.
const LONG: (u64, u64) = (1, 3);

/// A world of three orgs in which things go wrong.
const fn plan(seed: u64, days: u64) -> Plan {
    Plan {
        seed,
        orgs: 3,
        days,
        faults: true,
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
    };
    let (found, _) = all(&[plan]);
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
