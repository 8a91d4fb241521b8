//! The ledger of an org as its movers see it: read whole and checked, never written.

use std::sync::Arc;

use tray_domain::{
    ledger::LedgerState,
    mover_task::{BucketLocation, MoverTask},
};
use tray_ledger::{LedgerStore, LedgerStoreError, ObjectStore, RemoteError, Writer};
use tray_mover::ports::LedgerReader;

/// The ledger of the org of a task.
pub struct TaskLedger {
    store: Arc<dyn ObjectStore>,
    task: MoverTask,
}

impl TaskLedger {
    /// In the bucket of the task.
    pub fn new(store: Arc<dyn ObjectStore>, task: &MoverTask) -> Self {
        Self {
            store,
            task: task.clone(),
        }
    }
}

#[async_trait::async_trait]
impl LedgerReader for TaskLedger {
    async fn read(&self) -> Result<LedgerState, RemoteError> {
        let MoverTask {
            org_id,
            kms_key_arn,
            location: BucketLocation { prefix, .. },
            ..
        } = &self.task;
        // The key is for entries that are written: there will be none.
        let (store, key) = (self.store.clone(), kms_key_arn.clone());
        let ledger = LedgerStore::new()
            .open(store, prefix, key, org_id.clone(), &Writer::none())
            .await;
        match ledger {
            Ok(ledger) => Ok(LedgerState::clone(&ledger.state())),
            Err(LedgerStoreError::Remote { source, .. }) => Err(source),
            Err(newer @ LedgerStoreError::Newer { .. }) => Err(RemoteError::Unusable(newer.to_string())),
            Err(invalid) => Err(RemoteError::Corrupt(invalid.to_string())),
        }
    }
}
