//! How long a mover may run, and how long its credentials live.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A run ends after this long: below the engine's 23 h wait between marking and freeing a pack, so that a writer never
/// meets a pack that a pruner frees.
pub const RUN_DEADLINE: Duration = Duration::from_hours(20);
/// A restore ends after this long: the longest RTO that a BackupSchedule may promise is longer, a stuck mover's use is not.
pub const RESTORE_DEADLINE: Duration = Duration::from_hours(20);
/// Life of a mover's credentials: what every role allows without its own MaxSessionDuration.
pub const CREDENTIALS_LIFETIME: Duration = Duration::from_hours(1);

/// When the credentials of a mover have to be renewed: at half their life.
///
/// `issued_at` is when they were issued. The answer may lie in the past.
pub fn renew_at(issued_at: Timestamp) -> Timestamp {
    let half = SignedDuration::try_from(CREDENTIALS_LIFETIME / 2).unwrap_or_default();
    issued_at.checked_add(half).unwrap_or(issued_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_at_half_their_life() {
        let at = Timestamp::UNIX_EPOCH;
        assert_eq!(renew_at(at), "1970-01-01T00:30:00Z".parse().unwrap());
    }
}
