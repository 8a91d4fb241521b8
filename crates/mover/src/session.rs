//! What every part works with: its task, and the ports that reach what the task names.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::{Handle, RuntimeFlavor};
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    manifest::PartRecord,
    mover_task::{Action, FailureReason, MoverTask},
};
use tray_engine::{BlobStore, Engine};
use tray_ports::{Clock, MasterKeys};

use super::{
    failure::Failure,
    keys::{self, MasterKey},
    task::Places,
};
use crate::ports::{LedgerReader, NamespaceObjects};

/// The bucket of the task, with the rights of the mover's session.
pub trait Bucket: Send + Sync {
    /// The blobs under a prefix, which is empty or ends in `/`. What is written is encrypted under the org's key.
    fn at(&self, prefix: &str) -> Arc<dyn BlobStore>;
}

/// What a mover reaches.
#[derive(Clone)]
pub struct Ports {
    /// Makes and opens repositories.
    pub engine: Arc<dyn Engine>,
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// KMS.
    pub keys: Arc<dyn MasterKeys>,
    /// The org's ledger.
    pub ledger: Arc<dyn LedgerReader>,
    /// The objects of its namespace; none for parts that have no right to them.
    pub objects: Option<Arc<dyn NamespaceObjects>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// One mover at work.
pub struct Session {
    /// What it reaches.
    pub ports: Ports,
    /// What to do.
    pub task: MoverTask,
    /// Where things are.
    pub places: Places,
}

impl Session {
    /// Prefix of the task's location.
    pub fn prefix(&self) -> &str {
        &self.task.location.prefix
    }

    /// The whole object of that key.
    pub async fn get(&self, key: String) -> Result<Bytes, Failure> {
        let bucket = self.ports.bucket.at("");
        blocking(move || Ok(bucket.get(&key)?)).await
    }

    /// Proves by the ledger that what this mover was started for is still open. The operator that started it may have been
    /// behind: then somebody else may be at work on the same repositories by now.
    pub async fn prove_open(&self) -> Result<(), Failure> {
        let ledger = self.ports.ledger.read().await.map_err(|error| {
            let what = "the ledger of the org says whether this work is still open: ".to_owned();
            Failure::remote(FailureReason::BucketFailed, &error, what)
        })?;
        let open = ledger.check_open(&self.task.action.work());
        open.map_err(|ended| Failure::permanent(FailureReason::NotOpen, ended.to_string()))
    }

    /// Unwraps the org's master key. Each use unwraps it anew and drops it at once.
    pub async fn master_key(&self) -> Result<MasterKey, Failure> {
        let name = bucket_layout::wrapped_key(self.prefix(), &self.task.org_id);
        let object = self.get(name.clone()).await?;
        let ciphertext = keys::wrapped_key(&name, &object, &self.task.kms_key_arn)?;
        let keys = &self.ports.keys;
        let plaintext = keys
            .unwrap(&self.task.kms_key_arn, &self.task.org_id, &ciphertext)
            .await?;
        Ok(MasterKey::from_plaintext(&plaintext)?)
    }

    /// The store of a volume's repository.
    pub fn repository(&self, volume: &PartId) -> Arc<dyn BlobStore> {
        let prefix = bucket_layout::volume_repository(self.prefix(), &self.task.org_id, volume);
        self.ports.bucket.at(&prefix)
    }

    /// Key of a run's objects archive.
    pub fn archive(&self, run: &RunId) -> String {
        bucket_layout::objects_archive(self.prefix(), &self.task.org_id, run)
    }

    /// Puts what this pod says of its part where the operator looks for it. The last act of a snapshot.
    pub async fn put_record(&self, record: &PartRecord) -> Result<(), Failure> {
        let key = bucket_layout::part_record(
            self.prefix(),
            &self.task.org_id,
            &record.run_id,
            &record.part,
            &self.places.pod_uid,
        );
        let body = serde_json::to_vec(record).map_err(|error| {
            Failure::permanent(
                FailureReason::Internal,
                format!("the part record has no JSON form: {error}"),
            )
        })?;
        let bucket = self.ports.bucket.at("");
        blocking(move || Ok(bucket.put_if_absent(&key, body.into())?)).await
    }

    /// Puts why this pod failed beside the records of its part, where the session may write there: it names what is for nobody but
    /// the org's own people. Where that fails, too, it is not known.
    pub async fn put_failure(&self, failure: &Failure) {
        let (Action::SnapshotVolume { run_id, part, .. } | Action::SnapshotObjects { run_id, part, .. }) =
            &self.task.action
        else {
            tracing::debug!("{failure}");
            return;
        };
        if failure.reason == FailureReason::NotOpen {
            return;
        }
        let (prefix, org) = (self.prefix(), &self.task.org_id);
        let key = bucket_layout::part_failure(prefix, org, run_id, part, &self.places.pod_uid);
        let (bucket, details) = (self.ports.bucket.at(""), failure.details());
        let put = blocking(move || Ok(bucket.put_if_absent(&key, details.into())?)).await;
        if let Err(error) = put {
            tracing::warn!(reason = ?error.reason, "what failed in detail could not be put into the bucket");
        }
    }

    /// The Kubernetes API.
    pub fn objects(&self) -> Result<Arc<dyn NamespaceObjects>, Failure> {
        self.ports.objects.clone().ok_or_else(|| {
            Failure::permanent(
                FailureReason::TaskInvalid,
                "the task needs the Kubernetes API, but the pod has no service account token",
            )
        })
    }
}

/// Runs what blocks on a thread of its own, in the caller's log span. A runtime of one thread has no other: there it is done at
/// once, so that the same course of things is always taken the same way.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    let span = tracing::Span::current();
    let work = tokio::task::spawn_blocking(move || span.in_scope(work));
    work.await.unwrap_or_else(|error| {
        let message = format!("a worker thread of the mover ended early: {error}");
        Err(Failure::passing(FailureReason::Internal, message).withheld())
    })
}
