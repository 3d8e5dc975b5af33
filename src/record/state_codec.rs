//! Encoding of state records: the payload of state frames and of checkpoint slots.
//!
//! Every record has one encoding: groups, ranges, damage and source offsets are in ascending order, and ranges neither
//! touch nor overlap. The record's length is bounded as a whole by [`STATE_BYTES_MAX`], which bounds all counts in it.

use super::body::{SourceOffsetRef, read_epoch, write_epoch};
use super::cursor::{Reader, Writer};
use super::state::{ADOPTED_RANGES_MAX, DAMAGE_NAMED_MAX, SourceOffset, StateRecord, StripeState};
use super::{DecodeError, Watermark};
use crate::base::ids::{BlockNumber, GroupId, SegmentId, Sequence, WriteOrder};
use crate::base::limits::{RANGES_MAX, SOURCE_OFFSET_BYTES_MAX, STATE_BYTES_MAX, STRIPES_MAX};
use crate::base::ranges::RangeSet;
use std::collections::BTreeMap;

/// Bytes before the stripes.
const STATE_HEADER_BYTES: usize = 8;

/// First layout of the stripes in a record. It has no adopted ranges and no opening; its number is the zero of a then
/// reserved field.
const LAYOUT_FIRST: u16 = 0;

/// The layout that is written.
const LAYOUT: u16 = 1;

/// Bytes of a stripe without its damage, adopted ranges and groups.
const STATE_STRIPE_BYTES: usize = 104;

/// Bytes of a group without its ranges.
const STATE_GROUP_BYTES: usize = 16;

/// Bytes of a range.
const RANGE_BYTES: usize = 16;

// With all limits reached at once, and eight groups, a record still fits.
const _: () = assert!(
    STATE_HEADER_BYTES
        + STRIPES_MAX
            * (STATE_STRIPE_BYTES
                + (DAMAGE_NAMED_MAX + ADOPTED_RANGES_MAX) * RANGE_BYTES
                + 8 * STATE_GROUP_BYTES)
        + RANGES_MAX * RANGE_BYTES
        + SOURCE_OFFSET_BYTES_MAX
        <= STATE_BYTES_MAX
);

impl StateRecord {
    /// Returns the bytes that [`StateRecord::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let stripes: usize = self.stripes.iter().map(StripeState::encoded_len).sum();
        STATE_HEADER_BYTES + stripes + self.position_bytes()
    }

    /// Returns the bytes of all source offsets in the record; limited by [`SOURCE_OFFSET_BYTES_MAX`].
    #[must_use]
    pub fn position_bytes(&self) -> usize {
        self.source_offsets.iter().map(|(source, at)| at.as_ref(source).encoded_len()).sum()
    }

    /// Checks that the record can be encoded.
    ///
    /// # Errors
    /// As [`StateRecord::encode`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        let fits = self.stripes.len() <= STRIPES_MAX && self.encoded_len() <= STATE_BYTES_MAX;
        fits.then_some(()).ok_or(DecodeError::Bounds)
    }

    /// Writes the record to the start of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// [`DecodeError::Bounds`]: it has more than [`STATE_BYTES_MAX`] bytes or [`STRIPES_MAX`] stripes.
    ///
    /// # Panics
    /// `out` is shorter than [`StateRecord::encoded_len`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, DecodeError> {
        self.check_bounds()?;
        let mut w = Writer::new(out);
        w.u16(self.stripes.len() as u16);
        w.u16(LAYOUT);
        w.len(self.source_offsets.len());
        for stripe in &self.stripes {
            stripe.write(&mut w);
        }
        for (source, source_offset) in &self.source_offsets {
            source_offset.as_ref(source).write(&mut w);
        }
        Ok(w.at())
    }

    /// Returns the encoded record.
    ///
    /// # Errors
    /// As [`StateRecord::encode`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![0; self.encoded_len()];
        self.encode(&mut out)?;
        Ok(out)
    }

    /// Reads a record that takes up all of `payload`.
    ///
    /// # Errors
    /// It is not what [`StateRecord::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        if payload.len() > STATE_BYTES_MAX {
            return Err(DecodeError::Bounds);
        }
        let mut r = Reader::new(payload);
        let stripe_count = usize::from(r.u16()?);
        let layout = r.u16()?;
        if layout > LAYOUT {
            return Err(DecodeError::Field("state layout"));
        }
        let position_count = r.len()?;
        if stripe_count > STRIPES_MAX {
            return Err(DecodeError::Bounds);
        }
        let mut stripes = Vec::with_capacity(stripe_count);
        for _ in 0..stripe_count {
            stripes.push(StripeState::read(&mut r, layout)?);
        }
        let source_offsets = read_positions(&mut r, position_count)?;
        r.end()?;
        Ok(Self { stripes, source_offsets })
    }
}

fn read_positions(
    r: &mut Reader<'_>,
    count: usize,
) -> Result<BTreeMap<String, SourceOffset>, DecodeError> {
    let mut source_offsets = BTreeMap::new();
    for _ in 0..count {
        let source_offset = SourceOffsetRef::read(r)?;
        if source_offsets
            .last_key_value()
            .is_some_and(|(last, _): (&String, _)| last.as_str() >= source_offset.source)
        {
            return Err(DecodeError::Field("position order"));
        }
        let SourceOffsetRef { source, counter, bytes } = source_offset;
        source_offsets.insert(source.to_owned(), SourceOffset { counter, bytes: bytes.to_vec() });
    }
    Ok(source_offsets)
}

impl SourceOffset {
    /// Returns the source offset as it is in frames.
    #[must_use]
    pub fn as_ref<'a>(&'a self, source: &'a str) -> SourceOffsetRef<'a> {
        SourceOffsetRef { source, counter: self.counter, bytes: &self.bytes }
    }
}

impl StripeState {
    fn encoded_len(&self) -> usize {
        let group = |set: &RangeSet| STATE_GROUP_BYTES + set.ranges_beyond() * RANGE_BYTES;
        let groups: usize = self.acknowledged.values().map(group).sum();
        let named = self.damaged.len() + self.adopted.ranges().count();
        STATE_STRIPE_BYTES + named * RANGE_BYTES + groups
    }

    fn write(&self, w: &mut Writer<'_>) {
        write_epoch(w, &self.epoch);
        write_watermark(w, &self.watermark);
        w.u64(self.next.0);
        w.u64(self.damaged_events);
        w.len(self.damaged.len());
        w.len(self.acknowledged.len());
        w.u64(self.opened);
        w.len(self.adopted.ranges().count());
        w.u32(0);
        for (start, end) in self.damaged.iter().copied().chain(self.adopted.ranges()) {
            w.u64(start);
            w.u64(end);
        }
        for (group, set) in &self.acknowledged {
            w.u32(group.0);
            w.len(set.ranges_beyond());
            w.u64(set.frontier());
            for (start, end) in set.beyond() {
                w.u64(start);
                w.u64(end);
            }
        }
    }

    fn read(r: &mut Reader<'_>, layout: u16) -> Result<Self, DecodeError> {
        let epoch = read_epoch(r)?;
        let watermark = read_watermark(r)?;
        let next = Sequence(r.u64()?);
        let damaged_events = r.u64()?;
        let (damaged_count, group_count) = (r.len()?, r.len()?);
        if damaged_count > DAMAGE_NAMED_MAX {
            return Err(DecodeError::Bounds);
        }
        let (mut opened, mut adopted_count) = (0, 0);
        if layout != LAYOUT_FIRST {
            (opened, adopted_count) = (r.u64()?, r.len()?);
            r.zeroes(4)?;
        }
        if adopted_count > ADOPTED_RANGES_MAX {
            return Err(DecodeError::Bounds);
        }
        let mut damaged = Vec::with_capacity(damaged_count);
        for _ in 0..damaged_count {
            let range = read_range(r)?;
            if damaged.last().is_some_and(|last| *last >= range) {
                return Err(DecodeError::Field("damage order"));
            }
            damaged.push(range);
        }
        let adopted = read_adopted(r, adopted_count)?;
        let acknowledged = read_groups(r, group_count)?;
        Ok(Self { epoch, watermark, next, acknowledged, damaged_events, damaged, opened, adopted })
    }
}

fn read_adopted(r: &mut Reader<'_>, count: usize) -> Result<RangeSet, DecodeError> {
    let (mut adopted, mut last) = (RangeSet::default(), None);
    for _ in 0..count {
        let (start, end) = read_range(r)?;
        if last.is_some_and(|last| start <= last) {
            return Err(DecodeError::Field("adopted order"));
        }
        last = Some(end);
        adopted.insert(start, end);
    }
    Ok(adopted)
}

fn read_groups(
    r: &mut Reader<'_>,
    count: usize,
) -> Result<BTreeMap<GroupId, RangeSet>, DecodeError> {
    let mut groups = BTreeMap::new();
    for _ in 0..count {
        let group = GroupId(r.u32()?);
        if groups.last_key_value().is_some_and(|(last, _)| *last >= group) {
            return Err(DecodeError::Field("group order"));
        }
        let ranges = r.len()?;
        let mut end = r.u64()?;
        let mut set = RangeSet::up_to(end);
        for _ in 0..ranges {
            let range = read_range(r)?;
            if range.0 <= end {
                return Err(DecodeError::Field("range order"));
            }
            end = range.1;
            set.insert(range.0, range.1);
        }
        groups.insert(group, set);
    }
    Ok(groups)
}

fn read_range(r: &mut Reader<'_>) -> Result<(u64, u64), DecodeError> {
    let range = (r.u64()?, r.u64()?);
    if range.0 < range.1 { Ok(range) } else { Err(DecodeError::Field("range")) }
}

fn write_watermark(w: &mut Writer<'_>, watermark: &Watermark) {
    w.u64(watermark.block.0);
    w.u64(watermark.sequence.0);
    w.u64(watermark.order.0);
    w.u64(watermark.segment.0);
    w.u64(watermark.end_offset);
}

fn read_watermark(r: &mut Reader<'_>) -> Result<Watermark, DecodeError> {
    Ok(Watermark {
        block: BlockNumber(r.u64()?),
        sequence: Sequence(r.u64()?),
        order: WriteOrder(r.u64()?),
        segment: SegmentId(r.u64()?),
        end_offset: r.u64()?,
    })
}
