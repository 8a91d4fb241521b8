//! What befalls the world for hours: AWS is away, keys are disabled.

use std::sync::Arc;

use tray_domain::ids::KmsKeyArn;
use tray_testkit::cluster::Name;

use crate::{random::Random, trouble::Trouble, world::World};

/// How likely one begins in an hour, where it is among what goes wrong.
const AN_HOUR: f64 = 0.02;
/// How long it lasts at most, in hours.
const LONGEST: u64 = 12;

/// What befalls the world.
pub struct Calamities {
    world: Arc<World>,
    random: Random,
    outage_until: Option<u64>,
    disabled: Vec<(u64, KmsKeyArn)>,
}

impl Calamities {
    /// None yet.
    pub fn new(world: &Arc<World>) -> Self {
        Self {
            world: world.clone(),
            random: world.random.stream("calamities"),
            outage_until: None,
            disabled: Vec::new(),
        }
    }

    /// Nodes are drained: pods go while they run.
    fn evict(&mut self, rate: f64) {
        if rate == 0.0 {
            return;
        }
        let running = self.world.server.read_all("pods", |pod| {
            let runs = pod["status"]["phase"] == "Running";
            runs.then(|| Name::of(pod))
        });
        for pod in running.into_iter().flatten() {
            if self.random.chance(rate) {
                self.world.log.sometimes("a pod is evicted");
                self.world.delete("pods", &pod);
            }
        }
    }

    /// Once an hour.
    pub fn befall(&mut self, hour: u64) {
        let Trouble {
            outages, keys, pods, ..
        } = self.world.trouble();
        self.evict(pods.evicted);
        if self.outage_until.is_some_and(|until| until <= hour) || (self.outage_until.is_some() && !outages) {
            self.outage_until = None;
            self.world.set_outage(false);
        }
        if outages && self.outage_until.is_none() && self.random.chance(AN_HOUR) {
            self.outage_until = Some(hour + 1 + self.random.below(LONGEST));
            self.world.log.sometimes("AWS is away");
            self.world.set_outage(true);
        }
        let (over, still): (Vec<_>, Vec<_>) = self
            .disabled
            .drain(..)
            .partition(|(until, _)| *until <= hour || !keys);
        self.disabled = still;
        for (_, key) in over {
            self.world.enable_key(&key, true);
        }
        if keys && self.random.chance(AN_HOUR) {
            let all = self.world.keys();
            if let Some(key) = self.random.pick(&all).cloned() {
                self.world.log.sometimes("a key is disabled");
                self.world.enable_key(&key, false);
                self.disabled.push((hour + 1 + self.random.below(LONGEST), key));
            }
        }
    }
}
