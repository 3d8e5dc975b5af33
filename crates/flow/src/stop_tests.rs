//! A stop does not wait for a destination that hangs, and loses no event.

use super::context::{Failure, SinkContext, StopSignal};
use super::dead_letter::RefusedEvents;
use super::failure_log::FailureLog;
use super::runtime_clock::RuntimeClock;
use super::sink::Sink;
use super::sink_runner::SinkRunner;
use super::stop_drain::DrainAtStop;
use crate::base::limits::DELIVERY_STOP_SECONDS_MAX;
use millpond::{BoxFuture, Channel, Event, MemoryChannel, MemoryOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// A sink that confirms each batch after this time.
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
        let reply = sleep(self.0);
        Box::pin(async move {
            reply.await;
            Ok(())
        })
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.1.store(true, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

/// Stops a sink whose destination replies after `answer` s, 1 s into its delivery; returns the seconds that the
/// stop takes and the events left in the channel.
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
        clock: Arc::new(RuntimeClock::new()),
        stop: signal,
        tried: watch::channel(false).0,
        started: watch::channel(false).0,
        drain_at_stop: Arc::new(drain),
        refused: RefusedEvents::default(),
        failure_log: FailureLog::default(),
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
    assert_eq!(stopped(4, keeps()).await, (3, 1), "a reply that arrives soon is awaited");
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
