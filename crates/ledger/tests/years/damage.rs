//! A year of a ledger, of which one object is not what was written: it is found and named.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tokio::runtime::Builder;
use tray_domain::{
    bucket_layout,
    ledger::{CHECKPOINT_EVERY, Entry, Event, Head, LedgerState, whole_within_days},
};
use tray_ledger::{Ledger, LedgerStoreError};
use tray_testkit::memory::MemoryStore;

use super::{
    org::{Luck, org_id},
    written::{open, written},
};

/// The objects of a year, in order, and the head that the status has seen of it.
struct Year {
    objects: Vec<(String, Bytes)>,
    head: Head,
    end: Timestamp,
}

static YEAR: LazyLock<Year> = LazyLock::new(|| {
    let lucks = (1..=super::YEAR).map(|half_day| {
        if half_day % 9 == 0 {
            Luck::Fails
        } else {
            Luck::Good
        }
    });
    let (bucket, ledger, org) = block_on(written(lucks));
    let objects = bucket.keys().into_iter();
    Year {
        objects: objects
            .map(|key| (key.clone(), bucket.object(&key).unwrap().body))
            .collect(),
        head: ledger.state().head().unwrap(),
        end: org.now,
    }
});

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A bucket with that year in it, each object dated by its place.
fn bucket() -> Arc<MemoryStore> {
    let bucket = Arc::new(MemoryStore::default());
    for (place, (key, body)) in YEAR.objects.iter().enumerate() {
        bucket.set_now(Timestamp::from_second(place as i64).unwrap());
        bucket.overwrite(key, body.clone());
    }
    bucket
}

/// What four weeks of looking find: when the ledger is opened, and a part a day.
async fn found(bucket: &Arc<MemoryStore>) -> Option<LedgerStoreError> {
    let ledger = match open(bucket, Some(&YEAR.head)).await {
        Ok(ledger) => ledger,
        Err(error) => return Some(error),
    };
    for day in 0..28 {
        let now = YEAR.end + SignedDuration::from_hours(24 * day);
        if let Err(error) = look(&ledger, now).await {
            return Some(error);
        }
    }
    None
}

/// What is done before anything is pruned.
async fn look(ledger: &Ledger, now: Timestamp) -> Result<(), LedgerStoreError> {
    ledger.check_listing().await?;
    for part in whole_within_days(ledger.state().next_seq, &org_id(), now) {
        ledger.check(part).await?;
    }
    Ok(())
}

/// Whether a message names that entry, or the one behind it, which follows on another.
fn names(error: &LedgerStoreError, seq: u64) -> bool {
    let said = error.to_string();
    let name =
        |seq: u64| said.contains(&format!("entry {seq}")) || said.contains(&format!("checkpoint {seq} "));
    name(seq) || name(seq + 1)
}

#[test]
fn a_year_of_a_ledger_is_as_it_was_written() {
    block_on(async {
        let bucket = bucket();
        assert_eq!(found(&bucket).await, None);
        let before = bucket.calls().len();
        let ledger = open(&bucket, Some(&YEAR.head)).await.unwrap();
        let calls = bucket.calls().len() - before;
        println!("{} entries; opened by {calls} requests", YEAR.objects.len());
        assert!(calls <= 7, "{calls}");
        let before = bucket.calls().len();
        look(&ledger, YEAR.end).await.unwrap();
        println!(
            "held to itself before a sweep by {} requests",
            bucket.calls().len() - before
        );
    });
}

/// The body with one bit turned.
fn flipped(body: &Bytes, place: usize, bit: u32) -> Vec<u8> {
    let mut flipped = body.to_vec();
    flipped[place % body.len()] ^= 1 << (bit % 8);
    flipped
}

/// What the look at `seq` and at the entry behind it finds, where `seq` has that body.
async fn found_at(
    ledger: &Ledger,
    bucket: &MemoryStore,
    seq: usize,
    body: Vec<u8>,
) -> Option<LedgerStoreError> {
    let (key, own) = &YEAR.objects[seq];
    bucket.overwrite(key, body);
    let found = ledger.check(seq as u64..=seq as u64).await.err();
    bucket.overwrite(key, own.clone());
    found
}

/// Every object of the year, a bit of each; and every bit of some. The last entry is held to what the status has seen.
#[test]
fn no_object_of_a_year_and_no_bit_of_one_is_left_unlooked_at() {
    block_on(async {
        let bucket = bucket();
        let ledger = open(&bucket, Some(&YEAR.head)).await.unwrap();
        let last = YEAR.objects.len() - 1;
        let one_of_each = (0..last).map(|seq| (seq, seq * 7_919, seq as u32));
        let all_of = |seq: usize| {
            let bytes = YEAR.objects[seq].1.len().min(1_200);
            (0..bytes).flat_map(move |byte| (0..8).map(move |bit| (seq, byte, bit)))
        };
        let flips = one_of_each
            .chain(all_of(3))
            .chain(all_of(64))
            .chain(all_of(last - 1));
        for (seq, byte, bit) in flips {
            let body = flipped(&YEAR.objects[seq].1, byte, bit);
            let found = found_at(&ledger, &bucket, seq, body).await;
            let error = found.unwrap_or_else(|| panic!("bit {bit} of byte {byte} of {seq} is not found"));
            assert!(matches!(error, LedgerStoreError::Invalid { .. }), "{error:?}");
            assert!(names(&error, seq as u64), "{seq}: {error}");
        }
        assert_eq!(found(&bucket).await, None);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bit of any object, and nobody notes that it was written: it is found within four weeks, and named.
    #[test]
    fn a_bit_that_is_flipped_anywhere_is_found_and_named(
        place in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let seq = place.index(YEAR.objects.len());
        let (key, body) = &YEAR.objects[seq];
        let flipped = flipped(body, byte.index(body.len()), bit);
        let bucket = bucket();
        bucket.set_now(Timestamp::from_second(seq as i64).unwrap());
        bucket.overwrite(key, flipped);
        let error = block_on(found(&bucket));
        let error = error.expect("it is not found");
        prop_assert!(matches!(error, LedgerStoreError::Invalid { .. }), "{error:?}");
        prop_assert!(names(&error, seq as u64), "{seq}: {error}");
    }

    /// What S3 dates anew is found at once, whatever day it is: nothing is pruned on it.
    #[test]
    fn an_object_that_is_written_over_is_found_before_anything_is_pruned(
        place in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8_u32, day in 0..400_i64,
    ) {
        let seq = place.index(YEAR.objects.len());
        let (key, body) = &YEAR.objects[seq];
        let flipped = flipped(body, byte.index(body.len()), bit);
        let bucket = bucket();
        bucket.set_now(Timestamp::from_second(1_000_000).unwrap());
        bucket.overwrite(key, flipped);
        let found = block_on(async {
            let ledger = open(&bucket, Some(&YEAR.head)).await?;
            look(&ledger, YEAR.end + SignedDuration::from_hours(24 * day)).await
        });
        let error = found.expect_err("it is not found");
        prop_assert!(names(&error, seq as u64), "{seq}: {error}");
    }
}

type Harm<'a> = Box<dyn Fn(&MemoryStore) + 'a>;

#[test]
fn a_removed_doubled_reordered_or_foreign_entry_is_found_and_named() {
    let count = YEAR.objects.len();
    // Long before the newest checkpoint, at one, and among the last.
    for seq in [70, 64 * 20, count - 2] {
        let body = |seq: usize| YEAR.objects[seq].1.clone();
        let key = |seq: usize| YEAR.objects[seq].0.clone();
        let foreign = foreign(seq as u64);
        let harms: [(&str, Harm<'_>); 5] = [
            ("removed", Box::new(|bucket| bucket.remove(&key(seq)))),
            (
                "doubled in its place",
                Box::new(|bucket| bucket.overwrite(&key(seq), body(seq - 1))),
            ),
            (
                "doubled behind the end",
                Box::new(|bucket| bucket.overwrite(&of(count as u64), body(seq))),
            ),
            (
                "reordered",
                Box::new(|bucket| {
                    bucket.overwrite(&key(seq), body(seq + 1));
                    bucket.overwrite(&key(seq + 1), body(seq));
                }),
            ),
            (
                "foreign",
                Box::new(|bucket| bucket.overwrite(&key(seq), foreign.clone())),
            ),
        ];
        for (what, harm) in harms {
            let bucket = bucket();
            harm(&bucket);
            let error = block_on(found(&bucket)).unwrap_or_else(|| panic!("{what} {seq} is not found"));
            assert!(
                matches!(error, LedgerStoreError::Invalid { .. }),
                "{what}: {error:?}"
            );
            let named = if what.contains("end") { count } else { seq };
            assert!(names(&error, named as u64), "{what} {seq}: {error}");
        }
    }
}

fn of(seq: u64) -> String {
    bucket_layout::ledger_entry("", &org_id(), seq)
}

/// An entry that another cluster has written on another ledger of the org.
fn foreign(seq: u64) -> Bytes {
    let mut entry = Entry::decode(seq, &YEAR.objects[seq as usize].1).unwrap();
    "another".clone_into(&mut entry.cluster_uid);
    entry.event = Event::KeyPlanned {
        intent: "another".to_owned(),
    };
    Bytes::from(entry.encode().unwrap())
}

#[test]
fn a_checkpoint_that_was_written_with_a_lie_in_it_is_found_and_named() {
    // Somebody writes a whole ledger anew from a lie on: every digest is right.
    let lie_at = 64 * 30;
    let mut states = LedgerState::default();
    let mut lied = Vec::new();
    for (seq, (key, body)) in YEAR.objects.iter().enumerate() {
        let mut entry = Entry::decode(seq as u64, body).unwrap();
        if let Event::Checkpoint { state } = &mut entry.event
            && seq >= lie_at
        {
            **state = states.clone();
            if seq == lie_at {
                state.runs.pop_last();
            }
        }
        entry.previous_digest.clone_from(&states.last_digest);
        let bytes = entry.encode().unwrap();
        states.apply(&entry, &bytes).unwrap();
        lied.push((key.clone(), Bytes::from(bytes)));
    }
    assert!(lie_at.is_multiple_of(CHECKPOINT_EVERY as usize));
    let bucket = Arc::new(MemoryStore::default());
    for (key, body) in lied {
        bucket.overwrite(&key, body);
    }
    let error = block_on(async {
        let ledger = open(&bucket, None).await?;
        for day in 0..28 {
            look(&ledger, YEAR.end + SignedDuration::from_hours(24 * day)).await?;
        }
        Ok::<(), LedgerStoreError>(())
    });
    let said = error.expect_err("it is not found").to_string();
    assert!(
        said.contains(&format!("checkpoint {lie_at} ")) && said.contains("the runs"),
        "{said}"
    );
}

#[test]
fn a_ledger_that_has_lost_its_end_is_not_a_shorter_one() {
    let (bucket, count) = (bucket(), YEAR.objects.len());
    let lost: BTreeSet<usize> = (count - 3..count).collect();
    for seq in &lost {
        bucket.remove(&YEAR.objects[*seq].0);
    }
    let error = block_on(open(&bucket, Some(&YEAR.head))).map(drop).unwrap_err();
    assert!(names(&error, YEAR.head.seq), "{error}");
    // Without what the status has seen nobody can know.
    assert!(block_on(open(&bucket, None)).is_ok());
}
