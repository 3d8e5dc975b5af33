//! Duration histograms with fixed bounds, a count and a total.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; longer durations count in one more bucket. They range from a
/// write to a disk's own cache to a request that nearly times out.
pub const BOUNDS_MICROS: [u64; 18] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000,
];

const CLASSES: usize = BOUNDS_MICROS.len() + 1;

/// A histogram that threads update concurrently, with two atomic additions each.
///
/// ```
/// use millpond::internal::base::histogram::DurationHistogram;
/// use std::time::Duration;
/// let commits = DurationHistogram::default();
/// commits.note(Duration::from_micros(70));
/// commits.note(Duration::from_secs(60));
/// let read = commits.read();
/// assert_eq!((read.count(), read.within(1)), (2, 1));
/// assert_eq!(read.total, Duration::from_micros(60_000_070));
/// ```
#[derive(Debug, Default)]
pub struct DurationHistogram {
    classes: [AtomicU64; CLASSES],
    nanos: AtomicU64,
}

/// The content of a histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramReading {
    classes: [u64; CLASSES],
    /// Sum of all durations.
    pub total: Duration,
}

impl DurationHistogram {
    /// Adds a duration.
    pub fn note(&self, took: Duration) {
        let class = BOUNDS_MICROS.partition_point(|bound| Duration::from_micros(*bound) < took);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the current content.
    #[must_use]
    pub fn read(&self) -> HistogramReading {
        HistogramReading {
            classes: self.classes.each_ref().map(|class| class.load(Ordering::Relaxed)),
            total: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

impl HistogramReading {
    /// Returns the number of durations up to the bound `at` of [`BOUNDS_MICROS`].
    ///
    /// # Panics
    /// If `at` is out of range.
    #[must_use]
    pub fn within(&self, at: usize) -> u64 {
        assert!(at < BOUNDS_MICROS.len(), "bound {at} of {}", BOUNDS_MICROS.len());
        self.classes[..=at].iter().sum()
    }

    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let durations = DurationHistogram::default();
        for bound in BOUNDS_MICROS {
            durations.note(Duration::from_micros(bound));
            durations.note(Duration::from_micros(bound) + Duration::from_nanos(1));
        }
        durations.note(Duration::ZERO);
        let read = durations.read();
        for at in 0..BOUNDS_MICROS.len() {
            assert_eq!(read.within(at), 2 * at as u64 + 2, "{at}");
        }
        assert_eq!(read.count(), 2 * BOUNDS_MICROS.len() as u64 + 1);
    }
}
