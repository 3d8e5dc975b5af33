//! Tail cache: durable blocks kept in memory after a gap that is only on the disk.
//!
//! Takers that fell behind by more than the window holds read the disk until they have caught up. While events keep
//! coming they never would: each would be written, dropped and read again. So blocks that become durable while there is
//! room are kept although the window does not reach them yet; the gap before them is read, and then they join the
//! window.

use super::readable_block::ReadableBlock;
use crate::base::ids::{EpochNumber, SegmentId};
use std::sync::Arc;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogPosition {
    /// The segment.
    pub segment: SegmentId,
    /// Offset in it, bytes.
    pub offset: u64,
    /// The sequence after the last block before it.
    pub sequence: u64,
    /// The epoch of that block: a later block of an earlier epoch is a leftover of an ended epoch, whatever its number.
    pub epoch: EpochNumber,
}

/// A durable block: its number, and the positions where it begins and ends.
#[derive(Clone, Copy)]
pub(super) struct BlockExtent {
    pub number: u64,
    pub here: LogPosition,
    pub after: LogPosition,
}

/// One contiguous part of the log, ending at the newest durable block that had room.
#[derive(Debug)]
pub(super) struct TailCache {
    first_block: u64,
    first: LogPosition,
    next_block: u64,
    after: LogPosition,
    blocks: Vec<Arc<ReadableBlock>>,
    bytes: usize,
}

impl TailCache {
    /// Returns an empty part that begins with a block.
    pub(super) fn new(first: BlockExtent) -> Self {
        Self {
            first_block: first.number,
            first: first.here,
            next_block: first.number,
            after: first.here,
            blocks: Vec::new(),
            bytes: 0,
        }
    }

    /// Appends the next block; `None`: it has no events.
    pub(super) fn push(&mut self, extent: BlockExtent, block: Option<Arc<ReadableBlock>>) {
        debug_assert_eq!(self.next_block, extent.number, "the tail is contiguous");
        self.next_block = extent.number + 1;
        self.after = extent.after;
        self.bytes += block.as_ref().map_or(0, |block| block.len());
        self.blocks.extend(block);
    }

    /// Returns the number of its first block, and where that block is.
    pub(super) fn first(&self) -> (u64, LogPosition) {
        (self.first_block, self.first)
    }

    /// Returns the number of the block after it.
    pub(super) fn next_block(&self) -> u64 {
        self.next_block
    }

    /// Returns the position of that block.
    pub(super) fn after(&self) -> LogPosition {
        self.after
    }

    /// Returns the bytes of its blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns its blocks that have events.
    pub(super) fn into_blocks(self) -> Vec<Arc<ReadableBlock>> {
        self.blocks
    }
}
