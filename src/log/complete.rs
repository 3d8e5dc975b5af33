//! Completed writes: publishing what is durable without a gap.

use super::Log;
use super::ahead::Spot;
use super::block::Effect;
use super::fate::Outcome;
use super::job::JobId;
use super::lease::Place;
use super::ready::ReadyBlock;
use super::stripe::{EpochStart, Health, InFlight, Stripe};
use crate::base::ids::{BlockNumber, MAIN_GROUP, Sequence, StripeIndex};
use crate::base::limits::SLAB_BYTES;
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::base::trouble::Trouble;
use crate::record::Watermark;
use crate::record::body::{AckBody, FenceBody, LostBody};
use std::io;
use std::sync::Arc;
use std::time::Duration;

impl Log {
    /// Reports the end of a write. A failed one ends the stripe's epoch; a late one that was
    /// given up before changes nothing but frees its segment.
    pub fn complete(
        &mut self,
        now: Duration,
        index: StripeIndex,
        job: JobId,
        result: io::Result<()>,
    ) {
        let stripe = &mut self.stripes[index.at()];
        if let Some(at) = stripe.zombies.iter().position(|(id, _)| *id == job) {
            Rare::LateReturn.reached();
            let (_, slot) = stripe.zombies.swap_remove(at);
            if result.is_err() {
                stripe.note_failed(slot);
            }
            self.wakes.keeper = true;
            return;
        }
        let Some(at) = stripe.in_flight.iter().position(|w| w.job == job) else { return };
        match result {
            Ok(()) => {
                let write = &mut stripe.in_flight[at];
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
                let write = &mut stripe.in_flight[at];
                write.failed = true;
                let path = stripe.segments.iter().rfind(|s| s.id == write.segment);
                let path = path.map(|s| s.file.path().display().to_string()).unwrap_or_default();
                let cause = format!("writing {path} at {}: {error}", write.offset);
                self.fail(now, index, &Trouble::new(cause));
            }
        }
    }

    /// Publishes the completed blocks that have no gap before them.
    fn publish(&mut self, now: Duration, index: StripeIndex) {
        loop {
            let stripe = &mut self.stripes[index.at()];
            if !stripe
                .in_flight
                .front()
                .is_some_and(|w| w.done || Broken::PublishedOverGaps.is_chosen())
            {
                break;
            }
            let Some(write) = stripe.in_flight.pop_front() else { break };
            self.publish_block(now, index, write);
        }
        self.changed();
        self.recycle(index);
    }

    fn publish_block(&mut self, now: Duration, index: StripeIndex, mut write: InFlight) {
        let end = write.block.first_sequence + u64::from(write.block.count);
        let end_offset = write.offset + write.area.len() as u64;
        let state = self.durable.stripe_mut(index);
        // Without its file no opening would know that there was such a segment, until a checkpoint names it.
        if state.watermark.segment != write.segment {
            self.stripes[index.at()].segment_unnamed = true;
            self.wakes.keeper = true;
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
            self.stripes[index.at()].ages.came(write.block.first_sequence, frontier, now);
        }
        if write.block.solo && write.block.state {
            let stripe = &mut self.stripes[index.at()];
            // The first life of an opening is no return.
            if stripe.epoch_start != EpochStart::Done && stripe.strikes > 0 {
                self.say_back(index, "the stripe is back: puts and takes go on there");
            }
            self.stripes[index.at()].epoch_start = EpochStart::Done;
            self.settle_doubts(index);
            self.fence_suspended(index);
            self.wakes.room = true;
            self.wakes.takers = true;
        }
        let frames = std::mem::take(&mut write.block.frames);
        for (at, note) in frames.iter().enumerate() {
            let void = write.block.fate.is_void(at as u32);
            self.apply(index, &note.effect, void);
        }
        write.block.frames = frames;
        self.offer(index, &write, end_offset);
        write.block.fate.settle(Outcome::Durable);
        self.wakes.fates.push(write.block.fate);
    }

    fn apply(&mut self, index: StripeIndex, effect: &Effect, void: bool) {
        match effect {
            Effect::Put { first, count, position } => {
                self.apply_put(index, (*first, *count), void);
                if let Some((source, position)) = position {
                    self.positions_busy.remove(source);
                    self.wakes.room = true;
                    if !void {
                        self.durable.advance_position(source, position);
                    }
                }
            }
            Effect::Ack { ack, body } => self.apply_ack(*ack, body, void),
            Effect::State(state) => self.durable.join(state),
            Effect::Fence(fence) => self.apply_fence(index, fence),
            Effect::Lost(LostBody { stripe, start, end }) => {
                self.durable.stripe_mut(*stripe).void_damaged(*start, *end);
            }
        }
    }

    fn apply_put(&mut self, index: StripeIndex, (first, count): (u64, u32), void: bool) {
        if void {
            self.durable.stripe_mut(index).void(first, first + u64::from(count));
            if self.stripes[index.at()].is_active() {
                self.occupied = self.occupied.saturating_sub(u64::from(count));
            }
            self.wakes.room = true;
        } else {
            self.counts.put += u64::from(count);
            self.wakes.takers |= count > 0;
        }
    }

    /// One copy of an acknowledgement is durable: from now on the state names it, whole.
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
                // Here and not when the last copy has settled: a stripe that fails in between
                // leaves the count with what is not acknowledged.
                if self.stripes[stripe.at()].is_active() {
                    self.occupied = self.occupied.saturating_sub(fresh);
                }
            }
        }
        if last {
            let Some(flight) = self.acks.remove(&ack) else { return };
            for claim in flight.claims {
                let stripe = claim.block.stripe;
                if applied {
                    self.stripes[stripe.at()].front.settle(&claim);
                } else {
                    self.stripes[stripe.at()].front.give_back(claim);
                    self.wakes.takers = true;
                }
                self.recycle(stripe);
            }
            self.wakes.room = true;
            // What could not be lent, or read on, for too many holes can be lent again.
            let waits = |s: &Stripe| !s.front.is_empty() || self.has_cold(s.index);
            self.wakes.takers |= self.stripes.iter().any(waits);
        }
    }

    fn apply_fence(&mut self, on: StripeIndex, fence: &FenceBody) {
        let state = self.durable.stripe_mut(fence.stripe);
        state.void_fenced(fence.void_start.0, fence.void_end.0);
        if fence.epoch.number > state.epoch.number {
            state.epoch = fence.epoch;
        }
        if self.stripes[fence.stripe.at()].epoch.number == fence.epoch.number {
            self.settle_doubts(fence.stripe);
            self.fence_suspended(on);
        }
    }

    /// What was in doubt on the stripe is durably void now. But it may have been moved there when
    /// another stripe had failed, and its first copy is void only when that end is durable as well:
    /// it waits for that one's fence, for which the caller sees.
    pub(super) fn settle_doubts(&mut self, index: StripeIndex) {
        self.wakes.room = true;
        let mut doubts = std::mem::take(&mut self.stripes[index.at()].doubts);
        if doubts.is_empty() {
            return;
        }
        let open = self.stripes.iter().find(|s| s.index != index && self.end_is_open(s));
        if let Some(open) = open.map(|s| s.index.at()) {
            Rare::DoubtPassedOn.reached();
            self.stripes[open].doubts.append(&mut doubts);
            return;
        }
        for source in doubts.sources {
            self.positions_busy.remove(&source);
        }
        for (ack, body) in doubts.acks {
            self.apply_ack(ack, &body, true);
        }
    }

    /// Lets the block's events be lent: from memory while the window reaches it, or will, and the
    /// budget allows; else it is read back when its turn comes.
    fn offer(&mut self, index: StripeIndex, write: &InFlight, end_offset: u64) {
        let (window, stripes) = (self.settings.hot_window_bytes, self.stripes.len());
        let budget = window / stripes;
        // What is kept behind a gap comes on top of the pieces that are read back, and a slab is given
        // back only when nothing of it is needed.
        let roomy = self.pool.live_bytes() <= window + (stripes + 1) * SLAB_BYTES;
        let acknowledged = &self.durable.stripe(index).acknowledged[&MAIN_GROUP];
        let front = &mut self.stripes[index.at()].front;
        let (segment, sequence) = (write.segment, write.block.first_sequence);
        let behind = Place {
            segment,
            epoch: write.block.epoch.number,
            offset: end_offset,
            sequence: sequence + u64::from(write.block.count),
        };
        let here = Place { offset: write.offset + write.block_at as u64, sequence, ..behind };
        let spot = Spot { number: write.number.0, here, behind };
        let len = if write.block.count == 0 { 0 } else { write.area.len() };
        let reached = front.next_block == spot.number && !front.reading;
        let fits = front.window_bytes + len <= budget || front.window_is_empty() || len == 0;
        if reached && !fits {
            front.place = here;
        }
        let stays = (reached && fits) || (roomy && front.keeps(spot.number, len, budget));
        if !stays {
            return;
        }
        let (number, order, at) = (write.number, write.order, write.block_at);
        let ready = match len {
            0 => Ok(None),
            _ => {
                ReadyBlock::published(index, number, order, &write.block, &write.area, at).map(Some)
            }
        };
        // An error is never met for a block of ours; read back it shows what is wrong with it.
        let ready = ready.map(|block| block.map(Arc::new));
        match (ready, reached) {
            (Ok(block), true) => {
                if let Some(block) = block {
                    front.push(block, acknowledged);
                }
                front.next_block = spot.number + 1;
                front.place = behind;
            }
            (Ok(block), false) => front.keep(spot, block),
            (Err(_), true) => front.place = here,
            (Err(_), false) => {}
        }
    }

    /// Frees the segments that every group has passed. The segment behind them begins with a
    /// state record that was taken after their last block, and it is durable.
    pub(super) fn recycle(&mut self, index: StripeIndex) {
        let (frontier, durable) = {
            let state = self.durable.stripe(index);
            (state.frontier(), state.watermark.block)
        };
        let stripe = &mut self.stripes[index.at()];
        while let [old, next, ..] = stripe.segments.make_contiguous() {
            let below = next.first_sequence.0 <= frontier || Broken::RecycledEarly.is_chosen();
            let passed = below && next.first_block <= durable;
            let read = stripe.front.next_block >= next.first_block.0;
            if !passed || !read || matches!(stripe.health, Health::Missing) {
                break;
            }
            let free = super::FreeSegment { slot: old.slot, file: old.file.clone(), len: old.len };
            stripe.segments.pop_front();
            if stripe.forget_lost(free.slot) {
                self.wakes.keeper = true;
                continue;
            }
            // On a full disk this is how the segment comes that puts wait for.
            self.wakes.room |= stripe.put_free(free);
            self.counts.recycled += 1;
            self.wakes.keeper = true;
        }
    }

    /// The last durable block of a stripe.
    #[must_use]
    pub fn watermark(&self, index: StripeIndex) -> BlockNumber {
        self.durable.stripe(index).watermark.block
    }
}
