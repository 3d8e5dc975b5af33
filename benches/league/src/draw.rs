//! The source of all random numbers, so that a seed repeats a run. The Java driver has the same functions.

/// Mixes a word so that near inputs give far outputs (the finaliser of SplitMix64).
pub(crate) fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of numbers from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Returns a sequence for a seed and a purpose, so that two uses of one seed are independent.
    pub(crate) fn of(seed: u64, purpose: &str) -> Self {
        Self::new(seed ^ hash(purpose.as_bytes()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Returns a number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Returns the body of the event `sequence`: its number, then bytes and a length drawn from both. 24 to `largest`
/// bytes.
pub(crate) fn body(seed: u64, sequence: u64, largest: u64) -> Vec<u8> {
    let mut draw = Draw::new(seed ^ mix(sequence));
    let len = 24 + draw.below(largest.max(25) - 24) as usize;
    let mut body = sequence.to_be_bytes().to_vec();
    while body.len() < len {
        body.extend_from_slice(&draw.next().to_be_bytes());
    }
    body.truncate(len);
    body
}

/// Returns the number in a body; nothing of an altered one can be trusted.
pub(crate) fn claimed(body: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(body.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_repeated_by_its_seed_and_differs_from_every_other() {
        assert_eq!(body(1, 7, 600), body(1, 7, 600));
        assert_ne!(hash(&body(1, 7, 600)), hash(&body(1, 8, 600)));
        assert_ne!(hash(&body(1, 7, 600)), hash(&body(2, 7, 600)));
        assert_eq!(claimed(&body(1, 7, 600)), Some(7));
        assert_eq!(claimed(&[1, 2]), None);
        let lens: Vec<usize> = (0..1000).map(|n| body(3, n, 600).len()).collect();
        assert!(lens.iter().all(|len| (24..600).contains(len)), "{lens:?}");
    }

    #[test]
    fn the_mixing_is_that_of_splitmix64() {
        assert_eq!(mix(1), 0x910A_2DEC_8902_5CC1);
    }
}
