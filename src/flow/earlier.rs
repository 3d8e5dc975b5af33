//! The batch before: delivered, its acknowledgement perhaps not durable yet.
//!
//! While that is on its way to the disk the next batch is taken and prepared. It goes on by itself,
//! also when whoever waits for it is dropped.

use crate::base::clock::Clock;
use crate::base::quantity::Quantity;
use crate::channel::{BoxFuture, CommitError};
use crate::codes;
use crate::metrics::{DropReason, SinkCounters};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What an acknowledgement is reported with.
pub(super) struct Delivered {
    /// The sink's name.
    pub(super) sink: String,
    /// What it counts in.
    pub(super) counters: Arc<SinkCounters>,
    /// Events of the batch.
    pub(super) events: usize,
    /// What became of them.
    pub(super) became: Became,
    /// From handing them to the sink to its word that they are delivered.
    pub(super) took: Duration,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
}

/// What became of the events of a batch that leaves the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// They were delivered; Flume may not count that.
    Delivered { counts: bool },
    /// The sink let go of them; Flume may count that as a delivery.
    Dropped { reason: DropReason, counts: bool },
    /// They were refused, are safe elsewhere, and were counted when they got there.
    DeadLetters,
}

impl Delivered {
    /// Notes what the acknowledgement came to; whether it ended well.
    fn note(&self, committed: Result<(), CommitError>) -> bool {
        match committed {
            Ok(()) => {
                let events = self.events as u64;
                let counts = match self.became {
                    Became::Delivered { counts } => {
                        // Only now: what is delivered and never acknowledged comes again and again.
                        self.counters.delivery.note(self.took);
                        counts
                    }
                    Became::Dropped { reason, counts } => {
                        self.counters.dropped.add(events);
                        self.counters.drops.add(reason, events);
                        counts
                    }
                    Became::DeadLetters => false,
                };
                if counts {
                    self.counters.event_drain_success.add(events);
                }
                true
            }
            Err(error) => {
                self.counters.channel_read_fail.add(1);
                let events = Quantity(self.events as u64, "event");
                let words = format!(
                    "{events} delivered and not acknowledged, they may come again: {error}"
                );
                tracing::warn!(code = %codes::SINK_FAILING, sink = self.sink, "{words}");
                self.counters.failure.note(&codes::SINK_FAILING, &words, self.clock.wall_ms());
                false
            }
        }
    }
}

/// The acknowledgement of the batch before, if it is under way.
#[derive(Default)]
pub(super) struct Earlier(Option<JoinHandle<bool>>);

impl Earlier {
    /// Begins an acknowledgement; the one before it must have settled. `Some` when it ended at once:
    /// whether well.
    pub(super) async fn begin(
        &mut self,
        mut commit: BoxFuture<'static, Result<(), CommitError>>,
        delivered: Delivered,
    ) -> Option<bool> {
        debug_assert!(self.0.is_none(), "one at a time");
        let now = poll_fn(|context| match commit.as_mut().poll(context) {
            Poll::Ready(committed) => Poll::Ready(Some(committed)),
            Poll::Pending => Poll::Ready(None),
        });
        match now.await {
            Some(committed) => Some(delivered.note(committed)),
            None => {
                let note = async move { delivered.note(commit.await) };
                self.0 = Some(tokio::spawn(note));
                None
            }
        }
    }

    /// Whether there is one that has not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| !handle.is_finished())
    }

    /// Waits for its end; whether that was well, or there is none.
    pub(super) async fn settled(&mut self) -> bool {
        let Some(handle) = &mut self.0 else { return true };
        // One that panicked has said so.
        let well = handle.await.unwrap_or(false);
        self.0 = None;
        well
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::channel::contract;
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::channel::{
        Channel, CloseError, Limits, Position, PositionError, PutTransaction, Refusal, Status,
        TakeError, TakeTransaction,
    };
    use crate::disk::sim::{SimDisk, SimOptions};
    use crate::event::Event;
    use crate::flow::context::StopSignal;
    use crate::flow::refused::Refused;
    use crate::flow::sink::{Failure, Sink, SinkContext};
    use crate::flow::sink_runner::SinkRunner;
    use crate::flow::spell::Spell;
    use std::time::Duration;
    use tokio::sync::{mpsc, watch};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A channel whose acknowledgements wait until they are allowed, and end as was said.
    struct Slow {
        inner: FileChannel,
        allowed: watch::Receiver<Option<bool>>,
    }

    struct SlowTake(Box<dyn TakeTransaction>, watch::Receiver<Option<bool>>);

    impl Channel for Slow {
        fn begin_put(&self) -> Box<dyn PutTransaction> {
            self.inner.begin_put()
        }

        fn begin_take(&self) -> Box<dyn TakeTransaction> {
            Box::new(SlowTake(self.inner.begin_take(), self.allowed.clone()))
        }

        fn limits(&self) -> Limits {
            self.inner.limits()
        }

        fn status(&self) -> Status {
            self.inner.status()
        }

        fn position(&self, source: &str) -> Result<Option<Position>, PositionError> {
            self.inner.position(source)
        }

        fn close(&self) -> Result<(), CloseError> {
            self.inner.close()
        }
    }

    impl TakeTransaction for SlowTake {
        fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
            self.0.take(max)
        }

        fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
            self.0.take_async(max)
        }

        fn taken(&self) -> usize {
            self.0.taken()
        }

        fn commit(self: Box<Self>) -> Result<(), CommitError> {
            self.0.commit()
        }

        fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
            Box::pin(async move {
                let well = *self.1.wait_for(Option::is_some).await.unwrap() == Some(true);
                if well {
                    self.0.commit_async().await
                } else {
                    Err(CommitError::Refused(Refusal::Closed))
                }
            })
        }

        fn rollback(self: Box<Self>) {
            self.0.rollback();
        }
    }

    #[derive(Debug, PartialEq)]
    enum Did {
        Prepared(String),
        Delivered(String),
    }

    struct Telling(mpsc::UnboundedSender<Did>);

    impl Sink for Telling {
        fn batch_events(&self) -> usize {
            1
        }

        fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Ok(()) })
        }

        fn deliver<'a>(
            &'a mut self,
            _: &'a SinkContext,
            batch: &'a [Event],
        ) -> BoxFuture<'a, Result<(), Failure>> {
            let _ = self.0.send(Did::Delivered(String::from_utf8(batch[0].body.to_vec()).unwrap()));
            Box::pin(async { Ok(()) })
        }

        fn deliver_behind<'a>(
            &'a mut self,
            context: &'a SinkContext,
            batch: &'a [Event],
            earlier: BoxFuture<'a, bool>,
        ) -> BoxFuture<'a, Result<(), Failure>> {
            let _ = self.0.send(Did::Prepared(String::from_utf8(batch[0].body.to_vec()).unwrap()));
            Box::pin(async move {
                if earlier.await {
                    return self.deliver(context, batch).await;
                }
                Err(Failure::new("not acknowledged"))
            })
        }

        fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Ok(()) })
        }
    }

    struct Trial {
        allow: watch::Sender<Option<bool>>,
        did: mpsc::UnboundedReceiver<Did>,
        channel: Arc<Slow>,
        counters: Arc<SinkCounters>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    /// A sink on a channel with these events, one a batch.
    fn run(bodies: &[&str]) -> Trial {
        let (allow, allowed) = watch::channel(None);
        let disk = Arc::new(SimDisk::new(SimOptions::new(1)));
        let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(disk);
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(10);
        let channel = Arc::new(Slow { inner: FileChannel::open(options).unwrap(), allowed });
        contract::put(&channel.inner, bodies);
        let (to, did) = mpsc::unbounded_channel();
        let (stop, signal) = StopSignal::new();
        let counters = Arc::new(SinkCounters::default());
        let runner = SinkRunner {
            agent: "a".to_owned(),
            name: "k1".to_owned(),
            make: Box::new(move || Ok(Box::new(Telling(to.clone())))),
            channel: channel.clone(),
            counters: Arc::clone(&counters),
            clock: Arc::new(SystemClock::new()),
            stop: signal,
            tried: watch::channel(false).0,
            started: watch::channel(false).0,
            drain_at_stop: Arc::default(),
            refused: Refused::default(),
            spell: Spell::default(),
            tap: Arc::default(),
        };
        Trial { allow, did, channel, counters, stop, task: tokio::spawn(runner.run()) }
    }

    impl Trial {
        async fn next(&mut self) -> Did {
            timeout(PATIENCE, self.did.recv()).await.expect("it goes on").unwrap()
        }

        async fn end(self) -> u64 {
            self.stop.send_replace(true);
            timeout(PATIENCE, self.task).await.expect("the runner stops").unwrap();
            self.counters.event_drain_success.get()
        }
    }

    #[test]
    fn what_leaves_the_channel_is_counted_by_what_became_of_it() {
        let counters = Arc::new(SinkCounters::default());
        let lost = |counts| Became::Dropped { reason: DropReason::ErrorStatus, counts };
        let all = [
            (Became::Delivered { counts: true }, 5),
            (Became::Delivered { counts: false }, 7),
            (lost(false), 3),
            (lost(true), 20),
            (Became::DeadLetters, 1),
        ];
        for (became, events) in all {
            let counters = Arc::clone(&counters);
            let (sink, took) = ("k".to_owned(), Duration::ZERO);
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let delivered = Delivered { sink, counters, events, became, took, clock };
            assert!(delivered.note(Ok(())));
        }
        // As Flume counts, which can be told to count errors as deliveries.
        assert_eq!(counters.event_drain_success.get(), 25);
        assert_eq!(counters.dropped.get(), 23);
        assert_eq!(counters.drops.get(DropReason::ErrorStatus), 23);
        assert_eq!(counters.delivery.read().count(), 2, "only what arrived is progress");
    }

    fn prepared(body: &str) -> Did {
        Did::Prepared(body.to_owned())
    }

    fn delivered(body: &str) -> Did {
        Did::Delivered(body.to_owned())
    }

    #[tokio::test]
    async fn the_next_batch_is_prepared_and_not_delivered_while_one_is_being_acknowledged() {
        let mut trial = run(&["1", "2"]);
        assert_eq!(trial.next().await, delivered("1"));
        assert_eq!(trial.next().await, prepared("2"));
        assert!(trial.did.try_recv().is_err(), "a crash would repeat two batches");
        assert_eq!(trial.channel.status().events, 2);
        assert_eq!(trial.counters.event_drain_success.get(), 0);
        trial.allow.send_replace(Some(true));
        assert_eq!(trial.next().await, delivered("2"));
        let channel = Arc::clone(&trial.channel);
        assert_eq!(trial.end().await, 2);
        assert_eq!(channel.status().events, 0);
    }

    #[tokio::test]
    async fn a_batch_that_was_not_acknowledged_comes_again_before_the_next_one() {
        let mut trial = run(&["1", "2"]);
        assert_eq!([trial.next().await, trial.next().await], [delivered("1"), prepared("2")]);
        trial.allow.send_replace(Some(false));
        while trial.counters.channel_read_fail.get() == 0 {
            tokio::task::yield_now().await;
        }
        trial.allow.send_replace(Some(true));
        assert_eq!(trial.next().await, delivered("1"));
        while trial.next().await != delivered("2") {}
        assert_eq!(trial.end().await, 2);
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_acknowledgement() {
        let mut trial = run(&["1"]);
        assert_eq!(trial.next().await, delivered("1"));
        trial.stop.send_replace(true);
        tokio::task::yield_now().await;
        assert!(!trial.task.is_finished());
        trial.allow.send_replace(Some(true));
        assert_eq!(trial.end().await, 1);
    }
}
