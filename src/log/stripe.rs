//! One stripe: its segments, its queue of blocks, its writes in flight.

use super::block::FrameEffect;
use super::block_queue::BlockQueue;
use super::read_window::ReadWindow;
use super::segment_space::{FreeSegment, LiveSegment, SegmentSpace};
use super::stripe_phase::{FailureCount, PhaseEvent, StripePhase};
use crate::base::checksum::Salt;
use crate::base::event_ages::EventAges;
use crate::base::fault_cause::FaultCause;
use crate::base::histogram::DurationHistogram;
use crate::base::ids::{BlockNumber, EpochNumber, SegmentId, Sequence, StripeIndex, Uuid};
use crate::record::Epoch;
use crate::record::body::AckBody;
use std::time::Duration;

/// The initial state of a stripe.
pub struct StripeStart {
    /// Its index in the member list.
    pub index: StripeIndex,
    /// Its directory's uuid.
    pub uuid: Uuid,
    /// The channel's uuid.
    pub channel: Uuid,
    /// The new epoch.
    pub epoch: Epoch,
    /// Live segments, oldest first; writing continues in the last one at `end_offset`.
    pub segments: Vec<LiveSegment>,
    /// End of the blocks in the last live segment, bytes.
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

/// One stripe.
pub(super) struct Stripe {
    pub index: StripeIndex,
    pub uuid: Uuid,
    pub channel: Uuid,
    pub block_salt: Salt,
    pub phase: StripePhase,
    pub epoch: Epoch,
    /// Sequences void since the epoch began; part of the record that starts it.
    pub void_at_start: (u64, u64),
    pub next_key: u64,
    pub next_block: u64,
    pub next_sequence: u64,
    /// Its segments and the room in them.
    pub space: SegmentSpace,
    /// Its blocks that are not durable.
    pub blocks: BlockQueue,
    /// Durations of successful writes.
    pub writes: DurationHistogram,
    /// When its events became durable.
    pub ages: EventAges,
    /// The read window.
    pub window: ReadWindow,
    /// Below `minimumRequiredSpace`, or its directory was removed: it takes no puts at all.
    pub no_space: Option<FaultCause>,
    /// Bytes per second of recent writes, for the choice of stripe.
    pub rate: f64,
    /// Why its events cannot be read now, and when to try again.
    pub read_fault: Option<(FaultCause, Duration)>,
    /// Frames in doubt until a fence or the start of the next epoch is durable.
    pub unresolved_frames: UnresolvedFrames,
    /// Only its last segment says that this segment is in use: no checkpoint was begun since it was taken into use.
    pub segment_unnamed: bool,
    /// The epoch whose start is recorded by a fence on another stripe, in flight or durable.
    pub fence_placed: Option<EpochNumber>,
    /// Its failures since the opening.
    pub failures: FailureCount,
    pub bytes_written: u64,
    /// When the last successful write ended.
    pub written_at: Option<Duration>,
}

/// Frames of a failed block that could not be moved. They may have reached the medium: until something durable says
/// that they are void, their sources get no further source offset and their leases stay lent.
#[derive(Debug, Default)]
pub(super) struct UnresolvedFrames {
    pub sources: Vec<String>,
    pub acks: Vec<(u64, AckBody)>,
}

impl UnresolvedFrames {
    pub(super) fn add(&mut self, effect: &FrameEffect) {
        match effect {
            FrameEffect::Put { source_offset: Some((source, _)), .. } => {
                self.sources.push(source.clone());
            }
            FrameEffect::Ack { ack, body } => self.acks.push((*ack, body.clone())),
            FrameEffect::Put { .. }
            | FrameEffect::State(_)
            | FrameEffect::Fence(_)
            | FrameEffect::Lost(_) => {}
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
    pub(super) fn is_writable(&self) -> bool {
        self.phase.is_writable()
    }

    /// Changes the phase.
    pub(super) fn enter(&mut self, event: PhaseEvent) {
        let Some(next) = self.phase.after(event.clone()) else {
            panic!("{event:?} cannot occur in {:?}", self.phase)
        };
        self.phase = next;
    }

    /// Returns the estimated seconds until a frame reserved now would be durable. For a stripe that hangs it grows with
    /// time although few bytes are outstanding.
    pub(super) fn expected_seconds(&self, now: Duration) -> f64 {
        let first = self.blocks.in_flight().next();
        let age = first.map_or(0.0, |w| now.saturating_sub(w.started).as_secs_f64());
        self.blocks.outstanding_bytes() as f64 / self.rate.max(1.0) + age
    }

    /// Whether its next block, or the state record of a planned roll, may need another slab of memory.
    pub(super) fn needs_memory_soon(&self) -> bool {
        let starts = self.phase == StripePhase::Starting || self.space.roll_is_planned();
        self.is_writable() && (starts || self.blocks.needs_memory())
    }
}
