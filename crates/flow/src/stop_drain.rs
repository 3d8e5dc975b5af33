//! Whether a sink drains its channel before it stops, and until when.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The drain mode of the sinks of a channel at a stop. Events in a memory channel are lost when the agent ends,
/// so its sinks go on until it is empty, and retry undelivered batches until the deadline.
#[derive(Debug, Default)]
pub struct DrainAtStop {
    drains: AtomicBool,
    /// Deadline as a reading of the clock in milliseconds; 0: undelivered batches are not retried.
    until_ms: AtomicU64,
}

impl From<bool> for DrainAtStop {
    fn from(drains: bool) -> Self {
        Self { drains: drains.into(), until_ms: AtomicU64::new(0) }
    }
}

impl DrainAtStop {
    /// Sets whether a stop drains the channel first.
    pub fn set(&self, drains: bool) {
        self.drains.store(drains, Ordering::SeqCst);
    }

    /// Sets the deadline of retries.
    pub fn until(&self, until: Duration) {
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.store(millis, Ordering::SeqCst);
    }

    /// Returns true if a stop drains the channel first.
    #[must_use]
    pub fn drains(&self) -> bool {
        self.drains.load(Ordering::SeqCst)
    }

    /// Returns the time that a draining stop leaves at `now`; `None` if the channel is not drained, or no stop
    /// has set a deadline.
    #[must_use]
    pub fn time(&self, now: Duration) -> Option<Duration> {
        let is_set = self.until_ms.load(Ordering::SeqCst) > 0;
        (self.drains() && is_set).then(|| self.left(now))
    }

    /// Returns the time left at `now` for retries.
    #[must_use]
    pub fn left(&self, now: Duration) -> Duration {
        let until = Duration::from_millis(self.until_ms.load(Ordering::SeqCst));
        if self.drains() { until.saturating_sub(now) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_left_only_while_the_channel_is_to_be_emptied() {
        let drain = DrainAtStop::from(true);
        assert_eq!(drain.left(Duration::ZERO), Duration::ZERO, "one try");
        assert_eq!(drain.time(Duration::ZERO), None);
        drain.until(Duration::from_secs(18));
        assert_eq!(drain.left(Duration::from_secs(3)), Duration::from_secs(15));
        assert_eq!(drain.left(Duration::from_secs(19)), Duration::ZERO);
        assert_eq!(drain.time(Duration::from_secs(19)), Some(Duration::ZERO));
        drain.set(false);
        assert_eq!(drain.left(Duration::from_secs(3)), Duration::ZERO);
    }
}
