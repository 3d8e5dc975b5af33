//! Reserving frames: which stripe, and whether there is room.

use super::Log;
use super::block::{Effect, Reservation};
use super::events::Acknowledgement;
use super::fate::Fate;
use super::machine::AckInFlight;
use super::ready::Claim;
use super::stripe::{FreeSegment, Health, Stripe};
use crate::base::ids::{Sequence, StripeIndex};
use crate::base::limits::{BLOCK_BYTES_MAX, DEVICE_BLOCK_BYTES, POSITION_BYTES_MAX};
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::base::trouble::Trouble;
use crate::record::block::BLOCK_HEADER_BYTES;
use crate::record::body::{AckBody, PositionRef, PutPrefix};
use crate::record::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::{SourcePosition, StateRecord};
use std::time::Duration;

/// A put transaction as the log sees it.
#[derive(Clone, Copy, Debug)]
pub struct PutShape<'a> {
    /// How many events.
    pub count: u32,
    /// Bytes of the encoded events.
    pub events_len: usize,
    /// The source's position that goes with them.
    pub position: Option<(&'a str, &'a [u8])>,
}

/// Why nothing can be reserved now.
#[derive(Clone, Debug)]
pub enum Admission {
    /// The channel holds its `capacity`.
    Full {
        /// Events in the channel.
        events: u64,
        /// Events it holds at most.
        capacity: u64,
    },
    /// The disks have no room for puts.
    NoSpace(Trouble),
    /// The source positions would not fit a state record.
    PositionTooLarge {
        /// Bytes of all positions together.
        bytes: usize,
        /// Bytes they may have.
        max: usize,
    },
    /// Something is under way that makes room.
    Busy,
    /// An earlier commit of the same source is under way or in doubt.
    BehindAnother,
    /// No stripe can be written.
    NoStripe(Trouble),
}

/// Bytes that a source's position takes in a state record.
fn position_size(source: &str, len: usize) -> usize {
    16 + source.len() + len
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Puts leave a segment per stripe for epochs and stop below `minimumRequiredSpace`.
    Put,
    /// Acknowledgements only leave that segment.
    Ack,
}

impl Log {
    /// Reserves a put frame.
    ///
    /// # Errors
    /// There is no room now; nothing was reserved.
    pub fn reserve_put(
        &mut self,
        now: Duration,
        shape: PutShape<'_>,
    ) -> Result<Reservation, Admission> {
        let count = u64::from(shape.count);
        if self.occupied + count > self.settings.capacity {
            let (events, capacity) = (self.occupied, self.settings.capacity);
            return Err(Admission::Full { events, capacity });
        }
        let position = match shape.position {
            Some((source, _)) if self.position_is_busy(source) => {
                return Err(Admission::BehindAnother);
            }
            // The room is asked for here, under the lock of the reservation: many new sources at
            // once would else all be let in, and no state record could hold what they left.
            Some((source, bytes)) => {
                if !bytes.is_empty() {
                    self.leaves_a_position(source);
                }
                let (all, max) = (self.position_bytes_with(source, bytes), POSITION_BYTES_MAX);
                let had = self.durable.positions.get(source).map_or(0, |p| p.bytes.len());
                if all > max && bytes.len() > had {
                    if self.makes_room_for(all) {
                        return Err(Admission::Busy);
                    }
                    return Err(Admission::PositionTooLarge { bytes: all, max });
                }
                let counter = self.next_position(source);
                Some((source.to_owned(), SourcePosition { counter, bytes: bytes.to_vec() }))
            }
            None => None,
        };
        let prefix = PutPrefix { origin: None, position: position.as_ref().map(position_ref) };
        let len = prefix.encoded_len() + shape.events_len;
        let index = self.choose(now, FRAME_HEADER_BYTES + len, Purpose::Put)?;
        let first = self.stripes[index.at()].next_sequence;
        let header = FrameHeader {
            len: len as u32,
            kind: FrameKind::Put,
            flags: prefix.flags(),
            count: shape.count,
            first_sequence: Sequence(first),
        };
        let bytes_of =
            |(source, p): &(String, SourcePosition)| position_size(source, p.bytes.len());
        let busy = position.as_ref().map(|held| (held.0.clone(), bytes_of(held)));
        let effect = Effect::Put { first, count: shape.count, position };
        let reservation = self.place(index, header, effect)?;
        self.positions_busy.extend(busy);
        self.occupied += count;
        Ok(reservation)
    }

    /// The counter of the position that a put reserved now would carry. It is above all that a
    /// directory can name which was missing when the era of the stripes' epochs began: else an
    /// older position would win when that directory is back, and its lines would come again.
    #[must_use]
    pub fn next_position(&self, source: &str) -> u64 {
        let known = self.durable.positions.get(source).map_or(0, |p| p.counter);
        let era = self.durable.stripes.iter().map(|s| s.epoch.number.first_of_era().0).max();
        let floor = era.unwrap_or_default();
        if known < floor {
            Rare::PositionJump.reached();
        }
        known.max(floor) + 1
    }

    /// Bytes that all source positions would take if `source` left `bytes`: of every other source
    /// the position that is durable or the one on its way, whichever is larger.
    fn position_bytes_with(&self, source: &str, bytes: &[u8]) -> usize {
        let (durable, busy) = (&self.durable.positions, &self.positions_busy);
        let known = durable.iter().filter(|(name, _)| *name != source).map(|(name, p)| {
            let on_its_way = busy.get(name).copied().unwrap_or(0);
            position_size(name, p.bytes.len()).max(on_its_way)
        });
        let fresh = busy.iter().filter(|(name, _)| *name != source && !durable.contains_key(*name));
        let fresh = fresh.map(|(_, on_its_way)| *on_its_way);
        known.sum::<usize>() + fresh.sum::<usize>() + position_size(source, bytes.len())
    }

    /// Whether a position of `source` is in flight or in doubt.
    #[must_use]
    pub fn position_is_busy(&self, source: &str) -> bool {
        self.positions_busy.contains_key(source) && !Broken::PositionsOverlap.is_chosen()
    }

    /// Reserves an acknowledgement of `claims`: a whole copy on every touched stripe that is
    /// alive, or the next checkpoint when the log has no room for it.
    ///
    /// # Errors
    /// [`Admission::Busy`] or [`Admission::NoStripe`]; the claims stay lent.
    pub fn reserve_ack(
        &mut self,
        now: Duration,
        body: &AckBody,
        claims: &[Claim],
    ) -> Result<Acknowledgement, Admission> {
        let frame = FRAME_HEADER_BYTES + body.encoded_len();
        let mut homes: Vec<StripeIndex> = claims.iter().map(|c| c.block.stripe).collect();
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|index| self.stripes[index.at()].is_active());
        homes.truncate(if Broken::AckOnOneStripe.is_chosen() { 1 } else { homes.len() });
        if homes.is_empty() {
            match self.choose(now, frame, Purpose::Ack) {
                Ok(index) => homes.push(index),
                Err(Admission::NoSpace(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let mut room = !homes.is_empty();
        for index in &homes {
            match self.admits(*index, frame, Purpose::Ack) {
                Ok(()) => {}
                Err(Admission::Busy) => return Err(Admission::Busy),
                Err(_) => room = false,
            }
        }
        self.next_ack += 1;
        let ack = self.next_ack;
        let slot_fate = (!room).then(|| Fate::new(StripeIndex(0)));
        let copies = if room { homes.len() } else { 1 };
        let (body, claims) = (body.clone(), claims.to_vec());
        if let Some(fate) = slot_fate.clone() {
            self.counts.slot_acks += 1;
            self.slot_queue.push(ack);
            self.acks.insert(ack, AckInFlight { body, claims, copies, applied: false, slot_fate });
            self.wakes.keeper = true;
            return Ok(Acknowledgement::Slot(fate));
        }
        let mut frames = Vec::with_capacity(homes.len());
        for index in homes {
            let header = plain_header(FrameKind::Ack, body.encoded_len());
            frames.push(self.place(index, header, Effect::Ack { ack, body: body.clone() })?);
        }
        self.acks.insert(ack, AckInFlight { body, claims, copies, applied: false, slot_fate });
        Ok(Acknowledgement::Frames(frames))
    }

    /// The stripe with the earliest expected completion that has room; ties rotate.
    fn choose(
        &mut self,
        now: Duration,
        frame: usize,
        purpose: Purpose,
    ) -> Result<StripeIndex, Admission> {
        let stripes = self.stripes.len();
        self.rotation = (self.rotation + 1) % stripes;
        let (mut best, mut refusal): (Option<(f64, StripeIndex)>, Option<Admission>) = (None, None);
        for turn in 0..stripes {
            let index = StripeIndex(((self.rotation + turn) % stripes) as u16);
            match self.admits(index, frame, purpose) {
                Ok(()) => {
                    let seconds = self.stripes[index.at()].expected_seconds(now);
                    if best.is_none_or(|(least, _)| seconds < least) {
                        best = Some((seconds, index));
                    }
                }
                Err(other) => {
                    let rank = |a: &Admission| match a {
                        Admission::Busy => 2,
                        Admission::NoSpace(_) => 1,
                        _ => 0,
                    };
                    if refusal.as_ref().is_none_or(|known| rank(&other) > rank(known)) {
                        refusal = Some(other);
                    }
                }
            }
        }
        match (best, refusal) {
            (Some((_, index)), _) => Ok(index),
            (None, Some(refusal)) => Err(refusal),
            (None, None) => Err(Admission::NoStripe(Trouble::new("the channel has no stripe"))),
        }
    }

    fn admits(&mut self, index: StripeIndex, frame: usize, who: Purpose) -> Result<(), Admission> {
        let stripe = &mut self.stripes[index.at()];
        match &stripe.health {
            Health::Active => {}
            Health::Suspended { cause, .. } => return Err(Admission::NoStripe(cause.clone())),
            Health::Missing => {
                let what = format!("the directory of stripe {index} is missing");
                return Err(Admission::NoStripe(Trouble::new(what)));
            }
        }
        if let (Purpose::Put, Some(trouble)) = (who, &stripe.no_space) {
            return Err(Admission::NoSpace(trouble.clone()));
        }
        let refused = stripe.refused_segment.as_ref();
        if let (Some((_, trouble)), true) = (refused, Broken::LargeRefusalForAll.is_chosen()) {
            return Err(Admission::NoSpace(trouble.clone()));
        }
        let (state, max) = (self.durable.stripe(index), 3 * self.durable.ranges_per_stripe() / 4);
        if who == Purpose::Put && state.ranges_beyond() >= max {
            let what = format!(
                "what waits on stripe {index} has {max} gaps of failed writes and of damage, as many as its state can name; puts go on when some of it was taken"
            );
            return Err(Admission::NoSpace(Trouble::new(what)));
        }
        if stripe.fits_open(frame) || stripe.room_behind_open() >= block_need(frame) {
            return Ok(());
        }
        let bound = state_bytes_bound(&self.durable, self.acks.len());
        let need = bound + block_need(frame);
        let fits = stripe.free_for(need).is_some();
        // On a full disk a planned roll may wait long for its segment; takes go on meanwhile.
        if stripe.roll_planned && (fits || who == Purpose::Put) {
            return Err(Admission::Busy);
        }
        // One segment is kept back for the state record of the next epoch.
        let usable = stripe.free.iter().filter(|s| s.len >= bound && !stripe.haunted(s.slot));
        if !stripe.roll_planned && fits && usable.count() >= 2 {
            return Ok(());
        }
        stripe.wants_segment = stripe.wants_segment.max(need);
        self.wakes.keeper = true;
        // Shorter ones than that are not made.
        let made = need.max(stripe.segment_bytes);
        match (who, &stripe.refused_segment) {
            (Purpose::Put, Some((refused, trouble))) if made >= *refused => {
                Err(Admission::NoSpace(trouble.clone()))
            }
            (Purpose::Put, _) => Err(Admission::Busy),
            (Purpose::Ack, _) => Err(Admission::NoSpace(Trouble::new("no free segment"))),
        }
    }

    /// Reserves a frame on a stripe that admits it, or that must take it.
    pub(super) fn place(
        &mut self,
        index: StripeIndex,
        header: FrameHeader,
        effect: Effect,
    ) -> Result<Reservation, Admission> {
        let stripe = &mut self.stripes[index.at()];
        let frame = header.frame_len();
        let barrier = matches!(effect, Effect::Fence(_));
        if barrier || !stripe.fits_open(frame) {
            stripe.seal_open();
            let mut block = stripe.new_block();
            let need = block_need(frame);
            let oversize = need > BLOCK_BYTES_MAX as u64;
            if oversize {
                Rare::Oversize.reached();
            }
            block.solo = barrier || oversize;
            if stripe.tail_room < need && !stripe.roll_planned {
                block.rolls = true;
                stripe.roll_planned = true;
                let bound = state_bytes_bound(&self.durable, self.acks.len());
                let next = stripe.free_for(bound + need).map_or(bound + need, |s| s.len);
                stripe.tail_room = next - bound;
            }
            let room = need.max(stripe.tail_room.min(BLOCK_BYTES_MAX as u64)) as usize;
            if !stripe.open_block(&self.pool, block, room) {
                let what = "no memory for a block; raise the memory limit of the process";
                return Err(Admission::NoSpace(Trouble::new(what)));
            }
        }
        let open = stripe.open.as_mut().expect("opened above");
        let writer = stripe.writer.as_mut().expect("an open block has a writer");
        if let Effect::Put { count, .. } = &effect {
            stripe.next_sequence += u64::from(*count);
        }
        let reservation = open.reserve(writer, header, effect);
        if barrier {
            stripe.seal_open();
        }
        Ok(reservation)
    }
}

/// Bytes that a segment's header and state record may take when the next roll comes.
pub(super) fn state_bytes_bound(durable: &StateRecord, acks: usize) -> u64 {
    // Ranges may be added until then; the slack is small because segments may be.
    let state = durable.encoded_len() + 16 * acks.min(64) + 512;
    (SEGMENT_HEADER_BYTES as u64) + block_need(FRAME_HEADER_BYTES + state)
}

impl Stripe {
    pub(super) fn fits_open(&self, frame: usize) -> bool {
        match (&self.open, &self.writer) {
            (Some(open), Some(writer)) => !open.block.solo && open.fits(writer, frame),
            _ => false,
        }
    }

    fn room_behind_open(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |o| o.block.written_len() as u64);
        self.tail_room.saturating_sub(open)
    }

    /// Fixes the open block's frames and queues it.
    pub(super) fn seal_open(&mut self) {
        if let (Some(open), Some(writer)) = (self.open.take(), self.writer.as_mut()) {
            let sealed = open.seal(writer);
            self.tail_room = self.tail_room.saturating_sub(sealed.area.len() as u64);
            self.sealed.push_back(sealed);
        }
    }

    /// The smallest free segment with at least `len` bytes.
    pub(super) fn free_for(&self, len: u64) -> Option<&FreeSegment> {
        let fitting = self.free.iter().filter(|s| s.len >= len && !self.haunted(s.slot));
        // The smallest that is as large as segments are by now, so that large ones are left for large
        // transactions; without one the largest of the small ones.
        fitting.min_by_key(|s| match s.len.checked_sub(self.segment_bytes) {
            Some(more) => (false, more, s.slot),
            None => (true, self.segment_bytes - s.len, s.slot),
        })
    }
}

/// Bytes of a block with one frame of `frame` bytes.
pub(super) fn block_need(frame: usize) -> u64 {
    (BLOCK_HEADER_BYTES + frame).next_multiple_of(DEVICE_BLOCK_BYTES) as u64
}

pub(super) fn plain_header(kind: FrameKind, len: usize) -> FrameHeader {
    FrameHeader { len: len as u32, kind, flags: 0, count: 0, first_sequence: Sequence(0) }
}

fn position_ref(position: &(String, SourcePosition)) -> PositionRef<'_> {
    position.1.as_ref(&position.0)
}
