//! The read window: which events of a stripe can be lent, are lent, or were returned.

use super::readable_block::{Lease, ReadableBlock};
use super::tail_cache::{BlockExtent, LogPosition, TailCache};
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{BlockNumber, SegmentId, WriteOrder};
use crate::base::ranges::RangeSet;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The read window of a stripe.
///
/// The window is one contiguous part of the log that starts at the first event not lent yet. While it reaches the
/// newest durable block, published blocks join it, within the byte budget. Once it does not, it is continued by reads,
/// up to the tail cache (`tail_cache.rs`). So takers that keep up never read the disk, and others read it in order.
#[derive(Debug, Default)]
pub(super) struct ReadWindow {
    /// The blocks of the window. The cursor is the next event to lend: in the first block, the event `index` of the
    /// batch `batch`.
    blocks: VecDeque<Arc<ReadableBlock>>,
    batch: usize,
    index: u32,
    /// Events before the cursor, of the same transaction, were lent since the channel was opened.
    begun: bool,
    /// Returned leases by first sequence; lent again before anything else.
    returned: BTreeMap<u64, Lease>,
    /// Bytes of the blocks in the window.
    window_bytes: usize,
    /// Number of the block after the window.
    next_block: u64,
    /// Where to look for that block.
    place: LogPosition,
    /// Blocks in memory after a gap that begins there.
    tail: Option<TailCache>,
    /// When the read that continues the window began, if one is under way.
    reading_since: Option<Duration>,
    /// Below this sequence some events were acknowledged before the channel was opened.
    skip_until: u64,
    /// Events lent and neither acknowledged nor returned.
    lent: u64,
    /// Leases of those events; adjacent ones of one transaction count once.
    leases: usize,
}

/// Whether the next lease, or earlier events of its transaction, were lent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BatchProgress {
    /// Yes: the lease was returned, or its transaction was lent in part.
    Started,
    /// No: its transaction starts with it, and none of it was lent.
    NotStarted,
}

impl ReadWindow {
    /// Returns an empty window that continues at block `next_block`; below `skip_until` some sequences may be
    /// acknowledged already.
    pub(super) fn new(next_block: u64, skip_until: u64) -> Self {
        Self { next_block, skip_until, ..Self::default() }
    }

    /// Continues at the beginning of a segment.
    pub(super) fn seek(&mut self, segment: SegmentId, first_block: u64, first_sequence: u64) {
        self.next_block = first_block;
        self.place = LogPosition {
            segment,
            offset: SEGMENT_HEADER_BYTES as u64,
            sequence: first_sequence,
            ..LogPosition::default()
        };
    }

    /// Returns the number of the block after the window.
    pub(super) fn next_block(&self) -> u64 {
        self.next_block
    }

    /// Returns the number of events lent and neither acknowledged nor returned.
    pub(super) fn lent(&self) -> u64 {
        self.lent
    }

    /// Returns the number of leases of those events.
    pub(super) fn leases(&self) -> usize {
        self.leases
    }

    /// Returns the bytes of the blocks in the window.
    pub(super) fn bytes(&self) -> usize {
        self.window_bytes
    }

    /// Whether a read that continues the window is under way.
    pub(super) fn is_reading(&self) -> bool {
        self.reading_since.is_some()
    }

    /// Returns when the read that is under way began.
    pub(super) fn reading_since(&self) -> Option<Duration> {
        self.reading_since
    }

    /// Begins a read of the segment that has the next block; returns the place to read from.
    pub(super) fn begin_read(
        &mut self,
        now: Duration,
        segment: SegmentId,
        first_sequence: u64,
    ) -> LogPosition {
        if self.place.segment != segment {
            self.seek(segment, self.next_block, first_sequence);
        }
        self.reading_since = Some(now);
        self.place
    }

    /// Ends a read, with or without a result.
    pub(super) fn end_read(&mut self) {
        self.reading_since = None;
    }

    /// Continues the window with what was read, up to block `next_block` at `place`.
    pub(super) fn continue_with(
        &mut self,
        blocks: Vec<ReadableBlock>,
        next_block: BlockNumber,
        place: LogPosition,
        acknowledged: &RangeSet,
    ) {
        for block in blocks {
            self.push(Arc::new(block), acknowledged);
        }
        self.next_block = next_block.0;
        self.place = place;
        self.close_gap(acknowledged);
    }

    /// Returns where the blocks in memory after the gap begin, if that is in `segment`.
    pub(super) fn gap_end(&self, segment: SegmentId) -> Option<(BlockNumber, LogPosition)> {
        let (number, place) = self.tail.as_ref()?.first();
        (place.segment == segment).then_some((BlockNumber(number), place))
    }

    /// Adds a block of `len` bytes that became durable, if the window reaches it, or the tail cache, and `budget`
    /// allows it; otherwise it is read back later. `roomy`: there is memory for the tail cache. `len` is 0 without
    /// events.
    pub(super) fn publish(
        &mut self,
        extent: BlockExtent,
        len: usize,
        (budget, roomy): (usize, bool),
        acknowledged: &RangeSet,
        block: impl FnOnce() -> Option<ReadableBlock>,
    ) {
        let reached = self.next_block == extent.number && !self.is_reading();
        let fits = self.window_bytes + len <= budget || self.blocks.is_empty() || len == 0;
        if reached && fits {
            // Cannot fail for a block of our own; reading it back would report the error.
            match if len == 0 { Some(None) } else { block().map(Some) } {
                Some(block) => {
                    if let Some(block) = block {
                        self.push(Arc::new(block), acknowledged);
                    }
                    self.next_block = extent.number + 1;
                    self.place = extent.after;
                }
                None => self.place = extent.here,
            }
            return;
        }
        if reached {
            self.place = extent.here;
        }
        if roomy && self.keeps(extent.number, len, budget) {
            let block = if len == 0 { None } else { Some(block()) };
            if !matches!(block, Some(None)) {
                let tail = self.tail.get_or_insert_with(|| TailCache::new(extent));
                tail.push(extent, block.flatten().map(Arc::new));
            }
        }
    }

    /// Whether to keep a block of `len` bytes that the window does not reach. A tail is started only if half of the
    /// budget is free: a shorter one would end at once, and nothing is kept after it.
    fn keeps(&self, number: u64, len: usize, budget: usize) -> bool {
        match &self.tail {
            Some(tail) => {
                tail.next_block() == number && self.window_bytes + tail.bytes() + len <= budget
            }
            None => self.next_block < number && self.window_bytes + len <= budget / 2,
        }
    }

    /// Appends the tail to the window, if nothing is missing between them any more.
    fn close_gap(&mut self, acknowledged: &RangeSet) {
        let next = self.next_block;
        let Some(tail) = self.tail.take_if(|tail| tail.first().0 <= next) else { return };
        debug_assert_eq!(tail.first().0, next, "the gap is read up to what is kept");
        if tail.first().0 != next {
            // Lending it twice would be worse than reading it once more.
            return;
        }
        CoverageMark::GapClosed.hit();
        let (next_block, place) = (tail.next_block(), tail.after());
        for block in tail.into_blocks() {
            self.push(block, acknowledged);
        }
        (self.next_block, self.place) = (next_block, place);
    }

    /// Returns the priority of the next lease among the stripes; the lowest is lent first. The rest of a partly lent
    /// transaction comes before all that was never lent, so that events of one transaction stay together although a
    /// block with a lower write order became durable meanwhile. A returned lease comes before that rest if its block
    /// has the lower write order: its commit may have returned before the other transaction began.
    pub(super) fn priority(&self) -> Option<(BatchProgress, WriteOrder)> {
        if let Some(lease) = self.returned.values().next() {
            return Some((BatchProgress::Started, lease.block.order));
        }
        let block = self.blocks.front()?;
        // Not the position of the cursor: what was taken before the opening is done, and what other takers held then
        // was returned to its place.
        let begun = if self.begun { BatchProgress::Started } else { BatchProgress::NotStarted };
        Some((begun, block.order))
    }

    /// Returns the sequence of the next event of the window.
    pub(super) fn cursor(&self) -> Option<u64> {
        let batch = self.blocks.front()?.batches.get(self.batch)?;
        Some(batch.first_sequence + u64::from(self.index))
    }

    /// Whether everything before the window is settled: nothing is lent or returned.
    pub(super) fn is_idle(&self) -> bool {
        self.leases == 0 && self.returned.is_empty()
    }

    /// Whether nothing in memory can be lent.
    pub(super) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.blocks.is_empty()
    }

    /// Whether only returned leases can be lent.
    pub(super) fn window_is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether there are returned leases.
    pub(super) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Continues the window.
    fn push(&mut self, block: Arc<ReadableBlock>, acknowledged: &RangeSet) {
        self.next_block = block.number.0 + 1;
        if !block.batches.is_empty() {
            self.window_bytes += block.len();
            self.blocks.push_back(block);
            self.skip(acknowledged);
        }
    }

    /// Lends up to `max` events of one batch. With `returned_only`, only returned leases.
    pub(super) fn lend(
        &mut self,
        max: u32,
        acknowledged: &RangeSet,
        returned_only: bool,
    ) -> Option<Lease> {
        let lease = match self.returned.pop_first() {
            Some((_, mut lease)) => {
                if lease.count > max {
                    let rest = lease.split_off(max);
                    self.returned.insert(rest.start(), rest);
                }
                lease
            }
            None if returned_only => return None,
            None => self.advance(max, acknowledged)?,
        };
        self.lent += u64::from(lease.count);
        self.leases += 1;
        Some(lease)
    }

    fn advance(&mut self, max: u32, acknowledged: &RangeSet) -> Option<Lease> {
        let block = Arc::clone(self.blocks.front()?);
        let batch = &block.batches[self.batch];
        let at = batch.first_sequence + u64::from(self.index);
        let mut count = batch.count - self.index;
        if at < self.skip_until {
            let missing = acknowledged.missing_in(at, batch.end_sequence());
            let (start, end) = *missing.first().expect("`skip` stopped at a missing event");
            debug_assert_eq!(start, at, "`skip` stopped at a missing event");
            count = (end - start) as u32;
        }
        let lease = Lease {
            block,
            batch: self.batch as u32,
            from: self.index,
            count: count.min(max),
            joined: false,
        };
        self.index += lease.count;
        self.begun = true;
        self.skip(acknowledged);
        Some(lease)
    }

    /// Moves the cursor to the next event that can be lent, so that [`ReadWindow::turn`] is that of its block.
    fn skip(&mut self, acknowledged: &RangeSet) {
        while let Some(block) = self.blocks.front() {
            let Some(batch) = block.batches.get(self.batch) else {
                self.window_bytes -= block.len();
                self.blocks.pop_front();
                (self.batch, self.index, self.begun) = (0, 0, false);
                continue;
            };
            let at = batch.first_sequence + u64::from(self.index);
            let next = if at >= self.skip_until || self.index == batch.count {
                at
            } else {
                let missing = acknowledged.missing_in(at, batch.end_sequence());
                missing.first().map_or(batch.end_sequence(), |(start, _)| *start)
            };
            self.index += (next - at) as u32;
            if self.index < batch.count {
                return;
            }
            (self.batch, self.index, self.begun) = (self.batch + 1, 0, false);
        }
    }

    /// Ends a lease: it was acknowledged, or its events are void.
    pub(super) fn end_lease(&mut self, lease: &Lease) {
        self.lent -= u64::from(lease.count);
        self.leases -= usize::from(!lease.joined);
    }

    /// Notes that the lease continues the previous one of the same transaction: one hole, not two.
    pub(super) fn join(&mut self, lease: &mut Lease) {
        lease.joined = true;
        self.leases -= 1;
    }

    /// Takes the lease back, to be lent again before later events.
    pub(super) fn give_back(&mut self, mut lease: Lease) {
        self.end_lease(&lease);
        lease.joined = false;
        self.returned.insert(lease.start(), lease);
    }
}
