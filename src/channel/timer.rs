//! Wakes futures at a deadline, without a runtime: one thread, started when first needed.
//!
//! Limits: one thread per [`Timer`], an entry per live [`TimerHandle`]. The thread ends, and is
//! joined, when the last clone of its timer is dropped.

use crate::base::clock::Clock;
use crate::base::codes;
use crate::base::threads;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest sleep of the thread even if no deadline is near: a clock that a test advances by
/// hand gives no other sign.
const NAP_MAX: Duration = Duration::from_millis(500);

/// Wakes futures at a deadline. Clones share one thread.
#[derive(Clone)]
pub(crate) struct Timer {
    owner: Arc<Owner>,
}

/// Joins the thread when the last clone is dropped.
struct Owner {
    shared: Arc<TimerState>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct TimerState {
    clock: Arc<dyn Clock>,
    state: Mutex<Alarms>,
    changed: Condvar,
}

#[derive(Default)]
struct Alarms {
    /// By deadline, then by a number that makes the key unique.
    due: BTreeMap<(Duration, u64), Waker>,
    next_number: u64,
    /// When the thread wakes by itself; [`Duration::MAX`] while it sleeps until it is notified.
    looks_at: Duration,
    ended: bool,
}

/// A deadline for which a future waits. Dropping it cancels.
pub(crate) struct TimerHandle {
    shared: Arc<TimerState>,
    key: (Duration, u64),
}

impl Alarms {
    /// Adds a deadline; returns its key, and whether the thread has to be notified. Nearly every
    /// wait ends long before its deadline: the thread is not notified of deadlines that it will see
    /// in time.
    fn add(&mut self, deadline: Duration, waker: Waker) -> ((Duration, u64), bool) {
        let key = (deadline, self.next_number);
        self.next_number += 1;
        self.due.insert(key, waker);
        (key, deadline < self.looks_at)
    }
}

impl Timer {
    /// Returns a timer on `clock`; its thread starts with the first deadline.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(TimerState {
            clock,
            state: Mutex::new(Alarms::default()),
            changed: Condvar::new(),
        });
        Self { owner: Arc::new(Owner { shared, thread: Mutex::new(None) }) }
    }

    /// Returns its clock.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.owner.shared.clock
    }

    /// Calls `waker` once the clock's `now` has reached `deadline`.
    ///
    /// When the operating system refuses the thread, `waker` is called at once and every time
    /// again: the future polls too often, but it does not sleep for ever.
    pub(crate) fn wake_at(&self, deadline: Duration, waker: Waker) -> TimerHandle {
        let shared = &self.owner.shared;
        let (key, call) = shared.lock().add(deadline, waker);
        let handle = TimerHandle { shared: Arc::clone(shared), key };
        if !self.owner.running() {
            handle.wake();
        } else if call {
            shared.changed.notify_one();
        }
        handle
    }
}

impl TimerHandle {
    /// Replaces the waker: a future may move to another task between polls.
    pub(crate) fn renew(&self, waker: &Waker) {
        let mut alarms = self.shared.lock();
        let replaced = match alarms.due.get_mut(&self.key) {
            Some(known) if known.will_wake(waker) => None,
            Some(known) => Some(std::mem::replace(known, waker.clone())),
            // It was already called.
            None => {
                drop(alarms);
                return waker.wake_by_ref();
            }
        };
        drop(alarms);
        // After the lock: dropping a waker may drop a task, and that task's handles.
        drop(replaced);
    }

    fn wake(&self) {
        let waker = self.shared.lock().due.remove(&self.key);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for TimerHandle {
    fn drop(&mut self) {
        // Dropped after the lock, as in `renew`.
        let cancelled = self.shared.lock().due.remove(&self.key);
        drop(cancelled);
    }
}

impl Owner {
    /// Returns whether the thread runs, after starting it if it never did.
    fn running(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return true;
        }
        let shared = Arc::clone(&self.shared);
        match threads::spawn("channel-timer", move || shared.run()) {
            Ok(handle) => {
                *thread = Some(handle);
                true
            }
            Err(error) => {
                tracing::warn!(code = %codes::THREAD_REFUSED, "cannot start the channel's timer thread: {error}");
                false
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The last clone may be dropped in a waker, on the timer's own thread: it ends by
            // itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl TimerState {
    fn lock(&self) -> MutexGuard<'_, Alarms> {
        // No callback runs under the lock, so the map is whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut alarms = self.lock();
        while !alarms.ended {
            let now = self.clock.now();
            match alarms.due.first_key_value() {
                Some((&key, _)) if key.0 <= now => {
                    let waker = alarms.due.remove(&key);
                    drop(alarms);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    alarms = self.lock();
                }
                Some((&(deadline, _), _)) => {
                    let nap = (deadline - now).min(NAP_MAX);
                    alarms.looks_at = now.saturating_add(nap);
                    alarms = self
                        .changed
                        .wait_timeout(alarms, nap)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                None => {
                    alarms.looks_at = Duration::MAX;
                    alarms = self.changed.wait(alarms).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use std::sync::mpsc;
    use std::task::Wake;

    struct Ring(u32, Mutex<mpsc::Sender<u32>>);

    impl Wake for Ring {
        fn wake(self: Arc<Self>) {
            let _ = self.1.lock().unwrap().send(self.0);
        }
    }

    fn ring(number: u32, to: &mpsc::Sender<u32>) -> Waker {
        Waker::from(Arc::new(Ring(number, Mutex::new(to.clone()))))
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn wakes_in_the_order_of_the_deadlines_and_not_early() {
        let clock = Arc::new(SystemClock::new());
        let timer = Timer::new(clock.clone());
        let (to, woken) = mpsc::channel();
        let start = clock.now();
        let _late = timer.wake_at(start + Duration::from_millis(60), ring(2, &to));
        let _soon = timer.wake_at(start + Duration::from_millis(20), ring(1, &to));
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(1));
        assert!(clock.now() - start >= Duration::from_millis(20));
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(2));
        assert!(clock.now() - start >= Duration::from_millis(60));
    }

    #[test]
    fn the_thread_is_called_only_for_what_it_would_see_too_late() {
        let clock = Arc::new(SystemClock::new());
        let timer = Timer::new(clock.clone());
        let shared = &timer.owner.shared;
        let far = clock.now() + 1000 * PATIENCE;
        let _far = timer.wake_at(far, Waker::noop().clone());
        let looks_at = loop {
            let at = shared.lock().looks_at;
            if !at.is_zero() {
                break at;
            }
            assert!(clock.now() < PATIENCE, "the thread does not wake");
            std::thread::yield_now();
        };
        assert!(looks_at < far, "it wakes before, in case the clock is advanced by hand");
        let mut alarms = shared.lock();
        // It may have woken again meanwhile.
        let looks_at = alarms.looks_at;
        assert!(!alarms.add(looks_at, Waker::noop().clone()).1);
        assert!(alarms.add(looks_at - Duration::from_millis(1), Waker::noop().clone()).1);
        alarms.due.clear();
        drop(alarms);
        // Without deadlines it sleeps until it is notified.
        while shared.lock().looks_at != Duration::MAX {
            assert!(clock.now() < PATIENCE, "the thread does not come to rest");
            std::thread::yield_now();
        }
        let (to, woken) = mpsc::channel();
        let _soon = timer.wake_at(clock.now(), ring(1, &to));
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(1));
    }

    #[test]
    fn a_dropped_handle_cancels_and_a_renewed_one_wakes_the_new_waker() {
        let clock = Arc::new(SystemClock::new());
        let timer = Timer::new(clock.clone());
        let (to, woken) = mpsc::channel();
        let soon = clock.now() + Duration::from_millis(30);
        drop(timer.wake_at(soon, ring(1, &to)));
        let moved = timer.wake_at(soon, ring(2, &to));
        moved.renew(&ring(3, &to));
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(3));
        moved.renew(&ring(4, &to));
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(4), "late renewal must wake at once");
        assert!(woken.try_recv().is_err());
    }

    #[test]
    fn dropping_the_timer_ends_its_thread_also_from_within_a_waker() {
        struct Holder(Mutex<Option<Timer>>, mpsc::Sender<u32>);
        impl Wake for Holder {
            fn wake(self: Arc<Self>) {
                drop(self.0.lock().unwrap().take());
                let _ = self.1.send(7);
            }
        }
        let timer = Timer::new(Arc::new(SystemClock::new()));
        let shared = Arc::downgrade(&timer.owner.shared);
        let (to, woken) = mpsc::channel();
        let holder = Arc::new(Holder(Mutex::new(None), to));
        // Held until the timer itself is stored, so that the waker finds it.
        let guard = holder.0.lock().unwrap();
        let handle = timer.wake_at(Duration::ZERO, Waker::from(holder.clone()));
        { guard }.replace(timer);
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(7));
        drop(handle);
        let clock = SystemClock::new();
        while shared.upgrade().is_some() {
            assert!(clock.now() < PATIENCE, "the thread did not end");
            std::thread::yield_now();
        }
    }
}
