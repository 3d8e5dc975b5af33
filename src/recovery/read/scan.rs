//! Scans of a log: whole blocks after a position, at any place, and the headers of torn ones.
//!
//! Only the part of a block that recovery needs is kept, never its events. After an invalid place
//! the scan continues in steps of a device block: to the first block of the next segment, in the
//! last one to its end. So a hole of any size hides nothing that comes after it.

use super::segment_file::{SegmentFile, Subject};
use crate::base::ids::{BlockNumber, SegmentId, Sequence};
use crate::base::limits::{BLOCK_BYTES_MAX, DEVICE_BLOCK_BYTES, WRITES_IN_FLIGHT_MAX};
use crate::base::mutation::Mutation;
use crate::disk::File;
use crate::layout::{AlignedBuffer, LayoutError, Probe};
use crate::record::DecodeError;
use crate::record::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use crate::record::body::{AckBody, FenceBody, LostBody, Origin, PutPrefix};
use crate::record::frame::{self, FrameHeader, FrameKind};
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::{SourceOffset, StateRecord};

/// Bytes after the last whole block in which writes of usual length may have been in flight with
/// it.
pub(crate) const REACH_BYTES: u64 = ((WRITES_IN_FLIGHT_MAX + 1) * BLOCK_BYTES_MAX) as u64;

/// The effect of a frame on the state.
#[derive(Clone, Debug)]
pub(crate) enum ScannedEffect {
    SourceOffset(String, SourceOffset),
    Ack(AckBody),
    State(Box<StateRecord>),
    Fence(FenceBody),
    Lost(LostBody),
    Void(Sequence, Sequence),
    Moved(MovedFrame),
}

/// Events that were moved here because their own stripe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MovedFrame {
    /// Their first place.
    pub(crate) origin: Origin,
    /// Their place here.
    pub(crate) first: Sequence,
    pub(crate) count: u32,
}

impl MovedFrame {
    /// Returns their sequences here, `start..end`.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.first.0, self.first.0.saturating_add(u64::from(self.count)))
    }

    /// Returns their sequences on their first stripe, `start..end`.
    pub(crate) fn origin_range(&self) -> (u64, u64) {
        let start = self.origin.sequence.0;
        (start, start.saturating_add(u64::from(self.count)))
    }
}

/// A whole block.
#[derive(Clone, Debug)]
pub(crate) struct ScannedBlock {
    pub(crate) header: BlockHeader,
    pub(crate) effects: Vec<ScannedEffect>,
}

impl ScannedBlock {
    /// Returns its first state record.
    pub(crate) fn state(&self) -> Option<&StateRecord> {
        self.effects.iter().find_map(|e| match e {
            ScannedEffect::State(state) => Some(&**state),
            _ => None,
        })
    }

    /// Returns the events in it that were moved here.
    pub(crate) fn moved(&self) -> impl Iterator<Item = &MovedFrame> {
        self.effects.iter().filter_map(|effect| match effect {
            ScannedEffect::Moved(moved) => Some(moved),
            _ => None,
        })
    }

    /// Returns the offset in its segment at which it ends.
    pub(crate) fn end_offset(&self) -> u64 {
        self.header.offset + self.header.written_len() as u64
    }
}

/// The result of a scan, in the order of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    pub(crate) blocks: Vec<ScannedBlock>,
    /// Headers of blocks whose frames are not whole.
    pub(crate) torn: Vec<BlockHeader>,
}

/// Checks a block and extracts what recovery needs.
pub(crate) fn read_block(
    subject: &Subject,
    header: &BlockHeader,
    bytes: &[u8],
) -> Result<ScannedBlock, DecodeError> {
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
                if let Some(at) = prefix.source_offset {
                    let source_offset =
                        SourceOffset { counter: at.counter, bytes: at.bytes.to_vec() };
                    effects.push(ScannedEffect::SourceOffset(at.source.to_owned(), source_offset));
                }
                if let Some(origin) = prefix.origin {
                    let FrameHeader { first_sequence: first, count, .. } = found.header;
                    effects.push(ScannedEffect::Moved(MovedFrame { origin, first, count }));
                }
            }
            FrameKind::Ack => effects.push(ScannedEffect::Ack(AckBody::decode(body)?)),
            FrameKind::State => {
                effects.push(ScannedEffect::State(Box::new(StateRecord::decode(body)?)));
            }
            FrameKind::Fence if Mutation::FenceUnread.is_active() => {}
            FrameKind::Fence => effects.push(ScannedEffect::Fence(FenceBody::decode(body)?)),
            FrameKind::Lost => effects.push(ScannedEffect::Lost(LostBody::decode(body)?)),
            FrameKind::Void => {
                let first = found.header.first_sequence;
                let end = Sequence(first.0 + u64::from(found.header.count));
                effects.push(ScannedEffect::Void(first, end));
            }
        }
    }
    Ok(ScannedBlock { header: *header, effects })
}

/// Returns the block at `offset`, if it is whole.
pub(crate) fn block_at(
    subject: &Subject,
    file: &dyn File,
    len: u64,
    segment: Option<SegmentId>,
    offset: u64,
    buffer: &mut AlignedBuffer,
) -> Result<Option<ScannedBlock>, LayoutError> {
    let mut blocks = subject.reader(file, len, segment, buffer);
    match blocks.probe(offset, |header, bytes| read_block(subject, header, bytes))? {
        Probe::Block(block) => Ok(Some(block)),
        Probe::Torn(_) | Probe::Nothing => Ok(None),
    }
}

/// Reads `segment` from `from` on into `scan`. `next_first` is the first block of the next segment:
/// the scan may end before the segment's end only when every block below it was seen. The last
/// segment is read to its end: a transaction's block may be as long as the segment, so no number of
/// bytes without a whole block proves that none comes after them.
pub(crate) fn segment(
    subject: &Subject,
    segment: &SegmentFile,
    from: u64,
    next_first: Option<BlockNumber>,
    scan: &mut Scan,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let step = DEVICE_BLOCK_BYTES as u64;
    let mut blocks = segment.reader(subject, buffer);
    let mut at = from.max(SEGMENT_HEADER_BYTES as u64).next_multiple_of(step);
    let (mut last, mut reach) = (BlockNumber(0), at + REACH_BYTES);
    while at + step <= segment.len {
        match blocks.probe(at, |header, bytes| read_block(subject, header, bytes))? {
            Probe::Block(block) => {
                at = block.end_offset();
                last = last.max(block.header.number);
                reach = reach.max(at + REACH_BYTES);
                scan.blocks.push(block);
                continue;
            }
            Probe::Torn(header) => {
                // The next block, if any, comes after its whole length; but the header may be an
                // old one under a new block, so nothing in between is skipped.
                reach = reach.max(at + header.written_len() as u64 + REACH_BYTES);
                scan.torn.push(header);
            }
            Probe::Nothing => {}
        }
        at += step;
        let all_seen = next_first.is_some_and(|first| last.next() >= first);
        if (at > reach && all_seen) || Mutation::HoleHides.is_active() {
            break;
        }
    }
    Ok(())
}
