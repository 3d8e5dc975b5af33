//! Segment files without a readable header: what their blocks say of them.
//!
//! Every block names its stripe, its segment and its place under a checksum of its own, so one whole
//! block header suffices to know whose a file is. What a file held in its former uses stands behind what
//! it holds now and names lower segments, so the highest segment named counts.
//!
//! A segment that is made out in this way and is not needed, since it was passed or its life had ended,
//! is free as if its header were there.

use super::buffer::{self, Buffer};
use super::decide::{Reading, Ruling, Verdict};
use super::gather::Gathered;
use super::inventory::{SegmentFile, Subject};
use super::quarantine::{self, Copy};
use super::scan::{At, Pieces, REACH_BYTES};
use super::table::Case;
use super::{Finding, OpenError};
use crate::base::checksum::Salt;
use crate::base::ids::{BlockNumber, Sequence};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::zeroes::is_zero;
use crate::disk::{Directory, File};
use crate::log::FreeSegment;
use crate::record::Epoch;
use crate::record::block::BlockHeader;
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::state::StateRecord;
use std::cmp::Ordering;
use std::sync::Arc;

/// Bytes at the start of a file that are zero when it was never used, or was wiped.
const HEAD_BYTES: usize = SEGMENT_HEADER_BYTES + DEVICE_BLOCK_BYTES;

/// How much of a file is looked through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// As far as a scan goes on behind an invalid place: at every opening.
    Reach,
    /// All of it: something is missing in the log.
    Whole,
}

/// Whether nothing stands where the header and the first block would be.
pub(super) fn is_blank(file: &dyn File, buffer: &mut Buffer) -> Result<bool, OpenError> {
    let bytes = buffer.first(HEAD_BYTES)?;
    let len = buffer::read(file, 0, bytes)?;
    Ok(is_zero(&bytes[..len]))
}

/// The segment that the blocks of a file without a header belong to.
pub(super) fn segment(
    subject: &Subject,
    free: &FreeSegment,
    depth: Depth,
    buffer: &mut Buffer,
) -> Result<Option<SegmentFile>, OpenError> {
    let Some((block, state)) = best_block(subject, free, depth, buffer)? else { return Ok(None) };
    // A segment is taken into use when all in front of it is durable: so far reaches its header. Its
    // first block may jump over sequences, in a record that is gone where the block is torn.
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
            // Later than it was, perhaps: what it ends is ended all the same.
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

/// Of the highest segment that a block header in the file names, the first block, and its state record
/// if that block is whole and has one.
fn best_block(
    subject: &Subject,
    free: &FreeSegment,
    depth: Depth,
    buffer: &mut Buffer,
) -> Result<Option<(BlockHeader, Option<StateRecord>)>, OpenError> {
    let (step, first) = (DEVICE_BLOCK_BYTES as u64, SEGMENT_HEADER_BYTES as u64);
    let end = match depth {
        Depth::Reach => free.len.min(first + REACH_BYTES),
        Depth::Whole => free.len,
    };
    let mut pieces = Pieces::new(&*free.file, free.len, buffer);
    let mut best: Option<(BlockHeader, Option<StateRecord>)> = None;
    let mut at = first;
    while at + step <= end {
        let (header, state, next) = match pieces.look(subject, None, at)? {
            At::Block(block) => (block.header, block.state().cloned(), block.end_offset()),
            At::Torn(header) => (header, None, at + step),
            At::Nothing => {
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

impl SegmentFile {
    /// Where the first block begins that is known of a segment whose header was lost together with what
    /// stood in front of that block, bytes.
    pub(super) fn starts_with_hole(&self) -> Option<u64> {
        self.rebuilt.filter(|at| *at > SEGMENT_HEADER_BYTES as u64)
    }
}

/// Corrects headers made from a block that is not the segment's first: it began where the log in front
/// of it ends. So what is missing at its beginning is a hole like any other, now and at every later
/// opening, also when this one is interrupted.
pub(super) fn settle(gathered: &mut Gathered, verdict: &Verdict) {
    let Gathered { inventory, reading, .. } = gathered;
    for at in 0..reading.segments.len() {
        if reading.segments[at].starts_with_hole().is_none() {
            continue;
        }
        let header = reading.segments[at].header;
        let Some((block, sequence)) = end_before(reading, verdict, &header) else { continue };
        let header = &mut reading.segments[at].header;
        header.first_block = header.first_block.min(block.next());
        header.first_sequence = header.first_sequence.min(sequence);
        let known = inventory.segments.iter_mut().find(|s| s.header.id == header.id);
        known.into_iter().for_each(|known| known.header = *header);
    }
}

/// The last block that can be in front of a segment and the sequence behind it.
fn end_before(
    reading: &Reading,
    verdict: &Verdict,
    header: &SegmentHeader,
) -> Option<(BlockNumber, Sequence)> {
    let gap = reading.gaps.iter().find(|gap| gap.next == header.id);
    if let Some(gap) = gap {
        return Some((gap.last_block, gap.end_sequence));
    }
    let kept = verdict.kept.iter().map(|i| &reading.scan.blocks[*i].header);
    let before = kept.filter(|b| b.segment < header.id && b.number < header.first_block);
    let base = verdict.base;
    let base = match base.segment.cmp(&header.id) {
        _ if base.block >= header.first_block => None,
        Ordering::Less => Some((base.block, base.sequence)),
        // The last block that something names lay in this segment, and is gone: it began with that one
        // at the latest. Else the life that goes on behind it would end the segment that it writes to.
        Ordering::Equal => Some((BlockNumber(base.block.0.saturating_sub(1)), base.sequence)),
        Ordering::Greater => None,
    };
    before.map(|b| (b.number, b.end_sequence())).chain(base).max()
}

/// Copies aside the beginnings of files of which nothing tells what they held, when a part of the log
/// is missing and nobody knows where it was. Answers what to say of each.
pub(super) fn set_unknown_aside(
    directory: &dyn Directory,
    gathered: &Gathered,
    verdict: &Verdict,
    buffer: &mut Buffer,
) -> Result<Vec<Finding>, OpenError> {
    let somewhere = |ruling: &Ruling| {
        ruling.case == Case::R7 || ruling.bytes.is_none_or(|(_, end)| end == u64::MAX)
    };
    if !verdict.rulings.iter().any(|r| r.case.is_damage() && somewhere(r)) {
        return Ok(Vec::new());
    }
    let mut said = Vec::new();
    for free in &gathered.inventory.blank {
        let known = gathered.inventory.segments.iter().any(|s| s.slot == free.slot);
        if known || matches!(is_blank(&*free.file, buffer), Ok(true)) {
            continue;
        }
        let head = buffer.first(HEAD_BYTES)?;
        // What cannot be read is named by that: its copy fails as well, and says so.
        let len = buffer::read(&*free.file, 0, head).unwrap_or(0);
        // By its file as well: files that begin alike are different files all the same.
        let checksum = Salt::of(&[]).checksum(&[&head[..len]]);
        let name = format!("unknown-{:05}-{checksum:08x}", free.slot);
        let copy = quarantine::keep(directory, &*free.file, &name, (0, free.len));
        if !matches!(copy, Copy::Nothing) {
            let words = "a part of the log is missing, and no block in this file tells what it held; it is used again";
            said.push(Finding::of(Case::R7, free.file.path(), copy.words(words.to_owned())));
        }
    }
    Ok(said)
}
