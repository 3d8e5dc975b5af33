//! Blocks: the content of one write. A header of fixed length, then frames.
//!
//! The header's checksum covers the header; each frame has its own. The header contains the place (segment and offset),
//! the number and the epoch, so that a block is valid or not independently of its neighbours.

use super::DecodeError;
use super::cursor::{Reader, Writer};
use super::frame::{self, FrameKind};
use super::segment::SEGMENT_HEADER_BYTES;
use crate::base::checksum::Salt;
use crate::base::ids::{BlockNumber, EpochNumber, SegmentId, Sequence, Uuid, WriteOrder};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::zeroes::is_zero;

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 128;

/// "MPBK".
pub const BLOCK_MAGIC: [u8; 4] = *b"MPBK";

/// The latest version of the block header that this program reads, and the one it writes.
/// Version 2 has state records that say which openings a stripe was part of.
pub const BLOCK_VERSION: u16 = 2;

/// Flag: the block was written alone; nothing else of its stripe was in flight.
pub const SOLO: u16 = 1;

/// Flag: the first frame is a state record.
pub const STATE: u16 = 2;

/// Offset of the checksum, the header's last field.
const CRC_AT: usize = BLOCK_HEADER_BYTES - 4;

/// Bytes between the last field and the checksum.
const RESERVED_BYTES: usize = 28;

/// A block's header without its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// [`SOLO`], [`STATE`].
    pub flags: u16,
    /// The block's number in its stripe, from 1.
    pub number: BlockNumber,
    /// The stripe's epoch.
    pub epoch: EpochNumber,
    /// The epoch's nonce.
    pub nonce: u64,
    /// Salts the frames; no two blocks of an epoch have the same.
    pub key: u64,
    /// The segment the block was written to.
    pub segment: SegmentId,
    /// Its offset in that segment, bytes.
    pub offset: u64,
    /// Its write order among the blocks of all stripes.
    pub order: WriteOrder,
    /// Sequence of the first event, or of the next one if there is none.
    pub first_sequence: Sequence,
    /// Sequences used by the block's put and void frames.
    pub event_count: u32,
    /// Bytes of frames after the header.
    pub payload_len: u32,
    /// Last durable block when this one was sealed.
    pub watermark_block: BlockNumber,
    /// The sequence after that block's last event.
    pub watermark_sequence: Sequence,
}

/// Returns the salt of block headers of one stripe.
#[must_use]
pub fn block_salt(channel: &Uuid, stripe: &Uuid) -> Salt {
    let mut place = [0; 32];
    let mut w = Writer::new(&mut place);
    w.uuid(channel);
    w.uuid(stripe);
    Salt::of(&place)
}

/// Returns the bytes that a block with `payload_len` bytes of frames takes on the disk.
#[must_use]
pub const fn written_len(payload_len: usize) -> usize {
    (BLOCK_HEADER_BYTES + payload_len).next_multiple_of(DEVICE_BLOCK_BYTES)
}

impl BlockHeader {
    /// Returns the bytes that the block takes on the disk.
    #[must_use]
    pub fn written_len(&self) -> usize {
        written_len(self.payload_len as usize)
    }

    /// Returns the sequence after the block's last event.
    #[must_use]
    pub fn end_sequence(&self) -> Sequence {
        Sequence(self.first_sequence.0.saturating_add(u64::from(self.event_count)))
    }

    /// Writes the header to the start of `out`, with its checksum.
    ///
    /// # Panics
    /// `out` is shorter than [`BLOCK_HEADER_BYTES`].
    pub fn encode(&self, salt: Salt, out: &mut [u8]) {
        let out = &mut out[..BLOCK_HEADER_BYTES];
        let mut w = Writer::new(out);
        w.bytes(&BLOCK_MAGIC);
        w.u16(BLOCK_VERSION);
        w.u16(self.flags);
        w.u64(self.number.0);
        w.u64(self.epoch.0);
        w.u64(self.nonce);
        w.u64(self.key);
        w.u64(self.segment.0);
        w.u64(self.offset);
        w.u64(self.order.0);
        w.u64(self.first_sequence.0);
        w.u32(self.event_count);
        w.u32(self.payload_len);
        w.u64(self.watermark_block.0);
        w.u64(self.watermark_sequence.0);
        w.zeroes(RESERVED_BYTES);
        let crc = salt.checksum(&[&out[..CRC_AT]]);
        Writer::new(&mut out[CRC_AT..]).u32(crc);
    }

    /// Reads the header at the start of `bytes`; more may follow.
    ///
    /// # Errors
    /// Too short, never written, of another stripe, damaged, of a later version, or with a field
    /// that is never written.
    pub fn decode(salt: Salt, bytes: &[u8]) -> Result<Self, DecodeError> {
        let head = bytes.get(..BLOCK_HEADER_BYTES).ok_or(DecodeError::Length)?;
        if is_zero(head) {
            return Err(DecodeError::Empty);
        }
        if head[..4] != BLOCK_MAGIC {
            return Err(DecodeError::Magic);
        }
        if salt.checksum(&[&head[..CRC_AT]]) != Reader::starting_at(head, CRC_AT).u32()? {
            return Err(DecodeError::Checksum);
        }
        // After the checksum: damage in the version must not read as "use a newer program".
        let mut r = Reader::starting_at(head, BLOCK_MAGIC.len());
        let version = r.u16()?;
        if !(1..=BLOCK_VERSION).contains(&version) {
            return Err(DecodeError::version(u32::from(version), u32::from(BLOCK_VERSION)));
        }
        let header = Self {
            flags: r.u16()?,
            number: BlockNumber(r.u64()?),
            epoch: EpochNumber(r.u64()?),
            nonce: r.u64()?,
            key: r.u64()?,
            segment: SegmentId(r.u64()?),
            offset: r.u64()?,
            order: WriteOrder(r.u64()?),
            first_sequence: Sequence(r.u64()?),
            event_count: r.u32()?,
            payload_len: r.u32()?,
            watermark_block: BlockNumber(r.u64()?),
            watermark_sequence: Sequence(r.u64()?),
        };
        r.zeroes(RESERVED_BYTES)?;
        header.check_fields()?;
        Ok(header)
    }

    fn check_fields(&self) -> Result<(), DecodeError> {
        if self.flags & !(SOLO | STATE) != 0 {
            return Err(DecodeError::Field("block flags"));
        }
        if self.number.0 == 0 {
            return Err(DecodeError::Field("block number"));
        }
        if self.offset < SEGMENT_HEADER_BYTES as u64
            || !self.offset.is_multiple_of(DEVICE_BLOCK_BYTES as u64)
        {
            return Err(DecodeError::Field("block offset"));
        }
        if self.first_sequence.0.checked_add(u64::from(self.event_count)).is_none() {
            return Err(DecodeError::Field("first sequence"));
        }
        Ok(())
    }
}

/// Checks what follows a decoded header: every frame is valid, their lengths add up to the payload's, and their
/// sequences are consecutive as the header says.
///
/// `block` begins with the header; bytes after the payload are not read.
///
/// # Errors
/// The first mismatch.
pub fn check_block(header: &BlockHeader, stripe: &Uuid, block: &[u8]) -> Result<(), DecodeError> {
    let end = BLOCK_HEADER_BYTES + header.payload_len as usize;
    let payload = block.get(BLOCK_HEADER_BYTES..end).ok_or(DecodeError::Length)?;
    let salt = frame::frame_salt(stripe, header.nonce, header.key);
    let mut next = header.first_sequence.0;
    let mut state_wanted = header.flags & STATE != 0;
    for found in frame::frames(salt, payload) {
        let found = found.map_err(|(_, refusal)| refusal)?.header;
        if std::mem::take(&mut state_wanted) && found.kind != FrameKind::State {
            return Err(DecodeError::Field("block flags"));
        }
        if found.kind.has_sequences() {
            if found.first_sequence.0 != next {
                return Err(DecodeError::Field("first sequence"));
            }
            next += u64::from(found.count);
        }
    }
    if state_wanted {
        return Err(DecodeError::Field("block flags"));
    }
    if next != header.end_sequence().0 {
        return Err(DecodeError::Field("event count"));
    }
    Ok(())
}
