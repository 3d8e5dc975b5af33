//! One run of the channel in a child process: it is opened, its contents are noted, producers and
//! takers work until it is stopped or killed.

use super::crash_point::PlannedCrash;
use super::faulty_disk::{DiskControl, DiskLie, RunStage, TortureDisk};
use super::note::{Note, SelfReportedError, spans_of};
use super::note_writer::NoteWriter;
use super::scratch_dirs;
use super::seed_stream::{SeedStream, purpose};
use super::transaction_shape::{event, name_of, number, source};
use millpond::internal::base::event_count::EventCount;
use millpond::internal::disk::real::RealDisk;
use millpond::{
    Channel, Clock, CommittedOffset, Event, FileChannel, FileChannelOptions, SystemClock,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunKind {
    /// Producers put and takers take until they are stopped.
    PutAndTake,
    /// Takers take until nothing is left.
    Drain,
    /// Only opens, notes the contents and closes.
    Look,
}

/// The orders of a run. A child gets them as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunOrders {
    pub(super) seed: u64,
    /// The number of earlier runs.
    pub(super) life: u64,
    pub(super) data_dirs: Vec<PathBuf>,
    pub(super) work: RunKind,
    /// The next number of each writer.
    pub(super) next: Vec<u64>,
    pub(super) strike: Option<PlannedCrash>,
    /// Bytes that each data directory may hold.
    pub(super) quota: Option<u64>,
    pub(super) lie: Option<DiskLie>,
}

/// The channel's numbers, drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChannelNumbers {
    pub(super) segment_bytes: u64,
    pub(super) checkpoint_ms: u64,
    pub(super) writers: u32,
    pub(super) takers: u32,
    pub(super) capacity: u64,
}

impl ChannelNumbers {
    /// Returns the numbers of the channel under `seed`. With a quota bytes limit it, not events.
    pub(super) fn of(seed: u64, quota: Option<u64>) -> Self {
        let draw = SeedStream::new(seed, &[purpose::CHANNEL]);
        // Small segments, so that rolls, recycling and checkpoints happen in every child run.
        Self {
            segment_bytes: draw.one_of(&[32, 64, 128, 256]) * 1024,
            checkpoint_ms: draw.one_of(&[5, 20, 100, 500]),
            writers: draw.between(2, 4) as u32,
            takers: draw.between(1, 3) as u32,
            capacity: if quota.is_some() { 1_000_000 } else { draw.one_of(&[300, 1000, 3000]) },
        }
    }
}

/// Takes in a row that may return empty although the channel counts events: a process that is not
/// scheduled for as long as `keep-alive` has an empty take without any loss. Counted and not timed,
/// because a busy machine stretches every time.
const EMPTY_TAKES_MAX: u32 = 100;

/// The state that the workers of a run share.
pub(super) struct RunState {
    pub(super) orders: RunOrders,
    pub(super) channel: FileChannel,
    pub(super) note_writer: Arc<dyn NoteWriter>,
    /// Set when the run is to end.
    over: AtomicBool,
    /// While set, takers pause.
    pub(super) held: AtomicBool,
    /// Notified when there is nothing more to do.
    ended: EventCount,
    /// Events whose put was acknowledged in this run.
    pub(super) acknowledged: Arc<AtomicU64>,
    control: Arc<DiskControl>,
}

impl RunOrders {
    fn options(&self, disk: TortureDisk) -> FileChannelOptions {
        let numbers = ChannelNumbers::of(self.seed, self.quota);
        let stripes = scratch_dirs::stripes(&self.data_dirs);
        let mut options =
            FileChannelOptions::new(scratch_dirs::checkpoint(&self.data_dirs), stripes);
        options.capacity = numbers.capacity;
        options.transaction_capacity = numbers.capacity.min(100_000) as usize;
        options.segment_bytes = numbers.segment_bytes;
        options.checkpoint_interval = Duration::from_millis(numbers.checkpoint_ms);
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(50);
        options.hot_window_bytes = 1024 * 1024;
        options.with_disk(Arc::new(disk))
    }
}

impl RunState {
    /// Opens the channel and notes its contents.
    ///
    /// # Errors
    /// It does not open, or the receiver of the notes is gone.
    pub(super) fn begin(
        orders: RunOrders,
        note_writer: Arc<dyn NoteWriter>,
    ) -> io::Result<Arc<Self>> {
        let told = Arc::clone(&note_writer);
        let control = DiskControl::new(told, orders.strike, orders.quota, orders.lie);
        let control = Arc::new(control);
        let disk = TortureDisk::new(Arc::new(RealDisk::new()), Arc::clone(&control));
        let clock = SystemClock::new();
        let channel = match FileChannel::open(orders.options(disk)) {
            Ok(channel) => channel,
            Err(error) => {
                let words = format!("the channel does not open: {error}");
                note_writer.write_note(&Note::Wrong(SelfReportedError::Failed, words.clone()))?;
                return Err(io::Error::other(words));
            }
        };
        let us = u64::try_from(clock.now().as_micros()).unwrap_or(u64::MAX);
        let status = channel.status();
        note_writer.write_note(&Note::Opened {
            us,
            events: status.events,
            quarantined: status.quarantined,
            out_of_reach: status.out_of_reach,
            calls: control.calls(),
        })?;
        let life = Arc::new(Self {
            orders,
            channel,
            note_writer,
            over: AtomicBool::new(false),
            held: AtomicBool::new(false),
            ended: EventCount::default(),
            acknowledged: Arc::default(),
            control,
        });
        life.tell(status.events)?;
        life.control.enter(RunStage::Working);
        Ok(life)
    }

    /// Notes source offsets and contents. Everything is lent once, in order, and handed back.
    fn tell(&self, events: u64) -> io::Result<()> {
        for writer in 0..ChannelNumbers::of(self.orders.seed, self.orders.quota).writers {
            let position = match self.channel.source_offset(&source(writer)) {
                Ok(position) => position,
                Err(error) => {
                    // Nothing is in flight yet, so nothing can be in doubt.
                    let words = format!("the position of writer {writer}: {error}");
                    self.note_writer
                        .write_note(&Note::Wrong(SelfReportedError::Failed, words.clone()))?;
                    return Err(io::Error::other(words));
                }
            };
            let at = position.as_ref().and_then(|known| self.position_number(writer, known));
            if position.is_some() && at.is_none() {
                let words = format!("the position of writer {writer} is none it ever had");
                self.note_writer.write_note(&Note::Wrong(SelfReportedError::Altered, words))?;
            }
            self.note_writer.write_note(&Note::Position { writer, at })?;
        }
        let (mut told, mut takes, mut empty) = (0, Vec::new(), 0);
        while told < events {
            let mut take = self.channel.begin_take();
            let room = self.channel.limits().transaction_capacity;
            let mut lent = 0;
            while lent < room {
                let found = match take.take((room - lent).min(1000)) {
                    Ok(found) => found,
                    Err(error) => {
                        let words = format!("reading everything back: {error}");
                        self.note_writer
                            .write_note(&Note::Wrong(SelfReportedError::Failed, words.clone()))?;
                        return Err(io::Error::other(words));
                    }
                };
                if found.is_empty() {
                    empty += 1;
                    if empty < EMPTY_TAKES_MAX {
                        continue;
                    }
                    break;
                }
                empty = 0;
                lent += found.len();
                let spans = spans_of(self.names(&found)?);
                self.note_writer.write_note(&Note::Contents(spans))?;
                if told + lent as u64 >= events {
                    break;
                }
            }
            told += lent as u64;
            takes.push(take);
            if lent == 0 {
                break;
            }
        }
        // The last transaction is handed back first, so that the order is as before.
        for take in takes.into_iter().rev() {
            take.rollback();
        }
        self.note_writer.write_note(&Note::ContentsEnd)
    }

    fn position_number(&self, writer: u32, position: &CommittedOffset) -> Option<u64> {
        let text = std::str::from_utf8(&position.bytes).ok()?;
        let (name, at) = text.split_once('@')?;
        (name == source(writer)).then(|| number(at)).flatten()
    }

    /// Returns the names of `events`, every byte of which is compared with what was put.
    pub(super) fn names(
        &self,
        events: &[Event],
    ) -> io::Result<Vec<(super::transaction_shape::PutName, u32)>> {
        let mut names = Vec::with_capacity(events.len());
        for found in events {
            let Some((put, index)) = name_of(found) else {
                let shown = &found.body[..found.body.len().min(32)];
                let words = format!("an event that begins with \"{}\"", shown.escape_ascii());
                self.note_writer.write_note(&Note::Wrong(SelfReportedError::Foreign, words))?;
                continue;
            };
            if *found != event(self.orders.seed, put, index) {
                let words = format!("event {put}.{index}");
                self.note_writer.write_note(&Note::Wrong(SelfReportedError::Altered, words))?;
            }
            names.push((put, index));
        }
        Ok(names)
    }

    pub(super) fn until_reader_is_gone(&self, run: impl FnOnce(&Self) -> io::Result<()>) {
        if run(self).is_err() {
            self.finish();
        }
    }

    /// Notes that the run is to end.
    pub(super) fn finish(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.ended.notify_all();
    }

    /// Waits until the run is to end, or until `time_limit` has passed.
    pub(super) fn wait(&self, time_limit: Duration) {
        let turn = self.ended.generation();
        if !self.is_over() {
            self.ended.sleep(turn, Some(time_limit));
        }
    }

    /// Returns whether the run is to end.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the workers and closes the channel.
    ///
    /// # Errors
    /// The receiver of the notes is gone, or a worker panicked.
    pub(super) fn end(self: Arc<Self>, workers: Vec<JoinHandle<()>>) -> io::Result<()> {
        self.over.store(true, Ordering::SeqCst);
        for worker in workers {
            if worker.join().is_err() {
                let words = "a producer or taker of the test panicked".to_owned();
                self.note_writer.write_note(&Note::Wrong(SelfReportedError::Failed, words))?;
            }
        }
        self.control.enter(RunStage::Closing);
        if let Err(error) = self.channel.close() {
            self.note_writer
                .write_note(&Note::Wrong(SelfReportedError::Failed, error.to_string()))?;
        }
        self.control.flush();
        self.note_writer.write_durably(&Note::Closed)
    }
}
