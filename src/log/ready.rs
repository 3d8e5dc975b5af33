//! Blocks whose events can be lent: from memory just after they became durable, or read back.

use super::block::{Block, Effect};
use crate::base::ids::Uuid;
use crate::base::ids::{BlockNumber, Sequence, StripeIndex, WriteOrder};
use crate::disk::memory::Area;
use crate::event::Event;
use crate::record::Refusal;
use crate::record::block::{BLOCK_HEADER_BYTES, BlockHeader};
use crate::record::body::PutPrefix;
use crate::record::event;
use crate::record::frame::{self, FRAME_HEADER_BYTES, FrameKind};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The events of one put transaction within a block.
#[derive(Debug)]
pub struct Run {
    /// Sequence of the first.
    pub first_sequence: u64,
    /// How many.
    pub count: u32,
    /// Where they stand in the block's bytes.
    events: Range<usize>,
    /// The furthest event whose place is known: its index and its offset in `events`. Takers that
    /// split a run between them start there and not at its beginning.
    hint: AtomicU64,
}

/// A durable block and where its events stand.
#[derive(Debug)]
pub struct ReadyBlock {
    /// The stripe.
    pub stripe: StripeIndex,
    /// Its number.
    pub number: BlockNumber,
    /// Its place among the blocks of all stripes.
    pub order: WriteOrder,
    /// Sequence of its first event.
    pub first_sequence: Sequence,
    /// The sequence behind its last event.
    pub end_sequence: Sequence,
    /// Its put transactions, ascending.
    pub runs: Vec<Run>,
    bytes: Bytes,
}

/// Events of one run that are lent together.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The block.
    pub block: Arc<ReadyBlock>,
    /// Which of its runs.
    pub run: u32,
    /// Index of the first event in the run.
    pub from: u32,
    /// How many events.
    pub count: u32,
    /// It begins where the claim before it in the same transaction ends: acknowledged or not,
    /// the two leave one hole.
    pub joined: bool,
}

struct Filled(Arc<Area>);

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

impl Run {
    fn new(first_sequence: u64, count: u32, events: Range<usize>) -> Self {
        Self { first_sequence, count, events, hint: AtomicU64::new(0) }
    }

    /// The sequence behind its last event.
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

impl ReadyBlock {
    /// The block that was just written from memory; nothing is checked again.
    pub(super) fn published(
        stripe: StripeIndex,
        number: BlockNumber,
        order: WriteOrder,
        block: &Block,
        area: &Arc<Area>,
        block_at: usize,
    ) -> Result<Self, Refusal> {
        let bytes = Bytes::from_owner(Filled(Arc::clone(area))).slice(block_at..);
        let mut runs = Vec::new();
        for (index, note) in block.frames.iter().enumerate() {
            let Effect::Put { first, count, .. } = &note.effect else { continue };
            if *count == 0 || block.fate.is_void(index as u32) {
                continue;
            }
            let payload = note.at + FRAME_HEADER_BYTES..note.at + note.len;
            // The flags byte of the frame's header says what stands before the events.
            let flags = bytes[note.at + 9];
            let (_, events_at) = PutPrefix::decode(flags, &bytes[payload.clone()])?;
            runs.push(Run::new(*first, *count, payload.start + events_at..payload.end));
        }
        let first_sequence = Sequence(block.first_sequence);
        let end_sequence = Sequence(block.first_sequence + u64::from(block.count));
        Ok(Self { stripe, number, order, first_sequence, end_sequence, runs, bytes })
    }

    /// A block that was read back: checks every frame and finds the events.
    ///
    /// # Errors
    /// Some frame is damaged.
    pub fn checked(
        index: StripeIndex,
        uuid: &Uuid,
        header: &BlockHeader,
        bytes: Bytes,
    ) -> Result<Self, Refusal> {
        let end = BLOCK_HEADER_BYTES + header.payload_len as usize;
        let payload = bytes.get(BLOCK_HEADER_BYTES..end).ok_or(Refusal::Bounds)?;
        let salt = frame::frame_salt(uuid, header.nonce, header.key);
        let (mut runs, mut next, mut covered) = (Vec::new(), header.first_sequence.0, 0);
        for at in frame::frames(salt, payload) {
            let at = at.map_err(|(_, refusal)| refusal)?;
            covered = at.offset + at.header.frame_len();
            if !at.header.kind.has_sequences() {
                continue;
            }
            if at.header.first_sequence.0 != next {
                return Err(Refusal::Field("first sequence of a frame"));
            }
            next += u64::from(at.header.count);
            if at.header.kind == FrameKind::Put && at.header.count > 0 {
                let range = at.payload();
                let (_, events) = PutPrefix::decode(at.header.flags, &payload[range.clone()])?;
                let events =
                    BLOCK_HEADER_BYTES + range.start + events..BLOCK_HEADER_BYTES + range.end;
                runs.push(Run::new(at.header.first_sequence.0, at.header.count, events));
            }
        }
        if covered != payload.len() || next != header.end_sequence().0 {
            return Err(Refusal::Length);
        }
        Ok(Self {
            stripe: index,
            number: header.number,
            order: header.order,
            first_sequence: header.first_sequence,
            end_sequence: header.end_sequence(),
            runs,
            bytes,
        })
    }

    /// Bytes of the block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes; it always has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Claim {
    fn of(&self) -> &Run {
        &self.block.runs[self.run as usize]
    }

    /// Sequence of its first event.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.of().first_sequence + u64::from(self.from)
    }

    /// The sequence behind its last event.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start() + u64::from(self.count)
    }

    /// Cuts off everything behind the first `count` events and answers it.
    pub(super) fn split_off(&mut self, count: u32) -> Self {
        let rest = Self { from: self.from + count, count: self.count - count, ..self.clone() };
        self.count = count;
        rest
    }

    /// Appends the events to `out`. Bodies share the block's memory, or are copied when `copy`
    /// says that too much of it is pinned already.
    ///
    /// # Errors
    /// The bytes are no events: `out` is as it was.
    pub fn events(&self, copy: bool, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let run = self.of();
        let bytes = self.block.bytes.slice(run.events.clone());
        let (mut index, mut at) = run.hint();
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
        run.set_hint(self.from + self.count, at);
        Ok(())
    }
}
