//! The time of a runtime whose clock is paused: it stands still while anything can be done, and jumps to the next timer.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tray_ports::Clock;

/// A clock that goes as the runtime's timers do.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    start: Instant,
    epoch: Timestamp,
}

impl RuntimeClock {
    /// It is `epoch` now. To be called inside the runtime.
    pub fn from(epoch: Timestamp) -> Self {
        Self {
            start: Instant::now(),
            epoch,
        }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}
