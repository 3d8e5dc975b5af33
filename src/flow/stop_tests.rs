//! A stop does not wait for a destination that hangs, and loses nothing.

use super::context::{Failure, SinkContext, StopSignal};
use super::drain::DrainAtStop;
use super::refused::Refused;
use super::sink::Sink;
use super::sink_runner::SinkRunner;
use super::spell::Spell;
use crate::base::clock::Clock;
use crate::base::limits::DELIVERY_STOP_SECONDS_MAX;
use crate::channel::memory::{MemoryChannel, MemoryOptions};
use crate::channel::{BoxFuture, Channel};
use crate::event::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

/// Answers each batch after so long.
struct Slow(Duration, Arc<AtomicBool>);

impl Sink for Slow {
    fn batch_events(&self) -> usize {
        2
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(
        &'a mut self,
        _: &'a SinkContext,
        _: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let answers = sleep(self.0);
        Box::pin(async move {
            answers.await;
            Ok(())
        })
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.1.store(true, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

/// Stops a sink whose destination answers after `answer` s, 1 s into its delivery: seconds that the stop takes, and
/// events that are left in the channel.
async fn stopped(answer: u64, drain: DrainAtStop) -> (u64, u64) {
    let channel: Arc<dyn Channel> = Arc::new(MemoryChannel::new(MemoryOptions::default()).unwrap());
    let mut put = channel.begin_put();
    for body in ["a", "b", "c"] {
        put.put(Event::new(body)).unwrap();
    }
    put.commit().unwrap();
    let (stop, signal) = StopSignal::new();
    let is_closed = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&is_closed);
    let runner = SinkRunner {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        make: Box::new(move || {
            Ok(Box::new(Slow(Duration::from_secs(answer), Arc::clone(&closed))))
        }),
        channel: Arc::clone(&channel),
        counters: Arc::default(),
        clock: Arc::new(RuntimeClock(Instant::now())),
        stop: signal,
        tried: watch::channel(false).0,
        started: watch::channel(false).0,
        drain_at_stop: Arc::new(drain),
        refused: Refused::default(),
        spell: Spell::default(),
        tap: Arc::default(),
    };
    let task = tokio::spawn(runner.run());
    sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    stop.send_replace(true);
    task.await.unwrap();
    assert!(is_closed.load(Ordering::SeqCst), "it lets go of what it holds");
    (asked.elapsed().as_secs(), channel.status().events)
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_delivery_that_hangs_and_its_events_stay() {
    let keeps = || DrainAtStop::from(false);
    assert_eq!(stopped(4, keeps()).await, (3, 1), "one that answers soon is waited for");
    assert_eq!(stopped(20, keeps()).await, (DELIVERY_STOP_SECONDS_MAX, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_empties_a_channel_waits_for_a_delivery_until_its_deadline() {
    let drains = || {
        let drain = DrainAtStop::from(true);
        drain.until(Duration::from_secs(16));
        drain
    };
    assert_eq!(stopped(7, drains()).await, (13, 0), "6 s of the first batch, 7 s for the second");
    assert_eq!(stopped(60, drains()).await, (15, 3));
}
