//! Reading back what is no longer in memory: large sequential pieces, checked block by block.

use super::shared::Shared;
use crate::base::ids::{EpochNumber, SegmentId, StripeIndex};
use crate::base::limits::{COLD_READ_BYTES, DEVICE_BLOCK_BYTES};
use crate::base::trouble::Trouble;
use crate::disk::memory::{Area, AreaWriter, SlabPool, Span};
use crate::log::block::Reservation;
use crate::log::ready::ReadyBlock;
use crate::log::{ReadJob, ReadOutcome};
use crate::record::block::{BlockHeader, block_salt};
use crate::record::body::LostBody;
use bytes::Bytes;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Memory for pieces: several are cut from one slab, so that what takers hold is what was read,
/// and not a whole slab for each piece.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<Option<AreaWriter>>);

impl Pieces {
    /// `len` bytes, whole device blocks: the right to write them, and what can be read afterwards.
    fn cut(&self, pool: &SlabPool, len: usize) -> io::Result<(Span, Area)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = match kept.take().filter(|writer| writer.remaining() >= len) {
            Some(writer) => writer,
            None => pool.writer(len)?,
        };
        let span = writer.reserve(len).expect("the writer has at least that much left");
        let area = writer.close();
        // What is left of a slab and too small for a piece must not keep all of it.
        *kept = Some(writer).filter(|writer| writer.remaining() >= COLD_READ_BYTES);
        Ok((span, area))
    }
}

/// Reports a read as refused if its thread panics before it could report what it found: else nobody would
/// read on there.
struct Running<'s> {
    shared: &'s Shared,
    stripe: StripeIndex,
    segment: SegmentId,
    reported: bool,
}

impl Running<'_> {
    /// Hands in what was found. Answers what is to be noted in the log.
    fn end(&mut self, found: Result<ReadOutcome, Trouble>) -> Vec<(Reservation, LostBody)> {
        self.reported = true;
        let now = self.shared.now();
        // A poisoned log is reported to everyone who asks it.
        let done = self.shared.with_log(|log| log.read_done(now, self.stripe, self.segment, found));
        done.unwrap_or_default()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.end(Err(Trouble::new("the reading thread panicked")));
        }
    }
}

/// Runs a read and hands in what it found.
pub(super) fn read(shared: &Arc<Shared>, job: ReadJob) {
    let (stripe, segment) = (job.stripe, job.segment);
    let mut running = Running { shared, stripe, segment, reported: false };
    let found = Piece::read(shared, &job);
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
        shared.hand_over();
    }
}

/// Continues the windows that are nearly used up.
pub(super) fn read_ahead(shared: &Arc<Shared>) {
    let now = shared.now();
    while let Ok(Some(job)) = shared.with_log(|log| log.read_ahead(now, 2 * COLD_READ_BYTES)) {
        read(shared, job);
    }
}

/// One piece of a segment in memory.
struct Piece<'j> {
    job: &'j ReadJob,
    shared: &'j Shared,
    bytes: Bytes,
    /// Where `bytes` begins in the segment.
    start: u64,
}

struct Whole(Area);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// What stands at a place.
enum Found {
    Block(ReadyBlock, u64, EpochNumber),
    /// A block that goes on behind the piece, with its length.
    Longer(usize),
    Nothing,
}

impl<'j> Piece<'j> {
    fn read(shared: &'j Shared, job: &'j ReadJob) -> Result<ReadOutcome, Trouble> {
        let mut piece = Self { job, shared, bytes: Bytes::new(), start: job.offset };
        // A file that was cut short may end in front of its first block.
        if job.offset < job.end {
            piece.load_what_can_be_read(job.offset)?;
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
                // What waits in front of them is to be taken first.
                break;
            }
            if piece.left(found.offset) < DEVICE_BLOCK_BYTES {
                if found.offset > job.offset || !piece.ends_at(found.offset)? {
                    break;
                }
                // The file was cut short. To read on where it ends would be to read for ever.
                found.damaged.push((found.offset, job.end - found.offset));
                found.offset = job.end;
                break;
            }
            match piece.twice(&found)? {
                Found::Block(block, len, epoch) => found.take(block, len, epoch),
                Found::Longer(_) if !found.blocks.is_empty() => break,
                Found::Longer(len) => {
                    piece.load(found.offset, len)?;
                    // The file was cut short within the block: looked at again it would be as long
                    // as before, for ever.
                    if piece.left(found.offset) < len {
                        found.skip();
                    }
                }
                Found::Nothing => found.skip(),
            }
        }
        if found.next_block > job.last_block || found.offset >= job.end {
            // The segment ends without them. Where it has all of its blocks, it may be one of a life that ended, in
            // the place of one that is gone.
            found.miss(job.end_sequence);
            found.next_block = job.last_block.next();
        }
        Ok(found)
    }

    fn left(&self, offset: u64) -> usize {
        (self.start + self.bytes.len() as u64).saturating_sub(offset) as usize
    }

    /// Whether the file ends at `offset`, after one more look.
    fn ends_at(&mut self, offset: u64) -> Result<bool, Trouble> {
        self.load(offset, DEVICE_BLOCK_BYTES)?;
        Ok(self.left(offset) < DEVICE_BLOCK_BYTES)
    }

    /// A large piece, or a smaller one: a sector that cannot be read must not keep what lies in
    /// front of it.
    fn load_what_can_be_read(&mut self, offset: u64) -> Result<(), Trouble> {
        self.load(offset, COLD_READ_BYTES)
            .or_else(|_| self.load(offset, COLD_READ_BYTES / 16))
            .or_else(|_| self.load(offset, DEVICE_BLOCK_BYTES))
    }

    fn load(&mut self, offset: u64, len: usize) -> Result<(), Trouble> {
        let file = &self.job.file;
        let failed = |error: io::Error| {
            Trouble::new(format!("reading {} at {offset}: {error}", file.path().display()))
        };
        let room = usize::try_from(self.job.end - offset).unwrap_or(usize::MAX);
        let len = len.min(room).next_multiple_of(DEVICE_BLOCK_BYTES);
        let (mut span, area) = self.shared.pieces.cut(&self.shared.pool, len).map_err(failed)?;
        let bytes = span.bytes_mut();
        // Damage is what two reads agree on; a refused read is neither tear nor damage.
        let read = file.read_at(offset, bytes).or_else(|_| file.read_at(offset, bytes));
        let read = read.map_err(failed)?;
        drop(span);
        self.bytes = Bytes::from_owner(Whole(area)).slice(..read);
        self.start = offset;
        Ok(())
    }

    /// Looks at the place where the next block should be; when it is not there, reads it again.
    /// Once for each stretch without a block: what stands behind it was read just then.
    fn twice(&mut self, found: &ReadOutcome) -> Result<Found, Trouble> {
        match self.at(found) {
            Found::Nothing if !found.goes_on_missing() => {
                let len = self.left(found.offset).max(DEVICE_BLOCK_BYTES);
                self.load(found.offset, len)?;
                Ok(self.at(found))
            }
            other => Ok(other),
        }
    }

    fn at(&self, found: &ReadOutcome) -> Found {
        let at = (found.offset - self.start) as usize;
        let Some(bytes) = self.bytes.get(at..) else { return Found::Nothing };
        let salt = block_salt(&self.job.channel, &self.job.uuid);
        let Ok(header) = BlockHeader::decode(salt, bytes) else { return Found::Nothing };
        let here = header.segment == self.job.segment && header.offset == found.offset;
        let due = found.next_block <= header.number && header.number <= self.job.last_block;
        // A block of an earlier epoch than one before it is left over from a life that ended: its
        // number may be the one that is due.
        if !here || !due || header.epoch < found.epoch {
            return Found::Nothing;
        }
        let len = header.written_len();
        if len > bytes.len() {
            let fits = found.offset + len as u64 <= self.job.end;
            return if fits { Found::Longer(len) } else { Found::Nothing };
        }
        let block = self.bytes.slice(at..at + len);
        match ReadyBlock::checked(self.job.stripe, &self.job.uuid, &header, block) {
            Ok(block) => Found::Block(block, len as u64, header.epoch),
            Err(_) => Found::Nothing,
        }
    }
}

impl ReadOutcome {
    fn take(&mut self, block: ReadyBlock, len: u64, epoch: EpochNumber) {
        self.epoch = epoch;
        self.miss(block.first_sequence.0);
        self.sequence = block.end_sequence.0;
        self.next_block = block.number.next();
        self.offset += len;
        self.blocks.push(block);
    }

    /// Sequences up to `end` are in no block. Those that are acknowledged or void anyway cost
    /// nothing.
    fn miss(&mut self, end: u64) {
        if self.sequence < end {
            self.lost.push((self.sequence, end));
            self.sequence = end;
        }
    }

    /// Whether the place before this one holds no block either.
    fn goes_on_missing(&self) -> bool {
        self.damaged.last().is_some_and(|(start, len)| start + len == self.offset)
    }

    fn skip(&mut self) {
        let step = DEVICE_BLOCK_BYTES as u64;
        let goes_on = self.goes_on_missing();
        match self.damaged.last_mut() {
            Some((_, len)) if goes_on => *len += step,
            _ => self.damaged.push((self.offset, step)),
        }
        self.offset += step;
    }
}
