//! The store that a ledger lies in, as a trait.

use bytes::Bytes;
use jiff::Timestamp;
use tray_domain::ids::KmsKeyArn;

/// Why a call to a store or key service failed, by what the caller can do about it. Every text is of our own words: what was done to
/// what, the service's code, and the remedy. What a service says in words may quote others, and is told nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The service says no: a person must act. The text names bucket, key or action, and the service's code.
    #[error("access denied: {0}")]
    Denied(String),
    /// The thing is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// The thing is there but cannot be used: disabled key, wrong region, wrong owner.
    #[error("unusable: {0}")]
    Unusable(String),
    /// The service did not answer well; later it may.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// What came back cannot be right: digest, size or key differs.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

/// What a conditional write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was not there and is now.
    Created,
    /// Something is there already (412): nothing was written.
    Exists,
}

/// One listed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whole key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When S3 took it.
    pub last_modified: Timestamp,
}

/// Objects under keys, each written once: what a ledger lies in.
#[async_trait::async_trait]
pub trait ObjectStore: Send + Sync {
    /// The whole object; none where there is none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError>;
    /// Writes with SSE-KMS under `kms_key`, only if nothing is there. Sends a SHA-256 and checks the key S3 says it used.
    async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        kms_key: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError>;
    /// Every object under the prefix, in key order, all pages or an error.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError>;
    /// As [`Self::list`], only keys after `start_after`.
    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError>;
}
