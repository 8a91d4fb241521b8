//! The engine's [`BlobStore`] over S3: blocking calls of the engine's threads, done by the process's runtime.

use std::{ops::Range, sync::mpsc};

use bytes::Bytes;
use tokio::runtime::Handle;
use tray_domain::ids::KmsKeyArn;
use tray_engine::{BlobError, BlobInfo, BlobStore};
use tray_ledger::{PutOutcome, RemoteError};

use super::s3_bucket::S3Bucket;

/// The blobs under a prefix of a bucket, encrypted under one key.
#[derive(Clone, Debug)]
pub struct S3Blobs {
    bucket: S3Bucket,
    /// Empty, or ends in `/`.
    prefix: String,
    kms_key: KmsKeyArn,
    runtime: Handle,
}

impl S3Blobs {
    /// All blobs of `bucket`. Requests are made on `runtime`, which has to have threads of its own.
    pub fn new(bucket: S3Bucket, kms_key: KmsKeyArn, runtime: Handle) -> Self {
        Self {
            bucket,
            prefix: String::new(),
            kms_key,
            runtime,
        }
    }

    /// The blobs under `prefix`, which is empty or ends in `/`, of the whole bucket.
    #[must_use]
    pub fn at(&self, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            ..self.clone()
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Does `work` on the runtime and waits for it. Unlike `block_on` this never panics, whatever thread it is called on.
    fn wait<T, F>(&self, work: impl FnOnce(S3Bucket) -> F) -> Result<T, BlobError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RemoteError>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = work(self.bucket.clone());
        self.runtime.spawn(async move {
            // Nobody waits any more: then nobody needs the answer.
            let _ = sender.send(work.await);
        });
        match receiver.recv() {
            Ok(result) => result.map_err(blob_error),
            Err(_) => Err(BlobError::Unavailable(format!(
                "{}: the process is ending",
                self.location()
            ))),
        }
    }
}

/// S3 says 403 instead of 404 to a caller who may list under a prefix only, as movers do. Where the key's own listing is
/// allowed and empty, nothing is there; else `denied` is what it says.
async fn absent(bucket: &S3Bucket, key: &str, denied: RemoteError) -> Result<Option<Bytes>, RemoteError> {
    match bucket.list_after(key, "").await {
        Ok(listed) if listed.iter().all(|object| object.key != key) => Ok(None),
        _ => Err(denied),
    }
}

/// The engine knows no "unusable": a person has to act on it as on a refusal.
fn blob_error(error: RemoteError) -> BlobError {
    match error {
        RemoteError::NotFound(text) => BlobError::NotFound(text),
        RemoteError::Denied(text) | RemoteError::Unusable(text) => BlobError::Denied(text),
        RemoteError::Unavailable(text) => BlobError::Unavailable(text),
        RemoteError::Corrupt(text) => BlobError::Corrupt(text),
    }
}

impl BlobStore for S3Blobs {
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        let whole = self.key(prefix);
        let listed = self.wait(|bucket| async move { bucket.list_after(&whole, "").await })?;
        let named = |key: String| key[self.prefix.len()..].to_owned();
        let blobs = listed.into_iter().map(|object| BlobInfo {
            name: named(object.key),
            size: object.size,
            last_modified: object.last_modified,
        });
        Ok(blobs.collect())
    }

    fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        self.read(name, None)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.read(name, Some(range))
    }

    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError> {
        let (key, kms_key) = (self.key(name), self.kms_key.clone());
        self.wait(|bucket| async move {
            if bucket.put_if_absent(&key, body.clone(), &kms_key).await? == PutOutcome::Created {
                return Ok(());
            }
            // Ours, if it was this very write whose answer was lost.
            match bucket.read(&key, None).await? {
                Some(found) if found == body => Ok(()),
                Some(found) => Err(RemoteError::Corrupt(format!(
                    "{} is taken by other content ({} bytes instead of {})",
                    bucket.uri(&key),
                    found.len(),
                    body.len()
                ))),
                None => Err(RemoteError::Unavailable(format!(
                    "{} was there when it was to be written and is gone now",
                    bucket.uri(&key)
                ))),
            }
        })
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let key = self.key(name);
        self.wait(|bucket| async move { bucket.delete(&key).await })
    }

    fn location(&self) -> String {
        self.bucket.uri(&self.prefix)
    }
}

impl S3Blobs {
    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes, BlobError> {
        let key = self.key(name);
        self.wait(|bucket| async move {
            let found = match bucket.read(&key, range).await {
                Err(denied @ RemoteError::Denied(_)) => absent(&bucket, &key, denied).await?,
                found => found?,
            };
            found.ok_or_else(|| RemoteError::NotFound(bucket.uri(&key)))
        })
    }
}
