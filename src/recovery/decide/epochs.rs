//! The epochs of the stripes and the fences between them: which blocks belong to the log.

use crate::base::ids::{BlockNumber, EpochNumber, WriteOrder};
use crate::record::Epoch;
use crate::record::body::FenceBody;
use crate::record::segment::SegmentHeader;
use crate::recovery::read::scan::{ScannedBlock, ScannedEffect};

/// Everything known about the epochs of one stripe.
#[derive(Clone, Debug, Default)]
pub(crate) struct EpochHistory {
    known: Vec<Epoch>,
    /// Number and nonce of epochs that left something in the stripe's own log.
    in_log: Vec<(EpochNumber, u64)>,
}

impl EpochHistory {
    /// Adds an epoch.
    pub(crate) fn add(&mut self, epoch: Epoch) {
        if epoch.number.0 > 0 && !self.known.contains(&epoch) {
            self.known.push(epoch);
        }
    }

    /// Adds an epoch of which the stripe's log has a trace.
    pub(crate) fn add_logged(&mut self, epoch: EpochNumber, nonce: u64) {
        if !self.in_log.contains(&(epoch, nonce)) {
            self.in_log.push((epoch, nonce));
        }
    }

    /// Returns whether an epoch is known only from a directory that was missing when a later epoch
    /// began: a fence that could not be known then. What followed it was kept, and the later epoch
    /// has built on that, so the fence ends nothing any more. An opening without a directory takes
    /// a number of another era, so it shows; and an epoch of which the stripe's own log has a trace
    /// was known.
    fn is_outdated(&self, epoch: &Epoch) -> bool {
        let later = |e: &Epoch| e.number.era() > epoch.number.era() && e.start > epoch.start;
        self.known.iter().any(later) && !self.in_log.contains(&(epoch.number, epoch.nonce))
    }

    /// Returns whether a later epoch starts at or below block `number` of epoch `epoch`.
    pub(crate) fn ended(&self, number: BlockNumber, epoch: EpochNumber) -> bool {
        self.known.iter().any(|e| e.number > epoch && e.start <= number && !self.is_outdated(e))
    }

    /// Returns whether the epoch is a different one with the same number, begun while a disk was
    /// missing.
    fn is_conflicting(&self, epoch: EpochNumber, nonce: u64) -> bool {
        let mut same = self.known.iter().filter(|e| e.number == epoch).peekable();
        same.peek().is_some() && same.all(|e| e.nonce != nonce)
    }

    /// Returns whether the epoch is known by a record, not only by blocks that claim to be of it.
    pub(crate) fn knows(&self, epoch: EpochNumber, nonce: u64) -> bool {
        self.known.iter().any(|e| e.number == epoch && e.nonce == nonce)
    }

    /// Returns whether a segment's first block cannot belong to the log.
    pub(crate) fn ended_segment(&self, header: &SegmentHeader) -> bool {
        self.ended(header.first_block, header.epoch.number)
    }

    /// Returns whether some epoch starts above block `number`: an opening has judged what is below
    /// it.
    pub(crate) fn judged(&self, number: BlockNumber) -> bool {
        self.known.iter().any(|e| e.start > number && !self.is_outdated(e))
    }

    /// Returns the latest epoch.
    pub(crate) fn latest(&self) -> Option<Epoch> {
        self.known.iter().copied().max_by_key(|e| (e.number, e.nonce))
    }
}

/// Returns the blocks of one stripe after `base` that belong to the log, by ascending number: of
/// each number the block of the latest epoch that no later epoch has ended, and never an epoch
/// after a later one.
pub(crate) fn chain(
    blocks: &[ScannedBlock],
    epochs: &EpochHistory,
    base: BlockNumber,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..blocks.len())
        .filter(|i| {
            let b = &blocks[*i].header;
            b.number > base
                && !epochs.ended(b.number, b.epoch)
                && !epochs.is_conflicting(b.epoch, b.nonce)
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

/// Returns the chains of all stripes, with every fence in them applied.
///
/// The fence with the highest write order is applied first: it may void the block that holds a
/// lower one, never the other way round, since a fence is durable before its stripe is written
/// again.
pub(crate) fn chains(
    blocks: &[&[ScannedBlock]],
    epochs: &mut [EpochHistory],
    bases: &[BlockNumber],
) -> Vec<Vec<usize>> {
    loop {
        let chains: Vec<Vec<usize>> = blocks
            .iter()
            .zip(epochs.iter())
            .zip(bases)
            .map(|((blocks, epochs), base)| chain(blocks, epochs, *base))
            .collect();
        let Some(fence) = highest_new_fence(blocks, &chains, epochs) else { return chains };
        epochs[fence.stripe.at()].add(fence.epoch);
    }
}

fn highest_new_fence(
    blocks: &[&[ScannedBlock]],
    chains: &[Vec<usize>],
    epochs: &[EpochHistory],
) -> Option<FenceBody> {
    let kept = blocks.iter().zip(chains).flat_map(|(b, chain)| chain.iter().map(|i| &b[*i]));
    let fences = kept.flat_map(|block| {
        block.effects.iter().filter_map(|e| match e {
            ScannedEffect::Fence(fence) => Some((block.header.order, fence)),
            _ => None,
        })
    });
    fences
        .filter(|(_, fence)| {
            let known = epochs.get(fence.stripe.at()).map(|l| &l.known);
            fence.epoch.number.0 > 0 && known.is_some_and(|k| !k.contains(&fence.epoch))
        })
        .max_by_key(|(order, _): &(WriteOrder, &FenceBody)| *order)
        .map(|(_, fence)| *fence)
}
