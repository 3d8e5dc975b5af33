//! Aligned memory for reads and writes at opening, and reads that are tried twice.

use super::OpenError;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::mutant::Broken;
use crate::disk::File;
use std::io;

/// Bytes that nearly every opening of a channel with small segments can do with.
const SMALL_BYTES: usize = 32 * 1024;

/// Page-aligned bytes, grown on demand.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// The first byte on a page boundary.
    start: usize,
}

impl Buffer {
    /// A small buffer, which grows with what it is asked for.
    pub(super) fn small() -> Result<Self, OpenError> {
        Self::new(SMALL_BYTES)
    }

    /// A buffer of at least `len` bytes.
    pub(super) fn new(len: usize) -> Result<Self, OpenError> {
        let mut bytes = Vec::new();
        let whole = len + DEVICE_BLOCK_BYTES;
        bytes.try_reserve_exact(whole).map_err(|_| OpenError::Memory {
            bytes: len,
            source: io::ErrorKind::OutOfMemory.into(),
        })?;
        bytes.resize(whole, 0);
        let start = bytes.as_ptr().align_offset(DEVICE_BLOCK_BYTES);
        Ok(Self { bytes, start })
    }

    /// The first `len` bytes; grows (and forgets) when it is shorter.
    pub(super) fn first(&mut self, len: usize) -> Result<&mut [u8], OpenError> {
        if len + DEVICE_BLOCK_BYTES > self.bytes.len() {
            *self = Self::new(len)?;
        }
        Ok(&mut self.bytes[self.start..self.start + len])
    }
}

/// Reads `into` from `offset`; answers how many bytes there were. A failed read is tried once
/// more: one lost command is no reason to refuse a channel.
pub(super) fn read(file: &dyn File, offset: u64, into: &mut [u8]) -> Result<usize, OpenError> {
    file.read_at(offset, into)
        .or_else(|_| file.read_at(offset, into))
        .or_else(|error| if Broken::ReadFailedIsEnd.is_chosen() { Ok(0) } else { Err(error) })
        .map_err(|source| OpenError::Unreadable { path: file.path().to_owned(), offset, source })
}

/// Writes `bytes` durably.
pub(super) fn write(file: &dyn File, offset: u64, bytes: &[u8]) -> Result<(), OpenError> {
    file.write_durable(offset, bytes).map_err(|source| OpenError::Write {
        path: file.path().to_owned(),
        offset,
        source,
    })
}
