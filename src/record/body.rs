//! Payloads of frames: the prefix of a put's events, acknowledgements, fences, losses.

use super::cursor::{Reader, Writer};
use super::frame::{HAS_ORIGIN, HAS_SOURCE_OFFSET};
use super::{DecodeError, Epoch};
use crate::base::ids::{BlockNumber, EpochNumber, GroupId, Sequence, StripeIndex};
use crate::base::limits::STRIPES_MAX;

/// The place of a moved put before its stripe's epoch was fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stripe.
    pub stripe: StripeIndex,
    /// The epoch of the stripe then.
    pub epoch: EpochNumber,
    /// First sequence of the transaction there.
    pub sequence: Sequence,
}

/// A source's offset, committed with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceOffsetRef<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Grows by one with each committed offset of this source.
    pub counter: u64,
    /// The source's own bytes.
    pub bytes: &'a [u8],
}

/// Bytes before a source offset's two texts: counter and lengths.
const POSITION_HEADER_BYTES: usize = 16;

impl<'a> SourceOffsetRef<'a> {
    /// Returns the bytes of a source offset in a put frame and in a state record.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        POSITION_HEADER_BYTES + self.source.len() + self.bytes.len()
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.counter);
        w.len(self.source.len());
        w.len(self.bytes.len());
        w.bytes(self.source.as_bytes());
        w.bytes(self.bytes);
    }

    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let counter = r.u64()?;
        let (name, bytes) = (r.len()?, r.len()?);
        Ok(Self { counter, source: r.text(name)?, bytes: r.take(bytes)? })
    }
}

/// What precedes the events of a put frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutPrefix<'a> {
    /// Set when the transaction was moved here from a fenced epoch.
    pub origin: Option<Origin>,
    /// Set when a source committed its offset with the events.
    pub source_offset: Option<SourceOffsetRef<'a>>,
}

/// Bytes of an [`Origin`].
const ORIGIN_BYTES: usize = 24;

impl<'a> PutPrefix<'a> {
    /// Returns the frame's flags.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let source_offset = if self.source_offset.is_some() { HAS_SOURCE_OFFSET } else { 0 };
        let origin = if self.origin.is_some() { HAS_ORIGIN } else { 0 };
        source_offset | origin
    }

    /// Returns the bytes that [`PutPrefix::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let origin = if self.origin.is_some() { ORIGIN_BYTES } else { 0 };
        origin + self.source_offset.map_or(0, |source_offset| source_offset.encoded_len())
    }

    /// Writes the prefix to the start of `out` and returns its length in bytes; the events follow there.
    ///
    /// # Panics
    /// `out` is shorter than [`PutPrefix::encoded_len`].
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut w = Writer::new(out);
        if let Some(origin) = &self.origin {
            write_stripe(&mut w, origin.stripe);
            w.u64(origin.epoch.0);
            w.u64(origin.sequence.0);
        }
        if let Some(source_offset) = &self.source_offset {
            source_offset.write(&mut w);
        }
        w.at()
    }

    /// Reads the prefix of a put frame's payload; also returns where the events begin.
    ///
    /// # Errors
    /// The payload is cut short or not what [`PutPrefix::encode`] writes.
    pub fn decode(flags: u8, payload: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let mut r = Reader::new(payload);
        let mut prefix = Self::default();
        if flags & HAS_ORIGIN != 0 {
            let stripe = read_stripe(&mut r)?;
            let epoch = EpochNumber(r.u64()?);
            prefix.origin = Some(Origin { stripe, epoch, sequence: Sequence(r.u64()?) });
        }
        if flags & HAS_SOURCE_OFFSET != 0 {
            prefix.source_offset = Some(SourceOffsetRef::read(&mut r)?);
        }
        Ok((prefix, r.at()))
    }
}

/// Payload of a take commit: what one transaction acknowledged, on all stripes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckBody {
    /// The reader group.
    pub group: GroupId,
    /// Stripe and sequences `start..end`.
    pub ranges: Vec<(StripeIndex, u64, u64)>,
}

/// Bytes of one range of an [`AckBody`].
const ACK_RANGE_BYTES: usize = 24;

/// Bytes before the ranges of an [`AckBody`].
const ACK_HEADER_BYTES: usize = 8;

impl AckBody {
    /// Returns the bytes that [`AckBody::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        ACK_HEADER_BYTES + self.ranges.len() * ACK_RANGE_BYTES
    }

    /// Writes the payload to the start of `out` and returns its length in bytes.
    ///
    /// # Panics
    /// `out` is shorter than [`AckBody::encoded_len`].
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut w = Writer::new(out);
        w.u32(self.group.0);
        w.len(self.ranges.len());
        for (stripe, start, end) in &self.ranges {
            write_range(&mut w, *stripe, *start, *end);
        }
        w.at()
    }

    /// Reads the payload of an acknowledgement frame.
    ///
    /// # Errors
    /// It is not what [`AckBody::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let group = GroupId(r.u32()?);
        let count = r.len()?;
        if count != r.left() / ACK_RANGE_BYTES {
            return Err(DecodeError::Length);
        }
        let mut ranges = Vec::with_capacity(count);
        for _ in 0..count {
            ranges.push(read_range(&mut r)?);
        }
        r.end()?;
        Ok(Self { group, ranges })
    }
}

/// Payload of a fence: the stripe's new epoch, and the sequences of the old one that are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceBody {
    /// The stripe whose epoch ends.
    pub stripe: StripeIndex,
    /// The following epoch; blocks of earlier ones from its start on are void.
    pub epoch: Epoch,
    /// The sequence at the watermark: the first one that is void.
    pub void_start: Sequence,
    /// The stripe's next sequence, after the last void one.
    pub void_end: Sequence,
}

impl FenceBody {
    /// Bytes of the payload.
    pub const BYTES: usize = 48;

    /// Writes the payload to the start of `out` and returns its length in bytes.
    ///
    /// # Panics
    /// `out` is shorter than [`FenceBody::BYTES`].
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut w = Writer::new(out);
        write_stripe(&mut w, self.stripe);
        write_epoch(&mut w, &self.epoch);
        w.u64(self.void_start.0);
        w.u64(self.void_end.0);
        w.at()
    }

    /// Reads the payload of a fence frame.
    ///
    /// # Errors
    /// It is not what [`FenceBody::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let stripe = read_stripe(&mut r)?;
        let epoch = read_epoch(&mut r)?;
        let (void_start, void_end) = (Sequence(r.u64()?), Sequence(r.u64()?));
        r.end()?;
        // Equal when nothing was in flight.
        if void_start > void_end {
            return Err(DecodeError::Field("void range"));
        }
        Ok(Self { stripe, epoch, void_start, void_end })
    }
}

/// Payload of a lost frame: sequences that a take found damaged and skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostBody {
    /// The stripe.
    pub stripe: StripeIndex,
    /// First lost sequence.
    pub start: u64,
    /// The sequence after the last lost one.
    pub end: u64,
}

impl LostBody {
    /// Bytes of the payload.
    pub const BYTES: usize = 24;

    /// Writes the payload to the start of `out` and returns its length in bytes.
    ///
    /// # Panics
    /// `out` is shorter than [`LostBody::BYTES`].
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut w = Writer::new(out);
        write_range(&mut w, self.stripe, self.start, self.end);
        w.at()
    }

    /// Reads the payload of a lost frame.
    ///
    /// # Errors
    /// It is not what [`LostBody::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let (stripe, start, end) = read_range(&mut r)?;
        r.end()?;
        Ok(Self { stripe, start, end })
    }
}

fn write_stripe(w: &mut Writer<'_>, stripe: StripeIndex) {
    w.u16(stripe.0);
    w.zeroes(6);
}

fn read_stripe(r: &mut Reader<'_>) -> Result<StripeIndex, DecodeError> {
    let stripe = StripeIndex(r.u16()?);
    r.zeroes(6)?;
    if stripe.at() < STRIPES_MAX { Ok(stripe) } else { Err(DecodeError::Field("stripe")) }
}

fn write_range(w: &mut Writer<'_>, stripe: StripeIndex, start: u64, end: u64) {
    write_stripe(w, stripe);
    w.u64(start);
    w.u64(end);
}

fn read_range(r: &mut Reader<'_>) -> Result<(StripeIndex, u64, u64), DecodeError> {
    let stripe = read_stripe(r)?;
    let (start, end) = (r.u64()?, r.u64()?);
    if start < end { Ok((stripe, start, end)) } else { Err(DecodeError::Field("range")) }
}

pub(super) fn write_epoch(w: &mut Writer<'_>, epoch: &Epoch) {
    w.u64(epoch.number.0);
    w.u64(epoch.nonce);
    w.u64(epoch.start.0);
}

pub(super) fn read_epoch(r: &mut Reader<'_>) -> Result<Epoch, DecodeError> {
    let number = EpochNumber(r.u64()?);
    let nonce = r.u64()?;
    Ok(Epoch { number, nonce, start: BlockNumber(r.u64()?) })
}
