//! Maintenance: preallocates segments, writes checkpoints, retries suspended stripes.
//!
//! One thread per channel that never waits for a disk, so that it notices when one hangs: disk
//! operations are handed to the pool. A driver without threads does it all in one round. The log's
//! lock is held only to read and to report.
//!
//! A round ([`Shared::run_maintenance`]) submits a [`Task::Maintain`] for each stripe, gives up writes
//! and reads that hang, tries suspended stripes again, and begins a checkpoint when one is due. It runs
//! at once when the log asks for it ([`Wakeups::maintenance`](crate::log::Wakeups::maintenance)).

use super::shared::{Shared, StripeMaintenance};
use super::workers::{RunTask, Task};
use crate::base::codes;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::ids::StripeIndex;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::lock_rank::LockRank;
use crate::base::setting;
use crate::disk::{Directory, File};
use crate::layout::{ZeroedFile, segment_name};
use crate::log::{FreeSegment, StripeReport};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError, Weak};
use std::time::Duration;

/// The pause between checkpoints that only name segments: each is a write into every directory.
const NAMES_EVERY: Duration = Duration::from_millis(100);

/// The longest interval between maintenance rounds, which check disk space and writes that hang.
const INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The interval while puts wait for space: with [`PAUSE_OF_MAKING`] at most 0.7 s pass between the
/// return of space and the creation of the segment that they wait for.
const INTERVAL_WITHOUT_ROOM: Duration = Duration::from_millis(200);

/// The pause after a failed creation of a segment: where a quota refuses what the file system
/// reports as free, each failed attempt is written in part.
const PAUSE_OF_MAKING: Duration = Duration::from_millis(500);

/// The pause after a failed creation where no put waits for the segment yet.
const PAUSE_OF_MAKING_AHEAD: Duration = Duration::from_secs(10);

/// After a segment that could not be created was last requested, the stripe's report names it for
/// this long.
const REFUSAL_NAMED_FOR: Duration = Duration::from_secs(60);

/// State that maintenance keeps between its steps.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    checkpoint_at: Duration,
}

/// Runs until the channel is closed or dropped.
pub(super) fn run(shared: &Weak<Shared>) {
    let mut schedule = Schedule::default();
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let generation = shared.maintenance.generation();
        if shared.is_closed() {
            return;
        }
        // A round that panics outside of the log leaves it as it was; without maintenance no
        // segment would be created any more, no checkpoint written, no stripe retried.
        let round = catch_unwind(AssertUnwindSafe(|| shared.run_maintenance(&mut schedule)));
        let nap = round.unwrap_or_else(|_| {
            tracing::error!(code = %codes::MAINTENANCE_FAILED, channel = shared.name, "the channel's maintenance thread failed in its own code; it continues in a second");
            INTERVAL_MAX
        });
        // While sleeping the thread keeps the channel alive only for one check.
        shared.maintenance.sleep(generation, Some(nap));
    }
}

impl Shared {
    /// Does one round of everything; returns how long nothing needs to be done.
    pub(super) fn run_maintenance(self: &Arc<Self>, schedule: &mut Schedule) -> Duration {
        if self.is_closed() {
            return INTERVAL_MAX;
        }
        let now = self.now();
        let stripes = self.stripe_dirs.len();
        for index in (0..stripes).map(|index| StripeIndex(index as u16)) {
            self.do_or_submit(Task::Maintain(index));
        }
        let timeout = self.options.write_timeout;
        let due = self.with_log(|log| {
            log.give_up_hung(now, timeout);
            if let Some(since) = now.checked_sub(timeout) {
                log.give_up_hung_reads(now, since);
            }
            log.retry_suspended(now);
            log.expire_source_offsets(now);
            log.retry_reads(now);
            log.epochs_due().collect::<Vec<_>>()
        });
        for index in due.unwrap_or_default() {
            self.submit_task(Task::Write(index));
        }
        // Leaves out of a checkpoint what hangs, and continues what a thread that ended has left.
        self.advance_checkpoint(self.checkpoint_writer());
        let (wanted, urgent) = self
            .log()
            .map(|log| (log.checkpoint_is_wanted(), log.checkpoint_is_urgent()))
            .unwrap_or_default();
        let interval = self.options.checkpoint_interval;
        // Segments that are used up fast are named together.
        let wanted = urgent || (wanted && now >= schedule.checkpoint_at + NAMES_EVERY);
        if wanted || now >= schedule.checkpoint_at + interval {
            schedule.checkpoint_at = now;
            self.do_or_submit(Task::Checkpoint);
        }
        // Writes that an ended thread left behind are handed over here at the latest.
        self.hand_over_writes();
        let next = (schedule.checkpoint_at + interval).saturating_sub(now);
        let retry = self.log().ok().and_then(|log| log.next_retry(now));
        let retry = retry.map_or(INTERVAL_MAX, |at| at.saturating_sub(now));
        let pause = match self.log() {
            Ok(log) if log.checkpoint_is_wanted() => NAMES_EVERY,
            Ok(log) if log.lacks_space() => INTERVAL_WITHOUT_ROOM,
            _ => INTERVAL_MAX,
        };
        next.min(retry).min(pause).max(Duration::from_millis(1))
    }

    fn do_or_submit(self: &Arc<Self>, task: Task) {
        if self.options.step_driven {
            self.run_task(task);
        } else {
            self.submit_task(task);
        }
    }

    /// Maintains the space and the segments of one stripe. One task at a time: when its disk hangs,
    /// one hanging task is enough.
    pub(super) fn maintain(&self, index: StripeIndex) {
        let home = &self.stripe_dirs[index.at()];
        let _held = LockRank::Maintenance.enter();
        let mut maintenance = match home.maintenance.try_lock() {
            Ok(maintenance) => maintenance,
            Err(TryLockError::Poisoned(maintenance)) => maintenance.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.check_space(index, &mut maintenance);
        self.check_files(index, &mut maintenance);
        self.reopen_segments(index);
        self.make_segments(index, &mut maintenance);
        self.delete_spare_segments(index, &mut maintenance);
    }

    /// Begins a checkpoint if the state has changed since the last one.
    pub(super) fn begin_changed_checkpoint(self: &Arc<Self>) {
        let known = self.checkpointed.load(Ordering::SeqCst);
        // A failure is logged and retried. A thread of the pool does not wait for a checkpoint that
        // is being written: while a slot hangs and acknowledgements wait for it, thread after
        // thread would wait, until none is left for the other disks.
        let begun = self.begin_checkpoint(self.checkpoint_writer(), known, Duration::ZERO);
        if let Err(error) = begun {
            tracing::debug!(channel = self.name, "{}", error.fault);
        }
    }

    pub(super) fn check_space(&self, index: StripeIndex, maintenance: &mut StripeMaintenance) {
        let now = self.now();
        let Ok(report) = self.log().map(|log| log.report(index)) else { return };
        let (was, refused) = (report.lacks_space, report.refused_segment.is_some());
        // Half of maintenance's interval: a round that begins slightly early still checks.
        let pause = if was || refused { INTERVAL_WITHOUT_ROOM } else { INTERVAL_MAX } / 2;
        if maintenance.space_at.is_some_and(|at| now < at + pause) {
            return;
        }
        maintenance.space_at = Some(now);
        self.clear_refused_segment(&report, maintenance);
        let Some(directory) = &self.stripe_dirs[index.at()].directory else { return };
        if let Some(fault) = self.removed(index, &**directory, maintenance) {
            let _ = self.with_log(|log| log.set_space(index, Some(fault)));
            return;
        }
        let Ok(space) = directory.space() else { return };
        let minimum = self.options.minimum_required_space;
        let low = space.available_bytes < minimum;
        let path = directory.path().display();
        let available = space.available_bytes;
        if low && !was {
            tracing::warn!(
                code = %codes::SPACE_LOW,
                channel = self.name,
                "{path}: {available} bytes free, {} is {minimum}: puts wait, takes continue",
                setting::MINIMUM_REQUIRED_SPACE
            );
        }
        let fault = low.then(|| {
            let what = format!(
                "{path} has {available} bytes free, less than {} ({minimum}); free some space; puts then continue",
                setting::MINIMUM_REQUIRED_SPACE
            );
            let place = FaultPlace::from(index).at_path(directory.path());
            FaultCause::new(FaultKind::NoSpace, place, what)
        });
        if low || was {
            let _ = self.with_log(|log| log.set_space(index, fault));
            if !low {
                tracing::info!(channel = self.name, "{path}: there is room again, puts continue");
            }
        }
    }

    /// Clears a refused segment: a transaction may have needed a longer segment than there is room
    /// for and been refused. Nothing waits for it then, and nothing else is refused because of it.
    fn clear_refused_segment(&self, report: &StripeReport, maintenance: &mut StripeMaintenance) {
        let now = self.now();
        if report.refused_segment.is_none() || report.wants_segment > 0 {
            maintenance.wanted_at = Some(now);
        } else if maintenance.wanted_at.is_some_and(|at| now >= at + REFUSAL_NAMED_FOR) {
            let _ = self.with_log(|log| log.clear_refused_segment(report.index));
            tracing::info!(
                channel = self.name,
                stripe = report.index.0,
                "nothing waits any more for the segment that could not be created"
            );
        }
    }

    /// Ensures that the stripe has segments ready, and one that is large enough for what waits.
    fn make_segments(&self, index: StripeIndex, maintenance: &mut StripeMaintenance) {
        let ready = self.options.ready_segments;
        for _ in 0..ready {
            let Ok(report) = self.log().map(|log| log.report(index)) else { return };
            // Filling takes as much from the disk as the puts that will use it. So while writes run
            // only the first half of the reserve is made; the rest follows when nothing is written.
            let enough = if report.writing { ready.div_ceil(2).max(2) } else { ready };
            let awaited = report.suspended.is_none() && report.wants_segment > 0;
            if !awaited && report.free >= enough {
                return;
            }
            let usual = self.next_segment_bytes(&report, maintenance);
            let _ = self.with_log(|log| log.set_segment_bytes(index, usual));
            let len = usual.max(report.wants_segment).next_multiple_of(DEVICE_BLOCK_BYTES as u64);
            let pause = match (awaited, maintenance.refused_len) {
                (false, _) => PAUSE_OF_MAKING_AHEAD,
                (true, Some(refused)) if refused <= len => PAUSE_OF_MAKING,
                (true, _) => Duration::ZERO,
            };
            let since = maintenance.refused_at.map(|at| self.now().saturating_sub(at));
            if since.is_some_and(|since| since < pause) {
                return;
            }
            // One that is too long for the free space must not keep shorter ones from being made.
            let longer = len > usual && report.free < enough;
            let made = self.make_segment(&report, len, maintenance);
            if !(made || (longer && self.make_segment(&report, usual, maintenance))) {
                return;
            }
        }
    }

    fn make_segment(
        &self,
        report: &StripeReport,
        len: u64,
        maintenance: &mut StripeMaintenance,
    ) -> bool {
        let index = report.index;
        let Some(directory) = &self.stripe_dirs[index.at()].directory else { return false };
        // A file with that name was added meanwhile: a segment that was missing, perhaps.
        while matches!(directory.holds(&segment_name(maintenance.next_slot)), Ok(true)) {
            maintenance.next_slot += 1;
        }
        let slot = maintenance.next_slot;
        let name = segment_name(slot);
        let refused_at = maintenance.refused_at;
        let made = self.make_file(index, &**directory, &name, len, maintenance);
        if let Some(fault) = self.removed(index, &**directory, maintenance) {
            // Created while its directory was removed: a segment without a name does not allow
            // further puts.
            let _ = self.with_log(|log| log.set_space(index, Some(fault)));
            return false;
        }
        match made {
            Ok(file) => {
                let segment = FreeSegment { slot, file, len };
                maintenance.next_slot += 1;
                // The capabilities of its storage may have been detected only when this file was
                // created.
                let depth = directory.capabilities().writes_in_flight_max;
                let was = self.with_log(|log| {
                    log.set_writes_in_flight_max(index, depth);
                    let was = log.report(index).refused_segment.is_some();
                    log.add_segment(index, segment);
                    was && log.report(index).refused_segment.is_none()
                });
                if was.unwrap_or(false) {
                    let path = directory.path().display();
                    tracing::info!(
                        channel = self.name,
                        "{path}: there is room again, puts continue"
                    );
                }
                true
            }
            Err(fault) => {
                // Needed now, it is a reason to refuse puts; needed soon, it is not yet.
                if report.wants_segment > 0 {
                    if report.refused_segment.is_none() {
                        tracing::warn!(code = %codes::SEGMENT_NO_ROOM, channel = self.name, "{fault}: puts that need it wait, takes continue");
                    }
                    (maintenance.refused_len, maintenance.wanted_at) =
                        (Some(len), Some(self.now()));
                    let _ = self.with_log(|log| log.refuse_segment(index, len, fault));
                } else if maintenance.refused_at != refused_at {
                    tracing::warn!(
                        channel = self.name,
                        "{fault}: a segment that is not needed yet could not be created"
                    );
                }
                false
            }
        }
    }

    /// Creates the file of a segment, if there is room for it; else returns the reason, and leaves
    /// nothing behind.
    fn make_file(
        &self,
        index: StripeIndex,
        directory: &dyn Directory,
        name: &str,
        len: u64,
        maintenance: &mut StripeMaintenance,
    ) -> Result<Arc<dyn File>, FaultCause> {
        let minimum = self.options.minimum_required_space;
        let place = || FaultPlace::from(index).at_path(directory.path().join(name));
        let reservation = self.space_reservations.reserve(directory, len);
        let needed_bytes = minimum.saturating_add(reservation.needed_bytes);
        if let Ok(space) = directory.space()
            && space.available_bytes < needed_bytes
        {
            let what = format!(
                "{} has {} bytes free; a further segment of {len} bytes must leave {} ({minimum})",
                directory.path().display(),
                space.available_bytes,
                setting::MINIMUM_REQUIRED_SPACE,
            );
            return Err(FaultCause::new(FaultKind::NoSpace, place(), what));
        }
        let fresh = ZeroedFile::make(directory, name, len);
        // From here on the file system counts its space, and filling it may take long.
        drop(reservation);
        fresh.and_then(|fresh| self.filled(index, fresh, maintenance)).map_err(|error| {
            // A partial file takes space that others need; and a sync that failed once may succeed
            // the next time with the bytes lost: this file is never finished.
            if directory.remove(name).is_ok() {
                let _ = directory.sync();
            }
            maintenance.next_slot += 1;
            maintenance.refused_at = Some(self.now());
            error.into_fault(place())
        })
    }
}
