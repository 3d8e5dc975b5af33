//! How a suspended stripe comes back: in a fresh segment, or in a checkpoint slot.

use super::Log;
use super::fail::{HUNG_WRITES_MAX, RESTARTS_AT_ONCE};
use super::reserve::state_bytes_bound;
use super::stripe::{EpochStart, FreeSegment, Health, Stripe};
use crate::base::ids::{EpochNumber, StripeIndex};
use crate::base::rare::Rare;
use std::time::Duration;

impl Log {
    /// Tries suspended stripes again whose pause is over. A stripe goes on in a fresh segment; where
    /// there is none, the end of its life goes into its checkpoint slot.
    ///
    /// On a full disk no segment may ever come: what was in doubt on the stripe would stay so, its
    /// takes be refused, and without them nothing would make room.
    pub fn retry_suspended(&mut self, now: Duration) {
        for index in (0..self.stripes.len()).map(|index| StripeIndex(index as u16)) {
            let can_restart = self.can_restart(index);
            let stripe = &mut self.stripes[index.at()];
            match stripe.retry_at() {
                Some(at) if at <= now && can_restart => {
                    self.activate(index);
                    self.begin_restart(index);
                }
                // A write that hangs may hang in the slot as well, and hold up all checkpoints.
                Some(at) if at <= now => stripe.slot_wanted = stripe.zombies.is_empty(),
                None if can_restart && stripe.waits_in_slot() => self.begin_restart(index),
                _ => {}
            }
        }
        // For want of memory a fence may not have been placed when its stripe failed.
        let ready = |s: &&Stripe| s.is_active() && s.epoch_start == EpochStart::Done;
        let ready = self.stripes.iter().filter(ready).min_by_key(|s| s.outstanding_bytes());
        if let Some(on) = ready.map(|s| s.index) {
            self.fence_suspended(on);
        }
    }

    /// When the next suspended stripe is to be tried whose pause is not over.
    #[must_use]
    pub fn next_retry(&self, now: Duration) -> Option<Duration> {
        self.stripes.iter().filter_map(Stripe::retry_at).filter(|at| *at > now).min()
    }

    /// Stripes whose new epoch waits to be written.
    pub fn epochs_due(&self) -> impl Iterator<Item = StripeIndex> + '_ {
        let due = self.stripes.iter().filter(|s| s.is_active() && s.epoch_start == EpochStart::Due);
        due.map(|s| s.index)
    }

    fn can_restart(&self, index: StripeIndex) -> bool {
        let bound = state_bytes_bound(&self.durable, self.acks.len());
        let stripe = &self.stripes[index.at()];
        stripe.zombies.len() < HUNG_WRITES_MAX && stripe.free_for(bound).is_some()
    }

    pub(super) fn may_restart_at_once(&self, index: StripeIndex) -> bool {
        self.stripes[index.at()].strikes <= RESTARTS_AT_ONCE && self.can_restart(index)
    }

    /// The stripe counts again, with the events that wait on it.
    pub(super) fn activate(&mut self, index: StripeIndex) {
        self.stripes[index.at()].health = Health::Active;
        self.stripes[index.at()].slot_wanted = false;
        self.occupied += self.waiting_on(|s| s.index == index);
    }

    /// The stripe goes on in a fresh segment, whose state record starts the epoch.
    pub(super) fn begin_restart(&mut self, index: StripeIndex) {
        let bound = state_bytes_bound(&self.durable, self.acks.len());
        let stripe = &mut self.stripes[index.at()];
        stripe.epoch_start = EpochStart::Due;
        stripe.leave_segment();
        stripe.roll_planned = true;
        stripe.tail_room = stripe.free_for(bound).map_or(0, |s| s.len - bound);
        self.wakes.keeper = true;
    }

    /// Stripes whose life is to end in the next checkpoint, and the lives that follow.
    pub(super) fn epochs_for_slots(&self) -> Vec<(StripeIndex, EpochNumber)> {
        let wanted = self.stripes.iter().filter(|s| s.slot_wanted);
        wanted.map(|s| (s.index, s.epoch.number)).collect()
    }

    /// The new epoch of a suspended stripe stands in its own checkpoint slot, or could not be written
    /// there: then the stripe is left alone for longer.
    pub(super) fn epoch_was_written(
        &mut self,
        now: Duration,
        (index, epoch): (StripeIndex, EpochNumber),
        written: bool,
    ) {
        let stripe = &mut self.stripes[index.at()];
        // It may have found a segment since, and failed again there.
        if !stripe.slot_wanted || stripe.epoch.number != epoch {
            return;
        }
        if !written {
            let pause = stripe.strike(now);
            stripe.slot_wanted = false;
            if let Health::Suspended { retry_at, .. } = &mut stripe.health {
                *retry_at = now + pause;
            }
            return;
        }
        Rare::LifeEndedInSlot.reached();
        self.say_back(index, "the stripe is back: takes go on there, puts wait for room");
        self.epoch_stands_in_slot(index);
        self.activate(index);
        let last = self.durable.stripe(index).watermark.block;
        let stripe = &mut self.stripes[index.at()];
        stripe.leave_segment();
        // Taken into use by a life that has ended before its first block was durable: nothing in it
        // counts, whatever of that block may still land there.
        while let Some(dead) = stripe.segments.pop_back_if(|s| s.first_block > last) {
            if !stripe.forget_lost(dead.slot) {
                stripe.put_free(FreeSegment { slot: dead.slot, file: dead.file, len: dead.len });
            }
        }
        self.settle_doubts(index);
        self.fence_suspended(index);
        self.wakes.keeper = true;
        self.wakes.takers = true;
    }

    /// Says that the stripe's epoch stands durably in a checkpoint slot, because no segment was
    /// free for it: the next segment's state record will be written alone.
    pub fn epoch_stands_in_slot(&mut self, index: StripeIndex) {
        Rare::EpochInSlot.reached();
        let state = self.state_of(index);
        self.durable.join(&state);
        self.stripes[index.at()].epoch_start = EpochStart::InSlot;
        self.stripes[index.at()].tail_room = 0;
        self.changed();
    }
}

impl Stripe {
    /// Whether the file at `slot` is lost, and forgets it: nothing that is written there would be found
    /// again, so it is never used again.
    pub(super) fn forget_lost(&mut self, slot: u32) -> bool {
        let at = self.lost.iter().position(|lost| *lost == slot);
        at.map(|at| self.lost.swap_remove(at)).is_some()
    }

    /// Whatever of the last segment is above the watermark is void: never written on.
    pub(super) fn leave_segment(&mut self) {
        self.end_offset = self.segments.back().map_or(0, |s| s.len);
    }

    /// Whether the life after one that failed stands in a slot, and nothing waits for a segment yet
    /// that would bring it into the log.
    fn waits_in_slot(&self) -> bool {
        self.is_active()
            && self.strikes > 0
            && self.epoch_start == EpochStart::InSlot
            && !self.roll_planned
            && self.queued_bytes() == 0
    }
}
