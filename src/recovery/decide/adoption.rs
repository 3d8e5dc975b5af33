//! Openings without a directory, and the return of that directory.
//!
//! A missing directory may hold fences: records that the last blocks of another stripe are void,
//! because their write failed and their events were moved. An opening without the directory cannot
//! know of them. Such blocks, if they are whole, are above everything named, and they are kept:
//! their events may be the only copies. Events kept in this way are *adopted*: the state notes them
//! in the same record that names the blocks from then on. When the missing directory is back, its
//! fences do not void what was adopted ([`StripeState::join`], [`StripeState::void_fenced`]), and
//! the copies in its log are void ([`void_copies`]). Events that were not adopted were torn or void
//! here; their copies count.
//!
//! [`StripeState::join`]: crate::record::state::StripeState::join
//! [`StripeState::void_fenced`]: crate::record::state::StripeState::void_fenced

use super::verdict::Decision;
use crate::base::coverage_mark::CoverageMark;
use crate::base::mutation::Mutation;
use crate::record::state::StateRecord;
use crate::recovery::read::stripe_reading::StripeReading;

/// Returns whether a directory is missing that may have been there in the last epoch of the stripe
/// at `at`, and so may hold fences and moved events of it.
fn may_lack_fences(state: &StateRecord, present: &[bool], at: usize) -> bool {
    let mine = state.stripes[at].opened;
    state.stripes.iter().zip(present).any(|(other, there)| !there && other.opened >= mine)
}

/// Notes the events that are kept without being named while a directory is missing, under their own
/// sequences and, where they were moved, under their first ones; and that the present directories
/// are part of this opening. Returns how many events each stripe adopted.
pub(crate) fn adopt(
    decision: &mut Decision,
    readings: &[&StripeReading],
    present: &[bool],
) -> Vec<u64> {
    let mut adopted = vec![0; readings.len()];
    let before = decision.state.clone();
    for at in 0..readings.len() {
        if !present[at]
            || !may_lack_fences(&before, present, at)
            || Mutation::NothingAdopted.is_active()
        {
            continue;
        }
        let verdict = &decision.stripes[at];
        let blocks = verdict.kept.iter().map(|i| &readings[at].scan.blocks[*i]);
        for block in blocks.filter(|b| b.header.number > verdict.named) {
            let (start, end) = (block.header.first_sequence.0, block.header.end_sequence().0);
            if start < end {
                CoverageMark::Adopted.hit();
                decision.state.stripes[at].adopt(start, end);
                adopted[at] += end - start;
            }
            for moved in block.moved() {
                let (start, end) = moved.origin_range();
                if let Some(origin) = decision.state.stripes.get_mut(moved.origin.stripe.at()) {
                    origin.adopt(start, end);
                }
            }
        }
    }
    // An opening gets a number of its own only if a directory is missing: repeating it, or opening
    // with all directories, changes nothing.
    let here = || (0..present.len()).filter(|at| present[*at]);
    let lost = here().any(|at| may_lack_fences(&before, present, at));
    let latest = before.stripes.iter().map(|s| s.opened).max().unwrap_or_default();
    let opening = latest + u64::from(lost);
    here().for_each(|at| decision.state.stripes[at].opened = opening);
    adopted
}

/// Voids what was moved to a directory while its first copy was adopted without that directory.
/// Events that were themselves adopted in their new place are not copies: an opening that adopted
/// them may have been killed before every directory noted it, and the next opening finds them
/// again.
pub(crate) fn void_copies(state: &mut StateRecord, readings: &[&StripeReading]) {
    for (at, reading) in readings.iter().enumerate() {
        for moved in &reading.moved {
            let ((start, end), (from, to)) = (moved.range(), moved.origin_range());
            let origin = state.stripes.get(moved.origin.stripe.at());
            let copied = origin.is_some_and(|s| s.adopted.covers(from, to));
            if start < end && copied && !state.stripes[at].adopted.covers(start, end) {
                CoverageMark::CopyVoid.hit();
                state.stripes[at].void(start, end);
            }
        }
    }
}
