//! A number that threads sleep on.

use super::atomic::{AtomicU32, Ordering, total_order};
use std::time::Duration;

/// A futex: a number, and the threads that sleep until it changes.
#[derive(Debug, Default)]
pub(crate) struct Futex {
    number: AtomicU32,
    #[cfg(millpond_loom)]
    sleepers: Sleepers,
}

impl Futex {
    /// Returns the number.
    pub(crate) fn get(&self) -> u32 {
        self.number.load(Ordering::SeqCst)
    }

    /// Adds one, wrapping.
    pub(crate) fn advance(&self) {
        self.number.fetch_add(1, Ordering::SeqCst);
        total_order();
    }
}

#[cfg(not(millpond_loom))]
impl Futex {
    /// Sleeps while the number is `number`, at most for `timeout`. May return early without a reason.
    pub(crate) fn sleep(&self, number: u32, timeout: Option<Duration>) {
        let timeout = timeout.map(|t| futex::Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        // Every error (changed number, timeout, interruption) means: check again.
        let _ = futex::wait(&self.number, futex::Flags::PRIVATE, number, timeout.as_ref());
    }

    /// Wakes up to `threads` sleeping threads.
    pub(crate) fn wake(&self, threads: u32) {
        let _ = futex::wake(&self.number, futex::Flags::PRIVATE, threads);
    }
}

#[cfg(not(millpond_loom))]
use rustix::thread::futex;

/// The kernel's part of a futex, in terms that loom knows: checking the number and falling asleep are one step for a
/// waker.
#[cfg(millpond_loom)]
#[derive(Debug, Default)]
struct Sleepers {
    lock: loom::sync::Mutex<()>,
    bell: loom::sync::Condvar,
}

#[cfg(millpond_loom)]
impl Futex {
    pub(crate) fn sleep(&self, number: u32, _timeout: Option<Duration>) {
        let guard = self.sleepers.lock.lock().expect("no test panics while it holds the lock");
        if self.get() == number {
            drop(self.sleepers.bell.wait(guard));
        }
    }

    pub(crate) fn wake(&self, threads: u32) {
        let _guard = self.sleepers.lock.lock().expect("no test panics while it holds the lock");
        match threads {
            1 => self.sleepers.bell.notify_one(),
            _ => self.sleepers.bell.notify_all(),
        }
    }
}
