//! What happened: a hash over all of it, the last steps in words, and how often each rare thing did.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use tray_ports::Clock;

use crate::lock::lock;

/// Steps that are kept in words.
const KEPT: usize = 50;

/// One step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
}

/// What happened in one world.
pub struct Log {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    hash: u64,
    count: u64,
    steps: VecDeque<Step>,
    sometimes: BTreeMap<&'static str, u64>,
    broken: Vec<Broken>,
    /// The steps before the first of them.
    led_there: Vec<Step>,
    sink: Option<Box<dyn std::io::Write + Send>>,
}

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Number of the invariant, as `docs/simulation.md` counts them.
    pub invariant: u8,
    /// What was found.
    pub what: String,
    /// When.
    pub at: Timestamp,
}

impl Log {
    /// Nothing has happened yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Has every step be written there, too.
    pub fn write_to(&self, sink: impl std::io::Write + Send + 'static) {
        self.kept().sink = Some(Box::new(sink));
    }

    /// Something happened that is worth a line.
    pub fn step(&self, what: impl Into<String>) {
        let (at, what) = (self.clock.now(), what.into());
        let mut kept = self.kept();
        kept.fold(&at, &what);
        if let Some(sink) = &mut kept.sink {
            let _ = writeln!(sink, "{at} {what}");
        }
        if kept.steps.len() == KEPT {
            kept.steps.pop_front();
        }
        kept.steps.push_back(Step { at, what });
    }

    /// Something happened that counts for the hash alone.
    pub fn quiet(&self, what: &str) {
        let at = self.clock.now();
        let mut kept = self.kept();
        kept.fold(&at, what);
    }

    /// A rare path was taken.
    pub fn sometimes(&self, what: &'static str) {
        *self.kept().sometimes.entry(what).or_default() += 1;
    }

    /// Something that must never be was found. The same is told once.
    pub fn broken(&self, invariant: u8, what: impl Into<String>) {
        let (at, what) = (self.clock.now(), what.into());
        let mut kept = self.kept();
        if kept.broken.is_empty() {
            kept.led_there = kept.steps.iter().cloned().collect();
        }
        if !kept.broken.iter().any(|known| known.what == what) {
            kept.broken.push(Broken { invariant, what, at });
        }
    }

    /// What was found that must never be.
    pub fn found(&self) -> Vec<Broken> {
        self.kept().broken.clone()
    }

    /// The hash over all that happened, and how much it was.
    pub fn hash(&self) -> (u64, u64) {
        let kept = self.kept();
        (kept.hash, kept.count)
    }

    /// The last steps in words before the first thing that must never be was found.
    pub fn led_there(&self) -> Vec<Step> {
        self.kept().led_there.clone()
    }

    /// How often each rare path was taken.
    pub fn counted(&self) -> BTreeMap<&'static str, u64> {
        self.kept().sometimes.clone()
    }
}

impl Kept {
    fn fold(&mut self, at: &Timestamp, what: &str) {
        self.count += 1;
        let time = at.as_nanosecond().to_le_bytes();
        for byte in time.iter().chain(what.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Steps as text, a line each.
pub fn in_words(steps: &[Step]) -> String {
    let mut text = String::new();
    for Step { at, what } in steps {
        let _ = writeln!(text, "  {at} {what}");
    }
    text
}
