//! A bucket in which every org has a ledger of a year: its newest checkpoint is made when somebody asks for it, so that none of it
//! is in the memory that is measured. What is written comes on top, in memory.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tray_domain::{
    ids::{KmsKeyArn, SweepId},
    ledger::{
        Entry, Event, digest,
        testing::{Story, org},
    },
    manifest::RunVerdict,
};
use tray_ledger::{Listed, ObjectStore, PutOutcome, RemoteError};
use tray_ports::{BucketFacts, RegionBucket};
use tray_testkit::memory::MemoryStore;

/// Entries of a year at two runs a day.
const LAST: u64 = 4_416;
/// Days for which runs are kept.
const KEPT_DAYS: i64 = 14;
/// Claims of each org, as in the copies.
const VOLUMES: [(&str, u64); 3] = [("data-db-0", 0), ("data-web-0", 0), ("data-worker-0", 0)];

/// See above.
pub(crate) struct AgedStore {
    memory: MemoryStore,
    /// The newest checkpoint of the org that all stories are of.
    checkpoint: String,
    wrapped_key: Bytes,
}

impl AgedStore {
    /// Ledgers whose newest run ended an hour before `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        let mut story = Story::new();
        let key: KmsKeyArn = "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap();
        let wrapped_key = Bytes::from(json!({"formatVersion": 1, "kmsKeyArn": key}).to_string());
        let began = now - SignedDuration::from_hours(24 * KEPT_DAYS);
        let wrapped = Event::KeyWrapped {
            digest: digest(&wrapped_key),
        };
        story.tell(Event::KeyCreated { kms_key_arn: key }, began);
        story.tell(wrapped, began);
        for half_day in (0..KEPT_DAYS * 2).rev() {
            let at = now - SignedDuration::from_hours(12 * half_day + 1);
            story.committed(at, 60, &VOLUMES, RunVerdict::Good);
        }
        // Nothing is garbage: the last sweep has seen to that.
        let sweep_id = SweepId::of(now, &org());
        story.tell(Event::sweep_planned(sweep_id.clone()), now);
        story.tell(
            Event::SweepEnded {
                sweep_id,
                failed: None,
            },
            now,
        );
        let mut state = story.state;
        state.next_seq = LAST;
        state.claim = Some(("bench".to_owned(), 1));
        let entry = Entry {
            format_version: 2,
            org_id: org(),
            seq: LAST,
            at: now,
            cluster_uid: "bench".to_owned(),
            epoch: 1,
            previous_digest: state.last_digest.clone(),
            checkpoint: None,
            event: Event::Checkpoint {
                state: Box::new(state),
            },
        };
        Self {
            memory: MemoryStore::default(),
            checkpoint: String::from_utf8(entry.encode().unwrap()).unwrap(),
            wrapped_key,
        }
    }

    /// The org of a key of a ledger.
    fn org_of(key: &str) -> Option<&str> {
        key.split_once("v1/ledger/")?.1.split('/').next()
    }

    fn made(&self, key: &str) -> Option<Bytes> {
        if key.ends_with("/key/0001.json") {
            return Some(self.wrapped_key.clone());
        }
        let org_id = Self::org_of(key).filter(|_| key.ends_with(&format!("{LAST:010}.json")))?;
        Some(Bytes::from(self.checkpoint.replace(org().as_str(), org_id)))
    }
}

#[async_trait]
impl ObjectStore for AgedStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError> {
        match self.made(key) {
            Some(made) => Ok(Some(made)),
            None => self.memory.get(key).await,
        }
    }

    async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        kms_key: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError> {
        match self.made(key) {
            Some(_) => Ok(PutOutcome::Exists),
            None => self.memory.put_if_absent(key, body, kms_key).await,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        self.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        let mut listed = self.memory.list_after(prefix, start_after).await?;
        let key = format!("{prefix}{LAST:010}.json");
        if Self::org_of(prefix).is_some() && *key > *start_after {
            let first = Listed {
                key,
                size: self.checkpoint.len() as u64,
                last_modified: Timestamp::UNIX_EPOCH,
            };
            listed.insert(0, first);
        }
        Ok(listed)
    }
}

#[async_trait]
impl RegionBucket for AgedStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError> {
        self.memory.put_new(key, body).await
    }

    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError> {
        self.memory.facts(prefix).await
    }

    fn clock_skew(&self) -> Option<SignedDuration> {
        self.memory.clock_skew()
    }
}
