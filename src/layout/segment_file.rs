//! Segment files: their headers read and written, wiped for reuse, removed, opened again.

use super::aligned_buffer::{AlignedBuffer, read_at, write_at};
use super::durable_file::open_file;
use super::error::LayoutError;
use super::names::segment_name;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::disk::{Access, Directory, File};
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use std::io;
use std::sync::Arc;

/// Bytes at the start of a file that are zero when it was never used, or was wiped: the header and
/// the first block's.
pub(crate) const HEAD_BYTES: usize = SEGMENT_HEADER_BYTES + DEVICE_BLOCK_BYTES;

/// A segment file and its header.
type HeadedFile = (Arc<dyn File>, SegmentHeader);

/// Opens the segment file `name` and reads its header; `None` if there is no such file, or no
/// readable header in it.
pub(crate) fn segment_header(
    directory: &dyn Directory,
    name: &str,
    buffer: &mut AlignedBuffer,
) -> Result<Option<HeadedFile>, LayoutError> {
    let Some(file) = open_file(directory, name, Access::Read)? else { return Ok(None) };
    let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
    let len = read_at(&*file, 0, bytes)?;
    Ok(SegmentHeader::decode(&bytes[..len]).ok().map(|header| (file, header)))
}

/// Writes a header that was rebuilt from the first block.
pub(crate) fn write_header(
    file: &dyn File,
    header: &SegmentHeader,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
    header.encode(bytes);
    write_at(file, 0, bytes)
}

/// Rewrites the copy of a header at `offset` only: the other copy is the only good one.
pub(crate) fn write_header_copy(
    file: &dyn File,
    header: &SegmentHeader,
    offset: u64,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
    header.encode(bytes);
    let from = usize::try_from(offset).expect("inside of the header");
    write_at(file, offset, &bytes[from..from + DEVICE_BLOCK_BYTES])
}

/// Turns a segment file of `len` bytes that holds nothing of the log into an unused one, whatever
/// its contents.
///
/// Left as it is, a later opening, which no longer knows that its epoch had ended, could take it
/// for a part of the log. And a write that failed in the epoch before may reach a segment after
/// this opening has found it blank: then a header would appear of an unknown epoch with a higher
/// number than the epochs since, and end them. What is written here comes after it. The first block
/// is wiped with the header, since a header can be rebuilt from it.
pub(crate) fn wipe_segment(
    file: &dyn File,
    len: u64,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    // A file may have been cut short; a write never extends it.
    let unit = DEVICE_BLOCK_BYTES as u64;
    let len = (HEAD_BYTES as u64).min(len / unit * unit);
    let bytes = buffer.first(usize::try_from(len).expect("at most three device blocks"))?;
    bytes.fill(0);
    if bytes.is_empty() { Ok(()) } else { write_at(file, 0, bytes) }
}

/// Removes the segment file in slot `slot` durably. After a power cut that follows a failed sync
/// the name may be back: the file that it leads to stays whole.
pub(crate) fn remove_segment(directory: &dyn Directory, slot: u32) -> Result<(), LayoutError> {
    let name = segment_name(slot);
    directory
        .remove(&name)
        .and_then(|()| directory.sync())
        .map_err(|source| LayoutError::Remove { path: directory.path().join(&name), source })
}

/// Opens the segment file in slot `slot` again, of which `file`, with `len` bytes, is open; `None`
/// if its name leads to another file, or to a shorter one.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn reopened_segment(
    directory: &dyn Directory,
    slot: u32,
    file: &dyn File,
    len: u64,
) -> io::Result<Option<Arc<dyn File>>> {
    let opened = directory.open(&segment_name(slot), Access::Write)?;
    let same = opened.identity()? == file.identity()? && opened.len()? >= len;
    Ok(same.then_some(opened))
}
