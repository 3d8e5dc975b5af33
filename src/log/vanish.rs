//! Segment files that somebody outside removed, replaced or cut short while they are in use.
//!
//! A file without its name can be read and written as before, and is gone with the process. So a stripe
//! whose current segment went ends its epoch, as behind a failed write, and goes on in another segment
//! that begins with everything known. What was in the lost file is missing at the next opening, which
//! counts it; until then it can be taken.

use super::Log;
use super::stripe::{EpochStart, FreeSegment, LiveSegment};
use crate::base::ids::StripeIndex;
use crate::base::trouble::Trouble;
use std::time::Duration;

impl Log {
    /// Files of a stripe worth a look: the segment that is written, the free ones, and `count` of the
    /// others, from the one in place `turn` on, so that many looks see all of them.
    #[must_use]
    pub fn files_to_look_at(
        &self,
        index: StripeIndex,
        turn: usize,
        count: usize,
    ) -> Vec<FreeSegment> {
        let stripe = &self.stripes[index.at()];
        let known = |s: &&LiveSegment| !stripe.lost.contains(&s.slot);
        let file = |s: &LiveSegment| FreeSegment { slot: s.slot, file: s.file.clone(), len: s.len };
        let older = stripe.segments.len().saturating_sub(1);
        let from = if older == 0 { 0 } else { turn % older };
        let others = stripe.segments.iter().take(older).cycle().skip(from).take(count.min(older));
        let live = stripe.segments.back().into_iter().chain(others).filter(known);
        let free = stripe.free.iter().chain(&stripe.to_reopen);
        live.map(file).chain(free.cloned()).collect()
    }

    /// Takes a file as lost. A free one is forgotten; from the one that is written the stripe moves
    /// away. Answers how many events wait in it, or `None` while nothing can be done about it: it was
    /// said before, or the write that takes it into use is under way, and the next look finds it again.
    pub fn lose_file(
        &mut self,
        now: Duration,
        index: StripeIndex,
        slot: u32,
        cause: &Trouble,
    ) -> Option<u64> {
        let stripe = &mut self.stripes[index.at()];
        let known = stripe.free.len() + stripe.to_reopen.len();
        stripe.free.retain(|s| s.slot != slot);
        stripe.to_reopen.retain(|s| s.slot != slot);
        if stripe.free.len() + stripe.to_reopen.len() < known {
            self.wakes.keeper = true;
            return Some(0);
        }
        let at = stripe.segments.iter().position(|s| s.slot == slot)?;
        let is_current = at + 1 == stripe.segments.len();
        let settled = stripe.is_active() && stripe.epoch_start == EpochStart::Done;
        let begins = is_current && !settled && !stripe.in_flight.is_empty();
        if stripe.lost.contains(&slot) || begins {
            return None;
        }
        stripe.lost.push(slot);
        let start = stripe.segments[at].first_sequence.0;
        let state = self.durable.stripe(index);
        let end = stripe.segments.get(at + 1).map_or(state.next.0, |s| s.first_sequence.0);
        let waiting = state.missing(start, end).iter().map(|(start, end)| end - start).sum();
        if is_current && settled {
            self.fail(now, index, cause);
        } else if is_current {
            // The epoch is still to begin, or stands in a slot until a segment comes: not in this one.
            let stripe = &mut self.stripes[index.at()];
            stripe.leave_segment();
            stripe.tail_room = 0;
            self.wakes.keeper = true;
        }
        Some(waiting)
    }
}
