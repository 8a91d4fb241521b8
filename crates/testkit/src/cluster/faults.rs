//! What goes wrong between a client and the server. Whoever decides it is asked in the order of the requests, so that the
//! same answers make the same world.

use std::time::Duration;

use jiff::Timestamp;
use kube::core::Status;

use super::request::Call;

/// Decides what goes wrong.
pub trait Faults: Send {
    /// What becomes of a request. Asked once for each, when it comes in.
    fn fate(&mut self, call: &Call, now: Timestamp) -> Fate;

    /// For how long a watch is not told of a write that was done now. What comes after it waits as long: a watch tells in
    /// order.
    fn lag(&mut self, watch: &Call, now: Timestamp) -> Duration {
        let _ = (watch, now);
        Duration::ZERO
    }
}

/// Nothing goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn fate(&mut self, _: &Call, _: Timestamp) -> Fate {
        Fate::default()
    }
}

impl<F: FnMut(&Call) -> Fate + Send> Faults for F {
    fn fate(&mut self, call: &Call, _: Timestamp) -> Fate {
        self(call)
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// How long it is on its way to the server: what is done meanwhile is done before it.
    pub before: Duration,
    /// What becomes of it there.
    pub outcome: Outcome,
    /// How long the answer is on its way.
    pub after: Duration,
    /// A watch ends after that time, whatever it was asked for.
    pub cut: Option<(Duration, Cut)>,
    /// A watch that begins anew is shown what there was that long ago, as far back as the server knows, and then what came
    /// after: an API server whose cache is behind.
    pub stale_by: Duration,
}

impl Fate {
    /// That outcome, at once.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            ..Self::default()
        }
    }
}

/// What becomes of a request at the server.
#[derive(Clone, Debug, Default)]
pub enum Outcome {
    /// It is done, and answered.
    #[default]
    Done,
    /// It is answered with this, and nothing is done; [`super::busy`] makes the usual ones.
    Refused(Box<Status>),
    /// The connection breaks before anything is done.
    Dropped,
    /// It is done, and the connection breaks before the answer.
    AnswerLost,
    /// Nothing is done and nothing is said, for ever.
    Unanswered,
    /// A watch that reads on is told that what it knows is too old. Anything else is done.
    Expired,
}

/// How a watch ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server ends it in order.
    Ended,
    /// The connection breaks.
    Broken,
    /// It says nothing more, and does not end.
    Silent,
}
