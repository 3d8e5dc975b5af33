//! Frames: one committed transaction, or one record of the log's own, inside a block.
//!
//! A frame's checksum is salted with the stripe, the nonce of its epoch and the key of its block, a number that no two
//! blocks of an epoch share. The key is fixed when the block opens, so committers checksum their frames in place and at
//! once, and bytes of an earlier epoch at the same place never pass as new.

use super::DecodeError;
use super::cursor::{Reader, Writer};
use crate::base::checksum::Salt;
use crate::base::ids::{Sequence, Uuid};
use crate::base::zeroes::is_zero;
use std::ops::Range;

/// Bytes of a frame's header, before its payload.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Bytes of the checksum at the start of a frame.
const CRC_BYTES: usize = 4;

/// Offset of the flags in a frame, bytes: after checksum, length and kind.
pub const FRAME_FLAGS_AT: usize = CRC_BYTES + 5;

/// Put flag: the payload contains a source offset.
pub const HAS_SOURCE_OFFSET: u8 = 1;

/// Put flag: the payload contains the origin of a moved transaction.
pub const HAS_ORIGIN: u8 = 2;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Events of one put transaction, after a [`PutPrefix`](super::body::PutPrefix).
    Put = 1,
    /// A committed take, an [`AckBody`](super::body::AckBody).
    Ack = 2,
    /// A [`StateRecord`](super::state::StateRecord).
    State = 3,
    /// The end of a stripe's epoch after a failed write, a [`FenceBody`](super::body::FenceBody).
    Fence = 4,
    /// Damage that a take found, a [`LostBody`](super::body::LostBody).
    Lost = 5,
    /// A frame that was reserved and then dropped. Its sequences are void; its payload has any content and is not read.
    Void = 255,
}

impl FrameKind {
    fn of(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Put),
            2 => Ok(Self::Ack),
            3 => Ok(Self::State),
            4 => Ok(Self::Fence),
            5 => Ok(Self::Lost),
            255 => Ok(Self::Void),
            _ => Err(DecodeError::Field("frame kind")),
        }
    }

    /// Whether the frame uses sequences of its stripe.
    #[must_use]
    pub fn has_sequences(self) -> bool {
        matches!(self, Self::Put | Self::Void)
    }
}

/// A frame's header without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload.
    pub len: u32,
    /// The kind of the payload.
    pub kind: FrameKind,
    /// [`HAS_SOURCE_OFFSET`] and [`HAS_ORIGIN`] for puts, else 0.
    pub flags: u8,
    /// Sequences that the frame uses: the events of a put, the reserved ones of a void frame, else 0.
    pub count: u32,
    /// The first of them; without meaning if `count` is 0.
    pub first_sequence: Sequence,
}

impl FrameHeader {
    /// Returns the bytes of the frame, header and payload.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.len as usize
    }

    fn write(&self, crc: u32, out: &mut [u8]) {
        let mut w = Writer::new(out);
        w.u32(crc);
        w.u32(self.len);
        w.u8(self.kind as u8);
        w.u8(self.flags);
        w.u16(0);
        w.u32(self.count);
        w.u64(self.first_sequence.0);
    }
}

/// Returns the salt of all frames of one block. `key` is the block's own, from its header.
#[must_use]
pub fn frame_salt(stripe: &Uuid, epoch_nonce: u64, key: u64) -> Salt {
    let mut place = [0; 32];
    let mut w = Writer::new(&mut place);
    w.uuid(stripe);
    w.u64(epoch_nonce);
    w.u64(key);
    Salt::of(&place)
}

/// Completes a frame whose payload is already in place after the room for its header.
///
/// # Panics
/// `frame` is shorter than the header says, or the kind is [`FrameKind::Void`].
pub fn seal_frame(salt: Salt, header: &FrameHeader, frame: &mut [u8]) {
    assert!(header.kind != FrameKind::Void, "void frames are written by void_frame");
    let frame = &mut frame[..header.frame_len()];
    header.write(0, frame);
    let crc = salt.checksum(&[&frame[CRC_BYTES..]]);
    Writer::new(frame).u32(crc);
}

/// Makes a reserved frame void; its payload no longer matters. Takes length, count and first sequence from `header`.
///
/// # Panics
/// `frame` is shorter than [`FRAME_HEADER_BYTES`].
pub fn void_frame(salt: Salt, header: &FrameHeader, frame: &mut [u8]) {
    let header = FrameHeader { kind: FrameKind::Void, flags: 0, ..*header };
    let frame = &mut frame[..FRAME_HEADER_BYTES];
    header.write(0, frame);
    let crc = salt.checksum(&[&frame[CRC_BYTES..]]);
    Writer::new(frame).u32(crc);
}

/// Reads and checks the frame at the start of `bytes`; more may follow.
///
/// # Errors
/// The frame is cut short, its checksum does not match this place, or its fields are not what [`seal_frame`] and
/// [`void_frame`] write.
pub fn parse(salt: Salt, bytes: &[u8]) -> Result<FrameHeader, DecodeError> {
    check(salt, bytes)?.header
}

/// A frame whose checksum matches: its length can be trusted, whatever its other fields say.
struct Checked {
    len: usize,
    header: Result<FrameHeader, DecodeError>,
}

fn check(salt: Salt, bytes: &[u8]) -> Result<Checked, DecodeError> {
    let head = bytes.get(..FRAME_HEADER_BYTES).ok_or(DecodeError::Length)?;
    if is_zero(head) {
        return Err(DecodeError::Empty);
    }
    let mut r = Reader::new(head);
    let (crc, len) = (r.u32()?, r.len()?);
    let len = FRAME_HEADER_BYTES + len;
    let frame = bytes.get(..len).ok_or(DecodeError::Length)?;
    let kind = r.u8()?;
    let covered = if kind == FrameKind::Void as u8 { head } else { frame };
    if salt.checksum(&[&covered[CRC_BYTES..]]) != crc {
        return Err(DecodeError::Checksum);
    }
    Ok(Checked { len, header: fields(head) })
}

fn fields(head: &[u8]) -> Result<FrameHeader, DecodeError> {
    let mut r = Reader::starting_at(head, CRC_BYTES);
    let len = r.u32()?;
    let kind = FrameKind::of(r.u8()?)?;
    let flags = r.u8()?;
    r.zeroes(2)?;
    let count = r.u32()?;
    let first_sequence = Sequence(r.u64()?);
    let known = if kind == FrameKind::Put { HAS_SOURCE_OFFSET | HAS_ORIGIN } else { 0 };
    if flags & !known != 0 {
        return Err(DecodeError::Field("frame flags"));
    }
    if !kind.has_sequences() && count != 0 {
        return Err(DecodeError::Field("frame count"));
    }
    if first_sequence.0.checked_add(u64::from(count)).is_none() {
        return Err(DecodeError::Field("first sequence"));
    }
    Ok(FrameHeader { len, kind, flags, count, first_sequence })
}

/// A checked frame and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// Its header.
    pub header: FrameHeader,
    /// Offset of the frame in the bytes passed to [`frames`].
    pub offset: usize,
}

impl FrameAt {
    /// Returns the range of its payload in the bytes passed to [`frames`].
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        self.offset + FRAME_HEADER_BYTES..self.offset + self.header.frame_len()
    }
}

/// Returns the frames of `payload`, the bytes of a block after its header.
///
/// A refused frame is returned as its offset and the reason. If its checksum matches, its length can be trusted and the
/// next frame follows; otherwise the iterator ends there.
#[must_use]
pub fn frames(salt: Salt, payload: &[u8]) -> Frames<'_> {
    Frames { salt, payload, offset: 0 }
}

/// See [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    salt: Salt,
    payload: &'a [u8],
    offset: usize,
}

impl Iterator for Frames<'_> {
    type Item = Result<FrameAt, (usize, DecodeError)>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = &self.payload[offset..];
        if rest.is_empty() {
            return None;
        }
        match check(self.salt, rest) {
            Ok(checked) => {
                self.offset += checked.len;
                Some(match checked.header {
                    Ok(header) => Ok(FrameAt { header, offset }),
                    Err(refusal) => Err((offset, refusal)),
                })
            }
            Err(refusal) => {
                self.offset = self.payload.len();
                Some(Err((offset, refusal)))
            }
        }
    }
}
