//! The server behind its lock: what it holds, what it goes by, and who listens.

use std::sync::Arc;

use jiff::Timestamp;
use kube::core::Status;
use serde_json::Value;
use tray_ports::Clock;

use super::{
    admission::{Admission, Review},
    faults::Faults,
    fields::Manager,
    kinds::ServedKind,
    listeners::Listeners,
    object::{Name, Stored},
    request::Verb,
    store::{Store, Written},
    trace::Trace,
    watch::Pace,
};

/// Letters of names that are made up: none that spell words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The server.
pub(super) struct State {
    pub(super) store: Store,
    pub(super) listeners: Listeners,
    pub(super) faults: Box<dyn Faults>,
    pub(super) admission: Option<Box<dyn Admission>>,
    pub(super) trace: Trace,
    pub(super) pace: Pace,
    /// Whether objects are shown with `managedFields`.
    pub(super) shows_owners: bool,
    clock: Arc<dyn Clock>,
    random: Box<dyn FnMut() -> u64 + Send>,
}

/// Who writes, and what of the object.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) user: String,
    pub(super) manager: Manager,
    pub(super) part: Part,
}

/// What of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but a status that has a subresource of its own.
    Main,
    /// The status alone.
    Status,
    /// Everything: the world's own writes.
    Whole,
}

impl State {
    pub(super) fn new(clock: Arc<dyn Clock>, random: Box<dyn FnMut() -> u64 + Send>) -> Self {
        Self {
            store: Store::default(),
            listeners: Listeners::default(),
            faults: Box::new(super::faults::NoFaults),
            admission: None,
            trace: Trace::Kept(Vec::new()),
            pace: Pace::default(),
            shows_owners: true,
            clock,
            random,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An identifier that no other object has.
    pub(super) fn uid(&mut self) -> String {
        let (high, low) = ((self.random)(), (self.random)());
        // Version 4, variant 1.
        let third = 0x4000 | (high & 0x0fff);
        let fourth = 0x8000 | (low >> 48 & 0x3fff);
        format!(
            "{:08x}-{:04x}-{third:04x}-{fourth:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            low & 0xffff_ffff_ffff
        )
    }

    /// What is appended to a name that is made up.
    pub(super) fn suffix(&mut self) -> String {
        let mut number = (self.random)();
        let letters = std::iter::repeat_with(|| {
            let letter = LETTERS[(number % 27) as usize];
            number /= 27;
            char::from(letter)
        });
        letters.take(5).collect()
    }

    /// Writes an object and tells who listens.
    pub(super) fn put(
        &mut self,
        kind: &ServedKind,
        object: Value,
        owners: Arc<Vec<Value>>,
    ) -> Option<Arc<Stored>> {
        let now = self.now();
        let written = self.store.put(&kind.resource(), object, owners, now);
        self.tell(kind, &written);
        written.new.clone()
    }

    /// Takes an object away and tells who listens: what it was last.
    pub(super) fn take(&mut self, kind: &ServedKind, name: &Name) -> Option<Arc<Stored>> {
        let now = self.now();
        let written = self.store.remove(&kind.resource(), name, now)?;
        self.tell(kind, &written);
        written.old.clone()
    }

    fn tell(&mut self, kind: &ServedKind, written: &Arc<Written>) {
        self.listeners
            .tell(&kind.resource(), written, self.faults.as_mut());
    }

    /// Asks whoever else may refuse a write.
    pub(super) fn admit(
        &mut self,
        kind: &ServedKind,
        writer: &Writer,
        verb: Verb,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Box<Status>> {
        let admission = self.admission.as_mut().filter(|_| writer.part != Part::Whole);
        let Some(admission) = admission else {
            return Ok(());
        };
        let review = Review {
            user: &writer.user,
            verb,
            kind,
            subresource: if writer.part == Part::Status { "status" } else { "" },
            old,
            new,
        };
        admission.admit(&review)
    }
}
