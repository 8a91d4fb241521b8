//! A bucket, KMS, a namespace and a clock in memory.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tray_domain::{
    archived_kinds::ObjectKind,
    ids::{KmsKeyArn, OrgId, RunId, SweepId},
    ledger::{Event, LedgerState, Work, testing::Story},
    mover_task::{Action, BucketLocation, Endpoints, MoverTask},
};
use tray_engine::{BlobError, BlobInfo, BlobStore};
use tray_ledger::{PutOutcome, RemoteError};
use tray_ports::{Clock, MasterKeys};
use zeroize::Zeroizing;

use super::engine::PlainEngine;
use crate::{
    Bucket, Places, Ports, Session,
    ports::{LedgerReader, NamespaceObjects, ObjectError, ObjectPage, ObjectRefusal, ServedKind},
};

pub(super) const NAMESPACE: &str = "org-acme-7c9e6679";

pub(super) fn org() -> OrgId {
    "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap()
}
pub(super) fn run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}
pub(super) fn sweep() -> SweepId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap()
}
pub(super) fn key_arn() -> KmsKeyArn {
    "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap()
}

/// Blobs by whole key. A put whose key contains `refuse` fails as if the bucket were away.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryBucket {
    pub blobs: Arc<Mutex<BTreeMap<String, Bytes>>>,
    pub refuse: Arc<Mutex<Option<String>>>,
    /// When the bucket says that it took everything.
    pub stored_at: Arc<Mutex<Timestamp>>,
    /// What it was told to delete.
    pub deleted: Arc<Mutex<Vec<String>>>,
}

impl MemoryBucket {
    pub(super) fn keys(&self) -> Vec<String> {
        self.blobs.lock().unwrap().keys().cloned().collect()
    }
    pub(super) fn put(&self, key: &str, body: impl Into<Bytes>) {
        self.blobs.lock().unwrap().insert(key.to_owned(), body.into());
    }
    pub(super) fn of(&self, key: &str) -> Option<Bytes> {
        self.blobs.lock().unwrap().get(key).cloned()
    }
    /// Changes one byte in the middle of a blob.
    pub(super) fn damage(&self, key: &str) {
        let mut body = self.of(key).unwrap().to_vec();
        let middle = body.len() / 2;
        body[middle] ^= 1;
        self.put(key, body);
    }
    pub(super) fn refuse(&self, what: Option<&str>) {
        *self.refuse.lock().unwrap() = what.map(str::to_owned);
    }
}

impl Bucket for MemoryBucket {
    fn at(&self, prefix: &str) -> Arc<dyn BlobStore> {
        Arc::new(Blobs {
            bucket: self.clone(),
            prefix: prefix.to_owned(),
        })
    }
}

#[derive(Debug)]
struct Blobs {
    bucket: MemoryBucket,
    prefix: String,
}

impl Blobs {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl BlobStore for Blobs {
    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        let wanted = self.key(prefix);
        let blobs = self.bucket.blobs.lock().unwrap();
        let under = blobs.iter().filter(|(key, _)| key.starts_with(&wanted));
        Ok(under
            .map(|(key, body)| BlobInfo {
                name: key[self.prefix.len()..].to_owned(),
                size: body.len() as u64,
                last_modified: *self.bucket.stored_at.lock().unwrap(),
            })
            .collect())
    }
    fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        let key = self.key(name);
        self.bucket.of(&key).ok_or(BlobError::NotFound(key))
    }
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        Ok(self.get(name)?.slice(range.start as usize..range.end as usize))
    }
    fn put_if_absent(&self, name: &str, body: Bytes) -> Result<(), BlobError> {
        let key = self.key(name);
        let refuse = self.bucket.refuse.lock().unwrap().clone();
        if refuse.is_some_and(|what| key.contains(&what)) {
            return Err(BlobError::Unavailable(key));
        }
        match self.bucket.of(&key) {
            Some(present) if present != body => Err(BlobError::Corrupt(key)),
            _ => {
                self.bucket.put(&key, body);
                Ok(())
            }
        }
    }
    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let key = self.key(name);
        self.bucket.blobs.lock().unwrap().remove(&key);
        self.bucket.deleted.lock().unwrap().push(key);
        Ok(())
    }
    fn location(&self) -> String {
        format!("memory:{}", self.prefix)
    }
}

/// KMS that knows one key and one org, and counts.
#[derive(Debug, Default)]
pub(super) struct OneKey {
    pub unwrapped: AtomicU64,
}

#[async_trait::async_trait]
impl MasterKeys for OneKey {
    async fn unwrap(
        &self,
        key: &KmsKeyArn,
        org_id: &OrgId,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        assert_eq!((key, org_id), (&key_arn(), &org()));
        self.unwrapped.fetch_add(1, Ordering::Relaxed);
        Ok(Zeroizing::new(vec![ciphertext[0]; 64]))
    }
}

/// A ledger in which the work of a task is open.
struct OpenLedger(LedgerState);

impl OpenLedger {
    fn of(action: &Action) -> Self {
        let mut story = Story::new();
        match action.work() {
            Work::Run(_) => {
                story.open("2026-01-01T00:00:00Z");
            }
            Work::Restore { restore, run_id } => {
                story.good("2026-01-01T00:00:00Z", 60);
                let planned = Event::RestorePlanned {
                    restore: restore.to_owned(),
                    run_id: run_id.clone(),
                };
                story.tell(planned, "2026-01-02T00:00:00Z".parse().unwrap());
            }
            Work::Sweep(sweep_id) => {
                let sweep_id = sweep_id.clone();
                story.tell(Event::sweep_planned(sweep_id), Timestamp::UNIX_EPOCH);
            }
        }
        let mut state = story.state;
        // Under the id that all tasks name.
        if let Some((_, known)) = state.runs.pop_first() {
            state.runs.insert(run(), known);
        }
        Self(state)
    }
}

#[async_trait::async_trait]
impl LedgerReader for OpenLedger {
    async fn read(&self) -> Result<LedgerState, RemoteError> {
        Ok(self.0.clone())
    }
}

/// A ledger that says this.
pub(super) struct Ledger(pub Result<LedgerState, RemoteError>);

#[async_trait::async_trait]
impl LedgerReader for Ledger {
    async fn read(&self) -> Result<LedgerState, RemoteError> {
        self.0.clone()
    }
}

/// A namespace. Pages hold two objects.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub objects: Mutex<BTreeMap<(String, String), Value>>,
    /// Served beside the built-in kinds.
    pub custom_kinds: Vec<ServedKind>,
    /// Kinds that a write is refused for.
    pub forbidden: Vec<&'static str>,
    /// Objects that a webhook fails at, so many times.
    pub failing: Mutex<BTreeMap<&'static str, u64>>,
    /// The API server is away from now on.
    pub away: std::sync::atomic::AtomicBool,
    /// The mover has no rights yet.
    pub no_rights: bool,
    /// The writes that were done.
    pub writes: AtomicU64,
}

impl Namespace {
    pub(super) fn with(objects: &[Value]) -> Self {
        let namespace = Self::default();
        for object in objects {
            namespace.insert(object.clone());
        }
        namespace
    }
    pub(super) fn insert(&self, mut object: Value) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        object["metadata"]["uid"] = json!(format!("uid-{name}"));
        object["metadata"]["resourceVersion"] = json!("1");
        object["metadata"]["namespace"] = json!(NAMESPACE);
        self.objects.lock().unwrap().insert((kind, name), object);
    }
    pub(super) fn names(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        objects
            .keys()
            .map(|(kind, name)| format!("{kind}/{name}"))
            .collect()
    }
    pub(super) fn one(&self, kind: &str, name: &str) -> Option<Value> {
        let objects = self.objects.lock().unwrap();
        objects.get(&(kind.to_owned(), name.to_owned())).cloned()
    }
    fn may(&self, kind: &ObjectKind) -> Result<(), ObjectError> {
        if self.no_rights || self.forbidden.contains(&kind.kind.as_ref()) {
            return Err(refused(&kind.to_string()));
        }
        Ok(())
    }
    fn fail(&self, kind: &ObjectKind, name: &str) -> Result<(), ObjectError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(ObjectError::Failed(ObjectRefusal {
                reason: "ServiceUnavailable".into(),
                message: format!("{kind}/{name}: the server is away"),
            }));
        }
        let mut failing = self.failing.lock().unwrap();
        let Some(left) = failing.get_mut(name).filter(|left| **left > 0) else {
            return Ok(());
        };
        *left -= 1;
        Err(ObjectError::Failed(ObjectRefusal {
            reason: "InternalError".into(),
            message: format!("{kind}/{name}: failed calling webhook"),
        }))
    }
}

fn refused(what: &str) -> ObjectError {
    ObjectError::Refused(ObjectRefusal {
        reason: "Forbidden".into(),
        message: what.to_owned(),
    })
}

#[async_trait::async_trait]
impl NamespaceObjects for Namespace {
    async fn served_kinds(&self) -> Result<Vec<ServedKind>, ObjectError> {
        let pods = ServedKind {
            group: String::new(),
            plural: "pods".into(),
        };
        Ok(self.custom_kinds.iter().cloned().chain([pods]).collect())
    }
    async fn list(&self, kind: &ObjectKind, after: Option<&str>) -> Result<ObjectPage, ObjectError> {
        if kind.plural == "daemonsets" {
            return Err(ObjectError::NotServed(kind.to_string()));
        }
        let objects = self.objects.lock().unwrap();
        let of_kind: Vec<&Value> = objects.values().filter(|o| o["kind"] == *kind.kind).collect();
        let start: usize = after.map_or(0, |token| token.parse().unwrap());
        let end = of_kind.len().min(start + 2);
        Ok(ObjectPage {
            objects: of_kind[start..end].iter().map(|o| (*o).clone()).collect(),
            next: (end < of_kind.len()).then(|| end.to_string()),
        })
    }
    async fn get(&self, kind: &ObjectKind, name: &str) -> Result<Option<Value>, ObjectError> {
        if self.no_rights {
            return Err(refused(&format!("{kind}/{name}")));
        }
        if self.away.load(Ordering::Relaxed) {
            return Err(ObjectError::Unavailable(format!("{kind}/{name}")));
        }
        Ok(self.one(&kind.kind, name))
    }
    async fn create(&self, kind: &ObjectKind, object: &Value) -> Result<PutOutcome, ObjectError> {
        self.may(kind)?;
        let name = object["metadata"]["name"].as_str().unwrap();
        self.fail(kind, name)?;
        if self.one(&kind.kind, name).is_some() {
            return Ok(PutOutcome::Exists);
        }
        assert!(object["metadata"].get("resourceVersion").is_none());
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.insert(object.clone());
        Ok(PutOutcome::Created)
    }
    async fn replace(&self, kind: &ObjectKind, object: &Value) -> Result<(), ObjectError> {
        self.may(kind)?;
        assert_eq!(object["metadata"]["resourceVersion"], "1");
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.insert(object.clone());
        Ok(())
    }
}

/// A clock that goes on by a second at each look.
#[derive(Debug, Default)]
pub(super) struct Seconds(AtomicU64);

impl Clock for Seconds {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.fetch_add(1, Ordering::Relaxed) as i64).unwrap()
    }
}

/// A mover's surroundings; its volume and cache are folders of their own.
pub(super) struct World {
    pub bucket: MemoryBucket,
    pub keys: Arc<OneKey>,
    pub namespace: Arc<Namespace>,
    pub engine: PlainEngine,
    pub folder: tempfile::TempDir,
}

impl World {
    pub(super) fn new(namespace: Namespace) -> Self {
        let world = Self {
            bucket: MemoryBucket::default(),
            keys: Arc::default(),
            namespace: Arc::new(namespace),
            engine: PlainEngine::default(),
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["volume", "cache", "task"] {
            std::fs::create_dir(world.folder.path().join(folder)).unwrap();
        }
        let wrapped = json!({"formatVersion": 1, "kmsKeyArn": key_arn(), "purpose": "master-key", "ciphertext": "Bw=="});
        world
            .bucket
            .put(&format!("p/v1/orgs/{}/key/0001.json", org()), wrapped.to_string());
        world
    }
    pub(super) fn volume(&self) -> std::path::PathBuf {
        self.folder.path().join("volume")
    }
    /// An empty volume in place of the one that is there.
    pub(super) fn fresh_volume(&self) {
        std::fs::remove_dir_all(self.volume()).unwrap();
        std::fs::create_dir(self.volume()).unwrap();
    }
    pub(super) fn places(&self, pod_uid: &str) -> Places {
        Places {
            task: self.folder.path().join("task"),
            volume: self.volume(),
            cache: self.folder.path().join("cache"),
            termination_log: self.folder.path().join("termination-log"),
            pod_uid: pod_uid.to_owned(),
        }
    }
    /// With a ledger in which `action` is open.
    pub(super) fn ports(&self, action: &Action) -> Ports {
        Ports {
            engine: Arc::new(self.engine.clone()),
            bucket: Arc::new(self.bucket.clone()),
            keys: Arc::clone(&self.keys) as _,
            ledger: Arc::new(OpenLedger::of(action)),
            objects: Some(Arc::clone(&self.namespace) as _),
            clock: Arc::new(Seconds::default()),
        }
    }
    pub(super) fn task(action: Action) -> MoverTask {
        MoverTask {
            org_id: org(),
            location: BucketLocation {
                bucket: "b".into(),
                bucket_owner: "111122223333".into(),
                cloud_region: "eu-central-1".into(),
                prefix: "p/".into(),
                endpoints: Endpoints::default(),
            },
            kms_key_arn: key_arn(),
            action,
        }
    }
    pub(super) fn session(&self, pod_uid: &str, action: Action) -> Session {
        Session {
            ports: self.ports(&action),
            task: Self::task(action),
            places: self.places(pod_uid),
        }
    }
    /// Key of the record of that pod.
    pub(super) fn record_key(part: &str, pod_uid: &str) -> String {
        format!("p/v1/orgs/{}/runs/{}/parts/{part}/{pod_uid}.json", org(), run())
    }
    /// Key of what is kept of that pod's failure.
    pub(super) fn failure_key(part: &str, pod_uid: &str) -> String {
        format!(
            "p/v1/orgs/{}/runs/{}/parts/{part}/{pod_uid}.failure",
            org(),
            run()
        )
    }
    pub(super) fn archive_key() -> String {
        format!("p/v1/orgs/{}/objects/{}.tray", org(), run())
    }
}
