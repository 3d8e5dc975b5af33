//! Joins the threads of a measurement with a timeout that a working disk never reaches.

use super::error::BenchError;
use millpond::{Clock, SystemClock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A device that does not respond for so long has failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(90);

/// Time between two checks of a thread.
const LOOK: Duration = Duration::from_millis(2);

/// Returns the result of each thread, once all have ended. A thread that has not within
/// `time_limit` is abandoned, since the call that blocks it cannot be cancelled.
pub(super) fn joined<T>(
    threads: Vec<JoinHandle<T>>,
    time_limit: Duration,
) -> Result<Vec<thread::Result<T>>, BenchError> {
    let clock = SystemClock::new();
    let mut ended = Vec::new();
    for thread in threads {
        while !thread.is_finished() {
            if clock.now() >= time_limit {
                return Err(BenchError::Hangs { seconds: time_limit.as_secs() });
            }
            thread::sleep(LOOK);
        }
        ended.push(thread.join());
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::internal::base::threads;

    #[test]
    fn a_thread_that_does_not_end_is_not_waited_for_and_the_others_answer() {
        let thread = |time| {
            threads::spawn("bench-test", move || thread::sleep(Duration::from_millis(time)))
                .expect("a thread")
        };
        let ended = joined(vec![thread(0), thread(5)], Duration::from_secs(60));
        assert_eq!(ended.expect("both end").iter().filter(|ended| ended.is_ok()).count(), 2);
        // Longer than the test's patience, and not much longer.
        let hung = joined(vec![thread(0), thread(20_000)], Duration::from_millis(50));
        assert!(matches!(hung, Err(BenchError::Hangs { .. })));
    }
}
