//! Segments without a readable header that a block in them has named: which of them are damage.
//!
//! Two writes can leave one without anything being lost. One that makes a free segment blank and is
//! cut off behind the header: what the first block says was passed long ago. And one that takes a
//! segment into use and is torn within the header: its block is in doubt like every block above all
//! names, and is kept. Only where something was promised of a segment is its header damage.

use super::Finding;
use super::decide::{Decision, Verdict};
use super::gather::{Everything, Gathered};
use super::inventory::SegmentFile;
use super::table::Case;
use crate::base::ids::{SegmentId, Sequence, StripeIndex};
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

/// Says which segments that are needed have one good copy of their header left.
pub(super) fn note_damaged_copies(all: &mut Everything, decision: &Decision) {
    let stripes = all.stripes.iter().zip(&decision.stripes).zip(&decision.state.stripes);
    let mut found = Vec::new();
    for (at, ((gathered, verdict), state)) in stripes.enumerate() {
        let needed = needed(gathered, verdict, Sequence(state.frontier()));
        let segments = gathered.reading.segments.iter();
        for segment in segments.filter(|s| needed.contains(&s.header.id)) {
            let Some(offset) = segment.damaged_copy else { continue };
            let words = "one of the two copies of the header is damaged; the other one suffices, and an opening writes it again";
            let mut finding = Finding::of(Case::R13, segment.file.path(), words);
            finding.stripe = u16::try_from(at).ok().map(StripeIndex);
            (finding.segment, finding.offset) = (Some(segment.header.id), Some(offset));
            found.push(finding);
        }
    }
    all.findings.append(&mut found);
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
