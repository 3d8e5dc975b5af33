//! Looks at the files and directories from outside: what was removed, moved away, replaced or cut short
//! while it is in use takes every write as before, and the next opening finds none of it. And a lock
//! file without its name lets the next opener in.

use super::shared::{Shared, Tending};
use crate::base::codes;
use crate::base::ids::StripeIndex;
use crate::base::quantity::Quantity;
use crate::base::trouble::Trouble;
use crate::disk::{Access, Directory, Lock, LockError, Renewed};
use crate::log::FreeSegment;
use crate::record::segment;
use crate::recovery::MEMBER_NAME;
use std::time::Duration;

/// Time between two looks at a stripe's files.
const PAUSE: Duration = Duration::from_millis(500);

/// Segments that hold blocks looked at in one look, beside the one that is written.
const FILES_PER_LOOK: usize = 64;

impl Shared {
    /// Opens the free segments anew that a write has failed on. One that cannot be opened now is tried again
    /// with the next look; one whose name leads elsewhere is forgotten.
    pub(super) fn reopen_segments(&self, index: StripeIndex) {
        let Some(directory) = &self.homes[index.at()].directory else { return };
        let old = self.with_log(|log| log.segments_to_reopen(index)).unwrap_or_default();
        for segment in old {
            let opened = directory.open(&segment::file_name(segment.slot), Access::Write);
            let same = opened.and_then(|file| {
                let same =
                    file.identity()? == segment.file.identity()? && file.len()? >= segment.len;
                Ok(same.then_some(file))
            });
            let path = segment.file.path().display().to_string();
            match same {
                Ok(Some(file)) => {
                    tracing::info!(
                        channel = self.name,
                        stripe = index.0,
                        "{path} is opened anew: a write to it had failed"
                    );
                    let _ = self
                        .with_log(|log| log.add_segment(index, FreeSegment { file, ..segment }));
                }
                Ok(None) => tracing::warn!(
                    channel = self.name,
                    stripe = index.0,
                    "{path} is not the file any more that it was; it is used no more"
                ),
                Err(error) => {
                    tracing::debug!(
                        channel = self.name,
                        stripe = index.0,
                        "{path} cannot be opened anew: {error}"
                    );
                    let _ = self.with_log(|log| log.defer_reopening(index, segment));
                }
            }
        }
    }

    /// Looks at the files of a stripe, whose directory is there.
    pub(super) fn look_at_files(&self, index: StripeIndex, tending: &mut Tending) {
        let now = self.now();
        if tending.removed || tending.files_at.is_some_and(|at| now < at + PAUSE) {
            return;
        }
        tending.files_at = Some(now);
        let Some(directory) = &self.homes[index.at()].directory else { return };
        look_at_path(&**directory, tending);
        let checkpoint = (index.0 == 0).then_some(&*self.checkpoint_lock);
        for lock in self.homes[index.at()].lock.as_deref().into_iter().chain(checkpoint) {
            self.look_at_lock(lock);
        }
        let turn = tending.files_turn;
        tending.files_turn = turn.wrapping_add(FILES_PER_LOOK);
        let Ok(files) = self.log().map(|log| log.files_to_look_at(index, turn, FILES_PER_LOOK))
        else {
            return;
        };
        for file in files {
            let Some(what) = harm(&**directory, &file) else { continue };
            if matches!(directory.holds(MEMBER_NAME), Ok(false)) {
                // All of it goes; what waits there can still be taken.
                return;
            }
            let what = format!("{} {what} while it is in use", file.file.path().display());
            let cause = Trouble::new(what.clone());
            let lost = self.with_log(|log| log.lose_file(now, index, file.slot, &cause));
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
                                   "{what}: nothing more is written there, puts go on elsewhere. What can still be read of what waits in it ({}) can be taken until the process ends; the rest is lost, and counted at the next opening",
                                   Quantity(waiting, "event")
                               ),
                Ok(None) | Err(_) => {}
            }
        }
    }
}

impl Shared {
    /// Makes a lock file again that somebody removed. Where another process has locked one of that name
    /// since, both would write to the same files: this one, which knows it, ends its work there.
    fn look_at_lock(&self, lock: &dyn Lock) {
        match lock.renew() {
            Ok(Renewed::Kept) => {}
            Ok(Renewed::Remade) => tracing::error!(
                code = %codes::LOCK_REMADE,
                channel = self.name,
                "{} was removed or replaced while it is in use; it is made and locked again, and nobody else had locked it. Without it a second process could open the channel and destroy it: let no script remove it",
                lock.path().display()
            ),
            Err(held @ LockError::Held { .. }) => {
                if self.shut() {
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
                let _ = self.gave_way.set(Trouble::new(format!("it gave way: {what}")));
                self.room.raise();
                self.takers.raise();
            }
            // The next look tells; a disk that fails is noticed by its writes.
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// Says when the path of a directory no longer leads to it, and when it does again.
fn look_at_path(directory: &dyn Directory, tending: &mut Tending) {
    let Ok(is_there) = directory.is_at_its_path() else { return };
    let path = directory.path().display();
    match (is_there, std::mem::replace(&mut tending.moved, !is_there)) {
        (false, false) => tracing::error!(
            code = %codes::DIRECTORY_UNMOUNTED,
            "{path} no longer leads to the directory that is in use: unmounted or moved away? Events still go there and can be taken, but the next start will not find them; mount it again, or move it back"
        ),
        (true, true) => tracing::info!("{path} leads to the directory that is in use again"),
        _ => {}
    }
}

/// What has befallen a file; nothing where the file system cannot tell.
fn harm(directory: &dyn Directory, file: &FreeSegment) -> Option<String> {
    match file.file.named_len() {
        Ok(None) => Some("was removed".to_owned()),
        Ok(Some(len)) if len < file.len => {
            Some(format!("was cut short from {} to {len} bytes", file.len))
        }
        Ok(Some(_)) => {
            let named = directory.identity_of(&segment::file_name(file.slot)).ok()?;
            let own = file.file.identity().ok()?;
            match named {
                None => Some("was moved away".to_owned()),
                Some(other) if other != own => {
                    Some("was moved away, and another file put in its place,".to_owned())
                }
                Some(_) => None,
            }
        }
        Err(_) => None,
    }
}
