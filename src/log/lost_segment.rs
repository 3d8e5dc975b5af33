//! Segment files that something else removed, replaced or truncated while they are in use.
//!
//! A file without a name can still be read and written, and is gone when the process ends. So a stripe whose current
//! segment was removed ends its epoch, as after a failed write, and continues in another segment, which begins with a
//! complete state record. The content of the lost file is missing at the next opening, which counts it; until then it
//! can be taken.

use super::Log;
use super::segment_space::{FreeSegment, LostSegment};
use super::stripe_phase::StripePhase;
use crate::base::fault_cause::FaultCause;
use crate::base::ids::StripeIndex;
use std::time::Duration;

impl Log {
    /// Returns files of a stripe to check: the segment in use, the free ones, and `count` of the others starting at
    /// index `turn`, so that repeated calls cover all of them.
    #[must_use]
    pub fn segments_to_check(
        &self,
        index: StripeIndex,
        turn: usize,
        count: usize,
    ) -> Vec<FreeSegment> {
        self.stripes[index.at()].space.files_to_check(turn, count)
    }

    /// Marks a file as lost. A free one is dropped; if it is the one in use, the stripe moves to another. Returns how
    /// many events wait in it, or `None` if nothing can be done now: it was marked before, or the write that takes it
    /// into use is under way, and the next check finds it again.
    pub fn segment_lost(
        &mut self,
        now: Duration,
        index: StripeIndex,
        slot: u32,
        cause: &FaultCause,
    ) -> Option<u64> {
        let stripe = &mut self.stripes[index.at()];
        let settled = stripe.phase == StripePhase::Active;
        let (start, end, current) =
            match stripe.space.remove_lost(slot, !settled && !stripe.blocks.is_idle())? {
                LostSegment::Free => {
                    self.wakeups.maintenance = true;
                    return Some(0);
                }
                LostSegment::Live { start, end, current } => (start, end, current),
            };
        let state = self.durable.stripe(index);
        let waiting = state.missing(start.0, end.unwrap_or(state.next).0);
        let waiting = waiting.iter().map(|(start, end)| end - start).sum();
        if current && settled {
            self.fail(now, index, cause);
        } else if current {
            // The epoch is still to begin, or is in a slot until a segment comes: never begin it in this one.
            stripe.space.leave();
            stripe.space.end_tail();
            self.wakeups.maintenance = true;
        }
        Some(waiting)
    }

    /// Takes the segments of a stripe whose files are to be opened again. Each comes back by [`Log::add_segment`] with
    /// its new file, by [`Log::defer_reopening`] if it could not be opened now, or never if its file no longer exists.
    pub fn segments_to_reopen(&mut self, index: StripeIndex) -> Vec<FreeSegment> {
        self.stripes[index.at()].space.take_to_reopen()
    }

    /// Takes back a segment that could not be opened now.
    pub fn defer_reopening(&mut self, index: StripeIndex, segment: FreeSegment) {
        self.stripes[index.at()].space.defer_reopening(segment);
    }
}
