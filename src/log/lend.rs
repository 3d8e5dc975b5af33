//! Lending events to takers and taking them back; reading on where memory ends.

use super::Log;
use super::block::{Effect, Reservation};
use super::lease::Place;
use super::ready::{Claim, ReadyBlock};
use super::reserve::plain_header;
use super::stripe::{EpochStart, Health, Stripe};
use crate::base::codes;
use crate::base::ids::{BlockNumber, EpochNumber, MAIN_GROUP, SegmentId, StripeIndex, Uuid};
use crate::base::limits::HOLES_PER_STRIPE_MAX;
use crate::base::mutant::Broken;
use crate::base::trouble::Trouble;
use crate::disk::File;
use crate::record::body::{AckBody, LostBody};
use crate::record::frame::FrameKind;
use std::sync::Arc;
use std::time::Duration;

/// Pause before a read that the storage refused is tried again.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What a taker gets.
pub enum Lent {
    /// Events: what was begun first, then lowest write order first.
    Claims(Vec<Claim>),
    /// Nothing in memory: read this, hand it to [`Log::read_done`], ask again.
    Read(ReadJob),
    /// Somebody reads, or what is lent has to be settled first; ask again when takers are woken.
    Wait,
    /// Nothing waits in the channel.
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
    /// Where to begin, bytes.
    pub offset: u64,
    /// Where blocks of the segment end at the latest, bytes.
    pub end: u64,
    /// The block expected there.
    pub next_block: BlockNumber,
    /// The last block that may be looked for in this segment.
    pub last_block: BlockNumber,
    /// The sequence at which that block begins if nothing is missing.
    pub sequence: u64,
    /// Blocks of earlier epochs are left over and no part of the log.
    pub epoch: EpochNumber,
    /// The sequence behind `last_block`.
    pub end_sequence: u64,
    /// Damaged ranges of sequences at which to stop.
    pub lost_max: usize,
}

/// What a read found.
#[derive(Debug)]
pub struct ReadOutcome {
    /// The blocks, ascending.
    pub blocks: Vec<ReadyBlock>,
    /// The block to look for next.
    pub next_block: BlockNumber,
    /// Where to look for it.
    pub offset: u64,
    /// The sequence behind everything found or lost.
    pub sequence: u64,
    /// The epoch of the last block found.
    pub epoch: EpochNumber,
    /// Places that hold no block where one should be: offset and bytes.
    pub damaged: Vec<(u64, u64)>,
    /// Sequences whose blocks are damaged.
    pub lost: Vec<(u64, u64)>,
}

impl Log {
    /// Forgets refused reads whose pause is over: whoever waits for those events asks again.
    pub fn retry_reads(&mut self, now: Duration) {
        for stripe in &mut self.stripes {
            if stripe.read_trouble.take_if(|(_, retry_at)| *retry_at <= now).is_some() {
                self.wakes.takers |= !Broken::RetryUnsaid.is_chosen();
            }
        }
    }

    /// Lends up to `max` events.
    pub fn lend(&mut self, now: Duration, max: usize) -> Lent {
        self.retry_reads(now);
        let mut claims: Vec<Claim> = Vec::new();
        let mut left = u32::try_from(max).unwrap_or(u32::MAX);
        // Who is first across stripes is known only when each one's next event is.
        while left > 0 && !self.needs_read() {
            let Some(index) = self.next_stripe() else { break };
            let holes = self.too_many_holes(index);
            let acknowledged = &self.durable.stripe(index).acknowledged[&MAIN_GROUP];
            let front = &mut self.stripes[index.at()].front;
            let returned_only = holes || front.window_is_empty();
            let Some(mut claim) = front.lend(left, acknowledged, returned_only) else { break };
            // With one event per put transaction every event is a claim of its own. Counted one by
            // one they would use up the holes that a stripe may have, and takers wait in turn.
            let before = claims.iter().rfind(|c| c.block.stripe == index);
            if before.is_some_and(|c| c.end() == claim.start()) {
                front.join(&mut claim);
            }
            left -= claim.count;
            claims.push(claim);
        }
        if !claims.is_empty() {
            return Lent::Claims(claims);
        }
        self.lend_later(now)
    }

    /// Whether a read is under way that a taker with nothing in memory waits for.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.stripes.iter().any(|s| s.readable() && s.front.is_empty() && s.front.reading)
    }

    /// Whether [`Log::read_ahead`] would answer a read.
    #[must_use]
    pub fn wants_read_ahead(&self, low_water_bytes: usize) -> bool {
        self.stripes.iter().any(|s| self.lags(s, low_water_bytes))
    }

    /// The parts of `start..end` that are neither acknowledged nor void.
    #[must_use]
    pub fn waiting_in(&self, index: StripeIndex, start: u64, end: u64) -> Vec<(u64, u64)> {
        self.durable.stripe(index).missing(start, end)
    }

    /// Gives a read up; whoever asks next gets it.
    pub fn leave_read(&mut self, job: ReadJob) {
        self.stripes[job.stripe.at()].front.reading = false;
    }

    /// A read worth doing ahead of the takers, if there is one.
    pub fn read_ahead(&mut self, now: Duration, low_water_bytes: usize) -> Option<ReadJob> {
        let index = self.stripes.iter().find(|s| self.lags(s, low_water_bytes))?.index;
        self.read_job(now, index)
    }

    /// Reads that began before `since` hang: until they return, their stripes' events are not
    /// waited for, so that takers go on with those of the others.
    pub fn give_up_hung_reads(&mut self, now: Duration, since: Duration) {
        for at in 0..self.stripes.len() {
            let stripe = &mut self.stripes[at];
            let hangs = stripe.front.reading && stripe.front.reading_since < since;
            if hangs && stripe.read_trouble.is_none() {
                let waited = now.saturating_sub(stripe.front.reading_since).as_secs();
                let index = stripe.index;
                let trouble = format!("a read on stripe {index} has not returned for {waited} s");
                stripe.read_trouble = Some((Trouble::new(trouble.clone()), Duration::MAX));
                self.say_warning(
                    index,
                    &codes::READS_FAILING,
                    format!("{trouble}; takes go on on the others"),
                );
                self.wakes.takers = true;
            }
        }
    }

    /// Why nothing can be read now, if something that waits cannot.
    #[must_use]
    pub fn read_trouble(&self) -> Option<(Trouble, Duration)> {
        self.stripes.iter().find_map(|s| s.read_trouble.clone())
    }

    /// Hands in what a read found. `Err` when the storage refused: that is neither tear nor
    /// damage, the events stay where they are and the read is tried again after a pause.
    pub fn read_done(
        &mut self,
        now: Duration,
        index: StripeIndex,
        segment: SegmentId,
        found: Result<ReadOutcome, Trouble>,
    ) -> Vec<(Reservation, LostBody)> {
        self.wakes.takers = true;
        let mut notes = Vec::new();
        self.stripes[index.at()].read_trouble = None;
        let front = &mut self.stripes[index.at()].front;
        front.reading = false;
        let found = match found {
            Ok(found) => found,
            Err(trouble) => {
                self.say_warning(index, &codes::READS_FAILING, format!("{trouble}; trying again"));
                self.stripes[index.at()].read_trouble = Some((trouble, now + READ_PAUSE));
                return notes;
            }
        };
        for (start, end) in found.lost {
            notes.extend(self.lose(index, start, end));
        }
        let acknowledged = &self.durable.stripe(index).acknowledged[&MAIN_GROUP];
        let front = &mut self.stripes[index.at()].front;
        for block in found.blocks {
            front.push(Arc::new(block), acknowledged);
        }
        front.next_block = found.next_block.0;
        front.place =
            Place { segment, offset: found.offset, sequence: found.sequence, epoch: found.epoch };
        front.close_gap(acknowledged);
        self.recycle(index);
        notes
    }

    /// Voids events that are damaged, and says so in the log too: the reservation is to be filled.
    fn lose(
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
        if self.stripes[index.at()].is_active() {
            self.occupied = self.occupied.saturating_sub(lost);
        }
        self.changed();
        self.wakes.room = true;
        let body = LostBody { stripe: index, start, end };
        let home = self.stripes.iter().find(|s| s.is_active() && s.tail_room > 8192)?.index;
        let header = plain_header(FrameKind::Lost, LostBody::BYTES);
        let reservation = self.place(home, header, Effect::Lost(body)).ok()?;
        Some((reservation, body))
    }

    /// A claim whose bytes are damaged although the block's checksum was right when it was read.
    pub fn claim_is_damaged(&mut self, claim: &Claim) -> Option<(Reservation, LostBody)> {
        self.stripes[claim.block.stripe.at()].front.settle(claim);
        let note = self.lose(claim.block.stripe, claim.start(), claim.end());
        self.recycle(claim.block.stripe);
        note
    }

    /// Takes claims back to the front, in order; no I/O.
    pub fn give_back(&mut self, claims: Vec<Claim>) {
        for claim in claims {
            self.stripes[claim.block.stripe.at()].front.give_back(claim);
        }
        self.wakes.takers = true;
    }

    /// The acknowledgement of `claims`: ascending ranges, neighbours joined.
    #[must_use]
    pub fn ack_body(claims: &[Claim]) -> AckBody {
        let mut ranges: Vec<(StripeIndex, u64, u64)> =
            claims.iter().map(|c| (c.block.stripe, c.start(), c.end())).collect();
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
        let open = lendable.filter(|s| !self.too_many_holes(s.index) || s.front.has_returned());
        let fronts = open.filter_map(|s| s.front.turn().map(|turn| (turn, s.index)));
        fronts.min().map(|(_, index)| index)
    }

    fn lend_later(&mut self, now: Duration) -> Lent {
        let (mut reading, mut wanting) = (false, None);
        for stripe in self.stripes.iter().filter(|s| s.readable() && s.front.is_empty()) {
            let waits = self.has_cold(stripe.index) && !self.may_read(stripe.index);
            if stripe.front.reading || waits {
                reading = true;
            } else if self.has_cold(stripe.index) {
                wanting = Some(stripe.index);
            }
        }
        if let Some(job) = wanting.and_then(|index| self.read_job(now, index)) {
            return Lent::Read(job);
        }
        let held = self.stripes.iter().any(|s| s.lendable() && !s.front.is_empty());
        if reading || held { Lent::Wait } else { Lent::Empty }
    }

    /// Whether a stripe's next event is on the disk only.
    fn needs_read(&self) -> bool {
        self.stripes.iter().any(|s| s.readable() && s.front.is_empty() && self.has_cold(s.index))
    }

    fn lags(&self, stripe: &Stripe, low_water_bytes: usize) -> bool {
        let low = stripe.front.window_bytes < low_water_bytes && !stripe.front.reading;
        low && stripe.readable() && self.has_cold(stripe.index) && self.may_read(stripe.index)
    }

    pub(super) fn has_cold(&self, index: StripeIndex) -> bool {
        let front = &self.stripes[index.at()].front;
        front.next_block <= self.durable.stripe(index).watermark.block.0
    }

    /// Whether one claim more could leave more holes than a stripe may have. Ranges behind the next event
    /// do not count, however many there are: what is void there goes only when what waits in front of it
    /// is taken. The first claim begins at the frontier and leaves none.
    fn too_many_holes(&self, index: StripeIndex) -> bool {
        let Some(acknowledged) = self.acknowledged(index, MAIN_GROUP) else { return false };
        let front = &self.stripes[index.at()].front;
        let max = HOLES_PER_STRIPE_MAX.min(self.durable.ranges_per_stripe() / 2);
        if acknowledged.ranges_beyond() + front.claims < max {
            return false;
        }
        if Broken::VoidsAreHoles.is_chosen() {
            return true;
        }
        front.cursor().is_some_and(|next| acknowledged.ranges_below(next) + front.claims >= max)
    }

    /// Whether the stripe may be read on: what is damaged there becomes void, and the state must be able
    /// to name it. When everything that was read is done with it can, whatever else is void.
    fn may_read(&self, index: StripeIndex) -> bool {
        let few = self.durable.stripe(index).ranges_beyond() < self.durable.ranges_per_stripe() / 2;
        let front = &self.stripes[index.at()].front;
        few || (front.is_idle() && front.window_is_empty())
    }

    fn read_job(&mut self, now: Duration, index: StripeIndex) -> Option<ReadJob> {
        if !self.has_cold(index) || !self.may_read(index) {
            return None;
        }
        let watermark = self.durable.stripe(index).watermark;
        let lost_max = self.durable.ranges_per_stripe() / 8;
        let stripe = &mut self.stripes[index.at()];
        let next = stripe.front.next_block;
        let at = stripe.segments.iter().rposition(|s| s.first_block.0 <= next).unwrap_or(0);
        let segment = stripe.segments.get(at)?;
        if stripe.front.place.segment != segment.id {
            let offset = crate::record::segment::SEGMENT_HEADER_BYTES as u64;
            let sequence = segment.first_sequence.0;
            stripe.front.place =
                Place { segment: segment.id, offset, sequence, ..Place::default() };
        }
        let behind = stripe.segments.get(at + 1);
        let last = behind.map_or(watermark.block, |s| BlockNumber(s.first_block.0 - 1));
        let mut end = match watermark.segment == segment.id {
            true => watermark.end_offset,
            false => segment.len,
        };
        let mut last = last.min(watermark.block);
        let mut end_sequence = behind.map_or(watermark.sequence.0, |s| s.first_sequence.0);
        // What is in memory behind the gap is not read.
        let ahead = stripe.front.ahead.as_ref();
        if let Some(ahead) = ahead.filter(|ahead| ahead.first.segment == segment.id) {
            (last, end) = (BlockNumber(ahead.first_block - 1), ahead.first.offset);
            end_sequence = ahead.first.sequence;
        }
        stripe.front.reading = true;
        stripe.front.reading_since = now;
        Some(ReadJob {
            stripe: index,
            uuid: stripe.uuid,
            channel: stripe.channel,
            file: Arc::clone(&segment.file),
            segment: segment.id,
            offset: stripe.front.place.offset,
            end,
            next_block: BlockNumber(next),
            last_block: last,
            sequence: stripe.front.place.sequence,
            epoch: stripe.front.place.epoch,
            end_sequence,
            lost_max,
        })
    }
}

impl Stripe {
    /// Whether its events in memory may be lent: it is alive, and the fence of its last failure, if
    /// there was one, is durable.
    fn lendable(&self) -> bool {
        matches!(self.health, Health::Active) && self.epoch_start != EpochStart::Due
    }

    /// Whether its next events may be waited for when they are on the disk only.
    fn readable(&self) -> bool {
        self.lendable() && self.read_trouble.is_none()
    }
}
