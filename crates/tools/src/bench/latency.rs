//! Times with a bounded error, in an HDR histogram.

use hdrhistogram::Histogram;

/// Two significant digits: 128 steps for each doubling.
const DIGITS: u8 = 2;

/// Longer times count as this: 18 minutes. A commit gives up after 90 s.
const LONGEST_NS: u64 = 1 << 40;

/// Times, each known to one part in 128, and the longest exactly.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    times: Histogram<u64>,
    longest_ns: u64,
}

impl Latencies {
    /// Returns an empty histogram.
    pub(super) fn new() -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Self { times: times.expect("the bounds are constants in order"), longest_ns: 0 }
    }

    /// Adds a time, nanoseconds.
    pub(super) fn record(&mut self, ns: u64) {
        let ns = ns.min(LONGEST_NS);
        self.times.saturating_record(ns);
        self.longest_ns = self.longest_ns.max(ns);
    }

    /// Adds all times of `other`.
    pub(super) fn join(&mut self, other: &Self) {
        self.times.add(&other.times).expect("both have the same bounds");
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    /// Returns the number of times.
    pub(super) fn total(&self) -> u64 {
        self.times.len()
    }

    /// Returns the time that `share` of them (0 to 1) do not exceed, milliseconds; at most one part
    /// in 128 too long, never too short. 0 without any.
    pub(super) fn at_ms(&self, share: f64) -> f64 {
        // A share such as 0.07 is a little more than seven hundredths.
        let share = share - 1e-6 / self.total().max(1) as f64;
        self.times.value_at_quantile(share).min(self.longest_ns) as f64 / 1e6
    }

    /// Returns the longest, milliseconds; exact.
    pub(super) fn longest_ms(&self) -> f64 {
        self.longest_ns as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::internal::base::random::{Random, SeededRandom};

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
