//! Segment headers and segment file names.
//!
//! A segment begins with two device blocks that hold the same header, so that one survives if the other is torn or
//! damaged. Files have fixed names by slot: a recycled file keeps its name and gets a new header, so that no commit has
//! to change a name.

use super::body::{read_epoch, write_epoch};
use super::cursor::{Reader, Writer};
use super::{DecodeError, Epoch};
use crate::base::checksum::Salt;
use crate::base::ids::{BlockNumber, SegmentId, Sequence, Uuid, WriteOrder};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::zeroes::is_zero;

/// Bytes of a segment before its first block: two copies of the header, a device block each.
pub const SEGMENT_HEADER_BYTES: usize = 2 * DEVICE_BLOCK_BYTES;

/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"MPSEGMNT";

/// The latest version of the log format that this program reads, and the one it writes.
pub const SEGMENT_VERSION: u32 = 1;

/// Bytes of one copy that are used; the rest of its device block is zero and not read.
pub const SEGMENT_COPY_BYTES: usize = 128;

/// Offset of the checksum in a copy.
const CRC_AT: usize = SEGMENT_COPY_BYTES - 4;

/// Bytes between the last field and the checksum.
const RESERVED_BYTES: usize = 12;

/// A segment's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The channel.
    pub channel: Uuid,
    /// The stripe.
    pub stripe: Uuid,
    /// Number of the segment in its stripe, from 1.
    pub id: SegmentId,
    /// The stripe's epoch when the segment was taken into use.
    pub epoch: Epoch,
    /// Number of the segment's first block.
    pub first_block: BlockNumber,
    /// Sequence of the first event in it.
    pub first_sequence: Sequence,
    /// No block in it has a lower write order.
    pub first_order: WriteOrder,
    /// Length of the file, bytes.
    pub len: u64,
}

fn salt() -> Salt {
    Salt::of(&SEGMENT_MAGIC)
}

impl SegmentHeader {
    /// Writes both copies to the start of `out`.
    ///
    /// # Panics
    /// `out` is shorter than [`SEGMENT_HEADER_BYTES`].
    pub fn encode(&self, out: &mut [u8]) {
        let out = &mut out[..SEGMENT_HEADER_BYTES];
        out.fill(0);
        let mut w = Writer::new(out);
        w.bytes(&SEGMENT_MAGIC);
        w.u32(SEGMENT_VERSION);
        w.u32(0);
        w.uuid(&self.channel);
        w.uuid(&self.stripe);
        w.u64(self.id.0);
        write_epoch(&mut w, &self.epoch);
        w.u64(self.first_block.0);
        w.u64(self.first_sequence.0);
        w.u64(self.first_order.0);
        w.u64(self.len);
        let crc = salt().checksum(&[&out[..CRC_AT]]);
        Writer::new(&mut out[CRC_AT..]).u32(crc);
        out.copy_within(..SEGMENT_COPY_BYTES, DEVICE_BLOCK_BYTES);
    }

    /// Reads the header from the start of a segment; either copy suffices. If both are valid and differ (a header write
    /// was torn), the higher segment id counts: it was written later.
    ///
    /// # Errors
    /// Why the first copy was refused, unless the second says more: a later version, or more than zeroes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let first = Self::decode_copy(bytes);
        let second = Self::decode_copy(bytes.get(DEVICE_BLOCK_BYTES..).unwrap_or_default());
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(if second.id > first.id { second } else { first }),
            (Ok(header), Err(_)) | (Err(_), Ok(header)) => Ok(header),
            (_, Err(version @ DecodeError::Version { .. })) => Err(version),
            (Err(DecodeError::Empty), Err(DecodeError::Length)) => Err(DecodeError::Empty),
            (Err(DecodeError::Empty), Err(second)) => Err(second),
            (Err(first), Err(_)) => Err(first),
        }
    }

    /// Returns the offset of a copy that cannot be read, if the other one can, in bytes.
    #[must_use]
    pub fn damaged_copy(bytes: &[u8]) -> Option<u64> {
        let second = bytes.get(DEVICE_BLOCK_BYTES..).unwrap_or_default();
        match (Self::decode_copy(bytes), Self::decode_copy(second)) {
            (Err(_), Ok(_)) => Some(0),
            (Ok(_), Err(_)) => Some(DEVICE_BLOCK_BYTES as u64),
            _ => None,
        }
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, DecodeError> {
        let copy = bytes.get(..SEGMENT_COPY_BYTES).ok_or(DecodeError::Length)?;
        if is_zero(copy) {
            return Err(DecodeError::Empty);
        }
        if copy[..SEGMENT_MAGIC.len()] != SEGMENT_MAGIC {
            return Err(DecodeError::Magic);
        }
        if salt().checksum(&[&copy[..CRC_AT]]) != Reader::starting_at(copy, CRC_AT).u32()? {
            return Err(DecodeError::Checksum);
        }
        let mut r = Reader::starting_at(copy, SEGMENT_MAGIC.len());
        let version = r.u32()?;
        if version != SEGMENT_VERSION {
            return Err(DecodeError::version(version, SEGMENT_VERSION));
        }
        r.zeroes(4)?;
        let header = Self {
            channel: r.uuid()?,
            stripe: r.uuid()?,
            id: SegmentId(r.u64()?),
            epoch: read_epoch(&mut r)?,
            first_block: BlockNumber(r.u64()?),
            first_sequence: Sequence(r.u64()?),
            first_order: WriteOrder(r.u64()?),
            len: r.u64()?,
        };
        r.zeroes(RESERVED_BYTES)?;
        if header.id.0 == 0 {
            return Err(DecodeError::Field("segment id"));
        }
        if header.first_block.0 == 0 {
            return Err(DecodeError::Field("first block"));
        }
        Ok(header)
    }
}
