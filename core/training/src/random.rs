//! Seeded random numbers that are the same on every machine.

/// A generator of random numbers (SplitMix64), by its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

/// One output of SplitMix64 for a state.
pub(crate) fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What is added to the state for each number.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            state: mixed(seed.wrapping_add(STEP)),
        }
    }

    /// A generator of its own for each of several `parts` of one seed.
    pub fn of_parts(seed: u64, parts: &[u64]) -> Self {
        let mix = |state, part: &u64| mixed(u64::wrapping_add(state, STEP) ^ mixed(*part));
        Self::new(parts.iter().fold(seed, mix))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }

    /// A number of `0..end`; `end` is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// A number of `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of the normal distribution, by the sum of twelve uniform ones less 6: within six
    /// deviations, and of the same bits everywhere.
    pub fn normal(&mut self) -> f32 {
        ((0..12).map(|_| self.unit()).sum::<f64>() - 6.0) as f32
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_parts_give_streams_of_their_own() {
        let first = |mut random: Random| random.bits();
        assert_eq!(first(Random::new(7)), first(Random::new(7)));
        assert_ne!(first(Random::new(7)), first(Random::new(8)));
        let parts = [[0, 1], [1, 0], [1, 1]].map(|parts| first(Random::of_parts(7, &parts)));
        assert!(parts[0] != parts[1] && parts[1] != parts[2] && parts[0] != parts[2]);
    }

    #[test]
    fn numbers_are_spread_as_promised() {
        let mut random = Random::new(1);
        let normal: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f32>() / 2e4;
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 2e4;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05);
        let mut counts = [0; 5];
        (0..10_000).for_each(|_| counts[random.below(5)] += 1);
        assert!(counts.iter().all(|count| (1800..2200).contains(count)));
        let mut items: Vec<usize> = (0..100).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
