//! Threads of a measurement, waited for only as long as a disk that works could keep them.

use super::run::BenchError;
use crate::base::clock::{Clock, SystemClock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A device that does not answer for so long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at a thread.
const LOOK: Duration = Duration::from_millis(2);

/// How each of the threads ended, once all have. One that has not within `patience` is left to itself,
/// since nothing can take back the call that keeps it.
pub(super) fn joined<T>(
    threads: Vec<JoinHandle<T>>,
    patience: Duration,
) -> Result<Vec<thread::Result<T>>, BenchError> {
    let clock = SystemClock::new();
    let mut ended = Vec::new();
    for thread in threads {
        while !thread.is_finished() {
            if clock.now() >= patience {
                return Err(BenchError::Hangs { seconds: patience.as_secs() });
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
    use crate::base::threads;

    #[test]
    fn a_thread_that_does_not_end_is_not_waited_for_and_the_others_answer() {
        let thread = |time| {
            threads::spawn("bench-test", move || thread::sleep(Duration::from_millis(time)))
                .expect("a thread")
        };
        let ended = joined(vec![thread(0), thread(5)], Duration::from_secs(60));
        assert_eq!(ended.expect("both end").iter().filter(|ended| ended.is_ok()).count(), 2);
        // Long enough to be waited for by whoever has patience, and no longer.
        let hung = joined(vec![thread(0), thread(20_000)], Duration::from_millis(50));
        assert!(matches!(hung, Err(BenchError::Hangs { .. })));
    }
}
