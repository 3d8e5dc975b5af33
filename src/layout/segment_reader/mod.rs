//! Reads the blocks of a segment, in large pieces and place by place.
//!
//! [`SegmentReader::probe`] returns what is at an offset, and loads what it needs for that:
//! recovery, inspection and repair go through a segment with it. Taking events that are only on the
//! disk uses one piece and no more: it loads the piece itself ([`SegmentReader::load_readable`],
//! [`SegmentReader::load`]) and looks into it ([`SegmentReader::header`],
//! [`SegmentReader::range`]). Which blocks belong to the log, [`ExpectedBlocks`] says to both.
//!
//! # Limits
//!
//! * A piece has [`COLD_READ_BYTES`], or as many as the block that is looked at. It is in memory
//!   that the caller gives ([`PieceMemory`]).
//! * A failed read is tried once more. If a large piece cannot be read, a smaller one is: an
//!   unreadable sector hides nothing before it.

#[cfg(test)]
mod tests;

use super::aligned_buffer::{AlignedBuffer, read_at};
use super::error::LayoutError;
use crate::base::checksum::Salt;
use crate::base::ids::{BlockNumber, EpochNumber, SegmentId, Uuid};
use crate::base::limits::{COLD_READ_BYTES, DEVICE_BLOCK_BYTES};
use crate::disk::File;
use crate::record::DecodeError;
use crate::record::block::{BlockHeader, block_salt};
use std::io;
use std::ops::Range;

/// Memory that holds the piece of a file that was read last.
pub(crate) trait PieceMemory {
    /// Reads up to `len` bytes of `file` from `offset` on, fewer only at its end. A failed
    /// read is tried once more.
    fn read(&mut self, file: &dyn File, offset: u64, len: usize) -> Result<(), LayoutError>;

    /// Returns the piece; it is empty before the first read.
    fn piece(&self) -> &[u8];
}

/// One buffer that every piece overwrites.
pub(crate) struct ReusedBuffer<'b> {
    buffer: &'b mut AlignedBuffer,
    filled: usize,
}

impl<'b> ReusedBuffer<'b> {
    pub(crate) fn new(buffer: &'b mut AlignedBuffer) -> Self {
        Self { buffer, filled: 0 }
    }
}

impl PieceMemory for ReusedBuffer<'_> {
    fn read(&mut self, file: &dyn File, offset: u64, len: usize) -> Result<(), LayoutError> {
        self.filled = 0;
        self.filled = read_at(file, offset, self.buffer.first(len)?)?;
        Ok(())
    }

    fn piece(&self) -> &[u8] {
        self.buffer.filled(self.filled)
    }
}

/// The contents of a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probe<T> {
    /// A whole block, as the caller's check returned it.
    Block(T),
    /// A whole header in its place, with frames that are not whole.
    Torn(BlockHeader),
    /// No block of this stripe and segment begins here.
    Nothing,
}

/// The blocks of the log that come next in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedBlocks {
    /// The lowest number.
    pub(crate) next: BlockNumber,
    /// The highest number.
    pub(crate) last: BlockNumber,
    /// The epoch of the block before them.
    pub(crate) epoch: EpochNumber,
}

impl ExpectedBlocks {
    /// Returns whether a block is one of them. A block of an earlier epoch than one before it is
    /// left over from a failed write, whatever its number; so are those beyond the last.
    pub(crate) fn contains(&self, header: &BlockHeader) -> bool {
        (self.next..=self.last).contains(&header.number) && header.epoch >= self.epoch
    }
}

/// Reads the blocks of one segment file.
pub(crate) struct SegmentReader<'f, M> {
    file: &'f dyn File,
    /// Offset at which blocks end at the latest, bytes.
    end: u64,
    salt: Salt,
    segment: Option<SegmentId>,
    memory: M,
    /// Offset of the piece in the file.
    start: u64,
    /// Before this offset, only the requested bytes are read: a large piece could not be.
    careful_to: u64,
}

impl<'f, M: PieceMemory> SegmentReader<'f, M> {
    /// Returns a reader of the blocks of `stripe` in `file` before `end`: those of `segment`, or of
    /// any.
    pub(crate) fn new(
        file: &'f dyn File,
        end: u64,
        (channel, stripe): (&Uuid, &Uuid),
        segment: Option<SegmentId>,
        memory: M,
    ) -> Self {
        let salt = block_salt(channel, stripe);
        Self { file, end, salt, segment, memory, start: 0, careful_to: 0 }
    }

    /// Returns what is at `offset`. `check` gets a header that stands in its place and the bytes of
    /// the block, and refuses a block whose frames are not whole.
    ///
    /// # Errors
    /// The place cannot be read, or a newer build wrote the block.
    pub(crate) fn probe<T>(
        &mut self,
        offset: u64,
        check: impl FnOnce(&BlockHeader, &[u8]) -> Result<T, DecodeError>,
    ) -> Result<Probe<T>, LayoutError> {
        self.require(offset, DEVICE_BLOCK_BYTES)?;
        let Some(header) = self.header(offset)? else { return Ok(Probe::Nothing) };
        if !self.fits(&header) {
            return Ok(Probe::Torn(header));
        }
        self.require(offset, header.written_len())?;
        let checked = match self.range(&header) {
            Some(range) => check(&header, &self.memory.piece()[range]),
            // The file was cut short.
            None => Err(DecodeError::Length),
        };
        Ok(checked.map_or(Probe::Torn(header), Probe::Block))
    }

    /// Finds a block again that was whole before.
    ///
    /// # Errors
    /// The place cannot be read, or does not hold the block any more.
    pub(crate) fn reread_block<T>(
        &mut self,
        header: &BlockHeader,
        check: impl FnOnce(&BlockHeader, &[u8]) -> Result<T, DecodeError>,
    ) -> Result<(), LayoutError> {
        let same = |found: &BlockHeader, bytes: &[u8]| {
            check(found, bytes)?;
            if found == header { Ok(()) } else { Err(DecodeError::Field("block header")) }
        };
        match self.probe(header.offset, same)? {
            Probe::Block(()) => Ok(()),
            Probe::Torn(_) | Probe::Nothing => Err(LayoutError::Read {
                path: self.file.path().to_owned(),
                offset: header.offset,
                source: io::Error::new(io::ErrorKind::InvalidData, "two reads differ"),
            }),
        }
    }

    /// Returns the bytes of a block that [`probe`](Self::probe) found last.
    pub(crate) fn bytes(&self, header: &BlockHeader) -> &[u8] {
        self.range(header).map_or(&[], |range| &self.memory.piece()[range])
    }

    /// Returns the block header at `offset` in the piece, if one stands there in its place.
    ///
    /// # Errors
    /// A newer build wrote it.
    pub(crate) fn header(&self, offset: u64) -> Result<Option<BlockHeader>, LayoutError> {
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let bytes = self.memory.piece().get(from..).unwrap_or_default();
        match BlockHeader::decode(self.salt, bytes) {
            Ok(header) => {
                let is_here = header.offset == offset;
                let is_own = self.segment.is_none_or(|segment| segment == header.segment);
                Ok(Some(header).filter(|_| is_here && is_own))
            }
            Err(DecodeError::Version { found, newest }) => {
                let path = self.file.path().to_owned();
                Err(LayoutError::Newer { path, found, known: newest })
            }
            Err(_) => Ok(None),
        }
    }

    /// Returns whether the block ends before the end of the segment.
    pub(crate) fn fits(&self, header: &BlockHeader) -> bool {
        header.offset + header.written_len() as u64 <= self.end
    }

    /// Returns where in the piece the block is, if all of it is.
    pub(crate) fn range(&self, header: &BlockHeader) -> Option<Range<usize>> {
        let from = usize::try_from(header.offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(header.written_len())?;
        (to <= self.memory.piece().len()).then_some(from..to)
    }

    /// Returns the bytes of the piece from `offset` on.
    pub(crate) fn left(&self, offset: u64) -> usize {
        (self.start + self.memory.piece().len() as u64).saturating_sub(offset) as usize
    }

    /// Returns the memory with the piece.
    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }

    /// Loads the piece of `len` bytes from `offset` on, a shorter one at the end of the segment.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn load(&mut self, offset: u64, len: usize) -> Result<(), LayoutError> {
        let room = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.memory.read(self.file, offset, len.min(room))?;
        self.start = offset;
        Ok(())
    }

    /// Loads a large piece from `offset` on, or else a smaller one.
    ///
    /// # Errors
    /// Not even the device block at `offset` can be read.
    pub(crate) fn load_readable(&mut self, offset: u64) -> Result<(), LayoutError> {
        self.load(offset, COLD_READ_BYTES)
            .or_else(|_| self.load(offset, COLD_READ_BYTES / 16))
            .or_else(|_| self.load(offset, DEVICE_BLOCK_BYTES))
    }

    /// Makes sure that the piece has `want` bytes from `offset` on, fewer only at the end of the
    /// file.
    fn require(&mut self, offset: u64, want: usize) -> Result<(), LayoutError> {
        if offset >= self.start && self.left(offset) >= want {
            return Ok(());
        }
        let large = want.max(COLD_READ_BYTES);
        let careful = offset < self.careful_to;
        let read = self.load(offset, if careful { want } else { large });
        if read.is_err() && !careful && want < large {
            self.careful_to = offset + large as u64;
            return self.load(offset, want);
        }
        read
    }
}
