//! Pauses that grow with failures in a row.

use std::time::Duration;

/// Pauses that grow by a step with each failure in a row, up to a bound.
#[derive(Clone, Debug)]
pub struct Backoff {
    step: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses of `step`, twice `step`, … up to `max`.
    #[must_use]
    pub fn new(step: Duration, max: Duration) -> Self {
        Self { step, max, failures: 0 }
    }

    /// Flume's runners: 1 s, 2 s, … up to 5 s.
    #[must_use]
    pub fn of_a_runner() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(5))
    }

    /// Counts a failure and answers how long to pause.
    pub fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.step.saturating_mul(self.failures).min(self.max)
    }

    /// It went well: the next pause is a single step again.
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
        let pauses: Vec<u64> = (0..7).map(|_| backoff.fail().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 3, 4, 5, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.fail(), Duration::from_secs(1));
    }
}
