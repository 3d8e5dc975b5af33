//! Reservations: choosing a stripe, and checks for room.

use super::Log;
use super::block::{FrameEffect, Reservation, block_need, plain_header, state_bytes_bound};
use super::block_completion::BlockCompletion;
use super::interface::Acknowledgement;
use super::machine::AckInFlight;
use super::readable_block::Lease;
use super::segment_space::RollRoom;
use super::stripe::Stripe;
use crate::base::coverage_mark::CoverageMark;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::ids::{Sequence, StripeIndex};
use crate::base::limits::{BLOCK_BYTES_MAX, SOURCE_OFFSET_BYTES_MAX};
use crate::base::mutation::Mutation;
use crate::record::body::{AckBody, PutPrefix, SourceOffsetRef};
use crate::record::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::record::state::SourceOffset;
use std::fmt;
use std::time::Duration;

/// The size of a put transaction.
#[derive(Clone, Copy, Debug)]
pub struct PutShape<'a> {
    /// How many events.
    pub count: u32,
    /// Bytes of the encoded events.
    pub events_len: usize,
    /// The source's offset that goes with them.
    pub source_offset: Option<(&'a str, &'a [u8])>,
}

impl PutShape<'_> {
    /// Returns the bytes of a block with this transaction alone, to provide memory for it before the lock is taken.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        let offset = self.source_offset;
        let offset = offset.map(|(source, bytes)| SourceOffsetRef { source, counter: 0, bytes });
        let prefix = PutPrefix { origin: None, source_offset: offset };
        block_need(FRAME_HEADER_BYTES + prefix.encoded_len() + self.events_len) as usize
    }
}

/// Why nothing could be reserved.
#[derive(Clone, Debug)]
pub enum ReserveError {
    /// The channel is at its `capacity`.
    Full {
        /// Events in the channel.
        events: u64,
        /// Events it holds at most.
        capacity: u64,
    },
    /// The disks have no room for puts.
    NoSpace(FaultCause),
    /// The source offsets would not fit a state record.
    SourceOffsetTooLarge {
        /// Bytes of all source offsets together.
        bytes: usize,
        /// Bytes they may have.
        max: usize,
    },
    /// Room will come from something under way.
    Busy,
    /// An earlier commit of the same source is under way or in doubt.
    EarlierCommitPending,
    /// No stripe can be written.
    NoStripe(FaultCause),
}

/// What the room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A put: leaves a segment per stripe for epochs, and stops below `minimumRequiredSpace`.
    Put,
    /// An acknowledgement: leaves that segment only.
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
    ) -> Result<Reservation, ReserveError> {
        let count = u64::from(shape.count);
        if self.occupied + count > self.settings.capacity {
            let (events, capacity) = (self.occupied, self.settings.capacity);
            return Err(ReserveError::Full { events, capacity });
        }
        let source_offset = match shape.source_offset {
            Some((source, _)) if self.source_offset_is_in_flight(source) => {
                return Err(ReserveError::EarlierCommitPending);
            }
            // Checked here, under the lock of the reservation: otherwise many new sources could all be let in at once,
            // and no state record could hold their offsets.
            Some((source, bytes)) => {
                if !bytes.is_empty() {
                    self.source_offsets.add_existing(source);
                }
                let (all, max) = (
                    self.source_offsets.bytes_with(&self.durable, source, bytes.len()),
                    SOURCE_OFFSET_BYTES_MAX,
                );
                let had = self.durable.source_offsets.get(source).map_or(0, |p| p.bytes.len());
                if all > max && bytes.len() > had {
                    if self.will_free_room_for(all) {
                        return Err(ReserveError::Busy);
                    }
                    return Err(ReserveError::SourceOffsetTooLarge { bytes: all, max });
                }
                let counter = self.next_source_offset(source);
                Some((source.to_owned(), SourceOffset { counter, bytes: bytes.to_vec() }))
            }
            None => None,
        };
        let prefix = PutPrefix {
            origin: None,
            source_offset: source_offset.as_ref().map(source_offset_ref),
        };
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
        let reserved = source_offset.as_ref().map(|(source, p)| (source.clone(), p.bytes.len()));
        let effect = FrameEffect::Put { first, count: shape.count, source_offset };
        let reservation = self.place(index, header, effect)?;
        if let Some((source, len)) = reserved {
            self.source_offsets.reserve(source, len);
        }
        self.occupied += count;
        Ok(reservation)
    }

    /// Reserves an acknowledgement of `leases`: a complete copy on every active stripe that it touches, or the next
    /// checkpoint if the log has no room for it.
    ///
    /// # Errors
    /// [`ReserveError::Busy`] or [`ReserveError::NoStripe`]; the leases stay lent.
    pub fn reserve_ack(
        &mut self,
        now: Duration,
        body: &AckBody,
        leases: &[Lease],
    ) -> Result<Acknowledgement, ReserveError> {
        let frame = FRAME_HEADER_BYTES + body.encoded_len();
        let mut homes: Vec<StripeIndex> = leases.iter().map(|c| c.block.stripe).collect();
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|index| self.stripes[index.at()].is_writable());
        homes.truncate(if Mutation::AckOnOneStripe.is_active() { 1 } else { homes.len() });
        if homes.is_empty() {
            match self.choose(now, frame, Purpose::Ack) {
                Ok(index) => homes.push(index),
                Err(ReserveError::NoSpace(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let mut room = !homes.is_empty();
        for index in &homes {
            match self.admits(*index, frame, Purpose::Ack) {
                Ok(()) => {}
                Err(ReserveError::Busy) => return Err(ReserveError::Busy),
                Err(_) => room = false,
            }
        }
        self.next_ack += 1;
        let ack = self.next_ack;
        let slot_completion = (!room).then(|| BlockCompletion::new(StripeIndex(0)));
        let copies = if room { homes.len() } else { 1 };
        let (body, leases) = (body.clone(), leases.to_vec());
        if let Some(completion) = slot_completion.clone() {
            self.counts.slot_acks += 1;
            self.slot_queue.push(ack);
            self.acks
                .insert(ack, AckInFlight { body, leases, copies, applied: false, slot_completion });
            self.wakeups.maintenance = true;
            return Ok(Acknowledgement::Slot(completion));
        }
        let mut frames = Vec::with_capacity(homes.len());
        for index in homes {
            let header = plain_header(FrameKind::Ack, body.encoded_len());
            frames.push(self.place(index, header, FrameEffect::Ack { ack, body: body.clone() })?);
        }
        self.acks
            .insert(ack, AckInFlight { body, leases, copies, applied: false, slot_completion });
        Ok(Acknowledgement::Frames(frames))
    }

    /// Returns the stripe with the earliest expected completion that has room; ties rotate.
    fn choose(
        &mut self,
        now: Duration,
        frame: usize,
        purpose: Purpose,
    ) -> Result<StripeIndex, ReserveError> {
        let stripes = self.stripes.len();
        self.rotation = (self.rotation + 1) % stripes;
        let (mut best, mut refusal): (Option<(f64, StripeIndex)>, Option<ReserveError>) =
            (None, None);
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
                    let rank = |a: &ReserveError| match a {
                        ReserveError::Busy => 2,
                        ReserveError::NoSpace(_) => 1,
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
            (None, None) => {
                let (place, what) = (FaultPlace::default(), "the channel has no stripe");
                Err(ReserveError::NoStripe(FaultCause::new(FaultKind::Missing, place, what)))
            }
        }
    }

    fn admits(
        &mut self,
        index: StripeIndex,
        frame: usize,
        who: Purpose,
    ) -> Result<(), ReserveError> {
        let stripe = &mut self.stripes[index.at()];
        if !stripe.is_writable() {
            let what =
                fmt::from_fn(move |f| write!(f, "the directory of stripe {index} is missing"));
            let missing = || FaultCause::described(FaultKind::Missing, index, what);
            let cause = stripe.phase.cause().cloned();
            return Err(ReserveError::NoStripe(cause.unwrap_or_else(missing)));
        }
        if let (Purpose::Put, Some(fault)) = (who, &stripe.no_space) {
            return Err(ReserveError::NoSpace(fault.clone()));
        }
        let refused = stripe.space.refused();
        if let (Some((_, fault)), true) = (refused, Mutation::LargeRefusalForAll.is_active()) {
            return Err(ReserveError::NoSpace(fault.clone()));
        }
        let (state, max) = (self.durable.stripe(index), 3 * self.durable.ranges_per_stripe() / 4);
        if who == Purpose::Put && state.ranges_beyond() >= max {
            let what = fmt::from_fn(move |f| {
                write!(
                    f,
                    "the waiting events of stripe {index} have {max} gaps left by failed writes and damage, the most that its state record can hold; puts continue when some of these events are taken"
                )
            });
            let cause = FaultCause::described(FaultKind::TooManyGaps, index, what);
            return Err(ReserveError::NoSpace(cause));
        }
        let open = stripe.blocks.open_written_bytes();
        if stripe.blocks.fits_open(frame) || stripe.space.fits(open, block_need(frame)) {
            return Ok(());
        }
        let state = state_bytes_bound(&self.durable, self.acks.len());
        let room = stripe.space.room_in_next(state, block_need(frame), who == Purpose::Put);
        self.wakeups.maintenance |= matches!(room, RollRoom::Wanted | RollRoom::Refused(_));
        match (room, who) {
            (RollRoom::Ready, _) => Ok(()),
            (RollRoom::AfterPlannedRoll, _) | (RollRoom::Wanted, Purpose::Put) => {
                Err(ReserveError::Busy)
            }
            (RollRoom::Refused(fault), Purpose::Put) => Err(ReserveError::NoSpace(fault)),
            (RollRoom::Wanted | RollRoom::Refused(_), Purpose::Ack) => {
                let cause = FaultCause::new(FaultKind::NotReady, index, "no free segment");
                Err(ReserveError::NoSpace(cause))
            }
        }
    }

    /// Reserves a frame on a stripe that has room for it, or that must take it.
    pub(super) fn place(
        &mut self,
        index: StripeIndex,
        header: FrameHeader,
        effect: FrameEffect,
    ) -> Result<Reservation, ReserveError> {
        let stripe = &mut self.stripes[index.at()];
        let frame = header.frame_len();
        let barrier = matches!(effect, FrameEffect::Fence(_));
        if barrier || !stripe.blocks.fits_open(frame) {
            stripe.seal_open();
            let mut block = stripe.new_block();
            let need = block_need(frame);
            let oversize = need > BLOCK_BYTES_MAX as u64;
            if oversize {
                CoverageMark::Oversize.hit();
            }
            block.solo = barrier || oversize;
            let state = || state_bytes_bound(&self.durable, self.acks.len());
            let room = stripe.space.plan_block(need, state);
            block.rolls = room.rolls();
            if !stripe.blocks.open(&self.pool, block, room.bytes as usize) {
                let what = "no memory for a block; raise the memory limit of the process";
                let cause = FaultCause::new(FaultKind::OutOfMemory, index, what);
                return Err(ReserveError::NoSpace(cause));
            }
            stripe.space.promise(room);
        }
        if let FrameEffect::Put { count, .. } = &effect {
            stripe.next_sequence += u64::from(*count);
        }
        let reservation = stripe.blocks.reserve(header, effect);
        if barrier {
            stripe.seal_open();
        }
        Ok(reservation)
    }
}

impl Stripe {
    /// Fixes the open block's frames and queues it.
    pub(super) fn seal_open(&mut self) {
        if let Some(bytes) = self.blocks.seal() {
            self.space.seal(bytes);
        }
    }
}

fn source_offset_ref(source_offset: &(String, SourceOffset)) -> SourceOffsetRef<'_> {
    source_offset.1.as_ref(&source_offset.0)
}
