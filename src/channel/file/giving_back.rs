//! Giving space back behind a backlog.
//!
//! A file system frees the space of a file at once when it is closed, and lets the writes of others wait
//! for that: 64 MiB took 17 ms where it also tells the disk what is free (ext4 with `discard`), and no
//! commit was answered meanwhile. So a segment that is deleted loses its name first and then its space,
//! piece by piece. Even so each piece has to be told to the disk, which costs the commits beside it; nobody
//! misses the space yet, so it waits until the stripe is calm, but not for ever.

use super::shared::{Shared, Tending};
use crate::base::ids::StripeIndex;
use crate::log::FreeSegment;
use crate::record::segment;
use std::time::Duration;

/// Free segments beyond those to be kept ready at which files are deleted.
const SPARE_SEGMENTS: usize = 2;

/// What is given back between two pauses, bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// Such a pause at least, while the stripe is written.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// While the stripe is written, files are deleted this long after they were last at the earliest.
const DELAY_MAX: Duration = Duration::from_secs(10);

impl Shared {
    /// Deletes free segments beyond a few, and those that are too small: one after the other, so that the
    /// next one is still there to be used when it is wanted.
    pub(super) fn delete_spares(&self, index: StripeIndex, tending: &mut Tending) {
        let Some(directory) = &self.homes[index.at()].directory else { return };
        let keep = self.options.ready_segments + SPARE_SEGMENTS;
        if self.may_wait(index, tending) {
            return;
        }
        let now = self.now();
        tending.tidied_at = Some(now);
        let newest = self.log().ok().and_then(|log| log.newest_free(index));
        let since =
            tending.newest.filter(|(slot, _)| *slot == newest).map_or(now, |(_, since)| since);
        tending.newest = Some((newest, since));
        let unwanted = now >= since + DELAY_MAX;
        while let Ok(Some(spare)) = self.with_log(|log| log.spare_segment(index, keep, unwanted)) {
            let name = segment::file_name(spare.slot);
            // After a power cut behind a sync that failed the name may be back: what it leads to
            // stays whole.
            if let Err(error) = directory.remove(&name).and_then(|()| directory.sync()) {
                tracing::warn!(
                    channel = self.name,
                    "{}: {error}",
                    directory.path().join(&name).display()
                );
                return;
            }
            if !self.give_back(index, &spare, tending) {
                return;
            }
        }
    }

    /// Whether deleting can wait: commits write the stripe, and nobody lacks the space.
    fn may_wait(&self, index: StripeIndex, tending: &mut Tending) -> bool {
        let Ok(report) = self.log().map(|log| log.report(index)) else { return true };
        let tidied_at = *tending.tidied_at.get_or_insert(self.now());
        let waited = self.now().saturating_sub(tidied_at);
        self.is_busy(&report) && report.no_space.is_none() && waited < DELAY_MAX
    }

    /// The space of a file without a name, in pieces. Answers false when something else is wanted first:
    /// closing the file gives the rest back.
    fn give_back(&self, index: StripeIndex, spare: &FreeSegment, tending: &mut Tending) -> bool {
        let mut len = spare.len;
        while len > PIECE_BYTES {
            self.look_at_space(index, tending);
            self.look_at_files(index, tending);
            let turn = self.keeper.turn();
            let Ok(report) = self.log().map(|log| log.report(index)) else { return false };
            let wanted = report.wants_segment > 0 || report.free < self.options.ready_segments;
            if wanted || report.no_space.is_some() || self.is_closed() {
                return false;
            }
            let began = self.now();
            len -= PIECE_BYTES;
            if spare.file.shorten(len).is_err() {
                return false;
            }
            self.pause_behind(&report, turn, began, PAUSE_MIN);
        }
        true
    }
}
