//! The writes of an opening: blocks written again, headers made again or wiped, the joined state
//! into every checkpoint file.

use super::buffer::{self, Buffer};
use super::inventory::{SegmentFile, Subject};
use super::scan::{At, Block, Pieces};
use super::slots;
use super::{OpenError, SlotHome};
use crate::base::ids::Uuid;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::log::FreeSegment;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use std::io;

/// Makes what was read of a segment durable, where the directory's storage has direct writes.
///
/// A block that can be read past the page cache is on the medium or in the drive. In space that was
/// only set aside before, the file system may still have to note that it is written. A sync of the
/// file brings both home. Written again in its place it could be lost: a power cut in the middle of
/// that may take the physical block, and with it what was acknowledged long ago. No sync of ours can
/// have failed before and dropped it, for none of these bytes ever was in the page cache.
pub(super) fn flush(segment: &SegmentFile) -> Result<(), OpenError> {
    segment.file.sync().map_err(|source| OpenError::Write {
        path: segment.file.path().to_owned(),
        offset: 0,
        source,
    })
}

/// Writes a block again, same bytes, same place, durably, where writes go through the page cache:
/// it was read, but it may be only there, and a sync that failed in an earlier process may have
/// called it clean. The first block of a segment goes with the segment's header, as it did at
/// first.
pub(super) fn rewrite(
    subject: &Subject,
    segment: &SegmentFile,
    block: &Block,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
    let header = &block.header;
    let first = SEGMENT_HEADER_BYTES as u64;
    let from = if header.offset == first { 0 } else { header.offset };
    let len = usize::try_from(block.end_offset() - from).expect("a block fits into memory");
    // Read and checked again: only what is whole is written.
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
    let bytes = buffer.first(len)?;
    buffer::read(&*segment.file, from, bytes)?;
    if from == 0 {
        segment.header.encode(bytes);
    }
    buffer::write(&*segment.file, from, bytes)
}

/// Writes a header that was made from the first block.
pub(super) fn write_header(segment: &SegmentFile, buffer: &mut Buffer) -> Result<(), OpenError> {
    let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
    segment.header.encode(bytes);
    buffer::write(&*segment.file, 0, bytes)
}

/// Writes the damaged copy of a header again, and nothing of the other one: that is the only good one.
pub(super) fn write_copy(segment: &SegmentFile, buffer: &mut Buffer) -> Result<(), OpenError> {
    let Some(offset) = segment.damaged_copy else { return Ok(()) };
    let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
    segment.header.encode(bytes);
    let from = usize::try_from(offset).expect("inside of the header");
    buffer::write(&*segment.file, offset, &bytes[from..from + DEVICE_BLOCK_BYTES])
}

/// Makes a segment that holds nothing of the log one that was never used, whatever it looks like.
///
/// Left as it is, a later opening, which no longer knows that its life had ended, could take it
/// for a part of the log. And a write that failed in the life before may reach a segment after
/// this opening has found it blank: then a header would turn up of a life that nobody knew, with a
/// higher number than the lives since, and end them. What is written here comes after it. The
/// first block goes with the header, since a header can be made again from it.
pub(super) fn wipe(segment: &FreeSegment, buffer: &mut Buffer) -> Result<(), OpenError> {
    let whole = (SEGMENT_HEADER_BYTES + DEVICE_BLOCK_BYTES) as u64;
    // A file may have been cut short; a write never makes one longer.
    let len = whole.min(segment.len / DEVICE_BLOCK_BYTES as u64 * DEVICE_BLOCK_BYTES as u64);
    let bytes = buffer.first(usize::try_from(len).expect("at most three device blocks"))?;
    bytes.fill(0);
    if bytes.is_empty() { Ok(()) } else { buffer::write(&*segment.file, 0, bytes) }
}

/// Writes `state` as the next checkpoint of a directory.
pub(super) fn write_checkpoint(
    home: &mut SlotHome,
    channel: Uuid,
    owner: Uuid,
    state: &StateRecord,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
    let path = || home.file.path().to_owned();
    let payload =
        state.to_bytes().map_err(|refusal| OpenError::TooLarge { path: path(), refusal })?;
    slots::write(home, SlotKind::Checkpoint, channel, owner, &payload, buffer)
}
