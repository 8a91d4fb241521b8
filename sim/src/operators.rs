//! The operator's processes: one leads; it dies, or stands still until another leads, and goes on for a while before it notices.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use crate::{lies::Lie, process::Process, random::Random, traffic::OPERATOR, world::World};

/// How long the Lease holds without being renewed, and a little more.
const LEASE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(20));
/// How long a process stands still.
const FROZEN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));
/// How long one that leads no more goes on before it notices.
const STALE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);
/// How often it is asked whether anything goes wrong at all.
const LOOK: Duration = Duration::from_secs(3_600);

/// The processes of one cluster.
pub struct Operators {
    world: Arc<World>,
    random: Random,
    started: u64,
}

impl Operators {
    /// None yet.
    pub fn new(world: &Arc<World>) -> Self {
        Self {
            world: world.clone(),
            random: world.random.stream("operators"),
            started: 0,
        }
    }

    /// One after the other, for ever.
    pub async fn lead(mut self) {
        loop {
            while self.is_gone() {
                tokio::time::sleep(LOOK).await;
            }
            let leader = self.start();
            loop {
                let freezes = self.next_freeze();
                tokio::select! {
                    biased;
                    () = leader.gate.dead() => {
                        self.world.log.step(format!("{} dies", leader.name));
                        self.world.log.sometimes("a process dies");
                        leader.kill();
                        break;
                    }
                    () = self.world.sleep.frozen() => {
                        self.sleep(&leader).await;
                        continue;
                    }
                    () = tokio::time::sleep(freezes.unwrap_or(LOOK)) => {}
                }
                if self.is_gone() {
                    leader.kill();
                    break;
                }
                if freezes.is_some() && self.world.trouble().processes.freezes > 0.0 {
                    self.freeze(leader);
                    break;
                }
            }
            let runs_out = self.random.between(LEASE.0, LEASE.1);
            tokio::time::sleep(runs_out).await;
        }
    }

    /// Whether there is no process, and none will be.
    fn is_gone(&self) -> bool {
        self.world.lies.are_told(Lie::NobodyLeads)
    }

    fn start(&mut self) -> Process {
        let name = format!("{OPERATOR}{}", self.started);
        self.started += 1;
        let most = self.world.trouble().processes.skew.as_secs();
        let skew = self.random.below(2 * most.unsigned_abs() + 1) as i64 - most;
        self.world.hold_lease(&name);
        Process::start(&self.world, &name, SignedDuration::from_secs(skew))
    }

    /// When the next stand-still comes, if one comes before it is asked again.
    fn next_freeze(&mut self) -> Option<Duration> {
        let rate = self.world.trouble().processes.freezes;
        let is_near = self.random.chance(rate * LOOK.as_secs_f64() / DAY.as_secs_f64());
        is_near.then(|| self.random.between(Duration::ZERO, LOOK))
    }

    /// It stands still, and so does whoever could lead in its place: nobody takes the Lease.
    async fn sleep(&self, leader: &Process) {
        self.world
            .log
            .step(format!("{} sleeps with its cluster", leader.name));
        leader.gate.freeze();
        self.world.sleep.pass().await;
        self.world.log.step(format!("{} wakes, and leads", leader.name));
        leader.gate.thaw();
    }

    /// It stands still until after another leads, then acts a little more, and notices.
    fn freeze(&mut self, leader: Process) {
        let frozen = self.random.between(FROZEN.0, FROZEN.1);
        let stale = self.random.between(Duration::ZERO, STALE);
        self.world
            .log
            .step(format!("{} stands still for {} s", leader.name, frozen.as_secs()));
        self.world.log.sometimes("a process stands still");
        leader.gate.freeze();
        let log = self.world.log.clone();
        tokio::spawn(async move {
            tokio::time::sleep(frozen).await;
            log.step(format!("{} goes on, and leads no more", leader.name));
            leader.gate.thaw();
            tokio::time::sleep(stale).await;
            log.step(format!("{} notices, and ends", leader.name));
            leader.kill();
        });
    }
}
