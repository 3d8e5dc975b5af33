//! Segments that are missing: what an opening that is not told to go on without them is refused for.

use super::MissingSegments;
use super::create::Membership;
use super::decide::Decision;

/// Where segments are missing whose events wait, or in which a log ends.
pub(super) fn segments(members: &Membership, decision: &Decision) -> Vec<MissingSegments> {
    let stripes = members.stripes.iter().zip(&decision.stripes);
    let places = stripes.filter_map(|(stripe, verdict)| Some((stripe.present.as_ref()?, verdict)));
    let missing = places.filter_map(|(present, verdict)| {
        let _ = verdict.missing().next()?;
        let ranges = || verdict.missing().filter_map(|r| r.sequences);
        let (first, last) = (ranges().map(|(a, _)| a.0).min(), ranges().map(|(_, b)| b.0).max());
        Some(MissingSegments {
            directory: present.directory.path().to_owned(),
            events: ranges().map(|(a, b)| b.0 - a.0).sum(),
            sequences: first.zip(last),
            end: verdict.end_missing,
        })
    });
    missing.collect()
}
