//! Trim: gives the space of deleted segments back.
//!
//! A file system frees the space of a file at once when it is closed, and delays other writes
//! meanwhile: 64 MiB took 17 ms where the disk is also notified of free space (ext4 with
//! `discard`), and no commit returned meanwhile. So a deleted segment loses its name first and then
//! its space, piece by piece. Even so the disk is notified of each piece, which delays commits; the
//! space is not needed yet, so trimming waits until the stripe is idle, but not for ever.

use super::shared::{Shared, StripeMaintenance};
use crate::base::ids::StripeIndex;
use crate::layout;
use crate::log::FreeSegment;
use std::time::Duration;

/// Free segments beyond those kept ready at which files are deleted.
const SPARE_SEGMENTS: usize = 2;

/// Bytes given back between two pauses.
const PIECE_BYTES: u64 = 1 << 20;

/// The shortest such pause while the stripe is written.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// While the stripe is written, files are deleted at the latest this long after the last deletion.
const DELAY_MAX: Duration = Duration::from_secs(10);

impl Shared {
    /// Deletes free segments beyond a few, and those that are too small: one after the other, so
    /// that the next one can still be used when it is needed.
    pub(super) fn delete_spare_segments(
        &self,
        index: StripeIndex,
        maintenance: &mut StripeMaintenance,
    ) {
        let Some(directory) = &self.stripe_dirs[index.at()].directory else { return };
        let keep = self.options.ready_segments + SPARE_SEGMENTS;
        if self.may_wait(index, maintenance) {
            return;
        }
        let now = self.now();
        maintenance.tidied_at = Some(now);
        let newest = self.log().ok().and_then(|log| log.newest_free(index));
        let since =
            maintenance.newest.filter(|(slot, _)| *slot == newest).map_or(now, |(_, since)| since);
        maintenance.newest = Some((newest, since));
        let unwanted = now >= since + DELAY_MAX;
        while let Ok(Some(spare)) = self.with_log(|log| log.spare_segment(index, keep, unwanted)) {
            if let Err(error) = layout::remove_segment(&**directory, spare.slot) {
                tracing::warn!(channel = self.name, "{error}");
                return;
            }
            if !self.trim_file(index, &spare, maintenance) {
                return;
            }
        }
    }

    /// Returns whether deleting can wait: commits write the stripe, and no put lacks the space.
    fn may_wait(&self, index: StripeIndex, maintenance: &mut StripeMaintenance) -> bool {
        let Ok(report) = self.log().map(|log| log.report(index)) else { return true };
        let tidied_at = *maintenance.tidied_at.get_or_insert(self.now());
        let waited = self.now().saturating_sub(tidied_at);
        self.is_busy(&report) && report.no_space.is_none() && waited < DELAY_MAX
    }

    /// Trims a file without a name, in pieces. Returns false when other work comes first: closing
    /// the file gives the rest back.
    fn trim_file(
        &self,
        index: StripeIndex,
        spare: &FreeSegment,
        maintenance: &mut StripeMaintenance,
    ) -> bool {
        let mut len = spare.len;
        while len > PIECE_BYTES {
            self.check_space(index, maintenance);
            self.check_files(index, maintenance);
            let generation = self.maintenance.generation();
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
            self.pause_after(&report, generation, began, PAUSE_MIN);
        }
        true
    }
}
