//! S3, KMS and STS of one place, in memory: what lies there with all its versions, and how each caller reaches it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    ids::{KmsKeyArn, OrgId},
    mover_task::{BucketLocation, SessionCredentials},
};
use tray_engine::{BlobError, BlobInfo, BlobStore};
use tray_ledger::{Listed, ObjectStore, PutOutcome, RemoteError};
use tray_ports::{
    BucketFacts, Clock, KeyService, MasterKeys, RegionBucket, RegionPorts, RegionServices, SessionIssuer,
};
use tray_testkit::memory::{MemoryKeys, sound_facts};
use zeroize::Zeroizing;

use crate::{
    gate::Gate,
    lock::lock,
    log::Log,
    random::Random,
    trouble::{Blow, Doom},
};

/// How long versions that are not the newest are kept, as the bucket's lifecycle rule says.
const OLD_VERSIONS: SignedDuration = SignedDuration::from_hours(24);
/// Where clusters say what they say of themselves.
pub const CLUSTERS: &str = "v1/clusters/";

/// Calls that change something.
const WRITES: [&str; 4] = ["s3 put", "s3 replace", "kms make", "kms wrap"];

/// What lies under a key at a time.
#[derive(Clone, Debug)]
pub enum Version {
    /// An object.
    Object(Object),
    /// It was deleted then.
    Marker(Timestamp),
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// What it holds.
    pub body: Bytes,
    /// When S3 took it.
    pub at: Timestamp,
    /// Who put it there.
    pub by: Arc<str>,
    /// The key that it was put under; none = whatever the bucket says.
    pub under: Option<KmsKeyArn>,
}

impl Version {
    fn at(&self) -> Timestamp {
        match self {
            Self::Object(object) => object.at,
            Self::Marker(at) => *at,
        }
    }
}

/// A bucket.
pub struct Bucket {
    objects: Mutex<BTreeMap<String, Vec<Version>>>,
    clock: Arc<dyn Clock>,
    log: Arc<Log>,
    cloud_region: String,
    /// How often something that was there has become another thing, or none.
    losses: AtomicU64,
}

impl Bucket {
    /// An empty one.
    pub fn new(cloud_region: &str, clock: Arc<dyn Clock>, log: Arc<Log>) -> Self {
        Self {
            objects: Mutex::default(),
            clock,
            log,
            cloud_region: cloud_region.to_owned(),
            losses: AtomicU64::new(0),
        }
    }

    /// How often something that was there has become another thing, or none: while it stays the same, all that was found there is
    /// there.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Version>>> {
        lock(&self.objects)
    }

    /// The newest version, unless it was deleted.
    pub fn get(&self, key: &str) -> Option<Object> {
        current(self.objects().get(key)?).cloned()
    }

    /// Every key with something, under a prefix and after a key.
    pub fn list(&self, prefix: &str, after: &str) -> Vec<Listed> {
        let objects = self.objects();
        let from = if after > prefix { after } else { prefix };
        let under = objects
            .range(from.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| key.as_str() > after);
        let listed = under.filter_map(|(key, versions)| {
            let object = current(versions)?;
            Some(Listed {
                key: key.clone(),
                size: object.body.len() as u64,
                last_modified: object.at,
            })
        });
        listed.collect()
    }

    /// Every object under a prefix.
    pub fn newest(&self, prefix: &str) -> Vec<(String, Object)> {
        let objects = self.objects();
        let newest = under(&objects, prefix)
            .filter_map(|(key, versions)| Some((key.clone(), current(versions)?.clone())));
        newest.collect()
    }

    /// Every version of everything under a prefix.
    pub fn versions(&self, prefix: &str) -> Vec<(String, Version)> {
        let objects = self.objects();
        let all = under(&objects, prefix)
            .flat_map(|(key, versions)| versions.iter().map(|version| (key.clone(), version.clone())));
        all.collect()
    }

    /// Writes where nothing is.
    pub fn put(&self, who: &Arc<str>, key: &str, body: Bytes, under: Option<KmsKeyArn>) -> PutOutcome {
        let at = self.clock.now();
        let mut objects = self.objects();
        let versions = objects.entry(key.to_owned()).or_default();
        if current(versions).is_some() {
            self.log.step(format!("{who}: s3 put {key}: is there already"));
            return PutOutcome::Exists;
        }
        self.log
            .step(format!("{who}: s3 put {key} ({} bytes)", body.len()));
        let by = who.clone();
        versions.push(Version::Object(Object { body, at, by, under }));
        PutOutcome::Created
    }

    /// Writes whatever is there. What clusters say of themselves, every five minutes, is no loss: no copy is read off it.
    pub fn replace(&self, who: &Arc<str>, key: &str, body: Bytes, under: Option<KmsKeyArn>) {
        self.log.quiet(who);
        let (at, by) = (self.clock.now(), who.clone());
        let placed = Version::Object(Object { body, at, by, under });
        self.objects().entry(key.to_owned()).or_default().push(placed);
        if !key.starts_with(CLUSTERS) {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody who may do all puts an object there, over what is there.
    pub fn place(&self, key: &str, body: Bytes) {
        self.log
            .step(format!("somebody: s3 put {key}, whatever is there"));
        self.replace(&"somebody".into(), key, body, None);
    }

    fn delete(&self, who: &str, key: &str) {
        let at = self.clock.now();
        let mut objects = self.objects();
        if let Some(versions) = objects.get_mut(key)
            && current(versions).is_some()
        {
            self.log.step(format!("{who}: s3 delete {key}"));
            versions.push(Version::Marker(at));
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody who may do all deletes an object.
    pub fn lose(&self, key: &str) {
        self.delete("somebody", key);
    }

    /// Carries out the lifecycle rule: old versions go, and markers with nothing under them.
    pub fn tidy(&self) {
        let now = self.clock.now();
        self.objects().retain(|_, versions| {
            // What made a version old is when the next one came.
            let ages: Vec<Timestamp> = versions.iter().skip(1).map(Version::at).collect();
            let mut place = 0;
            versions.retain(|_| {
                let replaced_at = ages.get(place);
                place += 1;
                replaced_at.is_none_or(|at| now.duration_since(*at) < OLD_VERSIONS)
            });
            !matches!(versions.as_slice(), [] | [Version::Marker(_)])
        });
    }
}

/// Every key under a prefix, with its versions.
fn under<'a>(
    objects: &'a BTreeMap<String, Vec<Version>>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a Vec<Version>)> {
    objects
        .range(prefix.to_owned()..)
        .take_while(move |(key, _)| key.starts_with(prefix))
}

fn current(versions: &[Version]) -> Option<&Object> {
    match versions.last() {
        Some(Version::Object(object)) => Some(object),
        _ => None,
    }
}

/// How often calls of AWS go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Nothing is done.
    pub unavailable: f64,
    /// It is done, and nobody is told.
    pub lost: f64,
    /// The longest that a call takes.
    pub latency: Duration,
}

/// What becomes of calls of AWS.
pub struct Weather {
    random: Mutex<Random>,
    rates: Mutex<Rates>,
    log: Arc<Log>,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Done,
    Unavailable,
    Lost,
}

impl Weather {
    /// Fair, until it is said otherwise.
    pub fn new(random: Random, log: Arc<Log>) -> Self {
        Self {
            random: Mutex::new(random),
            rates: Mutex::default(),
            log,
        }
    }

    /// Calls go wrong this often from now on.
    pub fn set(&self, rates: Rates) {
        *lock(&self.rates) = rates;
    }

    fn next(&self) -> (Luck, Duration) {
        let rates = *lock(&self.rates);
        let mut random = lock(&self.random);
        let latency = random.between(Duration::ZERO, rates.latency);
        let luck = if random.chance(rates.unavailable) {
            self.log.sometimes("AWS does not answer");
            Luck::Unavailable
        } else if random.chance(rates.lost) {
            self.log.sometimes("an answer of AWS is lost");
            Luck::Lost
        } else {
            Luck::Done
        };
        (luck, latency)
    }
}

fn unavailable(what: &str) -> RemoteError {
    RemoteError::Unavailable(format!("{what}: 503"))
}

/// Who calls.
#[derive(Clone)]
pub struct Caller {
    /// Name in the log.
    pub name: Arc<str>,
    /// What its calls go through.
    pub gate: Arc<Gate>,
    /// What strikes it at its writes; none = nothing does.
    pub doom: Option<Arc<Doom>>,
}

impl Caller {
    /// Does a piece of work as this caller. Where it `writes` the caller may die of it: before it is done, or before it hears of it.
    pub async fn act<T>(&self, writes: bool, work: impl Future<Output = T>) -> T {
        let doom = self.doom.as_ref().filter(|_| writes);
        let blow = doom.and_then(|doom| doom.strikes());
        if blow == Some(Blow::Before) {
            self.gate.kill();
            self.gate.pass().await;
        }
        let done = work.await;
        if blow == Some(Blow::After) {
            self.gate.kill();
        }
        self.gate.pass().await;
        done
    }
}

/// One place in AWS.
pub struct Place {
    /// The bucket.
    pub bucket: Arc<Bucket>,
    /// The keys.
    pub keys: Arc<MemoryKeys>,
    /// What becomes of calls.
    pub weather: Arc<Weather>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

/// A place as one caller reaches it.
#[derive(Clone)]
pub struct Reach {
    place: Arc<Place>,
    caller: Caller,
}

impl Reach {
    /// Of a caller.
    pub fn new(place: Arc<Place>, caller: Caller) -> Self {
        Self { place, caller }
    }

    async fn call<T>(&self, what: &str, key: &str, work: impl FnOnce(&Place) -> T) -> Result<T, RemoteError> {
        self.caller.gate.pass().await;
        let (luck, latency) = self.place.weather.next();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let log = &self.place.bucket.log;
        let name = &self.caller.name;
        let done = async {
            match luck {
                Luck::Done => {
                    log.quiet(what);
                    log.quiet(key);
                    Ok(work(&self.place))
                }
                Luck::Unavailable => {
                    log.step(format!("{name}: {what} {key}: no answer, nothing is done"));
                    Err(unavailable(key))
                }
                Luck::Lost => {
                    work(&self.place);
                    log.step(format!("{name}: {what} {key}: done, the answer is lost"));
                    Err(unavailable(key))
                }
            }
        };
        self.caller.act(WRITES.contains(&what), done).await
    }

    async fn put(&self, key: &str, body: Bytes, under: Option<KmsKeyArn>) -> Result<PutOutcome, RemoteError> {
        let name = &self.caller.name;
        let put = |place: &Place| place.bucket.put(name, key, body, under);
        self.call("s3 put", key, put).await
    }
}

#[async_trait]
impl ObjectStore for Reach {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError> {
        let read = |place: &Place| place.bucket.get(key).map(|object| object.body);
        self.call("s3 get", key, read).await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        under: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError> {
        self.put(key, body, Some(under.clone())).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        self.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        let list = |place: &Place| place.bucket.list(prefix, start_after);
        self.call("s3 list", prefix, list).await
    }
}

#[async_trait]
impl RegionBucket for Reach {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError> {
        self.put(key, body, None).await
    }

    async fn replace(&self, key: &str, body: Bytes, under: &KmsKeyArn) -> Result<(), RemoteError> {
        let (name, under) = (&self.caller.name, Some(under.clone()));
        let replace = |place: &Place| place.bucket.replace(name, key, body, under);
        self.call("s3 replace", key, replace).await
    }

    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError> {
        self.call("s3 facts", prefix, |place| BucketFacts {
            noncurrent_days: i32::try_from(OLD_VERSIONS.as_hours() / 24).ok(),
            ..sound_facts(&place.bucket.cloud_region)
        })
        .await
    }

    fn clock_skew(&self) -> Option<SignedDuration> {
        None
    }
}

#[async_trait]
impl KeyService for Reach {
    async fn ensure_key(&self, org: &OrgId, intent: &str) -> Result<KmsKeyArn, RemoteError> {
        self.call("kms make", org.as_str(), |_| ()).await?;
        KeyService::ensure_key(&*self.place.keys, org, intent).await
    }

    async fn generate_wrapped_key(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        purpose: &str,
    ) -> Result<Bytes, RemoteError> {
        self.call("kms wrap", org.as_str(), |_| ()).await?;
        self.place.keys.generate_wrapped_key(key, org, purpose).await
    }

    async fn check_key(&self, key: &KmsKeyArn) -> Result<(), RemoteError> {
        self.call("kms check", "", |_| ()).await?;
        self.place.keys.check_key(key).await
    }
}

#[async_trait]
impl MasterKeys for Reach {
    async fn unwrap(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        self.call("kms open", org.as_str(), |_| ()).await?;
        self.place.keys.unwrap(key, org, ciphertext).await
    }
}

#[async_trait]
impl SessionIssuer for Reach {
    async fn assume(
        &self,
        _: &str,
        name: &str,
        _: &str,
        lifetime: Duration,
    ) -> Result<SessionCredentials, RemoteError> {
        let issue = |place: &Place| {
            let life = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
            SessionCredentials {
                access_key_id: "ASIA0000000000000000".to_owned(),
                secret_access_key: "secret".to_owned(),
                session_token: format!("session {name}"),
                expires_at: place.clock.now().saturating_add(life).unwrap_or(Timestamp::MAX),
            }
        };
        self.call("sts assume", name, issue).await
    }
}

/// The places of AWS as one process reaches them: by the name of the bucket.
pub struct Places {
    by_bucket: BTreeMap<String, Arc<Reach>>,
}

impl Places {
    /// These, for that caller.
    pub fn new(places: &BTreeMap<String, Arc<Place>>, caller: &Caller) -> Self {
        let reach = |(name, place): (&String, &Arc<Place>)| {
            let reach = Reach::new(place.clone(), caller.clone());
            (name.clone(), Arc::new(reach))
        };
        Self {
            by_bucket: places.iter().map(reach).collect(),
        }
    }
}

impl RegionPorts for Places {
    fn services(&self, location: &BucketLocation) -> Result<RegionServices, RemoteError> {
        let reach = self.by_bucket.get(&location.bucket);
        let reach = reach.ok_or_else(|| RemoteError::NotFound(format!("bucket {}", location.bucket)))?;
        Ok(RegionServices {
            store: reach.clone(),
            keys: reach.clone(),
            sessions: reach.clone(),
        })
    }
}

/// The process of a pod: how long it has to live, in writes to the bucket, and who looks at each of them.
pub struct Life {
    writes_left: AtomicI64,
    is_over: AtomicBool,
    witness: Box<dyn Fn() + Send + Sync>,
}

impl Life {
    /// It dies at that write; none = it does not. `witness` is told of each.
    pub fn new(writes: Option<u64>, witness: impl Fn() + Send + Sync + 'static) -> Self {
        let writes = writes.and_then(|writes| i64::try_from(writes).ok());
        Self {
            writes_left: AtomicI64::new(writes.unwrap_or(i64::MAX)),
            is_over: AtomicBool::new(false),
            witness: Box::new(witness),
        }
    }

    /// Whether it has died.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// It dies now.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn write(&self) -> bool {
        if self.is_over() || self.writes_left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            self.end();
            return false;
        }
        (self.witness)();
        true
    }
}

/// The blobs that a mover reaches, under a prefix.
#[derive(Clone)]
pub struct Blobs {
    place: Arc<Place>,
    name: Arc<str>,
    prefix: String,
    under: KmsKeyArn,
    life: Arc<Life>,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blobs({})", self.prefix)
    }
}

impl Blobs {
    /// All of a place; new ones are put `under` that key.
    pub fn new(place: Arc<Place>, name: Arc<str>, under: KmsKeyArn, life: Arc<Life>) -> Self {
        Self {
            place,
            name,
            prefix: String::new(),
            under,
            life,
        }
    }

    /// Those under a prefix.
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

    fn read<T>(&self, name: &str, read: impl FnOnce(&Bucket) -> T) -> Result<T, BlobError> {
        if self.life.is_over() {
            return Err(BlobError::Unavailable("the process is gone".to_owned()));
        }
        match self.place.weather.next().0 {
            Luck::Done => Ok(read(&self.place.bucket)),
            Luck::Unavailable | Luck::Lost => Err(BlobError::Unavailable(format!("{}: 503", self.key(name)))),
        }
    }

    fn write<T>(&self, name: &str, write: impl FnOnce(&Bucket) -> T) -> Result<T, BlobError> {
        let gone = || BlobError::Unavailable("the process is gone".to_owned());
        let lost = BlobError::Unavailable(format!("{}: 503", self.key(name)));
        if !self.life.write() {
            return Err(gone());
        }
        match self.place.weather.next().0 {
            Luck::Done => Ok(write(&self.place.bucket)),
            Luck::Unavailable => Err(lost),
            Luck::Lost => {
                write(&self.place.bucket);
                Err(lost)
            }
        }
    }
}

impl BlobStore for Blobs {
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        let whole = self.key(prefix);
        let listed = self.read(prefix, |bucket| bucket.list(&whole, ""))?;
        let info = |listed: Listed| BlobInfo {
            name: listed.key[self.prefix.len()..].to_owned(),
            size: listed.size,
            last_modified: listed.last_modified,
        };
        Ok(listed.into_iter().map(info).collect())
    }

    fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        let key = self.key(name);
        let found = self.read(name, |bucket| bucket.get(&key))?;
        found.map(|object| object.body).ok_or(BlobError::NotFound(key))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        let whole = self.get(name)?;
        let range = range.start as usize..range.end as usize;
        if range.end > whole.len() {
            return Err(BlobError::Corrupt(self.key(name)));
        }
        Ok(whole.slice(range))
    }

    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError> {
        let key = self.key(name);
        let same = body.clone();
        let under = Some(self.under.clone());
        let outcome = self.write(name, |bucket| match bucket.put(&self.name, &key, body, under) {
            PutOutcome::Created => true,
            PutOutcome::Exists => bucket.get(&key).is_some_and(|present| present.body == same),
        })?;
        if outcome {
            Ok(())
        } else {
            Err(BlobError::Corrupt(key))
        }
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let key = self.key(name);
        self.write(name, |bucket| bucket.delete(&self.name, &key))
    }

    fn location(&self) -> String {
        format!("s3://bucket/{}", self.prefix)
    }
}

impl tray_mover::Bucket for Blobs {
    fn at(&self, prefix: &str) -> Arc<dyn BlobStore> {
        Arc::new(Self::at(self, prefix))
    }
}
