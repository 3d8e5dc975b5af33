//! State that the transactions, the workers and maintenance of one channel share.

use super::checkpoint_run::Checkpoints;
use super::commit_delay::CommitDelay;
use super::commit_order::CommitOrder;
use super::options::FileChannelOptions;
use super::read_buffers::ReadBuffers;
use super::segment_use::SegmentUse;
use super::space_reservation::SpaceReservations;
use super::workers::{Task, Workers};
use crate::base::event_count::EventCount;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::ids::Uuid;
use crate::base::lock_rank::{LockRank, RankedGuard};
use crate::channel::RefusedReason;
use crate::channel::timer::Timer;
use crate::disk::memory::SlabPool;
use crate::disk::{Directory, Lock};
use crate::layout::CheckpointSlots;
use crate::log::{Log, LogLine, Wakeups};
use crate::record::member::Member;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tracing::Level;

/// The channel shared by all its handles.
pub(super) struct Shared {
    /// The channel's name in the log.
    pub name: String,
    pub options: FileChannelOptions,
    pub channel: Uuid,
    log: Mutex<Log>,
    /// Block memory: accessed without the lock.
    pub pool: SlabPool,
    /// Read buffers' part of it.
    pub read_buffers: ReadBuffers,
    pub closed: AtomicBool,
    /// Why it stopped when another process had locked one of its directories.
    pub gave_way: OnceLock<FaultCause>,
    /// Version of the state in maintenance's last checkpoint.
    pub checkpointed: AtomicU64,
    /// Notified when something can be reserved that could not, or an acknowledgement has settled.
    pub room: Arc<EventCount>,
    /// Notified when something can be lent that could not.
    pub takers: EventCount,
    /// Notified when maintenance has work.
    pub maintenance: EventCount,
    pub timer: Timer,
    pub workers: Workers,
    pub stripe_dirs: Vec<StripeDir>,
    pub space_reservations: SpaceReservations,
    pub commit_order: Arc<CommitOrder>,
    pub checkpoints: Checkpoints,
    pub checkpoint_home: CheckpointDir,
}

#[cfg(test)]
thread_local! {
    /// How often this thread took the lock of a log.
    pub(super) static LOG_LOCKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts in a test that this thread takes the lock of a log.
fn note_lock() {
    #[cfg(test)]
    LOG_LOCKS.set(LOG_LOCKS.get() + 1);
}

/// The log, locked. A panic while it is held poisons it: all sleepers are then woken and get the
/// error.
pub(super) struct LockedLog<'s> {
    log: Option<RankedGuard<'s, Log>>,
    shared: &'s Shared,
}

impl Deref for LockedLog<'_> {
    type Target = Log;

    fn deref(&self) -> &Log {
        self.log.as_deref().expect("the lock is held until the drop")
    }
}

impl DerefMut for LockedLog<'_> {
    fn deref_mut(&mut self) -> &mut Log {
        self.log.as_deref_mut().expect("the lock is held until the drop")
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

/// `checkpointDir`.
pub(super) struct CheckpointDir {
    pub directory: Arc<dyn Directory>,
    /// Its member record.
    pub member: Option<Member>,
    /// Held while the channel is open.
    pub lock: Box<dyn Lock>,
}

/// The directory of a stripe.
pub(super) struct StripeDir {
    /// `None` when it is missing.
    pub directory: Option<Arc<dyn Directory>>,
    /// Its member record.
    pub member: Option<Member>,
    /// Held while the channel is open.
    pub lock: Option<Box<dyn Lock>>,
    /// The commits for which its next write waits.
    pub commit_delay: CommitDelay,
    /// Held by the thread that maintains its segments.
    pub maintenance: Mutex<StripeMaintenance>,
}

/// State of a missing member file.
#[derive(Debug, Default)]
pub(super) struct MemberWatch {
    /// Since when it has been missing while everything else is present.
    pub missing_since: Option<Duration>,
    /// Whether it was logged that the file cannot be written again.
    pub said: bool,
}

/// State kept between two checks of a stripe's directory.
#[derive(Debug, Default)]
pub(super) struct StripeMaintenance {
    /// Slot number of the next segment file.
    pub next_slot: u32,
    /// How fast its segments are used up.
    pub segment_use: SegmentUse,
    /// Time of the last check of its free space.
    pub space_at: Option<Duration>,
    /// Time of the last failed creation of a segment file.
    pub refused_at: Option<Duration>,
    /// Bytes of the last segment that could not be created although it was waited for.
    pub refused_len: Option<u64>,
    /// Time at which a segment that could not be created was last waited for.
    pub wanted_at: Option<Duration>,
    /// Time at which surplus free segments were last deleted, or could have been.
    pub tidied_at: Option<Duration>,
    /// The segment that was freed last, and since when.
    pub newest: Option<(Option<u32>, Duration)>,
    /// Time of the last check of its files, and where the next one begins.
    pub files_at: Option<Duration>,
    pub files_turn: usize,
    /// Whether it was logged that the directory no longer exists.
    pub removed: bool,
    /// State of its member file, and of the one of `checkpointDir` with the first stripe.
    pub member: MemberWatch,
    pub checkpoint_member: MemberWatch,
    /// Whether it was logged that its path does not lead to it.
    pub moved: bool,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        parts.log.pool().stock(0);
        let room = Arc::<EventCount>::default();
        Self {
            timer: Timer::new(Arc::clone(&parts.options.clock)),
            workers: Workers::new(parts.options.step_driven, parts.stripe_dirs.len()),
            name: parts.options.name.clone().unwrap_or_else(|| parts.channel.to_string()),
            options: parts.options,
            channel: parts.channel,
            pool: parts.log.pool().clone(),
            read_buffers: ReadBuffers::default(),
            log: Mutex::new(parts.log),
            closed: AtomicBool::new(false),
            gave_way: OnceLock::new(),
            checkpointed: AtomicU64::new(0),
            commit_order: CommitOrder::new(Arc::clone(&room)),
            room,
            takers: EventCount::default(),
            maintenance: EventCount::default(),
            stripe_dirs: parts.stripe_dirs,
            space_reservations: SpaceReservations::default(),
            checkpoints: Checkpoints::new(parts.checkpoints),
            checkpoint_home: parts.checkpoint_home,
        }
    }

    /// Returns the log, locked.
    ///
    /// # Errors
    /// A panic happened inside it before: its state cannot be trusted any more. What is on the
    /// disks is as safe as before; opening the channel again recovers it.
    pub(super) fn log(&self) -> Result<LockedLog<'_>, FaultCause> {
        note_lock();
        let held = LockRank::Log.enter();
        match self.log.lock() {
            Ok(log) => Ok(LockedLog { log: Some(RankedGuard::new(log, held)), shared: self }),
            Err(_) => {
                let what = "the channel stopped after an internal failure; open it again";
                Err(FaultCause::new(FaultKind::Stopped, FaultPlace::default(), what))
            }
        }
    }

    /// Returns whether a panic inside the log has stopped the channel; takes no lock.
    pub(super) fn is_poisoned(&self) -> bool {
        self.log.is_poisoned()
    }

    /// Wakes all waiters of the log, which has stopped. Waiters that a panic in the middle of a
    /// change has lost wake by themselves, see `CHECK_INTERVAL` in `group_commit.rs`.
    fn wake_all(&self) {
        let completions = LockRank::Log.lock(&self.log).completions();
        completions.iter().for_each(|completion| completion.waiters.notify_all());
        [&*self.room, &self.takers, &self.maintenance].into_iter().for_each(EventCount::notify_all);
    }

    /// Changes the log and then, without the lock, wakes the waiters concerned.
    pub(super) fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Result<T, FaultCause> {
        let mut log = self.log()?;
        let answer = change(&mut log);
        let wakeups = log.take_wakeups();
        drop(log);
        self.deliver(wakeups);
        Ok(answer)
    }

    /// Changes the log as [`Shared::with_log`] does; `None`, and nothing changed, once the channel
    /// is closed. If that were checked without the lock, a commit could pass the check and reserve
    /// after the closing, which no longer waits for it.
    pub(super) fn with_open_log<T>(
        &self,
        change: impl FnOnce(&mut Log) -> T,
    ) -> Result<Option<T>, FaultCause> {
        self.with_log(|log| (!self.is_closed()).then(|| change(log)))
    }

    /// Returns why a channel that is closed takes no commit.
    pub(super) fn why_closed(&self) -> RefusedReason {
        match self.gave_way.get() {
            Some(why) => RefusedReason::Stopped(why.clone()),
            None => RefusedReason::Closed,
        }
    }

    /// Closes the channel to new work; returns whether it was closed already.
    pub(super) fn refuse_new_work(&self) -> bool {
        let _log = self.log();
        self.closed.swap(true, Ordering::SeqCst)
    }

    /// Copies, wakes and logs what the log asked for; called without the lock.
    pub(super) fn deliver(&self, mut wakeups: Wakeups) {
        wakeups.copy_frames();
        if wakeups.memory {
            self.pool.stock(0);
        }
        for completion in wakeups.completions {
            completion.waiters.notify_all();
        }
        if wakeups.takers {
            self.takers.notify_all();
        }
        if wakeups.room {
            self.room.notify_all();
        }
        if wakeups.maintenance {
            self.maintenance.notify_all();
        }
        for said in wakeups.log_lines {
            let LogLine { level, code, stripe, text } = said;
            let code = code.map(tracing::field::display);
            match level {
                Level::ERROR => {
                    tracing::error!(code, channel = self.name, stripe = stripe.0, "{text}");
                }
                Level::WARN => {
                    tracing::warn!(code, channel = self.name, stripe = stripe.0, "{text}");
                }
                _ => tracing::info!(channel = self.name, stripe = stripe.0, "{text}"),
            }
        }
        if wakeups.failing {
            self.finish_failures();
        }
    }

    /// Waits, without the lock, for the threads that fill frames of a stripe that failed, so that its
    /// epoch can end ([`Log::finish_failures`]). They only copy and checksum; this thread is not one
    /// of them.
    fn finish_failures(&self) {
        loop {
            std::thread::yield_now();
            let Ok(mut log) = self.log() else { return };
            let wait = log.finish_failures(self.now());
            let wakeups = Wakeups { failing: false, ..log.take_wakeups() };
            drop(log);
            self.deliver(wakeups);
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

    /// Hands a task to the pool.
    pub(super) fn submit_task(self: &Arc<Self>, task: Task) {
        Workers::submit_task(self, task);
    }
}

/// The parts of a channel.
pub(super) struct Parts {
    pub options: FileChannelOptions,
    pub channel: Uuid,
    pub log: Log,
    pub stripe_dirs: Vec<StripeDir>,
    pub checkpoints: Vec<CheckpointSlots>,
    pub checkpoint_home: CheckpointDir,
}
