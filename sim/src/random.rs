//! Random numbers, all of them out of one seed.

use std::time::Duration;

/// Random numbers. Whoever needs some takes a stream under a name, so that one who needs more does not change what others get.
#[derive(Clone, Debug)]
pub struct Random {
    origin: u64,
    state: u64,
}

impl Random {
    /// Of a seed.
    pub fn of(seed: u64) -> Self {
        let origin = mix(seed ^ 0x51_7e_a5_0f_a9_77_c4_11);
        Self {
            origin,
            state: origin,
        }
    }

    /// A stream of its own.
    #[must_use]
    pub fn stream(&self, name: &str) -> Self {
        let fold = |hash: u64, byte: u8| mix(hash ^ u64::from(byte));
        let origin = name.bytes().fold(self.origin, fold);
        Self {
            origin,
            state: origin,
        }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or_default()
    }

    /// Whether what happens with that probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.number() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// A time between these, in milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_millis() as u64, most.as_millis() as u64);
        Duration::from_millis(least + self.below(most.saturating_sub(least) + 1))
    }

    /// One of them; none where there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }
}

/// The finalizer of SplitMix64.
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_streams_do_not_disturb_each_other() {
        let numbers = |random: &mut Random| [random.number(), random.number(), random.number()];
        assert_eq!(numbers(&mut Random::of(7)), numbers(&mut Random::of(7)));
        assert_ne!(numbers(&mut Random::of(7)), numbers(&mut Random::of(8)));
        let mut seed = Random::of(7);
        let before = numbers(&mut seed.stream("pods"));
        seed.number();
        assert_eq!(numbers(&mut seed.stream("pods")), before);
        assert_ne!(numbers(&mut seed.stream("people")), before);
    }

    #[test]
    fn chances_are_about_what_is_said() {
        let mut random = Random::of(1);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(!random.chance(0.0) && random.chance(1.0));
    }
}
