//! The decision table: what a place found at recovery means, and what is done about it.
//!
//! docs/recovery.md has the same rows with the same labels and the reason of each; every row has a
//! test whose name begins with its label. [`whole`] and [`hole`] are the two decisions about the
//! log; the other rows are about files and directories and are ruled on where those are opened.

pub use crate::recovery::case::Case;

/// What is known about a whole block after the joined watermark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockFacts {
    /// It belongs to the log: no later epoch has ended it.
    pub(crate) live: bool,
    /// A record names its number, or a higher one, as durable.
    pub(crate) named: bool,
    /// Its epoch is known by a record, or it is not the first of its epoch that was found.
    pub(crate) epoch_known: bool,
}

/// Rules on a whole block. A named block in a known epoch is as expected and gets no row.
pub(crate) fn whole(block: &BlockFacts) -> Option<Case> {
    match block {
        BlockFacts { live: false, .. } => Some(Case::R4),
        BlockFacts { epoch_known: false, .. } => Some(Case::R12),
        BlockFacts { named: false, .. } => Some(Case::R1),
        BlockFacts { .. } => None,
    }
}

/// What is known about a place where blocks or sequences are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GapFacts {
    /// Block numbers are missing, not only sequences.
    pub(crate) blocks_missing: bool,
    /// A record names the first of those numbers, or a higher one, as durable.
    pub(crate) block_named: bool,
    /// Events are missing that a record names as durable.
    pub(crate) events_acknowledged: bool,
    /// An acknowledgement names a sequence after the last block: it was durable once.
    pub(crate) taken_from: bool,
    /// A later epoch starts above: an earlier opening has ruled on this hole.
    pub(crate) judged_before: bool,
    /// A whole block of the log comes after it.
    pub(crate) whole_after: bool,
    /// Sequences are missing that no record names.
    pub(crate) events_unacknowledged: bool,
    /// The segment that contains it exists.
    pub(crate) segment_there: bool,
}

/// Rules on a hole. A gap of void sequences gets no row.
pub(crate) fn hole(hole: &GapFacts) -> Option<Case> {
    match hole {
        GapFacts { events_acknowledged: true, segment_there: false, .. } => Some(Case::R7),
        GapFacts { events_acknowledged: true, .. } => Some(Case::R2),
        GapFacts { taken_from: true, .. } => Some(Case::R2),
        // No event is missing, but the block was durable: acknowledged events may come back.
        GapFacts { blocks_missing: true, block_named: true, judged_before: false, .. } => {
            Some(Case::R2)
        }
        GapFacts { blocks_missing: true, whole_after: true, .. } => Some(Case::R3),
        GapFacts { events_unacknowledged: true, whole_after: true, .. } => Some(Case::R3),
        GapFacts { whole_after: true, .. } => None,
        GapFacts { .. } => Some(Case::R5),
    }
}
