//! Which blocks belong to the log: the lives (epochs) of the stripes, and the fences between them.

use super::scan::{Block, Effect};
use crate::base::ids::{BlockNumber, EpochNumber, WriteOrder};
use crate::record::Epoch;
use crate::record::body::FenceBody;
use crate::record::segment::SegmentHeader;

/// Everything known about the lives of one stripe.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    known: Vec<Epoch>,
    /// Number and nonce of lives that left something in the stripe's own log.
    lived: Vec<(EpochNumber, u64)>,
}

impl Lives {
    /// Learns of a life.
    pub(super) fn add(&mut self, epoch: Epoch) {
        if epoch.number.0 > 0 && !self.known.contains(&epoch) {
            self.known.push(epoch);
        }
    }

    /// Learns that the stripe's log has something of a life.
    pub(super) fn lived(&mut self, epoch: EpochNumber, nonce: u64) {
        if !self.lived.contains(&(epoch, nonce)) {
            self.lived.push((epoch, nonce));
        }
    }

    /// Whether a life is known only from a directory that was missing when a later one began: a
    /// fence that nobody could know of then. What stood behind it was kept, and the later life
    /// has built on that, so the fence ends nothing any more. An opening without a directory
    /// takes a number of another era, so it shows; and a life of which the stripe's own log has a
    /// trace was known.
    fn late(&self, life: &Epoch) -> bool {
        let later = |e: &Epoch| e.number.era() > life.number.era() && e.start > life.start;
        self.known.iter().any(later) && !self.lived.contains(&(life.number, life.nonce))
    }

    /// Whether a later life starts at or below block `number` of life `epoch`.
    pub(super) fn ended(&self, number: BlockNumber, epoch: EpochNumber) -> bool {
        self.known.iter().any(|e| e.number > epoch && e.start <= number && !self.late(e))
    }

    /// Whether the life is another one that has the same number: of a time when a disk was
    /// missing.
    fn is_double(&self, epoch: EpochNumber, nonce: u64) -> bool {
        let mut same = self.known.iter().filter(|e| e.number == epoch).peekable();
        same.peek().is_some() && same.all(|e| e.nonce != nonce)
    }

    /// Whether the life is known by a record, not only by blocks that say to be of it.
    pub(super) fn knows(&self, epoch: EpochNumber, nonce: u64) -> bool {
        self.known.iter().any(|e| e.number == epoch && e.nonce == nonce)
    }

    /// Whether a segment's first block cannot belong to the log.
    pub(super) fn ended_segment(&self, header: &SegmentHeader) -> bool {
        self.ended(header.first_block, header.epoch.number)
    }

    /// Whether some life starts above block `number`: an opening has judged what stands below it.
    pub(super) fn judged(&self, number: BlockNumber) -> bool {
        self.known.iter().any(|e| e.start > number && !self.late(e))
    }

    /// The latest life.
    pub(super) fn latest(&self) -> Option<Epoch> {
        self.known.iter().copied().max_by_key(|e| (e.number, e.nonce))
    }
}

/// The blocks of one stripe behind `base` that belong to the log, by ascending number: of each
/// number the one of the latest life that no later life has ended, and never a life after a
/// later one.
pub(super) fn chain(blocks: &[Block], lives: &Lives, base: BlockNumber) -> Vec<usize> {
    let mut order: Vec<usize> = (0..blocks.len())
        .filter(|i| {
            let b = &blocks[*i].header;
            b.number > base && !lives.ended(b.number, b.epoch) && !lives.is_double(b.epoch, b.nonce)
        })
        .collect();
    order.sort_by_key(|i| (blocks[*i].header.number, std::cmp::Reverse(blocks[*i].header.epoch)));
    let (mut chain, mut epoch, mut number) = (Vec::new(), EpochNumber(0), base);
    for i in order {
        let b = &blocks[i].header;
        if b.number > number && b.epoch >= epoch {
            (epoch, number) = (b.epoch, b.number);
            chain.push(i);
        }
    }
    chain
}

/// Chains of all stripes, with every fence that stands in one of them applied.
///
/// The fence with the highest write order goes first: it may void the block in which a lower one
/// stands, never the other way round, since a fence is durable before its stripe is written again.
pub(super) fn chains(
    blocks: &[&[Block]],
    lives: &mut [Lives],
    bases: &[BlockNumber],
) -> Vec<Vec<usize>> {
    loop {
        let chains: Vec<Vec<usize>> = blocks
            .iter()
            .zip(lives.iter())
            .zip(bases)
            .map(|((blocks, lives), base)| chain(blocks, lives, *base))
            .collect();
        let Some(fence) = highest_new_fence(blocks, &chains, lives) else { return chains };
        lives[fence.stripe.at()].add(fence.epoch);
    }
}

fn highest_new_fence(
    blocks: &[&[Block]],
    chains: &[Vec<usize>],
    lives: &[Lives],
) -> Option<FenceBody> {
    let kept = blocks.iter().zip(chains).flat_map(|(b, chain)| chain.iter().map(|i| &b[*i]));
    let fences = kept.flat_map(|block| {
        block.effects.iter().filter_map(|e| match e {
            Effect::Fence(fence) => Some((block.header.order, fence)),
            _ => None,
        })
    });
    fences
        .filter(|(_, fence)| {
            let known = lives.get(fence.stripe.at()).map(|l| &l.known);
            fence.epoch.number.0 > 0 && known.is_some_and(|k| !k.contains(&fence.epoch))
        })
        .max_by_key(|(order, _): &(WriteOrder, &FenceBody)| *order)
        .map(|(_, fence)| *fence)
}
