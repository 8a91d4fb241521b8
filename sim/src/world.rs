//! The world around the operator's processes: API server, AWS, disks, clocks, and what is known of all of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use kube::core::Status;
use serde_json::Value;
use tray_api::crds::all_crds;
use tray_domain::{ids::KmsKeyArn, names};
use tray_ports::{HookError, HookTarget};
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
    kubernetes::claims::claims_of,
    lock::lock,
    log::Log,
    manifests::{self, BACKUP_REGION, BUCKET, Variant},
    random::Random,
    trouble::{Doom, Trouble},
    truth::Truth,
};

/// When every world begins.
const EPOCH: &str = "2026-01-05T00:00:00Z";
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
    trouble: Mutex<Trouble>,
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
        let told = log.clone();
        server.set_observer(move |asked: &Traced| note(&told, asked));
        let place = Place {
            bucket: Arc::new(Bucket::new(BACKUP_REGION, Arc::new(clock), log.clone())),
            keys: Arc::new(MemoryKeys::new(BACKUP_REGION)),
            weather: Arc::new(Weather::new(random.stream("aws"), log.clone())),
            clock: Arc::new(clock),
        };
        let disks = Arc::new(Disks::default());
        let world = Self {
            clock,
            server,
            places: BTreeMap::from([(BUCKET.to_owned(), Arc::new(place))]),
            engine: LightEngine::new(disks.clone()),
            disks,
            doom: Arc::new(Doom::new(random.stream("doom"))),
            containers: Arc::new(Containers::new(
                random.stream("hooks"),
                Arc::new(clock),
                log.clone(),
            )),
            truth: Arc::new(Truth::new(log.clone())),
            log,
            trouble: Mutex::new(Trouble::default()),
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
