//! Starting writes: which block is next, and where it is written.

use super::Log;
use super::block::{FrameEffect, LogBlock, OpenBlock, SealedBlock, block_need, plain_header};
use super::block_queue::WriteInFlight;
use super::interface::PendingWrite;
use super::segment_space::LiveSegment;
use super::stripe::Stripe;
use super::stripe_phase::StripePhase;
use super::write_job::{JobId, UnencodedState, WriteJob};
use crate::base::codes;
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{BlockNumber, Sequence, StripeIndex, WriteOrder};
use crate::base::limits::{EARLY_WRITE_BYTES, GATHERING_BYTES_MAX};
use crate::base::mutation::Mutation;
use crate::record::block::{BLOCK_HEADER_BYTES, BlockHeader, SOLO, STATE};
use crate::record::frame::{FRAME_HEADER_BYTES, FrameKind};
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::state::StateRecord;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

impl Log {
    /// Returns the next write of a stripe, if one may start now: none is in flight, or fewer than the storage allows
    /// and a block is sealed or large enough. No timer here: a group forms by itself while the device is busy. The
    /// commit delay, which may hold this call back, belongs to the channel floor.
    pub fn next_write(&mut self, now: Duration, index: StripeIndex) -> Option<WriteJob> {
        let stripe = &mut self.stripes[index.at()];
        let idle = stripe.blocks.is_idle();
        if !stripe.is_writable() || stripe.blocks.is_writing_alone() || stripe.blocks.is_full() {
            return None;
        }
        if stripe.phase == StripePhase::Starting {
            return if idle { self.start_epoch(now, index) } else { None };
        }
        if stripe.blocks.next_sealed().is_none() {
            let open_bytes = stripe.blocks.open_bytes();
            if open_bytes == 0 || (!idle && open_bytes < EARLY_WRITE_BYTES) {
                return None;
            }
            stripe.seal_open();
        }
        let next = stripe.blocks.next_sealed()?;
        let (len, solo) = (next.area.len() as u64, next.block.solo);
        if next.block.rolls || len > stripe.space.room() {
            return if idle { self.roll(now, index, len) } else { None };
        }
        if solo && !idle {
            return None;
        }
        let sealed = stripe.blocks.take_sealed()?;
        Some(self.start_block(now, index, sealed, None))
    }

    /// Whether there is something to write that need not wait for a write in flight. [`Log::next_write`] returns a job
    /// then, unless it needs a segment or memory that is not there, or to be alone in flight.
    #[must_use]
    pub fn may_write(&self, index: StripeIndex) -> bool {
        let stripe = &self.stripes[index.at()];
        if !stripe.is_writable() || stripe.blocks.is_writing_alone() {
            return false;
        }
        let open_bytes = stripe.blocks.open_bytes();
        let waits = stripe.blocks.next_sealed().is_some() || stripe.phase == StripePhase::Starting;
        let early = !stripe.blocks.is_full() && (waits || open_bytes >= EARLY_WRITE_BYTES);
        if stripe.blocks.is_idle() { waits || open_bytes > 0 } else { early }
    }

    /// Returns the content of the open block, if the next write would carry it; `None` without an open block or while a
    /// write is in flight.
    #[must_use]
    pub fn pending_write(&self, index: StripeIndex) -> Option<PendingWrite> {
        let stripe = &self.stripes[index.at()];
        let sealed = stripe.blocks.next_sealed().is_some() || !stripe.phase.is_started();
        let block = stripe.blocks.open_block().filter(|_| stripe.blocks.is_idle())?;
        let small = !sealed && block.len < GATHERING_BYTES_MAX;
        Some(PendingWrite { frames: block.frames.len(), small })
    }

    /// Returns how many commits a write in flight holds, and when it began.
    #[must_use]
    pub fn write_in_flight(&self, index: StripeIndex, job: JobId) -> Option<(usize, Duration)> {
        let blocks = &self.stripes[index.at()].blocks;
        let write = blocks.in_flight().find(|write| write.job == job)?;
        Some((write.block.frames.len(), write.started))
    }

    /// Returns the completion of the block that the stripe's next write would carry, to find a thread that waits on it.
    #[must_use]
    pub fn next_completion(
        &self,
        index: StripeIndex,
    ) -> Option<Arc<super::block_completion::BlockCompletion>> {
        self.stripes[index.at()].blocks.next_completion().cloned()
    }

    fn start_epoch(&mut self, now: Duration, index: StripeIndex) -> Option<WriteJob> {
        let need = block_need(FRAME_HEADER_BYTES + self.state_of(index).encoded_len());
        if need > self.stripes[index.at()].space.room() {
            return self.roll(now, index, 0);
        }
        let state = self.state_of(index);
        let (sealed, state) = self.state_block(index, state, None)?;
        let stripe = &mut self.stripes[index.at()];
        stripe.space.seal(sealed.area.len() as u64);
        Some(self.start_block(now, index, sealed, Some(state)))
    }

    /// Takes a free segment into use: its header and its state record are one write. It starts when nothing is in
    /// flight, so every block of the previous segment is durable.
    fn roll(&mut self, now: Duration, index: StripeIndex, block_bytes: u64) -> Option<WriteJob> {
        let state = self.state_of(index);
        let state_len = block_need(FRAME_HEADER_BYTES + state.encoded_len());
        let need = SEGMENT_HEADER_BYTES as u64 + state_len + block_bytes;
        let order = WriteOrder(self.order + 1);
        let stripe = &mut self.stripes[index.at()];
        let Some(free) = stripe.space.next_segment(need) else {
            CoverageMark::RollWaits.hit();
            self.wakeups.maintenance = true;
            return None;
        };
        let header = SegmentHeader {
            channel: stripe.channel,
            stripe: stripe.uuid,
            id: stripe.space.next_id(),
            epoch: stripe.epoch,
            first_block: BlockNumber(stripe.next_block),
            first_sequence: Sequence(stripe.first_sequence_of_segment()),
            first_order: order,
            len: free.len,
        };
        let (first_block, first_sequence) = (header.first_block, header.first_sequence);
        let id = header.id;
        let (sealed, state) = self.state_block(index, state, Some(header))?;
        let stripe = &mut self.stripes[index.at()];
        stripe.blocks.rolled();
        let segment = LiveSegment {
            slot: free.slot,
            id,
            file: free.file,
            len: free.len,
            first_block,
            first_sequence,
            first_order: order,
        };
        stripe.space.roll(segment, sealed.area.len() as u64, stripe.blocks.sealed_bytes());
        self.counts.rolls += 1;
        // Maintenance can make the next one before puts wait for it.
        self.wakeups.maintenance = true;
        Some(self.start_block(now, index, sealed, Some(state)))
    }

    /// Returns a block with only a state record, still to be encoded, after a segment header if one is given. `None`:
    /// there is no memory for it, or it is too large.
    fn state_block(
        &mut self,
        index: StripeIndex,
        state: StateRecord,
        segment: Option<SegmentHeader>,
    ) -> Option<(SealedBlock, UnencodedState)> {
        if let Err(refusal) = state.check_bounds() {
            // Every part of it is bounded on entry, so this is a bug; the stripe cannot roll any more, which would
            // go unnoticed without the line.
            let text =
                fmt::from_fn(move |f| write!(f, "no state record can be written: {refusal}"));
            self.add_error_line(index, &codes::STATE_RECORD_TOO_LARGE, text);
            return None;
        }
        let payload = state.encoded_len();
        let before = if segment.is_some() { SEGMENT_HEADER_BYTES } else { 0 };
        let len = before + block_need(FRAME_HEADER_BYTES + payload) as usize;
        let mut writer = self.pool.writer(len).ok()?;
        let segment = match segment {
            Some(header) => Some((writer.reserve(before)?, header)),
            None => None,
        };
        let header = writer.reserve(BLOCK_HEADER_BYTES)?;
        let stripe = &mut self.stripes[index.at()];
        let block = LogBlock {
            first_sequence: stripe.first_queued_sequence(),
            len: BLOCK_HEADER_BYTES,
            solo: !stripe.phase.is_started(),
            state: true,
            ..stripe.new_block()
        };
        let mut open = OpenBlock { block, header, room: len };
        let record = Arc::new(state);
        let effect = FrameEffect::State(Arc::clone(&record));
        let frame = open.reserve(&mut writer, plain_header(FrameKind::State, payload), effect);
        Some((open.seal(&mut writer), UnencodedState { segment, frame, record }))
    }

    /// Starts the write of a block: gives it its number, place and write order, and puts it in flight.
    fn start_block(
        &mut self,
        now: Duration,
        index: StripeIndex,
        sealed: SealedBlock,
        state: Option<UnencodedState>,
    ) -> WriteJob {
        self.order += 1;
        let order = WriteOrder(self.order);
        let watermark = self.durable.stripe(index).watermark;
        let job = self.job_id();
        let stripe = &mut self.stripes[index.at()];
        let (segment, offset) = stripe.space.place(sealed.area.len() as u64);
        let block_at = sealed.area.len() - sealed.block.written_len();
        let block = sealed.block;
        let header = BlockHeader {
            flags: if block.solo { SOLO } else { 0 } | if block.state { STATE } else { 0 },
            number: BlockNumber(stripe.next_block),
            epoch: block.epoch.number,
            nonce: block.epoch.nonce,
            key: block.key,
            segment: segment.id,
            offset: offset + block_at as u64,
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
            offset,
            area: Arc::clone(&sealed.area),
            header: Some((sealed.header, header, stripe.block_salt)),
            state,
        };
        stripe.blocks.started(WriteInFlight {
            job: job.id,
            number: header.number,
            order,
            segment: segment.id,
            offset,
            block_at,
            area: sealed.area,
            block,
            started: now,
            done: false,
            failed: false,
        });
        stripe.next_block += 1;
        job
    }

    /// Returns the state record for the stripe's next write: the durable state and its new epoch.
    pub(super) fn state_of(&self, index: StripeIndex) -> StateRecord {
        let mut state = self.durable.clone();
        let stripe = &self.stripes[index.at()];
        let mine = state.stripe_mut(index);
        if !stripe.phase.is_started() && !Mutation::VoidForgotten.is_active() {
            let (start, end) = stripe.void_at_start;
            mine.void(start, end);
        }
        mine.epoch = stripe.epoch;
        state
    }
}

impl Stripe {
    /// Returns the first sequence for the header of a segment taken now. Recovery reads it as a proof that every lower
    /// sequence was durable; so after a failed write it is the first of the void sequences. With the next free sequence
    /// instead, a header that reached the disk without its state record, which alone says that they are void, would
    /// turn frames in doubt into reported damage.
    fn first_sequence_of_segment(&self) -> u64 {
        let (void_start, void_end) = self.void_at_start;
        let first = self.first_queued_sequence();
        match self.phase {
            StripePhase::Starting if void_start < void_end => first.min(void_start),
            _ => first,
        }
    }

    /// Returns the sequence of the first event that is not in a started block.
    fn first_queued_sequence(&self) -> u64 {
        self.blocks.first_queued_sequence().unwrap_or(self.next_sequence)
    }
}
