//! Slots: records that are written in turn to two places of one file, so that one of the two is always whole.
//! Checkpoints and member files consist of them.
//!
//! A slot is a device block with the header, then the payload. The checksum covers both, so a new header over an old
//! payload is refused.

use super::DecodeError;
use super::cursor::{Reader, Writer};
use crate::base::checksum::Salt;
use crate::base::ids::Uuid;
use crate::base::limits::{DEVICE_BLOCK_BYTES, STATE_BYTES_MAX};
use crate::base::zeroes::is_zero;
use std::ops::Range;

/// First bytes of a slot.
pub const SLOT_MAGIC: [u8; 8] = *b"MPSLOT\0\0";

/// The latest version of slots that this program reads, and the one it writes.
/// Version 2 has state records that say which openings a stripe was part of.
pub const SLOT_VERSION: u32 = 2;

/// Bytes of a slot's header that are used; the rest of its device block is not read.
pub const SLOT_HEADER_BYTES: usize = 64;

/// Where the payload begins in a slot.
pub const SLOT_PAYLOAD_AT: usize = DEVICE_BLOCK_BYTES;

/// Slots of one file; generation `g` is in slot `g % 2`.
pub const SLOTS_PER_FILE: usize = 2;

/// Bytes of one slot of a checkpoint file.
pub const CHECKPOINT_SLOT_BYTES: usize =
    (SLOT_PAYLOAD_AT + STATE_BYTES_MAX).next_multiple_of(DEVICE_BLOCK_BYTES);

/// Bytes of one slot of a member file.
pub const MEMBER_SLOT_BYTES: usize = 64 * 1024;

/// Offset of the checksum in the header.
const CRC_AT: usize = SLOT_HEADER_BYTES - 4;

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SlotKind {
    /// A state record.
    Checkpoint = 1,
    /// A [`Member`](super::member::Member).
    Member = 2,
}

impl SlotKind {
    /// Returns the bytes of one slot of this kind in its file.
    #[must_use]
    pub const fn slot_bytes(self) -> usize {
        match self {
            Self::Checkpoint => CHECKPOINT_SLOT_BYTES,
            Self::Member => MEMBER_SLOT_BYTES,
        }
    }

    /// Returns the bytes of a file of this kind.
    #[must_use]
    pub const fn file_bytes(self) -> usize {
        SLOTS_PER_FILE * self.slot_bytes()
    }

    /// Returns the most bytes that the payload may have.
    #[must_use]
    pub const fn payload_bytes_max(self) -> usize {
        self.slot_bytes() - SLOT_PAYLOAD_AT
    }

    /// Returns the offset in the file of the slot for `generation`.
    #[must_use]
    pub const fn slot_offset(self, generation: u64) -> u64 {
        (generation % SLOTS_PER_FILE as u64) * self.slot_bytes() as u64
    }
}

/// A slot that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The channel.
    pub channel: Uuid,
    /// The member directory that the slot was written for.
    pub owner: Uuid,
    /// Grows by one with each slot written to the file.
    pub generation: u64,
    /// The range of the payload in the decoded bytes.
    pub payload: Range<usize>,
}

fn salt() -> Salt {
    Salt::of(&SLOT_MAGIC)
}

/// Returns the bytes that [`encode`] fills for a payload of `payload_len` bytes, a multiple of [`DEVICE_BLOCK_BYTES`].
#[must_use]
pub const fn encoded_len(payload_len: usize) -> usize {
    (SLOT_PAYLOAD_AT + payload_len).next_multiple_of(DEVICE_BLOCK_BYTES)
}

/// Writes a slot to the start of `out` and returns how many bytes to write to the file: padded with zeroes to whole
/// device blocks.
///
/// # Errors
/// [`DecodeError::Bounds`]: the payload is longer than a slot of this kind holds.
///
/// # Panics
/// `out` is shorter than [`encoded_len`].
pub fn encode(
    kind: SlotKind,
    channel: &Uuid,
    owner: &Uuid,
    generation: u64,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, DecodeError> {
    if payload.len() > kind.payload_bytes_max() {
        return Err(DecodeError::Bounds);
    }
    let len = encoded_len(payload.len());
    let out = &mut out[..len];
    let mut w = Writer::new(out);
    w.bytes(&SLOT_MAGIC);
    w.u32(SLOT_VERSION);
    w.u32(kind as u32);
    w.uuid(channel);
    w.uuid(owner);
    w.u64(generation);
    w.len(payload.len());
    w.zeroes(SLOT_PAYLOAD_AT - CRC_AT);
    w.bytes(payload);
    w.zeroes(len - SLOT_PAYLOAD_AT - payload.len());
    let crc = salt().checksum(&[&out[..CRC_AT], payload]);
    Writer::new(&mut out[CRC_AT..]).u32(crc);
    Ok(len)
}

/// Reads the slot at the start of `bytes`; more may follow.
///
/// # Errors
/// Too short, never written, damaged, of another kind, or of a later version.
pub fn decode(kind: SlotKind, bytes: &[u8]) -> Result<Slot, DecodeError> {
    let head = bytes.get(..SLOT_HEADER_BYTES).ok_or(DecodeError::Length)?;
    if is_zero(head) {
        return Err(DecodeError::Empty);
    }
    if head[..SLOT_MAGIC.len()] != SLOT_MAGIC {
        return Err(DecodeError::Magic);
    }
    let mut r = Reader::starting_at(head, SLOT_MAGIC.len());
    let (version, found_kind) = (r.u32()?, r.u32()?);
    let (channel, owner, generation) = (r.uuid()?, r.uuid()?, r.u64()?);
    let (payload_len, crc) = (r.len()?, r.u32()?);
    let range = SLOT_PAYLOAD_AT..SLOT_PAYLOAD_AT + payload_len;
    let payload = bytes.get(range.clone()).ok_or(DecodeError::Length)?;
    if salt().checksum(&[&head[..CRC_AT], payload]) != crc {
        return Err(DecodeError::Checksum);
    }
    if !(1..=SLOT_VERSION).contains(&version) {
        return Err(DecodeError::version(version, SLOT_VERSION));
    }
    if found_kind != kind as u32 {
        return Err(DecodeError::Field("slot kind"));
    }
    if payload_len > kind.payload_bytes_max() {
        return Err(DecodeError::Bounds);
    }
    Ok(Slot { channel, owner, generation, payload: range })
}
