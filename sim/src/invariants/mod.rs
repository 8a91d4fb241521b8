//! What must hold, read off the world and never off what a process believes. `docs/simulation.md` counts them.

mod clusters;
mod copies;
mod fresh;
mod held;
mod ledgers;
mod life;
mod others;
mod places;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use tray_domain::{ids::OrgId, ledger::LedgerState};
use tray_ledger::{LedgerStore, Writer};

pub use self::fresh::{Children, children};
use self::{copies::Copies, held::Held};
use crate::{
    aws::{Bucket, Caller, Place, Reach, Weather},
    manifests::{self, Home},
    simulation::Plan,
    world::World,
};

/// Requests of the operator in an hour in which nothing happens.
const REQUESTS_AN_HOUR: u64 = 720;
/// And for each thing that happens.
const REQUESTS_OF_EVENT: u64 = 4;

/// An org that is looked at.
#[derive(Clone)]
struct Org {
    number: usize,
    name: String,
    id: OrgId,
    home: &'static Home,
    place: Arc<Place>,
    reach: Arc<Reach>,
}

impl Org {
    fn of(world: &Arc<World>, number: usize) -> Option<Self> {
        let home = manifests::home(number);
        let real = world.places.get(home.bucket)?;
        // What looks is disturbed by nothing.
        let place = Arc::new(Place {
            bucket: real.bucket.clone(),
            keys: real.keys.clone(),
            weather: Arc::new(Weather::new(world.random.stream("invariants"), world.log.clone())),
            clock: real.clock.clone(),
        });
        let caller = Caller {
            name: "invariants".into(),
            gate: Arc::default(),
            doom: None,
        };
        Some(Self {
            number,
            name: manifests::org_name(number),
            id: manifests::org_id(number).parse().ok()?,
            home,
            reach: Arc::new(Reach::new(place.clone(), caller)),
            place,
        })
    }

    fn namespace(&self) -> String {
        manifests::org_namespace(self.number)
    }

    fn bucket(&self) -> &Bucket {
        &self.place.bucket
    }
}

/// Looks at the world.
pub struct Invariants {
    world: Arc<World>,
    orgs: Vec<Org>,
    ledgers: LedgerStore,
    copies: Vec<Copies>,
    held: Vec<Held>,
    /// Version of the API server at the hour before.
    version: u64,
    foreign: u64,
    plan: Plan,
    /// When another cluster took the orgs over.
    fenced_at: Option<Timestamp>,
    /// When this one woke after that, if it slept.
    woke_at: Option<Timestamp>,
}

impl Invariants {
    /// At a world.
    pub fn new(world: &Arc<World>, plan: &Plan) -> Self {
        let orgs: Vec<Org> = (0..plan.orgs)
            .filter_map(|number| Org::of(world, number))
            .collect();
        let copies = |org: &Org| Copies::new(org.id.clone(), &org.place, world.log.clone());
        Self {
            copies: orgs.iter().map(copies).collect(),
            held: orgs.iter().map(|org| Held::new(org.clone())).collect(),
            orgs,
            world: world.clone(),
            ledgers: LedgerStore::new(),
            version: world.server.version(),
            foreign: others::foreign(world),
            plan: plan.clone(),
            fenced_at: None,
            woke_at: None,
        }
    }

    /// Once an hour.
    pub fn each_hour(&mut self) {
        self.asks_little();
        for held in &mut self.held {
            held.look(&self.world);
        }
    }

    /// 21: the operator asks for little where little happens.
    fn asks_little(&mut self) {
        let counts = self.world.traffic.take();
        let version = self.world.server.version();
        let written = version - std::mem::replace(&mut self.version, version);
        let events = written.saturating_sub(counts.written);
        if counts.requests > REQUESTS_AN_HOUR + REQUESTS_OF_EVENT * events {
            let what = format!(
                "the operator made {} requests in an hour in which {events} other things happened",
                counts.requests
            );
            self.world.log.broken(21, what);
        }
    }

    /// At any time.
    pub async fn look(&mut self) {
        let now = tray_ports::Clock::now(&self.world.clock);
        let mut states = BTreeMap::new();
        for (place, org) in self.orgs.clone().into_iter().enumerate() {
            if let Some(state) = self.ledger(&org).await {
                self.copies[place].look(&state, now);
                self.keeps_rpo(&org, &state, now);
                states.insert(org.namespace(), (place, state));
            }
        }
        let skew = self.world.skew();
        for deleted in self.world.truth.take_deleted() {
            if let Some((place, state)) = states.get(&deleted.claim.namespace) {
                self.copies[*place].may_lose(state, &deleted, skew);
            }
        }
        self.restores_end(now);
    }

    /// When all is over: everything was well for a day.
    pub async fn at_the_end(&mut self) {
        self.look().await;
        let mut states = BTreeMap::new();
        for org in self.orgs.clone() {
            self.ledger_is_whole(&org);
            self.is_as_wanted(&org);
            if let Some(state) = self.ledger(&org).await {
                self.is_bounded(&org, &state);
                self.is_copied(&org, &state);
                states.insert(org.id, state);
            }
        }
        self.all_is_done();
        self.is_alive();
        self.lies_where_it_has_to(&states);
        self.nothing_leaks();
        self.foreign_is_left_alone();
        self.is_like_new();
    }

    /// What the ledger of an org says; none = there is none that can be believed.
    async fn ledger(&self, org: &Org) -> Option<Arc<LedgerState>> {
        let key = org.home.ledger_key.parse().ok()?;
        let opened = self
            .ledgers
            .open(org.reach.clone(), "", key, org.id.clone(), &Writer::none())
            .await;
        let read = match opened {
            // One that was opened before is read on.
            Ok(ledger) => ledger.refresh().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(state) => Some(state),
            Err(error) => {
                let what = format!("the ledger of {} cannot be believed: {error}", org.id);
                self.world.log.broken(12, what);
                None
            }
        }
    }
}
