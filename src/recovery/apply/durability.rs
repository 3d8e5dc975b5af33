//! Durability of the blocks that an opening keeps: flushed, or written again.

use crate::layout::{self, AlignedBuffer, LayoutError};
use crate::record::block::BlockHeader;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::recovery::read::scan::{self, ScannedBlock};
use crate::recovery::read::segment_file::{SegmentFile, Subject};

/// Makes the blocks read of a segment durable, where the directory's storage has direct writes.
///
/// A block that can be read past the page cache is on the medium or in the drive's cache. In
/// preallocated space the file system may still have to record that it is written. A sync of the
/// file makes both durable. Rewriting the block in place could lose it: a power cut during the
/// write may destroy the physical block, and with it data acknowledged long ago. No earlier sync
/// can have failed and dropped it, for none of these bytes was ever in the page cache.
pub(crate) fn flush(segment: &SegmentFile) -> Result<(), LayoutError> {
    segment.file.sync().map_err(|source| LayoutError::Write {
        path: segment.file.path().to_owned(),
        offset: 0,
        source,
    })
}

/// Writes a block again, same bytes, same place, durably, where writes go through the page cache:
/// it was read, but it may exist only there, and a failed sync of an earlier process may have
/// marked it clean. The first block of a segment is written with the segment's header, as at first.
pub(crate) fn rewrite(
    subject: &Subject,
    segment: &SegmentFile,
    block: &ScannedBlock,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let header = &block.header;
    let first = SEGMENT_HEADER_BYTES as u64;
    let from = if header.offset == first { 0 } else { header.offset };
    let len = usize::try_from(block.end_offset() - from).expect("a block fits into memory");
    // Read and checked again: only a whole block is written.
    let check = |header: &BlockHeader, bytes: &[u8]| scan::read_block(subject, header, bytes);
    segment.reader(subject, buffer).reread_block(header, check)?;
    let bytes = buffer.first(len)?;
    layout::read_at(&*segment.file, from, bytes)?;
    if from == 0 {
        segment.header.encode(bytes);
    }
    layout::write_at(&*segment.file, from, bytes)
}
