//! Memory for what is read back.

use crate::base::limits::COLD_READ_BYTES;
use crate::base::lock_rank::LockRank;
use crate::disk::memory::{Area, AreaWriter, SlabPool, Span};
use std::io;
use std::sync::Mutex;

/// Memory for pieces: several are cut from one slab, so that takers hold only what was read, not a
/// whole slab for each piece.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers(Mutex<Option<AreaWriter>>);

impl ReadBuffers {
    /// Returns `len` bytes, in whole device blocks: the right to write them, and the area to read
    /// afterwards.
    pub(super) fn cut(&self, pool: &SlabPool, len: usize) -> io::Result<(Span, Area)> {
        let mut kept = LockRank::ReadBuffers.lock(&self.0);
        let mut writer = match kept.take().filter(|writer| writer.remaining() >= len) {
            Some(writer) => writer,
            None => pool.writer(len)?,
        };
        let span = writer.reserve(len).expect("the writer has at least that much left");
        let area = writer.close();
        // The rest of a slab that is too small for a piece must not keep all of it.
        *kept = Some(writer).filter(|writer| writer.remaining() >= COLD_READ_BYTES);
        Ok((span, area))
    }
}
