//! Reads back events that are no longer in memory: large sequential pieces, checked block by block.

use super::shared::Shared;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::ids::{EpochNumber, SegmentId, StripeIndex};
use crate::base::limits::{COLD_READ_BYTES, DEVICE_BLOCK_BYTES};
use crate::disk::File;
use crate::disk::memory::Area;
use crate::layout::{self, ExpectedBlocks, LayoutError, PieceMemory, SegmentReader};
use crate::log::block::Reservation;
use crate::log::readable_block::ReadableBlock;
use crate::log::{ReadJob, ReadOutcome};
use crate::record::body::LostBody;
use bytes::Bytes;
use std::sync::Arc;

/// Reports a read as failed if its thread panics before it reports the result: otherwise no thread
/// would continue reading there.
struct ReadGuard<'s> {
    shared: &'s Shared,
    stripe: StripeIndex,
    segment: SegmentId,
    reported: bool,
}

impl ReadGuard<'_> {
    /// Reports the result. Returns what is to be recorded in the log.
    fn end(&mut self, found: Result<ReadOutcome, FaultCause>) -> Vec<(Reservation, LostBody)> {
        self.reported = true;
        let now = self.shared.now();
        // A poisoned log is reported to every caller.
        let done = self.shared.with_log(|log| log.read_done(now, self.stripe, self.segment, found));
        done.unwrap_or_default()
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        if !self.reported {
            let what = "the reading thread panicked";
            self.end(Err(FaultCause::new(FaultKind::Internal, self.stripe, what)));
        }
    }
}

/// Runs a read and reports its result.
pub(super) fn read(shared: &Arc<Shared>, job: ReadJob) {
    let (stripe, segment) = (job.stripe, job.segment);
    let mut running = ReadGuard { shared, stripe, segment, reported: false };
    let found = BlockRead::run(shared, &job);
    let place = || FaultPlace::from(stripe).in_segment(segment);
    let found = found.map_err(|error| error.into_fault(place()));
    if let Ok(outcome) = &found {
        super::quarantine::set_aside(shared, &job, outcome);
    }
    let notes = running.end(found);
    let any = !notes.is_empty();
    for (reservation, body) in notes {
        reservation.fill(|out| {
            body.encode(out);
        });
    }
    if any {
        shared.hand_over_writes();
    }
}

/// Continues the windows that are nearly used up.
pub(super) fn read_ahead(shared: &Arc<Shared>) {
    let now = shared.now();
    while let Ok(Some(job)) = shared.with_log(|log| log.read_ahead(now, 2 * COLD_READ_BYTES)) {
        read(shared, job);
    }
}

/// Memory of a piece that stays with the blocks that are cut from it.
struct PooledPiece<'s> {
    shared: &'s Shared,
    bytes: Bytes,
}

struct FilledArea(Area);

impl AsRef<[u8]> for FilledArea {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl PieceMemory for PooledPiece<'_> {
    fn read(&mut self, file: &dyn File, offset: u64, len: usize) -> Result<(), LayoutError> {
        let Shared { read_buffers, pool, .. } = self.shared;
        let bytes = len.next_multiple_of(DEVICE_BLOCK_BYTES);
        let cut = read_buffers.cut(pool, bytes);
        let (mut span, area) = cut.map_err(|source| LayoutError::Memory { bytes, source })?;
        let read = layout::read_at(file, offset, span.bytes_mut())?;
        drop(span);
        self.bytes = Bytes::from_owner(FilledArea(area)).slice(..read);
        Ok(())
    }

    fn piece(&self) -> &[u8] {
        &self.bytes
    }
}

/// The contents of a place.
enum BlockLookup {
    Block(ReadableBlock, u64, EpochNumber),
    /// A block that extends beyond the piece, with its length.
    Longer(usize),
    Nothing,
}

/// Reads the blocks that a job asks for, as far as one piece has them.
struct BlockRead<'j> {
    job: &'j ReadJob,
    segment: SegmentReader<'j, PooledPiece<'j>>,
}

impl<'j> BlockRead<'j> {
    fn run(shared: &'j Shared, job: &'j ReadJob) -> Result<ReadOutcome, LayoutError> {
        let memory = PooledPiece { shared, bytes: Bytes::new() };
        let (owner, segment) = ((&job.channel, &job.uuid), Some(job.segment));
        let segment = SegmentReader::new(&*job.file, job.end, owner, segment, memory);
        let mut read = Self { job, segment };
        // A file that was cut short may end before its first block.
        if job.offset < job.end {
            read.segment.load_readable(job.offset)?;
        }
        let mut found = ReadOutcome {
            blocks: Vec::new(),
            next_block: job.next_block,
            offset: job.offset,
            sequence: job.sequence,
            epoch: job.epoch,
            lost: Vec::new(),
            damaged: Vec::new(),
        };
        while found.next_block <= job.last_block && found.offset < job.end {
            if found.lost.len() >= job.lost_max {
                // The events before them are taken first.
                break;
            }
            if read.segment.left(found.offset) < DEVICE_BLOCK_BYTES {
                if found.offset > job.offset || !read.ends_at(found.offset)? {
                    break;
                }
                // The file was cut short. Reading on from its end would never finish.
                found.damaged.push((found.offset, job.end - found.offset));
                found.offset = job.end;
                break;
            }
            match read.look_up_twice(&found)? {
                BlockLookup::Block(block, len, epoch) => found.take(block, len, epoch),
                BlockLookup::Longer(_) if !found.blocks.is_empty() => break,
                BlockLookup::Longer(len) => {
                    read.segment.load(found.offset, len)?;
                    // The file was cut short within the block: another read would find the same
                    // length, for ever.
                    if read.segment.left(found.offset) < len {
                        found.skip();
                    }
                }
                BlockLookup::Nothing => found.skip(),
            }
        }
        if found.next_block > job.last_block || found.offset >= job.end {
            // The segment ends without them. If it has all of its blocks, it may be one of an ended
            // epoch, in the place of a lost one.
            found.miss(job.end_sequence);
            found.next_block = job.last_block.next();
        }
        Ok(found)
    }

    /// Returns whether the file ends at `offset`, after one more read.
    fn ends_at(&mut self, offset: u64) -> Result<bool, LayoutError> {
        self.segment.load(offset, DEVICE_BLOCK_BYTES)?;
        Ok(self.segment.left(offset) < DEVICE_BLOCK_BYTES)
    }

    /// Looks up the place where the next block should be; if it is not there, reads it again. Once
    /// for each stretch without a block: what follows was read just then.
    fn look_up_twice(&mut self, found: &ReadOutcome) -> Result<BlockLookup, LayoutError> {
        match self.at(found)? {
            BlockLookup::Nothing if !found.follows_missing() => {
                let len = self.segment.left(found.offset).max(DEVICE_BLOCK_BYTES);
                self.segment.load(found.offset, len)?;
                self.at(found)
            }
            other => Ok(other),
        }
    }

    fn at(&self, found: &ReadOutcome) -> Result<BlockLookup, LayoutError> {
        let (next, last, epoch) = (found.next_block, self.job.last_block, found.epoch);
        let expected = ExpectedBlocks { next, last, epoch };
        let header = self.segment.header(found.offset)?;
        let Some(header) = header.filter(|header| expected.contains(header)) else {
            return Ok(BlockLookup::Nothing);
        };
        let Some(range) = self.segment.range(&header) else {
            return Ok(match self.segment.fits(&header) {
                true => BlockLookup::Longer(header.written_len()),
                false => BlockLookup::Nothing,
            });
        };
        let (job, len) = (self.job, header.written_len() as u64);
        let bytes = self.segment.memory().bytes.slice(range);
        Ok(match ReadableBlock::checked(job.stripe, &job.uuid, &header, bytes) {
            Ok(block) => BlockLookup::Block(block, len, header.epoch),
            Err(_) => BlockLookup::Nothing,
        })
    }
}

impl ReadOutcome {
    fn take(&mut self, block: ReadableBlock, len: u64, epoch: EpochNumber) {
        self.epoch = epoch;
        self.miss(block.first_sequence.0);
        self.sequence = block.end_sequence.0;
        self.next_block = block.number.next();
        self.offset += len;
        self.blocks.push(block);
    }

    /// Notes that sequences up to `end` are in no block. Those that are acknowledged or void cost
    /// nothing.
    fn miss(&mut self, end: u64) {
        if self.sequence < end {
            self.lost.push((self.sequence, end));
            self.sequence = end;
        }
    }

    /// Returns whether the place before this one holds no block either.
    fn follows_missing(&self) -> bool {
        self.damaged.last().is_some_and(|(start, len)| start + len == self.offset)
    }

    fn skip(&mut self) {
        let step = DEVICE_BLOCK_BYTES as u64;
        let goes_on = self.follows_missing();
        match self.damaged.last_mut() {
            Some((_, len)) if goes_on => *len += step,
            _ => self.damaged.push((self.offset, step)),
        }
        self.offset += step;
    }
}
