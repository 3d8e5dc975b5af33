//! One life of the channel: it is opened, everything in it is told, producers and takers work until
//! it is stopped or killed.

use super::door::{Control, Lie, Stage, TortureDisk};
use super::draw::{Draw, purpose};
use super::ground;
use super::moment::Strike;
use super::note::{Note, Wrong, spans_of};
use super::producer;
use super::shape::{event, name_of, number, source};
use super::taker;
use super::voice::Voice;
use crate::base::clock::{Clock, SystemClock};
use crate::base::signal::Signal;
use crate::base::threads;
use crate::channel::file::{FileChannel, FileChannelOptions};
use crate::channel::{Channel, Position};
use crate::disk::real::RealDisk;
use crate::event::Event;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a life is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    /// Producers put and takers take until told to stop.
    PutAndTake,
    /// Takers take until nothing is left.
    Drain,
    /// Nothing but opening, telling and closing.
    Look,
}

/// What a life is asked to do. It comes to a child as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) seed: u64,
    /// How many lives went before.
    pub(super) life: u64,
    pub(super) data_dirs: Vec<PathBuf>,
    pub(super) work: Work,
    /// The next number of each writer.
    pub(super) next: Vec<u64>,
    pub(super) strike: Option<Strike>,
    /// Bytes that each data directory may hold.
    pub(super) quota: Option<u64>,
    pub(super) lie: Option<Lie>,
}

/// The channel's numbers, drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) segment_bytes: u64,
    pub(super) checkpoint_ms: u64,
    pub(super) writers: u32,
    pub(super) takers: u32,
    pub(super) capacity: u64,
}

impl Numbers {
    /// The numbers of the channel under `seed`. With a quota it is bytes that limit it, not events.
    pub(super) fn of(seed: u64, quota: Option<u64>) -> Self {
        let draw = Draw::new(seed, &[purpose::CHANNEL]);
        // Small segments, so that rolls, recycling and checkpoints happen in every life.
        Self {
            segment_bytes: draw.one_of(&[32, 64, 128, 256]) * 1024,
            checkpoint_ms: draw.one_of(&[5, 20, 100, 500]),
            writers: draw.between(2, 4) as u32,
            takers: draw.between(1, 3) as u32,
            capacity: if quota.is_some() { 1_000_000 } else { draw.one_of(&[300, 1000, 3000]) },
        }
    }
}

/// Takes in a row that may come back empty although the channel counts events: a process that does
/// not get its turn for as long as `keep-alive` has an empty take without anything being lost.
/// Counted and not timed, because a busy machine stretches every time.
const EMPTY_TAKES_MAX: u32 = 100;

/// What the workers of a life share.
pub(super) struct Life {
    pub(super) orders: Orders,
    pub(super) channel: FileChannel,
    pub(super) voice: Arc<dyn Voice>,
    /// Set when the life is to end.
    over: AtomicBool,
    /// While set, takers leave everything where it is.
    pub(super) held: AtomicBool,
    /// Raised when there is nothing more to do.
    ended: Signal,
    /// Events whose put was acknowledged in this life.
    pub(super) acknowledged: Arc<AtomicU64>,
    control: Arc<Control>,
}

impl Orders {
    fn options(&self, disk: TortureDisk) -> FileChannelOptions {
        let numbers = Numbers::of(self.seed, self.quota);
        let stripes = ground::stripes(&self.data_dirs);
        let mut options = FileChannelOptions::new(ground::checkpoint(&self.data_dirs), stripes);
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

impl Life {
    /// Opens the channel and tells everything in it.
    ///
    /// # Errors
    /// It does not open, or nobody listens.
    pub(super) fn begin(orders: Orders, voice: Arc<dyn Voice>) -> io::Result<Arc<Self>> {
        let told = Arc::clone(&voice);
        let control = Control::new(told, orders.strike, orders.quota, orders.lie);
        let control = Arc::new(control);
        let disk = TortureDisk::new(Arc::new(RealDisk::new()), Arc::clone(&control));
        let clock = SystemClock::new();
        let channel = match FileChannel::open(orders.options(disk)) {
            Ok(channel) => channel,
            Err(error) => {
                let words = format!("the channel does not open: {error}");
                voice.say(&Note::Wrong(Wrong::Failed, words.clone()))?;
                return Err(io::Error::other(words));
            }
        };
        let us = u64::try_from(clock.now().as_micros()).unwrap_or(u64::MAX);
        let status = channel.status();
        voice.say(&Note::Opened {
            us,
            events: status.events,
            quarantined: status.quarantined,
            out_of_reach: status.out_of_reach,
            calls: control.calls(),
        })?;
        let life = Arc::new(Self {
            orders,
            channel,
            voice,
            over: AtomicBool::new(false),
            held: AtomicBool::new(false),
            ended: Signal::default(),
            acknowledged: Arc::default(),
            control,
        });
        life.tell(status.events)?;
        life.control.enter(Stage::Working);
        Ok(life)
    }

    /// Tells positions and contents. Everything is lent once, in order, and handed back.
    fn tell(&self, events: u64) -> io::Result<()> {
        for writer in 0..Numbers::of(self.orders.seed, self.orders.quota).writers {
            let position = match self.channel.position(&source(writer)) {
                Ok(position) => position,
                Err(error) => {
                    // Nothing is under way yet, so nothing can be in doubt.
                    let words = format!("the position of writer {writer}: {error}");
                    self.voice.say(&Note::Wrong(Wrong::Failed, words.clone()))?;
                    return Err(io::Error::other(words));
                }
            };
            let at = position.as_ref().and_then(|known| self.position_number(writer, known));
            if position.is_some() && at.is_none() {
                let words = format!("the position of writer {writer} is none it ever had");
                self.voice.say(&Note::Wrong(Wrong::Altered, words))?;
            }
            self.voice.say(&Note::Position { writer, at })?;
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
                        self.voice.say(&Note::Wrong(Wrong::Failed, words.clone()))?;
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
                self.voice.say(&Note::Contents(spans))?;
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
        // The last that was lent goes back first, so that everything stands as it stood.
        for take in takes.into_iter().rev() {
            take.rollback();
        }
        self.voice.say(&Note::ContentsEnd)
    }

    fn position_number(&self, writer: u32, position: &Position) -> Option<u64> {
        let text = std::str::from_utf8(&position.bytes).ok()?;
        let (name, at) = text.split_once('@')?;
        (name == source(writer)).then(|| number(at)).flatten()
    }

    /// The names of `events`, every byte of which is compared with what was put.
    pub(super) fn names(&self, events: &[Event]) -> io::Result<Vec<(super::shape::PutName, u32)>> {
        let mut names = Vec::with_capacity(events.len());
        for found in events {
            let Some((put, index)) = name_of(found) else {
                let shown = &found.body[..found.body.len().min(32)];
                let words = format!("an event that begins with \"{}\"", shown.escape_ascii());
                self.voice.say(&Note::Wrong(Wrong::Foreign, words))?;
                continue;
            };
            if *found != event(self.orders.seed, put, index) {
                let words = format!("event {put}.{index}");
                self.voice.say(&Note::Wrong(Wrong::Altered, words))?;
            }
            names.push((put, index));
        }
        Ok(names)
    }

    /// Starts the producers and takers that the orders ask for.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn work(self: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let numbers = Numbers::of(self.orders.seed, self.orders.quota);
        let mut threads = Vec::new();
        if self.orders.work == Work::PutAndTake {
            for writer in 0..numbers.writers {
                let life = Arc::clone(self);
                let run = move || life.until_nobody_listens(|l| producer::run(l, writer));
                threads.push(threads::spawn("torture-put", run)?);
            }
        }
        if self.orders.work != Work::Look {
            for taker in 0..numbers.takers {
                let life = Arc::clone(self);
                let run = move || life.until_nobody_listens(|l| taker::run(l, taker));
                threads.push(threads::spawn("torture-take", run)?);
            }
        }
        Ok(threads)
    }

    fn until_nobody_listens(&self, run: impl FnOnce(&Self) -> io::Result<()>) {
        if run(self).is_err() {
            self.finish();
        }
    }

    /// Says that the life is to end.
    pub(super) fn finish(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.ended.raise();
    }

    /// Waits until the life is to end, or until `patience` has passed.
    pub(super) fn wait(&self, patience: Duration) {
        let turn = self.ended.turn();
        if !self.is_over() {
            self.ended.sleep(turn, Some(patience));
        }
    }

    /// Whether the life is to end.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the workers and closes the channel.
    ///
    /// # Errors
    /// Nobody listens, or a worker panicked.
    pub(super) fn end(self: Arc<Self>, workers: Vec<JoinHandle<()>>) -> io::Result<()> {
        self.over.store(true, Ordering::SeqCst);
        for worker in workers {
            if worker.join().is_err() {
                let words = "a producer or taker of the test panicked".to_owned();
                self.voice.say(&Note::Wrong(Wrong::Failed, words))?;
            }
        }
        self.control.enter(Stage::Closing);
        if let Err(error) = self.channel.close() {
            self.voice.say(&Note::Wrong(Wrong::Failed, error.to_string()))?;
        }
        self.control.flush();
        self.voice.say_surely(&Note::Closed)
    }
}
