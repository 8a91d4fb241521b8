//! An exhaustive search over the protocol of runs, sweeps and restores, with the real decisions of `tray_domain` and the real
//! [`tray_ledger::Ledger`]. What is modelled, and what is not: `docs/model.md`.
//!
//! A search that finds what must never be prints the way to it, one step a line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod actions;
mod bounds;
mod ledgers;
mod pass;
mod properties;
mod search;
mod world;

use bounds::{Bounds, Mutation, Start};
use properties::Violation;
use search::search;
use world::Fault;

/// What is carried out and not answered, and what dies.
const FAILURES: &[Fault] = &[
    Fault::Crash,
    Fault::ApiAnswerLost,
    Fault::StoreAnswerLost,
    Fault::PodFails,
];
/// All that goes wrong with one process.
const ALL_OF_ONE: &[Fault] = &[
    Fault::Crash,
    Fault::ApiAnswerLost,
    Fault::StoreAnswerLost,
    Fault::PodFails,
    Fault::Late,
    Fault::ObjectDeleted,
    Fault::OrgDeleted,
];
/// Another process leads, and the one before does not notice.
const TWO: &[Fault] = &[Fault::TakeOver];

/// One run is asked for.
const ONE_SNAPSHOT: Bounds = Bounds {
    snapshots: 1,
    restore: false,
    ..Bounds::QUIET
};
/// That, and a restore.
const BESIDE_A_RESTORE: Bounds = Bounds {
    restore: true,
    entries: 1,
    faults: &[TWO],
    ..ONE_SNAPSHOT
};
/// That, in a ledger with a sweep that is planned.
const BESIDE_A_SWEEP: Bounds = Bounds {
    start: Start::OpenSweep,
    entries: 2,
    ..ONE_SNAPSHOT
};

#[track_caller]
fn holds(bounds: Bounds, wanted: &[Violation]) {
    let found = search(&bounds, wanted);
    println!("{bounds:?}\n{found}");
    assert!(found.violation.is_none(), "{found}");
}

/// How many steps it takes.
#[track_caller]
fn breaks(bounds: Bounds, wanted: Violation) -> usize {
    let found = search(&bounds, &[wanted]);
    println!("{bounds:?}\n{found}");
    let (_, trace) = found.violation.expect("nothing was found");
    trace.len()
}

#[test]
fn one_process_does_all_that_is_asked_for() {
    holds(Bounds::QUIET, Violation::ALL);
}

/// Any number of failures, of one that dies at most once.
const AGAIN_AND_AGAIN: Bounds = Bounds {
    claims: 1,
    faults: &[FAILURES],
    again_and_again: true,
    ..ONE_SNAPSHOT
};

#[test]
fn one_process_bears_any_number_of_failures() {
    holds(AGAIN_AND_AGAIN, Violation::ALL);
    let restores = Bounds {
        snapshots: 0,
        restore: true,
        ..AGAIN_AND_AGAIN
    };
    holds(restores, Violation::ALL);
}

#[test]
fn one_process_bears_any_two_faults() {
    let bounds = Bounds {
        restore: true,
        faults: &[ALL_OF_ONE, ALL_OF_ONE],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

#[test]
fn of_two_clusters_one_writes() {
    let bounds = Bounds {
        start: Start::Empty,
        faults: &[FAILURES],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

/// Whichever of them claims first: the other cluster, the leader, or the one before it.
#[test]
fn of_two_clusters_with_two_processes_one_writes() {
    let bounds = Bounds {
        start: Start::Empty,
        stale_passes: 2,
        faults: &[TWO, FAILURES],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

#[test]
fn two_processes_run_and_sweep_one_at_a_time() {
    let bounds = Bounds {
        faults: &[TWO],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

#[test]
fn two_processes_begin_nothing_beside_a_sweep() {
    let bounds = Bounds {
        faults: &[TWO],
        ..BESIDE_A_SWEEP
    };
    holds(bounds, Violation::ALL);
}

#[test]
fn two_processes_bring_a_restore_to_its_end() {
    let bounds = Bounds {
        snapshots: 0,
        restore: true,
        faults: &[TWO],
        ..Bounds::QUIET
    };
    holds(bounds, Violation::ALL);
}

#[test]
fn two_processes_lose_no_good_copy_however_long_one_is_behind() {
    let bounds = Bounds {
        stale_passes: 2,
        faults: &[TWO],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

/// Two terms: the leader of before may have been told that it holds the Lease, and not have claimed yet.
const TERMS: Bounds = Bounds {
    claimed: false,
    stale_passes: 2,
    entries: 1,
    faults: &[TWO],
    ..ONE_SNAPSHOT
};

#[test]
fn a_leader_of_before_does_nothing_behind_the_first_entry_of_its_successor() {
    holds(TERMS, Violation::ALL);
}

#[test]
fn three_terms() {
    let bounds = Bounds {
        claims: 4,
        faults: &[TWO, TWO],
        ..TERMS
    };
    holds(bounds, Violation::ALL);
}

#[test]
fn two_terms_and_a_failure() {
    let bounds = Bounds {
        faults: &[TWO, FAILURES],
        ..TERMS
    };
    holds(bounds, Violation::ALL);
}

/// How it was before leaders claimed: the claim of the cluster was that of any of its processes.
#[test]
fn without_a_claim_of_its_own_a_leader_writes_beside_its_successor() {
    let bounds = TERMS.broken(Mutation::TakesClaimOfItsCluster);
    breaks(bounds, Violation::WritesBehindSuccessor);
}

#[test]
fn a_claim_that_lost_is_tried_again_only_after_the_lease_was_asked_for_again() {
    breaks(TERMS.broken(Mutation::AsksOnce), Violation::WritesBehindSuccessor);
    let unasked = TERMS.broken(Mutation::ClaimsUnasked);
    breaks(unasked, Violation::WritesBehindSuccessor);
}

#[test]
fn who_does_not_read_on_before_it_acts_does_not_meet_the_claim_of_its_successor() {
    let bounds = TERMS.broken(Mutation::DecidesOnWhatItKnows);
    breaks(bounds, Violation::ActsBehindSuccessor);
}

// What was found once, and holds.

/// A leader of before that has asked for movers plans its run beside a restore, unless that begins with an entry.
#[test]
fn no_run_begins_beside_a_restore() {
    holds(BESIDE_A_RESTORE, Violation::ALL);
    let bounds = BESIDE_A_RESTORE.broken(Mutation::RestoreBeginsWithoutEntry);
    breaks(bounds, Violation::RestoreBesideOther);
}

/// With one process: that its run is planned it does not know, since the answer was lost, and a restore begins. Who reads the
/// ledger anew went on with the run and asked for no movers. Reading on first is enough by itself.
#[test]
fn a_run_that_nobody_knew_of_ends_before_a_restore_begins() {
    let bounds = Bounds {
        restore: true,
        faults: &[
            &[Fault::StoreAnswerLost],
            &[Fault::Crash],
            &[Fault::ObjectDeleted],
        ],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
    let without_entry = bounds.broken(Mutation::RestoreBeginsWithoutEntry);
    holds(without_entry, &[Violation::RestoreBesideOther]);
}

/// What a leader takes for left over it judges by the newest ledger: else it deleted the mover of a run that it had not read of, made
/// it anew once it had, and the other one committed meanwhile. That leaders claim is enough by itself.
#[test]
fn no_mover_writes_into_a_run_that_is_committed() {
    let bounds = Bounds {
        stale_passes: 2,
        entries: 1,
        faults: &[TWO],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
    let blind = bounds.broken(Mutation::DecidesOnWhatItKnows);
    holds(blind, &[Violation::WritesIntoCommitted]);
}

/// A Job that is deleted by its name alone may be one that somebody else has made anew since: where it had ended it goes at once and
/// without its pod, nobody sees that any more, and a sweep begins beside a writer.
#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn no_mover_is_lost_sight_of_even_where_its_job_is_deleted_by_name() {
    let bounds = Bounds {
        stale_passes: 2,
        faults: &[TWO],
        ..ONE_SNAPSHOT
    };
    // Reading on first is enough by itself.
    holds(bounds.broken(Mutation::RemovesByName), Violation::ALL);
}

/// A leader of before that has not read of a run took the restore of it for one whose status was edited by hand, and gave it up
/// without a word in the ledger. The entry with which it begins is enough by itself: whoever writes the end finds it.
#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn no_restore_is_given_up_unrecorded_even_by_who_decides_on_what_it_knows() {
    let bounds = BESIDE_A_RESTORE.broken(Mutation::DecidesOnWhatItKnows);
    holds(bounds, &[Violation::EndsUnrecorded]);
}

/// One that is deleted on its way ends in the ledger, so that runs go on.
#[test]
fn a_restore_that_is_deleted_midway_ends() {
    let bounds = Bounds {
        restore: true,
        faults: &[&[Fault::ObjectDeleted], FAILURES],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

// What is broken on purpose is found.

/// Two processes and late passes, by the fewest steps.
const BROKEN: Bounds = Bounds {
    ordinary: &[Fault::TakeOver, Fault::Late],
    ..BESIDE_A_SWEEP
};

#[test]
fn an_index_that_lags_lets_a_writer_work_beside_a_pruner() {
    let bounds = BROKEN.broken(Mutation::JudgesByIndexedPods);
    assert_eq!(breaks(bounds, Violation::TwoAtWork), 21);
}

#[test]
fn a_mover_that_reads_no_ledger_works_for_what_has_ended() {
    let bounds = BROKEN.broken(Mutation::MoverReadsNoLedger);
    assert_eq!(breaks(bounds, Violation::TwoAtWork), 21);
}

/// Before leaders claimed, a sweep began beside the mover of another one. That they claim is enough by itself.
#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn no_sweep_begins_beside_a_mover_even_without_the_sequence_number() {
    let bounds = Bounds {
        start: Start::Garbage,
        entries: 3,
        faults: &[TWO, &[Fault::Late]],
        ..ONE_SNAPSHOT
    };
    let without = bounds.broken(Mutation::BeginsWithoutSequenceNumber);
    holds(without, &[Violation::TwoAtWork, Violation::TwoOpen]);
}

// The same with wider bounds.

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn one_process_bears_any_number_of_failures_beside_a_restore() {
    let bounds = Bounds {
        restore: true,
        ..AGAIN_AND_AGAIN
    };
    holds(bounds, Violation::ALL);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn three_terms_and_a_failure() {
    let bounds = Bounds {
        claims: 4,
        faults: &[TWO, TWO, FAILURES],
        ..TERMS
    };
    holds(bounds, Violation::ALL);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn two_terms_beside_a_restore() {
    let bounds = Bounds {
        claimed: false,
        stale_passes: 2,
        ..BESIDE_A_RESTORE
    };
    holds(bounds, Violation::ALL);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn an_index_that_lags_loses_a_good_copy() {
    let bounds = BROKEN.broken(Mutation::JudgesByIndexedPods);
    assert_eq!(breaks(bounds, Violation::CopyLost), 29);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn two_processes_beside_a_sweep_that_is_late() {
    let bounds = Bounds {
        faults: &[TWO, &[Fault::Late]],
        ..BESIDE_A_SWEEP
    };
    holds(bounds, Violation::ALL);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn two_processes_beside_a_sweep_with_two_failures() {
    let bounds = Bounds {
        faults: &[TWO, FAILURES, FAILURES],
        ..BESIDE_A_SWEEP
    };
    holds(bounds, Violation::ALL);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn two_processes_run_and_sweep_with_a_failure() {
    let bounds = Bounds {
        faults: &[TWO, FAILURES],
        ..ONE_SNAPSHOT
    };
    holds(bounds, Violation::ALL);
}

#[test]
#[ignore = "takes long: cargo test --workspace --locked --test model -- --ignored --nocapture"]
fn one_process_bears_any_three_faults() {
    let bounds = Bounds {
        snapshots: 1,
        faults: &[ALL_OF_ONE, ALL_OF_ONE, ALL_OF_ONE],
        ..Bounds::QUIET
    };
    holds(bounds, Violation::ALL);
}
