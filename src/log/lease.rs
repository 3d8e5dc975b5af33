//! What of a stripe can be lent, what is lent, and what came back.

use super::ahead::Ahead;
use super::ready::{Claim, ReadyBlock};
use crate::base::ids::{EpochNumber, SegmentId, WriteOrder};
use crate::base::ranges::RangeSet;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The reading end of a stripe.
///
/// The window is one contiguous piece of the log, beginning at the first event not lent yet. While
/// it reaches the newest durable block, further blocks join it as they are published (as far as
/// the byte budget goes); once it does not, it is continued by reading, up to what was kept
/// meanwhile (`ahead.rs`). So takers that keep up never read the disk, and those that do not read
/// it in order.
#[derive(Debug, Default)]
pub(super) struct Front {
    blocks: VecDeque<Arc<ReadyBlock>>,
    run: usize,
    index: u32,
    /// Events in front of the cursor, of the same transaction, were lent since the channel was
    /// opened.
    begun: bool,
    /// Claims that were handed back, by first sequence; lent again before anything else.
    returned: BTreeMap<u64, Claim>,
    /// Bytes of the blocks in the window.
    pub window_bytes: usize,
    /// Number of the block behind the window.
    pub next_block: u64,
    /// Where that block is looked for.
    pub place: Place,
    /// What is in memory behind a gap that begins there.
    pub ahead: Option<Ahead>,
    /// A read that continues the window is under way.
    pub reading: bool,
    /// When it began.
    pub reading_since: std::time::Duration,
    /// Below this sequence some were acknowledged before the channel was opened.
    skip_until: u64,
    /// Events lent and not yet acknowledged or handed back.
    pub lent: u64,
    /// Claims of those; neighbours of one transaction count once.
    pub claims: usize,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// Offset in it, bytes.
    pub offset: u64,
    /// The sequence behind the last block before it.
    pub sequence: u64,
    /// That block's epoch: a block of an earlier one behind it is left over from a life that
    /// ended, whatever number it has.
    pub epoch: EpochNumber,
}

/// Whether the next claim, or events of its transaction before it, were lent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begun {
    /// They were: it came back, or its transaction was lent in part.
    Before,
    /// Its transaction starts with it, and nobody had it.
    Not,
}

impl Front {
    /// An empty window; below `skip_until` some sequences may be acknowledged already.
    pub(super) fn new(skip_until: u64) -> Self {
        Self { skip_until, ..Self::default() }
    }

    /// The turn of the next claim among the stripes: the lowest is lent first. The rest of a
    /// transaction that was lent in part comes before all that nobody had, so that events of one
    /// transaction stay together although a block with a lower write order became durable in
    /// between. What came back had its turn before that rest if its block has the lower write
    /// order: its commit may have returned before the other transaction began.
    pub(super) fn turn(&self) -> Option<(Begun, WriteOrder)> {
        if let Some(claim) = self.returned.values().next() {
            return Some((Begun::Before, claim.block.order));
        }
        let block = self.blocks.front()?;
        // Not where the cursor stands: what was taken before the channel was opened is done with,
        // and what others held then has come back to its place.
        let begun = if self.begun { Begun::Before } else { Begun::Not };
        Some((begun, block.order))
    }

    /// Sequence of the next event of the window.
    pub(super) fn cursor(&self) -> Option<u64> {
        let run = self.blocks.front()?.runs.get(self.run)?;
        Some(run.first_sequence + u64::from(self.index))
    }

    /// Whether everything in front of the window is done with: nothing is lent, and nothing came back.
    pub(super) fn is_idle(&self) -> bool {
        self.claims == 0 && self.returned.is_empty()
    }

    /// Whether nothing in memory can be lent.
    pub(super) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.blocks.is_empty()
    }

    /// Whether only what came back can be lent.
    pub(super) fn window_is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether something came back.
    pub(super) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Continues the window.
    pub(super) fn push(&mut self, block: Arc<ReadyBlock>, acknowledged: &RangeSet) {
        self.next_block = block.number.0 + 1;
        if !block.runs.is_empty() {
            self.window_bytes += block.len();
            self.blocks.push_back(block);
            self.skip(acknowledged);
        }
    }

    /// Lends up to `max` events of one run. With `returned_only`, nothing new.
    pub(super) fn lend(
        &mut self,
        max: u32,
        acknowledged: &RangeSet,
        returned_only: bool,
    ) -> Option<Claim> {
        let claim = match self.returned.pop_first() {
            Some((_, mut claim)) => {
                if claim.count > max {
                    let rest = claim.split_off(max);
                    self.returned.insert(rest.start(), rest);
                }
                claim
            }
            None if returned_only => return None,
            None => self.advance(max, acknowledged)?,
        };
        self.lent += u64::from(claim.count);
        self.claims += 1;
        Some(claim)
    }

    fn advance(&mut self, max: u32, acknowledged: &RangeSet) -> Option<Claim> {
        let block = Arc::clone(self.blocks.front()?);
        let run = &block.runs[self.run];
        let at = run.first_sequence + u64::from(self.index);
        let mut count = run.count - self.index;
        if at < self.skip_until {
            let missing = acknowledged.missing_in(at, run.end_sequence());
            let (start, end) = *missing.first().expect("`skip` stopped at a missing event");
            debug_assert_eq!(start, at, "`skip` stopped at a missing event");
            count = (end - start) as u32;
        }
        let claim = Claim {
            block,
            run: self.run as u32,
            from: self.index,
            count: count.min(max),
            joined: false,
        };
        self.index += claim.count;
        self.begun = true;
        self.skip(acknowledged);
        Some(claim)
    }

    /// Moves the cursor to the next event that can be lent, so that [`Front::turn`] is the turn
    /// of that event's block.
    fn skip(&mut self, acknowledged: &RangeSet) {
        while let Some(block) = self.blocks.front() {
            let Some(run) = block.runs.get(self.run) else {
                self.window_bytes -= block.len();
                self.blocks.pop_front();
                (self.run, self.index, self.begun) = (0, 0, false);
                continue;
            };
            let at = run.first_sequence + u64::from(self.index);
            let next = if at >= self.skip_until || self.index == run.count {
                at
            } else {
                let missing = acknowledged.missing_in(at, run.end_sequence());
                missing.first().map_or(run.end_sequence(), |(start, _)| *start)
            };
            self.index += (next - at) as u32;
            if self.index < run.count {
                return;
            }
            (self.run, self.index, self.begun) = (self.run + 1, 0, false);
        }
    }

    /// The claim is no longer lent: it was acknowledged, or its events are void.
    pub(super) fn settle(&mut self, claim: &Claim) {
        self.lent -= u64::from(claim.count);
        self.claims -= usize::from(!claim.joined);
    }

    /// The claim lent last continues another of the same transaction: one hole, not two.
    pub(super) fn join(&mut self, claim: &mut Claim) {
        claim.joined = true;
        self.claims -= 1;
    }

    /// The claim comes back and is lent again before anything behind it.
    pub(super) fn give_back(&mut self, mut claim: Claim) {
        self.settle(&claim);
        claim.joined = false;
        self.returned.insert(claim.start(), claim);
    }
}
