//! A clock that tests put forward.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use tray_operator::adapters::clock::SystemClock;
use tray_ports::Clock;

/// The system's clock, put forward by tests.
#[derive(Default)]
pub(crate) struct ShiftedClock {
    ahead: Mutex<SignedDuration>,
}

impl ShiftedClock {
    /// By that much more.
    pub(crate) fn put_forward(&self, by: SignedDuration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + *self.ahead.lock().unwrap()
    }
}
