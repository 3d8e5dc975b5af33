//! What maintenance supplies to a stripe and learns from it: segments that it made, the reason why it could make none,
//! segments that may be deleted, and whether the disk has space for puts.

use super::Log;
use super::segment_space::FreeSegment;
use super::stripe::Stripe;
use crate::base::fault_cause::FaultCause;
use crate::base::ids::StripeIndex;

impl Log {
    /// Sets how many concurrent writes the stripe's storage takes, if this became known after the opening.
    pub fn set_writes_in_flight_max(&mut self, stripe: StripeIndex, max: usize) {
        self.stripes[stripe.at()].blocks.allow_in_flight(max);
    }

    /// Adds a segment that the stripe can take into use.
    pub fn add_segment(&mut self, stripe: StripeIndex, segment: FreeSegment) {
        let stripe = &mut self.stripes[stripe.at()];
        stripe.space.adopt(segment);
        self.wakeups.room = true;
        // A suspended stripe may wait for it.
        self.wakeups.maintenance |= !stripe.phase.is_started();
    }

    /// Notes that a segment of `len` bytes could not be made. What still needs it asks again; nothing else waits for
    /// it.
    pub fn refuse_segment(&mut self, index: StripeIndex, len: u64, fault: FaultCause) {
        let bound = self.state_bytes_bound();
        let stripe = &mut self.stripes[index.at()];
        stripe.space.refuse(len, fault, bound + stripe.blocks.first_queued_bytes());
        self.wakeups.room = true;
    }

    /// Forgets a segment that could not be made, because nothing has asked for it for long.
    pub fn clear_refused_segment(&mut self, index: StripeIndex) {
        self.stripes[index.at()].space.clear_refused();
    }

    /// Sets the current segment size of the stripe; smaller segments are used only if no other is free.
    pub fn set_segment_bytes(&mut self, index: StripeIndex, bytes: u64) {
        self.stripes[index.at()].space.set_usual_bytes(bytes);
    }

    /// Takes a free segment out for deletion if there is more room than `keep` segments of the usual size are worth, or
    /// one is too small to be used; the newest only with `also_newest`: nothing has waited for it.
    pub fn spare_segment(
        &mut self,
        index: StripeIndex,
        keep: usize,
        also_newest: bool,
    ) -> Option<FreeSegment> {
        let need = self.state_bytes_bound() + 4096;
        let full = self.settings.segment_bytes;
        self.stripes[index.at()].space.trim(keep, need, full, also_newest)
    }

    /// Returns the slot of the segment that came free last.
    #[must_use]
    pub fn newest_free(&self, index: StripeIndex) -> Option<u32> {
        self.stripes[index.at()].space.newest_free()
    }

    /// Whether puts wait for space on some disk.
    #[must_use]
    pub fn lacks_space(&self) -> bool {
        let lacks = |s: &Stripe| s.no_space.is_some() || s.space.refused().is_some();
        self.stripes.iter().any(lacks)
    }

    /// Sets or clears the reason why the stripe's disk takes no puts.
    pub fn set_space(&mut self, stripe: StripeIndex, fault: Option<FaultCause>) {
        let stripe = &mut self.stripes[stripe.at()];
        if stripe.no_space.is_some() && fault.is_none() {
            self.wakeups.room = true;
        }
        stripe.no_space = fault;
    }
}
