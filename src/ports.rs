//! What the controllers and the mover need of the outside, as traits: adapters implement them for AWS and for tests.

pub mod mover;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::{
    ids::{KmsKeyArn, OrgId},
    mover_task::SessionCredentials,
};

pub use crate::domain::mover_task::{BucketLocation, Endpoints};

/// Where "now" comes from. One pass takes it once.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// Why a call to a store or key service failed, by what the caller can do about it.
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

/// What S3 says of a bucket. Of one that lies in another region than it was asked for in only that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFacts {
    /// The region it really lies in.
    pub cloud_region: String,
    /// Versioning is Enabled.
    pub versioned: bool,
    /// Default encryption: `aws:kms`, `AES256`, or none.
    pub default_encryption: Option<String>,
    /// All four public access blocks are on.
    pub public_access_blocked: bool,
    /// Ids of lifecycle rules that would expire or move current objects under the prefix.
    pub harmful_lifecycle_rules: Vec<String>,
    /// Default object lock, if any.
    pub default_lock: Option<DefaultLock>,
    /// Buckets it replicates to.
    pub replication_targets: Vec<String>,
}

/// The object lock that a bucket puts on every new object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultLock {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// For how long.
    pub days: i32,
}

impl BucketFacts {
    /// It lies in another region than it was asked for in: nothing else is known, and nothing good is taken for granted.
    pub fn elsewhere(cloud_region: String) -> Self {
        Self {
            cloud_region,
            versioned: false,
            default_encryption: None,
            public_access_blocked: false,
            harmful_lifecycle_rules: Vec::new(),
            default_lock: None,
            replication_targets: Vec::new(),
        }
    }
}

/// One bucket of one region, with the operator's own rights.
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
    /// Writes under the bucket's own default encryption, only if nothing is there. Sends a SHA-256.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError>;
    /// Every object under the prefix, in key order, all pages or an error.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError>;
    /// As [`Self::list`], only keys after `start_after`.
    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError>;
    /// What S3 says of the bucket. `prefix` is where the operator writes.
    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError>;
    /// S3's own clock minus ours, from the newest answer's `Date` header; none before the first answer.
    fn clock_skew(&self) -> Option<jiff::SignedDuration>;
}

/// KMS of one region, with the operator's own rights.
#[async_trait::async_trait]
pub trait KeyService: Send + Sync {
    /// Makes the org's key (symmetric, single-Region) with tags `orgId` and `intent`, or finds the one an earlier try made.
    async fn ensure_key(&self, org: &OrgId, intent: &str) -> Result<KmsKeyArn, RemoteError>;
    /// A new 64-byte data key under `key` with context `{orgId, purpose}`: only the wrapped form comes back.
    async fn generate_wrapped_key(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        purpose: &str,
    ) -> Result<Bytes, RemoteError>;
    /// Fails unless the key is enabled.
    async fn check_key(&self, key: &KmsKeyArn) -> Result<(), RemoteError>;
}

/// STS: credentials cut down by a session policy.
#[async_trait::async_trait]
pub trait SessionIssuer: Send + Sync {
    /// Assumes `role_arn` with `policy` (JSON) for `lifetime`; `session_name` shows in the audit trail.
    async fn assume(
        &self,
        role_arn: &str,
        session_name: &str,
        policy: &str,
        lifetime: Duration,
    ) -> Result<SessionCredentials, RemoteError>;
}

/// The services of one backup location, with the operator's own rights.
#[derive(Clone)]
pub struct RegionServices {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// KMS in the bucket's cloud region.
    pub keys: Arc<dyn KeyService>,
    /// STS in the bucket's cloud region.
    pub sessions: Arc<dyn SessionIssuer>,
}

/// Makes the services of backup locations.
pub trait RegionPorts: Send + Sync {
    /// The services of `location`; the same ones for an equal location, so that connections and credentials are shared.
    /// Makes no request: what is wrong with a bucket is said by the calls.
    fn services(&self, location: &BucketLocation) -> Result<RegionServices, RemoteError>;
}
