//! The clock of tests on a runtime whose time is paused.

use millpond::Clock;
use std::time::Duration;
use tokio::time::Instant;

/// The runtime's clock, with a fixed wall time at its start.
pub struct RuntimeClock {
    start: Instant,
    wall_ms: u64,
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl RuntimeClock {
    /// Returns a clock whose wall time is always 0.
    pub fn new() -> Self {
        Self::at(0)
    }

    /// Returns a clock whose wall time is always `wall_ms`.
    pub fn at(wall_ms: u64) -> Self {
        Self { start: Instant::now(), wall_ms }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms
    }
}
