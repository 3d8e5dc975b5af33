//! Aligned memory for reads and writes at opening, and reads that are tried twice.

use super::OpenError;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::mutant::Broken;
use crate::disk::File;
use crate::disk::memory::{SlabPool, Span};

/// Page-aligned bytes, grown on demand.
pub(super) struct Buffer {
    span: Span,
}

impl Buffer {
    /// A buffer of at least `len` bytes.
    pub(super) fn new(len: usize) -> Result<Self, OpenError> {
        let len = len.max(1).next_multiple_of(DEVICE_BLOCK_BYTES);
        let pool = SlabPool::new(len, 0);
        let mut writer =
            pool.writer(0).map_err(|source| OpenError::Memory { bytes: len, source })?;
        let span = writer.reserve(len).expect("a fresh slab gives out all it has");
        Ok(Self { span })
    }

    /// The first `len` bytes; grows (and forgets) when it is shorter.
    pub(super) fn first(&mut self, len: usize) -> Result<&mut [u8], OpenError> {
        if len > self.span.len() {
            *self = Self::new(len)?;
        }
        Ok(&mut self.span.bytes_mut()[..len])
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
