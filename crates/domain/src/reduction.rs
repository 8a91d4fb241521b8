//! A retention that becomes shorter waits for a day before anything goes by it, so that a bad change can be taken back.

use jiff::{SignedDuration, Timestamp};

/// How long a shorter value waits.
pub const WAIT: SignedDuration = SignedDuration::from_hours(24);

/// A value that says how much or how long something is kept, as it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Nothing goes that this keeps.
    pub in_force: i32,
    /// A smaller value that waits.
    pub pending: Option<Pending>,
}

/// A smaller value that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The value.
    pub to: i32,
    /// When it is in force.
    pub at: Timestamp,
}

impl InForce {
    /// Nothing is known of what was in force before: `value` is, at once.
    pub fn new(value: i32) -> Self {
        Self {
            in_force: value,
            pending: None,
        }
    }

    /// What is in force, and what waits, now that `wanted` is asked for.
    ///
    /// A larger value is in force at once. A smaller one waits; while it does, one that is larger than it but still
    /// smaller than what is in force takes its place without waiting anew, since it takes away no more. One that is
    /// smaller still waits from the beginning.
    #[must_use]
    pub fn next(self, wanted: i32, now: Timestamp) -> Self {
        if wanted >= self.in_force {
            return Self::new(wanted);
        }
        let at = match self.pending {
            Some(pending) if pending.to <= wanted => pending.at,
            _ => now.checked_add(WAIT).unwrap_or(Timestamp::MAX),
        };
        if at <= now {
            return Self::new(wanted);
        }
        Self {
            in_force: self.in_force,
            pending: Some(Pending { to: wanted, at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_second(3600 * hour).unwrap()
    }
    fn pending(in_force: i32, to: i32, at: i64) -> InForce {
        InForce {
            in_force,
            pending: Some(Pending { to, at: hour(at) }),
        }
    }

    #[test]
    fn a_smaller_value_waits_for_a_day_and_a_larger_one_does_not() {
        let held = InForce::new(168);
        assert_eq!(held.next(720, hour(0)), InForce::new(720));
        let waiting = held.next(24, hour(0));
        assert_eq!(waiting, pending(168, 24, 24));
        assert_eq!(waiting.next(24, hour(23)), waiting);
        assert_eq!(waiting.next(24, hour(24)), InForce::new(24));
        assert_eq!(waiting.next(168, hour(23)), InForce::new(168), "taken back");
    }

    #[test]
    fn only_what_takes_more_away_waits_anew() {
        let waiting = pending(168, 48, 24);
        assert_eq!(waiting.next(72, hour(10)), pending(168, 72, 24));
        assert_eq!(waiting.next(24, hour(10)), pending(168, 24, 34));
    }

    proptest! {
        /// Whatever is asked for when: what was wanted at any time of the last day is kept, and what is wanted for a
        /// day is in force.
        #[test]
        fn what_was_wanted_within_a_day_is_kept(asked in prop::collection::vec((0_i64..30, 1_i32..800), 1..40)) {
            let (mut now, mut held) = (0, InForce::new(asked[0].1));
            let mut wanted = vec![(0, asked[0].1)];
            for (pause, value) in asked {
                now += pause;
                held = held.next(value, hour(now));
                wanted.push((now, value));
                let of_the_day = wanted.iter().enumerate().filter(|(n, _)| {
                    // Wanted until the next was.
                    wanted.get(n + 1).is_none_or(|(until, _)| now - until < 24)
                });
                let most = of_the_day.map(|(_, (_, value))| *value).max().unwrap();
                prop_assert!(held.in_force >= most, "{held:?} after {wanted:?}");
            }
            let last = wanted.last().unwrap().1;
            let later = held.next(last, hour(now + 24));
            prop_assert_eq!(later, InForce::new(last));
        }
    }
}
