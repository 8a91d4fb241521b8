//! One simulation: a world out of a seed, for some days.

use std::{io, sync::Arc, time::Duration};

use tokio::runtime::Builder;

use crate::{
    calamities::Calamities,
    invariants::{Children, Invariants, children},
    kubernetes::Kubernetes,
    log::{Broken, Step},
    manifests,
    operators::Operators,
    people::People,
    trouble::Trouble,
    world::World,
};

/// What is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where everything random comes from.
    pub seed: u64,
    /// How many orgs there are.
    pub orgs: usize,
    /// How many days pass.
    pub days: u64,
    /// Whether anything goes wrong, until the last day.
    pub faults: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was simulated.
    pub plan: Plan,
    /// Hash over all that happened, and how much it was.
    pub trace: (u64, u64),
    /// What must never be, and was.
    pub broken: Vec<Broken>,
    /// The last steps in words.
    pub last: Vec<Step>,
    /// How often each rare path was taken.
    pub counted: std::collections::BTreeMap<&'static str, u64>,
}

/// Hours at the end in which nothing goes wrong and nobody does anything: then all that was asked for has to be done.
const HEALED: u64 = 24;
/// How long a new org takes at most.
const FRESH: Duration = Duration::from_secs(3600);

/// Simulates.
pub fn run(plan: &Plan) -> io::Result<Report> {
    run_into(plan, None::<io::Sink>)
}

/// The same, and writes every step in words.
pub fn run_into(plan: &Plan, sink: Option<impl io::Write + Send + 'static>) -> io::Result<Report> {
    let begin = |world: &Arc<World>| {
        if let Some(sink) = sink {
            world.log.write_to(sink);
        }
    };
    run_with(plan, begin)
}

/// The same, with somebody who does to the world what nobody else may: `begin` is called in the world when it begins.
pub fn run_with(plan: &Plan, begin: impl FnOnce(&Arc<World>)) -> io::Result<Report> {
    in_runtime(plan.seed, simulate(plan, begin))
}

/// What is in the namespace of each org of a world in which nothing goes wrong and nobody does anything.
pub fn fresh(seed: u64, orgs: usize) -> io::Result<Vec<Children>> {
    in_runtime(seed, async {
        let world = begin(seed, orgs, |_| ());
        tokio::time::sleep(FRESH).await;
        let names = (0..orgs).map(manifests::org_namespace);
        names.map(|namespace| children(&world, &namespace)).collect()
    })
}

fn in_runtime<T>(seed: u64, world: impl Future<Output = T>) -> io::Result<T> {
    // The pauses between tries of watches.
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(world))
}

/// A world with a platform and orgs.
fn begin(seed: u64, orgs: usize, begin: impl FnOnce(&Arc<World>)) -> Arc<World> {
    let world = World::new(seed);
    begin(&world);
    tokio::spawn(Kubernetes::new(world.clone()).work());
    world.platform();
    tokio::spawn(Operators::new(&world).lead());
    for number in 0..orgs {
        world.put(manifests::org(number));
    }
    world
}

async fn simulate(plan: &Plan, meddle: impl FnOnce(&Arc<World>)) -> Report {
    let world = begin(plan.seed, plan.orgs, meddle);
    if plan.faults {
        world.set_trouble(Trouble::drawn(&world.random));
    }
    let mut people = People::new(&world, plan);
    let mut calamities = Calamities::new(&world);
    let mut invariants = Invariants::new(&world, plan);
    let heals_at = (plan.days * 24).saturating_sub(HEALED);
    for hour in 1..=plan.days * 24 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        world.workloads_write();
        if hour == heals_at {
            world.set_trouble(Trouble::default());
            world.log.step("all is well from now on");
        }
        calamities.befall(hour);
        people.act(hour, hour >= heals_at);
        if hour % 24 == 0 {
            tidy(&world);
        }
        invariants.each_hour();
        if hour % 6 == 0 {
            invariants.look().await;
        }
    }
    invariants.at_the_end().await;
    Report {
        plan: plan.clone(),
        trace: world.log.hash(),
        broken: world.log.found(),
        last: world.log.led_there(),
        counted: world.log.counted(),
    }
}

fn tidy(world: &Arc<World>) {
    for place in world.places.values() {
        place.bucket.tidy();
    }
}
