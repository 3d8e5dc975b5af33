//! Decides what the data read means: pure, without the disk.

use super::adoption;
use super::decision_table::{self, GapFacts};
use super::epochs::{self, EpochHistory};
use super::numbers::DEGRADED_JUMP;
use super::verdict::{Decision, Ruling, Verdict};
use crate::base::ids::{BlockNumber, SegmentId, Sequence, StripeIndex, WriteOrder};
use crate::base::mutation::Mutation;
use crate::base::ranges::RangeSet;
use crate::record::block::BlockHeader;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::StateRecord;
use crate::record::{Epoch, Watermark};
use crate::recovery::case::Case;
use crate::recovery::read::contents::stripe_index;
use crate::recovery::read::scan::{ScannedBlock, ScannedEffect};
use crate::recovery::read::segment_file::SegmentFile;
use crate::recovery::read::stripe_reading::StripeReading;
use std::collections::BTreeSet;

/// Decides. `joined` is the state of checkpoints and segment starts; the scans begin at its
/// watermarks.
pub(crate) fn decide(readings: &[&StripeReading], joined: &StateRecord) -> Decision {
    let mut state = joined.clone();
    let mut epochs = known_epochs(readings, joined);
    for block in readings.iter().flat_map(|r| &r.scan.blocks) {
        for effect in &block.effects {
            if let ScannedEffect::State(found) = effect {
                join(&mut state, found, &mut epochs);
            }
        }
    }
    adoption::void_copies(&mut state, readings);
    let bases: Vec<Watermark> =
        readings.iter().enumerate().map(|(at, r)| base(r, joined, at)).collect();
    let blocks: Vec<&[ScannedBlock]> = readings.iter().map(|r| &r.scan.blocks[..]).collect();
    let numbers: Vec<BlockNumber> = bases.iter().map(|b| b.block).collect();
    let chains = epochs::chains(&blocks, &mut epochs, &numbers);
    let mut acked = vec![Sequence(0); readings.len()];
    for (reading, chain) in readings.iter().zip(&chains) {
        for effect in chain.iter().flat_map(|i| &reading.scan.blocks[*i].effects) {
            apply(&mut state, effect, &mut acked);
        }
    }
    let mut order = WriteOrder(0);
    let mut stripes = Vec::new();
    for (at, (reading, kept)) in readings.iter().zip(chains).enumerate() {
        let index = stripe_index(at);
        let mut stripe = OneStripe {
            reading,
            epochs: &epochs[at],
            index,
            base: bases[at],
            acked: acked[at],
            state: &mut state,
        };
        order = order.max(stripe.order());
        stripes.push(if reading.present { stripe.judge(kept) } else { stripe.absent() });
    }
    for (at, epochs) in epochs.iter().enumerate() {
        if let Some(latest) = epochs.latest() {
            let stripe = &mut state.stripes[at];
            if (latest.number, latest.nonce) > (stripe.epoch.number, stripe.epoch.nonce) {
                stripe.epoch = latest;
            }
        }
    }
    Decision { state, stripes, order }
}

fn known_epochs(readings: &[&StripeReading], joined: &StateRecord) -> Vec<EpochHistory> {
    readings
        .iter()
        .zip(&joined.stripes)
        .map(|(reading, state)| {
            let mut epochs = EpochHistory::default();
            epochs.add(state.epoch);
            // Where an epoch began whose first blocks are missing is unknown: see R12.
            let headed = reading.segments.iter().filter(|s| s.starts_with_hole().is_none());
            headed.for_each(|s| epochs.add(s.header.epoch));
            let segments = reading.segments.iter().map(|s| s.header.epoch);
            segments.for_each(|epoch| epochs.add_logged(epoch.number, epoch.nonce));
            let blocks = reading.scan.blocks.iter().map(|b| &b.header);
            blocks.for_each(|header| epochs.add_logged(header.epoch, header.nonce));
            epochs
        })
        .collect()
}

/// Joins a state record found in a block, if it fits the channel.
fn join(state: &mut StateRecord, found: &StateRecord, epochs: &mut [EpochHistory]) {
    if found.stripes.len() > state.stripes.len() {
        return;
    }
    state.join(found);
    for (epochs, stripe) in epochs.iter_mut().zip(&found.stripes) {
        epochs.add(stripe.epoch);
    }
}

/// Returns where the scan of a stripe began: the joined watermark, or the start of its oldest
/// segment when nothing names one.
fn base(reading: &StripeReading, joined: &StateRecord, at: usize) -> Watermark {
    let named = joined.stripes[at].watermark;
    match reading.segments.first() {
        Some(first) if named.block.0 == 0 => Watermark {
            block: BlockNumber(first.header.first_block.0.saturating_sub(1)),
            sequence: first.header.first_sequence,
            order: first.header.first_order,
            // In no segment: if nothing whole is found, the first segment has no block of the log.
            segment: SegmentId(0),
            end_offset: 0,
        },
        _ => named,
    }
}

fn apply(state: &mut StateRecord, effect: &ScannedEffect, acked: &mut [Sequence]) {
    match effect {
        ScannedEffect::SourceOffset(source, source_offset) => {
            state.advance_source_offset(source, source_offset);
        }
        // Joined before, regardless of its block: it says only what was durable.
        ScannedEffect::State(_) => {}
        ScannedEffect::Ack(ack) => {
            for (stripe, start, end) in &ack.ranges {
                if let Some(found) = state.stripes.get_mut(stripe.at()) {
                    found.acknowledge(ack.group, *start, *end);
                    acked[stripe.at()] = acked[stripe.at()].max(Sequence(*end));
                }
            }
        }
        ScannedEffect::Fence(fence) => {
            if let Some(found) = state.stripes.get_mut(fence.stripe.at()) {
                found.void_fenced(fence.void_start.0, fence.void_end.0);
            }
        }
        ScannedEffect::Lost(lost) => {
            if let Some(found) = state.stripes.get_mut(lost.stripe.at()) {
                found.void_damaged(lost.start, lost.end);
            }
        }
        // The frame does not name the block's own stripe: see `OneStripe::void_frames` and
        // `adopt::void_copies`.
        ScannedEffect::Void(..) | ScannedEffect::Moved(_) => {}
    }
}

struct OneStripe<'a> {
    reading: &'a StripeReading,
    epochs: &'a EpochHistory,
    index: StripeIndex,
    base: Watermark,
    /// One after the last sequence that an acknowledgement in some log names.
    acked: Sequence,
    state: &'a mut StateRecord,
}

/// The highest block, and the highest sequence end, that any record names as durable.
#[derive(Clone, Copy)]
struct NamedLimits {
    block: BlockNumber,
    sequence: Sequence,
    /// One after the last sequence that was given out.
    next: Sequence,
}

impl OneStripe<'_> {
    fn absent(&self) -> Verdict {
        let block = self.state.stripe(self.index).watermark.block;
        Verdict { named: block, next_block: block.next(), ..Verdict::default() }
    }

    fn order(&self) -> WriteOrder {
        let scan = &self.reading.scan;
        let headers = scan.blocks.iter().map(|b| &b.header).chain(&scan.torn).map(|h| h.order);
        let segments = self.reading.segments.iter().map(|s| s.header.first_order);
        let known = [self.base.order, self.state.stripe(self.index).watermark.order];
        headers.chain(segments).chain(known).max().unwrap_or_default()
    }

    /// Returns the limits of everything that names a block or a sequence, torn headers included.
    fn named(&self) -> NamedLimits {
        let state = self.state.stripe(self.index);
        let mut named = NamedLimits {
            block: self.base.block.max(state.watermark.block),
            sequence: self.base.sequence.max(state.watermark.sequence).max(self.acked),
            next: state.next,
        };
        let scan = &self.reading.scan;
        for header in scan.blocks.iter().map(|b| &b.header).chain(&scan.torn) {
            named.block = named.block.max(header.watermark_block);
            named.sequence = named.sequence.max(header.watermark_sequence);
            named.next = named.next.max(header.end_sequence());
        }
        for segment in &self.reading.segments {
            let header = &segment.header;
            named.next = named.next.max(header.first_sequence);
            if segment.starts_with_hole().is_some() {
                continue;
            }
            // A segment is put into use when everything before it is durable.
            named.block = named.block.max(BlockNumber(header.first_block.0 - 1));
            named.sequence = named.sequence.max(header.first_sequence);
        }
        if let Some(Epoch { start, .. }) = self.epochs.latest() {
            named.block = named.block.max(BlockNumber(start.0.saturating_sub(1)));
        }
        named.next = named.next.max(named.sequence);
        named
    }

    fn judge(&mut self, kept: Vec<usize>) -> Verdict {
        self.void_frames(&kept);
        self.void_ended(&kept);
        let named = self.named();
        let mut verdict =
            Verdict { named: named.block, base: self.base, kept, ..Verdict::default() };
        self.judge_missing_segments(&mut verdict);
        let end = self.judge_holes(&mut verdict, named);
        self.judge_blocks(&mut verdict);
        verdict.next_block = end.block.max(named.block).next();
        self.place_segments(&mut verdict, end, named);
        verdict
    }

    fn void_frames(&mut self, kept: &[usize]) {
        for block in kept.iter().map(|i| &self.reading.scan.blocks[*i]) {
            for effect in &block.effects {
                if let ScannedEffect::Void(start, end) = effect {
                    self.state.stripe_mut(self.index).void(start.0, end.0);
                }
            }
        }
    }

    /// Voids what the blocks of an ended epoch held: it was moved or never acknowledged. The fence
    /// says so, but it may be in a missing directory. Its place in the log is not damage.
    ///
    /// Where the opening that ended the epoch could not see the block, since it was written later
    /// or was in a file without a header, the next epoch has given out its sequences again. So the
    /// events of that epoch are not voided, nor is anything by a block of the file's former use.
    fn void_ended(&mut self, kept: &[usize]) {
        let scan = &self.reading.scan;
        let ranges = |h: &BlockHeader| (h.first_sequence.0, h.end_sequence().0);
        let mut given = RangeSet::default();
        given.insert(0, self.base.sequence.0);
        for (start, end) in kept.iter().map(|i| ranges(&scan.blocks[*i].header)) {
            given.insert(start, end);
        }
        // A torn or damaged block has them too: what is missing of it is judged as its loss.
        for header in scan.torn.iter().filter(|h| !self.epochs.ended(h.number, h.epoch)) {
            let (start, end) = ranges(header);
            given.insert(start, end);
        }
        for header in scan.blocks.iter().map(|b| &b.header).chain(&scan.torn) {
            let segment = self.reading.segments.iter().find(|s| s.header.id == header.segment);
            let former = segment.is_some_and(|s| s.header.epoch.number > header.epoch);
            let ended = self.epochs.ended(header.number, header.epoch);
            if former || !ended || header.number <= self.base.block {
                continue;
            }
            let (start, end) = ranges(header);
            for (start, end) in given.missing_in(start, end) {
                self.state.stripe_mut(self.index).void(start, end);
            }
        }
    }

    /// Judges sequences before the oldest segment, and between two segments whose ids are not
    /// consecutive.
    fn judge_missing_segments(&mut self, verdict: &mut Verdict) {
        let first = self.reading.segments.iter().find(|s| !self.epochs.ended_segment(&s.header));
        let start = first.map_or(self.base.sequence, |s| s.header.first_sequence);
        let id = first.map(|s| s.header.id);
        let hole = first.and_then(SegmentFile::starts_with_hole);
        let blocks = |to: BlockNumber| (BlockNumber(0), to);
        let to = first.map_or(self.base.block.next(), |s| s.header.first_block);
        if let Some(hole) = hole {
            // What is missing after the start of the scan is judged there.
            let sequences = (Sequence(0), start.min(self.base.sequence));
            self.void_missing(verdict, Case::R2, id, Some((0, hole)), blocks(to), sequences);
        } else {
            self.void_missing(verdict, Case::R7, id, None, blocks(to), (Sequence(0), start));
        }
        for gap in &self.reading.gaps {
            if gap.last_block.next() < gap.next_first_block {
                let blocks = (gap.last_block.next(), gap.next_first_block);
                let sequences = (gap.end_sequence, gap.next_first_sequence);
                let (case, segment, bytes) = match gap.hole {
                    Some(hole) => (Case::R2, gap.next, (0, hole)),
                    None => (Case::R7, gap.segment, (gap.end_offset, u64::MAX)),
                };
                self.void_missing(verdict, case, Some(segment), Some(bytes), blocks, sequences);
            }
        }
    }

    /// Voids as damage what is missing of `sequences`, and reports it if anything is.
    fn void_missing(
        &mut self,
        verdict: &mut Verdict,
        case: Case,
        segment: Option<SegmentId>,
        bytes: Option<(u64, u64)>,
        blocks: (BlockNumber, BlockNumber),
        sequences: (Sequence, Sequence),
    ) {
        let state = self.state.stripe_mut(self.index);
        for (start, end) in state.missing(sequences.0.0, sequences.1.0) {
            if case == Case::R7 {
                state.give_up(start, end);
            } else {
                state.void_damaged(start, end);
            }
            let sequences = Some((Sequence(start), Sequence(end)));
            verdict.rulings.push(Ruling { case, segment, bytes, blocks, sequences });
        }
    }

    /// Walks the kept blocks, judges what is missing between and after them, and returns where the
    /// log ends.
    fn judge_holes(&mut self, verdict: &mut Verdict, named: NamedLimits) -> Watermark {
        let mut end = self.base;
        for i in verdict.kept.clone() {
            let block = &self.reading.scan.blocks[i];
            let header = &block.header;
            if header.number > end.block.next() || header.first_sequence > end.sequence {
                self.judge_hole(verdict, named, &end, Some(block));
            }
            end = Watermark {
                block: header.number,
                sequence: header.end_sequence().max(end.sequence),
                order: header.order,
                segment: header.segment,
                end_offset: block.end_offset(),
            };
        }
        if named.block > end.block || named.next > end.sequence || self.torn_after(&end) {
            self.judge_hole(verdict, named, &end, None);
        }
        end
    }

    fn torn_after(&self, end: &Watermark) -> bool {
        let behind =
            |h: &&BlockHeader| h.number > end.block && !self.epochs.ended(h.number, h.epoch);
        self.reading.scan.torn.iter().any(|h| behind(&h))
    }

    /// Judges what is missing between `end` and `next`, or after the last block.
    fn judge_hole(
        &mut self,
        verdict: &mut Verdict,
        named: NamedLimits,
        end: &Watermark,
        next: Option<&ScannedBlock>,
    ) {
        let first = end.block.next();
        let to_block = next.map_or(named.block.next().max(first), |b| b.header.number);
        let to = next.map_or(named.next, |b| b.header.first_sequence).max(end.sequence);
        let unsaid = Mutation::DamageUnsaid.is_active();
        let split = if unsaid { end.sequence } else { named.sequence.clamp(end.sequence, to) };
        let blocks = (first, to_block);
        let (segment, bytes) = place(end, next);
        let state = self.state.stripe_mut(self.index);
        let acknowledged = state.missing(end.sequence.0, split.0);
        let unacknowledged = state.missing(split.0, to.0);
        for (start, end) in &acknowledged {
            state.void_damaged(*start, *end);
        }
        state.void(end.sequence.0, to.0);
        let hole = GapFacts {
            blocks_missing: to_block > first,
            block_named: first <= named.block,
            events_acknowledged: !acknowledged.is_empty(),
            taken_from: next.is_none() && self.acked > end.sequence,
            judged_before: next.is_some_and(|b| self.epochs.judged(b.header.number)),
            whole_after: next.is_some(),
            events_unacknowledged: !unacknowledged.is_empty(),
            segment_there: segment.is_none()
                || self.reading.segments.iter().any(|s| Some(s.header.id) == segment),
        };
        let Some(case) = decision_table::hole(&hole) else { return };
        let ranges = if acknowledged.is_empty() { &unacknowledged } else { &acknowledged };
        let sequences =
            ranges.first().zip(ranges.last()).map(|(a, b)| (Sequence(a.0), Sequence(b.1)));
        verdict.rulings.push(Ruling { case, segment, bytes, blocks, sequences });
    }

    /// Reports the blocks that are kept, void, or of an epoch whose first block is lost.
    fn judge_blocks(&self, verdict: &mut Verdict) {
        let blocks = &self.reading.scan.blocks;
        let mut epoch = None;
        for i in verdict.kept.clone() {
            let h = &blocks[i].header;
            let new_life = epoch.replace((h.epoch, h.nonce)) != Some((h.epoch, h.nonce));
            let fact = decision_table::BlockFacts {
                live: true,
                named: h.number <= verdict.named,
                epoch_known: !new_life || self.epochs.knows(h.epoch, h.nonce),
            };
            verdict
                .rulings
                .extend(decision_table::whole(&fact).map(|case| ruling_of(case, &blocks[i])));
        }
        let kept: BTreeSet<usize> = verdict.kept.iter().copied().collect();
        for (i, block) in blocks.iter().enumerate() {
            if block.header.number > self.base.block && !kept.contains(&i) {
                let fact =
                    decision_table::BlockFacts { live: false, named: false, epoch_known: true };
                verdict
                    .rulings
                    .extend(decision_table::whole(&fact).map(|case| ruling_of(case, block)));
            }
        }
    }

    /// Returns whether an opening has gone on without the end of the log and nothing was put since:
    /// the sequences that it skipped are named, and all from there on are void.
    fn end_was_given_up(&self) -> bool {
        let state = self.state.stripe(self.index);
        let end = state.next.0;
        // Sequences known to be acknowledged are not part of the name.
        let jumped = |(a, b): &(u64, u64)| b - a >= DEGRADED_JUMP / 2 && *b <= end;
        state.damaged.iter().any(|range| jumped(range) && state.missing(range.0, end).is_empty())
    }

    /// Decides which segments are part of the log, where the log continues, and the watermark that
    /// says so.
    fn place_segments(&mut self, verdict: &mut Verdict, end: Watermark, named: NamedLimits) {
        let holding: BTreeSet<SegmentId> =
            verdict.kept.iter().map(|i| self.reading.scan.blocks[*i].header.segment).collect();
        let mut mark = end;
        let known = self.state.stripe(self.index).watermark;
        if named.block > end.block {
            // The last blocks are lost. The log continues after their place, in a new segment
            // unless a record says where that is.
            let last = self.reading.segments.iter().rev().find(|s| {
                s.header.first_block <= named.block && !self.epochs.ended_segment(&s.header)
            });
            mark = if known.block == named.block {
                known
            } else {
                Watermark {
                    block: named.block,
                    segment: last.map_or(end.segment, |s| s.header.id),
                    end_offset: last.map_or(end.end_offset, |s| s.len),
                    ..end
                }
            };
        }
        verdict.end_lacking = self.reading.lacks(mark.segment);
        verdict.end_missing = verdict.end_lacking && !self.end_was_given_up();
        if verdict.end_missing && verdict.missing().next().is_none() {
            let (block, bytes) = (mark.block.next(), Some((mark.end_offset, u64::MAX)));
            let (segment, sequences) = (Some(mark.segment), None);
            let blocks = (block, block);
            verdict.rulings.push(Ruling { case: Case::R7, segment, bytes, blocks, sequences });
        }
        for segment in &self.reading.segments {
            let id = segment.header.id;
            let holds = holding.contains(&id);
            let ended = self.epochs.ended_segment(&segment.header) && !holds;
            if ended || id > mark.segment { verdict.dead.push(id) } else { verdict.live.push(id) }
        }
        let state = self.state.stripe_mut(self.index);
        let reused = Mutation::SequenceReused.is_active();
        state.next = if reused { end.sequence } else { state.next.max(named.next) };
        state.watermark = Watermark { sequence: state.next, ..mark };
    }
}

fn ruling_of(case: Case, block: &ScannedBlock) -> Ruling {
    let header = &block.header;
    let sequences =
        (header.event_count > 0).then(|| (header.first_sequence, header.end_sequence()));
    Ruling {
        case,
        segment: Some(header.segment),
        bytes: Some((header.offset, block.end_offset())),
        blocks: (header.number, header.number.next()),
        sequences,
    }
}

/// Returns the place of a hole: after `end` if `next` is in the same segment or begins its own,
/// else before `next`.
fn place(end: &Watermark, next: Option<&ScannedBlock>) -> (Option<SegmentId>, Option<(u64, u64)>) {
    let start = SEGMENT_HEADER_BYTES as u64;
    match next.map(|b| &b.header) {
        Some(next) if next.segment == end.segment => {
            (Some(next.segment), Some((end.end_offset, next.offset)))
        }
        Some(next) if next.offset > start => (Some(next.segment), Some((start, next.offset))),
        _ if end.segment.0 == 0 => (None, None),
        _ => (Some(end.segment), Some((end.end_offset, u64::MAX))),
    }
}
