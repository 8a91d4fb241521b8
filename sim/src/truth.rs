//! What really happened, as nobody but the world knows: which movers worked beside which, what volumes were filled with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::Value;
use tray_domain::{ledger::Work, mover_task::MoverTask};
use tray_testkit::cluster::Name;

use crate::{lock::lock, log::Log};

/// What really happened.
pub struct Truth {
    log: Arc<Log>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Movers whose process lives, by the UID of their pod.
    movers: BTreeMap<String, Mover>,
    /// The run that a volume was filled from, by the volume's name.
    filled: BTreeMap<String, String>,
    /// Namespaces whose claims people deleted themselves.
    lost: BTreeSet<String>,
    /// Claims that were deleted and have not been judged yet.
    deleted: Vec<Deleted>,
}

struct Mover {
    org: String,
    /// The run, restore or sweep that it is of.
    of: String,
    name: String,
    works: bool,
}

/// A claim that was deleted.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// Which.
    pub claim: Name,
    /// What it was bound to.
    pub volume: String,
}

impl Truth {
    /// Nothing happened yet.
    pub fn new(log: Arc<Log>) -> Self {
        Self {
            log,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// The process of a mover begins.
    pub fn mover_begins(&self, task: &MoverTask, pod: &Name, uid: &str) {
        let of = match task.action.work() {
            Work::Run(run) => format!("run {run}"),
            Work::Restore { restore, .. } => format!("restore {restore}"),
            Work::Sweep(sweep) => format!("sweep {sweep}"),
        };
        let mover = Mover {
            org: task.org_id.to_string(),
            of,
            name: pod.name.clone(),
            works: false,
        };
        self.known().movers.insert(uid.to_owned(), mover);
    }

    /// It has found its work open, and begins it. Invariant 5: nothing else of the org is at work then.
    pub fn mover_works(&self, uid: &str) {
        let mut known = self.known();
        let Some(mover) = known.movers.get_mut(uid) else {
            return;
        };
        mover.works = true;
        let (org, of, name) = (mover.org.clone(), mover.of.clone(), mover.name.clone());
        let mut others = known
            .movers
            .values()
            .filter(|other| other.org == org && other.of != of && other.works);
        if let Some(other) = others.next() {
            let (other_name, other_of) = (&other.name, &other.of);
            self.log.broken(
                5,
                format!("{name} works for {of} while {other_name} works for {other_of}"),
            );
        }
    }

    /// Its process has ended.
    pub fn mover_ended(&self, uid: &str) {
        self.known().movers.remove(uid);
    }

    /// A volume was filled from a run.
    pub fn filled(&self, volume: &str, run: &str) {
        self.known().filled.insert(volume.to_owned(), run.to_owned());
    }

    /// The run that a volume was filled from.
    pub fn filled_from(&self, volume: &str) -> Option<String> {
        self.known().filled.get(volume).cloned()
    }

    /// People delete claims of a namespace: that is theirs to answer for.
    pub fn people_lose(&self, namespace: &str) {
        self.known().lost.insert(namespace.to_owned());
    }

    /// A claim begins to go.
    pub fn claim_deleted(&self, claim: &Name, volume: &str) {
        let mut known = self.known();
        if !known.lost.contains(&claim.namespace)
            && !known.deleted.iter().any(|deleted| deleted.volume == volume)
        {
            known.deleted.push(Deleted {
                claim: claim.clone(),
                volume: volume.to_owned(),
            });
        }
    }

    /// The claims that were deleted since it was asked last.
    pub fn take_deleted(&self) -> Vec<Deleted> {
        std::mem::take(&mut self.known().deleted)
    }
}

/// The phase of an object that has one.
pub fn phase(object: &Value) -> &str {
    object["status"]["phase"].as_str().unwrap_or_default()
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == type_)
}
