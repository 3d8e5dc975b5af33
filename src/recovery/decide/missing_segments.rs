//! Missing segments for which an opening is refused unless it is configured to go on without them.

use super::verdict::Decision;
use crate::recovery::error::MissingSegments;
use std::path::Path;

/// Returns where segments are missing whose events wait, or in which a log ends.
/// `paths` are the directories of the stripes that are present.
pub(crate) fn segments(paths: &[Option<&Path>], decision: &Decision) -> Vec<MissingSegments> {
    let places = paths.iter().zip(&decision.stripes);
    let places = places.filter_map(|(path, verdict)| Some(((*path)?, verdict)));
    let missing = places.filter_map(|(path, verdict)| {
        let _ = verdict.missing().next()?;
        let ranges = || verdict.missing().filter_map(|r| r.sequences);
        let (first, last) = (ranges().map(|(a, _)| a.0).min(), ranges().map(|(_, b)| b.0).max());
        Some(MissingSegments {
            directory: path.to_owned(),
            events: ranges().map(|(a, b)| b.0 - a.0).sum(),
            sequences: first.zip(last),
            end: verdict.end_missing,
        })
    });
    missing.collect()
}
