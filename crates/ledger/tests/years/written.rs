//! A ledger in a bucket, as the org that lives has it written.

use std::sync::Arc;

use tray_domain::{ids::KmsKeyArn, ledger::Head};
use tray_ledger::{Ledger, LedgerStore, LedgerStoreError, ObjectStore};
use tray_testkit::memory::MemoryStore;

use super::org::{Luck, Org, org_id};

/// Half days that went like this, of an org with one volume. A ledger comes to rest now and then.
pub(crate) async fn written(lucks: impl Iterator<Item = Luck>) -> (Arc<MemoryStore>, Ledger, Org) {
    let mut org = Org::new(1);
    // As it was claimed.
    org.events = Some(Vec::new());
    for luck in lucks {
        org.lives(luck);
    }
    let events = org.events.take().unwrap();
    let bucket = Arc::new(MemoryStore::default());
    let ledger = open(&bucket, None).await.unwrap();
    ledger.claim(events[0].1).await.unwrap();
    for (number, (event, at)) in events.into_iter().enumerate() {
        bucket.set_now(at);
        ledger.append(event, at).await.unwrap();
        if number % 11 == 0 {
            ledger.shorten(at).await.unwrap();
        }
    }
    (bucket, ledger, org)
}

/// The ledger in that bucket, of whom knows the last entry that was seen, or nothing of it.
pub(crate) async fn open(bucket: &Arc<MemoryStore>, head: Option<&Head>) -> Result<Ledger, LedgerStoreError> {
    let store: Arc<dyn ObjectStore> = bucket.clone();
    LedgerStore::new()
        .open_behind((store, ""), key(), org_id(), "cluster", head)
        .await
}

fn key() -> KmsKeyArn {
    "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap()
}
