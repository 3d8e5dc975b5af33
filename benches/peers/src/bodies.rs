//! The bodies that are put, and how a returned one is recognised.

use stores::Bytes;

/// Bytes of all different bodies together: they count as memory of the measured store.
const POOL_BYTES: usize = 1 << 20;

/// What was put, or what came: how many, and the sum of their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    sum: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, sum: u64) {
        self.events += 1;
        self.sum = self.sum.wrapping_add(sum);
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self { events: self.events + other.events, sum: self.sum.wrapping_add(other.sum) }
    }

    /// What is wrong if this was put and `came` came out.
    pub(crate) fn against(self, came: Self) -> Result<(), String> {
        if self.events != came.events {
            return Err(format!("{} events were put and {} came out", self.events, came.events));
        }
        match self.sum == came.sum {
            true => Ok(()),
            false => Err(format!("{} events came out, with other bytes", came.events)),
        }
    }
}

/// Over every byte; so quick that it says little about who is measured.
pub(crate) fn sum(body: &[u8]) -> u64 {
    let (words, rest) = body.as_chunks::<8>();
    let sum = words
        .iter()
        .fold(body.len() as u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Different bodies of one length that no compression shortens.
pub(crate) struct Pool {
    bodies: Vec<Bytes>,
    sums: Vec<u64>,
}

impl Pool {
    pub(crate) fn new(body: usize) -> Self {
        let count = (POOL_BYTES / body).clamp(64, 4096);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let one = |number: usize| {
            let mut bytes: Vec<u8> = (number as u32).to_le_bytes().to_vec();
            while bytes.len() < body {
                bytes.extend_from_slice(&draw());
            }
            bytes.truncate(body);
            // For ever: a body that is put is then shared without a count.
            Bytes::from_static(bytes.leak())
        };
        let bodies: Vec<Bytes> = (0..count).map(one).collect();
        let sums = bodies.iter().map(|body| sum(body)).collect();
        Self { bodies, sums }
    }

    /// Fills `batch` with the `count` bodies from number `first` on, and counts them.
    pub(crate) fn fill(&self, batch: &mut Vec<Bytes>, first: u64, count: usize) -> Tally {
        batch.clear();
        let (mut tally, len) = (Tally::default(), self.bodies.len());
        let mut at = (first % len as u64) as usize;
        for _ in 0..count {
            batch.push(self.bodies[at].clone());
            tally.add(self.sums[at]);
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        tally
    }

    /// All of the first `count`.
    pub(crate) fn tally(&self, count: u64) -> Tally {
        let mut tally = Tally::default();
        (0..count).for_each(|n| tally.add(self.sums[(n % self.sums.len() as u64) as usize]));
        tally
    }

    /// Whether it is one of them, byte for byte.
    pub(crate) fn knows(&self, body: &[u8]) -> bool {
        let number = body.first_chunk().map(|word| u32::from_le_bytes(*word) as usize);
        number.and_then(|number| self.bodies.get(number)).is_some_and(|known| known == body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_and_any_other_is_not() {
        let pool = Pool::new(61);
        let mut batch = Vec::new();
        let tally = pool.fill(&mut batch, 4000, 200);
        let mut came = Tally::default();
        for body in &batch {
            assert!(pool.knows(body));
            came.add(sum(body));
            for at in [0, 5, 60] {
                let mut other = body.to_vec();
                other[at] ^= 4;
                assert!(!pool.knows(&other));
                assert_ne!(sum(&other), sum(body));
            }
        }
        assert_eq!(tally.against(came), Ok(()));
        assert_eq!(pool.tally(200), pool.fill(&mut batch, 0, 200));
    }

    #[test]
    fn events_that_are_missing_or_altered_are_said() {
        let (mut put, mut came) = (Tally::default(), Tally::default());
        put.add(7);
        assert!(put.against(came).unwrap_err().contains("1 events were put and 0 came"));
        came.add(8);
        assert!(put.against(came).unwrap_err().contains("other bytes"));
    }
}
