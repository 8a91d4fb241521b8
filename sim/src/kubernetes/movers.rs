//! The process of a mover: the real one, over the world's API server and bucket, and over light repositories.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use tray_domain::{
    ids::{KmsKeyArn, OrgId},
    mover_task::{Action, MoverTask, SessionCredentials},
};
use tray_ledger::RemoteError;
use tray_mover::{Places, Ports, Session, outcome};
use tray_operator::adapters::{kube::namespace_objects::KubeNamespaceObjects, ledger_reader::TaskLedger};
use tray_ports::{Clock, MasterKeys};
use tray_testkit::cluster::Name;
use zeroize::Zeroizing;

use super::{Ended, Kubernetes, Running, claims::claims_of, text};
use crate::{
    aws::{Blobs, Caller, Life, Reach},
    disks,
    truth::Truth,
    world::World,
};

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
        let volume = claim.and_then(|claim| self.world.volume_of(&claim));
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
        let Some(session) = self.session(name, &uid, task, volume.clone(), &life) else {
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
            let action = session.task.action.clone();
            let result = tray_mover::perform(session).await;
            if let (Ok(_), Action::RestoreVolume { run_id, .. }, Some(volume)) = (&result, &action, &volume) {
                world.truth.filled(volume, run_id.as_str());
            }
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

    /// What a mover finds in its Secret.
    fn task_of(&self, name: &Name, pod: &Value) -> Option<MoverTask> {
        let secret = secret_of(name, pod)?;
        let encoded = |secret: &Value| secret["data"]["task.json"].as_str().map(str::to_owned);
        let encoded = self.world.server.read("secrets", &secret, encoded)??;
        let text = BASE64_STANDARD.decode(encoded).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn session(
        &self,
        name: &Name,
        uid: &str,
        task: MoverTask,
        volume: Option<String>,
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
        let ports = Ports {
            engine: Arc::new(self.world.engine.clone()),
            bucket: Arc::new(Blobs::new(place, caller.name, life.clone())),
            keys: Arc::new(Witnessed {
                reach: (*reach).clone(),
                truth: self.world.truth.clone(),
                uid: uid.to_owned(),
            }),
            ledger: Arc::new(TaskLedger::new(reach, &task)),
            objects,
            clock: Arc::new(self.world.clock),
        };
        let places = Places {
            task: PathBuf::new(),
            volume: volume.as_deref().map(disks::path_of).unwrap_or_default(),
            cache: PathBuf::new(),
            termination_log: PathBuf::new(),
            pod_uid: uid.to_owned(),
        };
        Some(Session { ports, task, places })
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
    let skew = world.trouble().processes.skew;
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
