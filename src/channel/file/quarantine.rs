//! Damaged places are copied aside before anything else happens to them.

use super::shared::Shared;
use crate::log::{ReadJob, ReadOutcome};
use crate::recovery::quarantine;
use std::sync::Arc;

/// Copies the places of `job`'s segment that should hold events and do not.
pub(super) fn set_aside(shared: &Arc<Shared>, job: &ReadJob, found: &ReadOutcome) {
    let missing = shared.log().map(|log| {
        found.lost.iter().filter(|(start, end)| log.is_waiting(job.stripe, *start, *end)).count()
    });
    if missing.is_err() || missing == Ok(0) {
        return;
    }
    let Some(directory) = &shared.homes[job.stripe.at()].directory else { return };
    for (offset, len) in &found.damaged {
        let bytes = (*offset, offset.saturating_add(*len));
        let copy = quarantine::keep(&**directory, &*job.file, job.segment, bytes);
        let words = format!(
            "{}: no whole block at {offset}, {len} bytes; its events are counted as quarantined",
            job.file.path().display()
        );
        tracing::error!(stripe = job.stripe.0, "{}", copy.words(words));
    }
}
