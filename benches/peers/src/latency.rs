//! Times of transactions.

use std::time::Duration;

/// Most times that are kept of one thread. When there are more, every second one is kept, then every fourth.
const MOST: usize = 1 << 20;

/// In steps of 100 ns.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    times: Vec<u32>,
    longest: u32,
    /// One of so many is kept.
    every: u64,
    seen: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { times: Vec::new(), longest: 0, every: 1, seen: 0 }
    }
}

impl Latencies {
    pub(crate) fn add(&mut self, time: Duration) {
        let time = u32::try_from(time.as_nanos() / 100).unwrap_or(u32::MAX);
        self.longest = self.longest.max(time);
        if self.times.len() == MOST {
            let mut keep = false;
            self.times.retain(|_| {
                keep = !keep;
                keep
            });
            self.every *= 2;
        }
        if self.seen.is_multiple_of(self.every) {
            self.times.push(time);
        }
        self.seen += 1;
    }

    /// Of another thread that did the same.
    pub(crate) fn join(&mut self, other: Self) {
        self.longest = self.longest.max(other.longest);
        self.seen += other.seen;
        self.times.extend(other.times);
    }

    /// p50, p99, p99.9 and the longest, microseconds; 0 where there was nothing.
    pub(crate) fn figures(&self) -> [f64; 4] {
        let mut times = self.times.clone();
        times.sort_unstable();
        let of = |share: f64| {
            let at = (times.len().saturating_sub(1) as f64 * share).round() as usize;
            times.get(at).map_or(0.0, |time| f64::from(*time) / 10.0)
        };
        [of(0.5), of(0.99), of(0.999), f64::from(self.longest) / 10.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_times() {
        let mut times = Latencies::default();
        assert_eq!(times.figures(), [0.0; 4]);
        (1..=1001).for_each(|us| times.add(Duration::from_micros(us)));
        assert_eq!(times.figures(), [501.0, 991.0, 1000.0, 1001.0]);
        for _ in 0..3 * MOST {
            times.add(Duration::from_micros(7));
        }
        assert!(times.times.len() <= MOST);
        assert_eq!(times.figures(), [7.0, 7.0, 7.0, 1001.0]);
    }
}
