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

/// While the stripe is written, each piece of work on its disk is followed by a pause of this many times
/// what it took: filling takes an eighth of the disk's time.
const PAUSES_PER_PIECE: u32 = 7;

/// A stripe counts as written until this long behind a write: between two commits of a busy one there is
/// often none in flight.
const CALM: Duration = Duration::from_millis(100);

/// A pause at most: a disk that was slow for a moment does not stop the work for long.
const PAUSE_MAX: Duration = Duration::from_millis(50);

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
            self.pause_behind(&report, turn, began, Duration::ZERO);
        }
        Ok(fresh.into_file())
    }

    /// Lets commits have the disk to themselves for a while, where the stripe is written: behind a piece of
    /// work on it that began at `began`, for `least` at the least. Ends early when the keeper is called
    /// since `turn`, which it is when a segment is taken into use or missed.
    pub(super) fn pause_behind(
        &self,
        report: &StripeReport,
        turn: u32,
        began: Duration,
        least: Duration,
    ) {
        if self.is_busy(report) {
            let took = self.now().saturating_sub(began);
            let pause = (took * PAUSES_PER_PIECE).max(least).min(PAUSE_MAX);
            self.keeper.sleep(turn, Some(pause));
        }
    }

    /// Whether commits write the stripe, now or just before. A driver without threads waits for nobody.
    pub(super) fn is_busy(&self, report: &StripeReport) -> bool {
        let just_before = || report.written_at.is_some_and(|at| self.now() < at + CALM);
        !self.options.manual && (report.writing || just_before())
    }
}

/// Whether puts wait for a segment of `len` bytes, or soon will: they fill the last part of the
/// present one, and there is no other.
fn is_needed(report: &StripeReport, len: u64) -> bool {
    let is_last = report.free == 0 && report.room_bytes < len / 4;
    report.wants_segment > 0 || (is_last && report.writing)
}
