//! Resuming a suspended stripe: in a fresh segment, or in a checkpoint slot. `stripe_phase.rs` draws the transitions.

use super::Log;
use super::stripe::Stripe;
use super::stripe_phase::{PhaseEvent, StripePhase};
use super::write_failure::HUNG_WRITES_MAX;
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{EpochNumber, StripeIndex};
use std::time::Duration;

impl Log {
    /// Tries suspended stripes again whose pause is over. A stripe continues in a fresh segment; without one, the end
    /// of its epoch is written to its checkpoint slot.
    ///
    /// On a full disk no segment may ever come: frames in doubt on the stripe would stay in doubt, its takes would be
    /// refused, and without takes nothing would make room.
    pub fn retry_suspended(&mut self, now: Duration) {
        for index in (0..self.stripes.len()).map(|index| StripeIndex(index as u16)) {
            let can_restart = self.can_restart(index);
            let stripe = &mut self.stripes[index.at()];
            match &stripe.phase {
                StripePhase::Suspended { retry_at, .. } if *retry_at > now => {}
                StripePhase::Suspended { .. } | StripePhase::AwaitingSlot { .. } if can_restart => {
                    self.restart(index);
                }
                // A hung disk may block a write of the slot too, and delay all checkpoints.
                StripePhase::Suspended { .. } if stripe.space.abandoned_writes() == 0 => {
                    stripe.enter(PhaseEvent::NoSegment);
                }
                StripePhase::InSlot if can_restart && stripe.waits_in_slot() => {
                    self.begin_in_segment(index);
                }
                _ => {}
            }
        }
        // For lack of memory a fence may not have been placed when its stripe failed.
        let ready = |s: &&Stripe| s.phase == StripePhase::Active;
        let ready = self.stripes.iter().filter(ready).min_by_key(|s| s.blocks.outstanding_bytes());
        if let Some(on) = ready.map(|s| s.index) {
            self.fence_suspended(on);
        }
    }

    /// Returns when to try the next suspended stripe whose pause is not over.
    #[must_use]
    pub fn next_retry(&self, now: Duration) -> Option<Duration> {
        self.stripes.iter().filter_map(|s| s.phase.retry_at()).filter(|at| *at > now).min()
    }

    /// Returns stripes whose new epoch is still to be written.
    pub fn epochs_due(&self) -> impl Iterator<Item = StripeIndex> + '_ {
        let due = self.stripes.iter().filter(|s| s.phase == StripePhase::Starting);
        due.map(|s| s.index)
    }

    fn can_restart(&self, index: StripeIndex) -> bool {
        let space = &self.stripes[index.at()].space;
        space.abandoned_writes() < HUNG_WRITES_MAX && space.has_free(self.state_bytes_bound())
    }

    pub(super) fn may_restart_at_once(&self, index: StripeIndex) -> bool {
        self.stripes[index.at()].failures.are_few() && self.can_restart(index)
    }

    /// Counts the events of a stripe that can be used again.
    fn count_again(&mut self, index: StripeIndex) {
        self.occupied += self.waiting_on(|s| s.index == index);
    }

    /// Uses a suspended stripe again, in a fresh segment.
    pub(super) fn restart(&mut self, index: StripeIndex) {
        self.count_again(index);
        self.begin_in_segment(index);
    }

    /// Starts the stripe's epoch with the state record of a fresh segment.
    fn begin_in_segment(&mut self, index: StripeIndex) {
        let bound = self.state_bytes_bound();
        let stripe = &mut self.stripes[index.at()];
        stripe.enter(PhaseEvent::Resumed);
        stripe.space.restart(bound);
        self.wakeups.maintenance = true;
    }

    /// Returns stripes whose epoch the next checkpoint is to end, with the epochs that follow.
    pub(super) fn epochs_for_slots(&self) -> Vec<(StripeIndex, EpochNumber)> {
        let wanted = self.stripes.iter().filter(|s| s.phase.awaits_slot());
        wanted.map(|s| (s.index, s.epoch.number)).collect()
    }

    /// Notes that the new epoch of a suspended stripe is in its own checkpoint slot, or could not be written there:
    /// then the pause of the stripe is extended.
    pub(super) fn epoch_was_written(
        &mut self,
        now: Duration,
        (index, epoch): (StripeIndex, EpochNumber),
        written: bool,
    ) {
        let stripe = &mut self.stripes[index.at()];
        // It may have found a segment meanwhile, and failed again there.
        if !stripe.phase.awaits_slot() || stripe.epoch.number != epoch {
            return;
        }
        if !written {
            let retry_at = now + stripe.failures.add(now);
            stripe.enter(PhaseEvent::SlotFailed { retry_at });
            return;
        }
        CoverageMark::EpochEndedInSlot.hit();
        self.add_recovery_line(
            index,
            "the stripe is back: takes continue there, puts wait for space",
        );
        self.epoch_is_in_slot(index);
        self.count_again(index);
        let last = self.durable.stripe(index).watermark.block;
        let space = &mut self.stripes[index.at()].space;
        space.leave();
        space.drop_above(last);
        self.resolve_frames(index);
        self.fence_suspended(index);
        self.wakeups.maintenance = true;
        self.wakeups.takers = true;
    }

    /// Notes that the stripe's epoch is durable in a checkpoint slot, because no segment was free for it: the state
    /// record of the next segment will be written alone.
    pub fn epoch_is_in_slot(&mut self, index: StripeIndex) {
        CoverageMark::EpochInSlot.hit();
        let state = self.state_of(index);
        self.durable.join(&state);
        self.stripes[index.at()].enter(PhaseEvent::SlotWritten);
        self.stripes[index.at()].space.end_tail();
        self.changed();
    }
}

impl Stripe {
    /// Whether the epoch after a failed one is in a slot, and no waiting operation needs a segment yet that would bring
    /// it into the log.
    fn waits_in_slot(&self) -> bool {
        self.phase == StripePhase::InSlot
            && self.failures.is_any()
            && !self.space.roll_is_planned()
            && self.blocks.queued_bytes() == 0
    }
}
