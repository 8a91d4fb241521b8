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
    /// Another cluster takes the orgs over; none = that never comes.
    pub fenced: Option<Fenced>,
}

/// Another cluster takes the orgs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// After so many hours.
    pub after: u64,
    /// While this one sleeps, from an hour before to two hours after: the other one has claimed all ledgers when it wakes. Else it puts
    /// the marker and claims none yet.
    pub asleep: bool,
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

/// How far into an hour a cluster falls asleep.
const FALLS_ASLEEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Hours that a cluster sleeps on after its orgs were taken over: what it knew of that is old when it wakes.
const SLEEPS_ON: u64 = 2;
/// Hours at the end in which nothing goes wrong and nobody does anything: then all that was asked for has to be done. What was made
/// shorter waits for a day, and is in force when that is over.
const HEALED: u64 = 25;
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
        if let Some(fenced) = &plan.fenced {
            take_over(&world, &mut invariants, fenced, hour);
        }
        calamities.befall(hour);
        people.act(hour, hour >= heals_at);
        if hour % 24 == 0 {
            tidy(&world);
        }
        let is_fenced = plan.fenced.is_some_and(|fenced| hour >= fenced.after);
        if !is_fenced {
            invariants.each_hour();
        }
        if hour % 6 == 0 && !is_fenced {
            invariants.look().await;
        }
    }
    if plan.fenced.is_some() {
        invariants.fenced_is_still();
    } else {
        invariants.at_the_end().await;
    }
    Report {
        plan: plan.clone(),
        trace: world.log.hash(),
        broken: world.log.found(),
        last: world.log.led_there(),
        counted: world.log.counted(),
    }
}

/// What becomes of the orgs in that hour, where another cluster takes them over.
fn take_over(world: &Arc<World>, invariants: &mut Invariants, fenced: &Fenced, hour: u64) {
    let Fenced { after, asleep } = *fenced;
    if asleep && hour + 1 == after {
        // In the middle of what people ask for in that hour.
        let falls_asleep = world
            .random
            .stream("sleep")
            .between(FALLS_ASLEEP.0, FALLS_ASLEEP.1);
        let world = world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(falls_asleep).await;
            world.sleep.freeze();
        });
    }
    if hour == after {
        world.fence();
        if asleep {
            world.claim_for_another();
        }
        invariants.fenced();
    }
    if asleep && hour == after + SLEEPS_ON {
        world.sleep.thaw();
        invariants.woken();
    }
}

fn tidy(world: &Arc<World>) {
    for place in world.places.values() {
        place.bucket.tidy();
    }
}
