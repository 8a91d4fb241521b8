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
use tray_ledger::{Ledger, LedgerStore, LedgerStoreError, ObjectStore, RemoteError, WRITE_TRIES};
use tray_testkit::memory::{Fault, MemoryStore, Operation};

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

/// Another process (a store of ledgers of its own) over the same bucket.
async fn open(bucket: &Arc<MemoryStore>, cluster: &str) -> Result<Ledger, LedgerStoreError> {
    let store: Arc<dyn ObjectStore> = bucket.clone();
    LedgerStore::new()
        .open(store, "p/", key(), org(ORG), cluster)
        .await
}
/// The same, of whom knows the last entry that was seen.
async fn open_behind(bucket: &Arc<MemoryStore>, seen: &Head) -> Result<Ledger, LedgerStoreError> {
    let store: Arc<dyn ObjectStore> = bucket.clone();
    LedgerStore::new()
        .open_behind((store, "p/"), key(), org(ORG), "c1", Some(seen))
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
    assert_eq!(
        ledger.append(planned("i"), at(1)).await,
        Err(LedgerStoreError::Unclaimed { org: org(ORG) })
    );
    for _ in 0..3 {
        ledger.claim(at(1)).await.unwrap();
    }
    open(&bucket, "c1").await.unwrap().claim(at(2)).await.unwrap();
    assert_eq!(bucket.keys().len(), 1);
}

#[tokio::test]
async fn another_cluster_cannot_write_under_a_claim_that_is_not_its_own() {
    let bucket = Arc::new(MemoryStore::default());
    claimed(&bucket).await;
    let other = open(&bucket, "c2").await.unwrap();
    let lost = LedgerStoreError::ClaimLost {
        org: org(ORG),
        cluster_uid: "c1".into(),
        epoch: 1,
    };
    for event in [planned("i"), Event::Claim {}] {
        assert_eq!(other.append(event, at(2)).await, Err(lost.clone()));
    }
    assert_eq!(other.claim(at(2)).await, Err(lost));
    assert_eq!(bucket.keys().len(), 1);
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
async fn a_later_claim_of_the_same_cluster_fences_the_earlier_writer() {
    let bucket = Arc::new(MemoryStore::default());
    let old = claimed(&bucket).await;
    let new = open(&bucket, "c1").await.unwrap();
    assert_eq!(new.append(Event::Claim {}, at(2)).await.unwrap().epoch, 2);
    for _ in 0..2 {
        assert!(matches!(
            old.append(planned("old"), at(3)).await,
            Err(LedgerStoreError::ClaimLost { epoch: 2, .. })
        ));
    }
    assert_eq!(new.append(planned("new"), at(3)).await.unwrap().epoch, 2);
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
        .open(store.clone(), "p/", key(), org(ORG), "c1")
        .await
        .unwrap();
    one.claim(at(1)).await.unwrap();
    let two = ledgers
        .open(store.clone(), "p/", key(), org(ORG), "c1")
        .await
        .unwrap();
    assert_eq!(two.state().next_seq, 1);
    let other = ledgers
        .open(store, "p/", key(), org(OTHER_ORG), "c1")
        .await
        .unwrap();
    assert_eq!(other.state().next_seq, 0);
    let elsewhere: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
    let other_bucket = ledgers
        .open(elsewhere, "p/", key(), org(ORG), "c1")
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
        ledgers.open(store, "p/", key, org(ORG), "c1").await.unwrap()
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
        ledgers.open(store, "p/", key(), org(ORG), "c1").await.unwrap()
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
        .open(store, "p/", key(), org(OTHER_ORG), "c1")
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
