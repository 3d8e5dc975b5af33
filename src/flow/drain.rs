//! Whether a sink empties its channel before it stops, and until when.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a stop asks of the sinks of a channel. What a channel in memory still holds is lost when the agent
/// ends; so its sinks go on until it is empty, and try again what was not delivered until the deadline.
#[derive(Debug, Default)]
pub struct DrainAtStop {
    drains: AtomicBool,
    /// A reading of the clock in milliseconds; 0: what is not delivered is not tried again.
    until_ms: AtomicU64,
}

impl From<bool> for DrainAtStop {
    fn from(drains: bool) -> Self {
        Self { drains: drains.into(), until_ms: AtomicU64::new(0) }
    }
}

impl DrainAtStop {
    /// From now on a stop empties the channel first, or does not.
    pub fn set(&self, drains: bool) {
        self.drains.store(drains, Ordering::SeqCst);
    }

    /// What is not delivered is tried again until the clock reads `until`.
    pub fn until(&self, until: Duration) {
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.store(millis, Ordering::SeqCst);
    }

    /// Whether a stop empties the channel first.
    #[must_use]
    pub fn drains(&self) -> bool {
        self.drains.load(Ordering::SeqCst)
    }

    /// How much time the stop leaves at `now` where the channel is to be emptied; `None` where it is not, or no stop has
    /// said so.
    #[must_use]
    pub fn time(&self, now: Duration) -> Option<Duration> {
        let is_set = self.until_ms.load(Ordering::SeqCst) > 0;
        (self.drains() && is_set).then(|| self.left(now))
    }

    /// How much time is left at `now` to try again what was not delivered.
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
