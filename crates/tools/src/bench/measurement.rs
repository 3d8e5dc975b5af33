//! One measurement: a fresh channel with preallocated segments, and threads that put and take.

use super::device;
use super::error::BenchError;
use super::join_timeout::{TIMEOUT, joined};
use super::latency::Latencies;
use super::plan::{BenchOptions, BenchPlan, PreparedSegments, Workload};
use super::process::ProcessUsage;
use bytes::Bytes;
use millpond::internal::base::threads;
use millpond::internal::log::LogCounts;
use millpond::{
    Channel, Clock, CommitError, Event, FileChannel, FileChannelOptions, RefusedReason,
    SystemClock, TakeError,
};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two checks of the progress.
const LOOK: Duration = Duration::from_millis(2);

/// Time between two samples of the throughput.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long a taker waits for events where there are no producers.
const TAKERS_WAIT: Duration = Duration::from_millis(50);

/// Bodies begin at so many offsets of the same random bytes, so that neighbours differ.
const BODIES: usize = 4096;

/// Bytes of a transaction that puts the events for takes.
const WAITING_BATCH_BYTES: usize = 256 * 1024;

/// The result of one measurement.
#[derive(Clone, Debug)]
pub(super) struct Measurement {
    /// How long it took.
    pub seconds: f64,
    pub put: WorkloadSide,
    pub taken: WorkloadSide,
    /// Processor seconds of all threads.
    pub cpu_seconds: Option<f64>,
    /// Bytes of the log that were written.
    pub log_bytes: u64,
    /// Writes of the log.
    pub log_writes: u64,
    /// Bytes that the kernel was asked to write to the device.
    pub device_bytes: Option<u64>,
    pub over_time: Vec<ThroughputSample>,
    /// Events per second of a plain file, measured right after.
    pub baseline: Option<f64>,
    pub ended: EndReason,
}

/// The producers or the takers of a workload.
#[derive(Clone, Debug)]
pub(super) struct WorkloadSide {
    pub events: u64,
    pub commits: Latencies,
}

/// The progress at a time since the beginning.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ThroughputSample {
    pub seconds: f64,
    pub put: u64,
    pub taken: u64,
}

/// Why a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndReason {
    /// Its time was over.
    Time,
    /// The preallocated segments were used up.
    Segments,
    /// The channel held `capacity` events.
    Full,
    /// All waiting events were taken.
    Empty,
}

/// Runs `workload` on a fresh channel; returns `None` when `stop` was set before the end.
pub(super) fn measure(
    options: FileChannelOptions,
    workload: &Workload,
    bench: &BenchOptions,
    provision: &PreparedSegments,
    stop: &AtomicBool,
) -> Result<Option<Measurement>, BenchError> {
    let in_use_max = provision.in_use_max;
    let time_limit = options.keep_alive + TIMEOUT;
    let field = Arc::new(SharedRun::open(options, workload.batch, bench.body_bytes)?);
    let run = if field.is_prepared(provision.ready, stop)?
        && field.put_waiting(provision.waiting, stop)?
    {
        let time = bench.time;
        let until = EndCondition {
            time,
            in_use_max,
            takes: provision.waiting,
            capacity: bench.channel.capacity,
        };
        WorkerThreads::start(&field, workload, time_limit)?.work(&until, stop)?
    } else {
        None
    };
    field.channel.close().map_err(|error| BenchError::Channel(error.to_string()))?;
    Ok(run)
}

/// Returns the settings of the channel for one measurement, in directories of its own.
pub(super) fn options(
    bench: &BenchOptions,
    plan: &BenchPlan,
    workload: &Workload,
    provision: &PreparedSegments,
    directories: (PathBuf, Vec<PathBuf>),
) -> FileChannelOptions {
    let mut options = bench.channel.clone();
    (options.checkpoint_dir, options.data_dirs) = directories;
    options.segment_bytes = plan.segment_bytes;
    options.ready_segments = provision.ready;
    options.create = true;
    if workload.producers == 0 {
        // The last takers find nothing and end.
        options.keep_alive = TAKERS_WAIT;
        // Hot takes are those that find everything in memory.
        let waiting = provision.waiting * (bench.body_bytes as u64 + 64);
        options.hot_window_bytes = options.hot_window_bytes.max(2 * waiting as usize);
    }
    options
}

/// The conditions that end a measurement.
struct EndCondition {
    time: Duration,
    in_use_max: u64,
    /// Events to take, where there are no producers; else 0.
    takes: u64,
    capacity: u64,
}

/// The state that the threads share.
struct SharedRun {
    channel: FileChannel,
    stripes: usize,
    clock: SystemClock,
    batch: usize,
    body_bytes: usize,
    noise: Bytes,
    /// Commits that end now count.
    counts: AtomicBool,
    puts_are_over: AtomicBool,
    takes_are_over: AtomicBool,
    put: AtomicU64,
    taken: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl SharedRun {
    fn open(
        options: FileChannelOptions,
        batch: usize,
        body_bytes: usize,
    ) -> Result<Self, BenchError> {
        let stripes = options.data_dirs.len();
        let channel =
            FileChannel::open(options).map_err(|error| BenchError::Channel(error.to_string()))?;
        let mut noise = vec![0; body_bytes + BODIES];
        device::fill_with_noise(&mut noise);
        Ok(Self {
            channel,
            stripes,
            clock: SystemClock::new(),
            batch,
            body_bytes,
            noise: noise.into(),
            counts: AtomicBool::new(true),
            puts_are_over: AtomicBool::new(false),
            takes_are_over: AtomicBool::new(false),
            put: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            failed: Mutex::new(None),
        })
    }

    /// Waits until `ready` segments are there in every directory. Returns whether it was not
    /// stopped.
    fn is_prepared(&self, ready: usize, stop: &AtomicBool) -> Result<bool, BenchError> {
        let wanted = ready * self.stripes;
        let (mut had, mut since) = (0, self.clock.now());
        loop {
            let has = self.channel.ready_segments();
            if has >= wanted {
                return Ok(true);
            }
            if stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            if let Some(trouble) = self.channel.status().fault {
                return Err(BenchError::Channel(trouble.to_string()));
            }
            if has > had {
                (had, since) = (has, self.clock.now());
            }
            if self.clock.now() - since > TIMEOUT {
                return Err(BenchError::Hangs { seconds: TIMEOUT.as_secs() });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Puts the events for takes. Returns whether it was not stopped.
    fn put_waiting(&self, events: u64, stop: &AtomicBool) -> Result<bool, BenchError> {
        let batch = (WAITING_BATCH_BYTES / self.body_bytes.max(1)).clamp(1, 1000);
        let batch = batch.min(self.channel.limits().transaction_capacity) as u64;
        let mut left = events;
        while left > 0 {
            if stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            let now = left.min(batch);
            self.put_batch(now as usize, left as usize)
                .map_err(|error| BenchError::Channel(error.to_string()))?;
            left -= now;
        }
        Ok(true)
    }

    fn put_batch(&self, events: usize, salt: usize) -> Result<(), CommitError> {
        let mut transaction = self.channel.begin_put();
        for n in 0..events {
            let at = salt.wrapping_add(n.wrapping_mul(31)) % BODIES;
            let event = Event::new(self.noise.slice(at..at + self.body_bytes));
            let put = transaction.put(event);
            put.map_err(|error| CommitError::Refused(RefusedReason::Transaction(error)))?;
        }
        Ok(transaction.commit()?)
    }

    fn fail(&self, words: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        // The first says most.
        failed.get_or_insert(words);
    }

    fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a producer.
    fn produce(&self, salt: usize) -> Latencies {
        let (mut commits, mut salt) = (Latencies::new(), salt);
        while !self.puts_are_over.load(Ordering::Relaxed) {
            salt = salt.wrapping_add(7);
            let began = self.clock.now();
            match self.put_batch(self.batch, salt) {
                Ok(()) => self.count(&self.put, self.batch, began, &mut commits),
                // No room came in time: with a configured capacity and no takers, that is the end.
                Err(CommitError::Refused(RefusedReason::Full { .. })) => {}
                Err(error) => {
                    self.fail(format!("a put failed: {error}"));
                    break;
                }
            }
        }
        commits
    }

    /// Runs a taker.
    fn take(&self) -> Latencies {
        let mut commits = Latencies::new();
        while !self.takes_are_over.load(Ordering::Relaxed) {
            let began = self.clock.now();
            match self.take_batch() {
                Ok(0) => {}
                Ok(events) => self.count(&self.taken, events, began, &mut commits),
                Err(words) => {
                    self.fail(words);
                    break;
                }
            }
        }
        commits
    }

    fn take_batch(&self) -> Result<usize, String> {
        let mut transaction = self.channel.begin_take();
        let events = transaction.take(self.batch);
        let events = events.map_err(|error: TakeError| format!("a take failed: {error}"))?.len();
        if events == 0 {
            transaction.rollback();
            return Ok(0);
        }
        transaction.commit().map_err(|error| format!("a take failed: {error}"))?;
        Ok(events)
    }

    fn count(&self, counter: &AtomicU64, events: usize, began: Duration, commits: &mut Latencies) {
        let took = self.clock.now().saturating_sub(began);
        if self.counts.load(Ordering::Relaxed) {
            counter.fetch_add(events as u64, Ordering::Relaxed);
            commits.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// The threads of a measurement. Dropped, they are stopped and joined.
struct WorkerThreads<'f> {
    field: &'f Arc<SharedRun>,
    producers: Vec<JoinHandle<Latencies>>,
    takers: Vec<JoinHandle<Latencies>>,
    began: Duration,
    used: ProcessUsage,
    log: LogCounts,
    waits: bool,
    /// How long a stopped thread is waited for.
    time_limit: Duration,
}

impl<'f> WorkerThreads<'f> {
    fn start(
        field: &'f Arc<SharedRun>,
        workload: &Workload,
        time_limit: Duration,
    ) -> Result<Self, BenchError> {
        let (log, used) = (field.channel.log_counts(), ProcessUsage::now());
        let waits = workload.producers == 0;
        let began = field.clock.now();
        let (producers, takers) = (Vec::new(), Vec::new());
        let mut crew = Self { field, producers, takers, began, used, log, waits, time_limit };
        for n in 0..workload.takers {
            let field = Arc::clone(field);
            let taker = threads::spawn(&format!("bench-take-{n}"), move || field.take());
            crew.takers.push(taker.map_err(BenchError::Thread)?);
        }
        for n in 0..workload.producers {
            let field = Arc::clone(field);
            let work = move || field.produce(n.wrapping_mul(1009));
            let producer = threads::spawn(&format!("bench-put-{n}"), work);
            crew.producers.push(producer.map_err(BenchError::Thread)?);
        }
        Ok(crew)
    }

    /// Watches until it is over. Returns `None` when `stop` was set first.
    fn work(
        mut self,
        until: &EndCondition,
        stop: &AtomicBool,
    ) -> Result<Option<Measurement>, BenchError> {
        let mut over_time = Vec::new();
        let ended = loop {
            std::thread::sleep(LOOK);
            let took = self.field.clock.now() - self.began;
            let sample = self.sample(took);
            if over_time.last().is_none_or(|last: &ThroughputSample| {
                sample.seconds - last.seconds >= SAMPLE.as_secs_f64()
            }) {
                over_time.push(sample);
            }
            if let Some(words) = self.field.failure() {
                return Err(BenchError::Channel(words));
            }
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            if let Some(ended) = self.ended(until, took, &sample) {
                break ended;
            }
        };
        self.end(ended, over_time).map(Some)
    }

    fn sample(&self, took: Duration) -> ThroughputSample {
        ThroughputSample {
            seconds: took.as_secs_f64(),
            put: self.field.put.load(Ordering::Relaxed),
            taken: self.field.taken.load(Ordering::Relaxed),
        }
    }

    fn ended(
        &self,
        until: &EndCondition,
        took: Duration,
        sample: &ThroughputSample,
    ) -> Option<EndReason> {
        let log = self.field.channel.log_counts();
        let rolled = log.rolls - self.log.rolls;
        let in_use = rolled.saturating_sub(log.recycled - self.log.recycled);
        let waiting = sample.put.saturating_sub(sample.taken);
        let is_full = waiting.saturating_add(self.field.batch as u64) > until.capacity;
        if self.waits && sample.taken >= until.takes {
            Some(EndReason::Empty)
        } else if took >= until.time && (self.has_begun(sample) || took >= TIMEOUT) {
            Some(EndReason::Time)
        } else if !self.waits && in_use >= until.in_use_max {
            Some(EndReason::Segments)
        } else if self.takers.is_empty() && is_full {
            Some(EndReason::Full)
        } else {
            None
        }
    }

    /// Returns whether each kind of thread has ended a commit: before, there is nothing to report.
    fn has_begun(&self, sample: &ThroughputSample) -> bool {
        (self.producers.is_empty() || sample.put > 0)
            && (self.takers.is_empty() || sample.taken > 0)
    }

    fn end(
        &mut self,
        ended: EndReason,
        mut over_time: Vec<ThroughputSample>,
    ) -> Result<Measurement, BenchError> {
        let field = self.field;
        field.counts.store(false, Ordering::SeqCst);
        let took = field.clock.now() - self.began;
        let (used, log, last) =
            (ProcessUsage::now(), field.channel.log_counts(), self.sample(took));
        over_time.push(last);
        // Takers first: while there are puts, no taker waits for events.
        let (taken, put) = self.dismiss()?;
        Ok(Measurement {
            seconds: took.as_secs_f64(),
            put: WorkloadSide { events: last.put, commits: put },
            taken: WorkloadSide { events: last.taken, commits: taken },
            cpu_seconds: used.cpu_since(&self.used),
            log_bytes: log.written_bytes - self.log.written_bytes,
            log_writes: log.writes - self.log.writes,
            device_bytes: used.bytes_since(&self.used),
            over_time,
            baseline: None,
            ended,
        })
    }

    /// Ends the threads; returns what takers and producers recorded.
    fn dismiss(&mut self) -> Result<(Latencies, Latencies), BenchError> {
        self.field.takes_are_over.store(true, Ordering::SeqCst);
        let taken = recorded(std::mem::take(&mut self.takers), self.time_limit, self.field);
        self.field.puts_are_over.store(true, Ordering::SeqCst);
        let put = recorded(std::mem::take(&mut self.producers), self.time_limit, self.field);
        Ok((taken?, put?))
    }
}

impl Drop for WorkerThreads<'_> {
    fn drop(&mut self) {
        // The reason for its end is known already.
        let _ = self.dismiss();
    }
}

/// Returns what stopped threads recorded. Each ends within the time that the channel gives a
/// commit, where the disks respond.
fn recorded(
    threads: Vec<JoinHandle<Latencies>>,
    time_limit: Duration,
    field: &SharedRun,
) -> Result<Latencies, BenchError> {
    let mut all = Latencies::new();
    for ended in joined(threads, time_limit)? {
        match ended {
            Ok(commits) => all.join(&commits),
            Err(_) => field.fail("a thread panicked".to_owned()),
        }
    }
    Ok(all)
}
