//! Copies of what is damaged or unknown, made before an opening changes anything there.

use crate::base::checksum::Salt;
use crate::disk::Directory;
use crate::layout::quarantine::{self, QuarantineCopy};
use crate::layout::{self, AlignedBuffer, HEAD_BYTES, LayoutError};
use crate::recovery::case::Case;
use crate::recovery::decide::verdict::{Ruling, Verdict};
use crate::recovery::finding::Finding;
use crate::recovery::read::contents::StripeContents;
use crate::recovery::read::salvage;

/// Copies the bytes of damage to quarantine, if their place is known.
pub(crate) fn set_aside(
    directory: &dyn Directory,
    gathered: &StripeContents,
    ruling: &Ruling,
) -> QuarantineCopy {
    let segments = &gathered.reading.segments;
    let segment = ruling.segment.and_then(|id| segments.iter().find(|s| s.header.id == id));
    match (segment, ruling.bytes) {
        (Some(segment), Some(bytes)) if ruling.case.is_damage() => {
            quarantine::keep(directory, &*segment.file, segment.header.id, bytes)
        }
        _ => QuarantineCopy::Nothing,
    }
}

/// Quarantines the beginnings of files whose contents are unknown, when a part of the log is
/// missing and its place is unknown. Returns a finding for each.
pub(crate) fn set_unknown_aside(
    directory: &dyn Directory,
    gathered: &StripeContents,
    verdict: &Verdict,
    buffer: &mut AlignedBuffer,
) -> Result<Vec<Finding>, LayoutError> {
    let somewhere = |ruling: &Ruling| {
        ruling.case == Case::R7 || ruling.bytes.is_none_or(|(_, end)| end == u64::MAX)
    };
    if !verdict.rulings.iter().any(|r| r.case.is_damage() && somewhere(r)) {
        return Ok(Vec::new());
    }
    let mut said = Vec::new();
    for free in &gathered.inventory.blank {
        let known = gathered.inventory.segments.iter().any(|s| s.slot == free.slot);
        if known || matches!(salvage::is_blank(&*free.file, buffer), Ok(true)) {
            continue;
        }
        let head = buffer.first(HEAD_BYTES)?;
        // A read error shows here: the copy fails as well, and says so.
        let len = layout::read_at(&*free.file, 0, head).unwrap_or(0);
        // The name has the file's slot as well: files with equal beginnings are different files all
        // the same.
        let checksum = Salt::of(&[]).checksum(&[&head[..len]]);
        let name = format!("unknown-{:05}-{checksum:08x}", free.slot);
        let copy = quarantine::keep(directory, &*free.file, &name, (0, free.len));
        if !matches!(copy, QuarantineCopy::Nothing) {
            let words = "a part of the log is missing, and no block in this file tells what it held; it is used again";
            said.push(Finding::of(Case::R7, free.file.path(), copy.words(words.to_owned())));
        }
    }
    Ok(said)
}
