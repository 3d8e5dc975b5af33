//! Failed and hung writes: a stripe's epoch ends and its frames move. `resumption.rs` brings the stripe back.
//!
//! In this order: [`Log::fail`], or [`Log::give_up_hung`] for a write that hangs; then `finish_failures`, repeated until
//! the frames that committers were filling are filled; then `move_away` takes the blocks that are not durable
//! (`take_undurable`), begins the next epoch (`end_epoch`), places the fence (`put_fence`) and moves the frames after it
//! (`move_all`), or leaves them in doubt (`leave_in_doubt`).
//!
//! A failed write may have reached the medium, or may still reach it. So nothing is written to the same place again.
//! The epoch ends at the watermark: a fence records that durably before any frame of the failed blocks is written
//! elsewhere, and its void range covers every sequence after the watermark, not only those in flight. So anything of
//! the failed blocks that turns up later is void, and nothing is delivered twice.

use super::Log;
use super::block::{FrameEffect, FrameEntry, LogBlock, plain_header};
use super::block_completion::{BlockOutcome, CommitTicket};
use super::block_queue::StoppedBlocks;
use super::frame_move::FrameMove;
use super::stripe::{Stripe, UnresolvedFrames};
use super::stripe_phase::{PhaseEvent, StripePhase};
use super::write_job::time_allowed;
use crate::base::codes;
use crate::base::coverage_mark::CoverageMark;
use crate::base::fault_cause::{FaultCause, FaultKind};
use crate::base::ids::{Sequence, StripeIndex};
use crate::base::mutation::Mutation;
use crate::disk::memory::Area;
use crate::record::Epoch;
use crate::record::body::{FenceBody, Origin, PutPrefix};
use crate::record::frame::{
    FRAME_FLAGS_AT, FRAME_HEADER_BYTES, FrameHeader, FrameKind, HAS_ORIGIN,
};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Hung writes of a stripe at which it is not tried again until one returns: each keeps a thread and its memory.
pub(super) const HUNG_WRITES_MAX: usize = 8;

/// A block taken back from a failed stripe.
struct UndurableBlock {
    block: LogBlock,
    area: Arc<Area>,
    /// Where the block begins in `area`.
    block_at: usize,
}

impl Log {
    /// Ends a stripe's epoch: a write failed, or something in flight hangs. From now on nothing is reserved on the
    /// stripe; the rest is done when the reserved frames are filled.
    pub(super) fn fail(&mut self, now: Duration, index: StripeIndex, cause: &FaultCause) {
        if self.stripes[index.at()].phase.is_failing() {
            return;
        }
        self.counts.failed_writes += 1;
        let (code, why) = (&codes::STRIPE_SUSPENDED, cause.clone());
        let text = fmt::from_fn(move |f| {
            write!(f, "{why}; the stripe is suspended and its writes are moved")
        });
        self.add_warning_line(index, code, text);
        let waiting = self.waiting_on(|s| s.index == index && s.is_writable());
        self.occupied = self.occupied.saturating_sub(waiting);
        let stripe = &mut self.stripes[index.at()];
        stripe.seal_open();
        stripe.enter(PhaseEvent::Failed(cause.clone()));
        stripe.blocks.stop();
        self.finish_failures(now);
    }

    /// Ends the epochs of failed stripes whose frames are all filled; filling only copies and checksums, and needs no
    /// lock for it. Returns whether some are not filled: call again, and release the lock in between.
    pub fn finish_failures(&mut self, now: Duration) -> bool {
        let mut wait = false;
        for index in (0..self.stripes.len()).map(|index| StripeIndex(index as u16)) {
            let stripe = &self.stripes[index.at()];
            let StripePhase::Failing { cause, started } = &stripe.phase else { continue };
            if stripe.blocks.is_filled() {
                let (cause, started) = (cause.clone(), *started);
                self.move_away(now, index, &cause, started);
            } else {
                wait = true;
            }
        }
        self.wakeups.failing |= wait;
        wait
    }

    /// Ends the epoch of a stripe whose frames are filled, and moves the frames: to another stripe after a fence, to a
    /// fresh segment of the only stripe, or nowhere.
    fn move_away(&mut self, now: Duration, index: StripeIndex, cause: &FaultCause, started: bool) {
        let undurable = self.take_undurable(index);
        let fence = self.end_epoch(now, index);
        let other = self.other_stripe(index);
        match other {
            Some(other) if Mutation::FenceBehind.is_active() => {
                self.move_all(index, other, undurable);
                self.put_fence(other, &fence);
            }
            Some(other) => {
                CoverageMark::FenceMoved.hit();
                if self.put_known_fences(other, index) && self.put_fence(other, &fence) {
                    self.move_all(index, other, undurable);
                } else {
                    self.leave_in_doubt(index, undurable, cause);
                }
            }
            None if started && self.may_restart_at_once(index) => {
                CoverageMark::FreshSegment.hit();
                self.restart(index);
                self.move_all(index, index, undurable);
            }
            None => self.leave_in_doubt(index, undurable, cause),
        }
        self.wakeups.maintenance = true;
        self.wakeups.room = true;
        self.wakeups.takers = true;
    }

    /// Ends the epochs of stripes with hung writes: those in flight for longer than `timeout` and than a slow disk
    /// needs for their bytes.
    pub fn give_up_hung(&mut self, now: Duration, timeout: Duration) {
        for index in 0..self.stripes.len() {
            let stripe = &self.stripes[index];
            let mut bytes = 0;
            let hangs = stripe.blocks.in_flight().filter(|w| !w.done).find(|write| {
                // Earlier writes delay it.
                bytes += write.area.len() as u64;
                write.started + timeout + time_allowed(bytes) < now
            });
            let Some(write) = hangs.filter(|_| !stripe.phase.is_failing()) else { continue };
            CoverageMark::HungWrite.hit();
            let waited = now.saturating_sub(write.started).as_secs();
            let index = StripeIndex(index as u16);
            let text = fmt::from_fn(move |f| {
                write!(f, "a write on stripe {index} has not returned for {waited} s")
            });
            self.fail(now, index, &FaultCause::described(FaultKind::Hung, index, text));
        }
    }

    /// Returns the time that the bytes queued or in flight on a stripe may take, in addition to the timeout of any
    /// write.
    #[must_use]
    pub fn time_allowed(&self, index: StripeIndex) -> Duration {
        time_allowed(self.stripes[index.at()].blocks.outstanding_bytes())
    }

    /// Removes all filled blocks that are not durable from a stripe.
    fn take_undurable(&mut self, index: StripeIndex) -> Vec<UndurableBlock> {
        let stripe = &mut self.stripes[index.at()];
        let mut undurable = Vec::new();
        let StoppedBlocks { writes, unwritten } = stripe.blocks.take_stopped();
        for write in writes {
            if write.failed {
                stripe.space.note_failed_write(write.segment);
            } else if !write.done {
                stripe.space.abandon_write(write.job, write.segment);
            }
            let (block, area, block_at) = (write.block, write.area, write.block_at);
            undurable.push(UndurableBlock { block, area, block_at });
        }
        let unwritten = unwritten.into_iter();
        undurable.extend(unwritten.map(|(block, area)| UndurableBlock {
            block,
            area,
            block_at: 0,
        }));
        undurable
    }

    /// Begins the stripe's next epoch at the watermark; everything after it is void.
    fn end_epoch(&mut self, now: Duration, index: StripeIndex) -> FenceBody {
        let state = self.durable.stripe(index);
        let (wm, void_start) = (state.watermark.block, state.next.0);
        let nonce = (self.nonce)();
        let stripe = &mut self.stripes[index.at()];
        let number = stripe.epoch.number.next();
        stripe.epoch = Epoch { number, nonce, start: wm.next() };
        stripe.next_block = wm.0 + 1;
        stripe.next_key = 1;
        let void_end = stripe.next_sequence;
        stripe.void_at_start = (void_start, void_end);
        let retry_at = now + stripe.failures.add(now);
        stripe.enter(PhaseEvent::EpochEnded { retry_at });
        FenceBody {
            stripe: index,
            epoch: stripe.epoch,
            void_start: Sequence(void_start),
            void_end: Sequence(void_end),
        }
    }

    fn other_stripe(&self, failed: StripeIndex) -> Option<StripeIndex> {
        let ready = |s: &&Stripe| s.index != failed && s.phase == StripePhase::Active;
        self.stripes
            .iter()
            .filter(ready)
            .min_by_key(|s| s.blocks.outstanding_bytes())
            .map(|s| s.index)
    }

    /// Whether an epoch of the stripe has failed and nothing durable says so yet.
    pub(super) fn epoch_end_is_pending(&self, stripe: &Stripe) -> bool {
        let durable = self.durable.stripe(stripe.index).epoch.number;
        !stripe.phase.is_started() && stripe.failures.is_any() && durable < stripe.epoch.number
    }

    /// Fences stripes that failed when no other was left, as soon as one is back: otherwise their takers and sources
    /// would wait for their own disk.
    pub(super) fn fence_suspended(&mut self, on: StripeIndex) {
        if self.stripes.iter().all(|s| s.unresolved_frames.is_empty()) {
            return;
        }
        let fenced = |s: &Stripe| s.fence_placed == Some(s.epoch.number);
        let open = |s: &&Stripe| s.index != on && self.epoch_end_is_pending(s) && !fenced(s);
        let fences: Vec<FenceBody> = self.stripes.iter().filter(open).map(Stripe::fence).collect();
        for fence in fences {
            self.put_fence(on, &fence);
            self.wakeups.maintenance = true;
        }
    }

    /// Fences other stripes whose next epoch has not begun in their own log. A frame that moves for the second time
    /// leaves the disk that has the fence of its first stripe; if that disk is missing at the next opening, both copies
    /// would count. Returns whether all fences could be placed.
    fn put_known_fences(&mut self, on: StripeIndex, failed: StripeIndex) -> bool {
        let ended = |s: &&Stripe| s.index != failed && s.failures.is_any() && !s.phase.is_started();
        let fences: Vec<FenceBody> = self.stripes.iter().filter(ended).map(Stripe::fence).collect();
        fences.iter().all(|fence| {
            CoverageMark::FenceRepeated.hit();
            self.put_fence(on, fence)
        })
    }

    /// Returns whether there was memory for the fence. Without it, the frames it would free cannot move: they stay in
    /// doubt until the stripe is back or there is memory again.
    fn put_fence(&mut self, on: StripeIndex, fence: &FenceBody) -> bool {
        let header = plain_header(FrameKind::Fence, FenceBody::BYTES);
        match self.place(on, header, FrameEffect::Fence(*fence)) {
            Ok(reservation) => {
                reservation.fill(|out| {
                    fence.encode(out);
                });
                self.stripes[fence.stripe.at()].fence_placed = Some(fence.epoch.number);
                true
            }
            Err(_) => {
                let text = fmt::from_fn(move |f| {
                    write!(
                        f,
                        "no memory to record on stripe {on} that a write failed: its commits are in doubt; raise the memory limit of the process"
                    )
                });
                self.add_error_line(fence.stripe, &codes::NO_MEMORY_FOR_FENCE, text);
                false
            }
        }
    }

    fn move_all(&mut self, from: StripeIndex, to: StripeIndex, undurable: Vec<UndurableBlock>) {
        for one in undurable {
            let completion = Arc::clone(&one.block.completion);
            let epoch = one.block.epoch;
            let bytes = one.area.bytes().expect("nothing moves before it is filled");
            for (at, note) in one.block.frames.into_iter().enumerate() {
                let at = at as u32;
                let void = completion.is_void(at);
                let flags = bytes[one.block_at + note.at + FRAME_FLAGS_AT];
                let (start, end) = (one.block_at + note.at, one.block_at + note.at + note.len);
                let payload = start + FRAME_HEADER_BYTES..end;
                let source = (&one.area, payload);
                if let Some(ticket) =
                    self.move_frame((from, epoch), to, (note, flags), source, void)
                {
                    completion.move_frame(at, ticket);
                }
            }
            let early = Mutation::MovedIsDurable.is_active();
            completion.set_outcome(if early { BlockOutcome::Durable } else { BlockOutcome::Moved });
            self.wakeups.completions.push(completion);
        }
    }

    fn move_frame(
        &mut self,
        (from, epoch): (StripeIndex, Epoch),
        to: StripeIndex,
        (note, flags): (FrameEntry, u8),
        (area, payload): (&Arc<Area>, Range<usize>),
        void: bool,
    ) -> Option<CommitTicket> {
        let kind = note.effect.kind()?;
        if void {
            self.void_effect(note.effect);
            return None;
        }
        let (mut header, mut origin) = (plain_header(kind, payload.len()), None);
        let mut effect = note.effect;
        if let FrameEffect::Put { first, count, .. } = &mut effect {
            let sequence = self.stripes[to.at()].next_sequence;
            // A frame that is moved again keeps its first origin.
            if flags & HAS_ORIGIN == 0 {
                let (epoch, sequence) = (epoch.number, Sequence(*first));
                origin = Some(Origin { stripe: from, epoch, sequence });
            } else {
                CoverageMark::MovedTwice.hit();
            }
            let prefix = PutPrefix { origin, source_offset: None };
            let more = origin.map_or(0, |_| prefix.encoded_len());
            header = FrameHeader {
                len: (payload.len() + more) as u32,
                flags: flags | HAS_ORIGIN,
                count: *count,
                first_sequence: Sequence(sequence),
                ..header
            };
            *first = sequence;
        }
        let added =
            if let FrameEffect::Put { count, .. } = &effect { u64::from(*count) } else { 0 };
        let fenced =
            if let FrameEffect::Fence(fence) = &effect { Some(fence.stripe) } else { None };
        let mut unresolved_frames = UnresolvedFrames::default();
        unresolved_frames.add(&effect);
        let Ok(reservation) = self.place(to, header, effect) else {
            // No memory: the frame's committer gets "in doubt".
            if let Some(fenced) = fenced {
                self.stripes[fenced.at()].fence_placed = None;
            }
            self.stripes[from.at()].unresolved_frames.append(&mut unresolved_frames);
            return None;
        };
        self.occupied += added;
        let ticket = reservation.ticket();
        let moved = FrameMove::new(reservation, origin, Arc::clone(area), payload);
        self.wakeups.frame_moves.push(moved);
        Some(ticket)
    }

    /// Leaves the frames in doubt, because no other stripe can take them, and notifies their committers.
    fn leave_in_doubt(
        &mut self,
        index: StripeIndex,
        undurable: Vec<UndurableBlock>,
        cause: &FaultCause,
    ) {
        CoverageMark::NowhereToGo.hit();
        for one in undurable {
            let completion = one.block.completion;
            for note in one.block.frames {
                if let FrameEffect::Fence(fence) = &note.effect {
                    // It is to be placed again.
                    self.stripes[fence.stripe.at()].fence_placed = None;
                }
                self.stripes[index.at()].unresolved_frames.add(&note.effect);
            }
            completion.set_outcome(BlockOutcome::InDoubt(cause.clone()));
            self.wakeups.completions.push(completion);
        }
    }

    /// Undoes a void frame: it was never committed, even if its bytes turn up later.
    fn void_effect(&mut self, effect: FrameEffect) {
        match effect {
            FrameEffect::Ack { ack, body } => self.apply_ack(ack, &body, true),
            FrameEffect::Put { source_offset: Some((source, _)), .. } => {
                self.source_offsets.end_flight(&source);
            }
            FrameEffect::Put { .. }
            | FrameEffect::State(_)
            | FrameEffect::Fence(_)
            | FrameEffect::Lost(_) => {}
        }
    }
}

impl FrameEffect {
    /// Returns the kind of a frame that can move.
    fn kind(&self) -> Option<FrameKind> {
        match self {
            Self::Put { .. } => Some(FrameKind::Put),
            Self::Ack { .. } => Some(FrameKind::Ack),
            Self::Fence(_) => Some(FrameKind::Fence),
            Self::Lost(_) => Some(FrameKind::Lost),
            // The new block writes a state record of its own.
            Self::State(_) => None,
        }
    }
}

impl Stripe {
    /// Returns the end of the previous epoch, which failed.
    fn fence(&self) -> FenceBody {
        FenceBody {
            stripe: self.index,
            epoch: self.epoch,
            void_start: Sequence(self.void_at_start.0),
            void_end: Sequence(self.void_at_start.1),
        }
    }
}
