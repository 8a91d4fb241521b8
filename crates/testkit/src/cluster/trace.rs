//! What was asked, in order: the same world gives the same trace.

use jiff::Timestamp;

use super::request::Verb;

/// A request and what it was answered with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Traced {
    /// When the server came to it.
    pub at: Timestamp,
    /// Who asked.
    pub user: String,
    /// What was to be done.
    pub verb: Verb,
    /// Path and query.
    pub path: String,
    /// Code of the answer; 0 = none was given, and nothing was done.
    pub code: u16,
    /// The answer did not reach the caller.
    pub lost: bool,
}

/// Is told of every request when it is answered, instead of a trace that is kept. Called while the server is locked: it must not
/// call it.
pub trait Observer: Send {
    /// This was asked, and answered so.
    fn asked(&mut self, asked: &Traced);
}

impl<F: FnMut(&Traced) + Send> Observer for F {
    fn asked(&mut self, asked: &Traced) {
        self(asked);
    }
}

/// Who takes down what was asked.
pub(super) enum Trace {
    /// It is kept.
    Kept(Vec<Traced>),
    /// Somebody is told.
    Told(Box<dyn Observer>),
}

impl Trace {
    pub(super) fn note(&mut self, asked: Traced) {
        match self {
            Self::Kept(trace) => trace.push(asked),
            Self::Told(observer) => observer.asked(&asked),
        }
    }

    pub(super) fn kept(&mut self) -> Option<&mut Vec<Traced>> {
        match self {
            Self::Kept(trace) => Some(trace),
            Self::Told(_) => None,
        }
    }
}
