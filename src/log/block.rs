//! Blocks before they are written: open, then sealed.

use super::block_completion::{BlockCompletion, CommitTicket};
use crate::base::checksum::Salt;
use crate::base::ids::Sequence;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::disk::memory::{Area, AreaWriter, Span};
use crate::record::Epoch;
use crate::record::block::BLOCK_HEADER_BYTES;
use crate::record::body::{AckBody, FenceBody, LostBody};
use crate::record::frame::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::{SourceOffset, StateRecord};
use std::sync::Arc;

/// What a frame changes once it is durable.
#[derive(Debug)]
pub(super) enum FrameEffect {
    /// `count` events from `first` on are in the channel, together with a source's offset.
    Put { first: u64, count: u32, source_offset: Option<(String, SourceOffset)> },
    /// One copy of an acknowledgement, number `ack` among those in flight.
    Ack { ack: u64, body: AckBody },
    /// A state record; its watermarks are durable now.
    State(Arc<StateRecord>),
    /// A stripe's epoch ended at a block.
    Fence(FenceBody),
    /// Damage found while reading.
    Lost(LostBody),
}

/// One frame of a block.
#[derive(Debug)]
pub(super) struct FrameEntry {
    /// Offset in the block, bytes.
    pub at: usize,
    /// Length including its header, bytes.
    pub len: usize,
    /// What it changes.
    pub effect: FrameEffect,
}

/// A block that frames are reserved in.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub block: LogBlock,
    pub header: Span,
    /// Maximum size of the block in bytes, header and padding included.
    pub room: usize,
}

/// A block whose frames are fixed, header still to be written.
#[derive(Debug)]
pub(super) struct SealedBlock {
    pub block: LogBlock,
    pub header: Span,
    pub area: Arc<Area>,
}

/// The properties of a block from the time it is opened.
#[derive(Debug)]
pub(super) struct LogBlock {
    pub completion: Arc<BlockCompletion>,
    pub epoch: Epoch,
    pub key: u64,
    pub salt: Salt,
    pub first_sequence: u64,
    pub count: u32,
    /// Bytes from the block's start to the end of its last frame.
    pub len: usize,
    pub frames: Vec<FrameEntry>,
    /// Written alone: no other write of the stripe is in flight.
    pub solo: bool,
    /// Its first frame is a state record.
    pub state: bool,
    /// A new segment is taken before it.
    pub rolls: bool,
}

/// The right and the duty to write one reserved frame.
///
/// If it is dropped without [`Reservation::fill`] (a panic, a bug), the frame becomes void, so that its block can still
/// be written and the other frames of the block are not delayed.
#[derive(Debug)]
pub struct Reservation {
    span: Option<Span>,
    salt: Salt,
    header: FrameHeader,
    ticket: CommitTicket,
}

impl LogBlock {
    /// Bytes on the disk: whole device blocks.
    pub(super) fn written_len(&self) -> usize {
        self.len.next_multiple_of(DEVICE_BLOCK_BYTES)
    }
}

impl OpenBlock {
    /// Opens a block at the current end of the writer's memory.
    pub(super) fn new(writer: &mut AreaWriter, block: LogBlock, room: usize) -> Option<Self> {
        debug_assert!(writer.is_empty(), "one block is open at a time");
        let header = writer.reserve(BLOCK_HEADER_BYTES)?;
        Some(Self { block: LogBlock { len: BLOCK_HEADER_BYTES, ..block }, header, room })
    }

    /// Whether a frame of `len` bytes still fits.
    pub(super) fn fits(&self, writer: &AreaWriter, len: usize) -> bool {
        let end = (self.block.len + len).next_multiple_of(DEVICE_BLOCK_BYTES);
        end <= self.room && end <= self.block.len + writer.remaining()
    }

    /// Reserves a frame; the caller has checked [`OpenBlock::fits`].
    pub(super) fn reserve(
        &mut self,
        writer: &mut AreaWriter,
        header: FrameHeader,
        effect: FrameEffect,
    ) -> Reservation {
        let len = FRAME_HEADER_BYTES + header.len as usize;
        let span = writer.reserve(len).expect("the caller checked that the frame fits");
        let ticket =
            CommitTicket::new(Arc::clone(&self.block.completion), self.block.frames.len() as u32);
        if let FrameEffect::Put { count, .. } = &effect {
            self.block.count += count;
        }
        self.block.frames.push(FrameEntry { at: self.block.len, len, effect });
        self.block.len += len;
        Reservation { span: Some(span), salt: self.block.salt, header, ticket }
    }

    /// Pads the block to whole device blocks and closes it.
    pub(super) fn seal(self, writer: &mut AreaWriter) -> SealedBlock {
        let pad = self.block.written_len() - self.block.len;
        let mut padding = writer.reserve(pad).expect("`fits` left room for the padding");
        padding.bytes_mut().fill(0);
        drop(padding);
        let area = Arc::new(writer.close());
        SealedBlock { block: self.block, header: self.header, area }
    }
}

impl Reservation {
    /// Writes the payload and gives the frame its header and checksum.
    pub fn fill(mut self, write: impl FnOnce(&mut [u8])) -> CommitTicket {
        if let Some(span) = &mut self.span {
            let bytes = span.bytes_mut();
            write(&mut bytes[FRAME_HEADER_BYTES..]);
            frame::seal_frame(self.salt, &self.header, bytes);
        }
        // From here on the frame counts as filled.
        self.span = None;
        self.ticket.clone()
    }

    /// First sequence of the events of a put.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.header.first_sequence.0
    }

    /// Returns the commit ticket of the frame.
    #[must_use]
    pub fn ticket(&self) -> CommitTicket {
        self.ticket.clone()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        self.ticket.mark_void();
        frame::void_frame(self.salt, &self.header, span.bytes_mut());
    }
}

/// Returns an upper bound in bytes for a segment header and state record at the next roll.
pub(super) fn state_bytes_bound(durable: &StateRecord, acks: usize) -> u64 {
    // Ranges may be added until then; the slack is small because segments may be.
    let state = durable.encoded_len() + 16 * acks.min(64) + 512;
    (SEGMENT_HEADER_BYTES as u64) + block_need(FRAME_HEADER_BYTES + state)
}

/// Returns the bytes of a block with one frame of `frame` bytes.
pub(super) fn block_need(frame: usize) -> u64 {
    (BLOCK_HEADER_BYTES + frame).next_multiple_of(DEVICE_BLOCK_BYTES) as u64
}

pub(super) fn plain_header(kind: FrameKind, len: usize) -> FrameHeader {
    FrameHeader { len: len as u32, kind, flags: 0, count: 0, first_sequence: Sequence(0) }
}
