//! What must hold, read off the world and never off what a process believes. `docs/simulation.md` counts them.

mod clusters;
mod copies;
mod ledgers;
mod life;
mod others;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use tray_domain::{ids::OrgId, ledger::LedgerState, names};
use tray_ledger::{LedgerStore, ObjectStore, Writer};

use self::copies::Copies;
use crate::{
    aws::{Bucket, Caller, Place, Reach, Weather},
    manifests::{self, BUCKET, LEDGER_KEY},
    simulation::Plan,
    world::World,
};

/// An org that is looked at.
#[derive(Clone, Debug)]
struct Org {
    name: String,
    id: OrgId,
}

impl Org {
    fn namespace(&self) -> String {
        names::org_namespace(&self.name, &self.id)
    }
}

/// Looks at the world.
pub struct Invariants {
    world: Arc<World>,
    orgs: Vec<Org>,
    ledgers: LedgerStore,
    reach: Arc<Reach>,
    copies: Copies,
    /// When another cluster took the orgs over.
    fenced_at: Option<Timestamp>,
    /// When this one woke after that, if it slept.
    woke_at: Option<Timestamp>,
}

impl Invariants {
    /// At a world.
    pub fn new(world: &Arc<World>, plan: &Plan) -> Self {
        let real = &world.places[BUCKET];
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
        let org = |number| {
            let id = manifests::org_id(number).parse().ok()?;
            let name = manifests::org_name(number);
            Some(Org { name, id })
        };
        Self {
            world: world.clone(),
            orgs: (0..plan.orgs).filter_map(org).collect(),
            ledgers: LedgerStore::new(),
            reach: Arc::new(Reach::new(place, caller)),
            copies: Copies::new(real.bucket.clone(), world.log.clone()),
            fenced_at: None,
            woke_at: None,
        }
    }

    fn bucket(&self) -> &Bucket {
        &self.world.places[BUCKET].bucket
    }

    /// At any time.
    pub async fn look(&mut self) {
        let now = tray_ports::Clock::now(&self.world.clock);
        let mut states = BTreeMap::new();
        for org in self.orgs.clone() {
            if let Some(state) = self.ledger(&org.id).await {
                self.copies.look(&org.id, &state, now);
                self.keeps_rpo(&org, &state, now);
                states.insert(org.namespace(), (org, state));
            }
        }
        for deleted in self.world.truth.take_deleted() {
            if let Some((org, state)) = states.get(&deleted.claim.namespace) {
                self.copies.may_lose(&org.id, state, &deleted);
            }
        }
        self.restores_end(now);
    }

    /// When all is over: everything was well for a day.
    pub async fn at_the_end(&mut self) {
        self.look().await;
        for org in self.orgs.clone() {
            self.ledger_is_whole(&org.id);
            self.is_as_wanted(&org);
            if let Some(state) = self.ledger(&org.id).await {
                self.is_bounded(&org.id, &state);
                self.is_copied(&org, &state);
            }
        }
        self.all_is_done();
        self.is_alive();
        self.nothing_leaks();
        self.foreign_is_left_alone();
    }

    /// What the ledger of an org says; none = there is none that can be believed.
    async fn ledger(&self, org: &OrgId) -> Option<Arc<LedgerState>> {
        let store: Arc<dyn ObjectStore> = self.reach.clone();
        let key = LEDGER_KEY.parse().ok()?;
        let opened = self
            .ledgers
            .open(store, "", key, org.clone(), &Writer::none())
            .await;
        let read = match opened {
            // One that was opened before is read on.
            Ok(ledger) => ledger.refresh().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(state) => Some(state),
            Err(error) => {
                let what = format!("the ledger of {org} cannot be believed: {error}");
                self.world.log.broken(12, what);
                None
            }
        }
    }
}
