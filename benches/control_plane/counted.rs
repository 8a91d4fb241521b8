//! A bucket that counts what it is asked for, and remembers nothing of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;
use tray_domain::ids::KmsKeyArn;
use tray_ledger::{Listed, ObjectStore, PutOutcome, RemoteError};
use tray_ports::{BucketFacts, RegionBucket};

/// See above.
pub(crate) struct CountedStore {
    store: Arc<dyn RegionBucket>,
    asked: AtomicU64,
}

impl CountedStore {
    /// Over that bucket.
    pub(crate) fn over(store: Arc<dyn RegionBucket>) -> Self {
        Self {
            store,
            asked: AtomicU64::new(0),
        }
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn count(&self) -> &dyn RegionBucket {
        self.asked.fetch_add(1, Ordering::Relaxed);
        &*self.store
    }
}

#[async_trait]
impl ObjectStore for CountedStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError> {
        self.count().get(key).await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        kms_key: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError> {
        self.count().put_if_absent(key, body, kms_key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        self.count().list(prefix).await
    }

    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        self.count().list_after(prefix, start_after).await
    }
}

#[async_trait]
impl RegionBucket for CountedStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError> {
        self.count().put_new(key, body).await
    }

    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError> {
        self.count().facts(prefix).await
    }

    fn clock_skew(&self) -> Option<SignedDuration> {
        self.store.clock_skew()
    }
}
