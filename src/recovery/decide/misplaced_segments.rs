//! Segments of one directory of the channel that are in another.
//!
//! They are whole and name their owner. If they were given up as missing there, events would be
//! lost that a move of the file restores; so an opening that lacks such a segment is refused, and
//! reports where it is. Nothing is moved here: the administrator may have moved more than one file.

use super::headerless_segments;
use super::verdict::Decision;
use crate::base::ids::{SegmentId, Sequence, Uuid};
use crate::layout;
use crate::recovery::case::Case;
use crate::recovery::read::contents::{InputDir, LogContents};
use crate::recovery::read::inventory::MisplacedSegment;
use std::path::PathBuf;

/// Where a misplaced segment belongs.
enum Belongs {
    /// Its stripe is not one of the channel's, or its directory is not present.
    Nowhere,
    /// That directory has the same segment.
    Copy(PathBuf),
    /// That directory does not need it.
    Passed(PathBuf),
    /// In that directory, under that file name.
    There(PathBuf, String),
}

/// Reports where each misplaced segment belongs, and returns the moves to make.
pub(crate) fn report_moves(
    all: &mut LogContents,
    sources: &[InputDir<'_>],
    decision: &Decision,
) -> Vec<(PathBuf, PathBuf)> {
    let misplaced: Vec<MisplacedSegment> =
        all.stripes.iter_mut().flat_map(|s| s.inventory.misplaced.drain(..)).collect();
    let (mut moves, mut seen): (_, Vec<(Uuid, SegmentId)>) = (Vec::new(), Vec::new());
    for misplaced in misplaced {
        let name = (misplaced.header.stripe, misplaced.header.id);
        let words = match belongs(all, sources, decision, &misplaced, &seen) {
            Belongs::Nowhere => continue,
            Belongs::Copy(dir) => {
                format!("a copy of a segment of {}; left alone", dir.display())
            }
            Belongs::Passed(dir) => {
                format!("a segment of {}, which does not need it; left alone", dir.display())
            }
            Belongs::There(dir, file) => {
                seen.push(name);
                let to = dir.join(file);
                let words = format!("a segment of {}: move it to {}", dir.display(), to.display());
                moves.push((misplaced.path.clone(), to));
                words
            }
        };
        let about = all.findings.iter_mut();
        about.filter(|f| f.case == Case::R11 && f.path == misplaced.path).for_each(|f| {
            f.words.clone_from(&words);
            f.segment = Some(misplaced.header.id);
        });
    }
    moves
}

fn belongs(
    all: &mut LogContents,
    sources: &[InputDir<'_>],
    decision: &Decision,
    misplaced: &MisplacedSegment,
    seen: &[(Uuid, SegmentId)],
) -> Belongs {
    let (stripe, id) = (misplaced.header.stripe, misplaced.header.id);
    let Some(home) = sources.iter().position(|s| s.uuid == stripe) else { return Belongs::Nowhere };
    let Some(directory) = sources[home].directory else { return Belongs::Nowhere };
    let (gathered, verdict) = (&mut all.stripes[home], &decision.stripes[home]);
    let path = directory.path().to_owned();
    if gathered.inventory.ids().any(|known| known == id) || seen.contains(&(stripe, id)) {
        return Belongs::Copy(path);
    }
    let frontier = Sequence(decision.state.stripes[home].frontier());
    let oldest = headerless_segments::needed(gathered, verdict, frontier).first().copied();
    if !gathered.reading.present || (!verdict.is_damaged() && oldest.is_some_and(|o| id < o)) {
        return Belongs::Passed(path);
    }
    let slot = gathered.inventory.next_slot;
    gathered.inventory.next_slot += 1;
    Belongs::There(path, layout::segment_name(slot))
}
