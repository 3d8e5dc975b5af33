//! Waiting a moment for those whose commits were answered just now.
//!
//! Threads that commit in a loop would else fall into two halves that take turns with the disk: while the
//! group of one is written the other gathers, and begins its own write before the first are back. So each
//! commit waits for two writes. With a moment's pause between two writes all of them share the next one.
//!
//! It is an attempt that may only win: nobody waits after a lone commit or on a disk that answers at once,
//! nor for longer than half of what the write before took, and where those who were waited for do not come
//! it is tried less and less often.
//! The write begins when all are back, by the thread that came last. Until then one thread holds it, and
//! begins it when the moment is over; whoever asks behind that moment may begin it as well, so that no
//! write depends on the one thread.

use crate::log::Gathered;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Behind a shorter write nobody waits: there the halves take turns with the processors as much as with the
/// disk, and nothing is gained (16 threads, writes of 0.1 ms: as many commits a second, and a higher 99th
/// percentile).
const WRITE_MIN: Duration = Duration::from_micros(300);

/// A moment at most: a thread that does something between its commits beside committing is not waited for.
const MOMENT_MAX: Duration = Duration::from_millis(1);

/// After this many attempts in vain one behind the other, only each 2^n-th write is followed by one.
const MISSES_MAX: u32 = 7;

/// Of one stripe.
#[derive(Debug, Default)]
pub(super) struct Gathering(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Present while a write is held back.
    moment: Option<Moment>,
    /// Attempts in vain, one behind the other.
    misses: u32,
    /// Writes that are followed by none.
    skips: u32,
}

#[derive(Debug)]
struct Moment {
    until: Duration,
    /// Frames that the next write carries when all are back; with half of those it was no miss.
    wanted: usize,
    enough: usize,
    /// A thread sees to it.
    held: bool,
}

impl Moment {
    /// Whether the next write, which carries `frames` so far, is still to wait.
    fn waits(&self, now: Duration, frames: usize) -> bool {
        frames < self.wanted && now < self.until
    }
}

/// What whoever would begin the next write shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    Write,
    /// See to it that the write begins at this time.
    Hold(Duration),
    /// Somebody else begins it.
    Leave,
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write ended that took `took` and answered `released` commits; what has gathered for the next one.
    pub(super) fn begin(
        &self,
        now: Duration,
        took: Duration,
        released: usize,
        gathered: Option<Gathered>,
    ) {
        let mut state = self.state();
        state.moment = None;
        let frames = match gathered {
            Some(Gathered { frames, small: true }) => frames,
            None => 0,
            Some(Gathered { small: false, .. }) => return,
        };
        if took < WRITE_MIN || released == 0 || frames + released < 2 {
            return;
        }
        if state.skips > 0 {
            state.skips -= 1;
            return;
        }
        state.moment = Some(Moment {
            until: now + (took / 2).min(MOMENT_MAX),
            wanted: frames + released,
            enough: frames + released.div_ceil(2),
            held: false,
        });
    }

    /// Asked before each write, with what has gathered for it.
    pub(super) fn ask(&self, now: Duration, gathered: Option<Gathered>) -> Advice {
        let mut state = self.state();
        let Some(moment) = &mut state.moment else { return Advice::Write };
        let Some(Gathered { frames, small: true }) = gathered else {
            // Nothing is there, or so much that there is nothing to wait for.
            return Advice::Write;
        };
        if moment.waits(now, frames) {
            let held = std::mem::replace(&mut moment.held, true);
            return if held { Advice::Leave } else { Advice::Hold(moment.until) };
        }
        if frames >= moment.enough {
            state.misses = 0;
        } else {
            state.misses = (state.misses + 1).min(MISSES_MAX);
            state.skips = (1 << state.misses) - 1;
        }
        state.moment = None;
        Advice::Write
    }

    /// Whether somebody sees to the next write, for which there is nothing to do yet.
    pub(super) fn is_held(&self, now: Duration, gathered: Option<Gathered>) -> bool {
        let Some(Gathered { frames, small: true }) = gathered else { return false };
        let state = self.state();
        state.moment.as_ref().is_some_and(|moment| moment.held && moment.waits(now, frames))
    }

    /// Whether the moment that ends at `until` is still under way.
    pub(super) fn goes_on(&self, until: Duration) -> bool {
        self.state().moment.as_ref().is_some_and(|moment| moment.held && moment.until == until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_micros(400);

    fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn small(frames: usize) -> Option<Gathered> {
        Some(Gathered { frames, small: true })
    }

    #[test]
    fn behind_a_lone_commit_or_a_short_write_nothing_is_held_back() {
        let gathering = Gathering::default();
        gathering.begin(at(0), at(299), 9, small(9));
        assert_eq!(gathering.ask(at(0), small(9)), Advice::Write);
        gathering.begin(at(0), TOOK, 1, None);
        assert_eq!(gathering.ask(at(0), small(1)), Advice::Write);
        gathering.begin(at(0), TOOK, 0, small(3));
        assert_eq!(gathering.ask(at(0), small(3)), Advice::Write);
    }

    #[test]
    fn the_write_begins_with_the_last_who_comes_back() {
        let gathering = Gathering::default();
        gathering.begin(at(0), TOOK, 2, small(1));
        assert_eq!(gathering.ask(at(1), small(1)), Advice::Hold(at(200)));
        assert!(gathering.is_held(at(1), small(2)) && gathering.goes_on(at(200)));
        assert!(!gathering.is_held(at(1), small(3)), "all are back");
        assert_eq!(gathering.ask(at(2), small(2)), Advice::Leave);
        assert_eq!(gathering.ask(at(3), small(3)), Advice::Write);
        assert!(!gathering.is_held(at(3), small(2)) && !gathering.goes_on(at(200)));
        assert_eq!(gathering.ask(at(4), small(1)), Advice::Write, "a later one is not held back");
    }

    #[test]
    fn all_wait_when_nothing_had_gathered() {
        let gathering = Gathering::default();
        gathering.begin(at(0), TOOK, 2, None);
        assert_eq!(gathering.ask(at(0), None), Advice::Write, "there is nothing to hold back");
        assert_eq!(gathering.ask(at(1), small(1)), Advice::Hold(at(200)));
        assert_eq!(gathering.ask(at(2), small(2)), Advice::Write);
    }

    #[test]
    fn once_the_moment_is_over_anybody_begins_the_write() {
        let gathering = Gathering::default();
        gathering.begin(at(0), TOOK, 8, small(8));
        assert_eq!(gathering.ask(at(1), small(8)), Advice::Hold(at(200)));
        assert_eq!(gathering.ask(at(200), small(9)), Advice::Write);
        gathering.begin(at(0), Duration::from_secs(9), 8, small(8));
        assert_eq!(gathering.ask(at(1), small(8)), Advice::Write, "behind a miss one is left out");
        gathering.begin(at(0), Duration::from_secs(9), 8, small(8));
        assert_eq!(gathering.ask(at(1), small(8)), Advice::Hold(MOMENT_MAX));
    }

    #[test]
    fn large_groups_are_not_held_back() {
        let gathering = Gathering::default();
        let large = Some(Gathered { frames: 2, small: false });
        gathering.begin(at(0), TOOK, 2, large);
        assert_eq!(gathering.ask(at(1), small(2)), Advice::Write);
        gathering.begin(at(0), TOOK, 2, small(1));
        assert_eq!(gathering.ask(at(1), large), Advice::Write);
    }

    #[test]
    fn who_is_waited_for_in_vain_is_waited_for_less_and_less() {
        let gathering = Gathering::default();
        let mut held = 0;
        for write in 0..10_000 {
            gathering.begin(at(write), TOOK, 1, small(1));
            if gathering.ask(at(write), small(1)) != Advice::Write {
                held += 1;
                assert_eq!(gathering.ask(at(write + 300), small(1)), Advice::Write);
            }
        }
        assert!((70..100).contains(&held), "{held} of 10,000");
        // Once it was not in vain it is as in the beginning.
        while gathering.ask(at(0), small(1)) == Advice::Write {
            gathering.begin(at(0), TOOK, 1, small(1));
        }
        assert_eq!(gathering.ask(at(1), small(2)), Advice::Write);
        gathering.begin(at(0), TOOK, 1, small(1));
        assert_eq!(gathering.ask(at(1), small(1)), Advice::Hold(at(200)));
    }
}
