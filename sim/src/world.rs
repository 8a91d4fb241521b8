//! The world around the operator's processes: API server, AWS, disks, clocks, and what is known of all of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::core::Status;
use serde_json::{Value, json};
use tray_api::crds::all_crds;
use tray_domain::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId},
    ledger::{Entry, Event, digest},
    names,
};
use tray_operator::adapters::kube::leader::LEASE;
use tray_ports::{Clock as _, HookError, HookTarget};
use tray_testkit::{
    clock::RuntimeClock,
    cluster::{ApiServer, Name, Pace, ServedKind, Traced, of_kubernetes},
    memory::MemoryKeys,
};

use crate::{
    aws::{Bucket, Place, Weather},
    containers::Containers,
    disks::{Content, Disks, Files},
    engine::LightEngine,
    faults::ApiFaults,
    gate::Gate,
    kubernetes::claims::claims_of,
    lies::{Lie, Lies},
    lock::lock,
    log::Log,
    manifests::{self, HOMES, Home, NOTE, Variant},
    random::Random,
    traffic::Traffic,
    trouble::{Doom, Trouble},
    truth::Truth,
};

/// When every world begins.
const EPOCH: &str = "2026-01-05T00:00:00Z";
/// Who takes the orgs over.
const ANOTHER: &str = "another cluster";
/// Watches of a simulated year do not begin anew each hour.
const PACE: Pace = Pace {
    bookmarks: Duration::from_secs(44 * 60),
    at_least: Duration::from_secs(24 * 3600),
};

/// The world.
pub struct World {
    /// The right time.
    pub clock: RuntimeClock,
    /// Where all random numbers come from.
    pub random: Random,
    /// What happened.
    pub log: Arc<Log>,
    /// The API server.
    pub server: ApiServer,
    /// The places in AWS, by the name of the bucket.
    pub places: BTreeMap<String, Arc<Place>>,
    /// What lies on volumes.
    pub disks: Arc<Disks>,
    /// The engine of volume movers.
    pub engine: LightEngine,
    /// Strikes processes at their writes.
    pub doom: Arc<Doom>,
    /// What runs in workloads' containers.
    pub containers: Arc<Containers>,
    /// What really happened.
    pub truth: Arc<Truth>,
    /// Frozen while the cluster's nodes sleep that the operator could run on.
    pub sleep: Gate,
    /// What is asked of the API server.
    pub traffic: Arc<Traffic>,
    /// What of what is played is not as it is said.
    pub lies: Lies,
    trouble: Mutex<Trouble>,
    /// How far a clock was off at most.
    skew: Mutex<SignedDuration>,
    writers: Mutex<Random>,
}

impl World {
    /// An empty one. Within a runtime whose time is paused.
    pub fn new(seed: u64) -> Arc<Self> {
        let epoch: Timestamp = EPOCH.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let clock = RuntimeClock::from(epoch);
        let random = Random::of(seed);
        let log = Arc::new(Log::new(Arc::new(clock)));
        let mut ids = random.stream("ids");
        let server = ApiServer::new(kinds(), Arc::new(clock), move || ids.number());
        server.set_pace(PACE);
        server.be_terse();
        let (told, traffic) = (log.clone(), Arc::<Traffic>::default());
        let counted = traffic.clone();
        server.set_observer(move |asked: &Traced| {
            counted.note(asked);
            note(&told, asked);
        });
        let place = |home: &Home| {
            let place = Place {
                bucket: Arc::new(Bucket::new(home.backup_region, Arc::new(clock), log.clone())),
                keys: Arc::new(MemoryKeys::new(home.backup_region)),
                weather: Arc::new(Weather::new(
                    random.stream("aws").stream(home.region),
                    log.clone(),
                )),
                clock: Arc::new(clock),
            };
            (home.bucket.to_owned(), Arc::new(place))
        };
        let places = HOMES.iter().map(place).collect();
        let disks = Arc::new(Disks::default());
        let world = Self {
            clock,
            server,
            places,
            engine: LightEngine::new(disks.clone()),
            disks,
            doom: Arc::new(Doom::new(random.stream("doom"))),
            containers: Arc::new(Containers::new(
                random.stream("hooks"),
                Arc::new(clock),
                log.clone(),
            )),
            truth: Arc::new(Truth::new(log.clone(), clock)),
            sleep: Gate::default(),
            log,
            traffic,
            lies: Lies::default(),
            trouble: Mutex::new(Trouble::default()),
            skew: Mutex::default(),
            writers: Mutex::new(random.stream("writers")),
            random,
        };
        world.set_trouble(Trouble::default());
        Arc::new(world)
    }

    /// This goes wrong from now on.
    pub fn set_trouble(&self, trouble: Trouble) {
        let random = self.random.stream("api server");
        let faults = ApiFaults::new(random, trouble.api, self.log.clone());
        self.server.set_faults(faults);
        for place in self.places.values() {
            place.weather.set(trouble.aws);
        }
        self.doom.set(trouble.processes.crash);
        *lock(&self.trouble) = trouble;
        let mut skew = lock(&self.skew);
        *skew = trouble.processes.skew.max(*skew);
    }

    /// How far the clock of a process may be off: one that began when clocks were off goes on after that.
    pub fn skew(&self) -> SignedDuration {
        *lock(&self.skew)
    }

    /// AWS is away, or is there again.
    pub fn set_outage(&self, is_away: bool) {
        self.log.step(if is_away {
            "AWS is away"
        } else {
            "AWS is there again"
        });
        let mut rates = self.trouble().aws;
        if is_away {
            rates.unavailable = 1.0;
        }
        for place in self.places.values() {
            place.weather.set(rates);
        }
    }

    /// Another cluster takes the orgs of this one over, in every place.
    pub fn fence(&self) {
        self.log.step("another cluster takes the orgs over");
        let marker = json!({"formatVersion": 1, "clusterUid": "another", "at": self.clock.now()});
        let key = bucket_layout::fenced("", &self.cluster_uid());
        for place in self.places.values() {
            let body = Bytes::from(marker.to_string());
            place.bucket.replace(&ANOTHER.into(), &key, body, None);
        }
    }

    /// That cluster claims each ledger.
    pub fn claim_for_another(&self) {
        for place in self.places.values() {
            let mut newest: BTreeMap<OrgId, Entry> = BTreeMap::new();
            let mut digests = BTreeMap::new();
            for listed in place.bucket.list("v1/ledger/", "") {
                let Some(object) = place.bucket.get(&listed.key) else {
                    continue;
                };
                let number = listed
                    .key
                    .rsplit('/')
                    .next()
                    .and_then(|name| name.strip_suffix(".json"));
                let seq = number.and_then(|number| number.parse().ok());
                let entry = seq.and_then(|seq| Entry::decode(seq, &object.body).ok());
                if let Some(entry) = entry {
                    digests.insert(entry.org_id.clone(), digest(&object.body));
                    newest.insert(entry.org_id.clone(), entry);
                }
            }
            for (org, last) in newest {
                let event = Event::Claim {
                    holder: ANOTHER.to_owned(),
                };
                let claim = Entry {
                    format_version: event.format_version(),
                    seq: last.seq + 1,
                    at: self.clock.now(),
                    cluster_uid: "another".to_owned(),
                    epoch: last.epoch + 1,
                    previous_digest: digests.remove(&org).unwrap_or_default(),
                    checkpoint: match last.event {
                        Event::Checkpoint { .. } => Some(last.seq),
                        _ => last.checkpoint,
                    },
                    org_id: org.clone(),
                    event,
                };
                if let Ok(bytes) = claim.encode() {
                    let key = bucket_layout::ledger_entry("", &org, claim.seq);
                    place.bucket.put(&ANOTHER.into(), &key, Bytes::from(bytes), None);
                }
            }
        }
    }

    /// Every key that was made.
    pub fn keys(&self) -> Vec<KmsKeyArn> {
        self.places.values().flat_map(|place| place.keys.all()).collect()
    }

    /// Somebody enables or disables a key.
    pub fn enable_key(&self, key: &KmsKeyArn, is_enabled: bool) {
        let what = if is_enabled { "enable" } else { "disable" };
        self.log.step(format!("people {what} a key"));
        for place in self.places.values() {
            if is_enabled {
                place.keys.enable(key);
            } else {
                place.keys.disable(key);
            }
        }
    }

    /// What goes wrong at present.
    pub fn trouble(&self) -> Trouble {
        *lock(&self.trouble)
    }

    /// Puts objects there, as people do who may do all.
    pub fn put(&self, object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let what = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
        match self.apply(object) {
            Ok(()) => self.log.step(format!("people apply {what}")),
            Err(status) => self
                .log
                .step(format!("people apply {what}: refused: {}", status.message)),
        }
    }

    /// Makes an object, or makes the spec of the one that is there be so.
    fn apply(&self, object: Value) -> Result<(), Box<Status>> {
        let name = Name::of(&object);
        let resource = self.server.resource_of(&object);
        let change = |present: &mut Value| {
            present["spec"] = object["spec"].clone();
            for (field, value) in object["metadata"]["annotations"]
                .as_object()
                .into_iter()
                .flatten()
            {
                present["metadata"]["annotations"][field] = value.clone();
            }
        };
        if let Some(resource) = resource
            && self.server.change(&resource, &name, change)?.is_some()
        {
            return Ok(());
        }
        self.server.put(object).map(|_| ())
    }

    /// Deletes an object, as people do.
    pub fn delete(&self, resource: &str, name: &Name) {
        self.log.step(format!(
            "people delete {resource} {}/{}",
            name.namespace, name.name
        ));
        let _ = self.server.delete(resource, name, &serde_json::json!({}));
    }

    /// What the platform is made of.
    pub fn platform(&self) {
        for object in manifests::platform(Variant::drawn(&self.random)) {
            self.put(object);
        }
    }

    /// A process of the operator holds the Lease from now on, and renews it without a word: it has run out when the next one starts.
    /// What renews it, and who wins it, is not among what is real here.
    pub fn hold_lease(&self, process: &str) {
        let held = self.server.put(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": LEASE, "namespace": names::SYSTEM_NAMESPACE},
            "spec": {"holderIdentity": process, "renewTime": self.clock.now(), "leaseDurationSeconds": i32::MAX},
        }));
        if let Err(status) = held {
            self.log
                .step(format!("{process} cannot hold the Lease: {}", status.message));
        }
    }

    /// UID of the cluster.
    pub fn cluster_uid(&self) -> String {
        let name = Name::new("", "kube-system");
        let uid = |namespace: &Value| namespace["metadata"]["uid"].as_str().map(str::to_owned);
        self.server
            .read("namespaces", &name, uid)
            .flatten()
            .unwrap_or_default()
    }

    /// Cloud region and zone of the volumes of a namespace.
    pub fn zone_of_namespace(&self, namespace: &str) -> Option<(String, String)> {
        let name = Name::new("", namespace);
        let region = |namespace: &Value| {
            namespace["metadata"]["labels"][names::LABEL_REGION]
                .as_str()
                .map(str::to_owned)
        };
        let region = self.server.read("namespaces", &name, region)??;
        let zone = format!("{region}a");
        Some((region, zone))
    }

    /// The longest that a pod takes to start.
    pub fn longest_start(&self) -> Duration {
        self.trouble().pods.start
    }

    /// The longest that a mover works.
    pub fn longest_work(&self) -> Duration {
        self.trouble().pods.work
    }

    /// After how many writes a mover dies; none = it does not.
    pub fn writes_of_mover(&self, random: &mut Random) -> Option<u64> {
        let dies = random.chance(self.trouble().pods.killed);
        dies.then(|| random.below(6))
    }

    /// The volume that a claim is bound to.
    pub fn volume_of(&self, claim: &Name) -> Option<String> {
        let bound = |claim: &Value| {
            let volume = claim["spec"]["volumeName"].as_str()?;
            (claim["status"]["phase"] == "Bound").then(|| volume.to_owned())
        };
        self.server.read("persistentvolumeclaims", claim, bound)?
    }

    /// A workload finds its volume: it fills an empty one.
    pub fn workload_begins(&self, pod: &Name, volume: &str) {
        let mut random = lock(&self.writers);
        let begun = self.disks.change(volume, |files| {
            let is_empty = files.is_empty();
            if is_empty {
                write_files(files, &mut random, 5);
            }
            is_empty
        });
        if begun == Some(true) {
            self.log.step(format!(
                "{}/{} begins its empty volume {volume}",
                pod.namespace, pod.name
            ));
        }
    }

    /// Running workloads write to their volumes.
    pub fn workloads_write(&self) {
        let running = self.server.read_all("pods", |pod| {
            let is_workload = !pod["metadata"]["labels"][names::LABEL_WORKLOAD].is_null();
            let runs = pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
            (is_workload && runs).then(|| {
                let namespace = pod["metadata"]["namespace"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                claims_of(pod)
                    .map(|claim| Name::new(namespace.clone(), claim))
                    .collect::<Vec<_>>()
            })
        });
        let mut random = lock(&self.writers);
        for claim in running.into_iter().flatten().flatten() {
            if let Some(volume) = self.volume_of(&claim) {
                self.disks
                    .change(&volume, |files| write_files(files, &mut random, 1));
            }
        }
    }

    /// Somebody in an org writes a note: an object of the org's own.
    pub fn write_note(&self, namespace: &str, text: &str) {
        let note = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NOTE, "namespace": namespace}, "data": {"text": text},
        });
        let written = self.server.put(note).is_ok();
        if written {
            self.log.step(format!("people write a note in {namespace}"));
            self.truth.note_written(namespace);
        }
    }

    /// The note of an org; none = there is none.
    pub fn note(&self, namespace: &str) -> Option<String> {
        let text = |note: &Value| note["data"]["text"].as_str().map(str::to_owned);
        self.server
            .read("configmaps", &Name::new(namespace, NOTE), text)?
    }

    /// Runs a hook in a pod.
    pub async fn run_hook(
        &self,
        target: &HookTarget,
        command: &[String],
        timeout: Duration,
    ) -> Result<(), HookError> {
        let pod = Name::new(target.namespace.clone(), target.pod.clone());
        let runs = |pod: &Value| pod["status"]["phase"] == "Running";
        if self.server.read("pods", &pod, runs) != Some(true) {
            return Err(HookError::Exec {
                pod: target.pod.clone(),
                source: "it does not run".into(),
            });
        }
        if self.lies.are_told(Lie::NoHookRuns) {
            return Ok(());
        }
        self.containers
            .run(&pod, command, timeout, self.trouble().hooks)
            .await
    }
}

/// What the API server serves: the same in every world, and slow to put together.
fn kinds() -> Vec<ServedKind> {
    static KINDS: OnceLock<Vec<ServedKind>> = OnceLock::new();
    let all = || {
        let ours = all_crds();
        let ours = ours.iter().filter_map(ServedKind::of_crd);
        of_kubernetes().into_iter().chain(ours).collect()
    };
    KINDS.get_or_init(all).clone()
}

/// Writes some files of at most twelve.
fn write_files(files: &mut Files, random: &mut Random, count: u64) {
    for _ in 0..count {
        let path = format!("data/{}{:02}", manifests::PLANTED, random.below(12));
        let content = Content {
            id: random.number(),
            bytes: 1 + random.below(4096),
        };
        files.insert(path, content);
    }
}

fn note(log: &Log, asked: &Traced) {
    let path = asked.path.split('?').next().unwrap_or_default();
    let lost = if asked.lost { ", the answer is lost" } else { "" };
    let what = format!("{}: {} {path}: {}{lost}", asked.user, asked.verb, asked.code);
    if asked.verb.writes() && asked.code != 403 {
        log.step(what);
    } else {
        log.quiet(&what);
    }
}
