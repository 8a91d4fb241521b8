//! The protocol of the ledger over a bucket in memory, with lost answers, races and damage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tray_domain::{
    ids::{KmsKeyArn, OrgId},
    ledger::{Entry, Event, Head, LedgerState, digest},
};
use tray_ledger::{Ledger, LedgerStore, LedgerStoreError, ObjectStore, RemoteError, WRITE_TRIES, Writer};
use tray_testkit::{
    lease::{MemoryLease, by_hand, sole_writer},
    memory::{Fault, MemoryStore, Operation},
};

const ORG: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const OTHER_ORG: &str = "0b1b7a3e-2f0c-4a3b-9f0e-3a1c2d4e5f60";

fn org(id: &str) -> OrgId {
    id.parse().unwrap()
}
fn key() -> KmsKeyArn {
    "arn:aws:kms:eu-central-1:111122223333:key/ledger"
        .parse()
        .unwrap()
}
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}
fn planned(intent: &str) -> Event {
    Event::KeyPlanned {
        intent: intent.to_owned(),
    }
}

/// The leader of that cluster, after a look at nothing but the bucket.
async fn open(bucket: &Arc<MemoryStore>, cluster: &str) -> Result<Ledger, LedgerStoreError> {
    open_as(bucket, &sole_writer(cluster)).await
}
/// Another process (a store of ledgers of its own) over the same bucket.
async fn open_as(bucket: &Arc<MemoryStore>, writer: &Writer) -> Result<Ledger, LedgerStoreError> {
    let store: Arc<dyn ObjectStore> = bucket.clone();
    LedgerStore::new()
        .open(store, "p/", key(), org(ORG), writer)
        .await
}
/// Two processes of one cluster, `one` and `two`: the first leads, and has claimed.
async fn two_of_a_cluster(bucket: &Arc<MemoryStore>) -> (Arc<MemoryLease>, Ledger, Ledger) {
    let lease = MemoryLease::held_by("one");
    let one = open_as(bucket, &lease.writer("c1", "one")).await.unwrap();
    one.claim(at(1)).await.unwrap();
    let two = open_as(bucket, &lease.writer("c1", "two")).await.unwrap();
    (lease, one, two)
}
/// The same, of whom knows the last entry that was seen.
async fn open_behind(bucket: &Arc<MemoryStore>, seen: &Head) -> Result<Ledger, LedgerStoreError> {
    let store: Arc<dyn ObjectStore> = bucket.clone();
    LedgerStore::new()
        .open_behind((store, "p/"), key(), org(ORG), &sole_writer("c1"), Some(seen))
        .await
}
async fn claimed(bucket: &Arc<MemoryStore>) -> Ledger {
    let ledger = open(bucket, "c1").await.unwrap();
    ledger.claim(at(1)).await.unwrap();
    ledger
}
fn entry_key(seq: u64) -> String {
    format!("p/v1/ledger/{ORG}/{seq:010}.json")
}
fn no_answer() -> RemoteError {
    RemoteError::Unavailable("503 SlowDown".into())
}

#[tokio::test]
async fn entries_are_read_back_as_they_were_written() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    let entry = ledger.append(planned("i"), at(2)).await.unwrap();
    assert_eq!((entry.seq, entry.epoch, entry.at), (1, 1, at(2)));
    assert_eq!(bucket.keys(), [entry_key(0), entry_key(1)]);
    assert_eq!(bucket.object(&entry_key(1)).unwrap().kms_key, Some(key()));

    let again = open(&bucket, "c1").await.unwrap();
    assert_eq!(again.state(), ledger.state());
    assert_eq!(again.state().key_intent.as_deref(), Some("i"));
}

#[tokio::test]
async fn the_first_entry_is_a_claim_and_claiming_again_writes_nothing() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = open(&bucket, "c1").await.unwrap();
    for _ in 0..3 {
        ledger.claim(at(1)).await.unwrap();
        ledger.lead(at(1)).await.unwrap();
    }
    assert_eq!((bucket.keys().len(), ledger.epoch()), (1, Some(1)));
    let unclaimed = Arc::new(MemoryStore::default());
    let ledger = open(&unclaimed, "c1").await.unwrap();
    let entry = ledger.append(planned("i"), at(1)).await.unwrap();
    assert_eq!((entry.seq, entry.epoch), (1, 1), "it comes behind a claim");
}

#[tokio::test]
async fn another_cluster_cannot_write_under_a_claim_that_is_not_its_own() {
    let bucket = Arc::new(MemoryStore::default());
    claimed(&bucket).await;
    let lease = MemoryLease::held_by("operator");
    let other = open_as(&bucket, &lease.writer("c2", "operator")).await.unwrap();
    let lost = LedgerStoreError::ClaimLost {
        org: org(ORG),
        cluster_uid: "c1".into(),
        epoch: 1,
    };
    assert!(lost.to_string().contains("by another cluster, c1"), "{lost}");
    assert_eq!(other.append(planned("i"), at(2)).await, Err(lost.clone()));
    assert_eq!(other.claim(at(2)).await, Err(lost.clone()));
    assert_eq!(other.lead(at(2)).await, Err(lost.clone()));
    assert_eq!(other.check_cluster(), Err(lost));
    assert_eq!((bucket.keys().len(), lease.asked()), (1, 0));
}

#[tokio::test]
async fn of_two_clusters_that_claim_at_once_one_loses() {
    let bucket = Arc::new(MemoryStore::default());
    let one = open(&bucket, "c1").await.unwrap();
    let two = open(&bucket, "c2").await.unwrap();
    one.claim(at(1)).await.unwrap();
    assert!(matches!(
        two.claim(at(1)).await,
        Err(LedgerStoreError::ClaimLost { cluster_uid, epoch: 1, .. }) if cluster_uid == "c1"
    ));
    one.append(planned("i"), at(2)).await.unwrap();
}

#[tokio::test]
async fn a_leader_claims_with_the_next_epoch_before_its_first_entry_and_only_then() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, one, two) = two_of_a_cluster(&bucket).await;
    one.append(planned("one"), at(2)).await.unwrap();
    lease.pass_to("two");
    let asked = lease.asked();
    // Who only looks writes nothing, and asks nobody.
    two.refresh().await.unwrap();
    assert_eq!(two.check_cluster(), Ok(()));
    assert_eq!(two.append_decided(at(3), |_| None).await, Ok(None));
    assert_eq!(
        (two.epoch(), lease.asked(), bucket.keys().len()),
        (None, asked, 2)
    );

    for second in [4, 5] {
        assert_eq!(two.append(planned("two"), at(second)).await.unwrap().epoch, 2);
    }
    let bytes = bucket.object(&entry_key(2)).unwrap().body;
    let claim = Entry::decode(2, &bytes).unwrap();
    let holder = "two".to_owned();
    assert_eq!((claim.epoch, claim.event), (2, Event::Claim { holder }));
    assert_eq!(bucket.keys().len(), 5, "one claim and two entries");
    assert_eq!(lease.asked(), asked + 1);
    let told = [("one", 1), ("two", 2)].map(|(process, epoch)| (process.to_owned(), org(ORG), epoch));
    assert_eq!(lease.claims(), told);
}

#[tokio::test]
async fn a_process_that_leads_no_more_writes_nothing_behind_the_claim_of_the_one_that_does() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, one, two) = two_of_a_cluster(&bucket).await;
    lease.pass_to("two");
    // Until the other one has written it goes on.
    one.append(planned("one"), at(2)).await.unwrap();
    two.lead(at(3)).await.unwrap();
    let said = LedgerStoreError::NotLeading {
        org: org(ORG),
        claimed_by: Some("two".into()),
    };
    assert!(said.is_transient());
    for part in [
        "does not hold the Lease",
        "claimed last by two",
        "goes on with the org",
    ] {
        assert!(said.to_string().contains(part), "{said}");
    }
    let decided = one.append_decided(at(4), |_| Some(planned("decided"))).await;
    assert_eq!(decided, Err(said.clone()));
    assert_eq!(one.append(planned("one"), at(4)).await, Err(said.clone()));
    assert_eq!(one.claim(at(4)).await, Err(said.clone()));
    assert_eq!(one.lead(at(4)).await, Err(said));
    // At rest it is left to whoever leads.
    for i in 0..4 {
        two.append(planned(&format!("{i}")), at(5)).await.unwrap();
    }
    one.refresh().await.unwrap();
    one.shorten(at(6)).await.unwrap();
    assert_eq!(bucket.keys().len(), 7);
    assert_eq!(one.append_decided(at(7), |_| None).await, Ok(None), "it may look");
}

#[tokio::test]
async fn an_append_says_at_once_that_another_process_leads_by_now() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, one, two) = two_of_a_cluster(&bucket).await;
    lease.pass_to("two");
    two.lead(at(3)).await.unwrap();
    two.append(planned("two"), at(3)).await.unwrap();
    // It has not read on: it meets the other's claim where its own entry should be.
    let met = one.append(planned("one"), at(4)).await;
    assert!(matches!(met, Err(LedgerStoreError::NotLeading { .. })), "{met:?}");
    assert_eq!(one.state().key_intent.as_deref(), Some("two"));
    assert_eq!(bucket.keys().len(), 3);
}

/// Asked while it led, it stands still, and another one leads and claims meanwhile.
#[tokio::test]
async fn a_claim_of_who_stood_still_since_it_asked_loses_and_it_asks_again() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, _, two) = two_of_a_cluster(&bucket).await;
    lease.pass_to("two");
    let three = open_as(&bucket, &lease.writer("c1", "three")).await.unwrap();
    let asked = lease.asked();
    let (passes, next) = (lease.clone(), three.clone());
    lease.after_next(move || {
        passes.pass_to("three");
        futures::executor::block_on(next.claim(at(2))).unwrap();
    });
    let lost = two.append(planned("two"), at(3)).await;
    assert!(
        matches!(&lost, Err(LedgerStoreError::NotLeading { claimed_by, .. }) if claimed_by.as_deref() == Some("three")),
        "{lost:?}"
    );
    assert_eq!(lease.asked() - asked, 3, "it asked twice, the other one once");
    assert_eq!(
        bucket.keys().len(),
        2,
        "of the first one, and of the one that leads"
    );
    assert_eq!(three.append(planned("three"), at(4)).await.unwrap().epoch, 2);
}

/// The claim, or any entry, of one that led before comes in between: who leads asks again, and claims behind it.
#[tokio::test]
async fn who_leads_claims_anew_behind_what_a_former_leader_has_still_written() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, one, two) = two_of_a_cluster(&bucket).await;
    lease.pass_to("two");
    let asked = lease.asked();
    let late = one.clone();
    lease.after_next(move || {
        futures::executor::block_on(late.append(planned("late"), at(2))).unwrap();
    });
    two.claim(at(3)).await.unwrap();
    assert_eq!((two.epoch(), lease.asked() - asked), (Some(2), 2));
    let state = two.state();
    assert_eq!((state.next_seq, state.key_intent.as_deref()), (3, Some("late")));

    // A former leader that had asked in time claims late: whoever leads meets a higher epoch than its own.
    let three = open_as(&bucket, &lease.writer("c1", "three")).await.unwrap();
    lease.pass_to("three");
    let (passes, leader) = (lease.clone(), two.clone());
    lease.after_next(move || passes.pass_to("two"));
    three.claim(at(4)).await.unwrap();
    let met = leader.append(planned("two"), at(5)).await;
    assert!(
        matches!(met, Err(LedgerStoreError::Overtaken { .. })),
        "decided anew: {met:?}"
    );
    let entry = leader.append(planned("two"), at(5)).await.unwrap();
    assert_eq!((entry.seq, entry.epoch), (5, 4));
    let fenced = three.append(planned("three"), at(6)).await;
    assert!(
        matches!(fenced, Err(LedgerStoreError::NotLeading { .. })),
        "{fenced:?}"
    );
}

/// Its etcd was restored into another cluster, which has its UID and a Lease of its own. Of the two one goes on.
#[tokio::test]
async fn who_leads_all_along_takes_no_claim_back_from_a_cluster_that_was_made_of_its_own() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, twins) = (MemoryLease::held_by("one"), MemoryLease::held_by("one"));
    let (ledgers, writer) = (LedgerStore::new(), lease.writer("c1", "one"));
    let open = async || {
        let store: Arc<dyn ObjectStore> = bucket.clone();
        ledgers.open(store, "p/", key(), org(ORG), &writer).await.unwrap()
    };
    let one = open().await;
    one.append(planned("one"), at(2)).await.unwrap();
    ledgers.close(&one);
    twins.pass_to("twin");
    let twin = open_as(&bucket, &twins.writer("c1", "twin")).await.unwrap();
    twin.append(planned("twin"), at(3)).await.unwrap();

    let one = open().await;
    let said = one.append(planned("one"), at(4)).await.unwrap_err();
    assert!(matches!(&said, LedgerStoreError::Twin { holder, epoch: 2, .. } if holder == "twin"));
    assert!(!said.is_transient());
    for part in [
        "two clusters have the UID c1",
        "claimed by twin (epoch 2)",
        "remove the TrayOrg from the other",
    ] {
        assert!(said.to_string().contains(part), "{part}: {said}");
    }
    assert_eq!(one.lead(at(5)).await, Err(said));
    twin.append(planned("twin"), at(6)).await.unwrap();
    assert_eq!(bucket.keys().len(), 5);

    // In a later term another process may have led, and what somebody has written by hand says nothing of clusters.
    lease.pass_to("one");
    one.refresh().await.unwrap();
    assert_eq!(one.append(planned("one"), at(7)).await.unwrap().epoch, 3);
    let hand = open_as(&bucket, &by_hand("c1")).await.unwrap();
    assert_eq!(hand.append(planned("hand"), at(8)).await.unwrap().epoch, 4);
    one.refresh().await.unwrap();
    assert_eq!(one.append(planned("one"), at(9)).await.unwrap().epoch, 5);
}

#[tokio::test]
async fn nothing_is_claimed_while_the_api_server_does_not_say_who_leads() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, _, two) = two_of_a_cluster(&bucket).await;
    lease.pass_to("two");
    lease.fail_next("503 from the API server");
    let unknown = two.append(planned("two"), at(2)).await.unwrap_err();
    assert!(matches!(unknown, LedgerStoreError::LeaseUnknown { .. }) && unknown.is_transient());
    assert!(
        unknown.to_string().contains("503 from the API server"),
        "{unknown}"
    );
    assert_eq!(bucket.keys().len(), 1);
    two.append(planned("two"), at(2)).await.unwrap();
}

#[tokio::test]
async fn who_acts_reads_on_and_claims_once() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, one, two) = two_of_a_cluster(&bucket).await;
    one.append(planned("one"), at(2)).await.unwrap();
    lease.pass_to("two");
    two.lead(at(3)).await.unwrap();
    assert_eq!(
        (two.epoch(), two.state().key_intent.as_deref()),
        (Some(2), Some("one"))
    );
    let (before, asked) = (bucket.calls().len(), lease.asked());
    two.lead(at(4)).await.unwrap();
    assert_eq!(bucket.calls().split_off(before).len(), 1, "one list");
    assert_eq!(lease.asked(), asked);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_known_again_and_not_made_twice() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, _, two) = two_of_a_cluster(&bucket).await;
    lease.pass_to("two");
    bucket.fail_next(Operation::Put, Fault::AnswerLost);
    for _ in 0..WRITE_TRIES - 1 {
        bucket.fail_next(Operation::Put, Fault::Refused(no_answer()));
    }
    for _ in 0..WRITE_TRIES {
        bucket.fail_next(Operation::Get, Fault::Refused(no_answer()));
    }
    assert!(two.claim(at(2)).await.unwrap_err().is_transient());
    assert_eq!(two.epoch(), None);
    two.claim(at(60)).await.unwrap();
    assert_eq!((two.epoch(), bucket.keys().len()), (Some(2), 2));
}

#[tokio::test]
async fn a_ledger_that_was_closed_is_claimed_no_second_time_by_the_same_process() {
    let bucket = Arc::new(MemoryStore::default());
    let (ledgers, writer) = (LedgerStore::new(), sole_writer("c1"));
    for second in 1..4 {
        let store: Arc<dyn ObjectStore> = bucket.clone();
        let ledger = ledgers.open(store, "p/", key(), org(ORG), &writer).await.unwrap();
        let entry = ledger.append(planned("i"), at(second)).await.unwrap();
        assert_eq!(entry.epoch, 1);
        ledgers.close(&ledger);
    }
    assert_eq!(bucket.keys().len(), 4);
}

#[tokio::test]
async fn a_checkpoint_stands_at_its_number_also_where_a_claim_comes() {
    let bucket = Arc::new(MemoryStore::default());
    let (lease, one, two) = two_of_a_cluster(&bucket).await;
    for i in 1..64 {
        one.append(planned(&format!("{i}")), at(i)).await.unwrap();
    }
    assert_eq!(one.state().next_seq, 64);
    lease.pass_to("two");
    two.lead(at(100)).await.unwrap();
    assert_eq!(
        (two.epoch(), two.state().checkpoint, two.state().next_seq),
        (Some(2), Some(64), 66)
    );
    let refused = one.append(planned("one"), at(101)).await;
    assert!(
        matches!(refused, Err(LedgerStoreError::NotLeading { .. })),
        "{refused:?}"
    );
    let read = open(&bucket, "c1").await.unwrap();
    assert_eq!(read.state(), two.state());
    assert_eq!(read.state().claimed_by.as_deref(), Some("two"));
    read.check(0..=65).await.unwrap();
}

#[tokio::test]
async fn an_append_that_was_overtaken_is_decided_anew() {
    let bucket = Arc::new(MemoryStore::default());
    let one = claimed(&bucket).await;
    let two = open(&bucket, "c1").await.unwrap();
    one.append(planned("one"), at(2)).await.unwrap();

    let overtaken = two.append(planned("two"), at(3)).await;
    assert_eq!(
        overtaken,
        Err(LedgerStoreError::Overtaken {
            org: org(ORG),
            last_seq: 1
        })
    );
    assert_eq!(
        two.state().key_intent.as_deref(),
        Some("one"),
        "the state has read on"
    );
    assert_eq!(bucket.keys().len(), 2, "nothing was written on an old decision");

    one.append(planned("one again"), at(4)).await.unwrap();
    let mut seen = Vec::new();
    let entry = two
        .append_decided(at(5), |state| {
            seen.push(state.key_intent.clone().unwrap());
            Some(planned("two"))
        })
        .await
        .unwrap();
    assert_eq!(entry.unwrap().seq, 3);
    assert_eq!(seen, ["one", "one again"]);
    let nothing = two.append_decided(at(6), |_| None).await.unwrap();
    assert_eq!(nothing, None);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_has_succeeded_and_is_not_written_twice() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    bucket.fail_next(Operation::Put, Fault::AnswerLost);
    assert_eq!(ledger.append(planned("i"), at(2)).await.unwrap().seq, 1);
    assert_eq!(ledger.append(planned("j"), at(3)).await.unwrap().seq, 2);
    assert_eq!(bucket.keys().len(), 3);
}

#[tokio::test]
async fn a_write_that_was_not_done_is_tried_again() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    bucket.fail_next(Operation::Put, Fault::Refused(no_answer()));
    assert_eq!(ledger.append(planned("i"), at(2)).await.unwrap().seq, 1);
}

#[tokio::test]
async fn a_lost_answer_that_cannot_be_looked_up_is_found_by_the_next_append() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    bucket.fail_next(Operation::Put, Fault::AnswerLost);
    for _ in 0..WRITE_TRIES - 1 {
        bucket.fail_next(Operation::Put, Fault::Refused(no_answer()));
    }
    for _ in 0..WRITE_TRIES {
        bucket.fail_next(Operation::Get, Fault::Refused(no_answer()));
    }
    let error = ledger.append(planned("i"), at(2)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(ORG), "{error}");
    assert_eq!(ledger.state().next_seq, 1);

    // The caller comes again, later: what it wanted is in the ledger already.
    let decide = |state: &LedgerState| state.key_intent.is_none().then(|| planned("i"));
    assert_eq!(ledger.append_decided(at(60), decide).await.unwrap(), None);
    assert_eq!(ledger.state().next_seq, 2);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    let denied = RemoteError::Denied("s3:PutObject".into());
    bucket.fail_next(Operation::Put, Fault::Refused(denied.clone()));
    let error = ledger.append(planned("i"), at(2)).await.unwrap_err();
    assert!(!error.is_transient());
    assert!(matches!(error, LedgerStoreError::Remote { source, .. } if source == denied));
    let puts = bucket
        .calls()
        .iter()
        .filter(|(of, _)| *of == Operation::Put)
        .count();
    assert_eq!(puts, 2, "the claim and the refused one");
}

#[tokio::test]
async fn writers_in_one_process_wait_for_each_other() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    let writers = (0..40).map(|i| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.append(planned(&format!("{i}")), at(i)).await })
    });
    let mut seqs = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        seqs.push(writer.await.unwrap().unwrap().seq);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    assert_eq!(open(&bucket, "c1").await.unwrap().state(), ledger.state());
}

#[tokio::test]
async fn a_process_opens_a_ledger_once() {
    let bucket = Arc::new(MemoryStore::default());
    let store: Arc<dyn ObjectStore> = bucket.clone();
    let ledgers = LedgerStore::new();
    let one = ledgers
        .open(store.clone(), "p/", key(), org(ORG), &sole_writer("c1"))
        .await
        .unwrap();
    one.claim(at(1)).await.unwrap();
    let two = ledgers
        .open(store.clone(), "p/", key(), org(ORG), &sole_writer("c1"))
        .await
        .unwrap();
    assert_eq!(two.state().next_seq, 1);
    let other = ledgers
        .open(store, "p/", key(), org(OTHER_ORG), &sole_writer("c1"))
        .await
        .unwrap();
    assert_eq!(other.state().next_seq, 0);
    let elsewhere: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
    let other_bucket = ledgers
        .open(elsewhere, "p/", key(), org(ORG), &sole_writer("c1"))
        .await
        .unwrap();
    assert_eq!(other_bucket.state().next_seq, 0);
}

#[tokio::test]
async fn an_open_ledger_is_written_under_the_regions_present_key() {
    let bucket = Arc::new(MemoryStore::default());
    let ledgers = LedgerStore::new();
    let open = async |key: KmsKeyArn| {
        let store: Arc<dyn ObjectStore> = bucket.clone();
        ledgers
            .open(store, "p/", key, org(ORG), &sole_writer("c1"))
            .await
            .unwrap()
    };
    let first = open(key()).await;
    first.claim(at(1)).await.unwrap();
    let present: KmsKeyArn = "arn:aws:kms:eu-central-1:111122223333:key/present"
        .parse()
        .unwrap();
    open(present.clone()).await;
    first.append(planned("i"), at(2)).await.unwrap();
    let key_of = |seq| bucket.object(&entry_key(seq)).unwrap().kms_key;
    assert_eq!((key_of(0), key_of(1)), (Some(key()), Some(present)));
}

#[tokio::test]
async fn a_reader_begins_at_the_newest_checkpoint() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    for i in 0..200 {
        ledger.append(planned(&format!("{i}")), at(i)).await.unwrap();
    }
    // 201 entries and a checkpoint at 64, 128 and 192.
    assert_eq!(ledger.state().next_seq, 204);
    for seq in [64, 128, 192] {
        let bytes = bucket.object(&entry_key(seq)).unwrap().body;
        assert!(matches!(
            Entry::decode(seq, &bytes).unwrap().event,
            Event::Checkpoint { .. }
        ));
    }
    let before = bucket.calls().len();
    let reader = open(&bucket, "c1").await.unwrap();
    assert_eq!(reader.state(), ledger.state());
    // One list, the last entry, which names the checkpoint, that one, and the 10 entries between them.
    assert_eq!(bucket.calls().len() - before, 13);
    reader.append(planned("next"), at(300)).await.unwrap();
}

/// As an earlier version wrote it: no entry names the checkpoint.
#[tokio::test]
async fn a_checkpoint_that_no_entry_names_is_found_by_its_number() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    for i in 0..70 {
        ledger.append(planned(&format!("{i}")), at(i)).await.unwrap();
    }
    let mut previous = String::new();
    for seq in 0..ledger.state().next_seq {
        let bytes = bucket.object(&entry_key(seq)).unwrap().body;
        let mut entry = Entry::decode(seq, &bytes).unwrap();
        entry.checkpoint = None;
        entry.previous_digest.clone_from(&previous);
        if let Event::Checkpoint { state } = &mut entry.event {
            state.last_digest.clone_from(&previous);
        }
        let bytes = entry.encode().unwrap();
        previous = digest(&bytes);
        bucket.overwrite(&entry_key(seq), bytes);
    }
    let before = bucket.calls().len();
    let reader = open(&bucket, "c1").await.unwrap();
    assert_eq!(reader.state().key_intent.as_deref(), Some("69"));
    assert_eq!(reader.state().checkpoint, Some(64));
    // One list, the last entry, the checkpoint, and the 6 entries between them.
    assert_eq!(bucket.calls().len() - before, 9);
}

#[tokio::test]
async fn a_ledger_at_rest_has_a_short_tail_and_is_read_by_few_requests() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    for i in 0..40 {
        ledger.append(planned(&format!("{i}")), at(i)).await.unwrap();
    }
    ledger.shorten(at(50)).await.unwrap();
    assert_eq!(ledger.state().next_seq, 42);
    for i in 0..3 {
        ledger
            .append(planned(&format!("more {i}")), at(60))
            .await
            .unwrap();
        // Short enough: nothing is written.
        ledger.shorten(at(60)).await.unwrap();
    }
    let head = ledger.state().head().unwrap();
    assert_eq!((head.seq, ledger.state().checkpoint), (44, Some(41)));
    let before = bucket.calls().len();
    let reader = open_behind(&bucket, &head).await.unwrap();
    assert_eq!(reader.state(), ledger.state());
    assert_eq!(
        bucket.calls().len() - before,
        5,
        "one list, the checkpoint and the three behind it"
    );
    ledger.append(planned("one too many"), at(70)).await.unwrap();
    reader.refresh().await.unwrap();
    ledger.shorten(at(70)).await.unwrap();
    assert_eq!(ledger.state().checkpoint, Some(46));
    // Another one that would write it, too, leaves it at that.
    reader.shorten(at(80)).await.unwrap();
    assert_eq!((reader.state(), bucket.keys().len()), (ledger.state(), 47));
}

#[tokio::test]
async fn a_ledger_is_not_in_memory_once_it_was_closed() {
    let bucket = Arc::new(MemoryStore::default());
    let ledgers = LedgerStore::new();
    let open = async || {
        let store: Arc<dyn ObjectStore> = bucket.clone();
        ledgers
            .open(store, "p/", key(), org(ORG), &sole_writer("c1"))
            .await
            .unwrap()
    };
    let ledger = open().await;
    ledger.claim(at(1)).await.unwrap();
    assert_eq!((ledgers.count(), ledgers.is_open(&org(ORG))), (1, true));
    // What is in memory is not read again; who decides on it reads on.
    let before = bucket.calls().len();
    open().await;
    assert_eq!(bucket.calls().len(), before);
    ledgers.close(&ledger);
    assert_eq!((ledgers.count(), ledgers.is_open(&org(ORG))), (0, false));
    assert_eq!(open().await.state(), ledger.state());
    // The one from before is not the one that is open now.
    ledgers.close(&ledger);
    assert_eq!(ledgers.count(), 1);
}

#[tokio::test]
async fn a_ledger_without_the_entry_that_was_seen_of_it_is_damaged() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    for i in 0..10 {
        ledger.append(planned(&format!("{i}")), at(i)).await.unwrap();
    }
    let head = ledger.state().head().unwrap();
    assert_eq!(open_behind(&bucket, &head).await.unwrap().state(), ledger.state());
    let other = Head {
        digest: "another".to_owned(),
        ..head.clone()
    };
    let said = |error: Result<Ledger, LedgerStoreError>| error.map(drop).unwrap_err().to_string();
    let replaced = said(open_behind(&bucket, &other).await);
    assert!(
        replaced.contains("entry 10 of the ledger is another one"),
        "{replaced}"
    );
    ledger.append(planned("behind it"), at(20)).await.unwrap();
    let replaced = said(open_behind(&bucket, &other).await);
    assert!(
        replaced.contains("entry 10 of the ledger is another one"),
        "{replaced}"
    );
    for seq in [10, 11] {
        bucket.remove(&entry_key(seq));
    }
    let lost = said(open_behind(&bucket, &head).await);
    assert!(lost.contains("entry 10 of the ledger is missing"), "{lost}");
    // An empty one is told of by who knows of copies.
    for seq in 0..10 {
        bucket.remove(&entry_key(seq));
    }
    let empty = open_behind(&bucket, &head).await.unwrap();
    assert_eq!(empty.state().next_seq, 0);
}

#[tokio::test]
async fn reading_on_fetches_only_what_is_new() {
    let bucket = Arc::new(MemoryStore::default());
    let one = claimed(&bucket).await;
    let two = open(&bucket, "c1").await.unwrap();
    one.append(planned("i"), at(2)).await.unwrap();
    let before = bucket.calls().len();
    assert_eq!(two.refresh().await.unwrap(), one.state());
    assert_eq!(bucket.calls().len() - before, 2);
}

#[tokio::test]
async fn what_cannot_be_believed_is_an_error_and_names_the_entry() {
    type Harm = fn(&MemoryStore);
    let cases: [(Harm, &str); 6] = [
        (
            |bucket| bucket.overwrite(&entry_key(1), "{}"),
            "entry 1 of the ledger cannot be read",
        ),
        (
            |bucket| bucket.remove(&entry_key(1)),
            "entry 1 of the ledger is missing",
        ),
        (
            |bucket| bucket.remove(&entry_key(0)),
            "entry 0 of the ledger is missing",
        ),
        (
            |bucket| {
                let text = bucket.object(&entry_key(1)).unwrap().body;
                let changed = String::from_utf8(text.to_vec())
                    .unwrap()
                    .replace("\"first\"", "\"forged\"");
                bucket.overwrite(&entry_key(1), changed);
            },
            "hash chain of the ledger is broken at entry 2",
        ),
        (
            |bucket| bucket.overwrite(&format!("p/v1/ledger/{ORG}/1.json"), "{}"),
            "which is no entry",
        ),
        (
            |bucket| bucket.overwrite(&format!("p/v1/ledger/{ORG}/notes.txt"), "hello"),
            "notes.txt, which is no entry",
        ),
    ];
    for (harm, expected) in cases {
        let bucket = Arc::new(MemoryStore::default());
        let ledger = claimed(&bucket).await;
        ledger.append(planned("first"), at(2)).await.unwrap();
        ledger.append(planned("second"), at(3)).await.unwrap();
        harm(&bucket);
        let Err(error) = open(&bucket, "c1").await else {
            panic!("read although: {expected}")
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn what_a_newer_version_has_written_is_told_apart_and_nothing_is_to_be_replaced() {
    for (written, is_now) in [
        ("\"formatVersion\":1", "\"formatVersion\":3"),
        ("\"type\":\"KeyPlanned\"", "\"type\":\"KeyRetired\""),
    ] {
        let bucket = Arc::new(MemoryStore::default());
        let ledger = claimed(&bucket).await;
        ledger.append(planned("first"), at(2)).await.unwrap();
        let text = bucket.object(&entry_key(1)).unwrap().body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains(written), "{text}");
        bucket.overwrite(&entry_key(1), text.replace(written, is_now));
        let Err(error) = open(&bucket, "c1").await else {
            panic!("read although {is_now}")
        };
        assert!(matches!(error, LedgerStoreError::Newer { .. }), "{error:?}");
        assert!(!error.is_transient());
        let said = error.to_string();
        assert!(
            said.contains("newer version") && said.contains("nothing there is to be replaced"),
            "{said}"
        );
        assert!(!said.contains("put the right one back"), "{said}");
    }
}

#[tokio::test]
async fn another_orgs_ledger_in_this_folder_is_refused() {
    let bucket = Arc::new(MemoryStore::default());
    let store: Arc<dyn ObjectStore> = bucket.clone();
    let other = LedgerStore::new()
        .open(store, "p/", key(), org(OTHER_ORG), &sole_writer("c1"))
        .await
        .unwrap();
    other.claim(at(1)).await.unwrap();
    let copied: Bytes = bucket.object(&bucket.keys()[0]).unwrap().body;
    bucket.overwrite(&entry_key(0), copied);
    let Err(error) = open(&bucket, "c1").await else {
        panic!("another org's ledger was read")
    };
    assert!(
        error.to_string().contains(&format!("belongs to org {OTHER_ORG}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_garbled_entry_where_ours_should_be_stops_the_writer() {
    let bucket = Arc::new(MemoryStore::default());
    let ledger = claimed(&bucket).await;
    bucket.fail_next(
        Operation::Put,
        Fault::Overtaken(entry_key(1), Bytes::from_static(b"garbage")),
    );
    assert!(matches!(
        ledger.append(planned("i"), at(2)).await,
        Err(LedgerStoreError::Invalid { .. })
    ));
}

#[tokio::test]
async fn a_list_that_fails_is_no_empty_ledger() {
    let bucket = Arc::new(MemoryStore::default());
    claimed(&bucket).await;
    bucket.fail_next(Operation::List, Fault::Refused(no_answer()));
    assert!(open(&bucket, "c1").await.is_err());
}
