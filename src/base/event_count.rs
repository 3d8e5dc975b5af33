//! An event count: threads and tasks wait for its next notification.
//!
//! After a change that others wait for, the changing thread calls [`EventCount::notify_all`]. A waiter reads
//! [`EventCount::generation`] *before* it checks its condition, and then waits for the generation to change. So a
//! notification between the check and the wait is never missed.

use super::atomic::{AtomicU32, AtomicU64, Mutex, Ordering, total_order};
use super::futex::Futex;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

/// An event count for threads and tasks.
#[derive(Debug, Default)]
pub struct EventCount {
    futex: Futex,
    sleepers: AtomicU32,
    tasks: Mutex<Vec<(u64, Waker)>>,
    keys: AtomicU64,
}

/// The registration of one future with an event count. It is removed when the future is dropped: dropped futures would
/// otherwise accumulate on an event count that is rarely notified. Each has a key of its own, because two futures of
/// one task have the same waker, and the end of one must not remove the other.
#[derive(Debug)]
pub struct Watch<'s> {
    signal: &'s EventCount,
    key: u64,
}

impl EventCount {
    /// Returns the current generation; changes with each notification.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.futex.get()
    }

    /// Returns the number of threads that sleep on it now.
    #[must_use]
    pub fn sleepers(&self) -> u32 {
        self.sleepers.load(Ordering::SeqCst)
    }

    /// Sleeps until the generation is no longer `generation`, or until `timeout` has passed. May also return early
    /// without a reason.
    pub fn sleep(&self, generation: u32, timeout: Option<Duration>) {
        // Counted before the check, as a notifier advances before it reads the count: one of the two sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        total_order();
        if self.generation() == generation {
            self.futex.sleep(generation, timeout);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns a registration for a future.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        Watch { signal: self, key: self.keys.fetch_add(1, Ordering::Relaxed) }
    }

    /// Starts the next generation and wakes all waiters.
    pub fn notify_all(&self) {
        let tasks = self.advance();
        if self.sleepers() > 0 {
            self.futex.wake(u32::MAX >> 1);
        }
        for (_, task) in tasks {
            task.wake();
        }
    }

    /// Starts the next generation and wakes one sleeping thread; returns false if none sleeps. Tasks are not woken.
    pub fn notify_one(&self) -> bool {
        if self.sleepers() == 0 {
            return false;
        }
        self.futex.advance();
        self.futex.wake(1);
        true
    }

    /// Wakes all sleepers although nothing has changed, as a notification does whose wake comes late.
    pub fn wake_for_nothing(&self) {
        self.futex.wake(u32::MAX >> 1);
    }

    fn advance(&self) -> Vec<(u64, Waker)> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        self.futex.advance();
        std::mem::take(&mut *tasks)
    }
}

impl Watch<'_> {
    /// Registers `waker` to be woken when the generation is no longer `generation`. Returns false, and drops the waker,
    /// if it has changed already.
    #[must_use]
    pub fn until(&mut self, generation: u32, waker: &Waker) -> bool {
        let mut tasks = self.signal.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.signal.generation() != generation {
            return false;
        }
        match tasks.iter_mut().find(|(key, _)| *key == self.key) {
            Some((_, known)) => known.clone_from(waker),
            None => tasks.push((self.key, waker.clone())),
        }
        true
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut tasks = self.signal.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = tasks.iter().position(|(key, _)| *key == self.key) {
            tasks.swap_remove(at);
        }
    }
}

/// Every interleaving of the two sides.
#[cfg(all(test, millpond_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;
    use std::task::Wake;

    /// The sleeper of a lost wake-up would sleep forever, which loom reports as a deadlock.
    #[test]
    fn every_order_of_check_sleep_and_notify_wakes_the_sleeper() {
        loom::model(|| {
            let (done, signal) =
                (Arc::new(AtomicBool::new(false)), Arc::new(EventCount::default()));
            let sleeper = {
                let (done, signal) = (Arc::clone(&done), Arc::clone(&signal));
                thread::spawn(move || {
                    loop {
                        let generation = signal.generation();
                        if done.load(Ordering::Acquire) {
                            return;
                        }
                        signal.sleep(generation, None);
                    }
                })
            };
            done.store(true, Ordering::Release);
            signal.notify_all();
            sleeper.join().unwrap();
        });
    }

    /// A single notification that returned true reached a thread, which checks again.
    #[test]
    fn a_notify_one_that_found_a_sleeper_is_not_lost() {
        loom::model(|| {
            let (work, signal) = (Arc::new(AtomicU32::new(0)), Arc::new(EventCount::default()));
            let sleeper = {
                let (work, signal) = (Arc::clone(&work), Arc::clone(&signal));
                thread::spawn(move || {
                    let generation = signal.generation();
                    if work.load(Ordering::SeqCst) == 0 {
                        signal.sleep(generation, None);
                    }
                })
            };
            work.store(1, Ordering::SeqCst);
            total_order();
            if !signal.notify_one() {
                // It was not asleep yet: either it saw the work or the notification reaches it.
                signal.notify_all();
            }
            sleeper.join().unwrap();
        });
    }

    struct Flag(std::sync::atomic::AtomicBool);

    impl Wake for Flag {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// A future either finds that the generation has passed or is woken.
    #[test]
    fn every_order_of_register_and_notify_wakes_the_task() {
        loom::model(|| {
            let signal = Arc::new(EventCount::default());
            let generation = signal.generation();
            let notifier = {
                let signal = Arc::clone(&signal);
                thread::spawn(move || signal.notify_all())
            };
            let flag = std::sync::Arc::new(Flag(false.into()));
            let mut watch = signal.watch();
            let registered = watch.until(generation, &std::sync::Arc::clone(&flag).into());
            notifier.join().unwrap();
            let woken = flag.0.load(Ordering::SeqCst);
            assert_eq!(registered, woken, "registered and never woken, or woken twice over");
        });
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn flag() -> (Arc<Flag>, Waker) {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        (Arc::clone(&flag), Waker::from(flag))
    }

    /// The scheduler drives both sides through every order of steps: the notification between the check and the sleep
    /// must not be missed. A missed one would sleep for the whole timeout, and the rounds would never end.
    #[test]
    fn a_notification_between_check_and_sleep_is_never_missed() {
        let (ball, signal) = (AtomicU32::new(0), EventCount::default());
        std::thread::scope(|scope| {
            for side in 0..2 {
                let (ball, signal) = (&ball, &signal);
                scope.spawn(move || {
                    while ball.load(Ordering::SeqCst) < 20_000 {
                        let generation = signal.generation();
                        let at = ball.load(Ordering::SeqCst);
                        if at % 2 == side {
                            ball.fetch_add(1, Ordering::SeqCst);
                            signal.notify_all();
                        } else if at < 20_000 {
                            signal.sleep(generation, PATIENCE);
                            let late = ball.load(Ordering::SeqCst) == at;
                            assert!(!late || signal.generation() != generation || at % 2 != side);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn notify_all_wakes_every_sleeper_and_notify_one_wakes_one() {
        let signal = EventCount::default();
        let awake = AtomicU32::new(0);
        let generation = signal.generation();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while signal.generation() == generation {
                        signal.sleep(generation, PATIENCE);
                    }
                    awake.fetch_add(1, Ordering::SeqCst);
                });
            }
            while signal.sleepers() < 8 {
                std::thread::yield_now();
            }
            signal.notify_all();
        });
        assert_eq!(awake.into_inner(), 8);
        assert!(!signal.notify_one(), "no thread sleeps");
        let generation = signal.generation();
        std::thread::scope(|scope| {
            scope.spawn(|| signal.sleep(generation, PATIENCE));
            while !signal.notify_one() {
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn a_task_is_woken_once_and_not_registered_for_a_generation_that_is_over() {
        let signal = EventCount::default();
        let (woken, waker) = flag();
        let generation = signal.generation();
        let mut watch = signal.watch();
        assert!(watch.until(generation, &waker) && watch.until(generation, &waker));
        signal.notify_all();
        assert!(woken.0.swap(false, Ordering::SeqCst));
        assert!(!watch.until(generation, &waker), "the generation is over");
        signal.notify_all();
        assert!(!woken.0.load(Ordering::SeqCst), "it is not kept");
    }

    #[test]
    fn a_dropped_future_is_forgotten_and_another_of_the_same_task_is_not() {
        let signal = EventCount::default();
        let (woken, waker) = flag();
        let (mut one, mut two) = (signal.watch(), signal.watch());
        assert!(one.until(signal.generation(), &waker) && two.until(signal.generation(), &waker));
        drop(one);
        signal.notify_all();
        assert!(woken.0.swap(false, Ordering::SeqCst), "the other one still waits");
        assert!(two.until(signal.generation(), &waker));
        drop(two);
        signal.notify_all();
        assert!(!woken.0.load(Ordering::SeqCst));
    }
}
