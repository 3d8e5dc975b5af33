//! Preallocation: segments get their space, and zeroes, before they are used. `segment_use.rs` measures
//! how fast that must be, and how large the next one is.
//!
//! A segment has all of its space before it is used, so a commit never fails on a full disk. But
//! the first write into preallocated space makes the file system write its journal, a second write
//! for every commit. So maintenance writes zeroes first, at a limited rate: as fast as the current
//! puts use segments up, not faster. If it is not ready in time the segment is used as it is,
//! rather than let puts wait; and puts that write large blocks get it as it is at once, since
//! filling would cost them more than the journal does.
//!
//! A stripe begins with small segments. One that was used up soon is followed by
//! segments of twice its size, up to `segment_bytes`: a channel that holds little takes little
//! space, and a channel that was just opened does not fill 128 MiB during its first puts.

use super::segment_use::PAUSES_PER_PIECE;
use super::shared::{Shared, StripeMaintenance};
use crate::base::ids::StripeIndex;
use crate::disk::File;
use crate::layout::{LayoutError, ZeroedFile};
use crate::log::StripeReport;
use std::sync::Arc;
use std::time::Duration;

/// A stripe counts as written until this long after a write: between two commits of a busy one
/// there is often none in flight.
const CALM: Duration = Duration::from_millis(100);

/// The longest pause of background work: a disk that was slow for a short time does not stop it for
/// long.
const PAUSE_MAX: Duration = Duration::from_millis(50);

impl Shared {
    /// Returns the bytes of the next segment to create for the stripe, by its use so far.
    pub(super) fn next_segment_bytes(
        &self,
        report: &StripeReport,
        maintenance: &mut StripeMaintenance,
    ) -> u64 {
        let (first, most) = (self.options.first_segment_bytes(), self.options.segment_bytes());
        maintenance.segment_use.update(self.now(), report, first, most);
        maintenance.segment_use.len
    }

    /// Returns the stripe's new file: its zeroes written, unless it is needed before.
    ///
    /// # Errors
    /// A write failed: nothing may be written to this file any more.
    pub(super) fn filled(
        &self,
        index: StripeIndex,
        mut fresh: ZeroedFile,
        maintenance: &mut StripeMaintenance,
    ) -> Result<Arc<dyn File>, LayoutError> {
        let mut due = Duration::ZERO;
        while !fresh.is_written() && !self.is_closed() {
            // Filling takes seconds on a slow disk, and no other task checks meanwhile.
            self.check_space(index, maintenance);
            self.check_files(index, maintenance);
            let generation = self.maintenance.generation();
            let Ok(report) = self.log().map(|log| log.report(index)) else { break };
            let began = self.now();
            self.next_segment_bytes(&report, maintenance);
            let wants = &mut maintenance.segment_use;
            if wants.is_needed(&report) || (wants.writes_are_large() && self.is_busy(&report)) {
                break;
            }
            if began < due && self.is_busy(&report) {
                self.maintenance.sleep(generation, Some((due - began).min(PAUSE_MAX)));
                continue;
            }
            let left = fresh.left_bytes();
            let bytes = fresh.write_piece(wants.piece_bytes())?;
            let took = self.now().saturating_sub(began);
            wants.fill_rate = bytes as f64 / took.as_secs_f64().max(1e-6);
            due = began + wants.next_piece_after(&report, bytes, took, left);
        }
        Ok(fresh.into_file())
    }

    /// Leaves the disk to commits for a while, where the stripe is written: after an operation on
    /// it that began at `began`, for at least `least`. Ends early when maintenance is notified
    /// since `generation`, which it is when a segment is put into use or missed.
    pub(super) fn pause_after(
        &self,
        report: &StripeReport,
        generation: u32,
        began: Duration,
        least: Duration,
    ) {
        if self.is_busy(report) {
            let took = self.now().saturating_sub(began);
            let pause = (took * PAUSES_PER_PIECE).max(least).min(PAUSE_MAX);
            self.maintenance.sleep(generation, Some(pause));
        }
    }

    /// Returns whether commits write the stripe, now or just before. A driver without threads never
    /// waits.
    pub(super) fn is_busy(&self, report: &StripeReport) -> bool {
        let just_before = || report.written_at.is_some_and(|at| self.now() < at + CALM);
        !self.options.step_driven && (report.writing || just_before())
    }
}
