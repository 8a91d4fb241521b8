//! What people do: they ask for snapshots and restores, take that back, change fields and change them back, lose volumes, delete
//! orgs and apply them again, and do what the status of an org asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tray_domain::names;
use tray_ports::Clock;
use tray_testkit::cluster::Name;

use crate::{
    manifests,
    random::Random,
    simulation::Plan,
    truth::{condition, phase},
    world::World,
};

const ORGS: &str = "trayorgs.platform.tray.ai";
const SNAPSHOTS: &str = "orgsnapshots.platform.tray.ai";
const RESTORES: &str = "orgrestores.platform.tray.ai";

/// A thing to do to an org, and how often a day it is done to one.
type Habit = (f64, fn(&mut People, usize));

const HABITS: &[Habit] = &[
    (0.7, People::ask_for_restore),
    (0.7, People::ask_for_snapshot),
    (0.1, People::take_back_snapshot),
    (0.1, People::take_back_restore),
    (0.2, People::change_a_field),
    (0.5, People::write_a_note),
    (0.1, People::lose_a_volume),
    (0.05, People::delete_org),
];

/// For so many hours people do all that they do; then each world's go on at a pace of their own, so that long worlds are not all
/// restores.
const EAGER: u64 = 48;
/// Those paces.
const PACES: [f64; 4] = [0.5, 0.2, 0.1, 0.05];
/// How likely somebody who is told that data is lost gives it up, rather than restore it.
const GIVEN_UP: f64 = 0.1;
/// For so many hours at the end nobody asks for anything, whatever is amiss.
const SILENCE: u64 = 12;
/// After so long a restore that has ended is of no interest.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where a field is, and what it is changed to.
type Field = (&'static str, fn() -> Value);

/// Fields of a TrayOrg that are changed and changed back: where, and to what.
const FIELDS: &[Field] = &[
    ("/spec/lifecycle/state", || json!("Suspended")),
    ("/spec/plan", || json!("Enterprise")),
    ("/spec/network/egress", || json!("None")),
    ("/spec/overrides", || json!([{"name": "web", "replicas": 3}])),
    ("/spec/overrides", || json!([{"name": "db", "image": "db:2"}])),
    (
        "/spec/owners",
        || json!([{"kind": "User", "name": "somebody", "role": "Viewer"}]),
    ),
    ("/spec/availability/zoneSpread", || json!("Required")),
    ("/spec/quota/pods", || json!(40)),
];

/// The people.
pub struct People {
    world: Arc<World>,
    random: Random,
    pace: f64,
    orgs: usize,
    asked: u64,
    /// What has to be done at an hour, at the latest: to undo what was done.
    owed: BTreeMap<(u64, usize), Owed>,
    /// Restores that failed and after which another one was asked for.
    repeated: BTreeSet<Name>,
    hour: u64,
    last_hour: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// The org is applied as it always was.
    Apply,
    /// What was lost is restored.
    Restore,
    /// What was lost is given up.
    GiveUp,
}

impl People {
    /// Of a world.
    pub fn new(world: &Arc<World>, plan: &Plan) -> Self {
        let mut pace = world.random.stream("pace of people");
        Self {
            world: world.clone(),
            random: world.random.stream("people"),
            pace: pace.pick(&PACES).copied().unwrap_or(1.0),
            orgs: plan.orgs,
            asked: 0,
            owed: BTreeMap::new(),
            repeated: BTreeSet::new(),
            hour: 0,
            last_hour: plan.days * 24,
        }
    }

    /// Once an hour. When they `rest`, they only undo what they did, and do what they are asked for.
    pub fn act(&mut self, hour: u64, rest: bool) {
        self.hour = hour;
        let due: Vec<_> = self
            .owed
            .keys()
            .copied()
            .filter(|(at, _)| *at <= hour || rest)
            .collect();
        for key in due {
            match self.owed.remove(&key) {
                Some(Owed::Apply) => self.apply(key.1),
                Some(Owed::Restore) => self.ask_for_restore(key.1),
                Some(Owed::GiveUp) => self.give_up(key.1),
                None => {}
            }
        }
        if hour + SILENCE < self.last_hour {
            for number in 0..self.orgs {
                self.do_what_status_asks_for(number);
            }
        }
        if hour.is_multiple_of(24) {
            self.tidy();
        }
        if rest {
            return;
        }
        let pace = if hour <= EAGER { 1.0 } else { self.pace };
        for number in 0..self.orgs {
            for (a_day, habit) in HABITS {
                if self.random.chance(pace * a_day / 24.0) {
                    habit(self, number);
                }
            }
        }
    }

    /// Applies the org as it always was, when the one before is gone.
    fn apply(&mut self, number: usize) {
        let name = Name::new("", manifests::org_name(number));
        let goes = |org: &Value| !org["metadata"]["deletionTimestamp"].is_null();
        if self.world.server.read(ORGS, &name, goes) == Some(true) {
            self.owe(1, number, Owed::Apply);
        } else {
            self.world.put(manifests::org(number));
        }
    }

    fn owe(&mut self, hours: u64, number: usize, owed: Owed) {
        let mut at = self.hour + 1 + self.random.below(hours);
        while self.owed.contains_key(&(at, number)) {
            at += 1;
        }
        self.owed.insert((at, number), owed);
    }

    /// Lost data is restored or given up; a restore that failed is asked for again.
    fn do_what_status_asks_for(&mut self, number: usize) {
        let is_answer = |owed: &Owed| matches!(owed, Owed::Restore | Owed::GiveUp);
        if self
            .owed
            .iter()
            .any(|((_, of), owed)| *of == number && is_answer(owed))
        {
            return;
        }
        let name = manifests::org_name(number);
        let restores = self.world.server.read_all(RESTORES, |restore| {
            let is_of_org = restore["spec"]["orgRef"]["name"] == name.as_str();
            is_of_org.then(|| (Name::of(restore), phase(restore).to_owned()))
        });
        let restores: Vec<(Name, String)> = restores.into_iter().flatten().collect();
        if restores.iter().any(|(_, phase)| !has_ended(phase)) {
            return;
        }
        let is_lost = |org: &Value| condition(org, "DataLost").is_some_and(|lost| lost["status"] == "True");
        if self.world.server.read(ORGS, &Name::new("", name), is_lost) == Some(true) {
            let answer = if self.random.chance(GIVEN_UP) {
                Owed::GiveUp
            } else {
                Owed::Restore
            };
            self.owe(3, number, answer);
            return;
        }
        let failed = restores.into_iter().filter(|(_, phase)| phase == "Failed");
        let failed: Vec<Name> = failed.map(|(name, _)| name).collect();
        let news = failed.iter().filter(|name| self.repeated.insert((*name).clone()));
        if news.count() > 0 {
            self.world
                .log
                .sometimes("a restore that failed is asked for again");
            self.owe(6, number, Owed::Restore);
        }
    }

    /// Says that what a volume held may be forgotten.
    fn give_up(&mut self, number: usize) {
        let name = Name::new("", manifests::org_name(number));
        let given_up = self.world.server.change(ORGS, &name, |org| {
            org["metadata"]["annotations"][names::ANNOTATION_ACCEPT_DATA_LOSS] = json!("data-db-0");
        });
        if matches!(given_up, Ok(Some(_))) {
            self.world
                .log
                .step(format!("people give up data-db-0 of {}", name.name));
            self.world.log.sometimes("people give data up");
        }
    }

    /// Takes old requests away.
    fn tidy(&mut self) {
        let now = self.world.clock.now();
        let old = self.world.server.read_all(RESTORES, |restore| {
            let made: Timestamp = restore["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
            let is_old = now.duration_since(made) > FORGOTTEN && has_ended(phase(restore));
            is_old.then(|| Name::of(restore))
        });
        for name in old.into_iter().flatten() {
            self.world.delete(RESTORES, &name);
            self.repeated.remove(&name);
        }
    }

    /// Writes what is the org's own and no controller's.
    fn write_a_note(&mut self, number: usize) {
        let text = self.random.number().to_string();
        if let Some(namespace) = self.namespace(number) {
            self.world.write_note(&namespace, &text);
        }
    }

    fn ask_for_restore(&mut self, number: usize) {
        self.asked += 1;
        let name = format!("back-{}", self.asked);
        self.world
            .put(manifests::restore(&name, &manifests::org_name(number)));
        self.world.log.sometimes("a restore is asked for");
    }

    fn ask_for_snapshot(&mut self, number: usize) {
        self.asked += 1;
        let name = format!("now-{}", self.asked);
        self.world
            .put(manifests::snapshot(&name, &manifests::org_name(number)));
        self.world.log.sometimes("a snapshot is asked for");
    }

    fn take_back_snapshot(&mut self, number: usize) {
        self.take_back(SNAPSHOTS, number, "a snapshot is taken back");
    }

    fn take_back_restore(&mut self, number: usize) {
        self.take_back(RESTORES, number, "a restore is taken back");
    }

    /// Deletes one that has not ended, if there is one.
    fn take_back(&mut self, resource: &str, number: usize, what: &'static str) {
        let org = manifests::org_name(number);
        let open = self.world.server.read_all(resource, |object| {
            let is_of_org = object["spec"]["orgRef"]["name"] == org.as_str();
            (is_of_org && !has_ended(phase(object))).then(|| Name::of(object))
        });
        let open: Vec<Name> = open.into_iter().flatten().collect();
        if let Some(name) = self.random.pick(&open) {
            self.world.delete(resource, name);
            self.world.log.sometimes(what);
        }
    }

    fn change_a_field(&mut self, number: usize) {
        let Some((field, value)) = self.random.pick(FIELDS) else {
            return;
        };
        let name = Name::new("", manifests::org_name(number));
        let changed = self.world.server.change(ORGS, &name, |org| {
            set(org, field, value());
        });
        if matches!(changed, Ok(Some(_))) {
            self.world
                .log
                .step(format!("people set {field} of {}", name.name));
            self.world.log.sometimes("a field is changed");
            self.owe(6, number, Owed::Apply);
        }
    }

    /// Deletes the claim of the database, and its pod.
    fn lose_a_volume(&mut self, number: usize) {
        let Some(namespace) = self.namespace(number) else {
            return;
        };
        self.world.truth.people_lose(&namespace);
        self.world.delete(
            "persistentvolumeclaims",
            &Name::new(namespace.clone(), "data-db-0"),
        );
        self.world.delete("pods", &Name::new(namespace, "db-0"));
        self.world.log.sometimes("people lose a volume");
        self.owe(3, number, Owed::Restore);
    }

    /// Takes protection off, deletes the org, and applies it again some time later.
    fn delete_org(&mut self, number: usize) {
        let name = Name::new("", manifests::org_name(number));
        let unprotected = self.world.server.change(ORGS, &name, |org| {
            set(org, "/spec/lifecycle/deletionProtection", json!("Disabled"));
        });
        if matches!(unprotected, Ok(Some(_))) {
            self.world.delete(ORGS, &name);
            self.world.log.sometimes("people delete an org");
            self.owe(12, number, Owed::Apply);
        }
    }

    fn namespace(&self, number: usize) -> Option<String> {
        let name = Name::new("", manifests::org_name(number));
        let namespace = |org: &Value| org["status"]["namespace"].as_str().map(str::to_owned);
        self.world.server.read(ORGS, &name, namespace)?
    }
}

/// Whether a restore or a snapshot of that phase has ended.
pub fn has_ended(phase: &str) -> bool {
    matches!(
        phase,
        "Succeeded" | "SucceededWithRefusals" | "Failed" | "Committed"
    )
}

/// Sets a field by its path, and makes what it lies in.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for field in path.split('/').skip(1) {
        place = &mut place[field];
    }
    *place = value;
}
