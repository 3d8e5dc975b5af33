//! Starting writes: which block goes next, and where.

use super::Log;
use super::block::{Block, Effect, FrameNote, OpenBlock, Sealed};
use super::events::Gathered;
use super::job::{JobId, WriteJob};
use super::reserve::{block_need, plain_header};
use super::stripe::{EpochStart, InFlight, LiveSegment, Stripe};
use crate::base::codes;
use crate::base::ids::{BlockNumber, SegmentId, Sequence, StripeIndex, WriteOrder};
use crate::base::limits::{EARLY_WRITE_BYTES, GATHERING_BYTES_MAX};
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::disk::memory::{AreaWriter, SlabPool};
use crate::record::Refusal;
use crate::record::block::{BLOCK_HEADER_BYTES, BlockHeader, SOLO, STATE};
use crate::record::frame::{FRAME_HEADER_BYTES, FrameKind};
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::state::StateRecord;
use std::sync::Arc;
use std::time::Duration;

impl Log {
    /// The next write of a stripe, if one may start now: none is in flight, or fewer than the
    /// storage allows are and a sealed block waits or enough has gathered. No timer: a group forms
    /// by itself while the device is busy.
    pub fn next_write(&mut self, now: Duration, index: StripeIndex) -> Option<WriteJob> {
        let stripe = &mut self.stripes[index.at()];
        let idle = stripe.in_flight.is_empty();
        if !stripe.is_active()
            || stripe.writing_alone()
            || stripe.in_flight.len() >= stripe.writes_in_flight_max
        {
            return None;
        }
        if stripe.epoch_start == EpochStart::Due {
            return if idle { self.start_epoch(now, index) } else { None };
        }
        if stripe.sealed.is_empty() {
            let gathered = stripe.open.as_ref().map_or(0, |o| o.block.len);
            if gathered == 0 || (!idle && gathered < EARLY_WRITE_BYTES) {
                return None;
            }
            stripe.seal_open();
        }
        let next = stripe.sealed.front()?;
        let (len, solo) = (next.area.len() as u64, next.block.solo);
        if next.block.rolls || len > stripe.segment_room() {
            return if idle { self.roll(now, index, len) } else { None };
        }
        if solo && !idle {
            return None;
        }
        let sealed = stripe.sealed.pop_front()?;
        Some(self.start_block(now, index, sealed))
    }

    /// Whether [`Log::next_write`] would answer a job.
    #[must_use]
    pub fn may_write(&self, index: StripeIndex) -> bool {
        let stripe = &self.stripes[index.at()];
        let idle = stripe.in_flight.is_empty();
        if !stripe.is_active() || stripe.writing_alone() {
            return false;
        }
        let gathered = stripe.open.as_ref().map_or(0, |o| o.block.len);
        let waits = !stripe.sealed.is_empty() || stripe.epoch_start == EpochStart::Due;
        let early = stripe.in_flight.len() < stripe.writes_in_flight_max
            && (waits || gathered >= EARLY_WRITE_BYTES);
        if idle { waits || gathered > 0 } else { early }
    }

    /// What has gathered for the stripe's next write; `None` while nothing is there, or something is
    /// written.
    #[must_use]
    pub fn gathered(&self, index: StripeIndex) -> Option<Gathered> {
        let stripe = &self.stripes[index.at()];
        let sealed = !stripe.sealed.is_empty() || stripe.epoch_start != EpochStart::Done;
        let block = &stripe.open.as_ref().filter(|_| stripe.in_flight.is_empty())?.block;
        let small = !sealed && block.len < GATHERING_BYTES_MAX;
        Some(Gathered { frames: block.frames.len(), small })
    }

    /// How many commits a write in flight answers, and when it began.
    #[must_use]
    pub fn write_in_flight(&self, index: StripeIndex, job: JobId) -> Option<(usize, Duration)> {
        let write = self.stripes[index.at()].in_flight.iter().find(|write| write.job == job)?;
        Some((write.block.frames.len(), write.started))
    }

    /// The block that the next write of the stripe would carry, to find a thread that waits on it.
    #[must_use]
    pub fn next_fate(&self, index: StripeIndex) -> Option<Arc<super::fate::Fate>> {
        let stripe = &self.stripes[index.at()];
        let sealed = stripe.sealed.front().map(|s| &s.block.fate);
        sealed.or(stripe.open.as_ref().map(|o| &o.block.fate)).cloned()
    }

    fn start_epoch(&mut self, now: Duration, index: StripeIndex) -> Option<WriteJob> {
        let need = block_need(FRAME_HEADER_BYTES + self.state_of(index).encoded_len());
        if need > self.stripes[index.at()].segment_room() {
            return self.roll(now, index, 0);
        }
        let state = self.state_of(index);
        let sealed = self.state_block(index, state, None)?;
        let stripe = &mut self.stripes[index.at()];
        stripe.tail_room = stripe.tail_room.saturating_sub(sealed.area.len() as u64);
        Some(self.start_block(now, index, sealed))
    }

    /// Takes a free segment into use: its header and its state record are one write. It starts
    /// when nothing is in flight, so every block of the segment before is durable.
    fn roll(&mut self, now: Duration, index: StripeIndex, behind: u64) -> Option<WriteJob> {
        let state = self.state_of(index);
        let state_len = block_need(FRAME_HEADER_BYTES + state.encoded_len());
        let need = SEGMENT_HEADER_BYTES as u64 + state_len + behind;
        let order = WriteOrder(self.order + 1);
        let stripe = &mut self.stripes[index.at()];
        let Some(slot) = stripe.free_for(need).map(|s| s.slot) else {
            Rare::RollWaits.reached();
            stripe.wants_segment = stripe.wants_segment.max(need);
            self.wakes.keeper = true;
            return None;
        };
        let at = stripe.free.iter().position(|s| s.slot == slot)?;
        let free = stripe.free[at].clone();
        let header = SegmentHeader {
            channel: stripe.channel,
            stripe: stripe.uuid,
            id: SegmentId(stripe.last_segment + 1),
            epoch: stripe.epoch,
            first_block: BlockNumber(stripe.next_block),
            first_sequence: Sequence(stripe.first_sequence_of_segment()),
            first_order: order,
            len: free.len,
        };
        let sealed = self.state_block(index, state, Some(&header))?;
        let stripe = &mut self.stripes[index.at()];
        stripe.free.remove(at);
        stripe.last_segment += 1;
        stripe.segments.push_back(LiveSegment {
            slot: free.slot,
            id: header.id,
            file: free.file,
            len: free.len,
            first_block: header.first_block,
            first_sequence: header.first_sequence,
            first_order: order,
        });
        stripe.end_offset = 0;
        stripe.roll_planned = false;
        if let Some(next) = stripe.sealed.front_mut() {
            next.block.rolls = false;
        }
        let queued: u64 = stripe.sealed.iter().map(|s| s.area.len() as u64).sum();
        stripe.tail_room = free.len.saturating_sub(sealed.area.len() as u64 + queued);
        self.counts.rolls += 1;
        // The keeper sees whether a further one is to be made, before puts wait for it.
        self.wakes.keeper = true;
        Some(self.start_block(now, index, sealed))
    }

    /// A block that holds a state record only. `None`: there is no memory for it, or it cannot be encoded.
    fn state_block(
        &mut self,
        index: StripeIndex,
        state: StateRecord,
        segment: Option<&SegmentHeader>,
    ) -> Option<Sealed> {
        let sealed = state_block(&mut self.stripes[index.at()], &self.pool, state, segment)?;
        sealed
            .map_err(|refusal| {
                // Every part of it is bounded where it enters, so this is a mistake of ours; the stripe
                // cannot roll any more, which nobody would see otherwise.
                self.say_error(
                    index,
                    &codes::STATE_RECORD_TOO_LARGE,
                    format!("no state record can be written: {refusal}"),
                );
            })
            .ok()
    }

    /// Gives a block its number, place and write order.
    fn start_block(&mut self, now: Duration, index: StripeIndex, sealed: Sealed) -> WriteJob {
        self.order += 1;
        let order = WriteOrder(self.order);
        let watermark = self.durable.stripe(index).watermark;
        let job = self.job_id();
        let stripe = &mut self.stripes[index.at()];
        let segment = stripe.segments.back().expect("a block is started inside a segment");
        let block_at = sealed.area.len() - sealed.block.written_len();
        let block = sealed.block;
        let header = BlockHeader {
            flags: if block.solo { SOLO } else { 0 } | if block.state { STATE } else { 0 },
            number: BlockNumber(stripe.next_block),
            epoch: block.epoch.number,
            nonce: block.epoch.nonce,
            key: block.key,
            segment: segment.id,
            offset: stripe.end_offset + block_at as u64,
            order,
            first_sequence: Sequence(block.first_sequence),
            event_count: block.count,
            payload_len: (block.len - BLOCK_HEADER_BYTES) as u32,
            watermark_block: watermark.block,
            watermark_sequence: watermark.sequence,
        };
        let job = WriteJob {
            stripe: index,
            id: job,
            file: Arc::clone(&segment.file),
            offset: stripe.end_offset,
            area: Arc::clone(&sealed.area),
            header: Some((sealed.header, header, stripe.block_salt)),
        };
        stripe.in_flight.push_back(InFlight {
            job: job.id,
            number: header.number,
            order,
            segment: segment.id,
            offset: stripe.end_offset,
            block_at,
            area: sealed.area,
            block,
            started: now,
            done: false,
            failed: false,
        });
        stripe.end_offset += job.len() as u64;
        stripe.next_block += 1;
        job
    }

    /// The state record that a stripe would write now: what is durable, and its own new life.
    pub(super) fn state_of(&self, index: StripeIndex) -> StateRecord {
        let mut state = self.durable.clone();
        let stripe = &self.stripes[index.at()];
        let mine = state.stripe_mut(index);
        if stripe.epoch_start != EpochStart::Done && !Broken::VoidForgotten.is_chosen() {
            let (start, end) = stripe.void_at_start;
            mine.void(start, end);
        }
        mine.epoch = stripe.epoch;
        state
    }
}

impl Stripe {
    /// What a segment taken now begins with. Recovery takes it for a promise that every sequence
    /// below was durable; so behind a failed write it is the first of the void sequences. With
    /// the next one that is given out, a header that reached the disk without the state record
    /// behind it, which alone says that they are void, turned what had only been in doubt into
    /// reported damage.
    fn first_sequence_of_segment(&self) -> u64 {
        let (void_start, void_end) = self.void_at_start;
        let first = self.first_queued_sequence();
        match self.epoch_start {
            EpochStart::Due if void_start < void_end => first.min(void_start),
            EpochStart::Due | EpochStart::InSlot | EpochStart::Done => first,
        }
    }

    /// Sequence of the first event that is not in a started block.
    fn first_queued_sequence(&self) -> u64 {
        let sealed = self.sealed.front().map(|s| s.block.first_sequence);
        let open = self.open.as_ref().map(|o| o.block.first_sequence);
        sealed.or(open).unwrap_or(self.next_sequence)
    }
}

/// A block that holds a state record only, behind a segment header if one is given.
fn state_block(
    stripe: &mut Stripe,
    pool: &SlabPool,
    state: StateRecord,
    segment: Option<&SegmentHeader>,
) -> Option<Result<Sealed, Refusal>> {
    let payload = state.encoded_len();
    let before = if segment.is_some() { SEGMENT_HEADER_BYTES } else { 0 };
    let len = before + block_need(FRAME_HEADER_BYTES + payload) as usize;
    let mut writer: AreaWriter = pool.writer(len).ok()?;
    if let Some(segment) = segment {
        let mut span = writer.reserve(before)?;
        segment.encode(span.bytes_mut());
    }
    let header = writer.reserve(BLOCK_HEADER_BYTES)?;
    let first = stripe.first_queued_sequence();
    let block = Block {
        first_sequence: first,
        len: BLOCK_HEADER_BYTES,
        solo: stripe.epoch_start != EpochStart::Done,
        state: true,
        ..stripe.new_block()
    };
    let mut open = OpenBlock { block, header, room: len };
    let effect = Effect::State(Box::new(state.clone()));
    let reservation = open.reserve(&mut writer, plain_header(FrameKind::State, payload), effect);
    let mut encoded = Ok(0);
    reservation.fill(|out| encoded = state.encode(out));
    if let Err(refusal) = encoded {
        return Some(Err(refusal));
    }
    debug_assert!(matches!(open.block.frames[..], [FrameNote { .. }]));
    Some(Ok(open.seal(&mut writer)))
}
