//! What the operator and its movers need of AWS, of pods and of the machine, as traits: the operator's adapters implement them
//! for AWS and Kubernetes, `tray-testkit` in memory.

mod hooks;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    ids::{KmsKeyArn, OrgId},
    mover_task::{BucketLocation, SessionCredentials},
};
use tray_ledger::{ObjectStore, PutOutcome, RemoteError};
use zeroize::Zeroizing;

pub use hooks::{HookError, HookRunner, HookTarget};

/// Where "now" comes from. One pass takes it once.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
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
    /// Days after which a lifecycle rule removes noncurrent versions of everything under the prefix; none = no rule does.
    pub noncurrent_days: Option<i32>,
    /// Days after which a lifecycle rule gives up unfinished uploads of everything under the prefix; none = no rule does.
    pub unfinished_upload_days: Option<i32>,
    /// Versions go by a second factor alone.
    pub mfa_delete: bool,
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
            noncurrent_days: None,
            unfinished_upload_days: None,
            mfa_delete: false,
        }
    }
}

/// One bucket of one region, with the operator's own rights.
#[async_trait::async_trait]
pub trait RegionBucket: ObjectStore {
    /// Writes under the bucket's own default encryption, only if nothing is there. Sends a SHA-256.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError>;
    /// What S3 says of the bucket. `prefix` is where the operator writes.
    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError>;
    /// S3's own clock minus ours, from the newest answer's `Date` header; none before the first answer.
    fn clock_skew(&self) -> Option<SignedDuration>;
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

/// KMS with the rights of a mover.
#[async_trait::async_trait]
pub trait MasterKeys: Send + Sync {
    /// Unwraps a master key: Decrypt that names `key` and the context `{orgId, purpose: master-key}`, so that neither
    /// another key nor another org's wrapped key is taken for it.
    async fn unwrap(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError>;
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
    pub store: Arc<dyn RegionBucket>,
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
