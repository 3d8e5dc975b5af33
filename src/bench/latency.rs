//! A histogram of times whose error is bounded: every octave has the same number of steps.

/// Steps of an octave, as a power of two.
const STEP_BITS: u32 = 7;
const STEPS: u64 = 1 << STEP_BITS;

/// Longer times count as this: 18 minutes. A commit gives up after 90 s.
const LONGEST_NS: u64 = 1 << 40;

/// Times, each known to one part in 128.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
    longest_ns: u64,
}

/// The step that a time belongs to.
fn step(ns: u64) -> usize {
    let octave = (u64::BITS - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (u64::from(octave) * STEPS + (ns >> octave)) as usize
}

/// The longest time of a step, nanoseconds.
fn end_of(step: usize) -> u64 {
    let step = step as u64;
    let octave = (step / STEPS).saturating_sub(1);
    ((step - octave * STEPS + 1) << octave) - 1
}

impl Latencies {
    /// No times yet.
    pub(super) fn new() -> Self {
        Self { counts: vec![0; step(LONGEST_NS) + 1], total: 0, longest_ns: 0 }
    }

    /// Adds a time, nanoseconds.
    pub(super) fn record(&mut self, ns: u64) {
        let ns = ns.min(LONGEST_NS);
        self.counts[step(ns)] += 1;
        self.total += 1;
        self.longest_ns = self.longest_ns.max(ns);
    }

    /// Adds all times of `other`.
    pub(super) fn join(&mut self, other: &Self) {
        for (own, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *own += theirs;
        }
        self.total += other.total;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The time that `share` of them (0 to 1) do not exceed, milliseconds; at most one part in 128
    /// too long, never too short. 0 without any.
    pub(super) fn at_ms(&self, share: f64) -> f64 {
        // A share such as 0.07 is a little more than seven of a hundred.
        let wanted = ((self.total as f64 * share - 1e-6).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return end_of(step).min(self.longest_ns) as f64 / 1e6;
            }
        }
        self.longest_ns as f64 / 1e6
    }

    /// The longest, milliseconds; exact.
    pub(super) fn longest_ms(&self) -> f64 {
        self.longest_ns as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::{Random, SeededRandom};

    #[test]
    fn steps_follow_each_other_without_a_gap() {
        for step_number in 0..step(LONGEST_NS) {
            let end = end_of(step_number);
            assert_eq!(step(end), step_number, "its end {end}");
            assert_eq!(step(end + 1), step_number + 1, "behind its end {end}");
        }
    }

    #[test]
    fn no_percentile_is_too_short_or_more_than_one_part_in_128_too_long() {
        let random = SeededRandom::new(7);
        let mut times = Latencies::new();
        // All orders of magnitude alike: 1 ns to 17 minutes.
        let mut exact: Vec<u64> =
            (0..10_000).map(|_| 1 + (random.next_u64() >> (24 + random.next_u64() % 40))).collect();
        exact.iter().for_each(|ns| times.record(*ns));
        exact.sort_unstable();
        for per_mille in 1..=1000 {
            let real = exact[per_mille * exact.len() / 1000 - 1] as f64;
            let answered = times.at_ms(per_mille as f64 / 1000.0) * 1e6;
            assert!(answered >= real * 0.999_999, "{per_mille}: {answered} of {real}");
            assert!(
                answered <= real * (1.0 + 1.0 / 128.0) + 1e-3,
                "{per_mille}: {answered} of {real}"
            );
        }
        assert_eq!(times.longest_ms(), exact[9_999] as f64 / 1e6);
    }

    #[test]
    fn joined_times_are_all_times_and_endless_ones_are_bounded() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        assert_eq!((one.at_ms(0.5), one.longest_ms(), one.total()), (0.0, 0.0, 0));
        one.record(1_000_000);
        other.record(u64::MAX);
        one.join(&other);
        assert_eq!(one.total(), 2);
        assert!((0.99..1.01).contains(&one.at_ms(0.5)), "{}", one.at_ms(0.5));
        assert_eq!(one.longest_ms() * 1e6, LONGEST_NS as f64);
    }
}
