//! Blocks whose events can be lent: from memory after their write, or read back.

use super::block::{FrameEffect, LogBlock};
use crate::base::ids::Uuid;
use crate::base::ids::{BlockNumber, Sequence, StripeIndex, WriteOrder};
use crate::disk::memory::Area;
use crate::event::Event;
use crate::record::DecodeError;
use crate::record::block::{BLOCK_HEADER_BYTES, BlockHeader};
use crate::record::body::PutPrefix;
use crate::record::event;
use crate::record::frame::{self, FRAME_FLAGS_AT, FRAME_HEADER_BYTES, FrameKind};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The events of one put transaction within a block.
#[derive(Debug)]
pub struct PutBatch {
    /// Sequence of the first.
    pub first_sequence: u64,
    /// How many.
    pub count: u32,
    /// Where they are in the block's bytes.
    events: Range<usize>,
    /// The furthest event whose place is known: its index and its offset in `events`. Takers that split a batch between
    /// them start there and not at its beginning.
    hint: AtomicU64,
}

/// A durable block and an index of its events.
#[derive(Debug)]
pub struct ReadableBlock {
    /// The stripe.
    pub stripe: StripeIndex,
    /// Its number.
    pub number: BlockNumber,
    /// Its place among the blocks of all stripes.
    pub order: WriteOrder,
    /// Sequence of its first event.
    pub first_sequence: Sequence,
    /// The sequence after its last event.
    pub end_sequence: Sequence,
    /// Its put transactions, ascending.
    pub batches: Vec<PutBatch>,
    bytes: Bytes,
}

/// Events of one batch that are lent together.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The block.
    pub block: Arc<ReadableBlock>,
    /// Index of the batch.
    pub batch: u32,
    /// Index of the first event in the batch.
    pub from: u32,
    /// How many events.
    pub count: u32,
    /// Whether it begins where the previous lease of the same transaction ends: together they leave one hole.
    pub joined: bool,
}

struct Filled(Arc<Area>);

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

impl PutBatch {
    fn new(first_sequence: u64, count: u32, events: Range<usize>) -> Self {
        Self { first_sequence, count, events, hint: AtomicU64::new(0) }
    }

    /// Returns the sequence after its last event.
    #[must_use]
    pub fn end_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.count)
    }

    fn hint(&self) -> (u32, usize) {
        let packed = self.hint.load(Ordering::Relaxed);
        ((packed >> 32) as u32, (packed & u64::from(u32::MAX)) as usize)
    }

    fn set_hint(&self, index: u32, offset: usize) {
        if let Ok(offset) = u32::try_from(offset) {
            let packed = u64::from(index) << 32 | u64::from(offset);
            self.hint.fetch_max(packed, Ordering::Relaxed);
        }
    }
}

impl ReadableBlock {
    /// Returns a block that was just written from memory; nothing is checked again.
    pub(super) fn published(
        stripe: StripeIndex,
        number: BlockNumber,
        order: WriteOrder,
        block: &LogBlock,
        area: &Arc<Area>,
        block_at: usize,
    ) -> Result<Self, DecodeError> {
        let bytes = Bytes::from_owner(Filled(Arc::clone(area))).slice(block_at..);
        let mut batches = Vec::new();
        for (index, note) in block.frames.iter().enumerate() {
            let FrameEffect::Put { first, count, .. } = &note.effect else { continue };
            if *count == 0 || block.completion.is_void(index as u32) {
                continue;
            }
            let payload = note.at + FRAME_HEADER_BYTES..note.at + note.len;
            // They say what precedes the events.
            let flags = bytes[note.at + FRAME_FLAGS_AT];
            let (_, events_at) = PutPrefix::decode(flags, &bytes[payload.clone()])?;
            batches.push(PutBatch::new(*first, *count, payload.start + events_at..payload.end));
        }
        let first_sequence = Sequence(block.first_sequence);
        let end_sequence = Sequence(block.first_sequence + u64::from(block.count));
        Ok(Self { stripe, number, order, first_sequence, end_sequence, batches, bytes })
    }

    /// Returns a block that was read back, after it has checked every frame and found the events.
    ///
    /// # Errors
    /// Some frame is damaged.
    pub fn checked(
        index: StripeIndex,
        uuid: &Uuid,
        header: &BlockHeader,
        bytes: Bytes,
    ) -> Result<Self, DecodeError> {
        let end = BLOCK_HEADER_BYTES + header.payload_len as usize;
        let payload = bytes.get(BLOCK_HEADER_BYTES..end).ok_or(DecodeError::Bounds)?;
        let salt = frame::frame_salt(uuid, header.nonce, header.key);
        let (mut batches, mut next, mut covered) = (Vec::new(), header.first_sequence.0, 0);
        for at in frame::frames(salt, payload) {
            let at = at.map_err(|(_, refusal)| refusal)?;
            covered = at.offset + at.header.frame_len();
            if !at.header.kind.has_sequences() {
                continue;
            }
            if at.header.first_sequence.0 != next {
                return Err(DecodeError::Field("first sequence of a frame"));
            }
            next += u64::from(at.header.count);
            if at.header.kind == FrameKind::Put && at.header.count > 0 {
                let range = at.payload();
                let (_, events) = PutPrefix::decode(at.header.flags, &payload[range.clone()])?;
                let events =
                    BLOCK_HEADER_BYTES + range.start + events..BLOCK_HEADER_BYTES + range.end;
                batches.push(PutBatch::new(at.header.first_sequence.0, at.header.count, events));
            }
        }
        if covered != payload.len() || next != header.end_sequence().0 {
            return Err(DecodeError::Length);
        }
        Ok(Self {
            stripe: index,
            number: header.number,
            order: header.order,
            first_sequence: header.first_sequence,
            end_sequence: header.end_sequence(),
            batches,
            bytes,
        })
    }

    /// Bytes of the block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Lease {
    fn of(&self) -> &PutBatch {
        &self.block.batches[self.batch as usize]
    }

    /// Returns the sequence of its first event.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.of().first_sequence + u64::from(self.from)
    }

    /// Returns the sequence after its last event.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start() + u64::from(self.count)
    }

    /// Cuts off and returns everything after the first `count` events.
    pub(super) fn split_off(&mut self, count: u32) -> Self {
        let rest = Self { from: self.from + count, count: self.count - count, ..self.clone() };
        self.count = count;
        rest
    }

    /// Appends the events to `out`. Bodies share the block's memory, or are copied if `copy` says that too much of it
    /// is pinned already.
    ///
    /// # Errors
    /// The bytes are not valid events; `out` is unchanged.
    pub fn events(&self, copy: bool, out: &mut Vec<Event>) -> Result<(), DecodeError> {
        let batch = self.of();
        let bytes = self.block.bytes.slice(batch.events.clone());
        let (mut index, mut at) = batch.hint();
        if index > self.from {
            (index, at) = (0, 0);
        }
        while index < self.from {
            event::skip(&bytes, &mut at)?;
            index += 1;
        }
        let before = out.len();
        out.reserve(self.count as usize);
        for _ in 0..self.count {
            let event = match copy {
                true => event::decode_copied(&bytes, &mut at),
                false => event::decode(&bytes, &mut at),
            };
            match event {
                Ok(event) => out.push(event),
                Err(refusal) => {
                    out.truncate(before);
                    return Err(refusal);
                }
            }
        }
        batch.set_hint(self.from + self.count, at);
        Ok(())
    }
}
