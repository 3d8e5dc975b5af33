//! Reads everything an opening needs, from all directories: checkpoints, headers, the logs after
//! the newest state record. Shared by opening and inspection; writes nothing.

use super::contents::{InputDir, LogContents, ReadOptions, StripeContents, stripe_index};
use super::inventory::{self, CheckpointContents, Inventory};
use super::moved_copies;
use super::scan::{self, Scan};
use super::segment_file::{SegmentFile, Subject};
use super::stripe_reading::Gap;
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{BlockNumber, SegmentId, Sequence};
use crate::base::mutation::Mutation;
use crate::disk::{Directory, Entry};
use crate::layout::{AlignedBuffer, LayoutError};
use crate::log::FreeSegment;
use crate::record::Watermark;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::StateRecord;
use crate::recovery::case::Case;
use crate::recovery::finding::Finding;
use std::sync::Arc;

/// Reads all directories.
pub(crate) fn read_all(
    how: &ReadOptions,
    checkpoint_dir: &InputDir<'_>,
    sources: &[InputDir<'_>],
) -> Result<LogContents, LayoutError> {
    let mut buffer = AlignedBuffer::small()?;
    let mut all = LogContents {
        joined: StateRecord::new(sources.len()),
        checkpoint_dir: None,
        stripes: sources.iter().map(|_| StripeContents::default()).collect(),
        findings: Vec::new(),
    };
    all.read_checkpoint_dir(how, checkpoint_dir, &mut buffer);
    for step in [start, skip_late_segments, join_newest_start, read_log] {
        for (at, source) in sources.iter().enumerate() {
            let subject = subject(how, source, at);
            let stripe = &mut all.stripes[at];
            let Some(directory) = source.directory else { continue };
            let read =
                step(&subject, directory, source.entries, stripe, &mut all.joined, &mut buffer);
            if let Err(error) = read {
                all.leave_out(how, source, at, error)?;
            }
        }
    }
    let subjects = |at: usize| subject(how, &sources[at], at);
    let unread = moved_copies::find_copies(&subjects, &all.joined, &mut all.stripes, &mut buffer);
    for (at, error) in unread {
        all.leave_out(how, &sources[at], at, error)?;
    }
    for (at, stripe) in all.stripes.iter_mut().enumerate() {
        // In a directory that this opening adds it is not made yet.
        let unmade = |c: &&mut CheckpointContents| !(sources[at].added && c.file.is_none());
        let checkpoints = stripe.checkpoints.iter_mut().filter(unmade);
        let checkpoints = checkpoints.flat_map(|c| c.findings.drain(..));
        let mut found: Vec<Finding> =
            checkpoints.chain(stripe.inventory.findings.drain(..)).collect();
        found.iter_mut().for_each(|f| f.stripe = Some(stripe_index(at)));
        all.findings.append(&mut found);
    }
    Ok(all)
}

/// Reads the logs once more: what fails twice is damage. Where damage is suspected, files without a
/// header are searched for what is missing.
pub(crate) fn read_again(
    how: &ReadOptions,
    sources: &[InputDir<'_>],
    doubtful: &[bool],
    all: &mut LogContents,
) -> Result<(), LayoutError> {
    let mut buffer = AlignedBuffer::small()?;
    for (at, source) in sources.iter().enumerate() {
        let (Some(directory), true) = (source.directory, all.stripes[at].reading.present) else {
            continue;
        };
        let subject = subject(how, source, at);
        let stripe = &mut all.stripes[at];
        let read = if doubtful[at] {
            let look = search_headerless_files(
                &subject,
                directory,
                source.entries,
                stripe,
                &mut all.joined,
                &mut buffer,
            );
            let found = stripe.inventory.findings.drain(..);
            let of_stripe = |f| Finding { stripe: Some(subject.index), ..f };
            all.findings.extend(found.map(of_stripe));
            look
        } else {
            Ok(())
        };
        let read = read.and_then(|()| {
            read_log(&subject, directory, source.entries, stripe, &mut all.joined, &mut buffer)
        });
        if let Err(error) = read {
            all.leave_out(how, source, at, error)?;
        }
    }
    Ok(())
}

pub(crate) fn subject(how: &ReadOptions, source: &InputDir<'_>, at: usize) -> Subject {
    Subject {
        channel: how.channel,
        uuid: source.uuid,
        index: stripe_index(at),
        access: how.access,
        segment_bytes: how.segment_bytes,
    }
}

impl LogContents {
    /// Leaves a stripe that cannot be read out of a degraded opening; any other error is returned,
    /// and so is the error of a directory that this opening adds: if the other members named it and
    /// its own file did not, it could not join any more.
    fn leave_out(
        &mut self,
        how: &ReadOptions,
        source: &InputDir<'_>,
        at: usize,
        error: LayoutError,
    ) -> Result<(), LayoutError> {
        let tolerated = how.degraded && !source.added;
        let (Some(directory), LayoutError::Read { .. }, true) =
            (source.directory, &error, tolerated)
        else {
            return Err(error);
        };
        self.stripes[at] = StripeContents::default();
        let words = format!("{error}; left out of this opening");
        let mut finding = Finding::of(Case::R8, directory.path(), words);
        finding.stripe = Some(stripe_index(at));
        self.findings.push(finding);
        Ok(())
    }

    /// Reads the checkpoint directory. It never has the only copy of anything: its faults are
    /// reported, not refused.
    fn read_checkpoint_dir(
        &mut self,
        how: &ReadOptions,
        source: &InputDir<'_>,
        buffer: &mut AlignedBuffer,
    ) {
        let Some(directory) = source.directory else { return };
        let stripes = self.stripes.len();
        match inventory::checkpoints(
            how.channel,
            source.uuid,
            stripes,
            directory,
            how.access,
            buffer,
        ) {
            Ok(mut found) => {
                found.states.iter().for_each(|s| self.joined.join(s));
                self.findings.append(&mut found.findings);
                self.checkpoint_dir = Some(found);
            }
            Err(error) => {
                self.findings.push(Finding::of(Case::R13, directory.path(), error.to_string()));
            }
        }
    }
}

fn start(
    subject: &Subject,
    directory: &dyn Directory,
    entries: &[Entry],
    stripe: &mut StripeContents,
    joined: &mut StateRecord,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let stripes = joined.stripes.len();
    let found = inventory::checkpoints(
        subject.channel,
        subject.uuid,
        stripes,
        directory,
        subject.access,
        buffer,
    )?;
    found.states.iter().for_each(|s| {
        joined.join(s);
        stripe.told.join(s);
    });
    stripe.checkpoints = Some(found);
    stripe.inventory = Inventory::take(subject, directory, entries, buffer)?;
    stripe.reading.present = true;
    stripe.reading.segments = stripe.inventory.segments.clone();
    Ok(())
}

/// Searches the files without a header, since something is missing in the log.
fn search_headerless_files(
    subject: &Subject,
    directory: &dyn Directory,
    entries: &[Entry],
    stripe: &mut StripeContents,
    joined: &mut StateRecord,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let known: Vec<u32> = stripe.inventory.segments.iter().map(|s| s.slot).collect();
    stripe.inventory.search_whole_files(subject, buffer)?;
    stripe.take_up(&known);
    skip_late_segments(subject, directory, entries, stripe, joined, buffer)
}

impl StripeContents {
    /// Adds segments that were found after those in the slots `known`, some perhaps instead of one
    /// of an earlier epoch.
    fn take_up(&mut self, known: &[u32]) {
        let Self { inventory, reading, .. } = self;
        let counts = |s: &SegmentFile| inventory.segments.iter().any(|other| other.slot == s.slot);
        reading.segments.retain(counts);
        let found = inventory.segments.iter().filter(|s| !known.contains(&s.slot));
        reading.segments.extend(found.cloned());
        reading.segments.sort_by_key(|s| (s.header.id, s.header.epoch.number));
    }
}

/// Passes over segments after the named end of the log that are of an epoch before the named one:
/// the write that put such a segment into use arrived when an opening had ended that epoch. Their
/// headers and state records would void what that opening has kept. They count as unused.
///
/// Only where the named end reaches up to the named epoch: then everything of earlier epochs that
/// was acknowledged comes before it. An opening without this directory knows by a fence that its
/// epoch ended, and nothing newer of its log than the last record that it saw; the blocks after
/// that were acknowledged.
fn skip_late_segments(
    subject: &Subject,
    _: &dyn Directory,
    _: &[Entry],
    stripe: &mut StripeContents,
    joined: &mut StateRecord,
    _: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let known = joined.stripe(subject.index);
    let (end, epoch) = (known.watermark.segment, known.epoch.number);
    let is_late = |s: &SegmentFile| s.header.id > end && s.header.epoch.number < epoch;
    let reaches = known.watermark.block.next() >= known.epoch.start;
    if !reaches && stripe.reading.segments.iter().any(is_late) {
        CoverageMark::LogBehindKept.hit();
    }
    if !reaches || Mutation::FreeNotWiped.is_active() {
        return Ok(());
    }
    let inventory = &mut stripe.inventory;
    for late in stripe.reading.segments.iter().filter(|s| is_late(s)) {
        inventory.findings.retain(|f| f.case != Case::R6 || f.path != late.file.path());
        let file = Arc::clone(&late.file);
        inventory.blank.push(FreeSegment { slot: late.slot, file, len: late.len });
    }
    stripe.reading.segments.retain(|s| !is_late(s));
    Ok(())
}

/// Joins the state record at the start of the newest segment, or of the newest earlier one whose
/// record is whole.
fn join_newest_start(
    subject: &Subject,
    _: &dyn Directory,
    _: &[Entry],
    stripe: &mut StripeContents,
    joined: &mut StateRecord,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    for segment in stripe.reading.segments.iter().rev() {
        let at = SEGMENT_HEADER_BYTES as u64;
        let id = Some(segment.header.id);
        let first = scan::block_at(subject, &*segment.file, segment.len, id, at, buffer)?;
        if let Some(state) = first.as_ref().and_then(scan::ScannedBlock::state)
            && state.stripes.len() <= joined.stripes.len()
        {
            joined.join(state);
            stripe.told.join(state);
            break;
        }
    }
    Ok(())
}

/// Scans the log after the joined watermark.
fn read_log(
    subject: &Subject,
    _: &dyn Directory,
    _: &[Entry],
    stripe: &mut StripeContents,
    joined: &mut StateRecord,
    buffer: &mut AlignedBuffer,
) -> Result<(), LayoutError> {
    let mark = joined.stripe(subject.index).watermark;
    let segments = &stripe.reading.segments;
    let mut scan = Scan::default();
    for (at, segment) in segments.iter().enumerate() {
        if segment.header.id < mark.segment {
            continue;
        }
        let from = if segment.header.id == mark.segment { mark.end_offset } else { 0 };
        let next = segments.get(at + 1).map(|s| s.header.first_block);
        scan::segment(subject, segment, from, next, &mut scan, buffer)?;
    }
    let frontier = joined.stripe(subject.index).frontier();
    stripe.reading.gaps = gaps(subject, segments, &mark, Sequence(frontier), buffer)?;
    stripe.reading.scan = scan;
    Ok(())
}

/// Reads segments before the scan whose successor's id is not consecutive: the one between may be
/// lost, or its id may have been given up by an earlier opening. The last one as well, if the scan
/// was to begin in a later one.
fn gaps(
    subject: &Subject,
    segments: &[SegmentFile],
    mark: &Watermark,
    frontier: Sequence,
    buffer: &mut AlignedBuffer,
) -> Result<Vec<Gap>, LayoutError> {
    let mut gaps = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1);
        let hole = next.and_then(SegmentFile::starts_with_hole);
        let begin = next.map(|s| (s.header.id, s.header.first_block, s.header.first_sequence));
        let (id, block, sequence) = match (begin, hole) {
            (Some(begin), None) => begin,
            (Some(begin), Some(_)) => end_of_hole(begin, &segments[at + 2..], mark),
            (None, _) => (mark.segment, mark.block.next(), mark.sequence),
        };
        let follows = id <= segment.header.id.next() && hole.is_none() && next.is_some();
        if follows || segment.header.id >= mark.segment || sequence <= frontier {
            continue;
        }
        let mut scan = Scan::default();
        scan::segment(subject, segment, 0, Some(block), &mut scan, buffer)?;
        let below = |b: &&scan::ScannedBlock| b.header.number < block;
        let last = scan.blocks.iter().filter(below).max_by_key(|b| b.header.number);
        // Of a segment without a whole block everything is missing, and nothing of those before it.
        let in_front = BlockNumber(segment.header.first_block.0.saturating_sub(1));
        gaps.push(Gap {
            segment: segment.header.id,
            end_offset: last.map_or(SEGMENT_HEADER_BYTES as u64, scan::ScannedBlock::end_offset),
            last_block: last.map_or(in_front, |b| b.header.number),
            end_sequence: last.map_or(segment.header.first_sequence, |b| b.header.end_sequence()),
            next: id,
            hole,
            next_first_block: block,
            next_first_sequence: sequence,
        });
    }
    Ok(gaps)
}

/// The beginning of a segment.
type Begin = (SegmentId, BlockNumber, Sequence);

/// Returns where the hole at the beginning of a segment ends at the latest: before its first block,
/// the first block of every later segment (its own epoch may have been ended), and the start of the
/// scan.
fn end_of_hole(next: Begin, later: &[SegmentFile], mark: &Watermark) -> Begin {
    let later = later.iter().map(|s| (s.header.first_block, s.header.first_sequence));
    let ends = later.chain([(mark.block.next(), mark.sequence)]);
    ends.fold(next, |(id, block, sequence), end| (id, block.min(end.0), sequence.min(end.1)))
}
