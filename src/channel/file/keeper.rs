//! The keeper: makes segments ahead of need, writes checkpoints, tries suspended stripes again.
//!
//! One thread per channel that never waits for a disk, so that it notices when one hangs: what
//! reaches the disk is handed to the pool. A driver without threads does it all in one round. The
//! machine's lock is held only to look and to report.

use super::shared::{Shared, Tending};
use super::workers::Task;
use crate::base::codes;
use crate::base::ids::StripeIndex;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::setting;
use crate::base::trouble::Trouble;
use crate::disk::{Directory, File};
use crate::log::{FreeSegment, StripeReport};
use crate::record::segment;
use crate::recovery::{FreshFile, MEMBER_NAME};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError, Weak};
use std::time::Duration;

/// The pause between checkpoints that only name segments: each is a write into every directory.
const NAMES_EVERY: Duration = Duration::from_millis(100);

/// The keeper looks at least this often: at disk space, at writes that hang.
const LOOK: Duration = Duration::from_secs(1);

/// And this often while puts wait for space: with [`PAUSE_OF_MAKING`] at most 0.7 s pass between its
/// coming back and the making of the segment that they wait for.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(200);

/// After the making of a segment failed, the next is begun this much later at the earliest: where
/// a quota refuses what the file system says is free, each one that fails is written in part.
const PAUSE_OF_MAKING: Duration = Duration::from_millis(500);

/// The same where nobody waits for the segment yet.
const PAUSE_OF_MAKING_AHEAD: Duration = Duration::from_secs(10);

/// So long after a segment that could not be made was last asked for, the stripe's report names it no more.
const REFUSAL_NAMED_FOR: Duration = Duration::from_secs(60);

/// What the keeper remembers between its steps.
#[derive(Debug, Default)]
pub(super) struct Diary {
    checkpoint_at: Duration,
}

/// Runs until the channel is closed or gone.
pub(super) fn run(shared: &Weak<Shared>) {
    let mut diary = Diary::default();
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let turn = shared.keeper.turn();
        if shared.is_closed() {
            return;
        }
        // A round that panics outside of the machine leaves it as it was; without the keeper no segment
        // would be made any more, no checkpoint written, no stripe tried again.
        let round = catch_unwind(AssertUnwindSafe(|| shared.keep(&mut diary)));
        let nap = round.unwrap_or_else(|_| {
            tracing::error!(code = %codes::KEEPER_FAILED, channel = shared.name, "the channel's keeper failed in its own code; it goes on in a second");
            LOOK
        });
        // Sleeping keeps the channel alive only for one look.
        shared.keeper.sleep(turn, Some(nap));
    }
}

impl Shared {
    /// One round of everything; answers how long nothing needs doing.
    pub(super) fn keep(self: &Arc<Self>, diary: &mut Diary) -> Duration {
        if self.is_closed() {
            return LOOK;
        }
        let now = self.now();
        let stripes = self.homes.len();
        for index in (0..stripes).map(|index| StripeIndex(index as u16)) {
            self.do_or_give(Task::Tend(index));
        }
        let timeout = self.options.write_timeout;
        let due = self.with_log(|log| {
            log.give_up_hung(now, timeout);
            if let Some(since) = now.checked_sub(timeout) {
                log.give_up_hung_reads(now, since);
            }
            log.retry_suspended(now);
            log.forget_long_gone(now);
            log.retry_reads(now);
            log.epochs_due().collect::<Vec<_>>()
        });
        for index in due.unwrap_or_default() {
            self.give(Task::Write(index));
        }
        // Leaves out of a checkpoint what hangs, and takes up what a thread that went away has left.
        self.advance_checkpoint(self.checkpoint_writer());
        let (wanted, urgent) = self
            .log()
            .map(|log| (log.checkpoint_is_wanted(), log.checkpoint_is_urgent()))
            .unwrap_or_default();
        let interval = self.options.checkpoint_interval;
        // Segments that are used up fast are named together.
        let wanted = urgent || (wanted && now >= diary.checkpoint_at + NAMES_EVERY);
        if wanted || now >= diary.checkpoint_at + interval {
            diary.checkpoint_at = now;
            self.do_or_give(Task::Checkpoint);
        }
        // Whatever was forgotten by a thread that went away is picked up here at the latest.
        self.hand_over();
        let next = (diary.checkpoint_at + interval).saturating_sub(now);
        let retry = self.log().ok().and_then(|log| log.next_retry(now));
        let retry = retry.map_or(LOOK, |at| at.saturating_sub(now));
        let pause = match self.log() {
            Ok(log) if log.checkpoint_is_wanted() => NAMES_EVERY,
            Ok(log) if log.lacks_space() => LOOK_FOR_ROOM,
            _ => LOOK,
        };
        next.min(retry).min(pause).max(Duration::from_millis(1))
    }

    fn do_or_give(self: &Arc<Self>, task: Task) {
        if self.options.manual {
            self.perform(task);
        } else {
            self.give(task);
        }
    }

    /// Sees to the space and the segments of one stripe. One at a time: when its disk hangs, the
    /// one that hangs is enough.
    pub(super) fn tend(&self, index: StripeIndex) {
        let home = &self.homes[index.at()];
        let mut tending = match home.tending.try_lock() {
            Ok(tending) => tending,
            Err(TryLockError::Poisoned(tending)) => tending.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.look_at_space(index, &mut tending);
        self.look_at_files(index, &mut tending);
        self.reopen_segments(index);
        self.make_segments(index, &mut tending);
        self.delete_spares(index, &mut tending);
    }

    /// Begins a checkpoint if the last one no longer says everything.
    pub(super) fn keep_checkpoint(self: &Arc<Self>) {
        let known = self.checkpointed.load(Ordering::SeqCst);
        // What goes wrong is said, and tried again. A thread of the pool does not wait for one that is being
        // written: while a slot hangs and acknowledgements wait for it, thread after thread would, until
        // none is left for the other disks.
        let begun = self.begin_checkpoint(self.checkpoint_writer(), known, Duration::ZERO);
        if let Err(error) = begun {
            tracing::debug!(channel = self.name, "{}", error.trouble);
        }
    }

    pub(super) fn look_at_space(&self, index: StripeIndex, tending: &mut Tending) {
        let now = self.now();
        let Ok(report) = self.log().map(|log| log.report(index)) else { return };
        let (was, refused) = (report.lacks_space, report.refused_segment.is_some());
        // Half of the keeper's pace: a round that begins a moment early still looks.
        let pause = if was || refused { LOOK_FOR_ROOM } else { LOOK } / 2;
        if tending.space_at.is_some_and(|at| now < at + pause) {
            return;
        }
        tending.space_at = Some(now);
        self.forget_refused_segment(&report, tending);
        let Some(directory) = &self.homes[index.at()].directory else { return };
        if let Some(trouble) = removed(&**directory, tending) {
            let _ = self.with_log(|log| log.set_space(index, Some(trouble)));
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
                "{path}: {available} bytes free, {} is {minimum}: puts wait, takes go on",
                setting::MINIMUM_REQUIRED_SPACE
            );
        }
        let trouble = low.then(|| {
            Trouble::new(format!(
                "{path} has {available} bytes free, less than {} ({minimum}); free some, puts go on by themselves",
                setting::MINIMUM_REQUIRED_SPACE
            ))
        });
        if low || was {
            let _ = self.with_log(|log| log.set_space(index, trouble));
            if !low {
                tracing::info!(channel = self.name, "{path}: there is room again, puts go on");
            }
        }
    }

    /// A transaction may have wanted a longer segment than there is room for and been refused. Nothing waits
    /// for it then, and nothing else is refused because of it.
    fn forget_refused_segment(&self, report: &StripeReport, tending: &mut Tending) {
        let now = self.now();
        if report.refused_segment.is_none() || report.wants_segment > 0 {
            tending.wanted_at = Some(now);
        } else if tending.wanted_at.is_some_and(|at| now >= at + REFUSAL_NAMED_FOR) {
            let _ = self.with_log(|log| log.forget_refused_segment(report.index));
            tracing::info!(
                channel = self.name,
                stripe = report.index.0,
                "nothing waits for the segment any more that could not be made"
            );
        }
    }

    /// Sees that the stripe has segments ready, and one that is large enough for what waits.
    fn make_segments(&self, index: StripeIndex, tending: &mut Tending) {
        let ready = self.options.ready_segments;
        for _ in 0..ready {
            let Ok(report) = self.log().map(|log| log.report(index)) else { return };
            // Filling takes as much from the disk as the puts that will use it. So while writes run
            // only the first half of the store is made; the rest comes when nothing is written.
            let enough = if report.writing { ready.div_ceil(2).max(2) } else { ready };
            let awaited = report.suspended.is_none() && report.wants_segment > 0;
            if !awaited && report.free >= enough {
                return;
            }
            let usual = self.next_segment_bytes(&report, tending);
            let _ = self.with_log(|log| log.set_segment_bytes(index, usual));
            let len = usual.max(report.wants_segment).next_multiple_of(DEVICE_BLOCK_BYTES as u64);
            let pause = match (awaited, tending.refused_len) {
                (false, _) => PAUSE_OF_MAKING_AHEAD,
                (true, Some(refused)) if refused <= len => PAUSE_OF_MAKING,
                (true, _) => Duration::ZERO,
            };
            let since = tending.refused_at.map(|at| self.now().saturating_sub(at));
            if since.is_some_and(|since| since < pause) {
                return;
            }
            // One that is too long for the space there is must not keep shorter ones from being made.
            let longer = len > usual && report.free < enough;
            let made = self.make_segment(&report, len, tending);
            if !(made || (longer && self.make_segment(&report, usual, tending))) {
                return;
            }
        }
    }

    fn make_segment(&self, report: &StripeReport, len: u64, tending: &mut Tending) -> bool {
        let index = report.index;
        let Some(directory) = &self.homes[index.at()].directory else { return false };
        // A file that has the name was put there meanwhile: a segment that was missing, perhaps.
        while matches!(directory.holds(&segment::file_name(tending.next_slot)), Ok(true)) {
            tending.next_slot += 1;
        }
        let slot = tending.next_slot;
        let name = segment::file_name(slot);
        let refused_at = tending.refused_at;
        let made = self.make_file(index, &**directory, &name, len, tending);
        if let Some(trouble) = removed(&**directory, tending) {
            // Made while its directory went: a segment without a name, and no reason for puts to
            // go on.
            let _ = self.with_log(|log| log.set_space(index, Some(trouble)));
            return false;
        }
        match made {
            Ok(file) => {
                let segment = FreeSegment { slot, file, len };
                tending.next_slot += 1;
                // What its storage can do may have been found out only when this file was made.
                let depth = directory.capabilities().writes_in_flight_max;
                let was = self.with_log(|log| {
                    log.set_writes_in_flight_max(index, depth);
                    let was = log.report(index).refused_segment.is_some();
                    log.add_segment(index, segment);
                    was && log.report(index).refused_segment.is_none()
                });
                if was.unwrap_or(false) {
                    let path = directory.path().display();
                    tracing::info!(channel = self.name, "{path}: there is room again, puts go on");
                }
                true
            }
            Err(words) => {
                // Needed now, it is a reason to refuse puts; needed soon, it is not yet.
                if report.wants_segment > 0 {
                    if report.refused_segment.is_none() {
                        tracing::warn!(code = %codes::SEGMENT_NO_ROOM, channel = self.name, "{words}: puts that need it wait, takes go on");
                    }
                    (tending.refused_len, tending.wanted_at) = (Some(len), Some(self.now()));
                    let trouble = Trouble::new(words);
                    let _ = self.with_log(|log| log.refuse_segment(index, len, trouble));
                } else if tending.refused_at != refused_at {
                    tracing::warn!(
                        channel = self.name,
                        "{words}: a segment that is not needed yet could not be made"
                    );
                }
                false
            }
        }
    }

    /// Makes the file of a segment, if there is room for it; else says why not, and nothing is left of it.
    fn make_file(
        &self,
        index: StripeIndex,
        directory: &dyn Directory,
        name: &str,
        len: u64,
        tending: &mut Tending,
    ) -> Result<Arc<dyn File>, String> {
        let minimum = self.options.minimum_required_space;
        let pledge = self.pledges.pledge(directory, len);
        let needed_bytes = minimum.saturating_add(pledge.needed_bytes);
        if let Ok(space) = directory.space()
            && space.available_bytes < needed_bytes
        {
            return Err(format!(
                "{} has {} bytes free; a further segment of {len} bytes must leave {} ({minimum})",
                directory.path().display(),
                space.available_bytes,
                setting::MINIMUM_REQUIRED_SPACE,
            ));
        }
        let fresh = FreshFile::make(directory, name, len);
        // From here on the file system counts its space, and filling it may take long.
        drop(pledge);
        fresh.and_then(|fresh| self.filled(index, fresh, tending)).map_err(|error| {
            // What there is of it takes space that others need; and a sync that failed once
            // may succeed the next time with the bytes gone: this file is never finished.
            if directory.remove(name).is_ok() {
                let _ = directory.sync();
            }
            tending.next_slot += 1;
            tending.refused_at = Some(self.now());
            error.to_string()
        })
    }
}

/// Why nothing more may go into a directory that was removed or emptied while it is in use. Its
/// files can still be written, and every commit there would be answered and be gone with the process;
/// what was put before can still be taken.
fn removed(directory: &dyn Directory, tending: &mut Tending) -> Option<Trouble> {
    if !matches!(directory.holds(MEMBER_NAME), Ok(false)) {
        tending.removed = false;
        return None;
    }
    let path = directory.path().display();
    if !std::mem::replace(&mut tending.removed, true) {
        tracing::error!(
            code = %codes::DIRECTORY_REMOVED,
            "{path} was removed or emptied while it is in use: no further event goes there; those that wait there can be taken until the process ends, and are lost then"
        );
    }
    Some(Trouble::new(format!(
        "{path} was removed or emptied while it is in use; let the sinks drain, then restart"
    )))
}
