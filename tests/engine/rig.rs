//! A channel on a simulated disk, driven by hand.

use bytes::Bytes;
use millpond::internal::channel::file::StepDriver;
use millpond::internal::disk::Disk;
use millpond::{
    BoxFuture, Channel, Clock, CommitError, Event, FileChannel, FileChannelOptions, ManualClock,
    OpenError, TakeError, TakeTransaction,
};
use millpond_sim::disk::{SimDisk, SimOptions};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a put waits for room and a take for an event, by the manual clock.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// When a write counts as hung.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A machine: its disk and its clock outlive the channels that are opened on it.
pub(crate) struct Machine {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) stripes: usize,
}

pub(crate) fn checkpoint_dir() -> PathBuf {
    PathBuf::from("/c/checkpoint")
}

pub(crate) fn data_dir(stripe: usize) -> PathBuf {
    PathBuf::from(format!("/c/data{stripe}"))
}

impl Machine {
    pub(crate) fn new(stripes: usize) -> Self {
        Self::with(stripes, SimOptions::new(1))
    }

    pub(crate) fn with(stripes: usize, options: SimOptions) -> Self {
        Self { disk: SimDisk::new(options), clock: Arc::default(), stripes }
    }

    /// Returns the machine after its power was cut.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let disk = self.disk.crash(seed);
        Self { disk, clock: Arc::clone(&self.clock), stripes: self.stripes }
    }

    /// Returns the machine after the process was killed.
    pub(crate) fn after_kill(&self, seed: u64) -> Self {
        let disk = self.disk.kill(seed);
        Self { disk, clock: Arc::clone(&self.clock), stripes: self.stripes }
    }

    pub(crate) fn options(&self) -> FileChannelOptions {
        self.options_on(Arc::new(self.disk.clone()))
    }

    pub(crate) fn options_on(&self, disk: Arc<dyn Disk>) -> FileChannelOptions {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let mut options =
            FileChannelOptions::new(checkpoint_dir(), (0..self.stripes).map(data_dir))
                .with_disk(disk)
                .with_clock(clock)
                .step_driven(7);
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.keep_alive = KEEP_ALIVE;
        options.write_timeout = WRITE_TIMEOUT;
        options
    }

    pub(crate) fn open(&self) -> Engine {
        self.open_with(self.options())
    }

    pub(crate) fn open_with(&self, options: FileChannelOptions) -> Engine {
        self.try_open(options).unwrap_or_else(|error| panic!("opens: {error}"))
    }

    pub(crate) fn try_open(&self, options: FileChannelOptions) -> Result<Engine, OpenError> {
        let channel = FileChannel::open(options)?;
        let mut stepper = channel.step_driver();
        stepper.keep();
        stepper.run_tasks();
        Ok(Engine { channel, stepper, clock: Arc::clone(&self.clock) })
    }

    /// Returns everything that is delivered after the machine's channel is opened again.
    pub(crate) fn reopened(&self) -> Vec<String> {
        self.open().drain()
    }
}

/// An open channel and its driver.
pub(crate) struct Engine {
    pub(crate) channel: FileChannel,
    pub(crate) stepper: StepDriver,
    pub(crate) clock: Arc<ManualClock>,
}

/// A commit in progress: what could be reserved at once is reserved.
pub(crate) struct Commit {
    future: BoxFuture<'static, Result<(), CommitError>>,
    result: Option<Result<(), CommitError>>,
}

impl Commit {
    pub(crate) fn begin<E: Into<CommitError> + 'static>(
        future: BoxFuture<'static, Result<(), E>>,
    ) -> Self {
        let future = Box::pin(async move { future.await.map_err(Into::into) });
        let mut commit = Self { future, result: None };
        let _ = commit.poll();
        commit
    }

    pub(crate) fn poll(&mut self) -> Option<Result<(), CommitError>> {
        if self.result.is_none()
            && let Poll::Ready(result) =
                self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            self.result = Some(result);
        }
        self.result.clone()
    }
}

impl Engine {
    pub(crate) fn begin_put(&self, bodies: &[String]) -> Commit {
        let mut put = self.channel.begin_put();
        for body in bodies {
            put.put(Event::new(body.clone())).expect("fits the transaction");
        }
        Commit::begin(put.commit_async())
    }

    pub(crate) fn begin_put_at(
        &self,
        bodies: &[String],
        source: &str,
        source_offset: &str,
    ) -> Commit {
        let mut put = self.channel.begin_put();
        for body in bodies {
            put.put(Event::new(body.clone())).expect("fits the transaction");
        }
        put.set_source_offset(source, Bytes::copy_from_slice(source_offset.as_bytes()));
        Commit::begin(put.commit_async())
    }

    /// Lets the channel do its pending work, without advancing the clock.
    pub(crate) fn run_pending(&mut self) {
        for _ in 0..4 {
            self.stepper.keep();
            self.stepper.run_tasks();
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.run_pending();
    }

    /// Ends a commit: works, and advances the clock by `keep-alive` when that does not end it.
    pub(crate) fn end(&mut self, mut commit: Commit) -> Result<(), CommitError> {
        for _ in 0..8 {
            if let Some(result) = commit.poll() {
                return result;
            }
            self.run_pending();
        }
        for _ in 0..4 {
            self.pass(WRITE_TIMEOUT);
            if let Some(result) = commit.poll() {
                return result;
            }
        }
        panic!("the commit never ends");
    }

    pub(crate) fn try_put(&mut self, bodies: &[String]) -> Result<(), CommitError> {
        let commit = self.begin_put(bodies);
        self.end(commit)
    }

    pub(crate) fn put(&mut self, bodies: &[String]) {
        self.try_put(bodies).unwrap_or_else(|error| panic!("put: {error}"));
    }

    pub(crate) fn begin_take(&self) -> Box<dyn TakeTransaction> {
        self.channel.begin_take()
    }

    /// Lends up to `max`; nothing when nothing comes within `keep-alive`.
    pub(crate) fn lend(
        &mut self,
        take: &mut dyn TakeTransaction,
        max: usize,
    ) -> Result<Vec<String>, TakeError> {
        let mut future = take.take_async(max);
        for turn in 0..12 {
            if let Poll::Ready(events) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return events.map(|events| events.iter().map(text).collect());
            }
            self.run_pending();
            if turn == 6 {
                self.clock.advance(KEEP_ALIVE);
            }
            if turn == 7 {
                self.clock.advance(WRITE_TIMEOUT);
            }
        }
        panic!("the take never ends");
    }

    pub(crate) fn try_take(&mut self, max: usize) -> Result<Vec<String>, CommitError> {
        let mut take = self.begin_take();
        let events = self.lend(&mut *take, max).unwrap_or_else(|error| panic!("take: {error}"));
        let commit = Commit::begin(take.commit_async());
        self.end(commit).map(|()| events)
    }

    pub(crate) fn take(&mut self, max: usize) -> Vec<String> {
        self.try_take(max).unwrap_or_else(|error| panic!("take: {error}"))
    }

    pub(crate) fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let events = self.take(100);
            if events.is_empty() {
                return all;
            }
            all.extend(events);
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.channel.status().events
    }
}

pub(crate) fn text(event: &Event) -> String {
    String::from_utf8_lossy(&event.body).into_owned()
}

/// Returns the bodies `name-start` to `name-end`.
pub(crate) fn bodies(name: &str, range: Range<usize>) -> Vec<String> {
    range.map(|i| format!("{name}-{i}")).collect()
}

/// Returns bodies as [`bodies`] does, each of about `len` bytes.
pub(crate) fn large(name: &str, range: Range<usize>, len: usize) -> Vec<String> {
    range.map(|i| format!("{name}-{i} {}", "x".repeat(len))).collect()
}

pub(crate) fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}
