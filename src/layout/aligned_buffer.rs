//! Aligned memory for reads and writes, and reads with one retry.

use super::error::LayoutError;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::mutation::Mutation;
use crate::disk::File;
use std::io;

/// Bytes that suffice for nearly every opening of a channel with small segments.
const SMALL_BYTES: usize = 32 * 1024;

/// Page-aligned bytes, grown on demand.
pub(crate) struct AlignedBuffer {
    bytes: Vec<u8>,
    /// The first byte on a page boundary.
    start: usize,
}

impl AlignedBuffer {
    /// Returns a small buffer, which grows on demand.
    pub(crate) fn small() -> Result<Self, LayoutError> {
        Self::new(SMALL_BYTES)
    }

    /// Returns a buffer of at least `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self, LayoutError> {
        let mut bytes = Vec::new();
        let whole = len + DEVICE_BLOCK_BYTES;
        bytes.try_reserve_exact(whole).map_err(|_| LayoutError::Memory {
            bytes: len,
            source: io::ErrorKind::OutOfMemory.into(),
        })?;
        bytes.resize(whole, 0);
        let start = bytes.as_ptr().align_offset(DEVICE_BLOCK_BYTES);
        Ok(Self { bytes, start })
    }

    /// Returns the first `len` bytes; grows the buffer (and loses its contents) when it is shorter.
    pub(crate) fn first(&mut self, len: usize) -> Result<&mut [u8], LayoutError> {
        if len + DEVICE_BLOCK_BYTES > self.bytes.len() {
            *self = Self::new(len)?;
        }
        Ok(&mut self.bytes[self.start..self.start + len])
    }

    /// Returns the first `len` bytes, which were asked for before.
    pub(super) fn filled(&self, len: usize) -> &[u8] {
        &self.bytes[self.start..self.start + len]
    }
}

/// Reads into `into` from `offset` and returns the number of bytes read. A failed read is tried
/// once more: one lost command is not a reason to refuse a channel.
pub(crate) fn read_at(file: &dyn File, offset: u64, into: &mut [u8]) -> Result<usize, LayoutError> {
    file.read_at(offset, into)
        .or_else(|_| file.read_at(offset, into))
        .or_else(|error| if Mutation::ReadFailedIsEnd.is_active() { Ok(0) } else { Err(error) })
        .map_err(|source| LayoutError::Read { path: file.path().to_owned(), offset, source })
}

/// Writes `bytes` durably.
pub(crate) fn write_at(file: &dyn File, offset: u64, bytes: &[u8]) -> Result<(), LayoutError> {
    file.write_durable(offset, bytes).map_err(|source| LayoutError::Write {
        path: file.path().to_owned(),
        offset,
        source,
    })
}
