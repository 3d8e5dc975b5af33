//! Reading everything an opening needs, of all directories: checkpoints, headers, the logs behind
//! the newest state record. Shared by opening and by looking; writes nothing.

use super::adopt;
use super::buffer::Buffer;
use super::decide::{Gap, Reading};
use super::inventory::{self, Checkpoints, Inventory, SegmentFile, Subject};
use super::scan::{self, Scan};
use super::table::Case;
use super::{Finding, OpenError};
use crate::base::ids::{BlockNumber, SegmentId, Sequence, StripeIndex, Uuid};
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::disk::{Access, Directory, Entry};
use crate::log::FreeSegment;
use crate::record::Watermark;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::state::StateRecord;
use std::sync::Arc;

/// A directory to read.
pub(super) struct Source<'a> {
    pub(super) uuid: Uuid,
    pub(super) directory: Option<&'a dyn Directory>,
    pub(super) entries: &'a [Entry],
    /// It is to become part of the channel with this opening.
    pub(super) added: bool,
}

/// How to read.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) channel: Uuid,
    pub(super) access: Access,
    pub(super) segment_bytes: u64,
    /// Leave out stripes that cannot be read.
    pub(super) degraded: bool,
}

/// One stripe as read.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) inventory: Inventory,
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) reading: Reading,
    /// What the directory's own checkpoints and segment starts say.
    pub(super) told: StateRecord,
}

/// Everything as read.
pub(super) struct Everything {
    /// Checkpoints and segment starts, joined.
    pub(super) joined: StateRecord,
    pub(super) checkpoint_dir: Option<Checkpoints>,
    pub(super) stripes: Vec<Gathered>,
    pub(super) findings: Vec<Finding>,
}

/// Reads all of it.
pub(super) fn gather(
    how: &How,
    checkpoint_dir: &Source<'_>,
    sources: &[Source<'_>],
) -> Result<Everything, OpenError> {
    let mut buffer = Buffer::small()?;
    let mut all = Everything {
        joined: StateRecord::new(sources.len()),
        checkpoint_dir: None,
        stripes: sources.iter().map(|_| Gathered::default()).collect(),
        findings: Vec::new(),
    };
    all.read_checkpoint_dir(how, checkpoint_dir, &mut buffer);
    for step in [start, pass_over_late, join_newest_start, read_log] {
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
    let unread = adopt::find_copies(&subjects, &all.joined, &mut all.stripes, &mut buffer);
    for (at, error) in unread {
        all.leave_out(how, &sources[at], at, error)?;
    }
    for (at, stripe) in all.stripes.iter_mut().enumerate() {
        // In a directory that is just being added it is not made yet.
        let unmade = |c: &&mut Checkpoints| !(sources[at].added && c.file.is_none());
        let checkpoints = stripe.checkpoints.iter_mut().filter(unmade);
        let checkpoints = checkpoints.flat_map(|c| c.findings.drain(..));
        let mut found: Vec<Finding> =
            checkpoints.chain(stripe.inventory.findings.drain(..)).collect();
        found.iter_mut().for_each(|f| f.stripe = Some(index(at)));
        all.findings.append(&mut found);
    }
    Ok(all)
}

/// Reads the logs once more: what fails twice is damage. Where it seems to be, files without a header
/// are looked through for what is missing.
pub(super) fn read_again(
    how: &How,
    sources: &[Source<'_>],
    doubtful: &[bool],
    all: &mut Everything,
) -> Result<(), OpenError> {
    let mut buffer = Buffer::small()?;
    for (at, source) in sources.iter().enumerate() {
        let (Some(directory), true) = (source.directory, all.stripes[at].reading.present) else {
            continue;
        };
        let subject = subject(how, source, at);
        let stripe = &mut all.stripes[at];
        let read = if doubtful[at] {
            let look = look_closer(
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

fn index(at: usize) -> StripeIndex {
    StripeIndex(u16::try_from(at).expect("the number of stripes is bounded"))
}

pub(super) fn subject(how: &How, source: &Source<'_>, at: usize) -> Subject {
    Subject {
        channel: how.channel,
        uuid: source.uuid,
        index: index(at),
        access: how.access,
        segment_bytes: how.segment_bytes,
    }
}

impl Everything {
    /// A stripe that cannot be read is left out of a degraded opening; any other error is passed on,
    /// and so is one of a directory that is just being added: named by the others and never told, it
    /// could join no more.
    fn leave_out(
        &mut self,
        how: &How,
        source: &Source<'_>,
        at: usize,
        error: OpenError,
    ) -> Result<(), OpenError> {
        let tolerated = how.degraded && !source.added;
        let (Some(directory), OpenError::Unreadable { .. }, true) =
            (source.directory, &error, tolerated)
        else {
            return Err(error);
        };
        self.stripes[at] = Gathered::default();
        let words = format!("{error}; left out of this opening");
        let mut finding = Finding::of(Case::R8, directory.path(), words);
        finding.stripe = Some(index(at));
        self.findings.push(finding);
        Ok(())
    }

    /// The checkpoint directory never has the only copy of anything: whatever is wrong with it is
    /// said, not refused.
    fn read_checkpoint_dir(&mut self, how: &How, source: &Source<'_>, buffer: &mut Buffer) {
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
    stripe: &mut Gathered,
    joined: &mut StateRecord,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
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

/// Looks through the files without a header, since something is missing in the log.
fn look_closer(
    subject: &Subject,
    directory: &dyn Directory,
    entries: &[Entry],
    stripe: &mut Gathered,
    joined: &mut StateRecord,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
    let known: Vec<u32> = stripe.inventory.segments.iter().map(|s| s.slot).collect();
    stripe.inventory.look_for_missing(subject, buffer)?;
    stripe.take_up(&known);
    pass_over_late(subject, directory, entries, stripe, joined, buffer)
}

impl Gathered {
    /// Takes segments up that were found later than those in the slots `known`, some perhaps instead of
    /// one of an earlier life.
    fn take_up(&mut self, known: &[u32]) {
        let Self { inventory, reading, .. } = self;
        let counts = |s: &SegmentFile| inventory.segments.iter().any(|other| other.slot == s.slot);
        reading.segments.retain(counts);
        let found = inventory.segments.iter().filter(|s| !known.contains(&s.slot));
        reading.segments.extend(found.cloned());
        reading.segments.sort_by_key(|s| (s.header.id, s.header.epoch.number));
    }
}

/// Passes over segments behind the named end of the log that are of a life before the named one: the
/// write that took one into use landed when an opening had ended that life. What their headers and
/// state records say would void what that opening has kept. They are as good as never used.
///
/// Only where the named end reaches up to the named life: then whatever of earlier lives was answered
/// lies in front of it. Who was opened without this directory knows by a fence that its life ended,
/// and nothing newer of its log than the last record that it saw; what lies behind that was answered.
fn pass_over_late(
    subject: &Subject,
    _: &dyn Directory,
    _: &[Entry],
    stripe: &mut Gathered,
    joined: &mut StateRecord,
    _: &mut Buffer,
) -> Result<(), OpenError> {
    let known = joined.stripe(subject.index);
    let (end, epoch) = (known.watermark.segment, known.epoch.number);
    let is_late = |s: &SegmentFile| s.header.id > end && s.header.epoch.number < epoch;
    let reaches = known.watermark.block.next() >= known.epoch.start;
    if !reaches && stripe.reading.segments.iter().any(is_late) {
        Rare::LogBehindKept.reached();
    }
    if !reaches || Broken::FreeNotWiped.is_chosen() {
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

/// Joins the state record at the start of the newest segment, going further back while that one
/// is not whole.
fn join_newest_start(
    subject: &Subject,
    _: &dyn Directory,
    _: &[Entry],
    stripe: &mut Gathered,
    joined: &mut StateRecord,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
    for segment in stripe.reading.segments.iter().rev() {
        let at = SEGMENT_HEADER_BYTES as u64;
        let id = Some(segment.header.id);
        let first = scan::block_at(subject, &*segment.file, segment.len, id, at, buffer)?;
        if let Some(state) = first.as_ref().and_then(scan::Block::state)
            && state.stripes.len() <= joined.stripes.len()
        {
            joined.join(state);
            stripe.told.join(state);
            break;
        }
    }
    Ok(())
}

/// Scans the log behind the joined watermark.
fn read_log(
    subject: &Subject,
    _: &dyn Directory,
    _: &[Entry],
    stripe: &mut Gathered,
    joined: &mut StateRecord,
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
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

/// Looks into segments in front of the scan whose successor's id does not follow: the one
/// between may be lost, or its id may have been given up by an earlier opening. So with the last one,
/// if the scan was to begin in a later one.
fn gaps(
    subject: &Subject,
    segments: &[SegmentFile],
    mark: &Watermark,
    frontier: Sequence,
    buffer: &mut Buffer,
) -> Result<Vec<Gap>, OpenError> {
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
        let below = |b: &&scan::Block| b.header.number < block;
        let last = scan.blocks.iter().filter(below).max_by_key(|b| b.header.number);
        // Of a segment without a whole block all is missing, and nothing of those in front of it.
        let in_front = BlockNumber(segment.header.first_block.0.saturating_sub(1));
        gaps.push(Gap {
            segment: segment.header.id,
            end_offset: last.map_or(SEGMENT_HEADER_BYTES as u64, scan::Block::end_offset),
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

/// Where a segment begins.
type Begin = (SegmentId, BlockNumber, Sequence);

/// Where the hole at the beginning of a segment ends at the latest: in front of its first block, of
/// every later segment (its own life may have been ended), and of what the scan begins with.
fn end_of_hole(next: Begin, later: &[SegmentFile], mark: &Watermark) -> Begin {
    let later = later.iter().map(|s| (s.header.first_block, s.header.first_sequence));
    let ends = later.chain([(mark.block.next(), mark.sequence)]);
    ends.fold(next, |(id, block, sequence), end| (id, block.min(end.0), sequence.min(end.1)))
}
