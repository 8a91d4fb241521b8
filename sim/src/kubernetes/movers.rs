//! The process of a mover: the real one, over the world's API server and bucket, and over light repositories.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::Value;
use tray_domain::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId},
    ledger::LedgerState,
    mover_task::{Action, BucketLocation, MoverOutcome, MoverTask, SessionCredentials},
};
use tray_engine::{BackupRequest, SnapshotId};
use tray_ledger::{LedgerStore, LedgerStoreError, ObjectStore, RemoteError, Writer};
use tray_mover::{Places, Ports, Session, outcome, ports::LedgerReader};
use tray_operator::adapters::{kube::namespace_objects::KubeNamespaceObjects, ledger_reader::TaskLedger};
use tray_ports::{Clock, MasterKeys};
use tray_testkit::cluster::Name;
use zeroize::Zeroizing;

use super::{Ended, Kubernetes, Running, claims::claims_of, owners, text};
use crate::{
    aws::{Blobs, Caller, Life, Reach},
    disks,
    engine::{Snapshot, Witness},
    lies::Lie,
    truth::Truth,
    world::World,
};

/// How often a mover reads its org's ledger whole.
const READ_WHOLE: f64 = 0.1;

impl Kubernetes {
    /// Starts the process of a mover's pod.
    pub(super) fn run_mover(&mut self, name: &Name, pod: &Value) {
        let uid = text(pod, "uid").to_owned();
        let Some(task) = self.task_of(name, pod) else {
            return;
        };
        let claim = claims_of(pod)
            .next()
            .map(|claim| Name::new(name.namespace.clone(), claim));
        let mounted = claim.and_then(|claim| self.mounted(&claim));
        let writes = self.world.writes_of_mover(&mut self.random);
        let (world, secret) = (self.world.clone(), secret_of(name, pod));
        let life = Arc::new(Life::new(writes, move || {
            has_credentials(&world, secret.as_ref());
        }));
        let takes = self
            .random
            .between(Duration::from_secs(1), self.world.longest_work());
        self.world.log.step(format!(
            "pod {}/{} begins {:?}",
            name.namespace,
            name.name,
            said_of(&task.action)
        ));
        self.world.truth.mover_begins(&task, name, &uid);
        let Some(session) = self.session(name, &uid, task, mounted.as_ref(), &life) else {
            return;
        };
        let (tell, world, name, whose) = (
            self.ended.0.clone(),
            self.world.clone(),
            name.clone(),
            uid.clone(),
        );
        let of_life = life.clone();
        let is_speechless = self.random.chance(self.world.trouble().pods.speechless);
        let process = tokio::spawn(async move {
            tokio::time::sleep(takes / 2).await;
            let task = session.task.clone();
            let began = world.clock.now();
            look_at_note(&world, &task.action);
            let result = tray_mover::perform(session).await;
            look_at_note(&world, &task.action);
            if let Ok(done) = &result {
                look_at_objects(&world, &task.action, done, began);
            }
            if let (Ok(_), Some(mounted)) = (&result, &mounted) {
                look_at_fill(&world, &task, &mounted.volume);
            }
            let action = task.action;
            tokio::time::sleep(takes / 2).await;
            let (code, words) = match result {
                _ if of_life.is_over() => (137, String::new()),
                Ok(done) => (0, outcome::encode(&done)),
                Err(failure) => (
                    i32::from(failure.exit_code()),
                    outcome::encode(&failure.outcome()),
                ),
            };
            let words = if is_speechless { String::new() } else { words };
            world.log.step(format!(
                "pod {}/{} ends {:?} with {code}: {words}",
                name.namespace,
                name.name,
                said_of(&action)
            ));
            let ended = Ended {
                pod: name,
                uid: whose,
                code,
                words,
            };
            // The world may have ended.
            let _ = tell.send(ended);
        });
        self.running.insert(uid, Running { process, life });
    }

    /// What a mover finds where a claim is mounted; none = the claim has no volume.
    fn mounted(&self, claim: &Name) -> Option<Mounted> {
        let volume = self.world.volume_of(claim)?;
        let pods = self.world.server.read_all("pods", |pod| {
            let is_user =
                text(pod, "namespace") == claim.namespace && claims_of(pod).any(|name| name == claim.name);
            let is_of_job = owners(pod).any(|owner| owner.kind == "Job");
            (is_user && !is_of_job).then(|| Name::of(pod))
        });
        let pods = pods.into_iter().flatten().collect();
        Some(Mounted { volume, pods })
    }

    /// What a mover finds in its Secret.
    fn task_of(&self, name: &Name, pod: &Value) -> Option<MoverTask> {
        let secret = secret_of(name, pod)?;
        let encoded = |secret: &Value| secret["data"]["task.json"].as_str().map(str::to_owned);
        let encoded = self.world.server.read("secrets", &secret, encoded)??;
        let text = BASE64_STANDARD.decode(encoded).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// How a mover reads its org's ledger: now and then as it really does, from the newest checkpoint on, else on from where the
    /// mover before it had read to. That takes a tenth of the time, and a movers' ledger is read more often than anything else.
    fn ledger(&mut self, reach: Arc<Reach>, task: &MoverTask) -> Arc<dyn LedgerReader> {
        if self.random.chance(READ_WHOLE) {
            return Arc::new(TaskLedger::new(reach, task));
        }
        let bucket = task.location.bucket.clone();
        Arc::new(ReadOn {
            store: self.readers.entry(bucket).or_insert(reach).clone(),
            ledgers: self.ledgers.clone(),
            task: task.clone(),
        })
    }

    fn session(
        &mut self,
        name: &Name,
        uid: &str,
        task: MoverTask,
        mounted: Option<&Mounted>,
        life: &Arc<Life>,
    ) -> Option<Session> {
        let place = self.world.places.get(&task.location.bucket)?.clone();
        let caller = Caller {
            name: name.name.as_str().into(),
            gate: Arc::default(),
            doom: None,
        };
        let reach = Arc::new(Reach::new(place.clone(), caller.clone()));
        let objects = match &task.action {
            Action::SnapshotObjects { namespace, .. } | Action::RestoreObjects { namespace, .. } => {
                let client = self.world.server.client(&format!("mover {}", name.name));
                let objects = KubeNamespaceObjects::new(client, namespace);
                Some(Arc::new(objects) as Arc<dyn tray_mover::ports::NamespaceObjects>)
            }
            _ => None,
        };
        let witness = Seen {
            world: self.world.clone(),
            pods: mounted.map(|mounted| mounted.pods.clone()).unwrap_or_default(),
        };
        let ports = Ports {
            engine: Arc::new(self.world.engine.before(Arc::new(witness))),
            bucket: Arc::new(Blobs::new(
                place,
                caller.name,
                task.kms_key_arn.clone(),
                life.clone(),
            )),
            keys: Arc::new(Witnessed {
                reach: (*reach).clone(),
                truth: self.world.truth.clone(),
                uid: uid.to_owned(),
            }),
            ledger: self.ledger(reach, &task),
            objects,
            clock: Arc::new(self.world.clock),
        };
        let places = Places {
            task: PathBuf::new(),
            volume: mounted
                .map(|mounted| disks::path_of(&mounted.volume))
                .unwrap_or_default(),
            cache: PathBuf::new(),
            termination_log: PathBuf::new(),
            pod_uid: uid.to_owned(),
        };
        Some(Session { ports, task, places })
    }
}

/// A ledger that is read on from where it was read to.
struct ReadOn {
    store: Arc<Reach>,
    ledgers: Arc<LedgerStore>,
    task: MoverTask,
}

#[async_trait::async_trait]
impl LedgerReader for ReadOn {
    async fn read(&self) -> Result<LedgerState, RemoteError> {
        let (key, org) = (self.task.kms_key_arn.clone(), self.task.org_id.clone());
        let store: Arc<dyn ObjectStore> = self.store.clone();
        let opened = self
            .ledgers
            .open(store, &self.task.location.prefix, key, org, &Writer::none())
            .await;
        let read = match opened {
            Ok(ledger) => ledger.refresh().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(state) => Ok(LedgerState::clone(&state)),
            Err(LedgerStoreError::Remote { source, .. }) => Err(source),
            Err(error) => Err(RemoteError::Corrupt(error.to_string())),
        }
    }
}

/// What a mover finds where a claim is mounted.
struct Mounted {
    volume: String,
    /// The pods of a workload that have it mounted, too.
    pods: Vec<Name>,
}

/// Sees what the engine of a mover really does.
struct Seen {
    world: Arc<World>,
    pods: Vec<Name>,
}

impl Witness for Seen {
    fn read(&self, _: &str, _: &BackupRequest, snapshot: &SnapshotId) {
        let containers = &self.world.containers;
        let since = self
            .pods
            .iter()
            .filter_map(|pod| containers.consistent_since(pod))
            .max();
        self.world.truth.read(snapshot.as_str(), since);
    }

    fn lets_fill(&self) -> bool {
        !self.world.lies.are_told(Lie::NothingIsFilled)
    }
}

/// The org's own object is looked at while a mover archives it. An archive may be of a try that did not end well.
fn look_at_note(world: &World, action: &Action) {
    if let Action::SnapshotObjects {
        run_id, namespace, ..
    } = action
    {
        let note = world.note(namespace);
        world.truth.archived(run_id.as_str(), note);
    }
}

/// A mover says that it has put objects back, which it began then.
fn look_at_objects(world: &World, action: &Action, done: &MoverOutcome, began: Timestamp) {
    if let Action::RestoreObjects {
        run_id, namespace, ..
    } = action
        && let MoverOutcome::RestoredObjects { refused: 0, .. } = done
    {
        let note = world.note(namespace);
        world.truth.put_back(namespace, run_id.as_str(), began, note);
    }
}

/// A mover says that it has filled a volume: whether the volume holds what the copy does.
fn look_at_fill(world: &World, task: &MoverTask, volume: &str) {
    let Action::RestoreVolume {
        run_id,
        part,
        repository_snapshot,
        ..
    } = &task.action
    else {
        return;
    };
    let BucketLocation { bucket, prefix, .. } = &task.location;
    let repository = bucket_layout::volume_repository(prefix, &task.org_id, part);
    let place = world.places.get(bucket);
    let copy = place.and_then(|place| {
        place
            .bucket
            .get(&format!("{repository}snapshots/{repository_snapshot}"))
    });
    let copy = copy.and_then(|copy| serde_json::from_slice::<Snapshot>(&copy.body).ok());
    if copy.is_some_and(|copy| world.disks.files(volume) == Some(copy.files)) {
        world.truth.filled(volume, run_id.as_str());
    }
}

/// The Secret of a mover's pod.
fn secret_of(name: &Name, pod: &Value) -> Option<Name> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut secrets = volumes.filter_map(|volume| volume["secret"]["secretName"].as_str());
    Some(Name::new(name.namespace.clone(), secrets.next()?))
}

/// Invariant 25: a mover that writes has credentials that have not run out.
fn has_credentials(world: &World, secret: Option<&Name>) {
    let encoded = |secret: &Value| secret["data"]["credentials.json"].as_str().map(str::to_owned);
    let ends = secret.and_then(|name| {
        let text = BASE64_STANDARD
            .decode(world.server.read("secrets", name, encoded)??)
            .ok()?;
        let credentials: SessionCredentials = serde_json::from_slice(&text).ok()?;
        Some((name, credentials.expires_at))
    });
    let skew = world.skew();
    if let Some((name, ends)) = ends
        && world.clock.now().duration_since(ends) > skew
    {
        let Name { namespace, name } = name;
        world.log.broken(
            25,
            format!("a mover writes with the credentials of {namespace}/{name}, which ended at {ends}"),
        );
    }
}

/// KMS as a mover reaches it: whoever opens the master key has found its work open.
struct Witnessed {
    reach: Reach,
    truth: Arc<Truth>,
    uid: String,
}

#[async_trait::async_trait]
impl MasterKeys for Witnessed {
    async fn unwrap(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        self.truth.mover_works(&self.uid);
        self.reach.unwrap(key, org, ciphertext).await
    }
}

/// What a mover does, for the log.
fn said_of(action: &Action) -> String {
    match action {
        Action::SnapshotVolume { run_id, part, .. } => format!("copy of {part} for run {run_id}"),
        Action::SnapshotObjects { run_id, .. } => format!("copy of the objects for run {run_id}"),
        Action::ProveVolume { part, run_id, .. } => format!("proof of {part} of run {run_id}"),
        Action::ProveObjects { run_id, .. } => format!("proof of the objects of run {run_id}"),
        Action::RestoreVolume { part, run_id, .. } => format!("fill of {part} from run {run_id}"),
        Action::RestoreObjects { run_id, .. } => format!("putting back the objects of run {run_id}"),
        Action::Prune { sweep_id, remove, .. } => format!("sweep {sweep_id} of {} runs", remove.len()),
    }
}
