//! Reading a log: whole blocks behind a position, wherever they are, and the headers of torn ones.
//!
//! Only what recovery needs of a block is kept, never its events. Behind an invalid place the
//! scan goes on in steps of a device block: to the first block of the next segment, in the last one to
//! its end. So a hole of any size hides nothing that stands after it.

use super::OpenError;
use super::buffer::{self, Buffer};
use super::inventory::{SegmentFile, Subject};
use crate::base::ids::{BlockNumber, SegmentId, Sequence};
use crate::base::limits::{
    BLOCK_BYTES_MAX, COLD_READ_BYTES, DEVICE_BLOCK_BYTES, WRITES_IN_FLIGHT_MAX,
};
use crate::base::mutant::Broken;
use crate::disk::File;
use crate::record::Refusal;
use crate::record::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use crate::record::body::{AckBody, FenceBody, LostBody, Origin, PutPrefix};
use crate::record::frame::{self, FrameHeader, FrameKind};
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::{SourcePosition, StateRecord};

/// Bytes after the last whole block in which writes of usual length may have been in flight with it.
pub(super) const REACH_BYTES: u64 = ((WRITES_IN_FLIGHT_MAX + 1) * BLOCK_BYTES_MAX) as u64;

/// What a frame does to the state.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    Position(String, SourcePosition),
    Ack(AckBody),
    State(Box<StateRecord>),
    Fence(FenceBody),
    Lost(LostBody),
    Void(Sequence, Sequence),
    Moved(Moved),
}

/// Events that were moved here because their own stripe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// Their first place.
    pub(super) origin: Origin,
    /// Their place here.
    pub(super) first: Sequence,
    pub(super) count: u32,
}

impl Moved {
    /// Their sequences here, `start..end`.
    pub(super) fn here(&self) -> (u64, u64) {
        (self.first.0, self.first.0.saturating_add(u64::from(self.count)))
    }

    /// Their sequences on the stripe where they were first, `start..end`.
    pub(super) fn there(&self) -> (u64, u64) {
        let start = self.origin.sequence.0;
        (start, start.saturating_add(u64::from(self.count)))
    }
}

/// A whole block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) header: BlockHeader,
    pub(super) effects: Vec<Effect>,
}

impl Block {
    /// Its first state record.
    pub(super) fn state(&self) -> Option<&StateRecord> {
        self.effects.iter().find_map(|e| match e {
            Effect::State(state) => Some(&**state),
            _ => None,
        })
    }

    /// Where it ends in its segment.
    pub(super) fn end_offset(&self) -> u64 {
        self.header.offset + self.header.written_len() as u64
    }
}

/// What a scan found, in the order of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pub(super) blocks: Vec<Block>,
    /// Headers of blocks whose frames are not whole.
    pub(super) torn: Vec<BlockHeader>,
}

/// A place in a segment.
pub(super) enum At {
    /// A whole block.
    Block(Block),
    /// A whole header in its place, and frames that are not.
    Torn(BlockHeader),
    /// No block of this stripe and segment begins here.
    Nothing,
}

/// Aligned reads of one file in large pieces.
pub(super) struct Pieces<'a> {
    file: &'a dyn File,
    len: u64,
    buffer: &'a mut Buffer,
    start: u64,
    filled: usize,
    /// In front of this, only what is wanted is read: a large piece could not be.
    careful_to: u64,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(file: &'a dyn File, len: u64, buffer: &'a mut Buffer) -> Self {
        Self { file, len, buffer, start: 0, filled: 0, careful_to: 0 }
    }

    /// Up to `want` bytes from `offset`, fewer only at the end of the file.
    pub(super) fn get(&mut self, offset: u64, want: usize) -> Result<&[u8], OpenError> {
        let inside =
            offset >= self.start && offset - self.start + want as u64 <= self.filled as u64;
        if !inside {
            let large = want.max(COLD_READ_BYTES);
            let careful = offset < self.careful_to;
            let read = self.load(offset, if careful { want } else { large });
            // A sector that cannot be read must not keep what is wanted in front of it.
            if read.is_err() && !careful && want < large {
                self.careful_to = offset + large as u64;
                self.load(offset, want)?;
            } else {
                read?;
            }
        }
        let from = usize::try_from(offset - self.start).expect("inside the piece");
        let to = (from + want).min(self.filled);
        Ok(&self.buffer.first(self.filled)?[from.min(to)..to])
    }

    fn load(&mut self, offset: u64, len: usize) -> Result<(), OpenError> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = self.buffer.first(left.min(len))?;
        self.start = offset;
        self.filled = 0;
        self.filled = buffer::read(self.file, offset, bytes)?;
        Ok(())
    }

    /// What stands at `offset`. `segment` is the id the place has; without one any will do.
    pub(super) fn look(
        &mut self,
        subject: &Subject,
        segment: Option<SegmentId>,
        offset: u64,
    ) -> Result<At, OpenError> {
        let salt = block::block_salt(&subject.channel, &subject.uuid);
        let header = match BlockHeader::decode(salt, self.get(offset, DEVICE_BLOCK_BYTES)?) {
            Ok(header) => header,
            Err(Refusal::Version { found, newest }) => {
                let path = self.file.path().to_owned();
                return Err(OpenError::Newer { path, found, known: newest });
            }
            Err(_) => return Ok(At::Nothing),
        };
        if header.offset != offset || segment.is_some_and(|id| id != header.segment) {
            return Ok(At::Nothing);
        }
        if offset + header.written_len() as u64 > self.len {
            return Ok(At::Torn(header));
        }
        let bytes = self.get(offset, header.written_len())?;
        Ok(match read_block(subject, &header, bytes) {
            Ok(effects) => At::Block(Block { header, effects }),
            Err(_) => At::Torn(header),
        })
    }
}

/// Checks a block and takes from it what recovery needs.
fn read_block(
    subject: &Subject,
    header: &BlockHeader,
    bytes: &[u8],
) -> Result<Vec<Effect>, Refusal> {
    block::check_block(header, &subject.uuid, bytes)?;
    let payload = &bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + header.payload_len as usize];
    let salt = frame::frame_salt(&subject.uuid, header.nonce, header.key);
    let mut effects = Vec::new();
    for found in frame::frames(salt, payload) {
        let found = found.map_err(|(_, refusal)| refusal)?;
        let body = &payload[found.payload()];
        match found.header.kind {
            FrameKind::Put => {
                let (prefix, _) = PutPrefix::decode(found.header.flags, body)?;
                if let Some(at) = prefix.position {
                    let position = SourcePosition { counter: at.counter, bytes: at.bytes.to_vec() };
                    effects.push(Effect::Position(at.source.to_owned(), position));
                }
                if let Some(origin) = prefix.origin {
                    let FrameHeader { first_sequence: first, count, .. } = found.header;
                    effects.push(Effect::Moved(Moved { origin, first, count }));
                }
            }
            FrameKind::Ack => effects.push(Effect::Ack(AckBody::decode(body)?)),
            FrameKind::State => {
                effects.push(Effect::State(Box::new(StateRecord::decode(body)?)));
            }
            FrameKind::Fence if Broken::FenceUnread.is_chosen() => {}
            FrameKind::Fence => effects.push(Effect::Fence(FenceBody::decode(body)?)),
            FrameKind::Lost => effects.push(Effect::Lost(LostBody::decode(body)?)),
            FrameKind::Void => {
                let first = found.header.first_sequence;
                let end = Sequence(first.0 + u64::from(found.header.count));
                effects.push(Effect::Void(first, end));
            }
        }
    }
    Ok(effects)
}

/// The block at `offset`, if it is whole.
pub(super) fn block_at(
    subject: &Subject,
    file: &dyn File,
    len: u64,
    segment: Option<SegmentId>,
    offset: u64,
    buffer: &mut Buffer,
) -> Result<Option<Block>, OpenError> {
    match Pieces::new(file, len, buffer).look(subject, segment, offset)? {
        At::Block(block) => Ok(Some(block)),
        At::Torn(_) | At::Nothing => Ok(None),
    }
}

/// Reads `segment` from `from` on into `scan`. `next_first` is the first block of the next segment: the
/// scan may end in front of the segment's end only when every block below it was seen. The last segment
/// is read to its end: a transaction's block may be as long as the segment, so no number of bytes
/// without a whole block proves that none stands after them.
pub(super) fn segment(
    subject: &Subject,
    segment: &SegmentFile,
    from: u64,
    next_first: Option<BlockNumber>,
    scan: &mut Scan,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
    let step = DEVICE_BLOCK_BYTES as u64;
    let mut pieces = Pieces::new(&*segment.file, segment.len, buffer);
    let mut at = from.max(SEGMENT_HEADER_BYTES as u64).next_multiple_of(step);
    let (mut last, mut reach) = (BlockNumber(0), at + REACH_BYTES);
    while at + step <= segment.len {
        match pieces.look(subject, Some(segment.header.id), at)? {
            At::Block(block) => {
                at = block.end_offset();
                last = last.max(block.header.number);
                reach = reach.max(at + REACH_BYTES);
                scan.blocks.push(block);
                continue;
            }
            At::Torn(header) => {
                // What stands behind it, if anything, stands behind its whole length; but the
                // header may be an old one under a new block, so nothing in between is skipped.
                reach = reach.max(at + header.written_len() as u64 + REACH_BYTES);
                scan.torn.push(header);
            }
            At::Nothing => {}
        }
        at += step;
        let all_seen = next_first.is_some_and(|first| last.next() >= first);
        if (at > reach && all_seen) || Broken::HoleHides.is_chosen() {
            break;
        }
    }
    Ok(())
}
