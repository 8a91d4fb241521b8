//! A ledger that this version goes on with, as an earlier one reads it: it says that it is earlier, and decides nothing.

use bytes::Bytes;
use serde_json::Value;
use tray_domain::ledger::CHECKPOINT_EVERY;

use super::{damage::block_on, org::Luck, written::written};

/// All types of entries that the earlier version knows. Their forms were of version 1.
const KNOWN: [&str; 17] = [
    "Claim",
    "KeyPlanned",
    "KeyCreated",
    "KeyWrapped",
    "RepoInit",
    "RunPlanned",
    "RunCommitted",
    "RunAborted",
    "RunAccepted",
    "LossAccepted",
    "Pruned",
    "SweepPlanned",
    "SweepEnded",
    "Swept",
    "Filled",
    "Restored",
    "Checkpoint",
];

fn is_known(entry: &Value) -> bool {
    let type_ = entry["event"]["type"].as_str().unwrap();
    entry["formatVersion"] == 1 && KNOWN.contains(&type_)
}

/// Whether the earlier version takes the ledger for one of its own: it begins at the newest checkpoint that stands at a multiple of
/// 64, and reads all from there.
fn reads(entries: &[Value]) -> bool {
    let every = CHECKPOINT_EVERY as usize;
    let mut first = (entries.len() - 1) / every * every;
    while first > 0 && entries[first]["event"]["type"] != "Checkpoint" {
        first -= every;
    }
    entries[first..].iter().all(is_known)
}

#[test]
fn an_earlier_version_reads_a_ledger_until_the_first_word_that_it_does_not_know_and_never_after_that() {
    for lucks in [
        vec![Luck::Good; 60],
        vec![Luck::Restored; 60],
        vec![Luck::Fails; 60],
    ] {
        let (bucket, ..) = block_on(written(lucks.into_iter()));
        let body = |key: &String| -> Bytes { bucket.object(key).unwrap().body };
        let entries: Vec<Value> = bucket
            .keys()
            .iter()
            .map(|key| serde_json::from_slice(&body(key)).unwrap())
            .collect();
        let first = entries.iter().position(|entry| !is_known(entry)).unwrap();
        assert!(entries.len() > 3 * CHECKPOINT_EVERY as usize && first > 0);
        for length in 1..=entries.len() {
            assert_eq!(reads(&entries[..length]), length <= first, "{length} entries");
        }
    }
}
