//! What the transactions, the workers and the keeper of one channel share.

use super::checkpoint::Checkpoints;
use super::cold::Pieces;
use super::group_commit::CommitDelay;
use super::options::FileChannelOptions;
use super::pledges::Pledges;
use super::preallocate::SegmentUse;
use super::slots::Slots;
use super::turns::Turns;
use super::workers::{Task, Workers};
use crate::base::ids::Uuid;
use crate::base::signal::Signal;
use crate::base::trouble::Trouble;
use crate::channel::timer::{Timer, TimerHandle};
use crate::disk::memory::SlabPool;
use crate::disk::{Directory, Lock};
use crate::log::{Log, Said, Wakes};
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tracing::Level;

/// The channel behind all its handles.
pub(super) struct Shared {
    /// What the channel is called in the log.
    pub name: String,
    pub options: FileChannelOptions,
    pub channel: Uuid,
    log: Mutex<Log>,
    /// Block memory: reached without the lock.
    pub pool: SlabPool,
    /// Where cold reads get their part of it.
    pub pieces: Pieces,
    pub closed: AtomicBool,
    /// Why it stopped when another process had locked a directory of it.
    pub gave_way: OnceLock<Trouble>,
    /// What the last checkpoint of the keeper stands for.
    pub checkpointed: AtomicU64,
    /// Raised when something can be reserved that could not, or an acknowledgement has settled.
    pub room: Signal,
    /// Raised when something can be lent that could not.
    pub takers: Signal,
    /// Raised when the keeper has work.
    pub keeper: Signal,
    pub timer: Timer,
    pub workers: Workers,
    pub homes: Vec<Home>,
    pub pledges: Pledges,
    pub turns: Turns,
    pub checkpoints: Checkpoints,
    /// Held while the channel is open.
    pub checkpoint_lock: Box<dyn Lock>,
}

/// The machine, locked. A panic while it is held poisons it: whoever sleeps is woken then, to hear of it.
pub(super) struct LockedLog<'s> {
    log: Option<MutexGuard<'s, Log>>,
    shared: &'s Shared,
}

impl Deref for LockedLog<'_> {
    type Target = Log;

    fn deref(&self) -> &Log {
        self.log.as_deref().expect("it is let go of with the guard")
    }
}

impl DerefMut for LockedLog<'_> {
    fn deref_mut(&mut self) -> &mut Log {
        self.log.as_deref_mut().expect("it is let go of with the guard")
    }
}

impl Drop for LockedLog<'_> {
    fn drop(&mut self) {
        self.log = None;
        if std::thread::panicking() && self.shared.log.is_poisoned() {
            self.shared.wake_all();
        }
    }
}

/// The directory of a stripe.
pub(super) struct Home {
    /// `None` when it is missing.
    pub directory: Option<std::sync::Arc<dyn Directory>>,
    /// Held while the channel is open.
    pub lock: Option<Box<dyn Lock>>,
    /// Whose commits its next write waits for.
    pub commit_delay: CommitDelay,
    /// Held by whoever sees to its segments.
    pub tending: Mutex<Tending>,
}

/// What is remembered between two looks at a stripe's directory.
#[derive(Debug, Default)]
pub(super) struct Tending {
    /// Slot number of the next segment file.
    pub next_slot: u32,
    /// How fast its segments are used up.
    pub segment_use: SegmentUse,
    /// When its free space was last looked at.
    pub space_at: Option<Duration>,
    /// When a segment file could not be made.
    pub refused_at: Option<Duration>,
    /// Bytes of the last that could not be made although it was waited for.
    pub refused_len: Option<u64>,
    /// When a segment was last waited for that could not be made.
    pub wanted_at: Option<Duration>,
    /// When free segments that are too many were last deleted, or could have been.
    pub tidied_at: Option<Duration>,
    /// The segment that came free last, and since when it is the last.
    pub newest: Option<(Option<u32>, Duration)>,
    /// When its files were last looked at, and where the next look begins.
    pub files_at: Option<Duration>,
    pub files_turn: usize,
    /// It was said that the directory is no longer there.
    pub removed: bool,
    /// It was said that its path does not lead to it.
    pub moved: bool,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            timer: Timer::new(std::sync::Arc::clone(&parts.options.clock)),
            workers: Workers::new(parts.options.manual, parts.homes.len()),
            name: parts.options.name.clone().unwrap_or_else(|| parts.channel.to_string()),
            options: parts.options,
            channel: parts.channel,
            pool: parts.log.pool().clone(),
            pieces: Pieces::default(),
            log: Mutex::new(parts.log),
            closed: AtomicBool::new(false),
            gave_way: OnceLock::new(),
            checkpointed: AtomicU64::new(0),
            room: Signal::default(),
            takers: Signal::default(),
            keeper: Signal::default(),
            homes: parts.homes,
            pledges: Pledges::default(),
            turns: Turns::default(),
            checkpoints: Checkpoints::new(parts.checkpoints),
            checkpoint_lock: parts.checkpoint_lock,
        }
    }

    /// The machine.
    ///
    /// # Errors
    /// A panic happened inside it before: nobody may trust it any more. What is on the disks is
    /// as safe as before; opening the channel again recovers it.
    pub(super) fn log(&self) -> Result<LockedLog<'_>, Trouble> {
        match self.log.lock() {
            Ok(log) => Ok(LockedLog { log: Some(log), shared: self }),
            Err(_) => {
                Err(Trouble::new("the channel stopped after an internal failure; open it again"))
            }
        }
    }

    /// Wakes whoever waits for anything of the machine, which has stopped. What a panic in the middle of a
    /// change has lost sight of wakes by itself, see `LOOK` in `writing.rs`.
    fn wake_all(&self) {
        let fates = self.log.lock().unwrap_or_else(PoisonError::into_inner).fates();
        fates.iter().for_each(|fate| fate.signal.raise());
        [&self.room, &self.takers, &self.keeper].into_iter().for_each(Signal::raise);
    }

    /// Changes the machine and then, without the lock, wakes whom that concerns.
    pub(super) fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Result<T, Trouble> {
        let mut log = self.log()?;
        let answer = change(&mut log);
        let wakes = log.take_wakes();
        drop(log);
        self.deliver(wakes);
        Ok(answer)
    }

    /// As [`Shared::with_log`]; `None`, and nothing changed, once the channel is closed. Asked
    /// without the lock, a commit could pass the question, and reserve behind the back of the
    /// closing, which no longer waits for it.
    pub(super) fn with_open_log<T>(
        &self,
        change: impl FnOnce(&mut Log) -> T,
    ) -> Result<Option<T>, Trouble> {
        self.with_log(|log| (!self.is_closed()).then(|| change(log)))
    }

    /// Closes the channel to new work; answers whether it was closed already.
    pub(super) fn shut(&self) -> bool {
        let _log = self.log();
        self.closed.swap(true, Ordering::SeqCst)
    }

    pub(super) fn deliver(&self, wakes: Wakes) {
        for fate in wakes.fates {
            fate.signal.raise();
        }
        if wakes.takers {
            self.takers.raise();
        }
        if wakes.room {
            self.room.raise();
        }
        if wakes.keeper {
            self.keeper.raise();
        }
        for said in wakes.said {
            let Said { level, code, stripe, words } = said;
            let code = code.map(tracing::field::display);
            match level {
                Level::ERROR => {
                    tracing::error!(code, channel = self.name, stripe = stripe.0, "{words}");
                }
                Level::WARN => {
                    tracing::warn!(code, channel = self.name, stripe = stripe.0, "{words}");
                }
                _ => tracing::info!(channel = self.name, stripe = stripe.0, "{words}"),
            }
        }
        if wakes.failing {
            self.finish_failures();
        }
    }

    /// Waits, without the lock, for those who fill frames of a stripe that failed. They copy and checksum
    /// only; this thread is none of them.
    fn finish_failures(&self) {
        loop {
            std::thread::yield_now();
            let Ok(mut log) = self.log() else { return };
            let wait = log.finish_failures(self.now());
            let wakes = Wakes { failing: false, ..log.take_wakes() };
            drop(log);
            self.deliver(wakes);
            if !wait {
                return;
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.options.clock.now()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Hands work to the pool.
    pub(super) fn give(self: &std::sync::Arc<Self>, task: Task) {
        Workers::give(self, task);
    }
}

/// What a channel is put together from.
pub(super) struct Parts {
    pub options: FileChannelOptions,
    pub channel: Uuid,
    pub log: Log,
    pub homes: Vec<Home>,
    pub checkpoints: Vec<Slots>,
    pub checkpoint_lock: Box<dyn Lock>,
}

/// Waits, without blocking the thread, until `signal` has left `turn` or `deadline` is reached.
pub(super) async fn changed(
    signal: &Signal,
    turn: u32,
    timer: &Timer,
    deadline: Option<(Duration, &dyn crate::base::clock::Clock)>,
) {
    let mut alarm: Option<TimerHandle> = None;
    let mut watch = signal.watch();
    poll_fn(|context| {
        if let Some((deadline, clock)) = deadline {
            if clock.now() >= deadline {
                return Poll::Ready(());
            }
            match &alarm {
                Some(alarm) => alarm.renew(context.waker()),
                None => alarm = Some(timer.wake_at(deadline, context.waker().clone())),
            }
        }
        if watch.until(turn, context.waker()) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
