//! Reads whole segments block by block, in the order of the log, for inspection and repair.

use super::scan;
use super::segment_file::{SegmentFile, Subject};
use crate::base::ids::{BlockNumber, Sequence};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::layout::{self, AlignedBuffer, ExpectedBlocks, LayoutError, Probe};
use crate::record::block::BlockHeader;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use std::ops::ControlFlow;

/// What the walk finds.
pub(crate) enum WalkedBlock<'a> {
    /// A whole block of the log and its bytes.
    Block(&'a BlockHeader, &'a [u8]),
    /// Missing blocks.
    BlockGap(BlockGap),
}

/// Blocks that are missing in a segment.
pub(crate) struct BlockGap {
    /// Numbers `start..end`.
    pub(crate) blocks: (BlockNumber, BlockNumber),
    /// Bytes `start..end` in the segment.
    pub(crate) bytes: (u64, u64),
    /// First sequence of the next block, if the segment has one.
    pub(crate) next_sequence: Option<Sequence>,
}

/// Walks the blocks of `segment` up to number `last`. Blocks of an earlier epoch than a block
/// before them, or beyond `last`, are left over from failed writes and are not part of the log.
pub(crate) fn segment(
    subject: &Subject,
    segment: &SegmentFile,
    last: BlockNumber,
    buffer: &mut AlignedBuffer,
    visit: &mut dyn FnMut(WalkedBlock<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, LayoutError> {
    let step = DEVICE_BLOCK_BYTES as u64;
    let mut blocks = segment.reader(subject, buffer);
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let mut end = at;
    let mut expected = ExpectedBlocks {
        next: segment.header.first_block,
        last,
        epoch: segment.header.epoch.number,
    };
    while at + step <= segment.len && expected.next <= last {
        let check = |header: &BlockHeader, bytes: &[u8]| scan::read_block(subject, header, bytes);
        let found = match blocks.probe(at, check)? {
            Probe::Block(block) if expected.contains(&block.header) => block,
            Probe::Block(_) | Probe::Torn(_) | Probe::Nothing => {
                at += step;
                continue;
            }
        };
        let (header, next) = (found.header, expected.next);
        if header.number > next {
            let next_sequence = Some(header.first_sequence);
            let hole = BlockGap { blocks: (next, header.number), bytes: (end, at), next_sequence };
            if visit(WalkedBlock::BlockGap(hole)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if visit(WalkedBlock::Block(&header, blocks.bytes(&header))).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        (expected.next, expected.epoch) = (header.number.next(), header.epoch);
        at = found.end_offset();
        end = at;
    }
    if expected.next <= last {
        let hole = BlockGap {
            blocks: (expected.next, last.next()),
            bytes: (end, segment.len),
            next_sequence: None,
        };
        return Ok(visit(WalkedBlock::BlockGap(hole)));
    }
    Ok(ControlFlow::Continue(()))
}

/// Returns the bytes of a block that was found whole in `segment`.
pub(crate) fn block<'b>(
    subject: &Subject,
    segment: &SegmentFile,
    header: &BlockHeader,
    buffer: &'b mut AlignedBuffer,
) -> Result<&'b [u8], LayoutError> {
    let check = |header: &BlockHeader, bytes: &[u8]| scan::read_block(subject, header, bytes);
    segment.reader(subject, buffer).reread_block(header, check)?;
    let bytes = buffer.first(header.written_len())?;
    layout::read_at(&*segment.file, header.offset, bytes)?;
    Ok(bytes)
}
