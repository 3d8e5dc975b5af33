//! Texts of the findings.

use super::case::Case;
use super::decide::verdict::Ruling;
use crate::base::ids::SegmentId;

/// Text added to a finding about a missing segment when an opening continues without it.
pub(super) const GIVEN_UP: &str = "given up, counted as far as it is known, and skipped";

/// Text added to it by an inspection.
pub(super) const REFUSED: &str = "an opening is refused until its file is back, or openWithoutMissingSegments is set to continue without it";

/// Returns the text about a place without a block in a needed segment in which no event waits any
/// more.
pub(super) fn of_settled_place(ruling: &Ruling, segment: SegmentId) -> String {
    match (ruling.sequences, ruling.bytes) {
        (Some(_), Some((offset, _))) => format!(
            "damaged before, its events counted as lost and set aside: see quarantine-{segment}-{offset}-*.bin next to it, if it could be copied"
        ),
        _ => "no whole block, and no event that waits was in it: taken, or never acknowledged"
            .to_owned(),
    }
}

/// Returns what was found at a place in a log, and what was done.
pub(super) fn of(ruling: &Ruling) -> String {
    let (first, end) = (ruling.blocks.0.0, ruling.blocks.1.0);
    let blocks = match end.saturating_sub(first) {
        0 => "no block".to_owned(),
        1 => format!("block {first}"),
        _ => format!("blocks {first} to {}", end - 1),
    };
    let events = ruling.sequences.map_or_else(String::new, |(start, end)| {
        format!(" with the events {start} to {}", end.0.saturating_sub(1))
    });
    match ruling.case {
        Case::R1 => {
            format!("{blocks} after the last checkpoint: whole; the next opening makes that durable")
        }
        Case::R2 if ruling.sequences.is_none() => format!(
            "{blocks} damaged; no event that waited is known to have been in there, but acknowledgements may have been: what they acknowledged may be delivered again"
        ),
        Case::R2 => format!("{blocks}{events} damaged: lost, counted and skipped"),
        Case::R3 => format!(
            "{blocks}{events} unreadable, and nothing shows that they were ever acknowledged: skipped"
        ),
        Case::R4 => {
            format!("{blocks} of an epoch that was ended by a failed write or an opening: void")
        }
        Case::R5 => {
            format!("{blocks}{events} torn at the end of the log, never acknowledged: skipped")
        }
        Case::R7 if ruling.sequences.is_none() => {
            "the segment in which the log ends is missing: what was put there after its last record is unknown"
                .to_owned()
        }
        Case::R7 => format!("a segment is missing, and in it {blocks}{events}"),
        Case::R12 => format!(
            "{blocks}{events}: the first block of its epoch is damaged; kept, since that block was durable before this one was written"
        ),
        case => format!("{case}: {blocks}{events}"),
    }
}
