//! A bucket, a key service and a session issuer in memory: for tests of what stands on the ports, and for dry runs.
//!
//! They keep the contracts of the ports (conditional writes, key order, one key per intent) and fail on demand, also
//! in the way that matters most: the work is done and its answer is lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256, Sha512};
use tray_domain::{
    ids::{KmsKeyArn, OrgId},
    mover_task::SessionCredentials,
    session_policy::MASTER_KEY_PURPOSE,
};
use tray_ledger::{Listed, ObjectStore, PutOutcome, RemoteError};
use tray_ports::{BucketFacts, KeyService, MasterKeys, RegionBucket, SessionIssuer};
use zeroize::Zeroizing;

/// What a [`MemoryStore`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`ObjectStore::get`].
    Get,
    /// [`ObjectStore::put_if_absent`] and [`RegionBucket::put_new`].
    Put,
    /// [`RegionBucket::replace`].
    Replace,
    /// [`ObjectStore::list`] and [`ObjectStore::list_after`].
    List,
    /// [`RegionBucket::facts`].
    Facts,
}

/// How a call goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing is done.
    Refused(RemoteError),
    /// It is done, but the caller is told that the service did not answer.
    AnswerLost,
    /// Before it is done, somebody else writes this object where nothing is.
    Overtaken(String, Bytes),
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryObject {
    /// What was written.
    pub body: Bytes,
    /// The key it was written under.
    pub kms_key: Option<KmsKeyArn>,
    /// When, by the store's clock.
    pub last_modified: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    objects: BTreeMap<String, MemoryObject>,
    faults: VecDeque<(Operation, Fault)>,
    refused: Option<(String, RemoteError)>,
    facts: BucketFacts,
    now: Timestamp,
    skew: Option<SignedDuration>,
    calls: Vec<(Operation, String)>,
}

/// A bucket in memory.
#[derive(Debug)]
pub struct MemoryStore {
    bucket: Mutex<Bucket>,
}

/// What S3 says of a bucket in `cloud_region` that has every property that a backup bucket has to have.
pub fn sound_facts(cloud_region: &str) -> BucketFacts {
    BucketFacts {
        cloud_region: cloud_region.to_owned(),
        versioned: true,
        default_encryption: Some("aws:kms".to_owned()),
        public_access_blocked: true,
        harmful_lifecycle_rules: Vec::new(),
        default_lock: None,
        replication_targets: Vec::new(),
        noncurrent_days: Some(30),
        unfinished_upload_days: Some(7),
        mfa_delete: false,
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new("eu-central-1")
    }
}

impl MemoryStore {
    /// An empty bucket in `cloud_region`, with every property that a backup bucket has to have.
    pub fn new(cloud_region: &str) -> Self {
        Self {
            bucket: Mutex::new(Bucket {
                objects: BTreeMap::new(),
                faults: VecDeque::new(),
                refused: None,
                facts: sound_facts(cloud_region),
                now: Timestamp::UNIX_EPOCH,
                skew: None,
                calls: Vec::new(),
            }),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of `operation` goes wrong. Faults of one operation happen in the order they were added.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.bucket().faults.push_back((operation, fault));
    }

    /// Every call for what begins with `prefix` is refused from now on.
    pub fn refuse(&self, prefix: &str, error: RemoteError) {
        self.bucket().refused = Some((prefix.to_owned(), error));
    }

    /// No call is refused any more.
    pub fn refuse_no_more(&self) {
        self.bucket().refused = None;
    }

    /// What [`RegionBucket::facts`] answers from now on.
    pub fn set_facts(&self, facts: BucketFacts) {
        self.bucket().facts = facts;
    }

    /// The store's own clock: what new objects are dated with.
    pub fn set_now(&self, now: Timestamp) {
        self.bucket().now = now;
    }

    /// Writes an object whatever is there: what no caller of the port can do.
    pub fn overwrite(&self, key: &str, body: impl Into<Bytes>) {
        let mut bucket = self.bucket();
        let object = MemoryObject {
            body: body.into(),
            kms_key: None,
            last_modified: bucket.now,
        };
        bucket.objects.insert(key.to_owned(), object);
    }

    /// Removes an object: what no caller of the port can do.
    pub fn remove(&self, key: &str) {
        self.bucket().objects.remove(key);
    }

    /// The object at `key`.
    pub fn object(&self, key: &str) -> Option<MemoryObject> {
        self.bucket().objects.get(key).cloned()
    }

    /// Every key, in order.
    pub fn keys(&self) -> Vec<String> {
        self.bucket().objects.keys().cloned().collect()
    }

    /// Every call so far: what was asked for, with its key or prefix.
    pub fn calls(&self) -> Vec<(Operation, String)> {
        self.bucket().calls.clone()
    }
}

impl Bucket {
    /// Notes the call; says whether its answer gets lost.
    fn begin(&mut self, operation: Operation, key: &str) -> Result<bool, RemoteError> {
        self.calls.push((operation, key.to_owned()));
        if let Some((prefix, error)) = &self.refused
            && key.starts_with(&**prefix)
        {
            return Err(error.clone());
        }
        let Some(at) = self.faults.iter().position(|(of, _)| *of == operation) else {
            return Ok(false);
        };
        match self.faults.remove(at).map(|(_, fault)| fault) {
            Some(Fault::Refused(error)) => Err(error),
            Some(Fault::AnswerLost) => Ok(true),
            Some(Fault::Overtaken(key, body)) => {
                self.put(&key, body, None);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn put(&mut self, key: &str, body: Bytes, kms_key: Option<&KmsKeyArn>) -> PutOutcome {
        if self.objects.contains_key(key) {
            return PutOutcome::Exists;
        }
        let object = MemoryObject {
            body,
            kms_key: kms_key.cloned(),
            last_modified: self.now,
        };
        self.objects.insert(key.to_owned(), object);
        PutOutcome::Created
    }
}

fn answer<T>(value: T, lost: bool) -> Result<T, RemoteError> {
    if lost {
        return Err(RemoteError::Unavailable("the answer was lost".to_owned()));
    }
    Ok(value)
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError> {
        let mut bucket = self.bucket();
        let lost = bucket.begin(Operation::Get, key)?;
        answer(bucket.objects.get(key).map(|object| object.body.clone()), lost)
    }

    async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        kms_key: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError> {
        let mut bucket = self.bucket();
        let lost = bucket.begin(Operation::Put, key)?;
        let outcome = bucket.put(key, body, Some(kms_key));
        answer(outcome, lost)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        self.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        let mut bucket = self.bucket();
        let lost = bucket.begin(Operation::List, prefix)?;
        let wanted = |key: &str| key.starts_with(prefix) && key > start_after;
        let found = bucket.objects.iter().filter(|(key, _)| wanted(key));
        let listed = found.map(|(key, object)| Listed {
            key: key.clone(),
            size: object.body.len() as u64,
            last_modified: object.last_modified,
        });
        answer(listed.collect(), lost)
    }
}

#[async_trait]
impl RegionBucket for MemoryStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError> {
        let mut bucket = self.bucket();
        let lost = bucket.begin(Operation::Put, key)?;
        let outcome = bucket.put(key, body, None);
        answer(outcome, lost)
    }

    async fn replace(&self, key: &str, body: Bytes, kms_key: &KmsKeyArn) -> Result<(), RemoteError> {
        let mut bucket = self.bucket();
        let lost = bucket.begin(Operation::Replace, key)?;
        bucket.objects.remove(key);
        bucket.put(key, body, Some(kms_key));
        answer((), lost)
    }

    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError> {
        let mut bucket = self.bucket();
        let lost = bucket.begin(Operation::Facts, prefix)?;
        answer(bucket.facts.clone(), lost)
    }

    fn clock_skew(&self) -> Option<SignedDuration> {
        self.bucket().skew
    }
}

#[derive(Debug, Default)]
struct KeyRing {
    /// By org and intent.
    keys: BTreeMap<(OrgId, String), KmsKeyArn>,
    disabled: BTreeSet<String>,
    wrapped: Vec<Wrapped>,
    failure: Option<RemoteError>,
}

#[derive(Debug)]
struct Wrapped {
    blob: Bytes,
    key: KmsKeyArn,
    org: OrgId,
    purpose: String,
    plaintext: [u8; 64],
}

/// KMS in memory: keys of one region.
#[derive(Debug)]
pub struct MemoryKeys {
    cloud_region: String,
    ring: Mutex<KeyRing>,
}

impl Default for MemoryKeys {
    fn default() -> Self {
        Self::new("eu-central-1")
    }
}

impl MemoryKeys {
    /// No keys yet, in `cloud_region`.
    pub fn new(cloud_region: &str) -> Self {
        Self {
            cloud_region: cloud_region.to_owned(),
            ring: Mutex::default(),
        }
    }

    fn ring(&self) -> MutexGuard<'_, KeyRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing works with `key`.
    pub fn disable(&self, key: &KmsKeyArn) {
        self.ring().disabled.insert(key.to_string());
    }

    /// Undoes [`Self::disable`].
    pub fn enable(&self, key: &KmsKeyArn) {
        self.ring().disabled.remove(key.as_str());
    }

    /// Every call fails like this, until it is set to none.
    pub fn set_failure(&self, failure: Option<RemoteError>) {
        self.ring().failure = failure;
    }

    /// Every key, by org and intent.
    pub fn all(&self) -> Vec<KmsKeyArn> {
        self.ring().keys.values().cloned().collect()
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.ring().keys.len()
    }
}

impl KeyRing {
    fn usable(&self, key: &KmsKeyArn) -> Result<(), RemoteError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.disabled.contains(key.as_str()) {
            return Err(RemoteError::Unusable(format!(
                "KMS key {key} is Disabled: enable it"
            )));
        }
        Ok(())
    }
}

#[async_trait]
impl KeyService for MemoryKeys {
    async fn ensure_key(&self, org: &OrgId, intent: &str) -> Result<KmsKeyArn, RemoteError> {
        let mut ring = self.ring();
        if let Some(failure) = &ring.failure {
            return Err(failure.clone());
        }
        let name = (org.clone(), intent.to_owned());
        if let Some(key) = ring.keys.get(&name) {
            return Ok(key.clone());
        }
        let id = hex::encode(&Sha256::digest(format!("{org}/{intent}"))[..16]);
        let arn = format!("arn:aws:kms:{}:111122223333:key/{id}", self.cloud_region);
        let key: KmsKeyArn = arn
            .parse()
            .map_err(|error| RemoteError::Corrupt(format!("{error}")))?;
        ring.keys.insert(name, key.clone());
        Ok(key)
    }

    async fn generate_wrapped_key(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        purpose: &str,
    ) -> Result<Bytes, RemoteError> {
        let mut ring = self.ring();
        ring.usable(key)?;
        let count = ring.wrapped.len();
        let plaintext: [u8; 64] = Sha512::digest(format!("{key}/{org}/{purpose}/{count}")).into();
        let blob = Bytes::from(format!("wrapped {count}"));
        ring.wrapped.push(Wrapped {
            blob: blob.clone(),
            key: key.clone(),
            org: org.clone(),
            purpose: purpose.to_owned(),
            plaintext,
        });
        Ok(blob)
    }

    async fn check_key(&self, key: &KmsKeyArn) -> Result<(), RemoteError> {
        self.ring().usable(key)
    }
}

#[async_trait]
impl MasterKeys for MemoryKeys {
    async fn unwrap(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        let ring = self.ring();
        ring.usable(key)?;
        let fits = |w: &&Wrapped| {
            w.blob == ciphertext && w.key == *key && w.org == *org && w.purpose == MASTER_KEY_PURPOSE
        };
        let wrapped = ring.wrapped.iter().find(fits);
        wrapped
            .map(|w| Zeroizing::new(w.plaintext.to_vec()))
            .ok_or_else(|| {
                RemoteError::Corrupt(format!("the wrapped key does not open with {key} for org {org}"))
            })
    }
}

/// One session that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySession {
    /// The role.
    pub role_arn: String,
    /// Its name in the audit trail.
    pub session_name: String,
    /// The session policy, JSON.
    pub policy: String,
    /// How long it was to live.
    pub lifetime: Duration,
}

/// STS in memory: notes what it is asked for.
#[derive(Debug, Default)]
pub struct MemorySessions {
    asked: Mutex<Vec<MemorySession>>,
    now: Mutex<Timestamp>,
    failure: Mutex<Option<RemoteError>>,
}

impl MemorySessions {
    /// Every session asked for so far, oldest first.
    pub fn asked(&self) -> Vec<MemorySession> {
        lock(&self.asked).clone()
    }

    /// What lifetimes count from.
    pub fn set_now(&self, now: Timestamp) {
        *lock(&self.now) = now;
    }

    /// Every call fails like this, until it is set to none.
    pub fn set_failure(&self, failure: Option<RemoteError>) {
        *lock(&self.failure) = failure;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl SessionIssuer for MemorySessions {
    async fn assume(
        &self,
        role_arn: &str,
        session_name: &str,
        policy: &str,
        lifetime: Duration,
    ) -> Result<SessionCredentials, RemoteError> {
        if let Some(failure) = lock(&self.failure).clone() {
            return Err(failure);
        }
        let mut asked = lock(&self.asked);
        asked.push(MemorySession {
            role_arn: role_arn.to_owned(),
            session_name: session_name.to_owned(),
            policy: policy.to_owned(),
            lifetime,
        });
        let now = *lock(&self.now);
        let life = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
        Ok(SessionCredentials {
            access_key_id: format!("ASIA{:016}", asked.len()),
            secret_access_key: "secret".to_owned(),
            session_token: format!("token {}", asked.len()),
            expires_at: now.checked_add(life).unwrap_or(Timestamp::MAX),
        })
    }
}
