//! Segment files that may have come back after an opening without them, read whole.

use super::contents::StripeContents;
use super::scan::{self, Scan, ScannedBlock};
use super::segment_file::{SegmentFile, Subject};
use crate::base::mutation::Mutation;
use crate::layout::AlignedBuffer;
use crate::record::state::{StateRecord, StripeState};

/// A segment file that may have come back, with all its whole blocks.
pub(crate) struct Candidate {
    pub(crate) file: SegmentFile,
    pub(crate) blocks: Vec<ScannedBlock>,
    /// Whether all of it could be read.
    pub(crate) is_read: bool,
}

/// Returns the segments of one stripe whose sequences were given up, read whole.
pub(crate) fn candidates(
    subject: &Subject,
    gathered: &StripeContents,
    state: &StateRecord,
    buffer: &mut AlignedBuffer,
) -> Vec<Candidate> {
    if Mutation::ReturnedIsFree.is_active() {
        return Vec::new();
    }
    let mine = state.stripe(subject.index);
    let segments = &gathered.reading.segments;
    let mut found = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(u64::MAX, |s| s.header.first_sequence.0);
        if may_have_returned(mine, segment, end) {
            let mut scan = Scan::default();
            let read = scan::segment(subject, segment, 0, None, &mut scan, buffer);
            let file = segment.clone();
            found.push(Candidate { file, blocks: scan.blocks, is_read: read.is_ok() });
        }
    }
    found
}

/// Returns whether sequences from the segment's first up to `end` were given up, and none of them
/// waits: else the segment is part of the log.
fn may_have_returned(mine: &StripeState, segment: &SegmentFile, end: u64) -> bool {
    let first = segment.header.first_sequence.0;
    let named = mine.damaged.iter().any(|(a, b)| *a < end && *b > first);
    named && mine.missing(first, end.min(mine.next.0)).is_empty()
}
