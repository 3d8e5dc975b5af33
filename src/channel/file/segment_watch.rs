//! Watches files and directories: a file that was removed, moved, replaced or cut short while it is
//! in use takes every write as before, and the next opening finds none of it. And a lock file
//! without its name lets another process open the channel.

use super::shared::{CheckpointDir, MemberWatch, Shared, StripeMaintenance};
use crate::base::codes;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::ids::StripeIndex;
use crate::base::quantity::Quantity;
use crate::disk::{Directory, Lock, LockError, Renewed};
use crate::layout::{self, MEMBER_NAME, is_in_place, write_member_again};
use crate::log::FreeSegment;
use crate::record::member::Member;
use std::time::Duration;

/// Time between two checks of a stripe's files.
const PAUSE: Duration = Duration::from_millis(500);

/// A member file that has been missing for this long is written again.
const MEMBER_MISSING_FOR: Duration = Duration::from_millis(100);

/// Segments with blocks checked per round, in addition to the one that is written.
const FILES_PER_CHECK: usize = 64;

impl Shared {
    /// Reopens the free segments on which a write has failed. One that cannot be opened now is
    /// retried with the next check; one whose name leads to another file is dropped.
    pub(super) fn reopen_segments(&self, index: StripeIndex) {
        let Some(directory) = &self.stripe_dirs[index.at()].directory else { return };
        let old = self.with_log(|log| log.segments_to_reopen(index)).unwrap_or_default();
        for segment in old {
            let (slot, file, len) = (segment.slot, &*segment.file, segment.len);
            let path = file.path().display().to_string();
            match layout::reopened_segment(&**directory, slot, file, len) {
                Ok(Some(file)) => {
                    tracing::info!(
                        channel = self.name,
                        stripe = index.0,
                        "{path} was reopened: a write to it had failed"
                    );
                    let _ = self
                        .with_log(|log| log.add_segment(index, FreeSegment { file, ..segment }));
                }
                Ok(None) => tracing::warn!(
                    channel = self.name,
                    stripe = index.0,
                    "{path} is not the same file any more; it is no longer used"
                ),
                Err(error) => {
                    tracing::debug!(
                        channel = self.name,
                        stripe = index.0,
                        "{path} cannot be reopened: {error}"
                    );
                    let _ = self.with_log(|log| log.defer_reopening(index, segment));
                }
            }
        }
    }

    /// Checks the files of a stripe whose directory is present.
    pub(super) fn check_files(&self, index: StripeIndex, maintenance: &mut StripeMaintenance) {
        let now = self.now();
        if maintenance.removed || maintenance.files_at.is_some_and(|at| now < at + PAUSE) {
            return;
        }
        maintenance.files_at = Some(now);
        let Some(directory) = &self.stripe_dirs[index.at()].directory else { return };
        check_path(&**directory, maintenance);
        if let Some(lock) = self.stripe_dirs[index.at()].lock.as_deref() {
            self.check_lock(lock);
        }
        if index.0 == 0 {
            self.check_checkpoint_dir(&mut maintenance.checkpoint_member);
        }
        let turn = maintenance.files_turn;
        maintenance.files_turn = turn.wrapping_add(FILES_PER_CHECK);
        let Ok(files) = self.log().map(|log| log.segments_to_check(index, turn, FILES_PER_CHECK))
        else {
            return;
        };
        for file in files {
            let Some(what) = change_of(&**directory, &file) else { continue };
            if matches!(directory.holds(MEMBER_NAME), Ok(false)) {
                // The whole directory is being removed; what waits there can still be taken.
                return;
            }
            let what = format!("{} {what} while it is in use", file.file.path().display());
            let place = FaultPlace::from(index).at_path(file.file.path());
            let cause = FaultCause::new(FaultKind::Missing, place, what.clone());
            let lost = self.with_log(|log| log.segment_lost(now, index, file.slot, &cause));
            match lost {
                Ok(Some(0)) => tracing::error!(
                                   code = %codes::SEGMENT_REMOVED,
                                   channel = self.name,
                stripe = index.0,
                                   "{what}: no event waits in it; nothing more is written there"
                               ),
                Ok(Some(waiting)) => tracing::error!(
                                   code = %codes::SEGMENT_REMOVED,
                                   channel = self.name,
                stripe = index.0,
                                   "{what}: nothing more is written there, puts continue elsewhere. What can still be read of what waits in it ({}) can be taken until the process ends; the rest is lost, and counted at the next opening",
                                   Quantity(waiting, "event")
                               ),
                Ok(None) | Err(_) => {}
            }
        }
    }
}

impl Shared {
    /// Returns why nothing more may be written to a directory that was removed or emptied while it
    /// is in use. Its files can still be written, so commits there would succeed and be lost with
    /// the process; earlier events can still be taken. If only the member file is missing, it is
    /// written again.
    pub(super) fn removed(
        &self,
        index: StripeIndex,
        directory: &dyn Directory,
        maintenance: &mut StripeMaintenance,
    ) -> Option<FaultCause> {
        let home = &self.stripe_dirs[index.at()];
        if !matches!(directory.holds(MEMBER_NAME), Ok(false)) {
            (maintenance.removed, maintenance.member) = (false, MemberWatch::default());
            return None;
        }
        if let Some(member) = &home.member
            && self.is_whole_but_for_member(index, directory)
        {
            maintenance.removed = false;
            self.restore_member(directory, member, home.lock.as_deref(), &mut maintenance.member);
            return None;
        }
        maintenance.member = MemberWatch::default();
        let path = directory.path().display();
        if !std::mem::replace(&mut maintenance.removed, true) {
            tracing::error!(
                code = %codes::DIRECTORY_REMOVED,
                "{path} was removed or emptied while it is in use: no further event goes there; those that wait there can be taken until the process ends, and are lost then"
            );
        }
        let place = FaultPlace::from(index).at_path(directory.path());
        let what = format!(
            "{path} was removed or emptied while it is in use; let the sinks drain, then restart"
        );
        Some(FaultCause::new(FaultKind::Missing, place, what))
    }

    /// Returns whether the path leads to the directory, with its checkpoints and all segments
    /// checked.
    fn is_whole_but_for_member(&self, index: StripeIndex, directory: &dyn Directory) -> bool {
        if !is_in_place(directory) {
            return false;
        }
        let Ok(files) = self.log().map(|log| log.segments_to_check(index, 0, FILES_PER_CHECK))
        else {
            return false;
        };
        files.iter().all(|file| change_of(directory, file).is_none())
    }

    /// Rewrites the member file of `checkpointDir` after it was removed.
    fn check_checkpoint_dir(&self, watch: &mut MemberWatch) {
        let CheckpointDir { directory, member, lock } = &self.checkpoint_home;
        self.check_lock(&**lock);
        if !matches!(directory.holds(MEMBER_NAME), Ok(false)) {
            *watch = MemberWatch::default();
        } else if let Some(member) = member
            && is_in_place(&**directory)
        {
            self.restore_member(&**directory, member, Some(&**lock), watch);
        }
    }

    /// Rewrites a member file that has been missing for two checks: of a directory that is being
    /// removed file by file, others are missing by then.
    fn restore_member(
        &self,
        directory: &dyn Directory,
        member: &Member,
        lock: Option<&dyn Lock>,
        watch: &mut MemberWatch,
    ) {
        let now = self.now();
        if now < *watch.missing_since.get_or_insert(now) + MEMBER_MISSING_FOR {
            return;
        }
        // Another process may have opened the directory since its lock file was removed.
        lock.into_iter().for_each(|lock| self.check_lock(lock));
        if self.is_closed() {
            return;
        }
        let path = directory.path().join(MEMBER_NAME);
        let path = path.display();
        match write_member_again(directory, member) {
            Ok(()) => {
                *watch = MemberWatch::default();
                tracing::warn!(
                    code = %codes::MEMBER_REMADE,
                    channel = self.name,
                    "{path} was removed while it is in use; it is written again, puts continue. It says which channel the directory belongs to: no script may remove it"
                );
            }
            Err(error) if !std::mem::replace(&mut watch.said, true) => tracing::warn!(
                code = %codes::MEMBER_REMADE,
                channel = self.name,
                "{path} was removed while it is in use and cannot be written again yet: {error}; it is tried again, puts continue"
            ),
            Err(_) => {}
        }
    }

    /// Creates and locks a removed lock file again. If another process has locked one of that name
    /// since, both would write to the same files: this process, which knows it, stops using them.
    fn check_lock(&self, lock: &dyn Lock) {
        match lock.renew() {
            Ok(Renewed::Kept) => {}
            Ok(Renewed::Remade) => tracing::error!(
                code = %codes::LOCK_REMADE,
                channel = self.name,
                "{} was removed or replaced while it is in use; it is created and locked again, and no other process had locked it. Without it a second process could open the channel and destroy it: no script may remove it",
                lock.path().display()
            ),
            Err(held @ LockError::Held { .. }) => {
                if self.refuse_new_work() {
                    return;
                }
                let path = lock.path().display();
                let what =
                    format!("{path} was removed or replaced while it is in use, and now {held}");
                tracing::error!(
                    code = %codes::LOCK_TAKEN,
                    channel = self.name,
                    "{what}: two processes must not write to one channel, so this one stops using it. Stop the other process; an agent then opens the channel again by itself"
                );
                let what = format!("the channel stopped for another process: {what}");
                let cause = FaultCause::new(FaultKind::Stopped, lock.path(), what);
                let _ = self.gave_way.set(cause);
                self.room.notify_all();
                self.takers.notify_all();
            }
            // The next check tells; a disk that fails is noticed by its writes.
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// Logs when the path of a directory no longer leads to it, and when it does again.
fn check_path(directory: &dyn Directory, maintenance: &mut StripeMaintenance) {
    let Ok(is_there) = directory.is_at_its_path() else { return };
    let path = directory.path().display();
    match (is_there, std::mem::replace(&mut maintenance.moved, !is_there)) {
        (false, false) => tracing::error!(
            code = %codes::DIRECTORY_UNMOUNTED,
            "{path} no longer leads to the directory that is in use: unmounted or moved away? Events still go there and can be taken, but the next start will not find them; mount it again, or move it back"
        ),
        (true, true) => tracing::info!("{path} leads to the directory that is in use again"),
        _ => {}
    }
}

/// Returns how a segment file in use was changed from outside, if the file system can tell.
fn change_of(directory: &dyn Directory, segment: &FreeSegment) -> Option<layout::SegmentChange> {
    layout::segment_change(directory, segment.slot, &*segment.file, segment.len)
}
