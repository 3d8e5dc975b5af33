//! Test support for sources: a fake intake that collects, refuses, replies in doubt or delays.

use millpond::{
    BoxFuture, Channel, CommitError, Event, FaultCause, FaultKind, FaultPlace, FileChannel,
    FileChannelOptions, MemoryChannel, MemoryOptions, RefusedReason, SourceOffsetError,
    SystemClock,
};
use millpond_flow::client_limits::ClientLimits;
use millpond_flow::context::{Intake, SourceStage, StopSignal};
use millpond_flow::intake::{ChannelProcessor, NamedChannel};
use millpond_flow::selector::Replicating;
use millpond_flow::settings::{Settings, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use millpond_flow::source_offset::{BatchOffset, StoredOffset};
use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Longest wait for anything; only a failing test comes near it.
const PATIENCE_SECONDS: u64 = 60;

/// The reply to one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitReply {
    Take,
    Full,
    Doubt,
    TooLarge,
    /// Accepts it after so many milliseconds.
    Slow(u64),
    /// Accepts it when the test calls [`SourceHarness::release`].
    Held,
}

#[derive(Default)]
struct IntakeRecord {
    events: Vec<Event>,
    batches: Vec<usize>,
    tries: usize,
    next: VecDeque<CommitReply>,
    always: Option<CommitReply>,
    /// Number of events that fit; `None` for no limit.
    room: Option<usize>,
}

pub(crate) struct FakeIntake {
    book: Mutex<IntakeRecord>,
    capacity: usize,
    release: Notify,
}

impl FakeIntake {
    fn book(&self) -> MutexGuard<'_, IntakeRecord> {
        self.book.lock().unwrap()
    }
}

impl Intake for FakeIntake {
    fn commit(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let reply = {
                let mut book = self.book();
                book.tries += 1;
                book.next.pop_front().or(book.always).unwrap_or(CommitReply::Take)
            };
            assert!(events.len() <= self.capacity, "more events than a transaction takes");
            let full = CommitError::Refused(RefusedReason::Full { events: 7, capacity: 7 });
            match reply {
                CommitReply::Take => {}
                CommitReply::Full => return Err(full),
                CommitReply::Doubt => {
                    let place = FaultPlace::default();
                    let cause = FaultCause::new(FaultKind::Hung, place, "a lost write");
                    return Err(CommitError::InDoubt(cause));
                }
                CommitReply::TooLarge => {
                    let (events, capacity) = (events.len() as u64, 0);
                    let refusal = RefusedReason::LargerThanChannel { events, capacity };
                    return Err(CommitError::Refused(refusal));
                }
                CommitReply::Held => self.release.notified().await,
                CommitReply::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            }
            let mut book = self.book();
            if book.room.is_some_and(|room| book.events.len() + events.len() > room) {
                return Err(full);
            }
            book.batches.push(events.len());
            book.events.extend(events);
            Ok(())
        })
    }

    fn commit_at(
        &self,
        events: Vec<Event>,
        _mark: BatchOffset,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        self.commit(events)
    }

    fn stored_offset(&self) -> BoxFuture<'_, Result<StoredOffset, SourceOffsetError>> {
        Box::pin(async { Ok(StoredOffset::Nowhere) })
    }

    fn transaction_capacity(&self) -> usize {
        self.capacity
    }
}

/// A context for one source, and the events that it committed.
pub(crate) struct SourceHarness {
    pub(crate) context: SourceContext,
    intake: Arc<FakeIntake>,
    stop: watch::Sender<bool>,
    begun: watch::Receiver<SourceStage>,
}

impl SourceHarness {
    pub(crate) fn new() -> Self {
        Self::with_capacity(100)
    }

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let intake =
            Arc::new(FakeIntake { book: Mutex::default(), capacity, release: Notify::new() });
        let (stop, signal) = StopSignal::new();
        let (sender, begun) = watch::channel(SourceStage::No);
        let context = SourceContext {
            name: "r1".to_owned(),
            intake: intake.clone(),
            stop: signal,
            begun: sender,
            clock: Arc::new(SystemClock::new()),
            counters: Arc::default(),
            client_errors: Arc::default(),
            clients: ClientLimits::for_tests(),
        };
        Self { context, intake, stop, begun }
    }

    /// Returns a harness with a real channel; its own collection of events stays empty.
    pub(crate) fn over(channel: &Arc<dyn Channel>) -> Self {
        let mut harness = Self::new();
        let (selector, _) = Replicating::new(&["c1".to_owned()], &[]);
        let channels = vec![NamedChannel { name: "c1".to_owned(), channel: Arc::clone(channel) }];
        let counters = Arc::clone(&harness.context.counters);
        let intake = ChannelProcessor::new("r1", Box::new(selector), channels, counters);
        harness.context.intake = Arc::new(intake);
        harness
    }

    /// Sets the replies to the next commits, in order.
    pub(crate) fn reply_with(&self, replies: impl IntoIterator<Item = CommitReply>) {
        self.intake.book().next.extend(replies);
    }

    pub(crate) fn always(&self, reply: CommitReply) {
        self.intake.book().always = Some(reply);
    }

    /// Releases one held commit.
    pub(crate) fn release(&self) {
        self.intake.release.notify_one();
    }

    pub(crate) fn set_room(&self, events: usize) {
        self.intake.book().room = Some(events);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.intake.book().events.clone()
    }

    pub(crate) fn batches(&self) -> Vec<usize> {
        self.intake.book().batches.clone()
    }

    pub(crate) fn tries(&self) -> usize {
        self.intake.book().tries
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Runs `source` concurrently with `script`, stops it when the script has ended, and returns how the source
    /// ended.
    pub(crate) async fn run<F: Future<Output = ()>>(
        &self,
        source: &dyn Source,
        script: F,
    ) -> Result<(), Failure> {
        let running = source.run(&self.context);
        tokio::pin!(running, script);
        tokio::select! {
            ended = &mut running => {
                script.await;
                ended
            }
            () = &mut script => {
                self.stop();
                within(PATIENCE_SECONDS, "the source to stop", running).await
            }
        }
    }

    pub(crate) async fn until_started(&self) {
        self.until_begun(SourceStage::Runs).await;
    }

    /// Waits until the source has reported the stage `far`.
    pub(crate) async fn until_begun(&self, far: SourceStage) {
        let mut begun = self.begun.clone();
        within(PATIENCE_SECONDS, "the source to begin", begun.wait_for(|b| *b == far))
            .await
            .unwrap();
    }

    /// Waits until `n` events have come.
    pub(crate) async fn until_events(&self, n: usize) {
        until(&format!("{n} events"), || self.intake.book().events.len() >= n).await;
    }

    pub(crate) async fn until_tries(&self, n: usize) {
        until(&format!("{n} commits"), || self.tries() >= n).await;
    }
}

pub(crate) async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {seconds} s for {what}"),
    }
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(PATIENCE_SECONDS, what, wait).await;
}

/// Builds the source that `pairs` describe.
pub(crate) fn build(
    kind: &SourceType,
    pairs: &[(&str, &str)],
) -> Result<Box<dyn Source>, millpond_flow::settings::SettingError> {
    build_as("r1", kind, pairs)
}

pub(crate) fn build_as(
    name: &str,
    kind: &SourceType,
    pairs: &[(&str, &str)],
) -> Result<Box<dyn Source>, millpond_flow::settings::SettingError> {
    let settings = Settings::from_pairs(name, pairs);
    (kind.build)(&mut SettingsReader::new(&settings))
}

pub(crate) fn bodies(events: &[Event]) -> Vec<String> {
    events.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect()
}

/// Returns a memory channel that takes bodies of at most `bytes` bytes.
pub(crate) fn narrow_channel(bytes: u64) -> Arc<dyn Channel> {
    let options = MemoryOptions {
        byte_capacity: bytes,
        byte_capacity_buffer_percentage: 0,
        keep_alive: Duration::ZERO,
        ..MemoryOptions::default()
    };
    Arc::new(MemoryChannel::new(options).unwrap())
}

/// Returns the bodies in the channel, in order.
pub(crate) fn held(channel: &dyn Channel) -> Vec<String> {
    bodies(&channel.begin_take().take(100).unwrap())
}

/// Returns a small file channel in `directory`, whose transactions have at most two events.
pub(crate) fn durable(directory: &Path, capacity: u64) -> Arc<dyn Channel> {
    let mut options = durable_options(directory, capacity);
    options.transaction_capacity = 2;
    Arc::new(FileChannel::open(options).unwrap())
}

/// Returns a file channel whose transactions hold its capacity of events, and `bytes` bytes.
pub(crate) fn durable_with(directory: &Path, capacity: u64, bytes: usize) -> Arc<dyn Channel> {
    let mut options = durable_options(directory, capacity);
    options.transaction_capacity = usize::try_from(capacity).unwrap();
    options.transaction_bytes_max = bytes;
    Arc::new(FileChannel::open(options).unwrap())
}

fn durable_options(directory: &Path, capacity: u64) -> FileChannelOptions {
    let data = [directory.join("data")];
    let mut options = FileChannelOptions::new(directory.join("checkpoint"), data);
    options.capacity = capacity;
    options.keep_alive = Duration::ZERO;
    options.segment_bytes = 1 << 20;
    options.minimum_required_space = 0;
    options
}
