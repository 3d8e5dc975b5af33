//! The only source of randomness: everything random follows from a seed.

/// A small generator (splitmix64): the same seed gives the same numbers in every build and version, which a library's
/// generator does not promise.
#[derive(Clone, Debug)]
pub(super) struct Lottery {
    state: u64,
}

/// Chance that something survives, percent: 0 never, 100 always.
pub(super) type Percent = u8;

impl Lottery {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`; 0 if there is none.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Draws one outcome with the given chance.
    pub(super) fn wins(&mut self, chance: Percent) -> bool {
        self.below(100) < u64::from(chance)
    }

    /// Returns how many of the first `count` things survive if they do so in order.
    pub(super) fn prefix(&mut self, count: usize, chance: Percent) -> usize {
        match chance {
            0 => 0,
            100.. => count,
            _ => usize::try_from(self.below(count as u64 + 1)).unwrap_or(count),
        }
    }

    /// Returns which sectors of a write of `count` sectors arrive: all or none, its beginning, or each independently.
    pub(super) fn arrivals(&mut self, count: usize, chance: Percent) -> Vec<bool> {
        match self.below(3) {
            0 => vec![self.wins(chance); count],
            1 => {
                let arrived = self.prefix(count, chance);
                (0..count).map(|i| i < arrived).collect()
            }
            _ => (0..count).map(|_| self.wins(chance)).collect(),
        }
    }
}
