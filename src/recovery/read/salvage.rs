//! Segment files without a readable header, identified by their blocks.
//!
//! Every block names its stripe, its segment and its place under a checksum of its own, so one
//! whole block header suffices to identify a file. The contents of a file's former uses come after
//! its current ones and name lower segments, so the highest segment named counts.
//!
//! A segment that is identified in this way and is not needed, since it was passed or its epoch had
//! ended, is free as if its header were whole.

use super::scan::{self, REACH_BYTES};
use super::segment_file::{SegmentFile, Subject};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::zeroes::is_zero;
use crate::disk::File;
use crate::layout::{self, AlignedBuffer, HEAD_BYTES, LayoutError, Probe};
use crate::log::FreeSegment;
use crate::record::Epoch;
use crate::record::block::BlockHeader;
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::state::StateRecord;
use std::sync::Arc;

/// How much of a file is searched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// As far as a scan continues after an invalid place: at every opening.
    Reach,
    /// All of it: something is missing in the log.
    Whole,
}

/// Returns whether the places of the header and the first block are blank.
pub(crate) fn is_blank(file: &dyn File, buffer: &mut AlignedBuffer) -> Result<bool, LayoutError> {
    let bytes = buffer.first(HEAD_BYTES)?;
    let len = layout::read_at(file, 0, bytes)?;
    Ok(is_zero(&bytes[..len]))
}

/// Returns the segment that the blocks of a file without a header belong to.
pub(crate) fn segment(
    subject: &Subject,
    free: &FreeSegment,
    depth: Depth,
    buffer: &mut AlignedBuffer,
) -> Result<Option<SegmentFile>, LayoutError> {
    let Some((block, state)) = best_block(subject, free, depth, buffer)? else { return Ok(None) };
    // A segment is put into use when everything before it is durable: its header reaches that far.
    // Its first block may jump over sequences, in a record that is lost where the block is torn.
    let is_first = block.offset == SEGMENT_HEADER_BYTES as u64;
    let reached = if is_first { block.watermark_sequence } else { block.first_sequence };
    let named = state.and_then(|s| s.stripes.get(subject.index.at()).map(|s| s.epoch));
    let named = named.filter(|epoch| epoch.number == block.epoch);
    let header = SegmentHeader {
        channel: subject.channel,
        stripe: subject.uuid,
        id: block.segment,
        epoch: Epoch {
            number: block.epoch,
            nonce: block.nonce,
            // Perhaps later than the true start: what it ends is ended all the same.
            start: named.map_or(block.number, |epoch| epoch.start),
        },
        first_block: block.number,
        first_sequence: reached.min(block.first_sequence),
        first_order: block.order,
        len: free.len,
    };
    let (slot, len, rebuilt) = (free.slot, free.len, Some(block.offset));
    let (file, damaged_copy) = (Arc::clone(&free.file), None);
    Ok(Some(SegmentFile { slot, file, len, header, rebuilt, damaged_copy }))
}

/// Returns, of the highest segment that a block header in the file names, the first block, and its
/// state record if that block is whole and has one.
fn best_block(
    subject: &Subject,
    free: &FreeSegment,
    depth: Depth,
    buffer: &mut AlignedBuffer,
) -> Result<Option<(BlockHeader, Option<StateRecord>)>, LayoutError> {
    let (step, first) = (DEVICE_BLOCK_BYTES as u64, SEGMENT_HEADER_BYTES as u64);
    let end = match depth {
        Depth::Reach => free.len.min(first + REACH_BYTES),
        Depth::Whole => free.len,
    };
    let mut blocks = subject.reader(&*free.file, free.len, None, buffer);
    let mut best: Option<(BlockHeader, Option<StateRecord>)> = None;
    let mut at = first;
    while at + step <= end {
        let check = |header: &BlockHeader, bytes: &[u8]| scan::read_block(subject, header, bytes);
        let (header, state, next) = match blocks.probe(at, check)? {
            Probe::Block(block) => (block.header, block.state().cloned(), block.end_offset()),
            Probe::Torn(header) => (header, None, at + step),
            Probe::Nothing => {
                at += step;
                continue;
            }
        };
        if best.as_ref().is_none_or(|(known, _)| header.segment > known.segment) {
            best = Some((header, state));
        }
        at = next;
    }
    Ok(best)
}
