//! Back-off pauses that grow with consecutive failures.
//!
//! Each pause is shortened at random by up to an eighth, so that a hundred sinks of one failed server do not all
//! return at the same moment.

use millpond::internal::base::random::{Random, SystemRandom};
use std::time::Duration;

/// Pauses that grow by a step with each consecutive failure, up to a maximum.
#[derive(Clone, Debug)]
pub struct Backoff {
    step: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Returns a back-off of `step`, twice `step`, … up to `max`, less up to an eighth.
    #[must_use]
    pub fn new(step: Duration, max: Duration) -> Self {
        Self { step, max, failures: 0 }
    }

    /// Returns the back-off of Flume's runners: 1 s, 2 s, … up to 5 s, less up to an eighth.
    #[must_use]
    pub fn of_a_runner() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(5))
    }

    /// Counts a failure and returns the pause before the next try.
    pub fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let longest = self.step.saturating_mul(self.failures).min(self.max);
        // Up to 255/256 of an eighth.
        let less = u32::try_from(SystemRandom.next_u64() % 256).unwrap_or(0);
        longest - longest / 2048 * less
    }

    /// Records a success: the next pause is a single step again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_a_step_to_the_bound_and_begin_again_after_success() {
        let mut backoff = Backoff::of_a_runner();
        let check = |backoff: &mut Backoff, longest: u64| {
            let (pause, longest) = (backoff.fail(), Duration::from_secs(longest));
            assert!(pause <= longest && pause > longest * 7 / 8, "{pause:?} of {longest:?}");
            pause != longest
        };
        let fell = [1, 2, 3, 4, 5, 5, 5].into_iter().filter(|s| check(&mut backoff, *s)).count();
        assert!(fell > 0, "none was shortened");
        backoff.reset();
        check(&mut backoff, 1);
    }
}
