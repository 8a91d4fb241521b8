//! The clock of the machine: the only place that reads it.

use jiff::Timestamp;
use tray_ports::Clock;

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
