//! Random numbers that follow from the seed and from their purpose.

use millpond::internal::base::random::{Random, SeededRandom};

/// A generator for one purpose: the same seed and the same path give the same numbers, whatever
/// else was drawn in between and in any process.
pub(super) struct SeedStream(SeededRandom);

/// The purposes of numbers; the first part of every path.
pub(super) mod purpose {
    /// The settings of the channel.
    pub(crate) const CHANNEL: u64 = 1;
    /// The contents of a put transaction.
    pub(crate) const PUT: u64 = 2;
    /// The bytes of one event.
    pub(crate) const EVENT: u64 = 3;
    /// The next step of a taker.
    pub(crate) const TAKE: u64 = 4;
    /// The end of a child run.
    pub(crate) const LIFE: u64 = 5;
}

impl SeedStream {
    /// Returns the numbers for `path` under `seed`.
    pub(super) fn new(seed: u64, path: &[u64]) -> Self {
        let state = path.iter().fold(seed, |state, part| {
            SeededRandom::new(state ^ part.rotate_left(32)).next_u64().wrapping_add(*part)
        });
        Self(SeededRandom::new(state))
    }

    /// Returns 64 bits.
    pub(super) fn bits(&self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number below `end`; 0 when `end` is 0.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// Returns a number from `from` to `to`, both included.
    pub(super) fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// Returns true once in `n` times.
    pub(super) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Returns one of `choices`.
    pub(super) fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_path_gives_the_same_numbers_and_another_path_others() {
        let drawn = |path: &[u64]| {
            let draw = SeedStream::new(7, path);
            [draw.bits(), draw.bits()]
        };
        assert_eq!(drawn(&[purpose::PUT, 1, 2]), drawn(&[purpose::PUT, 1, 2]));
        assert_ne!(drawn(&[purpose::PUT, 1, 2]), drawn(&[purpose::PUT, 2, 1]));
        assert_ne!(drawn(&[purpose::PUT, 1]), drawn(&[purpose::EVENT, 1]));
    }
}
