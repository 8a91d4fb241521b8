//! What people do: they ask for snapshots and restores, take that back, change fields and change them back, lose volumes, delete
//! orgs and apply them again.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tray_testkit::cluster::Name;

use crate::{manifests, random::Random, simulation::Plan, truth::phase, world::World};

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
    (0.1, People::lose_a_volume),
    (0.05, People::delete_org),
];

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
    orgs: usize,
    asked: u64,
    /// What has to be done at an hour, at the latest: to undo what was done.
    owed: BTreeMap<(u64, usize), Owed>,
    hour: u64,
}

#[derive(Clone, Copy, Debug)]
enum Owed {
    /// The org is applied as it always was.
    Apply,
    /// What was lost is restored.
    Restore,
}

impl People {
    /// Of a world.
    pub fn new(world: &Arc<World>, plan: &Plan) -> Self {
        Self {
            world: world.clone(),
            random: world.random.stream("people"),
            orgs: plan.orgs,
            asked: 0,
            owed: BTreeMap::new(),
            hour: 0,
        }
    }

    /// Once an hour. When they `rest`, they only undo what they did.
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
                None => {}
            }
        }
        if rest {
            return;
        }
        for number in 0..self.orgs {
            for (a_day, habit) in HABITS {
                if self.random.chance(a_day / 24.0) {
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
            let has_ended = matches!(
                phase(object),
                "Succeeded" | "SucceededWithRefusals" | "Failed" | "Committed"
            );
            (is_of_org && !has_ended).then(|| Name::of(object))
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

/// Sets a field by its path, and makes what it lies in.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for field in path.split('/').skip(1) {
        place = &mut place[field];
    }
    *place = value;
}
