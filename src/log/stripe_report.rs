//! Reports of the machine's state, for maintenance and for metrics.

use super::Log;
use super::stripe_phase::StripePhase;
use crate::base::fault_cause::{FaultCause, FaultKind};
use crate::base::histogram::HistogramReading;
use crate::base::ids::{SegmentId, StripeIndex};
use crate::record::state::StripeState;
use std::time::Duration;

/// The state of a stripe, for maintenance and for metrics.
#[derive(Clone, Debug)]
pub struct StripeReport {
    /// Its index in the member list.
    pub index: StripeIndex,
    /// Segments that hold blocks.
    pub segments: usize,
    /// Segments ready for use, without those that a hung write may still reach.
    pub free: usize,
    /// Bytes of the segments that are ready for use.
    pub free_bytes: u64,
    /// Bytes of the largest segment, live or free; 0 without one.
    pub largest_segment: u64,
    /// Bytes of the segments that hold blocks.
    pub live_bytes: u64,
    /// Bytes of blocks written since the opening.
    pub bytes_written: u64,
    /// Events waiting or lent.
    pub events: u64,
    /// The sequence below which everything is durably acknowledged or void.
    pub frontier: u64,
    /// The sequence below which everything is durable.
    pub watermark: u64,
    /// When the oldest of its durable, unacknowledged events arrived; `None` without one.
    pub waits_since: Option<Duration>,
    /// Bytes of the log from the first unacknowledged event to the end; within a segment all events count as equally
    /// large.
    pub lag_bytes: u64,
    /// Durations of successful writes.
    pub writes: HistogramReading,
    /// A segment of at least this many bytes is wanted now; 0 for none.
    pub wants_segment: u64,
    /// Bytes left in the segment in use; 0 without one.
    pub room_bytes: u64,
    /// Whether a write is in flight.
    pub writing: bool,
    /// When the last successful write ended; `None` before the first.
    pub written_at: Option<Duration>,
    /// The highest segment id in use.
    pub last_segment: SegmentId,
    /// Writes that were given up and have not returned.
    pub hung_writes: usize,
    /// Why it is suspended, if it is.
    pub suspended: Option<FaultCause>,
    /// Whether its disk has less free space than puts must leave, or its directory was removed.
    pub lacks_space: bool,
    /// Why it takes no puts that need another segment, if it does not.
    pub no_space: Option<FaultCause>,
    /// Why a wanted segment could not be made: one of the usual size, or a larger one for a large put.
    pub refused_segment: Option<FaultCause>,
}

impl Log {
    /// Whether the stripe can be written: neither missing nor suspended.
    #[must_use]
    pub fn is_writable(&self, index: StripeIndex) -> bool {
        self.stripes[index.at()].is_writable()
    }

    /// Whether a write of the stripe was given up and has not returned.
    #[must_use]
    pub fn hangs(&self, index: StripeIndex) -> bool {
        self.stripes[index.at()].space.abandoned_writes() > 0
    }

    /// Counts events waiting or lent on reachable stripes.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.occupied
    }

    /// Counts events lent to takes that are open or in doubt, on reachable stripes.
    #[must_use]
    pub fn lent(&self) -> u64 {
        self.stripes
            .iter()
            .filter(|stripe| stripe.is_writable())
            .map(|stripe| stripe.window.lent())
            .sum()
    }

    /// Counts events on stripes that cannot be reached now.
    #[must_use]
    pub fn out_of_reach(&self) -> u64 {
        self.waiting_on(|stripe| !stripe.is_writable())
    }

    /// Counts events lost to damage since the channel was created.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.durable.stripes.iter().map(|s| s.damaged_events).sum()
    }

    /// Counts events that are durable and neither acknowledged nor void, on all stripes.
    pub(super) fn published(&self) -> u64 {
        let waiting = |stripe: &StripeState| -> u64 {
            let missing = stripe.missing(0, stripe.watermark.sequence.0);
            missing.iter().map(|(start, end)| end - start).sum()
        };
        self.durable.stripes.iter().map(waiting).sum()
    }

    /// Returns the events at the opening plus those put since, less those taken, waiting and lost to damage: 0 while
    /// every event is accounted for. The two sides are counted by different parts of the machine.
    #[must_use]
    pub fn unaccounted(&self) -> i64 {
        let (waited, damaged) = self.began;
        let came = waited + self.counts.put;
        let went = self.counts.taken + self.published() + (self.quarantined() - damaged);
        came.cast_signed().wrapping_sub(went.cast_signed())
    }

    /// Returns the counts since the log was opened.
    #[must_use]
    pub fn counts(&self) -> super::LogCounts {
        self.counts
    }

    /// Whether nothing is reserved, queued or in flight. Frames in doubt are none of these.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.slot_queue.is_empty()
            && self
                .stripes
                .iter()
                .all(|s| s.blocks.outstanding_bytes() == 0 && !s.phase.is_failing())
    }

    /// Returns the present state of one stripe.
    #[must_use]
    pub fn report(&self, index: StripeIndex) -> StripeReport {
        let stripe = &self.stripes[index.at()];
        let state = self.durable.stripe(index);
        let (frontier, watermark) = (state.frontier(), state.watermark.sequence.0);
        let missing = || FaultCause::new(FaultKind::Missing, index, "its directory is missing");
        let suspended = match &stripe.phase {
            StripePhase::Missing => Some(missing()),
            phase => phase.cause().cloned(),
        };
        let (space, reading) = (&stripe.space, stripe.space.reading());
        StripeReport {
            index,
            segments: reading.live,
            free: reading.free,
            free_bytes: reading.free_bytes,
            largest_segment: reading.largest,
            bytes_written: stripe.bytes_written,
            live_bytes: reading.live_bytes,
            events: self.waiting_on(|s| s.index == index),
            frontier,
            watermark,
            waits_since: (frontier < watermark).then(|| stripe.ages.latest_arrival(frontier)),
            lag_bytes: space.bytes_between(frontier, watermark),
            writes: stripe.writes.read(),
            wants_segment: space.wanted_bytes(),
            room_bytes: space.room(),
            writing: !stripe.blocks.is_idle(),
            written_at: stripe.written_at,
            last_segment: space.last_id(),
            hung_writes: space.abandoned_writes(),
            suspended,
            lacks_space: stripe.no_space.is_some(),
            no_space: stripe.no_space.as_ref().or(space.refused_usual()).cloned(),
            refused_segment: space.refused().map(|(_, fault)| fault.clone()),
        }
    }
}
