//! Segments without a readable header that a block in them names: which of them are damaged.
//!
//! Two writes can leave such a segment without any loss. One wipes a free segment and is cut off
//! after the header: the events of its first block were acknowledged before. The other puts a
//! segment into use and is torn within the header: its block is in doubt like every block above all
//! names, and is kept. The header is damaged only if acknowledged data was in the segment.

use super::verdict::{Decision, Verdict};
use crate::base::ids::{BlockNumber, SegmentId, Sequence, StripeIndex};
use crate::record::segment::SegmentHeader;
use crate::recovery::case::Case;
use crate::recovery::finding::Finding;
use crate::recovery::read::contents::{LogContents, StripeContents};
use crate::recovery::read::segment_file::SegmentFile;
use crate::recovery::read::stripe_reading::StripeReading;
use std::cmp::Ordering;
use std::path::PathBuf;

/// Withdraws findings about headers of segments without acknowledged data.
pub(crate) fn withdraw_findings(all: &mut LogContents, decision: &Decision) {
    let stripes = all.stripes.iter().zip(&decision.stripes).zip(&decision.state.stripes);
    let excused: Vec<PathBuf> = stripes
        .flat_map(|((gathered, verdict), state)| {
            unacknowledged(gathered, verdict, Sequence(state.frontier()))
        })
        .collect();
    all.findings.retain(|f| f.case != Case::R6 || !excused.contains(&f.path));
}

/// Reports needed segments that have only one good copy of their header.
pub(crate) fn note_damaged_copies(all: &mut LogContents, decision: &Decision) {
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

/// Returns the ids of the segments of the log that are still needed, oldest first.
pub(crate) fn needed(
    gathered: &StripeContents,
    verdict: &Verdict,
    frontier: Sequence,
) -> Vec<SegmentId> {
    let found = &gathered.reading.segments;
    let is_live = |s: &&SegmentFile| verdict.live.contains(&s.header.id);
    let live: Vec<&SegmentFile> = found.iter().filter(is_live).collect();
    // A segment before the frontier is free, whatever it holds.
    let passed =
        live.windows(2).take_while(|pair| pair[1].header.first_sequence <= frontier).count();
    live[passed..].iter().map(|s| s.header.id).collect()
}

fn unacknowledged(
    gathered: &StripeContents,
    verdict: &Verdict,
    frontier: Sequence,
) -> Vec<PathBuf> {
    let needed = needed(gathered, verdict, frontier);
    let acknowledged =
        |s: &&SegmentFile| needed.contains(&s.header.id) && s.header.first_block <= verdict.named;
    let headerless_segments = gathered.reading.segments.iter().filter(|s| s.rebuilt.is_some());
    headerless_segments.filter(|s| !acknowledged(s)).map(|s| s.file.path().to_owned()).collect()
}

/// Corrects headers made from a block that is not the segment's first: the segment began where the
/// log before it ends. So what is missing at its beginning is a hole like any other, now and at
/// every later opening, also when this one is interrupted.
pub(crate) fn correct_headers(gathered: &mut StripeContents, verdict: &Verdict) {
    let StripeContents { inventory, reading, .. } = gathered;
    for at in 0..reading.segments.len() {
        if reading.segments[at].starts_with_hole().is_none() {
            continue;
        }
        let header = reading.segments[at].header;
        let Some((block, sequence)) = end_before(reading, verdict, &header) else { continue };
        let header = &mut reading.segments[at].header;
        header.first_block = header.first_block.min(block.next());
        header.first_sequence = header.first_sequence.min(sequence);
        let known = inventory.segments.iter_mut().find(|s| s.header.id == header.id);
        known.into_iter().for_each(|known| known.header = *header);
    }
}

/// Returns the last block that can be before a segment, and the sequence after it.
fn end_before(
    reading: &StripeReading,
    verdict: &Verdict,
    header: &SegmentHeader,
) -> Option<(BlockNumber, Sequence)> {
    let gap = reading.gaps.iter().find(|gap| gap.next == header.id);
    if let Some(gap) = gap {
        return Some((gap.last_block, gap.end_sequence));
    }
    let kept = verdict.kept.iter().map(|i| &reading.scan.blocks[*i].header);
    let before = kept.filter(|b| b.segment < header.id && b.number < header.first_block);
    let base = verdict.base;
    let base = match base.segment.cmp(&header.id) {
        _ if base.block >= header.first_block => None,
        Ordering::Less => Some((base.block, base.sequence)),
        // The last block that a record names was in this segment, and is lost: the segment began
        // with it at the latest. Otherwise the epoch that continues after it would end the segment
        // that it writes to.
        Ordering::Equal => Some((BlockNumber(base.block.0.saturating_sub(1)), base.sequence)),
        Ordering::Greater => None,
    };
    before.map(|b| (b.number, b.end_sequence())).chain(base).max()
}
