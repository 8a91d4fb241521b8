//! The controllers and nodes of Kubernetes, as far as orgs need them: workloads and Jobs get pods, claims get volumes, pods run,
//! what nobody owns any more goes, and so do namespaces.

pub(crate) mod claims;
mod collector;
mod jobs;
mod movers;
mod pods;
mod workloads;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tray_ledger::LedgerStore;
use tray_testkit::cluster::{Change, Name};

use crate::{
    aws::{Life, Reach},
    random::Random,
    truth::phase,
    world::World,
};

/// What of Kubernetes happens later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    /// A pod is looked at by the scheduler or its node.
    Pod(Name),
    /// A pod that was deleted has stopped.
    Stopped(Name, String),
    /// A Job is looked at.
    Job(Name),
    /// A claim is looked at.
    Claim(Name),
    /// A namespace that goes is looked at.
    Namespace(String),
    /// A workload is looked at.
    Workload(String, Name),
}

/// How a mover's process ended: its pod, the exit code, and its last words.
struct Ended {
    pod: Name,
    uid: String,
    code: i32,
    words: String,
}

/// A mover's process.
struct Running {
    process: JoinHandle<()>,
    life: Arc<Life>,
}

/// Kubernetes.
pub struct Kubernetes {
    world: Arc<World>,
    random: Random,
    due: BinaryHeap<Reverse<(Instant, u64, Later)>>,
    next: u64,
    /// What each object owns, by UID.
    owned: BTreeMap<String, BTreeSet<(String, Name)>>,
    /// Pods of Jobs that ended badly or vanished, by UID of the Job.
    failures: BTreeMap<String, u32>,
    /// When pods start, by their UID.
    starting: BTreeMap<String, Instant>,
    /// Pods that were told to stop, by their UID.
    stopping: BTreeSet<String>,
    /// Movers at work, by UID of their pod.
    running: BTreeMap<String, Running>,
    /// The ledgers that movers have read, and how they reach them, by the name of the bucket.
    ledgers: Arc<LedgerStore>,
    readers: BTreeMap<String, Arc<Reach>>,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
}

impl Kubernetes {
    /// Of a world.
    pub fn new(world: Arc<World>) -> Self {
        let random = world.random.stream("kubernetes");
        Self {
            world,
            random,
            due: BinaryHeap::new(),
            next: 0,
            owned: BTreeMap::new(),
            failures: BTreeMap::new(),
            starting: BTreeMap::new(),
            stopping: BTreeSet::new(),
            running: BTreeMap::new(),
            ledgers: Arc::new(LedgerStore::new()),
            readers: BTreeMap::new(),
            ended: mpsc::unbounded_channel(),
        }
    }

    /// Works for ever.
    pub async fn work(mut self) {
        let mut changes = self.world.server.changes(&[]);
        loop {
            let wake_at = self.due.peek().map(|Reverse((at, ..))| *at);
            let sleep = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                change = changes.next() => self.heard(&change),
                Some(ended) = self.ended.1.recv() => self.mover_ended(&ended),
                () = sleep => self.fire(),
            }
        }
    }

    fn later(&mut self, delay: Duration, what: Later) {
        self.next += 1;
        self.due.push(Reverse((Instant::now() + delay, self.next, what)));
    }

    fn fire(&mut self) {
        let Some(Reverse((_, _, what))) = self.due.pop() else {
            return;
        };
        match what {
            Later::Pod(name) => self.pod(&name),
            Later::Stopped(name, uid) => self.pod_stopped(&name, &uid),
            Later::Job(name) => self.job(&name),
            Later::Claim(name) => self.claim(&name),
            Later::Namespace(name) => self.namespace(&name),
            Later::Workload(resource, name) => self.workload(&resource, &name),
        }
    }

    /// An object was written.
    fn heard(&mut self, change: &Change) {
        let (resource, name) = (change.resource.as_str(), change.name());
        self.remember(resource, name, change.before(), change.after());
        let Some(new) = change.after() else {
            if let Some(old) = change.before() {
                self.gone(resource, name, old);
            }
            return;
        };
        self.collect(resource, name, new);
        match resource {
            "deployments.apps" | "statefulsets.apps" => self.workload(resource, name),
            "jobs.batch" => self.job(name),
            "pods" => {
                self.pod(name);
                self.tell_owner(new);
            }
            "persistentvolumeclaims" => self.claim(name),
            "namespaces" => self.namespace_written(change.before(), new),
            "orgrestores.platform.tray.ai" => self.restore_written(change.before(), new),
            "resourcequotas" => self.count_quota(name),
            _ => {}
        }
    }

    /// An object is gone.
    fn gone(&mut self, resource: &str, name: &Name, old: &Value) {
        self.collect_dependents(old);
        match resource {
            "pods" => {
                self.pod_gone(name, old);
                self.tell_owner(old);
            }
            "persistentvolumeclaims" => {
                self.claim_gone(old);
                for owner in self.users_of_claims(&name.namespace) {
                    self.later(Duration::from_secs(1), owner);
                }
            }
            "jobs.batch" => {
                self.failures.remove(text(old, "uid"));
            }
            _ => {}
        }
        self.let_owners_go(old);
    }

    /// Has the controller of an object look at it.
    fn tell_owner(&mut self, object: &Value) {
        let namespace = text(object, "namespace").to_owned();
        for owner in owners(object) {
            let name = Name::new(namespace.clone(), owner.name);
            match owner.kind {
                "Job" => self.job(&name),
                "Deployment" => self.workload("deployments.apps", &name),
                "StatefulSet" => self.workload("statefulsets.apps", &name),
                _ => {}
            }
        }
    }

    /// Invariant 9: a restore that succeeded has filled every volume from its run.
    fn restore_written(&self, old: Option<&Value>, new: &Value) {
        let has_succeeded = |object: &Value| phase(object).starts_with("Succeeded");
        if !has_succeeded(new) || old.is_some_and(has_succeeded) {
            return;
        }
        self.world.log.sometimes("a restore succeeds");
        let run = new["status"]["runId"].as_str().unwrap_or_default();
        let org = Name::new("", new["spec"]["orgRef"]["name"].as_str().unwrap_or_default());
        let namespace = |org: &Value| org["status"]["namespace"].as_str().map(str::to_owned);
        let namespace = self
            .world
            .server
            .read("trayorgs.platform.tray.ai", &org, namespace);
        let namespace = namespace.flatten().unwrap_or_default();
        let parts = new["status"]["parts"].as_array().into_iter().flatten();
        let volumes = parts
            .filter_map(|part| part["part"].as_str())
            .filter(|part| *part != "objects");
        for part in volumes {
            let volume = self.world.volume_of(&Name::new(namespace.clone(), part));
            let filled = volume
                .as_ref()
                .and_then(|volume| self.world.truth.filled_from(volume));
            if filled.as_deref() != Some(run) {
                let name = text(new, "name");
                let what = format!(
                    "OrgRestore {name} of run {run} succeeded, but {part} was filled from {filled:?}"
                );
                self.world.log.broken(9, what);
            }
        }
    }

    /// Kubernetes counts what a quota limits.
    fn count_quota(&self, name: &Name) {
        let _ = self.world.server.change("resourcequotas", name, |quota| {
            let hard = quota["spec"]["hard"].clone();
            let resources = hard.as_object().into_iter().flatten();
            let used: serde_json::Map<String, Value> = resources
                .map(|(resource, _)| (resource.clone(), json!("0")))
                .collect();
            quota["status"] = json!({"hard": hard, "used": used});
        });
    }
}

/// Whose an object is.
#[derive(Clone, Copy, Debug)]
struct Owner<'a> {
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
    blocks: bool,
}

fn owners(object: &Value) -> impl Iterator<Item = Owner<'_>> {
    let references = object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    references.map(|reference| Owner {
        kind: reference["kind"].as_str().unwrap_or_default(),
        name: reference["name"].as_str().unwrap_or_default(),
        uid: reference["uid"].as_str().unwrap_or_default(),
        blocks: reference["blockOwnerDeletion"] == true,
    })
}

/// A text of an object's metadata; empty where it is absent.
fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether all containers of a pod have ended for good.
fn is_over(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// A reference to an owner that has to be gone before.
fn owned_by(api_version: &str, kind: &str, owner: &Value) -> Value {
    json!([{
        "apiVersion": api_version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }])
}
