//! Segments without a readable header that a block in them has named: which of them are damage.
//!
//! Two writes can leave one without anything being lost. One that makes a free segment blank and is
//! cut off behind the header: what the first block says was passed long ago. And one that takes a
//! segment into use and is torn within the header: its block is in doubt like every block above all
//! names, and is kept. Only where something was promised of a segment is its header damage.

use super::decide::{Decision, Verdict};
use super::gather::{Everything, Gathered};
use super::inventory::SegmentFile;
use super::table::Case;
use crate::base::ids::{SegmentId, Sequence};
use std::path::PathBuf;

/// Takes back what was said about headers of which nothing was promised.
pub(super) fn excuse(all: &mut Everything, decision: &Decision) {
    let stripes = all.stripes.iter().zip(&decision.stripes).zip(&decision.state.stripes);
    let excused: Vec<PathBuf> = stripes
        .flat_map(|((gathered, verdict), state)| {
            unpromised(gathered, verdict, Sequence(state.frontier()))
        })
        .collect();
    all.findings.retain(|f| f.case != Case::R6 || !excused.contains(&f.path));
}

/// Ids of the segments of the log that are still needed, oldest first.
pub(super) fn needed(gathered: &Gathered, verdict: &Verdict, frontier: Sequence) -> Vec<SegmentId> {
    let found = &gathered.reading.segments;
    let is_live = |s: &&SegmentFile| verdict.live.contains(&s.header.id);
    let live: Vec<&SegmentFile> = found.iter().filter(is_live).collect();
    // A segment in front of the frontier is free, whatever it holds.
    let passed =
        live.windows(2).take_while(|pair| pair[1].header.first_sequence <= frontier).count();
    live[passed..].iter().map(|s| s.header.id).collect()
}

fn unpromised(gathered: &Gathered, verdict: &Verdict, frontier: Sequence) -> Vec<PathBuf> {
    let needed = needed(gathered, verdict, frontier);
    let promised =
        |s: &&SegmentFile| needed.contains(&s.header.id) && s.header.first_block <= verdict.named;
    let headless = gathered.reading.segments.iter().filter(|s| s.rebuilt.is_some());
    headless.filter(|s| !promised(s)).map(|s| s.file.path().to_owned()).collect()
}
