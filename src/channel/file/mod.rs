//! The durable file channel.
//!
//! # Limits
//!
//! 1 to 32 data directories; a transaction of at most `transaction_bytes_max`; one process at a
//! time (both kinds of lock on every directory). docs/durability.md says what it guarantees and
//! what it does not.
//!
//! # Overview
//!
//! [`FileChannel::open`] recovers the directories and begins a new epoch. A put commit reserves a
//! frame under the channel's short lock, encodes its events straight into block memory outside it,
//! and then either writes the block itself or waits for the thread that does. A take lends ranges
//! of sequences; its commit is one small frame on each stripe that it touches.
//!
//! | threads | what they run |
//! |---|---|
//! | those of the callers | [`put`], [`take`]: reserve, encode, and where they may block also write ([`group_commit`]) and read ([`read_back`]) |
//! | the pool, [`workers`] | whatever may wait for a disk: writes and reads for futures, segments, slots of checkpoints |
//! | one of [`maintenance`] | no disk operation: decides when the pool makes and deletes segments and writes checkpoints, and notices what hangs |
//!
//! The state machine of the log is [`crate::log`], locked in [`shared`]; its manual has the write path.
//! DESIGN.md, "One commit, step by step", follows one event through these files.
//!
//! # Example
//!
//! ```
//! use millpond::{Channel, Event, FileChannel, FileChannelOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let at = |name: &str| dir.path().join(name);
//! let mut options = FileChannelOptions::new(at("checkpoint"), [at("data1"), at("data2")]);
//! options.minimum_required_space = 0;
//! # options.segment_bytes = 1 << 20;
//! let channel = FileChannel::open(options)?;
//!
//! let mut put = channel.begin_put();
//! put.put(Event::new("one line"))?;
//! put.commit()?; // durable from here on
//!
//! let mut take = channel.begin_take();
//! let events = take.take(100)?;
//! assert_eq!(&events[0].body[..], b"one line");
//! take.commit()?; // never delivered again
//! channel.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block_write;
mod checkpoint;
mod checkpoint_run;
mod commit_delay;
mod commit_order;
mod error;
mod group_commit;
mod maintenance;
mod open;
mod options;
mod preallocate;
mod put;
mod quarantine;
mod read_back;
mod read_buffers;
mod restore;
mod segment_use;
mod segment_watch;
mod shared;
mod space_reservation;
mod step_driver;
mod take;
mod trim;
mod workers;

#[cfg(test)]
mod tests;

pub use error::OpenError;
pub use options::FileChannelOptions;
pub use restore::{RestoreError, Restored};
pub use step_driver::{StartedWrite, StepDriver};

use super::{
    Channel, CloseError, CommittedOffset, EventRange, FaultCause, FaultKind, FaultPlace, Limits,
    PutTransaction, SourceOffsetError, Status, StripeStatus, TakeTransaction,
};
use crate::base::ids::StripeIndex;
use crate::base::threads;
use crate::log::{Log, StripeReport};
use bytes::Bytes;
use shared::Shared;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use workers::Task;

/// A durable queue of events, striped over several directories. Clones are handles to one channel;
/// dropping the last one closes it.
///
/// ```
/// use millpond::{Channel, Event, FileChannel, FileChannelOptions};
///
/// # let dir = tempfile::tempdir()?;
/// # let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
/// # options.segment_bytes = 1 << 20;
/// # options.minimum_required_space = 1 << 20;
/// # let again = options.clone();
/// let channel = FileChannel::open(options)?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("a line"))?;
/// put.commit()?; // from here on it survives a crash
/// drop(channel);
///
/// # let options = again;
/// let channel = FileChannel::open(options)?;
/// assert_eq!(channel.status().events, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileChannel {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    maintenance: Mutex<Option<JoinHandle<()>>>,
}

impl FileChannel {
    /// Returns the names of the sources whose source offsets it keeps; none when it has stopped
    /// after a failure.
    #[must_use]
    pub fn sources_with_offset(&self) -> Vec<String> {
        let log = self.inner.shared.log();
        let named = |log: &Log| log.source_offsets().map(|(source, _)| source.clone()).collect();
        log.map(|log| named(&log)).unwrap_or_default()
    }

    /// Opens the channel, creating or recovering it.
    ///
    /// # Errors
    /// See [`OpenError`]: a setting, a directory that is locked, missing or foreign, storage that
    /// fails. Nothing is lost by it.
    pub fn open(options: FileChannelOptions) -> Result<Self, OpenError> {
        let step_driven = options.step_driven;
        let shared = open::open(options)?;
        let maintenance = if step_driven {
            None
        } else {
            let weak = Arc::downgrade(&shared);
            let run = move || maintenance::run(&weak);
            Some(threads::spawn("millpond-keep", run).map_err(OpenError::Thread)?)
        };
        Ok(Self { inner: Arc::new(Inner { shared, maintenance: Mutex::new(maintenance) }) })
    }

    /// Returns the driver of a channel that was opened without threads, see
    /// [`FileChannelOptions::step_driven`].
    #[must_use]
    pub fn step_driver(&self) -> StepDriver {
        StepDriver::new(Arc::clone(&self.inner.shared))
    }

    /// Returns counts of the log since it was opened.
    #[must_use]
    pub fn log_counts(&self) -> crate::log::LogCounts {
        self.inner.shared.log().map(|log| log.counts()).unwrap_or_default()
    }

    /// Returns the bytes of block memory in use: blocks being filled or written, the hot window,
    /// blocks read back, and bodies that takers still hold.
    #[must_use]
    pub fn block_memory_bytes(&self) -> usize {
        self.inner.shared.pool.live_bytes()
    }

    /// Returns the number of segments that are ready for use, over all stripes.
    #[must_use]
    pub fn ready_segments(&self) -> usize {
        let Ok(log) = self.inner.shared.log() else { return 0 };
        (0..log.stripes()).map(|i| log.report(StripeIndex(i as u16)).free).sum()
    }

    /// Stops the channel as a fault of the engine would.
    #[doc(hidden)]
    pub fn panic_inside(&self) {
        let fault = || self.inner.shared.with_log(|_| panic!("scripted"));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fault));
    }

    /// Writes a checkpoint now.
    ///
    /// # Errors
    /// No slot could be written; the log itself has everything.
    pub fn checkpoint(&self) -> Result<(), FaultCause> {
        write_checkpoint(&self.inner.shared)
    }
}

impl fmt::Debug for FileChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileChannel").field("channel", &self.inner.shared.channel).finish()
    }
}

impl Channel for FileChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        Box::new(put::FilePut::new(Arc::clone(&self.inner.shared)))
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        Box::new(take::FileTake::new(Arc::clone(&self.inner.shared)))
    }

    fn limits(&self) -> Limits {
        let options = &self.inner.shared.options;
        Limits {
            capacity: options.capacity,
            transaction_capacity: options.transaction_capacity,
            transaction_bytes_max: options.transaction_bytes_max,
            keep_alive: options.keep_alive,
        }
    }

    fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let capacity = shared.options.capacity;
        if let Some(why) = shared.gave_way.get() {
            return Status { gave_way: true, ..Status::stopped(capacity, why) };
        }
        let log = match shared.log() {
            Ok(log) => log,
            Err(fault) => return Status::stopped(capacity, &fault),
        };
        let stripes = (0..log.stripes()).map(|i| StripeIndex(i as u16));
        let now = shared.now();
        let reports: Vec<_> = stripes.map(|index| log.report(index)).collect();
        let (counts, events) = (log.counts(), log.events());
        let (quarantined, out_of_reach, lent) = (log.quarantined(), log.out_of_reach(), log.lent());
        let unaccounted = Some(log.unaccounted());
        drop(log);
        let fault = |r: &StripeReport| {
            let fault = r.suspended.as_ref().or(r.no_space.as_ref());
            fault.or(r.refused_segment.as_ref()).cloned()
        };
        let fault = reports.iter().find_map(fault);
        Status {
            events,
            lent,
            bytes: reports.iter().map(|r| r.live_bytes).sum(),
            capacity,
            put: counts.put,
            taken: counts.taken,
            quarantined,
            out_of_reach,
            oldest: reports.iter().map(|r| waits_for(r, now)).max().unwrap_or_default(),
            unaccounted,
            memory_bytes: shared.pool.live_bytes() as u64,
            writes: counts.writes,
            written_bytes: counts.written_bytes,
            failed_writes: counts.failed_writes,
            stripes: reports.iter().map(|report| stripe_status(shared, report, now)).collect(),
            checkpoint_errors: shared.checkpoints.errors.load(std::sync::atomic::Ordering::Relaxed),
            checkpoint_copy_errors: shared
                .checkpoints
                .copy_errors
                .load(std::sync::atomic::Ordering::Relaxed),
            fault,
            stopped: false,
            gave_way: false,
        }
    }

    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        let shared = &self.inner.shared;
        // Without threads nothing settles while this one waits.
        let wait_max =
            if shared.options.step_driven { Duration::ZERO } else { shared.options.write_timeout };
        let began = shared.now();
        loop {
            let generation = shared.room.generation();
            // Read first: a commit that enters the log in between is busy there.
            let waiting = shared.commit_order.has_waiting(source);
            let log = shared.log().map_err(SourceOffsetError::Stopped)?;
            if let Some(why) = shared.gave_way.get() {
                // The process that has the directories may have committed a later one.
                return Err(SourceOffsetError::Stopped(why.clone()));
            }
            if !waiting && !log.source_offset_is_in_flight(source) {
                let known = log.source_offset(source);
                return Ok(known.map(|known| CommittedOffset {
                    counter: known.counter,
                    bytes: Bytes::copy_from_slice(&known.bytes),
                }));
            }
            let waited = shared.now().saturating_sub(began);
            let left = wait_max.saturating_sub(waited);
            if left.is_zero() {
                return Err(SourceOffsetError::Unsettled { of: source.to_owned(), waited });
            }
            drop(log);
            shared.room.sleep(generation, Some(left));
        }
    }

    fn name_sources(&self, sources: &[String]) {
        let shared = &self.inner.shared;
        let (now, sources) = (shared.now(), sources.iter().cloned().collect());
        // A channel that has stopped gets the names again when it is opened again.
        let _ = shared.with_log(|log| log.name_sources(now, sources));
    }

    fn keeps_source_offsets(&self) -> bool {
        true
    }

    fn identity(&self) -> Option<u128> {
        Some(u128::from_be_bytes(self.inner.shared.channel.0))
    }

    fn unacknowledged(&self, ranges: &[EventRange]) -> Option<Vec<EventRange>> {
        let log = self.inner.shared.log().ok()?;
        let mut open = Vec::new();
        for range in ranges.iter().filter(|range| range.stripe.at() < log.stripes()) {
            let parts = log.waiting_in(range.stripe, range.start, range.end);
            open.extend(parts.into_iter().map(|(start, end)| EventRange { start, end, ..*range }));
        }
        Some(open)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}

fn waits_for(report: &StripeReport, now: Duration) -> Duration {
    report.waits_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
}

fn stripe_status(shared: &Shared, report: &StripeReport, now: Duration) -> StripeStatus {
    let directory = shared.stripe_dirs[report.index.at()].directory.as_ref();
    StripeStatus {
        directory: directory.map(|d| d.path().display().to_string()).unwrap_or_default(),
        events: report.events,
        segment_bytes: report.live_bytes,
        segments: report.segments as u64,
        free_segments: report.free as u64,
        frontier: report.frontier,
        watermark: report.watermark,
        oldest: waits_for(report, now),
        lag_bytes: report.lag_bytes,
        writes: report.writes.clone(),
        suspended: report.suspended.clone(),
        no_space: report.no_space.clone(),
    }
}

impl Inner {
    fn close(&self) -> Result<(), CloseError> {
        let shared = &self.shared;
        if shared.refuse_new_work() {
            if shared.gave_way.get().is_some() {
                // Its current write then ends before the channel is dropped, and nothing more is
                // written.
                shared.maintenance.notify_all();
                shared.workers.end(shared.options.write_timeout);
            }
            return Ok(());
        }
        shared.room.notify_all();
        shared.takers.notify_all();
        shared.maintenance.notify_all();
        let maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(maintenance) = maintenance
            && maintenance.thread().id() != std::thread::current().id()
        {
            // A maintenance thread that panicked has poisoned the log; the checkpoint below reports
            // it.
            let _ = maintenance.join();
        }
        self.drain();
        // It names the watermark, so that whatever is missing below it at the next opening is known
        // to be damage.
        let written = self.write_last_checkpoint();
        shared.workers.end(shared.options.write_timeout);
        written.map_err(CloseError)
    }

    /// Ends what was reserved before the channel was closed. Never on this thread, unless it is the
    /// only one: a disk that hangs must not hang the caller of close.
    fn drain(&self) {
        let shared = &self.shared;
        let deadline = shared.now() + shared.options.write_timeout;
        let stripes = || (0..shared.stripe_dirs.len()).map(|index| StripeIndex(index as u16));
        loop {
            let generation = shared.room.generation();
            if shared.options.step_driven {
                while stripes().any(|index| shared.write_one(index)) {}
                return;
            }
            let quiet = shared.log().map_or(true, |log| log.is_quiet());
            if quiet || shared.now() >= deadline {
                return;
            }
            stripes().for_each(|index| shared.submit_task(Task::Maintain(index)));
            if shared.log().is_ok_and(|log| log.checkpoint_is_wanted()) {
                shared.submit_task(Task::Checkpoint);
            }
            shared.hand_over_writes();
            shared.room.sleep(generation, Some(Duration::from_millis(50)));
        }
    }

    /// Writes the last checkpoint on a thread of its own, and waits for it a little longer than the
    /// write timeout: a disk that hangs must not hang the caller of close.
    fn write_last_checkpoint(&self) -> Result<(), FaultCause> {
        let shared = Arc::clone(&self.shared);
        let wait_max = shared.options.write_timeout;
        if shared.options.step_driven {
            return write_checkpoint(&shared);
        }
        let (sender, receiver) = mpsc::channel();
        // The receiver is gone when it took too long.
        let run = move || {
            let _ = sender.send(write_checkpoint(&shared));
        };
        match threads::spawn("millpond-close", run) {
            // Without a thread to spare this one does it.
            Err(_) => write_checkpoint(&self.shared),
            // A disk that begins to hang now is left out after that time: the checkpoint without it
            // reports its own error.
            Ok(thread) => match receiver.recv_timeout(wait_max + Duration::from_secs(1)) {
                Ok(written) => {
                    let _ = thread.join();
                    written
                }
                Err(_) => {
                    let what = format!("a disk has not responded for {} s", wait_max.as_secs());
                    Err(FaultCause::new(FaultKind::Hung, FaultPlace::default(), what))
                }
            },
        }
    }
}

/// Writes a checkpoint of everything.
fn write_checkpoint(shared: &Arc<Shared>) -> Result<(), FaultCause> {
    let written = shared.checkpoint(shared.checkpoint_writer(), shared.options.write_timeout);
    written.map(|_| ()).map_err(|error| error.fault)
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!("{error}");
        }
    }
}
