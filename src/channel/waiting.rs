//! Waiting for room or for events: one state machine, driven by a thread or by a future.
//!
//! A waiting call is a *step*: it looks, and is either ready or names the deadline until which it
//! wants to be asked again. [`block`] drives a step by parking the thread, [`Waiting`] by the
//! future's waker and a [`Timer`]. Who waits stands in a [`WaitList`], first come, first served.

use super::timer::{Timer, TimerHandle};
use crate::base::clock::Clock;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// A thread looks at its clock again after this long: a clock that a test moves by hand gives no
/// other sign.
const NAP_MAX: Duration = Duration::from_millis(500);

/// What a step came to.
pub(crate) enum Step<T> {
    /// Done.
    Ready(T),
    /// Ask again when the waker was called, or when the clock has reached this.
    Until(Duration),
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives `step` on this thread until it is ready.
pub(crate) fn block<T>(clock: &dyn Clock, mut step: impl FnMut(&Waker) -> Step<T>) -> T {
    // The first look is free: a step keeps no waker when it is ready at once.
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match step(&waker) {
            Step::Ready(value) => return value,
            Step::Until(deadline) => {
                let nap = deadline.saturating_sub(clock.now()).min(NAP_MAX);
                std::thread::park_timeout(nap);
            }
        }
    }
}

/// Drives a step as a future.
pub(crate) struct Waiting<S> {
    step: S,
    timer: Timer,
    alarm: Option<(Duration, TimerHandle)>,
}

impl<S> Waiting<S> {
    /// A future that asks `step`.
    pub(crate) fn new(timer: Timer, step: S) -> Self {
        Self { step, timer, alarm: None }
    }
}

impl<T, S: FnMut(&Waker) -> Step<T> + Unpin> Future for Waiting<S> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match (self.step)(context.waker()) {
            Step::Ready(value) => {
                self.alarm = None;
                Poll::Ready(value)
            }
            Step::Until(deadline) => {
                match &self.alarm {
                    Some((set, alarm)) if *set == deadline => alarm.renew(context.waker()),
                    _ => {
                        let alarm = self.timer.wake_at(deadline, context.waker().clone());
                        self.alarm = Some((deadline, alarm));
                    }
                }
                Poll::Pending
            }
        }
    }
}

/// A place in a [`WaitList`], kept over the steps of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Who waits, in the order of arrival.
///
/// Its owner keeps it under a lock. Wakers leave it to be called or dropped behind that lock: a
/// waker may own a task, and dropping that may come back here.
#[derive(Default)]
pub(crate) struct WaitList {
    places: BTreeMap<Ticket, (Duration, Waker)>,
    next: u64,
}

impl WaitList {
    /// Takes a place, or keeps `ticket`'s and renews its waker. Answers the waker that is no
    /// longer needed, to be dropped behind the lock.
    #[must_use]
    pub(crate) fn stand(
        &mut self,
        ticket: &mut Option<Ticket>,
        deadline: Duration,
        waker: &Waker,
    ) -> Option<Waker> {
        let ticket = ticket.get_or_insert_with(|| {
            self.next += 1;
            Ticket(self.next)
        });
        if self.places.get(ticket).is_some_and(|(_, known)| known.will_wake(waker)) {
            return None;
        }
        self.places.insert(*ticket, (deadline, waker.clone())).map(|(_, waker)| waker)
    }

    /// Gives up a place.
    #[must_use]
    pub(crate) fn leave(&mut self, ticket: &mut Option<Ticket>) -> Option<Waker> {
        self.places.remove(&ticket.take()?).map(|(_, waker)| waker)
    }

    /// Whether nobody who came earlier still waits. Those whose deadline has passed do not count:
    /// a future that nobody polls must not hold up the others for longer than that.
    pub(crate) fn is_turn_of(&self, ticket: Option<Ticket>, now: Duration) -> bool {
        self.places
            .iter()
            .take_while(|(place, _)| ticket.is_none_or(|mine| **place < mine))
            .all(|(_, (deadline, _))| *deadline <= now)
    }

    /// The waker of the first who still waits.
    pub(crate) fn first(&self, now: Duration) -> Option<Waker> {
        self.places
            .values()
            .find(|(deadline, _)| *deadline > now)
            .or_else(|| self.places.values().next())
            .map(|(_, waker)| waker.clone())
    }

    /// Everyone's wakers.
    pub(crate) fn everyone(&self) -> Vec<Waker> {
        self.places.values().map(|(_, waker)| waker.clone()).collect()
    }
}
