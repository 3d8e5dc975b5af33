//! Waits for room, for events or for a write: one way for all channels, for threads and for futures.
//!
//! A waiting call is written once, as an async function that gets its [`Caller`]. A thread's waits
//! block it, so the function is ready at its first poll, which [`run_here`] does; a task's waits
//! register its waker and a [`Timer`]. There are two kinds:
//!
//! * [`Caller::changed`] waits for the next notification of an event count, and the call then checks
//!   its condition again. The file channel waits so: one notification wakes all committers of a
//!   block.
//! * [`Caller::steps`] calls a *step* until it is ready; each time the step is either ready or names
//!   the deadline at which to call it again. The channels in memory wait so, in a [`WaitList`],
//!   first come, first served.

use super::timer::{Timer, TimerHandle};
use crate::base::clock::Clock;
use crate::base::event_count::EventCount;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// The longest sleep of a thread: a clock that a test advances by hand gives no other sign.
const NAP_MAX: Duration = Duration::from_millis(500);

/// How a waiting call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Its thread may block.
    Thread,
    /// It is a future: its thread must not block.
    Task,
}

/// Runs a call with [`Caller::Thread`] on this thread.
pub(crate) fn run_here<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the waits of a thread block it"),
    }
}

impl Caller {
    /// Waits until `count` has left `generation`, or until `deadline`. A thread may also return
    /// early without a reason.
    pub(crate) async fn changed(
        self,
        count: &EventCount,
        generation: u32,
        deadline: Duration,
        timer: &Timer,
    ) {
        match self {
            Self::Thread => {
                let left = deadline.saturating_sub(timer.clock().now());
                if !left.is_zero() {
                    count.sleep(generation, Some(left));
                }
            }
            Self::Task => task_changed(count, generation, deadline, timer).await,
        }
    }

    /// Calls `step` until it is ready.
    pub(crate) fn steps<T, S>(self, timer: &Timer, step: S) -> Steps<'_, S>
    where
        S: FnMut(&Waker) -> StepResult<T> + Unpin,
    {
        Steps { caller: self, step, timer, alarm: None }
    }
}

async fn task_changed(count: &EventCount, generation: u32, deadline: Duration, timer: &Timer) {
    let mut alarm: Option<TimerHandle> = None;
    let mut watch = count.watch();
    poll_fn(|context| {
        if timer.clock().now() >= deadline {
            return Poll::Ready(());
        }
        match &alarm {
            Some(alarm) => alarm.renew(context.waker()),
            None => alarm = Some(timer.wake_at(deadline, context.waker().clone())),
        }
        if watch.until(generation, context.waker()) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// The result of a step.
pub(crate) enum StepResult<T> {
    /// Done.
    Ready(T),
    /// Call again when the waker was called, or when the clock has reached this.
    Until(Duration),
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// Wakes this thread. Made once: nearly every step is ready at its first call.
    static UNPARK: Waker = unpark();
}

fn unpark() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Drives `step` on this thread until it is ready.
fn block<T>(clock: &dyn Clock, mut step: impl FnMut(&Waker) -> StepResult<T>) -> T {
    // A thread that ends may commit in the destructor of its last value.
    let waker = UNPARK.try_with(Waker::clone).unwrap_or_else(|_| unpark());
    loop {
        match step(&waker) {
            StepResult::Ready(value) => return value,
            StepResult::Until(deadline) => {
                let nap = deadline.saturating_sub(clock.now()).min(NAP_MAX);
                std::thread::park_timeout(nap);
            }
        }
    }
}

/// The calls of a step.
pub(crate) struct Steps<'t, S> {
    caller: Caller,
    step: S,
    timer: &'t Timer,
    alarm: Option<(Duration, TimerHandle)>,
}

impl<T, S: FnMut(&Waker) -> StepResult<T> + Unpin> Future for Steps<'_, S> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let (caller, timer) = (self.caller, self.timer);
        if caller == Caller::Thread {
            return Poll::Ready(block(timer.clock(), &mut self.step));
        }
        match (self.step)(context.waker()) {
            StepResult::Ready(value) => {
                self.alarm = None;
                Poll::Ready(value)
            }
            StepResult::Until(deadline) => {
                match &self.alarm {
                    Some((set, alarm)) if *set == deadline => alarm.renew(context.waker()),
                    _ => {
                        let alarm = timer.wake_at(deadline, context.waker().clone());
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
pub(crate) struct WaitTicket(u64);

/// The waiting calls, in the order of arrival.
///
/// Its owner keeps it under a lock. Wakers are returned, to be called or dropped after that lock: a
/// waker may own a task, and dropping that may reenter.
#[derive(Default)]
pub(crate) struct WaitList {
    places: BTreeMap<WaitTicket, (Duration, Waker)>,
    next: u64,
}

impl WaitList {
    /// Takes a place, or keeps `ticket`'s and renews its waker. Returns the waker that is no longer
    /// needed, to be dropped after the lock.
    #[must_use]
    pub(crate) fn register(
        &mut self,
        ticket: &mut Option<WaitTicket>,
        deadline: Duration,
        waker: &Waker,
    ) -> Option<Waker> {
        let ticket = ticket.get_or_insert_with(|| {
            self.next += 1;
            WaitTicket(self.next)
        });
        if self.places.get(ticket).is_some_and(|(_, known)| known.will_wake(waker)) {
            return None;
        }
        self.places.insert(*ticket, (deadline, waker.clone())).map(|(_, waker)| waker)
    }

    /// Leaves the list.
    #[must_use]
    pub(crate) fn leave(&mut self, ticket: &mut Option<WaitTicket>) -> Option<Waker> {
        self.places.remove(&ticket.take()?).map(|(_, waker)| waker)
    }

    /// Returns whether no earlier call still waits. Those whose deadline has passed do not count: a
    /// future that is not polled must not delay the others for longer than that.
    pub(crate) fn is_turn_of(&self, ticket: Option<WaitTicket>, now: Duration) -> bool {
        self.places
            .iter()
            .take_while(|(place, _)| ticket.is_none_or(|mine| **place < mine))
            .all(|(_, (deadline, _))| *deadline <= now)
    }

    /// Returns the waker of the first call that still waits.
    pub(crate) fn first(&self, now: Duration) -> Option<Waker> {
        self.places
            .values()
            .find(|(deadline, _)| *deadline > now)
            .or_else(|| self.places.values().next())
            .map(|(_, waker)| waker.clone())
    }

    /// Returns all wakers.
    pub(crate) fn everyone(&self) -> Vec<Waker> {
        self.places.values().map(|(_, waker)| waker.clone()).collect()
    }
}
