//! A word that threads and tasks wait on.
//!
//! Whoever changes something that others wait for calls [`Signal::raise`] afterwards; whoever
//! waits reads [`Signal::turn`] *before* it looks, and then waits for the turn to change. A raise
//! between the look and the wait is thus never missed.

use super::atomic::{AtomicU32, AtomicU64, Mutex, Ordering, total_order};
use super::word::Word;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

/// Something to wait on, for threads and for tasks.
#[derive(Debug, Default)]
pub struct Signal {
    word: Word,
    sleepers: AtomicU32,
    tasks: Mutex<Vec<(u64, Waker)>>,
    keys: AtomicU64,
}

/// One future's place among the tasks of a signal. It goes with the future: dropped ones would
/// else gather on a signal that is rarely raised. Each has a key of its own, because two futures
/// of one task have the same waker, and the end of one must not take the other's along.
#[derive(Debug)]
pub struct Watch<'s> {
    signal: &'s Signal,
    key: u64,
}

impl Signal {
    /// The present turn; changes with each raise.
    #[must_use]
    pub fn turn(&self) -> u32 {
        self.word.get()
    }

    /// Threads that sleep on it now.
    #[must_use]
    pub fn sleepers(&self) -> u32 {
        self.sleepers.load(Ordering::SeqCst)
    }

    /// Sleeps until the turn is no longer `turn`, or until `timeout` has passed. May also return
    /// early for no reason.
    pub fn sleep(&self, turn: u32, timeout: Option<Duration>) {
        // Counted before the look, as whoever raises advances before it counts: one of the two
        // sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        total_order();
        if self.turn() == turn {
            self.word.sleep(turn, timeout);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// A place for a future that waits.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        Watch { signal: self, key: self.keys.fetch_add(1, Ordering::Relaxed) }
    }

    /// Starts the next turn and wakes everyone.
    pub fn raise(&self) {
        let tasks = self.advance();
        if self.sleepers() > 0 {
            self.word.wake(u32::MAX >> 1);
        }
        for (_, task) in tasks {
            task.wake();
        }
    }

    /// Starts the next turn and wakes one sleeping thread; answers false if none sleeps. Tasks
    /// are not woken.
    pub fn nudge(&self) -> bool {
        if self.sleepers() == 0 {
            return false;
        }
        self.word.advance();
        self.word.wake(1);
        true
    }

    /// Wakes everyone who sleeps although nothing has changed, as a raise does whose wake comes late.
    #[cfg(all(test, feature = "agent"))]
    pub(crate) fn wake_for_nothing(&self) {
        self.word.wake(u32::MAX >> 1);
    }

    fn advance(&self) -> Vec<(u64, Waker)> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        self.word.advance();
        std::mem::take(&mut *tasks)
    }
}

impl Watch<'_> {
    /// Has `waker` woken when the turn is no longer `turn`. Answers false, and forgets the
    /// waker, when it has changed already.
    #[must_use]
    pub fn until(&mut self, turn: u32, waker: &Waker) -> bool {
        let mut tasks = self.signal.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.signal.turn() != turn {
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

/// Every order in which the two sides can run.
#[cfg(all(test, millpond_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;
    use std::task::Wake;

    /// The sleeper of a lost wake-up would sleep for ever, which loom reports as a deadlock.
    #[test]
    fn every_order_of_looking_sleeping_and_raising_wakes_the_sleeper() {
        loom::model(|| {
            let (done, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(Signal::default()));
            let sleeper = {
                let (done, signal) = (Arc::clone(&done), Arc::clone(&signal));
                thread::spawn(move || {
                    loop {
                        let turn = signal.turn();
                        if done.load(Ordering::Acquire) {
                            return;
                        }
                        signal.sleep(turn, None);
                    }
                })
            };
            done.store(true, Ordering::Release);
            signal.raise();
            sleeper.join().unwrap();
        });
    }

    /// A nudge that answers true was for somebody: it looks again.
    #[test]
    fn a_nudge_that_found_a_sleeper_is_not_lost() {
        loom::model(|| {
            let (work, signal) = (Arc::new(AtomicU32::new(0)), Arc::new(Signal::default()));
            let sleeper = {
                let (work, signal) = (Arc::clone(&work), Arc::clone(&signal));
                thread::spawn(move || {
                    let turn = signal.turn();
                    if work.load(Ordering::SeqCst) == 0 {
                        signal.sleep(turn, None);
                    }
                })
            };
            work.store(1, Ordering::SeqCst);
            total_order();
            if !signal.nudge() {
                // It had not fallen asleep: either it saw the work or the raise reaches it.
                signal.raise();
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

    /// A future either finds the turn over or is woken.
    #[test]
    fn every_order_of_registering_and_raising_wakes_the_task() {
        loom::model(|| {
            let signal = Arc::new(Signal::default());
            let turn = signal.turn();
            let raiser = {
                let signal = Arc::clone(&signal);
                thread::spawn(move || signal.raise())
            };
            let flag = std::sync::Arc::new(Flag(false.into()));
            let mut watch = signal.watch();
            let registered = watch.until(turn, &std::sync::Arc::clone(&flag).into());
            raiser.join().unwrap();
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

    /// Every order of the two sides' steps is driven through by the scheduler: a raise between
    /// the look and the sleep is the one that must not be missed. A missed one would sleep out
    /// the whole patience, and the rounds would never end.
    #[test]
    fn a_raise_between_the_look_and_the_sleep_is_never_missed() {
        let (ball, signal) = (AtomicU32::new(0), Signal::default());
        std::thread::scope(|scope| {
            for side in 0..2 {
                let (ball, signal) = (&ball, &signal);
                scope.spawn(move || {
                    while ball.load(Ordering::SeqCst) < 20_000 {
                        let turn = signal.turn();
                        let at = ball.load(Ordering::SeqCst);
                        if at % 2 == side {
                            ball.fetch_add(1, Ordering::SeqCst);
                            signal.raise();
                        } else if at < 20_000 {
                            signal.sleep(turn, PATIENCE);
                            let late = ball.load(Ordering::SeqCst) == at;
                            assert!(!late || signal.turn() != turn || at % 2 != side);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_raise_wakes_every_sleeper_and_a_nudge_one() {
        let signal = Signal::default();
        let awake = AtomicU32::new(0);
        let turn = signal.turn();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while signal.turn() == turn {
                        signal.sleep(turn, PATIENCE);
                    }
                    awake.fetch_add(1, Ordering::SeqCst);
                });
            }
            while signal.sleepers() < 8 {
                std::thread::yield_now();
            }
            signal.raise();
        });
        assert_eq!(awake.into_inner(), 8);
        assert!(!signal.nudge(), "nobody sleeps");
        let turn = signal.turn();
        std::thread::scope(|scope| {
            scope.spawn(|| signal.sleep(turn, PATIENCE));
            while !signal.nudge() {
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn a_task_is_woken_once_and_not_registered_for_a_turn_that_is_over() {
        let signal = Signal::default();
        let (woken, waker) = flag();
        let turn = signal.turn();
        let mut watch = signal.watch();
        assert!(watch.until(turn, &waker) && watch.until(turn, &waker));
        signal.raise();
        assert!(woken.0.swap(false, Ordering::SeqCst));
        assert!(!watch.until(turn, &waker), "the turn is over");
        signal.raise();
        assert!(!woken.0.load(Ordering::SeqCst), "it is not kept");
    }

    #[test]
    fn a_future_that_went_away_is_forgotten_and_its_neighbour_in_the_same_task_is_not() {
        let signal = Signal::default();
        let (woken, waker) = flag();
        let (mut one, mut two) = (signal.watch(), signal.watch());
        assert!(one.until(signal.turn(), &waker) && two.until(signal.turn(), &waker));
        drop(one);
        signal.raise();
        assert!(woken.0.swap(false, Ordering::SeqCst), "the other one still waits");
        assert!(two.until(signal.turn(), &waker));
        drop(two);
        signal.raise();
        assert!(!woken.0.load(Ordering::SeqCst));
    }
}
