//! What goes wrong in one world: drawn once from its seed.

use std::{sync::Mutex, time::Duration};

use jiff::SignedDuration;

use crate::{aws::Rates, faults::ApiRates, lock::lock, random::Random};

/// How likely each class of faults is on.
const ON: f64 = 0.25;

/// What goes wrong; by default nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trouble {
    /// Between processes and the API server.
    pub api: ApiRates,
    /// Between anybody and AWS.
    pub aws: Rates,
    /// With pods.
    pub pods: PodRates,
    /// With the operator's processes.
    pub processes: ProcessRates,
    /// With hooks.
    pub hooks: HookRates,
    /// AWS is away for hours, now and then.
    pub outages: bool,
    /// Keys are disabled for hours, now and then.
    pub keys: bool,
}

/// How pods fare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodRates {
    /// The longest that a pod takes to start.
    pub start: Duration,
    /// The longest that a mover works.
    pub work: Duration,
    /// A mover dies at one of its writes.
    pub killed: f64,
    /// What a mover says at its end is not kept.
    pub speechless: f64,
    /// A pod is removed while it runs.
    pub evicted: f64,
}

/// How the operator's processes fare.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessRates {
    /// A process dies at a write.
    pub crash: f64,
    /// How often a day one stands still for a while.
    pub freezes: f64,
    /// How far a clock is off at most.
    pub skew: SignedDuration,
}

/// How hooks fare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HookRates {
    /// The longest that one takes.
    pub longest: Duration,
    /// One never ends by itself.
    pub hangs: f64,
    /// The connection to one breaks while it runs.
    pub lost: f64,
}

impl Default for HookRates {
    fn default() -> Self {
        Self {
            longest: Duration::from_secs(3),
            hangs: 0.0,
            lost: 0.0,
        }
    }
}

impl Default for PodRates {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(5),
            work: Duration::from_secs(60),
            killed: 0.0,
            speechless: 0.0,
            evicted: 0.0,
        }
    }
}

impl Trouble {
    /// Each class is on or off, at a rate of its own.
    pub fn drawn(random: &Random) -> Self {
        let mut random = random.stream("trouble");
        let mut rate = |most: f64| {
            let (is_on, share) = (random.chance(ON), random.number() as f64 / u64::MAX as f64);
            if is_on { most * share } else { 0.0 }
        };
        let millis = |rate: f64| Duration::from_millis(rate as u64);
        Self {
            api: ApiRates {
                latency: millis(rate(100.0)),
                busy: rate(0.03),
                dropped: rate(0.03),
                lost: rate(0.03),
                cut: rate(0.02),
                expired: rate(0.2),
                stale: rate(0.5),
                lag: millis(rate(200.0)),
                far_behind: rate(0.01),
            },
            aws: Rates {
                unavailable: rate(0.05),
                lost: rate(0.05),
                latency: millis(rate(500.0)),
            },
            pods: PodRates {
                start: Duration::from_millis(5_000 + rate(55_000.0) as u64),
                work: Duration::from_secs(60 + rate(7_200.0) as u64),
                killed: rate(0.05),
                speechless: rate(0.02),
                evicted: rate(0.02),
            },
            processes: ProcessRates {
                crash: rate(0.01),
                freezes: rate(4.0),
                skew: SignedDuration::from_secs(rate(600.0) as i64),
            },
            outages: rate(1.0) > 0.0,
            keys: rate(1.0) > 0.0,
            hooks: HookRates {
                longest: Duration::from_secs(3 + rate(1_200.0) as u64),
                hangs: rate(0.1),
                lost: rate(0.3),
            },
        }
    }
}

/// Strikes processes at their writes.
#[derive(Debug)]
pub struct Doom {
    random: Mutex<Random>,
    rate: Mutex<f64>,
}

/// How it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Before anything is done.
    Before,
    /// It is done, and nobody hears of it.
    After,
}

impl Doom {
    /// That never strikes, until it is said otherwise.
    pub fn new(random: Random) -> Self {
        Self {
            random: Mutex::new(random),
            rate: Mutex::new(0.0),
        }
    }

    /// It strikes this often from now on.
    pub fn set(&self, rate: f64) {
        *lock(&self.rate) = rate;
    }

    /// Whether it strikes now.
    pub fn strikes(&self) -> Option<Blow> {
        let rate = *lock(&self.rate);
        if rate == 0.0 {
            return None;
        }
        let mut random = lock(&self.random);
        let blow = if random.chance(0.5) {
            Blow::Before
        } else {
            Blow::After
        };
        random.chance(rate).then_some(blow)
    }
}
