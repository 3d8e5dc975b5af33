//! Durable blocks that stay in memory behind a gap which only the disk has.
//!
//! Takers that fell behind by more than the window holds read the disk until they have caught up, and
//! while events keep coming they never would: each would be written, forgotten and read again. So what
//! becomes durable while the window has room is kept although the window does not reach it yet; the
//! gap in front of it is read, and what is kept joins the window.

use super::lease::{Front, Place};
use super::ready::ReadyBlock;
use crate::base::ranges::RangeSet;
use crate::base::rare::Rare;
use std::sync::Arc;

/// One contiguous piece of the log, ending at the newest durable block that had room.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Number of its first block.
    pub first_block: u64,
    /// Where that one stands.
    pub first: Place,
    next_block: u64,
    behind: Place,
    blocks: Vec<Arc<ReadyBlock>>,
    bytes: usize,
}

/// A durable block: its number, and the places where it begins and ends.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub number: u64,
    pub here: Place,
    pub behind: Place,
}

impl Front {
    /// Bytes of the blocks that are kept behind the gap.
    fn kept_bytes(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.bytes)
    }

    /// Whether a block of `len` bytes that the window does not reach is to be kept. A piece is begun
    /// only when half of the budget is free: a shorter one would end at once, and nothing is kept behind it.
    pub(super) fn keeps(&self, number: u64, len: usize, budget: usize) -> bool {
        let held = self.window_bytes + self.kept_bytes() + len;
        match &self.ahead {
            Some(ahead) => ahead.next_block == number && held <= budget,
            None => self.next_block < number && held <= budget / 2,
        }
    }

    /// Keeps the block behind the gap; `None`: it has no events.
    pub(super) fn keep(&mut self, spot: Spot, block: Option<Arc<ReadyBlock>>) {
        let ahead = self.ahead.get_or_insert_with(|| Ahead {
            first_block: spot.number,
            first: spot.here,
            next_block: spot.number,
            behind: spot.here,
            blocks: Vec::new(),
            bytes: 0,
        });
        debug_assert_eq!(ahead.next_block, spot.number, "the piece is contiguous");
        ahead.next_block = spot.number + 1;
        ahead.behind = spot.behind;
        ahead.bytes += block.as_ref().map_or(0, |block| block.len());
        ahead.blocks.extend(block);
    }

    /// What is kept joins the window, if nothing is missing between the two any more.
    pub(super) fn close_gap(&mut self, acknowledged: &RangeSet) {
        let next = self.next_block;
        let Some(ahead) = self.ahead.take_if(|ahead| ahead.first_block <= next) else { return };
        debug_assert_eq!(ahead.first_block, next, "the gap is read up to what is kept");
        if ahead.first_block != next {
            // Lent twice it would be worse than read once more.
            return;
        }
        Rare::GapClosed.reached();
        for block in ahead.blocks {
            self.push(block, acknowledged);
        }
        self.next_block = ahead.next_block;
        self.place = ahead.behind;
    }
}
