//! Frames: one committed transaction each, or one record of the log's own, inside a block.
//!
//! A frame's checksum is salted with the stripe, the nonce of its epoch and the key of its block,
//! a number that no two blocks of an epoch share. It is fixed when the block opens, so committers
//! checksum their frames in place and at once, and bytes of an earlier life of the same place
//! never pass as new.

use super::Refusal;
use super::cursor::{Reader, Writer};
use crate::base::checksum::Salt;
use crate::base::ids::{Sequence, Uuid};
use crate::base::zeroes::is_zero;
use std::ops::Range;

/// Bytes of a frame's header, in front of its payload.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Bytes of the checksum at the start of a frame.
const CRC_BYTES: usize = 4;

/// Put flag: the payload carries a source position.
pub const HAS_POSITION: u8 = 1;

/// Put flag: the payload names the place the transaction was moved from.
pub const HAS_ORIGIN: u8 = 2;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Events of one put transaction, behind a [`PutPrefix`](super::body::PutPrefix).
    Put = 1,
    /// A committed take, an [`AckBody`](super::body::AckBody).
    Ack = 2,
    /// A [`StateRecord`](super::state::StateRecord).
    State = 3,
    /// The end of a stripe's epoch after a failed write, a [`FenceBody`](super::body::FenceBody).
    Fence = 4,
    /// Damage that a take found, a [`LostBody`](super::body::LostBody).
    Lost = 5,
    /// A frame that was reserved and then given up. Its sequences are void; its payload has any
    /// content and is not read.
    Void = 255,
}

impl FrameKind {
    fn of(byte: u8) -> Result<Self, Refusal> {
        match byte {
            1 => Ok(Self::Put),
            2 => Ok(Self::Ack),
            3 => Ok(Self::State),
            4 => Ok(Self::Fence),
            5 => Ok(Self::Lost),
            255 => Ok(Self::Void),
            _ => Err(Refusal::Field("frame kind")),
        }
    }

    /// Whether the frame uses up sequences of its stripe.
    #[must_use]
    pub fn has_sequences(self) -> bool {
        matches!(self, Self::Put | Self::Void)
    }
}

/// A frame's header, checksum aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload.
    pub len: u32,
    /// What the payload is.
    pub kind: FrameKind,
    /// [`HAS_POSITION`] and [`HAS_ORIGIN`] for puts, else 0.
    pub flags: u8,
    /// Sequences the frame uses up: the events of a put, what was reserved for a void, else 0.
    pub count: u32,
    /// The first of them. Without a meaning where `count` is 0.
    pub first_sequence: Sequence,
}

impl FrameHeader {
    /// Bytes of the frame, header and payload.
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

/// The salt of all frames of one block. `key` is the block's own, from its header.
#[must_use]
pub fn frame_salt(stripe: &Uuid, epoch_nonce: u64, key: u64) -> Salt {
    let mut place = [0; 32];
    let mut w = Writer::new(&mut place);
    w.uuid(stripe);
    w.u64(epoch_nonce);
    w.u64(key);
    Salt::of(&place)
}

/// Completes a frame whose payload already stands behind the room for its header.
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

/// Makes a reserved frame void: what its payload holds no longer matters. Takes length, count and
/// first sequence from `header`.
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
/// The frame is cut short, its checksum does not fit this place, or its fields are not what
/// [`seal_frame`] and [`void_frame`] write.
pub fn parse(salt: Salt, bytes: &[u8]) -> Result<FrameHeader, Refusal> {
    check(salt, bytes)?.header
}

/// A frame whose checksum fits: its length can be trusted, whatever its other fields say.
struct Checked {
    len: usize,
    header: Result<FrameHeader, Refusal>,
}

fn check(salt: Salt, bytes: &[u8]) -> Result<Checked, Refusal> {
    let head = bytes.get(..FRAME_HEADER_BYTES).ok_or(Refusal::Length)?;
    if is_zero(head) {
        return Err(Refusal::Empty);
    }
    let mut r = Reader::new(head);
    let (crc, len) = (r.u32()?, r.len()?);
    let len = FRAME_HEADER_BYTES + len;
    let frame = bytes.get(..len).ok_or(Refusal::Length)?;
    let kind = r.u8()?;
    let covered = if kind == FrameKind::Void as u8 { head } else { frame };
    if salt.checksum(&[&covered[CRC_BYTES..]]) != crc {
        return Err(Refusal::Checksum);
    }
    Ok(Checked { len, header: fields(head) })
}

fn fields(head: &[u8]) -> Result<FrameHeader, Refusal> {
    let mut r = Reader::starting_at(head, CRC_BYTES);
    let len = r.u32()?;
    let kind = FrameKind::of(r.u8()?)?;
    let flags = r.u8()?;
    r.zeroes(2)?;
    let count = r.u32()?;
    let first_sequence = Sequence(r.u64()?);
    let known = if kind == FrameKind::Put { HAS_POSITION | HAS_ORIGIN } else { 0 };
    if flags & !known != 0 {
        return Err(Refusal::Field("frame flags"));
    }
    if !kind.has_sequences() && count != 0 {
        return Err(Refusal::Field("frame count"));
    }
    if first_sequence.0.checked_add(u64::from(count)).is_none() {
        return Err(Refusal::Field("first sequence"));
    }
    Ok(FrameHeader { len, kind, flags, count, first_sequence })
}

/// A checked frame and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// Its header.
    pub header: FrameHeader,
    /// Where the frame begins in the bytes that [`frames`] was given.
    pub offset: usize,
}

impl FrameAt {
    /// Where its payload stands in the bytes that [`frames`] was given.
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        self.offset + FRAME_HEADER_BYTES..self.offset + self.header.frame_len()
    }
}

/// The frames of `payload`, a block's bytes behind its header.
///
/// A refused frame comes as its offset and the reason. If its checksum fits, its length can be
/// trusted and the next frame follows; else the iterator ends there.
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
    type Item = Result<FrameAt, (usize, Refusal)>;

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
