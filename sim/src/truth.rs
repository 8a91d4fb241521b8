//! What really happened, as nobody but the world knows: which movers worked beside which, what volumes were filled with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use serde_json::Value;
use tray_domain::{ledger::Work, mover_task::MoverTask};
use tray_ports::Clock;
use tray_testkit::{clock::RuntimeClock, cluster::Name};

use crate::{lock::lock, log::Log};

/// What really happened.
pub struct Truth {
    log: Arc<Log>,
    clock: RuntimeClock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Movers whose process lives, by the UID of their pod.
    movers: BTreeMap<String, Mover>,
    /// The run that a volume was filled from, by the volume's name.
    filled: BTreeMap<String, String>,
    /// What the note of an org said while the objects of a run were archived.
    archived: BTreeMap<String, BTreeSet<Option<String>>>,
    /// When the note of a namespace was last written by people.
    noted: BTreeMap<String, Timestamp>,
    /// What was read into each snapshot of a repository, by its id.
    read: BTreeMap<String, Reading>,
    /// The volumes that claims have had.
    volumes: BTreeMap<Name, BTreeSet<String>>,
    /// When volumes were made that take the place of others, and that nothing was put back into.
    replacements: BTreeMap<String, Timestamp>,
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

/// What a snapshot of a repository was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// Since when hooks had made it consistent; none = they had not.
    pub consistent_since: Option<Timestamp>,
}

/// A claim that was deleted.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// Which.
    pub claim: Name,
    /// What it was bound to.
    pub volume: String,
    /// When.
    pub at: Timestamp,
}

impl Truth {
    /// Nothing happened yet.
    pub fn new(log: Arc<Log>, clock: RuntimeClock) -> Self {
        Self {
            log,
            clock,
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

    /// A volume was filled from a run: it holds what the copy does.
    pub fn filled(&self, volume: &str, run: &str) {
        let mut known = self.known();
        known.filled.insert(volume.to_owned(), run.to_owned());
        known.replacements.remove(volume);
    }

    /// People have written the note of an org.
    pub fn note_written(&self, namespace: &str) {
        let at = self.clock.now();
        self.known().noted.insert(namespace.to_owned(), at);
    }

    /// While the objects of a run were archived, the note said this; none = there was none.
    pub fn archived(&self, run: &str, note: Option<String>) {
        let mut known = self.known();
        known.archived.entry(run.to_owned()).or_default().insert(note);
    }

    /// The objects of a run were put back, which began then. Invariant 9: the note says what it said when it was archived.
    pub fn put_back(&self, namespace: &str, run: &str, began: Timestamp, note: Option<String>) {
        let known = self.known();
        // One that may not be in the archive stays as it is.
        let Some(archived) = known.archived.get(run).filter(|notes| !notes.contains(&None)) else {
            return;
        };
        let is_newer = known.noted.get(namespace).is_some_and(|noted| *noted >= began);
        if !is_newer && !archived.contains(&note) {
            let what = format!(
                "the note in {namespace} says {note:?} after run {run} was put back, and said {archived:?}"
            );
            self.log.broken(9, what);
        }
    }

    /// A volume was made for a claim.
    pub fn volume_made(&self, claim: &Name, volume: &str) {
        let at = self.clock.now();
        let mut known = self.known();
        let of_claim = known.volumes.entry(claim.clone()).or_default();
        let replaces = !of_claim.is_empty();
        if of_claim.insert(volume.to_owned()) && replaces {
            known.replacements.insert(volume.to_owned(), at);
        }
    }

    /// A volume has lost its content.
    pub fn emptied(&self, volume: &str) {
        let at = self.clock.now();
        self.known().replacements.insert(volume.to_owned(), at);
    }

    /// When a volume was made in place of another, or lost its content, if nothing was put back into it.
    pub fn replaced_at(&self, volume: &str) -> Option<Timestamp> {
        self.known().replacements.get(volume).copied()
    }

    /// A volume was read into a snapshot; hooks had made it consistent since then.
    pub fn read(&self, snapshot: &str, consistent_since: Option<Timestamp>) {
        let reading = Reading {
            at: self.clock.now(),
            consistent_since,
        };
        self.known().read.insert(snapshot.to_owned(), reading);
    }

    /// What a snapshot was read from.
    pub fn reading(&self, snapshot: &str) -> Option<Reading> {
        self.known().read.get(snapshot).copied()
    }

    /// The run that a volume was filled from.
    pub fn filled_from(&self, volume: &str) -> Option<String> {
        self.known().filled.get(volume).cloned()
    }

    /// People delete claims of a namespace: that is theirs to answer for.
    pub fn people_lose(&self, namespace: &str) {
        self.known().lost.insert(namespace.to_owned());
    }

    /// Whether they did.
    pub fn have_people_lost(&self, namespace: &str) -> bool {
        self.known().lost.contains(namespace)
    }

    /// A claim begins to go.
    pub fn claim_deleted(&self, claim: &Name, volume: &str) {
        let at = self.clock.now();
        let mut known = self.known();
        if !known.lost.contains(&claim.namespace)
            && !known.deleted.iter().any(|deleted| deleted.volume == volume)
        {
            known.deleted.push(Deleted {
                claim: claim.clone(),
                volume: volume.to_owned(),
                at,
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
