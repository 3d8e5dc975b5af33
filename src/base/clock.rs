//! The only place that asks the operating system for the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
///
/// Deadlines use [`Clock::now`], which never jumps; only what users read (timestamps, file names) uses
/// [`Clock::wall_ms`], which may jump in both directions.
///
/// ```
/// use millpond::{Clock, SystemClock};
/// use std::time::Duration;
///
/// /// Returns when a wait that begins now is over.
/// fn deadline(clock: &dyn Clock, limit: Duration) -> Duration {
///     clock.now() + limit
/// }
/// let clock = SystemClock::new();
/// assert!(deadline(&clock, Duration::from_secs(3)) >= Duration::from_secs(3));
/// ```
pub trait Clock: Send + Sync {
    /// Time since an arbitrary start; never goes back.
    fn now(&self) -> Duration;
    /// Milliseconds since 1970-01-01 UTC; 0 if the machine's clock is set before that.
    fn wall_ms(&self) -> u64;
}

/// The machine's clocks.
///
/// ```
/// use millpond::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let before = clock.now();
/// assert!(clock.now() >= before);
/// ```
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Returns a clock that starts at zero now.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // the only place
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods)] // the only place
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only by [`ManualClock::advance`], for tests and simulation.
///
/// ```
/// use millpond::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::default();
/// clock.advance(Duration::from_millis(1500));
/// assert_eq!(clock.now(), Duration::from_millis(1500));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicU64,
}

impl ManualClock {
    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn wall_ms(&self) -> u64 {
        1_600_000_000_000 + self.now_ms.load(Ordering::SeqCst)
    }
}
