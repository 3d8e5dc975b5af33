//! Blocks on their way to the disk: opened, reserved into, sealed.

use super::fate::{Fate, Promise};
use crate::base::checksum::Salt;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::disk::memory::{Area, AreaWriter, Span};
use crate::record::Epoch;
use crate::record::block::BLOCK_HEADER_BYTES;
use crate::record::body::{AckBody, FenceBody, LostBody};
use crate::record::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use crate::record::state::{SourcePosition, StateRecord};
use std::sync::Arc;

/// What a frame changes once it is durable.
#[derive(Debug)]
pub(super) enum Effect {
    /// `count` events from `first` on are in the channel; a source's position goes with them.
    Put { first: u64, count: u32, position: Option<(String, SourcePosition)> },
    /// One copy of an acknowledgement, number `ack` among those in flight.
    Ack { ack: u64, body: AckBody },
    /// A state record; its watermarks are named durably now.
    State(Box<StateRecord>),
    /// A stripe's life ended at a block.
    Fence(FenceBody),
    /// Damage found while reading.
    Lost(LostBody),
}

/// One frame of a block.
#[derive(Debug)]
pub(super) struct FrameNote {
    /// Where it starts in the block, bytes.
    pub at: usize,
    /// Its length with its header, bytes.
    pub len: usize,
    /// What it changes.
    pub effect: Effect,
}

/// A block that frames are reserved in.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub block: Block,
    pub header: Span,
    /// Bytes the block may have, header and padding included.
    pub room: usize,
}

/// A block whose frames are fixed, header still to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    pub block: Block,
    pub header: Span,
    pub area: Arc<Area>,
}

/// What is known of a block from its opening on.
#[derive(Debug)]
pub(super) struct Block {
    pub fate: Arc<Fate>,
    pub epoch: Epoch,
    pub key: u64,
    pub salt: Salt,
    pub first_sequence: u64,
    pub count: u32,
    /// Bytes from the block's start to the end of its last frame.
    pub len: usize,
    pub frames: Vec<FrameNote>,
    /// Written alone: nothing else is in flight on the stripe.
    pub solo: bool,
    /// Its first frame is a state record.
    pub state: bool,
    /// A new segment is taken before it.
    pub rolls: bool,
}

/// Sole right, and duty, to write one frame.
///
/// Dropped without [`Reservation::fill`] (a panic, a mistake) the frame becomes void, so that the
/// block it lies in can still be written and its neighbours are not held up.
#[derive(Debug)]
pub struct Reservation {
    span: Option<Span>,
    salt: Salt,
    header: FrameHeader,
    promise: Promise,
}

impl Block {
    /// Bytes on the disk: whole device blocks.
    pub(super) fn written_len(&self) -> usize {
        self.len.next_multiple_of(DEVICE_BLOCK_BYTES)
    }
}

impl OpenBlock {
    /// Opens a block at the writer's present end.
    pub(super) fn new(writer: &mut AreaWriter, block: Block, room: usize) -> Option<Self> {
        debug_assert!(writer.is_empty(), "one block is open at a time");
        let header = writer.reserve(BLOCK_HEADER_BYTES)?;
        Some(Self { block: Block { len: BLOCK_HEADER_BYTES, ..block }, header, room })
    }

    /// Whether a frame of `len` bytes still fits.
    pub(super) fn fits(&self, writer: &AreaWriter, len: usize) -> bool {
        let end = (self.block.len + len).next_multiple_of(DEVICE_BLOCK_BYTES);
        end <= self.room && end <= self.block.len + writer.remaining()
    }

    /// Reserves a frame; the caller has asked [`OpenBlock::fits`].
    pub(super) fn reserve(
        &mut self,
        writer: &mut AreaWriter,
        header: FrameHeader,
        effect: Effect,
    ) -> Reservation {
        let len = FRAME_HEADER_BYTES + header.len as usize;
        let span = writer.reserve(len).expect("the caller asked whether the frame fits");
        let promise = Promise::new(Arc::clone(&self.block.fate), self.block.frames.len() as u32);
        if let Effect::Put { count, .. } = &effect {
            self.block.count += count;
        }
        self.block.frames.push(FrameNote { at: self.block.len, len, effect });
        self.block.len += len;
        Reservation { span: Some(span), salt: self.block.salt, header, promise }
    }

    /// Pads the block to whole device blocks and closes it.
    pub(super) fn seal(self, writer: &mut AreaWriter) -> Sealed {
        let pad = self.block.written_len() - self.block.len;
        let mut padding = writer.reserve(pad).expect("`fits` left room for the padding");
        padding.bytes_mut().fill(0);
        drop(padding);
        let area = Arc::new(writer.close());
        Sealed { block: self.block, header: self.header, area }
    }
}

impl Reservation {
    /// Writes the payload and gives the frame its header and checksum.
    pub fn fill(mut self, write: impl FnOnce(&mut [u8])) -> Promise {
        if let Some(span) = &mut self.span {
            let bytes = span.bytes_mut();
            write(&mut bytes[FRAME_HEADER_BYTES..]);
            frame::seal_frame(self.salt, &self.header, bytes);
        }
        // From here on the frame counts as filled.
        self.span = None;
        self.promise.clone()
    }

    /// First sequence of the events of a put.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.header.first_sequence.0
    }

    /// The frame's future.
    #[must_use]
    pub fn promise(&self) -> Promise {
        self.promise.clone()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        self.promise.mark_void();
        frame::void_frame(self.salt, &self.header, span.bytes_mut());
    }
}
