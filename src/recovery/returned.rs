//! Segment files that are there again after an opening has gone on without them.
//!
//! What waited in such a file was given up: its sequences are void, and nothing that only grows can take
//! that back. But they are named in the state as lost, and the file has them, whole. So it is neither
//! part of the log nor free: it is left as it is, and said at each opening and look, until what it
//! holds has been put again ([`FileChannel::restore`](crate::channel::file::FileChannel::restore)). Each
//! transaction that does so carries a source position that says how far it came; so nothing is put twice,
//! wherever it is interrupted.

use super::Finding;
use super::buffer::Buffer;
use super::gather::Gathered;
use super::inventory::{SegmentFile, Subject};
use super::lives::{self, Lives};
use super::scan::{self, Block, Effect, Scan};
use super::table::Case;
use crate::base::ids::{BlockNumber, MAIN_GROUP, SegmentId, Sequence, Uuid};
use crate::base::mutant::Broken;
use crate::base::quantity::Quantity;
use crate::base::ranges::RangeSet;
use crate::log::forget::RESTORE_SOURCE_PREFIX;
use crate::record::state::{StateRecord, StripeState};
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
    /// The sequences that were given up, `start..end`, ascending, as far as whole blocks of it have them.
    pub ranges: Vec<(u64, u64)>,
    pub(super) file: SegmentFile,
    pub(super) blocks: Vec<Block>,
}

/// Segments of a stripe of which a position says how far they were put again; of more, the first are forgotten.
const RESTORED_MAX: usize = 64;

/// Bytes of one of them: its id and the next sequence, the highest byte first.
const RESTORED_BYTES: usize = 16;

/// The source whose position says how far the events of a stripe's returned segments were put again.
#[must_use]
pub fn source_of(stripe: Uuid) -> String {
    format!("{RESTORE_SOURCE_PREFIX}{stripe}")
}

/// The position after `before` that says that all sequences of `segment` below `next` were put again.
#[must_use]
pub fn position_at(before: &[u8], segment: SegmentId, next: u64) -> Vec<u8> {
    let others =
        before.chunks_exact(RESTORED_BYTES).filter(|one| one[..8] != segment.0.to_be_bytes());
    let others: Vec<&[u8]> = others.collect();
    let kept = &others[others.len().saturating_sub(RESTORED_MAX - 1)..];
    let own = [segment.0.to_be_bytes(), next.to_be_bytes()].concat();
    [&kept.concat()[..], &own].concat()
}

/// The sequence of `segment` up to which events were put again, by the position `bytes`; 0 if none were.
fn next_of(bytes: &[u8], segment: SegmentId) -> u64 {
    let own = bytes.chunks_exact(RESTORED_BYTES).find(|one| one[..8] == segment.0.to_be_bytes());
    let next = own.and_then(|one| <[u8; 8]>::try_from(&one[8..]).ok());
    next.map_or(0, u64::from_be_bytes)
}

/// A segment file that may have come back, with all its whole blocks.
pub(super) struct Candidate {
    file: SegmentFile,
    blocks: Vec<Block>,
    is_read: bool,
}

/// Returns the segments of one stripe whose sequences were given up, read whole.
pub(super) fn candidates(
    subject: &Subject,
    gathered: &Gathered,
    state: &StateRecord,
    buffer: &mut Buffer,
) -> Vec<Candidate> {
    if Broken::ReturnedIsFree.is_chosen() {
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

/// Returns, by stripe, the segments that have events which were given up and not put again. An event is left
/// out that these segments themselves show to be acknowledged, void, of an ended life, or moved here while its
/// first place still waits in the log. `uuids` are those of the stripes.
pub(super) fn judge(
    candidates: &[Vec<Candidate>],
    uuids: &[Uuid],
    state: &StateRecord,
) -> Vec<Vec<ReturnedSegment>> {
    let settled = settled(candidates, state);
    let of_stripe = |at: usize| {
        let mine = &state.stripes[at];
        let progress = state.positions.get(&source_of(uuids[at])).map(|p| &p.bytes[..]);
        let judged = candidates[at].iter().map(|found| {
            let from = progress.map_or(0, |bytes| next_of(bytes, found.file.header.id));
            found.judged(mine, &settled[at], from)
        });
        judged.filter(|found| found.events != Some(0)).collect()
    };
    (0..candidates.len()).map(of_stripe).collect()
}

/// What of each stripe the candidates show not to wait, and the blocks of theirs that are of the log.
struct Settled {
    gone: RangeSet,
    kept: BTreeSet<(BlockNumber, u64)>,
}

fn settled(candidates: &[Vec<Candidate>], state: &StateRecord) -> Vec<Settled> {
    let blocks: Vec<Vec<Block>> = candidates
        .iter()
        .map(|found| found.iter().flat_map(|c| c.blocks.iter().cloned()).collect())
        .collect();
    let mut lives: Vec<Lives> = candidates
        .iter()
        .map(|found| {
            let mut lives = Lives::default();
            found.iter().for_each(|c| lives.add(c.file.header.epoch));
            lives
        })
        .collect();
    let borrowed: Vec<&[Block]> = blocks.iter().map(Vec::as_slice).collect();
    let chains = lives::chains(&borrowed, &mut lives, &vec![BlockNumber(0); blocks.len()]);
    let empty = || Settled { gone: RangeSet::default(), kept: BTreeSet::new() };
    let mut settled: Vec<Settled> = candidates.iter().map(|_| empty()).collect();
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

/// Stripes and sequences `start..end` at which nothing is to be put again because of `effect`, which stands in
/// stripe `at`.
fn ended_by(effect: &Effect, at: usize, state: &StateRecord) -> Vec<(usize, u64, u64)> {
    match effect {
        Effect::Ack(ack) if ack.group == MAIN_GROUP => {
            ack.ranges.iter().map(|(stripe, start, end)| (stripe.at(), *start, *end)).collect()
        }
        Effect::Void(start, end) => vec![(at, start.0, end.0)],
        Effect::Fence(fence) => vec![(fence.stripe.at(), fence.void_start.0, fence.void_end.0)],
        Effect::Moved(moved) => {
            let (start, end) = moved.there();
            let origin = state.stripes.get(moved.origin.stripe.at());
            let waits = origin.is_some_and(|s| !s.missing(start, end.min(s.next.0)).is_empty());
            let (start, end) = moved.here();
            if waits { vec![(at, start, end)] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// Whether sequences from the segment's first up to `end` were given up, and nothing waits there: else it is
/// part of the log.
fn may_have_returned(mine: &StripeState, segment: &SegmentFile, end: u64) -> bool {
    let first = segment.header.first_sequence.0;
    let named = mine.damaged.iter().any(|(a, b)| *a < end && *b > first);
    named && mine.missing(first, end.min(mine.next.0)).is_empty()
}

impl Candidate {
    fn judged(&self, mine: &StripeState, settled: &Settled, from: u64) -> ReturnedSegment {
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
    /// What is said of it.
    pub(super) fn finding(&self, subject: &Subject) -> Finding {
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
