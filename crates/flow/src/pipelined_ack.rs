//! The acknowledgement of the previous batch, which may not be durable yet.
//!
//! While it is being written the next batch is taken and prepared. It goes on by itself, also if the waiting task
//! is dropped.

use crate::codes;
use crate::metrics::{DropReason, SinkCounters};
use millpond::internal::base::quantity::Quantity;
use millpond::{BoxFuture, Clock, CommitError};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A delivered batch, for the report of its acknowledgement.
pub(super) struct DeliveredBatch {
    /// The sink's name.
    pub(super) sink: String,
    /// The sink's counters.
    pub(super) counters: Arc<SinkCounters>,
    /// Number of events.
    pub(super) events: usize,
    /// Outcome of the events.
    pub(super) became: BatchOutcome,
    /// Time from handing them to the sink until the sink confirmed their delivery.
    pub(super) took: Duration,
    /// The clock.
    pub(super) clock: Arc<dyn Clock>,
}

/// The outcome of the events of a batch that leaves the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    /// Delivered; `counts` if Flume counts it as a delivery.
    Delivered { counts: bool },
    /// Dropped by the sink; `counts` if Flume counts it as a delivery.
    Dropped { reason: DropReason, counts: bool },
    /// Refused and stored in the dead-letter queue, where they were counted.
    DeadLetters,
}

impl DeliveredBatch {
    /// Records the outcome of the acknowledgement; returns true if it succeeded.
    fn note(&self, committed: Result<(), CommitError>) -> bool {
        match committed {
            Ok(()) => {
                let events = self.events as u64;
                let counts = match self.became {
                    BatchOutcome::Delivered { counts } => {
                        // Not earlier: a batch that is delivered but never acknowledged is repeated.
                        self.counters.delivery.note(self.took);
                        counts
                    }
                    BatchOutcome::Dropped { reason, counts } => {
                        self.counters.dropped.add(events);
                        self.counters.drops.add(reason, events);
                        counts
                    }
                    BatchOutcome::DeadLetters => false,
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
                    "{events} delivered and not acknowledged, they may be delivered again: {error}"
                );
                tracing::warn!(code = %codes::SINK_FAILING, sink = self.sink, "{words}");
                self.counters.failure.note(&codes::SINK_FAILING, &words, self.clock.wall_ms());
                false
            }
        }
    }
}

/// The acknowledgement of the previous batch, if it is under way.
#[derive(Default)]
pub(super) struct PipelinedAck(Option<JoinHandle<bool>>);

impl PipelinedAck {
    /// Begins an acknowledgement; the previous one must have settled. `Some` if it ended at once, with true for
    /// success.
    pub(super) async fn begin(
        &mut self,
        mut commit: BoxFuture<'static, Result<(), CommitError>>,
        delivered: DeliveredBatch,
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

    /// Returns true while an acknowledgement is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| !handle.is_finished())
    }

    /// Waits for its end; returns true if it succeeded or there is none.
    pub(super) async fn finish(&mut self) -> bool {
        let Some(handle) = &mut self.0 else { return true };
        // A panic was logged already.
        let well = handle.await.unwrap_or(false);
        self.0 = None;
        well
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::StopSignal;
    use crate::dead_letter::RefusedEvents;
    use crate::failure_log::FailureLog;
    use crate::sink::{Failure, Sink, SinkContext};
    use crate::sink_runner::SinkRunner;
    use millpond::{
        Channel, CloseError, CommittedOffset, Event, FileChannel, FileChannelOptions, Limits,
        PutTransaction, RefusedReason, SourceOffsetError, Status, SystemClock, TakeError,
        TakeTransaction,
    };
    use millpond_sim::contract;
    use millpond_sim::disk::{SimDisk, SimOptions};
    use std::time::Duration;
    use tokio::sync::{mpsc, watch};
    use tokio::time::timeout;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A channel whose acknowledgements wait for a permit, and end as scripted.
    struct SlowChannel {
        inner: FileChannel,
        allowed: watch::Receiver<Option<bool>>,
    }

    struct SlowTake(Box<dyn TakeTransaction>, watch::Receiver<Option<bool>>);

    impl Channel for SlowChannel {
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

        fn source_offset(
            &self,
            source: &str,
        ) -> Result<Option<CommittedOffset>, SourceOffsetError> {
            self.inner.source_offset(source)
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
                    Err(CommitError::Refused(RefusedReason::Closed))
                }
            })
        }

        fn rollback(self: Box<Self>) {
            self.0.rollback();
        }
    }

    #[derive(Debug, PartialEq)]
    enum SinkCall {
        Prepared(String),
        Delivered(String),
    }

    struct RecordingSink(mpsc::UnboundedSender<SinkCall>);

    impl Sink for RecordingSink {
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
            let _ = self
                .0
                .send(SinkCall::Delivered(String::from_utf8(batch[0].body.to_vec()).unwrap()));
            Box::pin(async { Ok(()) })
        }

        fn deliver_pipelined<'a>(
            &'a mut self,
            context: &'a SinkContext,
            batch: &'a [Event],
            pipelined_ack: BoxFuture<'a, bool>,
        ) -> BoxFuture<'a, Result<(), Failure>> {
            let _ =
                self.0.send(SinkCall::Prepared(String::from_utf8(batch[0].body.to_vec()).unwrap()));
            Box::pin(async move {
                if pipelined_ack.await {
                    return self.deliver(context, batch).await;
                }
                Err(Failure::new("not acknowledged"))
            })
        }

        fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Ok(()) })
        }
    }

    struct PipelineRun {
        allow: watch::Sender<Option<bool>>,
        did: mpsc::UnboundedReceiver<SinkCall>,
        channel: Arc<SlowChannel>,
        counters: Arc<SinkCounters>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    /// Runs a sink on a channel with these events, one per batch.
    fn run(bodies: &[&str]) -> PipelineRun {
        let (allow, allowed) = watch::channel(None);
        let disk = Arc::new(SimDisk::new(SimOptions::new(1)));
        let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(disk);
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(10);
        let channel = Arc::new(SlowChannel { inner: FileChannel::open(options).unwrap(), allowed });
        contract::put(&channel.inner, bodies);
        let (to, did) = mpsc::unbounded_channel();
        let (stop, signal) = StopSignal::new();
        let counters = Arc::new(SinkCounters::default());
        let runner = SinkRunner {
            agent: "a".to_owned(),
            name: "k1".to_owned(),
            make: Box::new(move || Ok(Box::new(RecordingSink(to.clone())))),
            channel: channel.clone(),
            counters: Arc::clone(&counters),
            clock: Arc::new(SystemClock::new()),
            stop: signal,
            tried: watch::channel(false).0,
            started: watch::channel(false).0,
            drain_at_stop: Arc::default(),
            refused: RefusedEvents::default(),
            failure_log: FailureLog::default(),
            tap: Arc::default(),
        };
        PipelineRun { allow, did, channel, counters, stop, task: tokio::spawn(runner.run()) }
    }

    impl PipelineRun {
        async fn next(&mut self) -> SinkCall {
            timeout(TIMEOUT, self.did.recv()).await.expect("it goes on").unwrap()
        }

        async fn end(self) -> u64 {
            self.stop.send_replace(true);
            timeout(TIMEOUT, self.task).await.expect("the runner stops").unwrap();
            self.counters.event_drain_success.get()
        }
    }

    #[test]
    fn events_that_leave_the_channel_are_counted_by_their_outcome() {
        let counters = Arc::new(SinkCounters::default());
        let lost = |counts| BatchOutcome::Dropped { reason: DropReason::ErrorStatus, counts };
        let all = [
            (BatchOutcome::Delivered { counts: true }, 5),
            (BatchOutcome::Delivered { counts: false }, 7),
            (lost(false), 3),
            (lost(true), 20),
            (BatchOutcome::DeadLetters, 1),
        ];
        for (became, events) in all {
            let counters = Arc::clone(&counters);
            let (sink, took) = ("k".to_owned(), Duration::ZERO);
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let delivered = DeliveredBatch { sink, counters, events, became, took, clock };
            assert!(delivered.note(Ok(())));
        }
        // As in Flume, errors may be configured to count as deliveries.
        assert_eq!(counters.event_drain_success.get(), 25);
        assert_eq!(counters.dropped.get(), 23);
        assert_eq!(counters.drops.get(DropReason::ErrorStatus), 23);
        assert_eq!(counters.delivery.read().count(), 2, "only what arrived is progress");
    }

    fn prepared(body: &str) -> SinkCall {
        SinkCall::Prepared(body.to_owned())
    }

    fn delivered(body: &str) -> SinkCall {
        SinkCall::Delivered(body.to_owned())
    }

    #[tokio::test]
    async fn the_next_batch_is_only_prepared_during_an_acknowledgement() {
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
