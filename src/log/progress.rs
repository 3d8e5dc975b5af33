//! Checkpoints, and what the machine tells about itself.

use super::Log;
use super::fate::Outcome;
use super::forget::forget_position;
use super::stripe::{FreeSegment, Health, Stripe};
use crate::base::ids::{EpochNumber, SegmentId, StripeIndex};
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::base::trouble::Trouble;
use crate::metrics::Spread;
use crate::record::state::{SourcePosition, StateRecord, StripeState};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a checkpoint will make durable.
#[derive(Debug)]
pub struct CheckpointPlan {
    /// The record to write.
    pub state: StateRecord,
    /// [`Log::durable_turn`] that it stands for.
    pub turn: u64,
    acks: Vec<u64>,
    /// Positions that are forgotten with it.
    forgotten: BTreeMap<String, SourcePosition>,
    /// Stripes whose life ends with it.
    epochs: Vec<(StripeIndex, EpochNumber)>,
}

impl CheckpointPlan {
    /// Whether a life of the stripe ends with it.
    #[must_use]
    pub fn ends_life_of(&self, index: StripeIndex) -> bool {
        self.epochs.iter().any(|(of, _)| *of == index)
    }
}

/// A stripe as its keeper and its users see it.
#[derive(Clone, Debug)]
pub struct StripeReport {
    /// Its place in the member list.
    pub index: StripeIndex,
    /// Segments that hold blocks.
    pub segments: usize,
    /// Segments ready for use; those that a hung write may still reach are not.
    pub free: usize,
    /// Bytes of the segments that are ready for use.
    pub free_bytes: u64,
    /// Bytes of the largest segment of both kinds; 0 without one.
    pub largest_segment: u64,
    /// Bytes of the segments that hold blocks.
    pub live_bytes: u64,
    /// Bytes of blocks written since the opening.
    pub bytes_written: u64,
    /// Events waiting or lent.
    pub events: u64,
    /// Below it everything is acknowledged or void, durably.
    pub frontier: u64,
    /// Below it everything is durable.
    pub watermark: u64,
    /// When the first of its durable events that is not done came; `None` without one.
    pub waits_since: Option<Duration>,
    /// Bytes of the log from the first event that is not done to the end. Inside of a segment all events
    /// count as equally large.
    pub lag_bytes: u64,
    /// How long writes took that ended well.
    pub writes: Spread,
    /// A segment of at least this many bytes is wanted now; 0 for none.
    pub wants_segment: u64,
    /// Bytes left in the segment in use; 0 without one.
    pub room_bytes: u64,
    /// Whether a write is in flight.
    pub writing: bool,
    /// When the last write ended that ended well; `None` before the first.
    pub written_at: Option<Duration>,
    /// The highest segment id in use.
    pub last_segment: SegmentId,
    /// Writes that were given up and have not returned.
    pub hung_writes: usize,
    /// Why it cannot be written, if it cannot.
    pub suspended: Option<Trouble>,
    /// Whether its disk has less space than puts must leave, or its directory went.
    pub lacks_space: bool,
    /// Why it takes no puts that need a further segment, if it does not.
    pub no_space: Option<Trouble>,
    /// Why a segment that was wanted could not be made: the usual one, or a longer one for a large put.
    pub refused_segment: Option<Trouble>,
}

impl Log {
    /// What a checkpoint written now would make durable, with the acknowledgements that wait for
    /// one because the log has no room for them, and the ends of lives for which there is no segment.
    pub fn plan_checkpoint(&mut self) -> CheckpointPlan {
        let mut state = self.durable.clone();
        for ack in self.acks.values().filter(|_| Broken::AckNamedEarly.is_chosen()) {
            let (stripe, start, end) = ack.body.ranges[0];
            state.stripe_mut(stripe).acknowledge(ack.body.group, start, end);
        }
        // A checkpoint that fails is not begun again for it at once: the next one names it as well.
        self.stripes.iter_mut().for_each(|stripe| stripe.segment_unnamed = false);
        let acks = std::mem::take(&mut self.slot_queue);
        for ack in acks.iter().filter_map(|id| self.acks.get(id)) {
            for (stripe, start, end) in &ack.body.ranges {
                state.stripe_mut(*stripe).acknowledge(ack.body.group, *start, *end);
            }
        }
        let epochs = self.epochs_for_slots();
        epochs.iter().for_each(|(index, _)| state.join(&self.state_of(*index)));
        let forgotten = self.forgotten();
        for (source, position) in &forgotten {
            forget_position(&mut state, source, position);
        }
        CheckpointPlan { state, turn: self.durable_turn, acks, forgotten, epochs }
    }

    /// Reports that a planned checkpoint is durable, or that none could be written: then its
    /// acknowledgements wait for the next one. `homes` are the stripes in whose own directories it
    /// was written.
    pub fn checkpoint_done(
        &mut self,
        now: Duration,
        plan: CheckpointPlan,
        durable: bool,
        homes: &[StripeIndex],
    ) {
        for (index, epoch) in plan.epochs {
            self.epoch_was_written(now, (index, epoch), homes.contains(&index));
        }
        if !durable {
            self.slot_queue.extend(plan.acks);
            return;
        }
        // A checkpoint is no change: else an idle channel would write the next one for it, for ever.
        if !plan.acks.is_empty() || !plan.forgotten.is_empty() {
            self.changed();
        }
        self.forgotten_is_durable(plan.forgotten);
        for id in plan.acks {
            Rare::SlotAck.reached();
            let Some(ack) = self.acks.get_mut(&id) else { continue };
            let (body, fate) = (ack.body.clone(), ack.slot_fate.take());
            self.apply_ack(id, &body, false);
            if let Some(fate) = fate {
                fate.settle(Outcome::Durable);
                self.wakes.fates.push(fate);
            }
        }
    }

    /// Whether acknowledgements, or the end of a stripe's life, wait for a checkpoint, or a segment was taken
    /// into use that none has named yet.
    #[must_use]
    pub fn checkpoint_is_wanted(&self) -> bool {
        let unnamed = |s: &Stripe| s.segment_unnamed && !Broken::SegmentUnnamed.is_chosen();
        self.checkpoint_is_urgent() || self.stripes.iter().any(unnamed)
    }

    /// Whether somebody waits for that checkpoint: all but the name of a segment.
    #[must_use]
    pub fn checkpoint_is_urgent(&self) -> bool {
        let wants = |s: &Stripe| s.slot_wanted;
        !self.slot_queue.is_empty() || self.forgets() || self.stripes.iter().any(wants)
    }

    /// Whether the stripe is written: neither missing nor suspended.
    #[must_use]
    pub fn is_active(&self, index: StripeIndex) -> bool {
        matches!(self.stripes[index.at()].health, Health::Active)
    }

    /// Whether a write of the stripe was given up that has not returned.
    #[must_use]
    pub fn hangs(&self, index: StripeIndex) -> bool {
        !self.stripes[index.at()].zombies.is_empty()
    }

    /// Events waiting or lent on stripes that can be reached.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.occupied
    }

    /// Events lent to takes that are open or in doubt, on stripes that can be reached.
    #[must_use]
    pub fn lent(&self) -> u64 {
        self.stripes
            .iter()
            .filter(|stripe| stripe.is_active())
            .map(|stripe| stripe.front.lent)
            .sum()
    }

    /// Events on stripes that cannot be reached now.
    #[must_use]
    pub fn out_of_reach(&self) -> u64 {
        self.waiting_on(|stripe| !stripe.is_active())
    }

    /// Events lost to damage since the channel was made.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.durable.stripes.iter().map(|s| s.damaged_events).sum()
    }

    /// Events that are durable and neither acknowledged nor void, on all stripes.
    pub(super) fn published(&self) -> u64 {
        let waiting = |stripe: &StripeState| -> u64 {
            let missing = stripe.missing(0, stripe.watermark.sequence.0);
            missing.iter().map(|(start, end)| end - start).sum()
        };
        self.durable.stripes.iter().map(waiting).sum()
    }

    /// What was there at the opening and what was put since, less what was taken, what waits and what
    /// was lost to damage: 0, as long as every event is accounted for. The two sides are counted by
    /// different parts of the machine.
    #[must_use]
    pub fn unaccounted(&self) -> i64 {
        let (waited, damaged) = self.began;
        let came = waited + self.counts.put;
        let went = self.counts.taken + self.published() + (self.quarantined() - damaged);
        came.cast_signed().wrapping_sub(went.cast_signed())
    }

    /// Counts since the log was opened.
    #[must_use]
    pub fn counts(&self) -> super::Counts {
        self.counts
    }

    /// Whether nothing is reserved, queued or in flight. What is in doubt is none of these.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.slot_queue.is_empty()
            && self.stripes.iter().all(|s| s.outstanding_bytes() == 0 && s.failing.is_none())
    }

    /// One stripe as of now.
    #[must_use]
    pub fn report(&self, index: StripeIndex) -> StripeReport {
        let stripe = &self.stripes[index.at()];
        let state = self.durable.stripe(index);
        let (frontier, watermark) = (state.frontier(), state.watermark.sequence.0);
        let refused = stripe.refused_segment.as_ref();
        let all_refused = refused.filter(|(len, _)| *len <= stripe.segment_bytes);
        let all_refused = all_refused.map(|(_, trouble)| trouble.clone());
        let suspended = match &stripe.health {
            Health::Active => None,
            Health::Suspended { cause, .. } => Some(cause.clone()),
            Health::Missing => Some(Trouble::new("its directory is missing")),
        };
        let free = stripe.free.iter().filter(|s| !stripe.haunted(s.slot));
        let lens = stripe.segments.iter().map(|s| s.len).chain(stripe.free.iter().map(|s| s.len));
        StripeReport {
            index,
            segments: stripe.segments.len(),
            free: free.clone().count(),
            free_bytes: free.map(|s| s.len).sum(),
            largest_segment: lens.max().unwrap_or(0),
            bytes_written: stripe.bytes_written,
            live_bytes: stripe.segments.iter().map(|s| s.len).sum(),
            events: self.waiting_on(|s| s.index == index),
            frontier,
            watermark,
            waits_since: (frontier < watermark).then(|| stripe.ages.since(frontier)),
            lag_bytes: stripe.bytes_between(frontier, watermark),
            writes: stripe.writes.read(),
            wants_segment: stripe.wants_segment,
            room_bytes: stripe.segment_room(),
            writing: !stripe.in_flight.is_empty(),
            written_at: stripe.written_at,
            last_segment: SegmentId(stripe.last_segment),
            hung_writes: stripe.zombies.len(),
            suspended,
            lacks_space: stripe.no_space.is_some(),
            no_space: stripe.no_space.clone().or(all_refused),
            refused_segment: refused.map(|(_, trouble)| trouble.clone()),
        }
    }

    /// Notes the bytes that segments of the stripe should have by now: smaller ones are used only where no
    /// other is free.
    pub fn set_segment_bytes(&mut self, index: StripeIndex, bytes: u64) {
        self.stripes[index.at()].segment_bytes = bytes;
    }

    /// Takes a free segment out of the pool to be deleted, if more than `keep` are there, one is too small
    /// to be used, or they have more bytes than so many of the usual length and one is longer.
    ///
    /// The one that has been free for longest goes, of those below the stripe's present size first. The
    /// newest may be one that was made just now
    /// because a large transaction waits for it: deleted as a spare, it would be made and deleted
    /// again for ever, and the transaction never written. With `also_newest` nothing has waited for it.
    pub fn spare_segment(
        &mut self,
        index: StripeIndex,
        keep: usize,
        also_newest: bool,
    ) -> Option<FreeSegment> {
        let need = super::reserve::state_bytes_bound(&self.durable, self.acks.len()) + 4096;
        let usual = self.settings.segment_bytes;
        let stripe = &mut self.stripes[index.at()];
        let find = |is_spare: &dyn Fn(&FreeSegment) -> bool| {
            stripe.free.iter().position(|s| !stripe.haunted(s.slot) && is_spare(s))
        };
        let newest = stripe.free.last().map(|s| s.slot).filter(|_| !also_newest);
        let bytes: u64 = stripe.free.iter().map(|s| s.len).sum();
        let by_number = Broken::PoolByNumber.is_chosen();
        let wanted = stripe.wants_segment > 0 || stripe.roll_planned || by_number;
        let large = (bytes > usual.saturating_mul(keep as u64) && !wanted)
            .then(|| find(&|s| s.len > usual && Some(s.slot) != newest));
        let small = find(&|s| s.len < need);
        let spare = find(&|s| s.len < stripe.segment_bytes).or_else(|| find(&|_| true));
        let spare = spare.filter(|_| stripe.free.len() > keep);
        let at = small.or(large.flatten()).or(spare)?;
        Some(stripe.free.remove(at))
    }

    /// Slot of the segment that came free last.
    #[must_use]
    pub fn newest_free(&self, index: StripeIndex) -> Option<u32> {
        self.stripes[index.at()].free.last().map(|s| s.slot)
    }
}

/// `part` of `whole` of the bytes `held`.
fn scaled(held: u64, part: u64, whole: u64) -> u64 {
    let bytes = u128::from(held) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Stripe {
    /// Bytes of the blocks that hold the sequences `start..end`, about.
    fn bytes_between(&self, start: u64, end: u64) -> u64 {
        let firsts = self.segments.iter().map(|s| s.first_sequence.0);
        let ends = firsts.clone().skip(1).chain([end]);
        let last = self.segments.len().saturating_sub(1);
        let spans = self.segments.iter().enumerate().zip(firsts.zip(ends));
        let bytes = spans.map(|((at, segment), (first, behind))| {
            let held = if at == last { self.end_offset } else { segment.len };
            let there = behind.saturating_sub(first);
            let wanted = behind.min(end).saturating_sub(first.max(start));
            match wanted {
                0 => 0,
                all if all == there => held,
                // Only the segments at both ends are cut.
                part => scaled(held, part, there),
            }
        });
        bytes.sum()
    }
}
