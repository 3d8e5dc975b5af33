//! Quarantine: damaged places are copied before anything else is done with them.

use super::shared::Shared;
use crate::base::codes;
use crate::base::quantity::Quantity;
use crate::layout::quarantine;
use crate::log::{ReadJob, ReadOutcome};
use std::sync::Arc;

/// Ranges of sequences named in one log line.
const NAMED_MAX: usize = 16;

/// Quarantines the places of `job`'s segment that should hold events and do not.
pub(super) fn set_aside(shared: &Arc<Shared>, job: &ReadJob, found: &ReadOutcome) {
    let waiting = shared.log().map(|log| {
        let waiting = |(start, end): &(u64, u64)| log.waiting_in(job.stripe, *start, *end);
        found.lost.iter().flat_map(waiting).collect::<Vec<_>>()
    });
    let Ok(waiting) = waiting else { return };
    if waiting.is_empty() {
        return;
    }
    let Some(directory) = &shared.stripe_dirs[job.stripe.at()].directory else { return };
    for (offset, len) in &found.damaged {
        let bytes = (*offset, offset.saturating_add(*len));
        let copy = quarantine::keep(&**directory, &*job.file, job.segment, bytes);
        let words = format!(
            "{}: no whole block at {offset}, {len} bytes; its events are quarantined",
            job.file.path().display()
        );
        tracing::error!(code = %codes::DAMAGE_SET_ASIDE, channel = shared.name, stripe = job.stripe.0, "{}", copy.words(words));
    }
    let (path, lost) = (job.file.path().display(), named(&waiting));
    tracing::error!(code = %codes::DAMAGE_LOST, channel = shared.name, stripe = job.stripe.0, "{path}: lost and counted as quarantined: {lost}");
}

/// Returns the number of events in `waiting`, and the first [`NAMED_MAX`] ranges of their
/// sequences.
fn named(waiting: &[(u64, u64)]) -> String {
    let events: u64 = waiting.iter().map(|(start, end)| end - start).sum();
    let ranges =
        waiting.iter().take(NAMED_MAX).map(|(start, end)| format!("{start} to {}", end - 1));
    let ranges = ranges.collect::<Vec<_>>().join(", ");
    let more = match waiting.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} further ranges"),
    };
    format!("{} (sequences {ranges}{more})", Quantity(events, "event"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_are_lost_are_counted_and_named_as_far_as_a_line_goes() {
        assert_eq!(named(&[(4, 8)]), "4 events (sequences 4 to 7)");
        assert_eq!(named(&[(0, 1), (5, 8)]), "4 events (sequences 0 to 0, 5 to 7)");
        let many: Vec<(u64, u64)> = (0..20).map(|n| (n * 10, n * 10 + 2)).collect();
        let words = named(&many);
        assert!(words.starts_with("40 events (sequences 0 to 1, 10 to 11, "), "{words}");
        assert!(words.ends_with("150 to 151 and 4 further ranges)"), "{words}");
    }
}
