//! Writing zeroes into a segment that is not in use yet.
//!
//! A segment has all of its space before it is used, so a commit never meets a full disk. But the
//! first write into space that was only set aside makes the file system note that in its journal,
//! a second write for every commit. So the keeper writes zeroes first, as far as there is time for
//! it: beside puts it takes a small share of the disk, and when they use segments faster than that
//! they get this one as it is, rather than wait.

use super::shared::{Shared, Tending};
use crate::base::ids::StripeIndex;
use crate::disk::File;
use crate::log::StripeReport;
use crate::recovery::{FreshFile, OpenError};
use std::sync::Arc;
use std::time::Duration;

/// While the stripe is written, each piece is followed by a pause of this many times what it took:
/// filling takes an eighth of the disk's time.
pub(super) const PAUSES_PER_PIECE: u32 = 7;

/// A pause at most: a disk that was slow for a moment does not stop the filling for long.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(50);

impl Shared {
    /// The new file for the stripe: its zeroes written, unless it needs it before.
    ///
    /// # Errors
    /// A write failed: nothing may be written to this file any more.
    pub(super) fn filled(
        &self,
        index: StripeIndex,
        mut fresh: FreshFile,
        tending: &mut Tending,
    ) -> Result<Arc<dyn File>, OpenError> {
        while !fresh.is_written() && !self.is_closed() {
            // Filling takes seconds on a slow disk, and nobody else looks meanwhile.
            self.look_at_space(index, tending);
            self.look_at_files(index, tending);
            let turn = self.keeper.turn();
            let Ok(report) = self.log().map(|log| log.report(index)) else { break };
            if is_needed(&report, fresh.len_bytes()) {
                break;
            }
            let began = self.now();
            fresh.write_piece()?;
            if report.writing && !self.options.manual {
                let took = self.now().saturating_sub(began);
                // The keeper is called when a segment is taken into use or missed.
                self.keeper.sleep(turn, Some((took * PAUSES_PER_PIECE).min(PAUSE_MAX)));
            }
        }
        Ok(fresh.into_file())
    }
}

/// Whether puts wait for a segment of `len` bytes, or soon will: they fill the last part of the
/// present one, and there is no other.
fn is_needed(report: &StripeReport, len: u64) -> bool {
    let is_last = report.free == 0 && report.room_bytes < len / 4;
    report.wants_segment > 0 || (is_last && report.writing)
}
