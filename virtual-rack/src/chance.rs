//! Chance from a seed: the same seed gives the same rack, on every host and in every version.

/// SplitMix64, by Steele, Lea and Flood: ten lines that never change, which is what a seed that is
/// kept in a report needs; nothing here is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// Begins at a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where `end` is 0. The bias is below one in a billion for the small
    /// ends that are asked for.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn hits(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// One of these; `None` where there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let end = u64::try_from(from.len()).unwrap_or(u64::MAX);
        from.get(usize::try_from(self.below(end)).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_numbers_for_ever() {
        let mut chance = Chance::seeded(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| chance.draw()).collect();
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, published);
    }

    #[test]
    fn a_share_of_a_hundred_is_always_and_a_pick_of_nothing_is_nothing() {
        let mut chance = Chance::seeded(7);
        assert!((0..1000).all(|_| chance.hits(100)));
        let hits = (0..10_000).filter(|_| chance.hits(20)).count();
        assert!((1_700..2_300).contains(&hits), "{hits} of 10000 at 20 percent");
        assert_eq!(chance.pick::<u8>(&[]), None);
    }
}
