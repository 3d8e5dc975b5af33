//! One stripe: its segments, its queue of blocks, its writes in flight.

use super::block::{Block, Effect, OpenBlock, Sealed};
use super::job::JobId;
use super::lease::Front;
use crate::base::checksum::Salt;
use crate::base::ids::{
    BlockNumber, EpochNumber, SegmentId, Sequence, StripeIndex, Uuid, WriteOrder,
};
use crate::base::mutant::Broken;
use crate::base::trouble::Trouble;
use crate::disk::File;
use crate::disk::memory::{Area, AreaWriter};
use crate::metrics::{Ages, Durations};
use crate::record::Epoch;
use crate::record::body::AckBody;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A segment that holds blocks.
#[derive(Clone)]
pub struct LiveSegment {
    /// Which of the directory's segment files it is.
    pub slot: u32,
    /// Its number in the stripe.
    pub id: SegmentId,
    /// The file.
    pub file: Arc<dyn File>,
    /// Length of the file, bytes.
    pub len: u64,
    /// Its first block, the state record.
    pub first_block: BlockNumber,
    /// Sequence of its first event.
    pub first_sequence: Sequence,
    /// No block in it has a lower write order.
    pub first_order: WriteOrder,
}

/// A zero-filled or recycled segment, ready to be taken into use.
#[derive(Clone)]
pub struct FreeSegment {
    /// Which of the directory's segment files it is.
    pub slot: u32,
    /// The file.
    pub file: Arc<dyn File>,
    /// Length of the file, bytes.
    pub len: u64,
}

/// What a stripe begins with.
pub struct StripeStart {
    /// Its place in the member list.
    pub index: StripeIndex,
    /// Its directory's uuid.
    pub uuid: Uuid,
    /// The channel's uuid.
    pub channel: Uuid,
    /// The new life.
    pub epoch: Epoch,
    /// Live segments, oldest first; the last one is written on from `end_offset`.
    pub segments: Vec<LiveSegment>,
    /// Where the last live segment's blocks end, bytes.
    pub end_offset: u64,
    /// Segments ready for use.
    pub free: Vec<FreeSegment>,
    /// The next block's number.
    pub next_block: BlockNumber,
    /// The next event's sequence.
    pub next_sequence: Sequence,
    /// The highest segment id ever seen on the stripe.
    pub last_segment: SegmentId,
    /// Writes that may be in flight at once.
    pub writes_in_flight_max: usize,
    /// False when the directory is missing.
    pub available: bool,
}

/// Whether a stripe can be written.
#[derive(Clone, Debug)]
pub(super) enum Health {
    Active,
    /// A write failed or hung; tried again at `retry_at`.
    Suspended {
        cause: Trouble,
        retry_at: Duration,
    },
    /// Its directory is missing.
    Missing,
}

/// How far the start of the stripe's epoch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochStart {
    /// The state record that starts it is still to be written.
    Due,
    /// It stands in a checkpoint slot: the next segment's state record is written alone.
    InSlot,
    /// It is in the log.
    Done,
}

pub(super) struct InFlight {
    pub job: JobId,
    pub number: BlockNumber,
    pub order: WriteOrder,
    pub segment: SegmentId,
    pub offset: u64,
    /// Where the block begins in `area`: behind the segment header, if that goes with it.
    pub block_at: usize,
    pub area: Arc<Area>,
    pub block: Block,
    pub started: Duration,
    pub done: bool,
    /// It has returned with an error.
    pub failed: bool,
}

/// A stripe that has failed, until its frames move.
pub(super) struct Failing {
    pub cause: Trouble,
    /// What waited for a write: it gets no header any more.
    pub queued: Vec<(Block, Arc<Area>)>,
}

/// One stripe.
pub(super) struct Stripe {
    pub index: StripeIndex,
    pub uuid: Uuid,
    pub channel: Uuid,
    pub block_salt: Salt,
    pub health: Health,
    pub epoch: Epoch,
    pub epoch_start: EpochStart,
    /// Sequences void since the epoch began; they enter the record that starts it.
    pub void_at_start: (u64, u64),
    pub next_key: u64,
    pub next_block: u64,
    pub next_sequence: u64,
    pub last_segment: u64,
    pub segments: VecDeque<LiveSegment>,
    pub free: Vec<FreeSegment>,
    /// Bytes that segments of the stripe should have by now.
    pub segment_bytes: u64,
    /// Where the next block goes in the last segment.
    pub end_offset: u64,
    /// Room behind the queued blocks, in the segment where the last of them will lie.
    pub tail_room: u64,
    pub roll_planned: bool,
    pub writer: Option<AreaWriter>,
    pub open: Option<OpenBlock>,
    pub sealed: VecDeque<Sealed>,
    pub in_flight: VecDeque<InFlight>,
    /// Failed or abandoned writes that have not returned, with the slot they write to.
    pub zombies: Vec<(JobId, u32)>,
    /// A write has failed, and its epoch ends when all that is reserved is filled.
    pub failing: Option<Failing>,
    /// Slots of segments in use that a write has failed on: each is opened anew before its next use.
    pub failed: Vec<u32>,
    /// Those that are free again and still to be opened anew.
    pub to_reopen: Vec<FreeSegment>,
    /// Slots of segments that hold blocks and whose file somebody removed or cut short.
    pub lost: Vec<u32>,
    pub writes_in_flight_max: usize,
    /// How long writes took that ended well.
    pub writes: Durations,
    /// When its events became durable.
    pub ages: Ages,
    /// Events' readers.
    pub front: Front,
    /// Below `minimumRequiredSpace`, or its directory went: it takes no puts at all.
    pub no_space: Option<Trouble>,
    /// A segment of at least this many bytes is wanted and none is there.
    pub wants_segment: u64,
    /// Bytes of the shortest segment that could not be made, and why: what needs none so long goes on.
    pub refused_segment: Option<(u64, Trouble)>,
    /// Bytes per second of recent writes, for the choice of stripe.
    pub rate: f64,
    /// Why its events cannot be read now, and when to try again.
    pub read_trouble: Option<(Trouble, Duration)>,
    /// What is in doubt until a fence or the next epoch's start is durable.
    pub doubts: Doubts,
    /// The end of its life is to stand in its checkpoint slot: it is suspended, and no segment is
    /// free.
    pub slot_wanted: bool,
    /// Nothing outside its last segment says that the segment is in use: no checkpoint was begun since it was
    /// taken into use.
    pub segment_unnamed: bool,
    /// The life whose beginning a fence says that is on its way on another stripe, or was.
    pub fence_placed: Option<EpochNumber>,
    /// Failures in a row, without a calm while between them.
    pub strikes: u32,
    /// When the last of them was.
    pub failed_at: Duration,
    pub bytes_written: u64,
    /// When the last write ended that ended well.
    pub written_at: Option<Duration>,
}

/// What a failed block held that went nowhere. It may have reached the medium: until something
/// durable says that it is void, its source gets no further position and its claims stay lent.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub sources: Vec<String>,
    pub acks: Vec<(u64, AckBody)>,
}

impl Doubts {
    pub(super) fn add(&mut self, effect: &Effect) {
        match effect {
            Effect::Put { position: Some((source, _)), .. } => self.sources.push(source.clone()),
            Effect::Ack { ack, body } => self.acks.push((*ack, body.clone())),
            Effect::Put { .. } | Effect::State(_) | Effect::Fence(_) | Effect::Lost(_) => {}
        }
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.sources.append(&mut other.sources);
        self.acks.append(&mut other.acks);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.acks.is_empty()
    }
}

impl Stripe {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.health, Health::Active)
    }

    /// Bytes left in the last segment.
    pub(super) fn segment_room(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.len.saturating_sub(self.end_offset))
    }

    /// Bytes that wait for a write.
    pub(super) fn queued_bytes(&self) -> u64 {
        let sealed: usize = self.sealed.iter().map(|s| s.area.len()).sum();
        let open = self.open.as_ref().map_or(0, |o| o.block.len);
        (sealed + open) as u64
    }

    /// Bytes of the block that is written next.
    pub(super) fn first_queued_bytes(&self) -> u64 {
        let sealed = self.sealed.front().map(|s| s.area.len());
        let open = || self.open.as_ref().map_or(0, |o| o.block.written_len());
        sealed.unwrap_or_else(open) as u64
    }

    /// Bytes queued or in flight.
    pub(super) fn outstanding_bytes(&self) -> u64 {
        let flying: usize = self.in_flight.iter().map(|w| w.area.len()).sum();
        self.queued_bytes() + flying as u64
    }

    /// Seconds until a frame reserved now would be durable, roughly. A stripe that hangs gets
    /// worse with every moment although it has few bytes outstanding.
    pub(super) fn expected_seconds(&self, now: Duration) -> f64 {
        let age =
            self.in_flight.front().map_or(0.0, |w| now.saturating_sub(w.started).as_secs_f64());
        self.outstanding_bytes() as f64 / self.rate.max(1.0) + age
    }

    pub(super) fn writing_alone(&self) -> bool {
        self.in_flight.iter().any(|w| w.block.solo)
    }

    /// Whether a write that has not returned may still reach the file in `slot`.
    pub(super) fn haunted(&self, slot: u32) -> bool {
        self.zombies.iter().any(|(_, s)| *s == slot) && !Broken::HauntedSegment.is_chosen()
    }
}
