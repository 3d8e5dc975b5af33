//! Copies of adopted events, in the logs of directories that were missing when they were adopted.

use super::contents::StripeContents;
use super::inventory;
use super::scan::{self, MovedFrame, Scan, ScannedBlock, ScannedEffect};
use super::segment_file::Subject;
use super::stripe_reading::StripeReading;
use crate::base::ids::Sequence;
use crate::layout::{AlignedBuffer, LayoutError};
use crate::record::state::StateRecord;

/// Looks for events that were moved to directories which have not noted an adoption. A log is read
/// from the last segment that began before the adopted events got their sequences: the fence, and
/// what it moved, come after that. Returns the directories whose log could not be read, and why.
pub(crate) fn find_copies(
    subject: &dyn Fn(usize) -> Subject,
    joined: &StateRecord,
    stripes: &mut [StripeContents],
    buffer: &mut AlignedBuffer,
) -> Vec<(usize, LayoutError)> {
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

/// Returns the state records in the blocks of a scan.
fn states_in(reading: &StripeReading) -> impl Iterator<Item = &StateRecord> {
    reading.scan.blocks.iter().flat_map(|block| &block.effects).filter_map(|effect| match effect {
        ScannedEffect::State(state) => Some(&**state),
        _ => None,
    })
}

fn read_moved(
    subject: &Subject,
    reading: &StripeReading,
    missed: &[(usize, Sequence)],
    buffer: &mut AlignedBuffer,
) -> Result<Vec<MovedFrame>, LayoutError> {
    let segments = &reading.segments;
    let mut from = segments.len();
    while from > 0 {
        from -= 1;
        let segment = &segments[from];
        let first = inventory::first_block(subject, &*segment.file, segment.len, buffer)?;
        let before = |state: &StateRecord| {
            missed.iter().all(|(at, start)| state.stripes.get(*at).is_none_or(|s| s.next <= *start))
        };
        // When the write that reused the file was torn, a block of the file's former use may follow
        // the new header, with a much older state: it says nothing of where this segment began.
        let own = first.filter(|block| block.header.segment == segment.header.id);
        if own.as_ref().and_then(ScannedBlock::state).is_some_and(before) {
            break;
        }
    }
    let mut found = Vec::new();
    for (at, segment) in segments.iter().enumerate().skip(from) {
        let mut scan = Scan::default();
        let next = segments.get(at + 1).map(|s| s.header.first_block);
        scan::segment(subject, segment, 0, next, &mut scan, buffer)?;
        found.extend(scan.blocks.iter().flat_map(ScannedBlock::moved));
    }
    Ok(found)
}
