//! When pods that were found outside of their region are deleted. Whoever places them may do so again at once, so each
//! round waits longer than the one before: what deletes pods must never become a loop.

use jiff::{SignedDuration, Timestamp};

/// Pods that are deleted in one round.
pub const AT_ONCE: usize = 5;
/// Pause after the first round; doubled with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// Longest pause between rounds. Twice that without a round, and the next one counts as the first.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// The rounds of one org so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// How many followed each other, and when the last was.
    last: Option<(u32, Timestamp)>,
}

impl Rounds {
    /// Whether the next round may begin at `now`; else how long it has to wait.
    pub fn wait(&self, now: Timestamp) -> Option<SignedDuration> {
        let (rounds, at) = self.last?;
        let left = pause_after(rounds) - now.duration_since(at);
        left.is_positive().then_some(left)
    }

    /// A round took place.
    pub fn took_place(&mut self, now: Timestamp) {
        let before = self
            .last
            .filter(|(_, at)| now.duration_since(*at) < LONGEST_PAUSE * 2);
        let rounds = before.map_or(0, |(rounds, _)| rounds);
        self.last = Some((rounds.saturating_add(1), now));
    }
}

fn pause_after(rounds: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(rounds.saturating_sub(1).min(16));
    (FIRST_PAUSE * factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[test]
    fn p1_pods_that_come_back_elsewhere_are_deleted_ever_more_rarely() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.wait(at(0)), None);
        let mut took_place = Vec::new();
        for minute in 0..24 * 60 {
            if rounds.wait(at(minute)).is_none() {
                rounds.took_place(at(minute));
                took_place.push(minute);
            }
        }
        assert_eq!(took_place[..6], [0, 1, 3, 7, 15, 31]);
        assert!(took_place.len() < 32, "{took_place:?}");
        assert!(took_place.windows(2).all(|pair| pair[1] - pair[0] <= 60));
    }

    #[test]
    fn after_a_long_calm_the_next_round_counts_as_the_first() {
        let mut rounds = Rounds::default();
        for minute in [0, 1, 3, 7] {
            rounds.took_place(at(minute));
        }
        rounds.took_place(at(7 + 120));
        assert_eq!(rounds.wait(at(7 + 120)), Some(FIRST_PAUSE));
    }
}
