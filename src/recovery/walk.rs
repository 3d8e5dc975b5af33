//! Reading whole segments, block by block, as the log has them: for those who look.

use super::OpenError;
use super::buffer::{self, Buffer};
use super::inventory::{SegmentFile, Subject};
use super::scan::{At, Pieces};
use crate::base::ids::{BlockNumber, Sequence};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::record::block::BlockHeader;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use std::io;
use std::ops::ControlFlow;

/// What the walker meets.
pub(super) enum Step<'a> {
    /// A whole block of the log and its bytes.
    Block(&'a BlockHeader, &'a [u8]),
    /// Blocks that should be there and are not.
    Hole(Hole),
}

/// Blocks that are missing in a segment.
pub(super) struct Hole {
    /// Numbers `start..end`.
    pub(super) blocks: (BlockNumber, BlockNumber),
    /// Bytes `start..end` in the segment.
    pub(super) bytes: (u64, u64),
    /// First sequence of the block behind it, if one is in the segment.
    pub(super) next_sequence: Option<Sequence>,
}

/// Walks the blocks of `segment` up to number `last`. Blocks of an earlier life than one in front
/// of them, or beyond `last`, are left over from failed writes and no part of the log.
pub(super) fn segment(
    subject: &Subject,
    segment: &SegmentFile,
    last: BlockNumber,
    buffer: &mut Buffer,
    visit: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, OpenError> {
    let step = DEVICE_BLOCK_BYTES as u64;
    let mut pieces = Pieces::new(&*segment.file, segment.len, buffer);
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let (mut next, mut end, mut epoch) =
        (segment.header.first_block, at, segment.header.epoch.number);
    while at + step <= segment.len && next <= last {
        let At::Block(block) = pieces.look(subject, Some(segment.header.id), at)? else {
            at += step;
            continue;
        };
        let header = block.header;
        if header.number < next || header.number > last || header.epoch < epoch {
            at += step;
            continue;
        }
        if header.number > next {
            let next_sequence = Some(header.first_sequence);
            let hole = Hole { blocks: (next, header.number), bytes: (end, at), next_sequence };
            if visit(Step::Hole(hole)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let bytes = pieces.get(at, header.written_len())?;
        if visit(Step::Block(&header, bytes)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        (next, epoch) = (header.number.next(), header.epoch);
        at = block.end_offset();
        end = at;
    }
    if next <= last {
        let hole =
            Hole { blocks: (next, last.next()), bytes: (end, segment.len), next_sequence: None };
        return Ok(visit(Step::Hole(hole)));
    }
    Ok(ControlFlow::Continue(()))
}

/// The bytes of a block that was found whole in `segment`.
pub(super) fn block<'b>(
    subject: &Subject,
    segment: &SegmentFile,
    header: &BlockHeader,
    buffer: &'b mut Buffer,
) -> Result<&'b [u8], OpenError> {
    let found = Pieces::new(&*segment.file, segment.len, buffer).look(
        subject,
        Some(header.segment),
        header.offset,
    )?;
    if !matches!(found, At::Block(again) if again.header == *header) {
        return Err(OpenError::Unreadable {
            path: segment.file.path().to_owned(),
            offset: header.offset,
            source: io::Error::new(io::ErrorKind::InvalidData, "two reads differ"),
        });
    }
    let bytes = buffer.first(header.written_len())?;
    buffer::read(&*segment.file, header.offset, bytes)?;
    Ok(bytes)
}
