//! Openings without a directory, and what becomes of it when the directory is back.
//!
//! A directory that is missing may hold fences: records that the last blocks of another stripe are
//! void, because their write failed and their events were moved to it. Whoever opens without it
//! cannot know. Such blocks, if they are whole, stand above everything named, and they are kept:
//! their events may be the only copies. What was kept so is *adopted*: noted in the state, in the
//! same record that names the blocks from then on. When the missing directory is back, its fences
//! do not void what was adopted ([`StripeState::join`], [`StripeState::void_fenced`]), and the
//! copies in its log are void ([`void_copies`]). What was not adopted was torn or void here; its
//! copies count.
//!
//! [`StripeState::join`]: crate::record::state::StripeState::join
//! [`StripeState::void_fenced`]: crate::record::state::StripeState::void_fenced

use super::OpenError;
use super::buffer::Buffer;
use super::decide::{Decision, Reading};
use super::gather::Gathered;
use super::inventory::{self, Subject};
use super::scan::{self, Block, Effect, Moved, Scan};
use crate::base::ids::Sequence;
use crate::base::mutant::Broken;
use crate::base::rare::Rare;
use crate::record::state::StateRecord;

/// Whether some directory is missing that may have been there in the last life of the stripe at
/// `at`, and so may hold fences and moved events of it.
fn has_lost_one(state: &StateRecord, present: &[bool], at: usize) -> bool {
    let mine = state.stripes[at].opened;
    state.stripes.iter().zip(present).any(|(other, there)| !there && other.opened >= mine)
}

/// Notes what is kept without being named while a directory is missing, under its own sequences
/// and, where it was moved, under those it had first; and that the present directories are part
/// of this opening. Answers how many events each stripe adopted.
pub(super) fn adopt(decision: &mut Decision, readings: &[&Reading], present: &[bool]) -> Vec<u64> {
    let mut adopted = vec![0; readings.len()];
    let before = decision.state.clone();
    for at in 0..readings.len() {
        if !present[at] || !has_lost_one(&before, present, at) || Broken::NothingAdopted.is_chosen()
        {
            continue;
        }
        let verdict = &decision.stripes[at];
        let blocks = verdict.kept.iter().map(|i| &readings[at].scan.blocks[*i]);
        for block in blocks.filter(|b| b.header.number > verdict.named) {
            let (start, end) = (block.header.first_sequence.0, block.header.end_sequence().0);
            if start < end {
                Rare::Adopted.reached();
                decision.state.stripes[at].adopt(start, end);
                adopted[at] += end - start;
            }
            for moved in moved(block) {
                let (start, end) = moved.there();
                if let Some(origin) = decision.state.stripes.get_mut(moved.origin.stripe.at()) {
                    origin.adopt(start, end);
                }
            }
        }
    }
    // An opening gets a number of its own only when it leaves someone behind: repeating it, or
    // opening with all, changes nothing.
    let here = || (0..present.len()).filter(|at| present[*at]);
    let lost = here().any(|at| has_lost_one(&before, present, at));
    let latest = before.stripes.iter().map(|s| s.opened).max().unwrap_or_default();
    let opening = latest + u64::from(lost);
    here().for_each(|at| decision.state.stripes[at].opened = opening);
    adopted
}

fn moved(block: &Block) -> impl Iterator<Item = &Moved> {
    block.effects.iter().filter_map(|effect| match effect {
        Effect::Moved(moved) => Some(moved),
        _ => None,
    })
}

/// Voids what was moved to a directory while its first copy was adopted without that one. What
/// was itself adopted where it stands is no copy: an opening that adopted it may have been killed
/// before every directory was told, and the next one finds it again.
pub(super) fn void_copies(state: &mut StateRecord, readings: &[&Reading]) {
    for (at, reading) in readings.iter().enumerate() {
        for moved in &reading.moved {
            let ((start, end), (from, to)) = (moved.here(), moved.there());
            let origin = state.stripes.get(moved.origin.stripe.at());
            let copied = origin.is_some_and(|s| s.adopted.covers(from, to));
            if start < end && copied && !state.stripes[at].adopted.covers(start, end) {
                Rare::CopyVoid.reached();
                state.stripes[at].void(start, end);
            }
        }
    }
}

/// Looks through the logs of the directories that were not told of an adoption for events that were moved to
/// them. A log is read from the last segment on that began before the adopted events were given
/// their sequences: the fence, and what it moved, stand behind that. Answers whose log could not be
/// read, and why.
pub(super) fn find_copies(
    subject: &dyn Fn(usize) -> Subject,
    joined: &StateRecord,
    stripes: &mut [Gathered],
    buffer: &mut Buffer,
) -> Vec<(usize, OpenError)> {
    let (mut known, mut unread) = (joined.clone(), Vec::new());
    let count = known.stripes.len();
    for state in stripes.iter().flat_map(|s| states_in(&s.reading)) {
        if state.stripes.len() <= count {
            known.join(state);
        }
    }
    for (at, stripe) in stripes.iter_mut().enumerate().filter(|(_, s)| s.reading.present) {
        let mut told = stripe.told.clone();
        told.stripes.resize_with(known.stripes.len(), Default::default);
        states_in(&stripe.reading).for_each(|state| told.join(state));
        let missed: Vec<(usize, Sequence)> = known
            .stripes
            .iter()
            .zip(&told.stripes)
            .enumerate()
            .filter_map(|(other, (known, told))| {
                let news = known.adopted.without(&told.adopted);
                Some((other, Sequence(news.ranges().next()?.0)))
            })
            .collect();
        if !missed.is_empty() {
            match read_moved(&subject(at), &stripe.reading, &missed, buffer) {
                Ok(moved) => stripe.reading.moved = moved,
                Err(error) => unread.push((at, error)),
            }
        }
    }
    unread
}

/// The state records in the blocks of a scan.
fn states_in(reading: &Reading) -> impl Iterator<Item = &StateRecord> {
    reading.scan.blocks.iter().flat_map(|block| &block.effects).filter_map(|effect| match effect {
        Effect::State(state) => Some(&**state),
        _ => None,
    })
}

fn read_moved(
    subject: &Subject,
    reading: &Reading,
    missed: &[(usize, Sequence)],
    buffer: &mut Buffer,
) -> Result<Vec<Moved>, OpenError> {
    let segments = &reading.segments;
    let mut from = segments.len();
    while from > 0 {
        from -= 1;
        let segment = &segments[from];
        let first = inventory::first_block(subject, &*segment.file, segment.len, buffer)?;
        let before = |state: &StateRecord| {
            missed.iter().all(|(at, start)| state.stripes.get(*at).is_none_or(|s| s.next <= *start))
        };
        // When the write that took the file into use again was torn, a block of its former use may
        // stand behind the new header, with a state from long before: it says nothing of where
        // this segment began.
        let own = first.filter(|block| block.header.segment == segment.header.id);
        if own.as_ref().and_then(Block::state).is_some_and(before) {
            break;
        }
    }
    let mut found = Vec::new();
    for (at, segment) in segments.iter().enumerate().skip(from) {
        let mut scan = Scan::default();
        let next = segments.get(at + 1).map(|s| s.header.first_block);
        scan::segment(subject, segment, 0, next, &mut scan, buffer)?;
        found.extend(scan.blocks.iter().flat_map(moved));
    }
    Ok(found)
}
