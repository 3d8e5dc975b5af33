//! Segment files that came back after an opening without them.
//!
//! The events that waited in such a file were given up: their sequences are void, and a state that
//! only grows cannot take that back. But the state names them as lost, and the file has them,
//! whole. So it is neither part of the log nor free: it is left as it is, and reported at each
//! opening and inspection, until its events have been put again
//! ([`FileChannel::restore`](crate::channel::file::FileChannel::restore)). Each transaction of the
//! restore carries a source offset with its progress; so nothing is put twice, wherever it is
//! interrupted.

use super::epochs::{self, EpochHistory};
use crate::base::ids::{BlockNumber, MAIN_GROUP, SegmentId, Sequence, Uuid};
use crate::base::quantity::Quantity;
use crate::base::ranges::RangeSet;
use crate::log::source_offsets::RESTORE_SOURCE_PREFIX;
use crate::record::state::{StateRecord, StripeState};
use crate::recovery::case::Case;
use crate::recovery::finding::Finding;
use crate::recovery::read::returned_candidates::Candidate;
use crate::recovery::read::scan::{ScannedBlock, ScannedEffect};
use crate::recovery::read::segment_file::{SegmentFile, Subject};
use std::collections::BTreeSet;
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
    /// The sequences that were given up, `start..end`, ascending, as far as whole blocks of it have
    /// them.
    pub ranges: Vec<(u64, u64)>,
    pub(crate) file: SegmentFile,
    pub(crate) blocks: Vec<ScannedBlock>,
}

/// Segments of a stripe whose restore progress one source offset records; of more, the first are
/// dropped.
const RESTORED_MAX: usize = 64;

/// Bytes of one of them: its id and the next sequence, big-endian.
const RESTORED_BYTES: usize = 16;

/// Returns the source whose offset says how far the events of a stripe's returned segments were put
/// again.
#[must_use]
pub fn source_of(stripe: Uuid) -> String {
    format!("{RESTORE_SOURCE_PREFIX}{stripe}")
}

/// Returns the source offset after `before` which records that all sequences of `segment` below
/// `next` were put again.
#[must_use]
pub fn restore_offset(before: &[u8], segment: SegmentId, next: u64) -> Vec<u8> {
    let others =
        before.chunks_exact(RESTORED_BYTES).filter(|one| one[..8] != segment.0.to_be_bytes());
    let others: Vec<&[u8]> = others.collect();
    let kept = &others[others.len().saturating_sub(RESTORED_MAX - 1)..];
    let own = [segment.0.to_be_bytes(), next.to_be_bytes()].concat();
    [&kept.concat()[..], &own].concat()
}

/// Returns the sequence of `segment` up to which events were put again, by the source offset
/// `bytes`; 0 if none were.
fn next_of(bytes: &[u8], segment: SegmentId) -> u64 {
    let own = bytes.chunks_exact(RESTORED_BYTES).find(|one| one[..8] == segment.0.to_be_bytes());
    let next = own.and_then(|one| <[u8; 8]>::try_from(&one[8..]).ok());
    next.map_or(0, u64::from_be_bytes)
}

/// Returns, by stripe, the segments that have events which were given up and not put again. An
/// event is left out if these segments themselves show it to be acknowledged, void, of an ended
/// epoch, or moved here while its first place still waits in the log. `uuids` are those of the
/// stripes.
pub(crate) fn judge(
    candidates: &[Vec<Candidate>],
    uuids: &[Uuid],
    state: &StateRecord,
) -> Vec<Vec<ReturnedSegment>> {
    let settled = settled_sequences(candidates, state);
    let of_stripe = |at: usize| {
        let mine = &state.stripes[at];
        let progress = state.source_offsets.get(&source_of(uuids[at])).map(|p| &p.bytes[..]);
        let judged = candidates[at].iter().map(|found| {
            let from = progress.map_or(0, |bytes| next_of(bytes, found.file.header.id));
            found.judged(mine, &settled[at], from)
        });
        judged.filter(|found| found.events != Some(0)).collect()
    };
    (0..candidates.len()).map(of_stripe).collect()
}

/// By stripe, the sequences that the candidates show not to wait, and their blocks that are part of
/// the log.
struct SettledSequences {
    gone: RangeSet,
    kept: BTreeSet<(BlockNumber, u64)>,
}

fn settled_sequences(candidates: &[Vec<Candidate>], state: &StateRecord) -> Vec<SettledSequences> {
    let blocks: Vec<Vec<ScannedBlock>> = candidates
        .iter()
        .map(|found| found.iter().flat_map(|c| c.blocks.iter().cloned()).collect())
        .collect();
    let mut epochs: Vec<EpochHistory> = candidates
        .iter()
        .map(|found| {
            let mut epochs = EpochHistory::default();
            found.iter().for_each(|c| epochs.add(c.file.header.epoch));
            epochs
        })
        .collect();
    let borrowed: Vec<&[ScannedBlock]> = blocks.iter().map(Vec::as_slice).collect();
    let chains = epochs::chains(&borrowed, &mut epochs, &vec![BlockNumber(0); blocks.len()]);
    let empty = || SettledSequences { gone: RangeSet::default(), kept: BTreeSet::new() };
    let mut settled: Vec<SettledSequences> = candidates.iter().map(|_| empty()).collect();
    for (at, chain) in chains.iter().enumerate() {
        for block in chain.iter().map(|i| &blocks[at][*i]) {
            settled[at].kept.insert((block.header.number, block.header.offset));
            for effect in &block.effects {
                for (stripe, start, end) in ended_by(effect, at, state) {
                    if let Some(settled) = settled.get_mut(stripe) {
                        settled.gone.insert(start, end);
                    }
                }
            }
        }
    }
    settled
}

/// Returns the stripes and sequences `start..end` at which nothing is put again because of
/// `effect`, which is in stripe `at`.
fn ended_by(effect: &ScannedEffect, at: usize, state: &StateRecord) -> Vec<(usize, u64, u64)> {
    match effect {
        ScannedEffect::Ack(ack) if ack.group == MAIN_GROUP => {
            ack.ranges.iter().map(|(stripe, start, end)| (stripe.at(), *start, *end)).collect()
        }
        ScannedEffect::Void(start, end) => vec![(at, start.0, end.0)],
        ScannedEffect::Fence(fence) => {
            vec![(fence.stripe.at(), fence.void_start.0, fence.void_end.0)]
        }
        ScannedEffect::Moved(moved) => {
            let (start, end) = moved.origin_range();
            let origin = state.stripes.get(moved.origin.stripe.at());
            let waits = origin.is_some_and(|s| !s.missing(start, end.min(s.next.0)).is_empty());
            let (start, end) = moved.range();
            if waits { vec![(at, start, end)] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

impl Candidate {
    fn judged(&self, mine: &StripeState, settled: &SettledSequences, from: u64) -> ReturnedSegment {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut blocks = Vec::new();
        for block in &self.blocks {
            if !settled.kept.contains(&(block.header.number, block.header.offset)) {
                continue;
            }
            let (first, end) = (block.header.first_sequence.0, block.header.end_sequence().0);
            let before = ranges.len();
            for (a, b) in &mine.damaged {
                let (a, b) = ((*a).max(first).max(from), (*b).min(end));
                if a < b {
                    ranges.extend(settled.gone.missing_in(a, b));
                }
            }
            if ranges.len() > before {
                blocks.push(block.clone());
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        let events = ranges.iter().map(|(a, b)| b - a).sum();
        ReturnedSegment {
            path: self.file.file.path().to_owned(),
            id: self.file.header.id,
            events: self.is_read.then_some(events),
            ranges,
            file: self.file.clone(),
            blocks,
        }
    }
}

impl ReturnedSegment {
    /// Returns the finding about it.
    pub(crate) fn finding(&self, subject: &Subject) -> Finding {
        let events = match self.events {
            Some(events) => {
                let events = Quantity(events, "event");
                format!("{events} of it {} given up when it was missing", events.was())
            }
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
