//! Segment files that are there again after an opening has gone on without them.
//!
//! What waited in such a file was given up: its sequences are void, and nothing that only grows can take
//! that back. But they are named in the state as lost, and the file has them, whole. So it is neither
//! part of the log nor free: it is left as it is, and said at each opening and look, until what it
//! holds has been put again ([`FileChannel::restore`](crate::channel::file::FileChannel::restore)). Each
//! transaction that does so carries a source position that says how far it came; so nothing is put twice,
//! wherever it is interrupted.

use super::buffer::Buffer;
use super::decide::Verdict;
use super::gather::Gathered;
use super::inventory::{SegmentFile, Subject};
use super::scan::{self, Block, Scan};
use super::table::Case;
use super::{Finding, OpenError};
use crate::base::ids::{SegmentId, Sequence, Uuid};
use crate::base::mutant::Broken;
use crate::log::forget::RESTORE_SOURCE_PREFIX;
use crate::record::state::{StateRecord, StripeState};
use std::path::PathBuf;

/// A segment file that came back after its events were given up.
#[derive(Clone)]
pub struct ReturnedSegment {
    /// The file.
    pub path: PathBuf,
    /// The segment's id.
    pub id: SegmentId,
    /// Events in it that were given up and not put again yet; `None` if it cannot be read.
    pub events: Option<u64>,
    /// The sequences that were given up, `start..end`, ascending, as far as whole blocks of it have them.
    pub ranges: Vec<(u64, u64)>,
    pub(super) file: SegmentFile,
    pub(super) blocks: Vec<Block>,
}

/// The source whose position says how far the events of a returned segment were put again: the next sequence,
/// eight bytes, the highest first.
#[must_use]
pub fn source_of(stripe: Uuid, segment: SegmentId) -> String {
    format!("{RESTORE_SOURCE_PREFIX}{stripe} {segment}")
}

/// The position that says that all sequences below `next` were put again.
#[must_use]
pub fn position_at(next: u64) -> [u8; 8] {
    next.to_be_bytes()
}

/// Takes the segments out of the log that came back after their events were given up, and answers them.
pub(super) fn set_apart(
    subject: &Subject,
    gathered: &Gathered,
    verdict: &mut Verdict,
    state: &StateRecord,
    buffer: &mut Buffer,
) -> Vec<ReturnedSegment> {
    let mine = state.stripe(subject.index);
    let mut returned = Vec::new();
    let segments = &gathered.reading.segments;
    for (at, segment) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(u64::MAX, |s| s.header.first_sequence.0);
        if !may_have_returned(mine, segment, end) {
            continue;
        }
        let done = state.positions.get(&source_of(subject.uuid, segment.header.id));
        let done = done.and_then(|p| <[u8; 8]>::try_from(&p.bytes[..]).ok());
        let from = done.map_or(0, u64::from_be_bytes);
        let found = look(subject, mine, segment, from, buffer);
        if found.events != Some(0) {
            returned.push(found);
        }
    }
    if Broken::ReturnedIsFree.is_chosen() {
        return Vec::new();
    }
    let is_apart = |id: &SegmentId| returned.iter().any(|r: &ReturnedSegment| r.id == *id);
    verdict.live.retain(|id| !is_apart(id));
    verdict.dead.retain(|id| !is_apart(id));
    returned
}

/// Whether sequences from the segment's first up to `end` were given up, and nothing waits there: else it is
/// part of the log.
fn may_have_returned(mine: &StripeState, segment: &SegmentFile, end: u64) -> bool {
    let first = segment.header.first_sequence.0;
    let named = mine.damaged.iter().any(|(a, b)| *a < end && *b > first);
    named && mine.missing(first, end.min(mine.next.0)).is_empty()
}

fn look(
    subject: &Subject,
    mine: &StripeState,
    segment: &SegmentFile,
    from: u64,
    buffer: &mut Buffer,
) -> ReturnedSegment {
    let mut scan = Scan::default();
    let read: Result<(), OpenError> = scan::segment(subject, segment, 0, None, &mut scan, buffer);
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut blocks = Vec::new();
    for block in scan.blocks {
        let (first, end) = (block.header.first_sequence.0, block.header.end_sequence().0);
        let before = ranges.len();
        for (a, b) in &mine.damaged {
            let (a, b) = ((*a).max(first).max(from), (*b).min(end));
            if a < b {
                ranges.push((a, b));
            }
        }
        if ranges.len() > before {
            blocks.push(block);
        }
    }
    ranges.sort_unstable();
    ranges.dedup();
    let events = ranges.iter().map(|(a, b)| b - a).sum();
    ReturnedSegment {
        path: segment.file.path().to_owned(),
        id: segment.header.id,
        events: read.is_ok().then_some(events),
        ranges,
        file: segment.clone(),
        blocks,
    }
}

impl ReturnedSegment {
    /// What is said of it.
    pub(super) fn finding(&self, subject: &Subject) -> Finding {
        let events = match self.events {
            Some(events) => format!("{events} events of it were given up when it was missing"),
            None => "what it holds cannot be read".to_owned(),
        };
        let words = format!(
            "a segment that came back: {events}; it is left alone, and millpond channel restore puts them into the channel again"
        );
        let mut finding = Finding::of(Case::R16, &self.path, words);
        (finding.stripe, finding.segment) = (Some(subject.index), Some(self.id));
        let (first, last) = (self.ranges.first(), self.ranges.last());
        finding.sequences = first.zip(last).map(|(a, b)| (Sequence(a.0), Sequence(b.1)));
        finding
    }
}
