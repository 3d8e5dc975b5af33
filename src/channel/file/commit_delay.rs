//! The commit delay: how long the next write of a stripe waits for commits that are about to join it.
//!
//! Threads that commit in a loop fall into two groups that take turns with the disk: while the block of
//! one group is written the other group fills the next block, and its write begins before the threads of
//! the first are back. So each commit waits for two writes. A short delay after a write lets all of them
//! share the next one; the last thread that comes back starts it at once.
//!
//! The gain depends on how long a write takes, on how many threads come back and how fast. All
//! three are measured: a delay counts as a gain when more commits were carried in the time of the
//! delay and one write than two groups would have completed in it. After a delay without a gain 1,
//! 3, 7, … 127 writes start without one, so that a workload that never gains loses less than 1 %.
//! After a lone commit there is no delay.
//!
//! While a write is delayed one thread holds it and starts it when the delay is over. Any caller
//! after that time may start it as well, so that no write depends on a single thread.

use crate::base::lock_rank::{LockRank, RankedGuard};
use crate::log::PendingWrite;
use std::sync::Mutex;
use std::time::Duration;

/// After a shorter write there is no delay: waking a thread takes longer.
const WRITE_MIN: Duration = Duration::from_micros(20);

/// The longest delay. A thread that does other work between two commits is not waited for.
const DELAY_MAX: Duration = Duration::from_millis(1);

/// After this many delays in a row without a gain, only each 2^n-th write is delayed.
const MISSES_MAX: u32 = 7;

/// The commit delay of one stripe.
#[derive(Debug, Default)]
pub(super) struct CommitDelay(Mutex<DelayState>);

#[derive(Debug, Default)]
struct DelayState {
    /// Present while a write is delayed.
    delay: Option<Delay>,
    /// Delays in a row without a gain.
    misses: u32,
    /// Writes that will start without a delay.
    skips: u32,
}

#[derive(Debug)]
struct Delay {
    since: Duration,
    until: Duration,
    /// Duration of the previous write.
    write: Duration,
    /// Frames that the next write carries when all threads are back.
    wanted: usize,
    /// A thread is responsible for starting the write.
    held: bool,
}

impl Delay {
    /// Returns whether the next write, which carries `frames` so far, keeps waiting.
    fn keeps_waiting(&self, now: Duration, frames: usize) -> bool {
        frames < self.wanted && now < self.until
    }

    /// Returns whether a write that starts now with `frames` carries more commits, in the time of
    /// the delay and of the write, than two groups of half the wanted size would have completed.
    fn pays_off(&self, now: Duration, frames: usize) -> bool {
        let spent = self.write + now.saturating_sub(self.since);
        self.write.as_secs_f64() * 2.0 * frames as f64 > spent.as_secs_f64() * self.wanted as f64
    }
}

/// What a thread that could start the next write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteDecision {
    /// Start it.
    Start,
    /// Hold it, and start it at this time at the latest.
    Hold(Duration),
    /// Nothing: another thread holds it.
    Leave,
}

impl CommitDelay {
    fn state(&self) -> RankedGuard<'_, DelayState> {
        LockRank::CommitDelay.lock(&self.0)
    }

    /// Decides, at the end of a write that took `took` and released `released` commits, whether the
    /// next one is delayed. `pending_write` is what it would carry now.
    pub(super) fn begin(
        &self,
        now: Duration,
        took: Duration,
        released: usize,
        pending_write: Option<PendingWrite>,
    ) {
        let mut state = self.state();
        state.delay = None;
        let frames = match pending_write {
            Some(PendingWrite { frames, small: true }) => frames,
            None => 0,
            Some(PendingWrite { small: false, .. }) => return,
        };
        if took < WRITE_MIN || released == 0 || frames + released < 2 {
            return;
        }
        if state.skips > 0 {
            state.skips -= 1;
            return;
        }
        let until = now + took.min(DELAY_MAX);
        let wanted = frames + released;
        state.delay = Some(Delay { since: now, until, write: took, wanted, held: false });
    }

    /// Decides whether the next write starts now, with the frames collected for it.
    pub(super) fn decide(
        &self,
        now: Duration,
        pending_write: Option<PendingWrite>,
    ) -> WriteDecision {
        let mut state = self.state();
        let Some(delay) = &mut state.delay else { return WriteDecision::Start };
        let Some(PendingWrite { frames, small: true }) = pending_write else {
            // There is nothing to write, or so much that waiting gains nothing.
            return WriteDecision::Start;
        };
        if delay.keeps_waiting(now, frames) {
            let held = std::mem::replace(&mut delay.held, true);
            return if held { WriteDecision::Leave } else { WriteDecision::Hold(delay.until) };
        }
        if delay.pays_off(now, frames) {
            state.misses = 0;
        } else {
            state.misses = (state.misses + 1).min(MISSES_MAX);
            state.skips = (1 << state.misses) - 1;
        }
        state.delay = None;
        WriteDecision::Start
    }

    /// Returns whether a thread holds the next write and it does not start yet.
    pub(super) fn is_held(&self, now: Duration, pending_write: Option<PendingWrite>) -> bool {
        let Some(PendingWrite { frames, small: true }) = pending_write else { return false };
        let state = self.state();
        state.delay.as_ref().is_some_and(|delay| delay.held && delay.keeps_waiting(now, frames))
    }

    /// Returns whether the delay that ends at `until` is still on.
    pub(super) fn is_active(&self, until: Duration) -> bool {
        self.state().delay.as_ref().is_some_and(|delay| delay.held && delay.until == until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WriteDecision::{Hold, Leave, Start};

    const TOOK: Duration = Duration::from_micros(400);

    fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn small(frames: usize) -> Option<PendingWrite> {
        Some(PendingWrite { frames, small: true })
    }

    #[test]
    fn after_a_lone_commit_or_a_short_write_there_is_no_delay() {
        let delay = CommitDelay::default();
        delay.begin(at(0), at(19), 9, small(9));
        assert_eq!(delay.decide(at(0), small(9)), Start);
        delay.begin(at(0), TOOK, 1, None);
        assert_eq!(delay.decide(at(0), small(1)), Start);
        delay.begin(at(0), TOOK, 0, small(3));
        assert_eq!(delay.decide(at(0), small(3)), Start);
    }

    #[test]
    fn the_write_starts_with_the_last_commit_that_comes_back() {
        let delay = CommitDelay::default();
        delay.begin(at(0), TOOK, 2, small(1));
        assert_eq!(delay.decide(at(1), small(1)), Hold(at(400)));
        assert!(delay.is_held(at(1), small(2)) && delay.is_active(at(400)));
        assert!(!delay.is_held(at(1), small(3)), "all are back");
        assert_eq!(delay.decide(at(2), small(2)), Leave);
        assert_eq!(delay.decide(at(3), small(3)), Start);
        assert!(!delay.is_held(at(3), small(2)) && !delay.is_active(at(400)));
        assert_eq!(delay.decide(at(4), small(1)), Start, "a later one is not delayed");
    }

    #[test]
    fn all_are_waited_for_when_nothing_had_gathered() {
        let delay = CommitDelay::default();
        delay.begin(at(0), TOOK, 2, None);
        assert_eq!(delay.decide(at(0), None), Start, "there is nothing to delay");
        assert_eq!(delay.decide(at(1), small(1)), Hold(at(400)));
        assert_eq!(delay.decide(at(2), small(2)), Start);
    }

    #[test]
    fn once_the_delay_is_over_any_thread_starts_the_write() {
        let delay = CommitDelay::default();
        delay.begin(at(0), TOOK, 8, small(8));
        assert_eq!(delay.decide(at(1), small(8)), Hold(at(400)));
        assert_eq!(delay.decide(at(400), small(9)), Start);
        delay.begin(at(0), Duration::from_secs(9), 8, small(8));
        assert_eq!(delay.decide(at(1), small(8)), Start, "after a miss one write is not delayed");
        delay.begin(at(0), Duration::from_secs(9), 8, small(8));
        assert_eq!(delay.decide(at(1), small(8)), Hold(DELAY_MAX));
    }

    #[test]
    fn a_delay_pays_when_the_commits_are_back_before_a_second_write_would_end() {
        let pays = |back_at: u64, frames: usize| {
            let delay = CommitDelay::default();
            delay.begin(at(0), at(100), 8, small(8));
            assert_eq!(delay.decide(at(0), small(8)), Hold(at(100)));
            assert_eq!(delay.decide(at(back_at), small(frames)), Start);
            delay.begin(at(0), at(100), 8, small(8));
            delay.decide(at(0), small(8)) != Start
        };
        assert!(pays(40, 16) && pays(99, 16), "all 16 in 140 or 199 us, not 8 in each 100");
        assert!(!pays(100, 15) && !pays(100, 8), "as slow as two writes, and fewer commits");
        assert!(pays(100, 17), "one more joined");
    }

    #[test]
    fn large_groups_are_not_delayed() {
        let delay = CommitDelay::default();
        let large = Some(PendingWrite { frames: 2, small: false });
        delay.begin(at(0), TOOK, 2, large);
        assert_eq!(delay.decide(at(1), small(2)), Start);
        delay.begin(at(0), TOOK, 2, small(1));
        assert_eq!(delay.decide(at(1), large), Start);
    }

    #[test]
    fn commits_that_do_not_come_back_are_waited_for_less_and_less() {
        let delay = CommitDelay::default();
        let mut held = 0;
        for write in 0..10_000 {
            delay.begin(at(write), TOOK, 1, small(1));
            if delay.decide(at(write), small(1)) != Start {
                held += 1;
                assert_eq!(delay.decide(at(write + 400), small(1)), Start);
            }
        }
        assert!((70..100).contains(&held), "{held} of 10,000");
        // After one gain the state is as at the start.
        while delay.decide(at(0), small(1)) == Start {
            delay.begin(at(0), TOOK, 1, small(1));
        }
        assert_eq!(delay.decide(at(1), small(2)), Start);
        delay.begin(at(0), TOOK, 1, small(1));
        assert_eq!(delay.decide(at(1), small(1)), Hold(at(400)));
    }
}
