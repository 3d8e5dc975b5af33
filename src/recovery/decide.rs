//! From what was read to what it means: pure, no disk.

use super::adopt;
use super::inventory::SegmentFile;
use super::lives::{self, Lives};
use super::open::DEGRADED_JUMP;
use super::scan::{Block, Effect, Moved, Scan};
use super::table::{self, Case, Hole};
use crate::base::ids::{BlockNumber, SegmentId, Sequence, StripeIndex, WriteOrder};
use crate::base::mutant::Broken;
use crate::base::ranges::RangeSet;
use crate::record::block::BlockHeader;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::StateRecord;
use crate::record::{Epoch, Watermark};
use std::collections::BTreeSet;

/// What was read of one stripe.
#[derive(Clone, Default)]
pub(super) struct Reading {
    /// Whether its directory is there.
    pub(super) present: bool,
    pub(super) segments: Vec<SegmentFile>,
    pub(super) scan: Scan,
    /// Segments behind which something is missing, and where what they hold ends.
    pub(super) gaps: Vec<Gap>,
    /// Events that were moved here, also in front of the scan, when the directory missed an
    /// opening that adopted some.
    pub(super) moved: Vec<Moved>,
}

impl Reading {
    /// Whether the segment of that id should be there and is not. Nothing is in segment 0.
    pub(super) fn lacks(&self, id: SegmentId) -> bool {
        self.present && id.0 > 0 && !self.segments.iter().any(|s| s.header.id == id)
    }
}

/// A segment that was read because the next one is missing, or its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) segment: SegmentId,
    pub(super) end_offset: u64,
    pub(super) last_block: BlockNumber,
    pub(super) end_sequence: Sequence,
    /// The next segment, there or not.
    pub(super) next: SegmentId,
    /// Where its first block is that is known, if it begins with a hole, bytes.
    pub(super) hole: Option<u64>,
    pub(super) next_first_block: BlockNumber,
    pub(super) next_first_sequence: Sequence,
}

/// One place and its row of the table, not yet in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) case: Case,
    pub(super) segment: Option<SegmentId>,
    /// Bytes `start..end` in the segment; an end of `u64::MAX` is unknown.
    pub(super) bytes: Option<(u64, u64)>,
    /// Numbers `start..end` of the blocks.
    pub(super) blocks: (BlockNumber, BlockNumber),
    pub(super) sequences: Option<(Sequence, Sequence)>,
}

/// What became of one stripe.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// Blocks that belong to the log, by place in the scan, ascending.
    pub(super) kept: Vec<usize>,
    /// The highest block that anything names as durable; those above are made durable again.
    pub(super) named: BlockNumber,
    /// Where the scan began.
    pub(super) base: Watermark,
    pub(super) next_block: BlockNumber,
    /// Segments of the log, oldest first; the last one is current.
    pub(super) live: Vec<SegmentId>,
    /// Segments that hold nothing of the log.
    pub(super) dead: Vec<SegmentId>,
    pub(super) rulings: Vec<Ruling>,
    /// The segment in which the log ends is missing: what was put after the last record of it is unknown.
    pub(super) end_missing: bool,
    /// That segment is not there, also if the log was given up to go on without it.
    pub(super) end_lacking: bool,
}

impl Verdict {
    /// What was ruled about segments that are missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Ruling> {
        self.rulings.iter().filter(|r| r.case == Case::R7)
    }

    /// Whether something promised is gone.
    pub(super) fn is_damaged(&self) -> bool {
        self.rulings.iter().any(|r| r.case.is_damage())
    }
}

/// What became of the channel.
pub(super) struct Decision {
    pub(super) state: StateRecord,
    pub(super) stripes: Vec<Verdict>,
    pub(super) order: WriteOrder,
}

/// Decides. `joined` is what checkpoints and segment starts say; the scans begin at its
/// watermarks.
pub(super) fn decide(readings: &[&Reading], joined: &StateRecord) -> Decision {
    let mut state = joined.clone();
    let mut lives = known_lives(readings, joined);
    for block in readings.iter().flat_map(|r| &r.scan.blocks) {
        for effect in &block.effects {
            if let Effect::State(found) = effect {
                join(&mut state, found, &mut lives);
            }
        }
    }
    adopt::void_copies(&mut state, readings);
    let bases: Vec<Watermark> =
        readings.iter().enumerate().map(|(at, r)| base(r, joined, at)).collect();
    let blocks: Vec<&[Block]> = readings.iter().map(|r| &r.scan.blocks[..]).collect();
    let numbers: Vec<BlockNumber> = bases.iter().map(|b| b.block).collect();
    let chains = lives::chains(&blocks, &mut lives, &numbers);
    let mut acked = vec![Sequence(0); readings.len()];
    for (reading, chain) in readings.iter().zip(&chains) {
        for effect in chain.iter().flat_map(|i| &reading.scan.blocks[*i].effects) {
            apply(&mut state, effect, &mut acked);
        }
    }
    let mut order = WriteOrder(0);
    let mut stripes = Vec::new();
    for (at, (reading, kept)) in readings.iter().zip(chains).enumerate() {
        let index = StripeIndex(u16::try_from(at).expect("the number of stripes is bounded"));
        let mut stripe = OneStripe {
            reading,
            lives: &lives[at],
            index,
            base: bases[at],
            acked: acked[at],
            state: &mut state,
        };
        order = order.max(stripe.order());
        stripes.push(if reading.present { stripe.judge(kept) } else { stripe.absent() });
    }
    for (at, lives) in lives.iter().enumerate() {
        if let Some(latest) = lives.latest() {
            let stripe = &mut state.stripes[at];
            if (latest.number, latest.nonce) > (stripe.epoch.number, stripe.epoch.nonce) {
                stripe.epoch = latest;
            }
        }
    }
    Decision { state, stripes, order }
}

fn known_lives(readings: &[&Reading], joined: &StateRecord) -> Vec<Lives> {
    readings
        .iter()
        .zip(&joined.stripes)
        .map(|(reading, state)| {
            let mut lives = Lives::default();
            lives.add(state.epoch);
            // Where a life began whose first blocks are missing is not known: see R12.
            let headed = reading.segments.iter().filter(|s| s.starts_with_hole().is_none());
            headed.for_each(|s| lives.add(s.header.epoch));
            let segments = reading.segments.iter().map(|s| s.header.epoch);
            segments.for_each(|epoch| lives.lived(epoch.number, epoch.nonce));
            let blocks = reading.scan.blocks.iter().map(|b| &b.header);
            blocks.for_each(|header| lives.lived(header.epoch, header.nonce));
            lives
        })
        .collect()
}

/// Joins a state record found in a block, if it fits the channel.
fn join(state: &mut StateRecord, found: &StateRecord, lives: &mut [Lives]) {
    if found.stripes.len() > state.stripes.len() {
        return;
    }
    state.join(found);
    for (lives, stripe) in lives.iter_mut().zip(&found.stripes) {
        lives.add(stripe.epoch);
    }
}

/// Where the scan of a stripe began: the joined watermark, or the start of its oldest segment
/// when nothing names one.
fn base(reading: &Reading, joined: &StateRecord, at: usize) -> Watermark {
    let named = joined.stripes[at].watermark;
    match reading.segments.first() {
        Some(first) if named.block.0 == 0 => Watermark {
            block: BlockNumber(first.header.first_block.0.saturating_sub(1)),
            sequence: first.header.first_sequence,
            order: first.header.first_order,
            // In no segment: if nothing whole is found the first one has no block of the log.
            segment: SegmentId(0),
            end_offset: 0,
        },
        _ => named,
    }
}

fn apply(state: &mut StateRecord, effect: &Effect, acked: &mut [Sequence]) {
    match effect {
        Effect::Position(source, position) => state.advance_position(source, position),
        // Joined before, whatever became of its block: it says only what was durable.
        Effect::State(_) => {}
        Effect::Ack(ack) => {
            for (stripe, start, end) in &ack.ranges {
                if let Some(found) = state.stripes.get_mut(stripe.at()) {
                    found.acknowledge(ack.group, *start, *end);
                    acked[stripe.at()] = acked[stripe.at()].max(Sequence(*end));
                }
            }
        }
        Effect::Fence(fence) => {
            if let Some(found) = state.stripes.get_mut(fence.stripe.at()) {
                found.void_fenced(fence.void_start.0, fence.void_end.0);
            }
        }
        Effect::Lost(lost) => {
            if let Some(found) = state.stripes.get_mut(lost.stripe.at()) {
                found.void_damaged(lost.start, lost.end);
            }
        }
        // The block's own stripe is not named in the frame: see `OneStripe::void_frames` and
        // `adopt::void_copies`.
        Effect::Void(..) | Effect::Moved(_) => {}
    }
}

struct OneStripe<'a> {
    reading: &'a Reading,
    lives: &'a Lives,
    index: StripeIndex,
    base: Watermark,
    /// Behind the last sequence that an acknowledgement in some log names.
    acked: Sequence,
    state: &'a mut StateRecord,
}

/// The highest block, and the highest sequence end, that something names as durable.
#[derive(Clone, Copy)]
struct Named {
    block: BlockNumber,
    sequence: Sequence,
    /// Behind the last sequence that was ever given out.
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

    /// Everything that names a block or a sequence, torn headers included.
    fn named(&self) -> Named {
        let state = self.state.stripe(self.index);
        let mut named = Named {
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
            // A segment is taken into use when everything before it is durable.
            named.block = named.block.max(BlockNumber(header.first_block.0 - 1));
            named.sequence = named.sequence.max(header.first_sequence);
        }
        if let Some(Epoch { start, .. }) = self.lives.latest() {
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
                if let Effect::Void(start, end) = effect {
                    self.state.stripe_mut(self.index).void(start.0, end.0);
                }
            }
        }
    }

    /// What a block of an ended life held was moved or never answered: the fence says so, but it
    /// may lie in a directory that is missing. Its place in the log is no damage.
    ///
    /// Where the opening that ended the life could not see the block, since it landed later or lay in
    /// a file without a header, the next life has given out its sequences again. So what that life
    /// has is not voided, nor anything by a block of the file's former use.
    fn void_ended(&mut self, kept: &[usize]) {
        let scan = &self.reading.scan;
        let ranges = |h: &BlockHeader| (h.first_sequence.0, h.end_sequence().0);
        let mut given = RangeSet::default();
        given.insert(0, self.base.sequence.0);
        for (start, end) in kept.iter().map(|i| ranges(&scan.blocks[*i].header)) {
            given.insert(start, end);
        }
        // One that is torn or rotted has them too: what is missing of it is judged as its loss.
        for header in scan.torn.iter().filter(|h| !self.lives.ended(h.number, h.epoch)) {
            let (start, end) = ranges(header);
            given.insert(start, end);
        }
        for header in scan.blocks.iter().map(|b| &b.header).chain(&scan.torn) {
            let segment = self.reading.segments.iter().find(|s| s.header.id == header.segment);
            let former = segment.is_some_and(|s| s.header.epoch.number > header.epoch);
            let ended = self.lives.ended(header.number, header.epoch);
            if former || !ended || header.number <= self.base.block {
                continue;
            }
            let (start, end) = ranges(header);
            for (start, end) in given.missing_in(start, end) {
                self.state.stripe_mut(self.index).void(start, end);
            }
        }
    }

    /// Sequences in front of the oldest segment, and between two whose ids do not follow.
    fn judge_missing_segments(&mut self, verdict: &mut Verdict) {
        let first = self.reading.segments.iter().find(|s| !self.lives.ended_segment(&s.header));
        let start = first.map_or(self.base.sequence, |s| s.header.first_sequence);
        let id = first.map(|s| s.header.id);
        let hole = first.and_then(SegmentFile::starts_with_hole);
        let blocks = |to: BlockNumber| (BlockNumber(0), to);
        let to = first.map_or(self.base.block.next(), |s| s.header.first_block);
        if let Some(hole) = hole {
            // What is missing behind the start of the scan is judged there.
            let sequences = (Sequence(0), start.min(self.base.sequence));
            self.lose(verdict, Case::R2, id, Some((0, hole)), blocks(to), sequences);
        } else {
            self.lose(verdict, Case::R7, id, None, blocks(to), (Sequence(0), start));
        }
        for gap in &self.reading.gaps {
            if gap.last_block.next() < gap.next_first_block {
                let blocks = (gap.last_block.next(), gap.next_first_block);
                let sequences = (gap.end_sequence, gap.next_first_sequence);
                let (case, segment, bytes) = match gap.hole {
                    Some(hole) => (Case::R2, gap.next, (0, hole)),
                    None => (Case::R7, gap.segment, (gap.end_offset, u64::MAX)),
                };
                self.lose(verdict, case, Some(segment), Some(bytes), blocks, sequences);
            }
        }
    }

    /// Voids as damage what is missing of `sequences`, and says so if anything is.
    fn lose(
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

    /// Walks the kept blocks, judges what is missing between and behind them, and answers where
    /// the log ends.
    fn judge_holes(&mut self, verdict: &mut Verdict, named: Named) -> Watermark {
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
        if named.block > end.block || named.next > end.sequence || self.torn_behind(&end) {
            self.judge_hole(verdict, named, &end, None);
        }
        end
    }

    fn torn_behind(&self, end: &Watermark) -> bool {
        let behind =
            |h: &&BlockHeader| h.number > end.block && !self.lives.ended(h.number, h.epoch);
        self.reading.scan.torn.iter().any(|h| behind(&h))
    }

    /// What is missing between `end` and `next`, or behind the last block.
    fn judge_hole(
        &mut self,
        verdict: &mut Verdict,
        named: Named,
        end: &Watermark,
        next: Option<&Block>,
    ) {
        let first = end.block.next();
        let to_block = next.map_or(named.block.next().max(first), |b| b.header.number);
        let to = next.map_or(named.next, |b| b.header.first_sequence).max(end.sequence);
        let unsaid = Broken::DamageUnsaid.is_chosen();
        let split = if unsaid { end.sequence } else { named.sequence.clamp(end.sequence, to) };
        let blocks = (first, to_block);
        let (segment, bytes) = place(end, next);
        let state = self.state.stripe_mut(self.index);
        let promised = state.missing(end.sequence.0, split.0);
        let unpromised = state.missing(split.0, to.0);
        for (start, end) in &promised {
            state.void_damaged(*start, *end);
        }
        state.void(end.sequence.0, to.0);
        let hole = Hole {
            blocks_missing: to_block > first,
            block_named: first <= named.block,
            events_promised: !promised.is_empty(),
            taken_from: next.is_none() && self.acked > end.sequence,
            judged_before: next.is_some_and(|b| self.lives.judged(b.header.number)),
            whole_behind: next.is_some(),
            events_unpromised: !unpromised.is_empty(),
            segment_there: segment.is_none()
                || self.reading.segments.iter().any(|s| Some(s.header.id) == segment),
        };
        let Some(case) = table::hole(&hole) else { return };
        let ranges = if promised.is_empty() { &unpromised } else { &promised };
        let sequences =
            ranges.first().zip(ranges.last()).map(|(a, b)| (Sequence(a.0), Sequence(b.1)));
        verdict.rulings.push(Ruling { case, segment, bytes, blocks, sequences });
    }

    /// Says which blocks are kept, void, or of a life whose first block is gone.
    fn judge_blocks(&self, verdict: &mut Verdict) {
        let blocks = &self.reading.scan.blocks;
        let mut life = None;
        for i in verdict.kept.clone() {
            let h = &blocks[i].header;
            let new_life = life.replace((h.epoch, h.nonce)) != Some((h.epoch, h.nonce));
            let fact = table::Whole {
                live: true,
                named: h.number <= verdict.named,
                life_known: !new_life || self.lives.knows(h.epoch, h.nonce),
            };
            verdict.rulings.extend(table::whole(&fact).map(|case| ruling_of(case, &blocks[i])));
        }
        let kept: BTreeSet<usize> = verdict.kept.iter().copied().collect();
        for (i, block) in blocks.iter().enumerate() {
            if block.header.number > self.base.block && !kept.contains(&i) {
                let fact = table::Whole { live: false, named: false, life_known: true };
                verdict.rulings.extend(table::whole(&fact).map(|case| ruling_of(case, block)));
            }
        }
    }

    /// Whether an opening has gone on without the end of the log and nothing was put since: the sequences
    /// that it jumped over are named, and all from there on are void.
    fn end_was_given_up(&self) -> bool {
        let state = self.state.stripe(self.index);
        let end = state.next.0;
        // What of it was known to be acknowledged has no part in the name.
        let jumped = |(a, b): &(u64, u64)| b - a >= DEGRADED_JUMP / 2 && *b <= end;
        state.damaged.iter().any(|range| jumped(range) && state.missing(range.0, end).is_empty())
    }

    /// Which segments are of the log, where the log goes on, and the watermark that says so.
    fn place_segments(&mut self, verdict: &mut Verdict, end: Watermark, named: Named) {
        let holding: BTreeSet<SegmentId> =
            verdict.kept.iter().map(|i| self.reading.scan.blocks[*i].header.segment).collect();
        let mut mark = end;
        let known = self.state.stripe(self.index).watermark;
        if named.block > end.block {
            // The last blocks are gone. The log goes on behind their place, in a new segment
            // unless someone says where that is.
            let last = self.reading.segments.iter().rev().find(|s| {
                s.header.first_block <= named.block && !self.lives.ended_segment(&s.header)
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
            let ended = self.lives.ended_segment(&segment.header) && !holds;
            if ended || id > mark.segment { verdict.dead.push(id) } else { verdict.live.push(id) }
        }
        let state = self.state.stripe_mut(self.index);
        let reused = Broken::SequenceReused.is_chosen();
        state.next = if reused { end.sequence } else { state.next.max(named.next) };
        state.watermark = Watermark { sequence: state.next, ..mark };
    }
}

fn ruling_of(case: Case, block: &Block) -> Ruling {
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

/// Where a hole lies: behind `end` if `next` is in the same segment or begins its own, else in
/// front of `next`.
fn place(end: &Watermark, next: Option<&Block>) -> (Option<SegmentId>, Option<(u64, u64)>) {
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
