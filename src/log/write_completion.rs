//! Completed writes: publishing what is durable without a gap.

use super::Log;
use super::block::FrameEffect;
use super::block_completion::BlockOutcome;
use super::block_queue::WriteInFlight;
use super::readable_block::ReadableBlock;
use super::segment_space::Recycled;
use super::stripe::Stripe;
use super::stripe_phase::{PhaseEvent, StripePhase};
use super::tail_cache::{BlockExtent, LogPosition};
use super::write_job::JobId;
use crate::base::coverage_mark::CoverageMark;
use crate::base::fault_cause::{FaultCause, FaultPlace};
use crate::base::ids::{BlockNumber, MAIN_GROUP, Sequence, StripeIndex};
use crate::base::limits::SLAB_BYTES;
use crate::base::mutation::Mutation;
use crate::record::Watermark;
use crate::record::body::{AckBody, FenceBody, LostBody};
use std::io;
use std::time::Duration;

impl Log {
    /// Completes a write. A failed one ends the stripe's epoch; a late one that was given up before only frees its
    /// segment.
    pub fn complete(
        &mut self,
        now: Duration,
        index: StripeIndex,
        job: JobId,
        result: io::Result<()>,
    ) {
        let stripe = &mut self.stripes[index.at()];
        if stripe.space.abandoned_write_returned(job, result.is_err()) {
            CoverageMark::LateReturn.hit();
            self.wakeups.maintenance = true;
            return;
        }
        let Some(write) = stripe.blocks.write_mut(job) else { return };
        match result {
            Ok(()) => {
                write.done = true;
                let bytes = write.area.len();
                let took = now.saturating_sub(write.started);
                stripe.writes.note(took);
                let seconds = took.as_secs_f64().max(1e-6);
                stripe.rate = 0.9 * stripe.rate + 0.1 * (bytes as f64 / seconds);
                stripe.bytes_written += bytes as u64;
                stripe.written_at = Some(now);
                self.counts.writes += 1;
                self.counts.written_bytes += bytes as u64;
                self.publish(now, index);
            }
            Err(error) => {
                write.failed = true;
                let (segment, offset) = (write.segment, write.offset);
                let file = stripe.space.segment(segment).map(|s| s.file.path().to_path_buf());
                let path = file.unwrap_or_default();
                let place = FaultPlace::from(index).in_segment(segment);
                let place = place.at_path(path).at_offset(offset);
                self.fail(now, index, &FaultCause::of_write(place, error));
            }
        }
    }

    /// Publishes the completed blocks that have no gap before them.
    fn publish(&mut self, now: Duration, index: StripeIndex) {
        loop {
            let stripe = &mut self.stripes[index.at()];
            let ended = |w: &WriteInFlight| w.done || Mutation::PublishedOverGaps.is_active();
            let Some(write) = stripe.blocks.take_first_write(ended) else { break };
            self.publish_block(now, index, write);
        }
        self.changed();
        self.recycle(index);
    }

    /// Publishes one block: moves the watermark, applies its frames to the durable state, offers its events to takers
    /// and settles its outcome.
    fn publish_block(&mut self, now: Duration, index: StripeIndex, mut write: WriteInFlight) {
        let end = write.block.first_sequence + u64::from(write.block.count);
        let end_offset = write.offset + write.area.len() as u64;
        let state = self.durable.stripe_mut(index);
        // Without its file no opening would know of this segment until a checkpoint names it.
        if state.watermark.segment != write.segment {
            self.stripes[index.at()].segment_unnamed = true;
            self.wakeups.maintenance = true;
        }
        state.watermark = Watermark {
            block: write.number,
            sequence: Sequence(end.max(state.watermark.sequence.0)),
            order: write.order,
            segment: write.segment,
            end_offset,
        };
        state.next = state.next.max(Sequence(end));
        if write.block.count > 0 {
            let frontier = state.frontier();
            self.stripes[index.at()].ages.arrived(write.block.first_sequence, frontier, now);
        }
        if write.block.solo && write.block.state {
            let stripe = &mut self.stripes[index.at()];
            // The first epoch of an opening is not a recovery.
            let is_back = !stripe.phase.is_started() && stripe.failures.is_any();
            stripe.enter(PhaseEvent::StartDurable);
            if is_back {
                self.add_recovery_line(index, "the stripe is back: puts and takes continue there");
            }
            self.resolve_frames(index);
            self.fence_suspended(index);
            self.wakeups.room = true;
            self.wakeups.takers = true;
        }
        let frames = std::mem::take(&mut write.block.frames);
        for (at, note) in frames.iter().enumerate() {
            let void = write.block.completion.is_void(at as u32);
            self.apply(index, &note.effect, void);
        }
        write.block.frames = frames;
        self.offer(index, &write, end_offset);
        write.block.completion.set_outcome(BlockOutcome::Durable);
        self.wakeups.completions.push(write.block.completion);
    }

    /// Applies what a durable frame changes; a void one only releases what was reserved for it.
    fn apply(&mut self, index: StripeIndex, effect: &FrameEffect, void: bool) {
        match effect {
            FrameEffect::Put { first, count, source_offset } => {
                self.apply_put(index, (*first, *count), void);
                if let Some((source, source_offset)) = source_offset {
                    self.source_offsets.end_flight(source);
                    self.wakeups.room = true;
                    if !void {
                        self.durable.advance_source_offset(source, source_offset);
                    }
                }
            }
            FrameEffect::Ack { ack, body } => self.apply_ack(*ack, body, void),
            FrameEffect::State(state) => self.durable.join(state),
            FrameEffect::Fence(fence) => self.apply_fence(index, fence),
            FrameEffect::Lost(LostBody { stripe, start, end }) => {
                self.durable.stripe_mut(*stripe).void_damaged(*start, *end);
            }
        }
    }

    fn apply_put(&mut self, index: StripeIndex, (first, count): (u64, u32), void: bool) {
        if void {
            self.durable.stripe_mut(index).void(first, first + u64::from(count));
            if self.stripes[index.at()].is_writable() {
                self.occupied = self.occupied.saturating_sub(u64::from(count));
            }
            self.wakeups.room = true;
        } else {
            self.counts.put += u64::from(count);
            self.wakeups.takers |= count > 0;
        }
    }

    /// Applies an acknowledgement after one copy became durable: from now on the state contains all of it.
    pub(super) fn apply_ack(&mut self, ack: u64, body: &AckBody, void: bool) {
        let Some(flight) = self.acks.get_mut(&ack) else { return };
        flight.copies -= 1;
        let (first, last) = (!flight.applied && !void, flight.copies == 0);
        flight.applied |= !void;
        let applied = flight.applied;
        if first {
            for (stripe, start, end) in &body.ranges {
                let state = self.durable.stripe_mut(*stripe);
                let fresh = state.acknowledge(body.group, *start, *end);
                self.counts.taken += fresh;
                // Not when the last copy has settled: a stripe that fails meanwhile leaves the count with its
                // unacknowledged events.
                if self.stripes[stripe.at()].is_writable() {
                    self.occupied = self.occupied.saturating_sub(fresh);
                }
            }
        }
        if last {
            let Some(flight) = self.acks.remove(&ack) else { return };
            for lease in flight.leases {
                let stripe = lease.block.stripe;
                if applied {
                    self.stripes[stripe.at()].window.end_lease(&lease);
                } else {
                    self.stripes[stripe.at()].window.give_back(lease);
                    self.wakeups.takers = true;
                }
                self.recycle(stripe);
            }
            self.wakeups.room = true;
            // What could not be lent or read because of too many holes can be now.
            let waits = |s: &Stripe| !s.window.is_empty() || self.has_cold(s.index);
            self.wakeups.takers |= self.stripes.iter().any(waits);
        }
    }

    fn apply_fence(&mut self, on: StripeIndex, fence: &FenceBody) {
        let state = self.durable.stripe_mut(fence.stripe);
        state.void_fenced(fence.void_start.0, fence.void_end.0);
        if fence.epoch.number > state.epoch.number {
            state.epoch = fence.epoch;
        }
        if self.stripes[fence.stripe.at()].epoch.number == fence.epoch.number {
            self.resolve_frames(fence.stripe);
            self.fence_suspended(on);
        }
    }

    /// Resolves the frames in doubt on the stripe: they are durably void now. A frame may have been moved there after
    /// another stripe had failed, and its first copy is void only when the end of that stripe's epoch is durable too:
    /// it then waits for the fence of that stripe, which the caller checks.
    pub(super) fn resolve_frames(&mut self, index: StripeIndex) {
        self.wakeups.room = true;
        let mut unresolved_frames = std::mem::take(&mut self.stripes[index.at()].unresolved_frames);
        if unresolved_frames.is_empty() {
            return;
        }
        let open = self.stripes.iter().find(|s| s.index != index && self.epoch_end_is_pending(s));
        if let Some(open) = open.map(|s| s.index.at()) {
            CoverageMark::DoubtPassedOn.hit();
            self.stripes[open].unresolved_frames.append(&mut unresolved_frames);
            return;
        }
        for source in unresolved_frames.sources {
            self.source_offsets.end_flight(&source);
        }
        for (ack, body) in unresolved_frames.acks {
            self.apply_ack(ack, &body, true);
        }
    }

    /// Makes the block's events available to takers: from memory if the window reaches it, or will, and the budget
    /// allows; otherwise it is read back later.
    fn offer(&mut self, index: StripeIndex, write: &WriteInFlight, end_offset: u64) {
        let (window, stripes) = (self.settings.hot_window_bytes, self.stripes.len());
        let budget = window / stripes;
        // The tail cache comes on top of the blocks that are read back, and a slab is freed only when none of it is in
        // use.
        let roomy = self.pool.live_bytes() <= window + (stripes + 1) * SLAB_BYTES;
        let acknowledged = &self.durable.stripe(index).acknowledged[&MAIN_GROUP];
        let (segment, sequence) = (write.segment, write.block.first_sequence);
        let after = LogPosition {
            segment,
            epoch: write.block.epoch.number,
            offset: end_offset,
            sequence: sequence + u64::from(write.block.count),
        };
        let here = LogPosition { offset: write.offset + write.block_at as u64, sequence, ..after };
        let extent = BlockExtent { number: write.number.0, here, after };
        let len = if write.block.count == 0 { 0 } else { write.area.len() };
        let (number, order, at) = (write.number, write.order, write.block_at);
        let block =
            || ReadableBlock::published(index, number, order, &write.block, &write.area, at).ok();
        let window = &mut self.stripes[index.at()].window;
        window.publish(extent, len, (budget, roomy), acknowledged, block);
    }

    /// Frees the segments that every reader group has passed. The segment after them begins with a state record taken
    /// after their last block, and it is durable.
    pub(super) fn recycle(&mut self, index: StripeIndex) {
        let (frontier, durable) = {
            let state = self.durable.stripe(index);
            (state.frontier(), state.watermark.block)
        };
        let stripe = &mut self.stripes[index.at()];
        if stripe.phase == StripePhase::Missing {
            return;
        }
        let read = stripe.window.next_block();
        let recycled = stripe.space.recycle(|next| {
            let below = next.first_sequence.0 <= frontier || Mutation::RecycledEarly.is_active();
            below && next.first_block <= durable && read >= next.first_block.0
        });
        // On a full disk this is how puts get the segment they wait for.
        self.wakeups.room |= recycled.usable;
        self.wakeups.maintenance |= recycled != Recycled::default();
        self.counts.recycled += recycled.segments;
    }

    /// Returns the last durable block of a stripe.
    #[must_use]
    pub fn watermark(&self, index: StripeIndex) -> BlockNumber {
        self.durable.stripe(index).watermark.block
    }
}
