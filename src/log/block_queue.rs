//! The blocks of one stripe that are not durable: the open one, the sealed ones in the order in which they will be
//! written, the ones in flight in the order in which their writes began, and those that a failed write stopped.

use super::block::{FrameEffect, LogBlock, OpenBlock, Reservation, SealedBlock};
use super::block_completion::BlockCompletion;
use super::write_job::JobId;
use crate::base::ids::{BlockNumber, SegmentId, WriteOrder};
use crate::base::limits::BLOCK_BYTES_MAX;
use crate::disk::memory::{Area, AreaWriter, SlabPool};
use crate::record::frame::FrameHeader;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A block whose write has begun.
pub(super) struct WriteInFlight {
    pub job: JobId,
    pub number: BlockNumber,
    pub order: WriteOrder,
    pub segment: SegmentId,
    pub offset: u64,
    /// Where the block begins in `area`: after the segment header, if that is written with it.
    pub block_at: usize,
    pub area: Arc<Area>,
    pub block: LogBlock,
    pub started: Duration,
    pub done: bool,
    /// It has returned with an error.
    pub failed: bool,
}

/// The blocks of one stripe that are not durable.
pub(super) struct BlockQueue {
    open: Option<OpenBlock>,
    /// Memory of the open block and, after it, of the next one.
    writer: Option<AreaWriter>,
    sealed: VecDeque<SealedBlock>,
    in_flight: VecDeque<WriteInFlight>,
    /// Blocks that waited for a write when the epoch failed: they get no header any more.
    unwritten: Vec<(LogBlock, Arc<Area>)>,
    in_flight_max: usize,
}

/// Everything that was in a queue and is not durable.
pub(super) struct StoppedBlocks {
    pub writes: VecDeque<WriteInFlight>,
    pub unwritten: Vec<(LogBlock, Arc<Area>)>,
}

impl BlockQueue {
    /// Returns an empty queue that has at most `in_flight_max` writes in flight.
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self {
            open: None,
            writer: None,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            unwritten: Vec::new(),
            in_flight_max,
        }
    }

    /// Allows at most `max` writes in flight from now on.
    pub(super) fn allow_in_flight(&mut self, max: usize) {
        self.in_flight_max = max;
    }

    /// Opens a block of at most `room` bytes. Returns false when there is no memory for it.
    pub(super) fn open(&mut self, pool: &SlabPool, block: LogBlock, room: usize) -> bool {
        debug_assert!(self.open.is_none(), "one block is open at a time");
        // A block is contiguous memory: the rest of the slab must hold its maximum size.
        let too_small = |writer: &AreaWriter| writer.remaining() < room;
        if self.writer.as_ref().is_none_or(too_small) {
            match pool.writer(room) {
                Ok(writer) => self.writer = Some(writer),
                Err(_) => return false,
            }
        }
        let writer = self.writer.as_mut().expect("made above");
        self.open = OpenBlock::new(writer, block, room);
        self.open.is_some()
    }

    /// Whether a frame of `frame` bytes fits into the open block.
    pub(super) fn fits_open(&self, frame: usize) -> bool {
        match (&self.open, &self.writer) {
            (Some(open), Some(writer)) => !open.block.solo && open.fits(writer, frame),
            _ => false,
        }
    }

    /// Reserves a frame in the open block; the caller has checked that there is one and that the frame fits.
    pub(super) fn reserve(&mut self, header: FrameHeader, effect: FrameEffect) -> Reservation {
        let open = self.open.as_mut().expect("the caller opened a block");
        let writer = self.writer.as_mut().expect("an open block has a writer");
        open.reserve(writer, header, effect)
    }

    /// Fixes the open block's frames and queues it. Returns its length in bytes; `None` when no block is open.
    pub(super) fn seal(&mut self) -> Option<u64> {
        let (open, writer) = (self.open.take()?, self.writer.as_mut()?);
        let sealed = open.seal(writer);
        let bytes = sealed.area.len() as u64;
        self.sealed.push_back(sealed);
        Some(bytes)
    }

    /// Returns the open block.
    pub(super) fn open_block(&self) -> Option<&LogBlock> {
        self.open.as_ref().map(|open| &open.block)
    }

    /// Returns the bytes of the open block's frames; 0 without one.
    pub(super) fn open_bytes(&self) -> usize {
        self.open_block().map_or(0, |block| block.len)
    }

    /// Returns the bytes that the open block takes on the disk; 0 without one.
    pub(super) fn open_written_bytes(&self) -> u64 {
        self.open_block().map_or(0, |block| block.written_len() as u64)
    }

    /// Whether the next block may need another slab of memory.
    pub(super) fn needs_memory(&self) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.remaining() < BLOCK_BYTES_MAX)
    }

    /// Returns the sealed block that is written next.
    pub(super) fn next_sealed(&self) -> Option<&SealedBlock> {
        self.sealed.front()
    }

    /// Removes the sealed block that is written next.
    pub(super) fn take_sealed(&mut self) -> Option<SealedBlock> {
        self.sealed.pop_front()
    }

    /// Notes that the segment that the next sealed block was planned to begin is in use.
    pub(super) fn rolled(&mut self) {
        if let Some(next) = self.sealed.front_mut() {
            next.block.rolls = false;
        }
    }

    /// Returns the bytes of the sealed blocks.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.area.len() as u64).sum()
    }

    /// Returns the bytes that wait for a write.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.sealed_bytes() + self.open_bytes() as u64
    }

    /// Returns the bytes of the block that is written next; 0 without one.
    pub(super) fn first_queued_bytes(&self) -> u64 {
        let sealed = self.sealed.front().map(|sealed| sealed.area.len() as u64);
        sealed.unwrap_or_else(|| self.open_written_bytes())
    }

    /// Returns the sequence of the first event that is not in a started block; `None` when no block waits.
    pub(super) fn first_queued_sequence(&self) -> Option<u64> {
        let sealed = self.sealed.front().map(|sealed| sealed.block.first_sequence);
        sealed.or(self.open_block().map(|block| block.first_sequence))
    }

    /// Returns the completion of the block that is written next.
    pub(super) fn next_completion(&self) -> Option<&Arc<BlockCompletion>> {
        let sealed = self.sealed.front().map(|sealed| &sealed.block.completion);
        sealed.or(self.open_block().map(|block| &block.completion))
    }

    /// Returns the completions of all blocks.
    pub(super) fn completions(&self) -> impl Iterator<Item = &Arc<BlockCompletion>> {
        let in_flight = self.in_flight.iter().map(|write| &write.block);
        let sealed = self.sealed.iter().map(|sealed| &sealed.block);
        let unwritten = self.unwritten.iter().map(|(block, _)| block);
        let blocks = in_flight.chain(sealed).chain(self.open_block()).chain(unwritten);
        blocks.map(|block| &block.completion)
    }

    /// Notes that a write begins.
    pub(super) fn started(&mut self, write: WriteInFlight) {
        self.in_flight.push_back(write);
    }

    /// Returns the writes in flight, in the order in which they began.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &WriteInFlight> {
        self.in_flight.iter()
    }

    /// Returns the write of `job`.
    pub(super) fn write_mut(&mut self, job: JobId) -> Option<&mut WriteInFlight> {
        self.in_flight.iter_mut().find(|write| write.job == job)
    }

    /// Removes the write that began first, if `ended` says so of it.
    pub(super) fn take_first_write(
        &mut self,
        ended: impl FnOnce(&WriteInFlight) -> bool,
    ) -> Option<WriteInFlight> {
        self.in_flight.front().is_some_and(ended).then(|| self.in_flight.pop_front()).flatten()
    }

    /// Whether no write is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether as many writes are in flight as the storage allows.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.len() >= self.in_flight_max
    }

    /// Whether a block is in flight that no other may accompany.
    pub(super) fn is_writing_alone(&self) -> bool {
        self.in_flight.iter().any(|write| write.block.solo)
    }

    /// Returns the bytes queued or in flight.
    pub(super) fn outstanding_bytes(&self) -> u64 {
        let in_flight: usize = self.in_flight.iter().map(|write| write.area.len()).sum();
        self.queued_bytes() + in_flight as u64
    }

    /// Stops the sealed blocks: their headers, which are written when a write starts, will never be filled.
    pub(super) fn stop(&mut self) {
        let sealed = std::mem::take(&mut self.sealed);
        self.unwritten = sealed.into_iter().map(|sealed| (sealed.block, sealed.area)).collect();
    }

    /// Whether every frame in flight or stopped is filled.
    pub(super) fn is_filled(&self) -> bool {
        let stopped = self.unwritten.iter().map(|(_, area)| area);
        let mut areas = self.in_flight.iter().map(|write| &write.area).chain(stopped);
        areas.all(|area| area.bytes().is_some())
    }

    /// Removes the blocks in flight and the stopped ones.
    pub(super) fn take_stopped(&mut self) -> StoppedBlocks {
        self.writer = None;
        StoppedBlocks {
            writes: std::mem::take(&mut self.in_flight),
            unwritten: std::mem::take(&mut self.unwritten),
        }
    }
}
