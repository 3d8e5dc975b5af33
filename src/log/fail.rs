//! Failed and hung writes: a stripe's epoch ends, its frames move, the stripe comes back.
//!
//! A failed write may have reached the medium, also later. So nothing is written again to the same
//! place. The epoch ends behind the watermark: a fence says so durably before any frame that was
//! in the failed blocks is written anywhere else, and the void in it covers every sequence from
//! the watermark on, not only those in flight. So whatever of the failed blocks turns up later is
//! void, and nothing is delivered twice.

use super::Log;
use super::block::{Block, Effect, FrameNote};
use super::fate::{Outcome, Promise};
use super::job::time_allowed;
use super::reserve::plain_header;
use super::stripe::{Doubts, EpochStart, Failing, Health, Stripe};
use crate::base::codes;
use crate::base::ids::{Sequence, StripeIndex};
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::base::trouble::Trouble;
use crate::disk::memory::Area;
use crate::record::Epoch;
use crate::record::body::{FenceBody, Origin, PutPrefix};
use crate::record::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, HAS_ORIGIN};
use std::sync::Arc;
use std::time::Duration;

/// First pause before a suspended stripe is tried again; doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Without a failure for so long, the next one counts as the first.
const CALM: Duration = Duration::from_secs(60);

/// Failures in a row after which an only stripe goes on at once in a fresh segment. A disk that
/// takes small writes and refuses large ones would else use up a segment per commit, for ever.
pub(super) const RESTARTS_AT_ONCE: u32 = 3;

/// Writes of a stripe that hang before it is not tried again until one returns: each keeps a
/// thread and its memory.
pub(super) const HUNG_WRITES_MAX: usize = 8;

/// A block taken back from a failed stripe.
struct Stranded {
    block: Block,
    area: Arc<Area>,
    /// Where the block begins in `area`.
    block_at: usize,
}

impl Log {
    /// Ends a stripe's epoch: a write failed, or something in flight hangs. Nothing is reserved on the stripe
    /// any more from now on; the rest comes when what is reserved is filled.
    pub(super) fn fail(&mut self, now: Duration, index: StripeIndex, cause: &Trouble) {
        if self.stripes[index.at()].failing.is_some() {
            return;
        }
        self.counts.failed_writes += 1;
        self.say_warning(
            index,
            &codes::STRIPE_SUSPENDED,
            format!("{cause}; the stripe is suspended and its writes move"),
        );
        let waiting = self.waiting_on(|s| s.index == index && s.is_active());
        self.occupied = self.occupied.saturating_sub(waiting);
        let stripe = &mut self.stripes[index.at()];
        stripe.seal_open();
        stripe.health = Health::Suspended { cause: cause.clone(), retry_at: Duration::MAX };
        // Their headers go, which are written when a write starts, and would never be filled.
        let queued = std::mem::take(&mut stripe.sealed);
        let queued = queued.into_iter().map(|sealed| (sealed.block, sealed.area)).collect();
        stripe.failing = Some(Failing { cause: cause.clone(), queued });
        self.finish_failures(now);
    }

    /// Ends the epochs of stripes that have failed and whose fillers are done: those copy and checksum
    /// only, and need no lock for it. Answers whether some are not done: ask again, without the lock
    /// in between.
    pub fn finish_failures(&mut self, now: Duration) -> bool {
        let mut wait = false;
        for index in (0..self.stripes.len()).map(|index| StripeIndex(index as u16)) {
            let stripe = &mut self.stripes[index.at()];
            if !stripe.is_filled() {
                wait |= stripe.failing.is_some();
            } else if let Some(Failing { cause, queued }) = stripe.failing.take() {
                self.move_away(now, index, &cause, queued);
            }
        }
        self.wakes.failing |= wait;
        wait
    }

    fn move_away(
        &mut self,
        now: Duration,
        index: StripeIndex,
        cause: &Trouble,
        queued: Vec<(Block, Arc<Area>)>,
    ) {
        let restarting = self.stripes[index.at()].epoch_start != EpochStart::Done;
        let stranded = self.strand(index, queued);
        let fence = self.end_epoch(now, index, cause);
        let other = self.other_stripe(index);
        match other {
            Some(other) if Broken::FenceBehind.is_chosen() => {
                self.move_all(index, other, stranded);
                self.put_fence(other, &fence);
            }
            Some(other) => {
                Rare::FenceMoved.reached();
                if self.put_known_fences(other, index) && self.put_fence(other, &fence) {
                    self.move_all(index, other, stranded);
                } else {
                    self.give_up(index, stranded, cause);
                }
            }
            None if !restarting && self.may_restart_at_once(index) => {
                Rare::FreshSegment.reached();
                self.activate(index);
                self.begin_restart(index);
                self.move_all(index, index, stranded);
            }
            None => self.give_up(index, stranded, cause),
        }
        self.wakes.keeper = true;
        self.wakes.room = true;
        self.wakes.takers = true;
    }

    /// Writes in flight hang that have taken longer than `timeout`, and than a slow disk needs for their bytes:
    /// their stripes' epochs end.
    pub fn give_up_hung(&mut self, now: Duration, timeout: Duration) {
        for index in 0..self.stripes.len() {
            let stripe = &self.stripes[index];
            let mut bytes = 0;
            let hangs = stripe.in_flight.iter().filter(|w| !w.done).find(|write| {
                // Those before it are in its way.
                bytes += write.area.len() as u64;
                write.started + timeout + time_allowed(bytes) < now
            });
            let Some(write) = hangs.filter(|_| stripe.failing.is_none()) else { continue };
            Rare::HungWrite.reached();
            let waited = now.saturating_sub(write.started).as_secs();
            let cause = format!("a write on stripe {index} has not returned for {waited} s");
            self.fail(now, StripeIndex(index as u16), &Trouble::new(cause));
        }
    }

    /// How long what is queued or in flight on a stripe may take beside the time in which any write returns.
    #[must_use]
    pub fn time_allowed(&self, index: StripeIndex) -> Duration {
        time_allowed(self.stripes[index.at()].outstanding_bytes())
    }

    /// Takes everything that is not durable, and filled, away from a stripe.
    fn strand(&mut self, index: StripeIndex, queued: Vec<(Block, Arc<Area>)>) -> Vec<Stranded> {
        let stripe = &mut self.stripes[index.at()];
        let mut stranded = Vec::new();
        for write in std::mem::take(&mut stripe.in_flight) {
            let segment = stripe.segments.iter().rfind(|s| s.id == write.segment);
            match segment.map(|s| s.slot) {
                Some(slot) if write.failed => stripe.note_failed(slot),
                Some(slot) if !write.done => stripe.zombies.push((write.job, slot)),
                Some(_) | None => {}
            }
            let (block, area, block_at) = (write.block, write.area, write.block_at);
            stranded.push(Stranded { block, area, block_at });
        }
        let queued = queued.into_iter();
        stranded.extend(queued.map(|(block, area)| Stranded { block, area, block_at: 0 }));
        stripe.writer = None;
        stranded
    }

    /// The stripe's next life begins behind the watermark; everything from there on is void.
    fn end_epoch(&mut self, now: Duration, index: StripeIndex, cause: &Trouble) -> FenceBody {
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
        stripe.epoch_start = EpochStart::Due;
        let pause = stripe.strike(now);
        stripe.health = Health::Suspended { cause: cause.clone(), retry_at: now + pause };
        FenceBody {
            stripe: index,
            epoch: stripe.epoch,
            void_start: Sequence(void_start),
            void_end: Sequence(void_end),
        }
    }

    fn other_stripe(&self, failed: StripeIndex) -> Option<StripeIndex> {
        let ready =
            |s: &&Stripe| s.index != failed && s.is_active() && s.epoch_start == EpochStart::Done;
        self.stripes.iter().filter(ready).min_by_key(|s| s.outstanding_bytes()).map(|s| s.index)
    }

    /// Whether a life of the stripe has failed, and nothing durable says so yet.
    pub(super) fn end_is_open(&self, stripe: &Stripe) -> bool {
        let durable = self.durable.stripe(stripe.index).epoch.number;
        stripe.epoch_start != EpochStart::Done
            && stripe.strikes > 0
            && durable < stripe.epoch.number
    }

    /// What went nowhere when stripes failed, because none was left, is fenced as soon as one is
    /// back: else its takers and sources would wait for their own disk.
    pub(super) fn fence_suspended(&mut self, on: StripeIndex) {
        if self.stripes.iter().all(|s| s.doubts.is_empty()) {
            return;
        }
        let fenced = |s: &Stripe| s.fence_placed == Some(s.epoch.number);
        let open = |s: &&Stripe| s.index != on && self.end_is_open(s) && !fenced(s);
        let fences: Vec<FenceBody> = self.stripes.iter().filter(open).map(Stripe::fence).collect();
        for fence in fences {
            self.put_fence(on, &fence);
            self.wakes.keeper = true;
        }
    }

    /// Fences of other stripes whose next life has not begun in their own log. Frames that move
    /// for the second time now leave behind the disk that has the fence of their first stripe;
    /// should that disk be missing at the next opening, both their copies would count. Answers
    /// whether all could be placed.
    fn put_known_fences(&mut self, on: StripeIndex, failed: StripeIndex) -> bool {
        let ended =
            |s: &&Stripe| s.index != failed && s.strikes > 0 && s.epoch_start != EpochStart::Done;
        let fences: Vec<FenceBody> = self.stripes.iter().filter(ended).map(Stripe::fence).collect();
        fences.iter().all(|fence| {
            Rare::FenceRepeated.reached();
            self.put_fence(on, fence)
        })
    }

    /// Answers whether there was memory for it. Without, nothing may move that it frees: it is in
    /// doubt until the stripe is back, or until there is memory again.
    fn put_fence(&mut self, on: StripeIndex, fence: &FenceBody) -> bool {
        let header = plain_header(FrameKind::Fence, FenceBody::BYTES);
        match self.place(on, header, Effect::Fence(*fence)) {
            Ok(reservation) => {
                reservation.fill(|out| {
                    fence.encode(out);
                });
                self.stripes[fence.stripe.at()].fence_placed = Some(fence.epoch.number);
                true
            }
            Err(_) => {
                self.say_error(fence.stripe, &codes::NO_MEMORY_FOR_FENCE, format!("no memory to say on stripe {on} that a write failed: what was on its way is in doubt; raise the memory limit of the process"));
                false
            }
        }
    }

    fn move_all(&mut self, from: StripeIndex, to: StripeIndex, stranded: Vec<Stranded>) {
        for one in stranded {
            let fate = Arc::clone(&one.block.fate);
            let epoch = one.block.epoch;
            let bytes = one.area.bytes().expect("nothing moves before it is filled");
            let block = &bytes[one.block_at..];
            for (at, note) in one.block.frames.into_iter().enumerate() {
                let at = at as u32;
                let void = fate.is_void(at);
                let frame = &block[note.at..note.at + note.len];
                if let Some(promise) = self.move_frame((from, epoch), to, note, frame, void) {
                    fate.move_frame(at, promise);
                }
            }
            let early = Broken::MovedIsDurable.is_chosen();
            fate.settle(if early { Outcome::Durable } else { Outcome::Moved });
            self.wakes.fates.push(fate);
        }
    }

    fn move_frame(
        &mut self,
        (from, epoch): (StripeIndex, Epoch),
        to: StripeIndex,
        note: FrameNote,
        frame: &[u8],
        void: bool,
    ) -> Option<Promise> {
        let payload = &frame[FRAME_HEADER_BYTES..];
        let (kind, flags) = (note.effect.kind()?, frame[9]);
        if void {
            self.forget(note.effect);
            return None;
        }
        let (mut header, mut prefix) = (plain_header(kind, payload.len()), None);
        let mut effect = note.effect;
        if let Effect::Put { first, count, .. } = &mut effect {
            let sequence = self.stripes[to.at()].next_sequence;
            // A frame that is moved again keeps the place it was put to first.
            if flags & HAS_ORIGIN == 0 {
                let origin =
                    Origin { stripe: from, epoch: epoch.number, sequence: Sequence(*first) };
                prefix = Some(PutPrefix { origin: Some(origin), position: None });
            } else {
                Rare::MovedTwice.reached();
            }
            let more = prefix.map_or(0, |p| p.encoded_len());
            header = FrameHeader {
                len: (payload.len() + more) as u32,
                flags: flags | HAS_ORIGIN,
                count: *count,
                first_sequence: Sequence(sequence),
                ..header
            };
            *first = sequence;
        }
        let added = if let Effect::Put { count, .. } = &effect { u64::from(*count) } else { 0 };
        let fenced = if let Effect::Fence(fence) = &effect { Some(fence.stripe) } else { None };
        let mut doubts = Doubts::default();
        doubts.add(&effect);
        let Ok(reservation) = self.place(to, header, effect) else {
            // No memory: its committer hears that it is in doubt.
            if let Some(fenced) = fenced {
                self.stripes[fenced.at()].fence_placed = None;
            }
            self.stripes[from.at()].doubts.append(&mut doubts);
            return None;
        };
        self.occupied += added;
        Some(reservation.fill(|out| {
            let at = prefix.map_or(0, |p| p.encode(out));
            out[at..].copy_from_slice(payload);
        }))
    }

    /// Nowhere to go: whoever waits is told that it is in doubt.
    fn give_up(&mut self, index: StripeIndex, stranded: Vec<Stranded>, cause: &Trouble) {
        Rare::NowhereToGo.reached();
        for one in stranded {
            let fate = one.block.fate;
            for note in one.block.frames {
                if let Effect::Fence(fence) = &note.effect {
                    // It is to be placed again.
                    self.stripes[fence.stripe.at()].fence_placed = None;
                }
                self.stripes[index.at()].doubts.add(&note.effect);
            }
            fate.settle(Outcome::InDoubt(cause.clone()));
            self.wakes.fates.push(fate);
        }
    }

    /// A void frame: it was never committed, wherever its bytes may turn up.
    fn forget(&mut self, effect: Effect) {
        match effect {
            Effect::Ack { ack, body } => self.apply_ack(ack, &body, true),
            Effect::Put { position: Some((source, _)), .. } => {
                self.positions_busy.remove(&source);
            }
            Effect::Put { .. } | Effect::State(_) | Effect::Fence(_) | Effect::Lost(_) => {}
        }
    }
}

impl Effect {
    /// Kind of the frame, for frames that can move.
    fn kind(&self) -> Option<FrameKind> {
        match self {
            Self::Put { .. } => Some(FrameKind::Put),
            Self::Ack { .. } => Some(FrameKind::Ack),
            Self::Fence(_) => Some(FrameKind::Fence),
            Self::Lost(_) => Some(FrameKind::Lost),
            // The new place writes a state record of its own.
            Self::State(_) => None,
        }
    }
}

impl Stripe {
    /// Whether every frame of what is queued or in flight is filled; nothing is open any more.
    fn is_filled(&self) -> bool {
        let queued = self.failing.iter().flat_map(|failing| &failing.queued).map(|(_, area)| area);
        self.in_flight.iter().map(|w| &w.area).chain(queued).all(|area| area.bytes().is_some())
    }

    /// The end of the life before the present one, which failed.
    fn fence(&self) -> FenceBody {
        FenceBody {
            stripe: self.index,
            epoch: self.epoch,
            void_start: Sequence(self.void_at_start.0),
            void_end: Sequence(self.void_at_start.1),
        }
    }

    /// Counts a failure; answers the pause before the stripe is tried again.
    pub(super) fn strike(&mut self, now: Duration) -> Duration {
        if now.saturating_sub(self.failed_at) > CALM {
            self.strikes = 0;
        }
        self.failed_at = now;
        self.strikes = self.strikes.saturating_add(1);
        RETRY_FIRST.saturating_mul(1 << (self.strikes - 1).min(16)).min(RETRY_LONGEST)
    }
}
