//! The decision on a channel: what counts, by stripe, and the row of the table of each place.

use crate::base::ids::{BlockNumber, SegmentId, Sequence, WriteOrder};
use crate::record::Watermark;
use crate::record::state::StateRecord;
use crate::recovery::case::Case;

/// One place and its row of the table, not yet as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) case: Case,
    pub(crate) segment: Option<SegmentId>,
    /// Bytes `start..end` in the segment; an end of `u64::MAX` is unknown.
    pub(crate) bytes: Option<(u64, u64)>,
    /// Numbers `start..end` of the blocks.
    pub(crate) blocks: (BlockNumber, BlockNumber),
    pub(crate) sequences: Option<(Sequence, Sequence)>,
}

/// The decision on one stripe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Blocks that belong to the log, by index in the scan, ascending.
    pub(crate) kept: Vec<usize>,
    /// The highest block that any record names as durable; those above are made durable again.
    pub(crate) named: BlockNumber,
    /// Where the scan began.
    pub(crate) base: Watermark,
    pub(crate) next_block: BlockNumber,
    /// Segments of the log, oldest first; the last one is current.
    pub(crate) live: Vec<SegmentId>,
    /// Segments that hold nothing of the log.
    pub(crate) dead: Vec<SegmentId>,
    pub(crate) rulings: Vec<Ruling>,
    /// The segment in which the log ends is missing: what was put after the log's last record is
    /// unknown.
    pub(crate) end_missing: bool,
    /// That segment does not exist, also if the log's end was given up to open without it.
    pub(crate) end_lacking: bool,
}

impl Verdict {
    /// Returns the rulings on missing segments.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Ruling> {
        self.rulings.iter().filter(|r| r.case == Case::R7)
    }

    /// Returns whether acknowledged data is lost.
    pub(crate) fn is_damaged(&self) -> bool {
        self.rulings.iter().any(|r| r.case.is_damage())
    }
}

/// The decision on the channel.
pub(crate) struct Decision {
    pub(crate) state: StateRecord,
    pub(crate) stripes: Vec<Verdict>,
    pub(crate) order: WriteOrder,
}
