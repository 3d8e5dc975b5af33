//! The order in which a thread may take the engine's locks; builds with debug assertions check it.
//!
//! A thread that holds a lock takes only locks of a higher rank, so no two threads can wait for each other. DESIGN.md,
//! "Locks", says what each lock protects. A wrong order panics at once, in any run, and not only in the rare run in
//! which two threads meet.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The locks of the engine; a later one may be taken while an earlier one is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockRank {
    /// State of a stripe's maintenance; held during operations of its disk.
    Maintenance,
    /// The commits of each source, in order.
    CommitOrder,
    /// The log of a channel.
    Log,
    /// The commit delay of a stripe.
    CommitDelay,
    /// The checkpoint that is being written.
    Checkpoints,
    /// The tasks of the pool of threads.
    Workers,
    /// Space promised to segments that are being created.
    SpaceReservations,
    /// Memory for what is read back.
    ReadBuffers,
    /// Void and moved frames of a block.
    FrameExceptions,
    /// Unused block memory.
    SlabPool,
}

/// A lock that is held; ends when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Held {
    #[cfg(debug_assertions)]
    rank: LockRank,
}

/// A guard of a mutex with a rank.
#[derive(Debug)]
pub struct RankedGuard<'m, T> {
    guard: MutexGuard<'m, T>,
    held: Held,
}

#[cfg(debug_assertions)]
thread_local! {
    /// A bit for each rank that this thread holds.
    static HELD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

impl LockRank {
    /// Notes that this thread takes a lock of this rank.
    ///
    /// # Panics
    /// In builds with debug assertions: it holds one of this or a higher rank.
    #[inline]
    pub fn enter(self) -> Held {
        #[cfg(debug_assertions)]
        {
            let held = HELD.get();
            assert!(
                held >> (self as u32) == 0 || std::thread::panicking(),
                "{self:?} is locked while a lock of this or a higher rank is held: {held:#b}"
            );
            HELD.set(held | 1 << (self as u32));
            Held { rank: self }
        }
        #[cfg(not(debug_assertions))]
        Held {}
    }

    /// Whether this thread holds a lock of this rank; unknown, and false, in builds without debug assertions.
    #[must_use]
    pub fn is_held(self) -> bool {
        #[cfg(debug_assertions)]
        return HELD.get() & 1 << (self as u32) != 0;
        #[cfg(not(debug_assertions))]
        false
    }

    /// Locks `mutex`, also after a panic of another holder.
    ///
    /// # Panics
    /// As [`LockRank::enter`].
    pub fn lock<T>(self, mutex: &Mutex<T>) -> RankedGuard<'_, T> {
        let held = self.enter();
        RankedGuard::new(mutex.lock().unwrap_or_else(PoisonError::into_inner), held)
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(HELD.get() & !(1 << (self.rank as u32)));
    }
}

impl<'m, T> RankedGuard<'m, T> {
    /// Returns a guard of a mutex that was locked after [`LockRank::enter`].
    pub fn new(guard: MutexGuard<'m, T>, held: Held) -> Self {
        Self { guard, held }
    }

    /// Sleeps until `condition` is signalled, at most `timeout`. Returns whether the time was over.
    #[must_use]
    pub fn wait_timeout(self, condition: &Condvar, timeout: Duration) -> (Self, bool) {
        let Self { guard, held } = self;
        let waited = condition.wait_timeout(guard, timeout);
        let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (Self { guard, held }, result.timed_out())
    }
}

impl<T> Deref for RankedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for RankedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_the_order_of_their_ranks() {
        let (log, delay) = (Mutex::new(1), Mutex::new(2));
        let first = LockRank::Log.lock(&log);
        let second = LockRank::CommitDelay.lock(&delay);
        assert!(LockRank::Log.is_held() && *first + *second == 3);
        // Dropped in any order.
        drop(first);
        drop(second);
        assert!(!LockRank::Log.is_held());
        drop(LockRank::CommitDelay.lock(&delay));
        drop(LockRank::Log.lock(&log));
    }

    #[test]
    #[should_panic(expected = "Log is locked while a lock of this or a higher rank is held")]
    fn a_lock_taken_in_the_wrong_order_panics() {
        let (log, delay) = (Mutex::new(1), Mutex::new(2));
        let _second = LockRank::CommitDelay.lock(&delay);
        let _first = LockRank::Log.lock(&log);
    }

    #[test]
    #[should_panic(expected = "Log is locked while a lock of this or a higher rank is held")]
    fn a_lock_taken_twice_panics_and_does_not_hang() {
        let log = Mutex::new(1);
        let _first = LockRank::Log.lock(&log);
        let _second = LockRank::Log.lock(&log);
    }

    #[test]
    fn a_wait_keeps_the_rank_and_returns_the_guard() {
        let (mutex, condition) = (Mutex::new(1), Condvar::new());
        let guard = LockRank::Workers.lock(&mutex);
        let (guard, late) = guard.wait_timeout(&condition, Duration::from_millis(1));
        assert!(late && *guard == 1 && LockRank::Workers.is_held());
    }
}
