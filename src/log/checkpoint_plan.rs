//! Checkpoints: what the next one makes durable, and what its result changes. `channel/file/checkpoint.rs` writes them.

use super::Log;
use super::block_completion::BlockOutcome;
use super::source_offsets::forget_source_offset;
use super::stripe::Stripe;
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{EpochNumber, StripeIndex};
use crate::base::mutation::Mutation;
use crate::record::state::{SourceOffset, StateRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a checkpoint makes durable.
#[derive(Debug)]
pub struct CheckpointPlan {
    /// The record to write.
    pub state: StateRecord,
    /// The [`Log::durable_version`] of `state`.
    pub version: u64,
    acks: Vec<u64>,
    /// Source offsets that it forgets.
    tombstones: BTreeMap<String, SourceOffset>,
    /// Stripes whose epoch it ends.
    epochs: Vec<(StripeIndex, EpochNumber)>,
}

impl CheckpointPlan {
    /// Whether it ends an epoch of the stripe.
    #[must_use]
    pub fn ends_epoch_of(&self, index: StripeIndex) -> bool {
        self.epochs.iter().any(|(of, _)| *of == index)
    }
}

impl Log {
    /// Returns what a checkpoint written now would make durable, including acknowledgements for which the log has no
    /// room and ends of epochs for which there is no segment.
    pub fn plan_checkpoint(&mut self) -> CheckpointPlan {
        let mut state = self.durable.clone();
        for ack in self.acks.values().filter(|_| Mutation::AckNamedEarly.is_active()) {
            let (stripe, start, end) = ack.body.ranges[0];
            state.stripe_mut(stripe).acknowledge(ack.body.group, start, end);
        }
        // If this checkpoint fails, none is started for this reason at once: the next one names it as well.
        self.stripes.iter_mut().for_each(|stripe| stripe.segment_unnamed = false);
        let acks = std::mem::take(&mut self.slot_queue);
        for ack in acks.iter().filter_map(|id| self.acks.get(id)) {
            for (stripe, start, end) in &ack.body.ranges {
                state.stripe_mut(*stripe).acknowledge(ack.body.group, *start, *end);
            }
        }
        let epochs = self.epochs_for_slots();
        epochs.iter().for_each(|(index, _)| state.join(&self.state_of(*index)));
        let tombstones = self.source_offsets.plan_tombstones();
        for (source, source_offset) in &tombstones {
            forget_source_offset(&mut state, source, source_offset);
        }
        CheckpointPlan { state, version: self.durable_version, acks, tombstones, epochs }
    }

    /// Reports that a planned checkpoint is durable, or that none could be written: then its acknowledgements wait for
    /// the next one. `homes` are the stripes in whose own directories it was written.
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
        // A checkpoint does not count as a change, or an idle channel would write checkpoints forever.
        if !plan.acks.is_empty() || !plan.tombstones.is_empty() {
            self.changed();
        }
        self.wakeups.room |= !plan.tombstones.is_empty();
        self.source_offsets.tombstones_are_durable(&plan.tombstones, &mut self.durable);
        for id in plan.acks {
            CoverageMark::SlotAck.hit();
            let Some(ack) = self.acks.get_mut(&id) else { continue };
            let (body, completion) = (ack.body.clone(), ack.slot_completion.take());
            self.apply_ack(id, &body, false);
            if let Some(completion) = completion {
                completion.set_outcome(BlockOutcome::Durable);
                self.wakeups.completions.push(completion);
            }
        }
    }

    /// Whether acknowledgements or the end of a stripe's epoch wait for a checkpoint, or a segment in use is not named
    /// in any.
    #[must_use]
    pub fn checkpoint_is_wanted(&self) -> bool {
        let unnamed = |s: &Stripe| s.segment_unnamed && !Mutation::SegmentUnnamed.is_active();
        self.checkpoint_is_urgent() || self.stripes.iter().any(unnamed)
    }

    /// Whether a checkpoint is waited for: true for all but the name of a segment.
    #[must_use]
    pub fn checkpoint_is_urgent(&self) -> bool {
        let wants = |s: &Stripe| s.phase.awaits_slot();
        !self.slot_queue.is_empty()
            || self.source_offsets.has_tombstones()
            || self.stripes.iter().any(wants)
    }
}
