//! What was read of one stripe: its segments, the scan of its log, and the gaps in it.

use super::scan::{MovedFrame, Scan};
use super::segment_file::SegmentFile;
use crate::base::ids::{BlockNumber, SegmentId, Sequence};

/// What was read of one stripe.
#[derive(Clone, Default)]
pub(crate) struct StripeReading {
    /// Whether its directory is present.
    pub(crate) present: bool,
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) scan: Scan,
    /// Segments after which something is missing, and where their contents end.
    pub(crate) gaps: Vec<Gap>,
    /// Events that were moved here, also before the start of the scan, when the directory missed an
    /// opening that adopted events.
    pub(crate) moved: Vec<MovedFrame>,
}

impl StripeReading {
    /// Returns whether the segment `id` should exist and does not. Segment 0 never holds anything.
    pub(crate) fn lacks(&self, id: SegmentId) -> bool {
        self.present && id.0 > 0 && !self.segments.iter().any(|s| s.header.id == id)
    }
}

/// A segment that was read because the next one, or the beginning of the next one, is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) segment: SegmentId,
    pub(crate) end_offset: u64,
    pub(crate) last_block: BlockNumber,
    pub(crate) end_sequence: Sequence,
    /// The next segment, present or not.
    pub(crate) next: SegmentId,
    /// Offset of its first known block, if it begins with a hole, bytes.
    pub(crate) hole: Option<u64>,
    pub(crate) next_first_block: BlockNumber,
    pub(crate) next_first_sequence: Sequence,
}
