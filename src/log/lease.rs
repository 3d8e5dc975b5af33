//! Leases: lending events to takers, taking them back, and reads for what is not in memory.

use super::Log;
use super::block::{FrameEffect, Reservation, plain_header};
use super::readable_block::{Lease, ReadableBlock};
use super::stripe::Stripe;
use super::tail_cache::LogPosition;
use crate::base::codes;
use crate::base::fault_cause::{FaultCause, FaultKind};
use crate::base::ids::{BlockNumber, EpochNumber, MAIN_GROUP, SegmentId, StripeIndex, Uuid};
use crate::base::limits::{DEVICE_BLOCK_BYTES, HOLES_PER_STRIPE_MAX};
use crate::base::mutation::Mutation;
use crate::disk::File;
use crate::record::body::{AckBody, LostBody};
use crate::record::frame::FrameKind;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Pause before a read that the storage refused is tried again.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Room that the note of lost events must find: more than two device blocks.
const LOST_ROOM_BYTES: u64 = 3 * DEVICE_BLOCK_BYTES as u64;

/// The result of [`Log::lend`].
pub enum LeaseOutcome {
    /// Events: transactions lent in part first, then by lowest write order.
    Leases(Vec<Lease>),
    /// Nothing in memory: run this read, pass it to [`Log::read_done`], call again.
    Read(ReadJob),
    /// Another read is under way, or leases must be settled first; call again when takers are woken.
    Wait,
    /// The channel has no events to lend.
    Empty,
}

/// A read that continues a stripe's window.
pub struct ReadJob {
    /// The stripe.
    pub stripe: StripeIndex,
    /// Its uuid.
    pub uuid: Uuid,
    /// The channel's uuid.
    pub channel: Uuid,
    /// The segment's file.
    pub file: Arc<dyn File>,
    /// The segment.
    pub segment: SegmentId,
    /// Offset to start at, bytes.
    pub offset: u64,
    /// Offset at which blocks of the segment end at the latest, bytes.
    pub end: u64,
    /// The block expected there.
    pub next_block: BlockNumber,
    /// The last block to look for in this segment.
    pub last_block: BlockNumber,
    /// The sequence at which `next_block` begins if nothing is missing.
    pub sequence: u64,
    /// The epoch; blocks of earlier ones are leftovers and not part of the log.
    pub epoch: EpochNumber,
    /// The sequence after `last_block`.
    pub end_sequence: u64,
    /// Number of damaged ranges of sequences at which the read stops.
    pub lost_max: usize,
}

/// The result of a read.
#[derive(Debug)]
pub struct ReadOutcome {
    /// The blocks, ascending.
    pub blocks: Vec<ReadableBlock>,
    /// The block to look for next.
    pub next_block: BlockNumber,
    /// Where to look for it.
    pub offset: u64,
    /// The sequence after everything found or lost.
    pub sequence: u64,
    /// The epoch of the last block found.
    pub epoch: EpochNumber,
    /// Places that hold no block where one should be: offset and bytes.
    pub damaged: Vec<(u64, u64)>,
    /// Sequences whose blocks are damaged.
    pub lost: Vec<(u64, u64)>,
}

impl Log {
    /// Clears read faults whose pause is over, so that the takers of those events try again.
    pub fn retry_reads(&mut self, now: Duration) {
        for stripe in &mut self.stripes {
            if stripe.read_fault.take_if(|(_, retry_at)| *retry_at <= now).is_some() {
                self.wakeups.takers |= !Mutation::RetryUnsaid.is_active();
            }
        }
    }

    /// Lends up to `max` events.
    pub fn lend(&mut self, now: Duration, max: usize) -> LeaseOutcome {
        self.retry_reads(now);
        let mut leases: Vec<Lease> = Vec::new();
        let mut left = u32::try_from(max).unwrap_or(u32::MAX);
        // Which stripe comes first is known only when the next event of each is.
        while left > 0 && !self.needs_read() {
            let Some(index) = self.next_stripe() else { break };
            let holes = self.too_many_holes(index);
            let acknowledged = &self.durable.stripe(index).acknowledged[&MAIN_GROUP];
            let window = &mut self.stripes[index.at()].window;
            let returned_only = holes || window.window_is_empty();
            let Some(mut lease) = window.lend(left, acknowledged, returned_only) else { break };
            // With one event per put transaction every event is a lease of its own. Counted one by one, they would use
            // up the holes that a stripe may have, and takers would wait for each other.
            let before = leases.iter().rfind(|c| c.block.stripe == index);
            if before.is_some_and(|c| c.end() == lease.start()) {
                window.join(&mut lease);
            }
            left -= lease.count;
            leases.push(lease);
        }
        if !leases.is_empty() {
            return LeaseOutcome::Leases(leases);
        }
        self.lend_later(now)
    }

    /// Whether a read is under way for a taker that found nothing in memory.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.stripes.iter().any(|s| s.readable() && s.window.is_empty() && s.window.is_reading())
    }

    /// Whether [`Log::read_ahead`] would return a read.
    #[must_use]
    pub fn wants_read_ahead(&self, low_water_bytes: usize) -> bool {
        self.stripes.iter().any(|s| self.lags(s, low_water_bytes))
    }

    /// The parts of `start..end` that are neither acknowledged nor void.
    #[must_use]
    pub fn waiting_in(&self, index: StripeIndex, start: u64, end: u64) -> Vec<(u64, u64)> {
        self.durable.stripe(index).missing(start, end)
    }

    /// Abandons a read; the next caller that needs it gets it.
    pub fn leave_read(&mut self, job: ReadJob) {
        self.stripes[job.stripe.at()].window.end_read();
    }

    /// Returns a read worth doing before takers need it, if there is one.
    pub fn read_ahead(&mut self, now: Duration, low_water_bytes: usize) -> Option<ReadJob> {
        let index = self.stripes.iter().find(|s| self.lags(s, low_water_bytes))?.index;
        self.read_job(now, index)
    }

    /// Gives up reads that began before `since`: until they return, their stripes' events are not waited for, so that
    /// takers continue with the other stripes.
    pub fn give_up_hung_reads(&mut self, now: Duration, since: Duration) {
        for at in 0..self.stripes.len() {
            let stripe = &mut self.stripes[at];
            let hangs = stripe.window.reading_since().filter(|began| *began < since);
            if let Some(began) = hangs.filter(|_| stripe.read_fault.is_none()) {
                let waited = now.saturating_sub(began).as_secs();
                let index = stripe.index;
                let text = fmt::from_fn(move |f| {
                    write!(f, "a read on stripe {index} has not returned for {waited} s")
                });
                let cause = FaultCause::described(FaultKind::Hung, index, text);
                stripe.read_fault = Some((cause.clone(), Duration::MAX));
                let text = fmt::from_fn(move |f| {
                    write!(f, "{cause}; takes continue on the other stripes")
                });
                self.add_warning_line(index, &codes::READS_FAILING, text);
                self.wakeups.takers = true;
            }
        }
    }

    /// Returns why waiting events cannot be read now, if there are such events, and when to try again.
    #[must_use]
    pub fn read_fault(&self) -> Option<(FaultCause, Duration)> {
        self.stripes.iter().find_map(|s| s.read_fault.clone())
    }

    /// Completes a read. `Err` if the storage refused it: this is neither a tear nor damage, the events stay where they
    /// are, and the read is tried again after a pause.
    pub fn read_done(
        &mut self,
        now: Duration,
        index: StripeIndex,
        segment: SegmentId,
        found: Result<ReadOutcome, FaultCause>,
    ) -> Vec<(Reservation, LostBody)> {
        self.wakeups.takers = true;
        let mut notes = Vec::new();
        self.stripes[index.at()].read_fault = None;
        let window = &mut self.stripes[index.at()].window;
        window.end_read();
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                let why = fault.clone();
                let text = fmt::from_fn(move |f| write!(f, "{why}; trying again"));
                self.add_warning_line(index, &codes::READS_FAILING, text);
                self.stripes[index.at()].read_fault = Some((fault, now + READ_PAUSE));
                return notes;
            }
        };
        for (start, end) in found.lost {
            notes.extend(self.void_damaged(index, start, end));
        }
        let acknowledged = &self.durable.stripe(index).acknowledged[&MAIN_GROUP];
        let window = &mut self.stripes[index.at()].window;
        let (offset, sequence, epoch) = (found.offset, found.sequence, found.epoch);
        let place = LogPosition { segment, offset, sequence, epoch };
        window.continue_with(found.blocks, found.next_block, place, acknowledged);
        self.recycle(index);
        notes
    }

    /// Voids damaged events, in the log too: the caller fills the returned reservation.
    fn void_damaged(
        &mut self,
        index: StripeIndex,
        start: u64,
        end: u64,
    ) -> Option<(Reservation, LostBody)> {
        let missing = self.durable.stripe(index).missing(start, end);
        let lost: u64 = missing.iter().map(|(s, e)| e - s).sum();
        if lost == 0 {
            return None;
        }
        self.durable.stripe_mut(index).void_damaged(start, end);
        if self.stripes[index.at()].is_writable() {
            self.occupied = self.occupied.saturating_sub(lost);
        }
        self.changed();
        self.wakeups.room = true;
        let body = LostBody { stripe: index, start, end };
        let home = self
            .stripes
            .iter()
            .find(|s| s.is_writable() && s.space.fits(0, LOST_ROOM_BYTES))?
            .index;
        let header = plain_header(FrameKind::Lost, LostBody::BYTES);
        let reservation = self.place(home, header, FrameEffect::Lost(body)).ok()?;
        Some((reservation, body))
    }

    /// Voids a lease whose bytes are damaged although the checksum of the block was right when it was read.
    pub fn lease_is_damaged(&mut self, lease: &Lease) -> Option<(Reservation, LostBody)> {
        self.stripes[lease.block.stripe.at()].window.end_lease(lease);
        let note = self.void_damaged(lease.block.stripe, lease.start(), lease.end());
        self.recycle(lease.block.stripe);
        note
    }

    /// Takes leases back, to be lent again first; no I/O.
    pub fn give_back(&mut self, leases: Vec<Lease>) {
        for lease in leases {
            self.stripes[lease.block.stripe.at()].window.give_back(lease);
        }
        self.wakeups.takers = true;
    }

    /// Returns the acknowledgement of `leases`: ascending ranges, adjacent ones joined.
    #[must_use]
    pub fn ack_body(leases: &[Lease]) -> AckBody {
        let mut ranges: Vec<(StripeIndex, u64, u64)> =
            leases.iter().map(|c| (c.block.stripe, c.start(), c.end())).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let joins = next.0 == last.0 && next.1 == last.2;
            if joins {
                last.2 = next.2;
            }
            joins
        });
        AckBody { group: MAIN_GROUP, ranges }
    }

    fn next_stripe(&self) -> Option<StripeIndex> {
        let lendable = self.stripes.iter().filter(|s| s.lendable());
        let open = lendable.filter(|s| !self.too_many_holes(s.index) || s.window.has_returned());
        let fronts = open.filter_map(|s| s.window.priority().map(|priority| (priority, s.index)));
        fronts.min().map(|(_, index)| index)
    }

    fn lend_later(&mut self, now: Duration) -> LeaseOutcome {
        let (mut reading, mut wanting) = (false, None);
        for stripe in self.stripes.iter().filter(|s| s.readable() && s.window.is_empty()) {
            let waits = self.has_cold(stripe.index) && !self.may_read(stripe.index);
            if stripe.window.is_reading() || waits {
                reading = true;
            } else if self.has_cold(stripe.index) {
                wanting = Some(stripe.index);
            }
        }
        if let Some(job) = wanting.and_then(|index| self.read_job(now, index)) {
            return LeaseOutcome::Read(job);
        }
        let held = self.stripes.iter().any(|s| s.lendable() && !s.window.is_empty());
        if reading || held { LeaseOutcome::Wait } else { LeaseOutcome::Empty }
    }

    /// Whether a stripe's next event is on the disk only.
    fn needs_read(&self) -> bool {
        self.stripes.iter().any(|s| s.readable() && s.window.is_empty() && self.has_cold(s.index))
    }

    fn lags(&self, stripe: &Stripe, low_water_bytes: usize) -> bool {
        let low = stripe.window.bytes() < low_water_bytes && !stripe.window.is_reading();
        low && stripe.readable() && self.has_cold(stripe.index) && self.may_read(stripe.index)
    }

    pub(super) fn has_cold(&self, index: StripeIndex) -> bool {
        let window = &self.stripes[index.at()].window;
        window.next_block() <= self.durable.stripe(index).watermark.block.0
    }

    /// Whether one more lease could leave more holes than a stripe may have. Ranges after the next event do not count,
    /// however many: void ranges there are removed only when the events before them are taken. The first lease begins
    /// at the frontier and leaves none.
    fn too_many_holes(&self, index: StripeIndex) -> bool {
        let Some(acknowledged) = self.acknowledged(index, MAIN_GROUP) else { return false };
        let window = &self.stripes[index.at()].window;
        let max = HOLES_PER_STRIPE_MAX.min(self.durable.ranges_per_stripe() / 2);
        if acknowledged.ranges_beyond() + window.leases() < max {
            return false;
        }
        if Mutation::VoidsAreHoles.is_active() {
            return true;
        }
        window.cursor().is_some_and(|next| acknowledged.ranges_below(next) + window.leases() >= max)
    }

    /// Whether the stripe may be read further: damage there becomes void, and the state record must have room for it.
    /// It has, once everything read so far is acknowledged, whatever else is void.
    fn may_read(&self, index: StripeIndex) -> bool {
        let few = self.durable.stripe(index).ranges_beyond() < self.durable.ranges_per_stripe() / 2;
        let window = &self.stripes[index.at()].window;
        few || (window.is_idle() && window.window_is_empty())
    }

    fn read_job(&mut self, now: Duration, index: StripeIndex) -> Option<ReadJob> {
        if !self.has_cold(index) || !self.may_read(index) {
            return None;
        }
        let watermark = self.durable.stripe(index).watermark;
        let lost_max = self.durable.ranges_per_stripe() / 8;
        let stripe = &mut self.stripes[index.at()];
        let next = stripe.window.next_block();
        let (segment, following) = stripe.space.holding_block(next)?;
        let place = stripe.window.begin_read(now, segment.id, segment.first_sequence.0);
        let last = following.map_or(watermark.block, |s| BlockNumber(s.first_block.0 - 1));
        let mut end = match watermark.segment == segment.id {
            true => watermark.end_offset,
            false => segment.len,
        };
        let mut last = last.min(watermark.block);
        let mut end_sequence = following.map_or(watermark.sequence.0, |s| s.first_sequence.0);
        // Blocks in memory after the gap are not read.
        if let Some((first, at)) = stripe.window.gap_end(segment.id) {
            (last, end) = (BlockNumber(first.0 - 1), at.offset);
            end_sequence = at.sequence;
        }
        Some(ReadJob {
            stripe: index,
            uuid: stripe.uuid,
            channel: stripe.channel,
            file: Arc::clone(&segment.file),
            segment: segment.id,
            offset: place.offset,
            end,
            next_block: BlockNumber(next),
            last_block: last,
            sequence: place.sequence,
            epoch: place.epoch,
            end_sequence,
            lost_max,
        })
    }
}

impl Stripe {
    /// Whether its events in memory may be lent: the stripe is active, and the fence of its last failure, if there was
    /// one, is durable.
    fn lendable(&self) -> bool {
        self.phase.is_lendable()
    }

    /// Whether takers may wait for its next events when they are only on the disk.
    fn readable(&self) -> bool {
        self.lendable() && self.read_fault.is_none()
    }
}
