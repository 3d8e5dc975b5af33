//! Segments of one directory of the channel that lie in another.
//!
//! They are whole and say whose they are. Given up as missing there, events would be lost that a move
//! of the file brings back; so an opening that lacks one is refused, and says where it lies. Nothing is
//! moved here: who moved it may have meant more than one file.

use super::decide::Decision;
use super::gather::{Everything, Source};
use super::headless;
use super::table::Case;
use crate::base::ids::{SegmentId, Sequence, Uuid};
use crate::record::segment::{self, SegmentHeader};
use std::path::PathBuf;

/// A segment whose header names another stripe of the channel than its directory is.
pub(super) struct Stray {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
}

/// Where a stray belongs.
enum Belongs {
    /// Its stripe is none of the channel's, or its directory is not here.
    Nowhere,
    /// Its directory has it.
    Copy(PathBuf),
    /// Its directory can do without it.
    Passed(PathBuf),
    /// There, as a file of that name.
    There(PathBuf, String),
}

/// Says of each stray where it belongs, and answers what is to be moved where.
pub(super) fn settle(
    all: &mut Everything,
    sources: &[Source<'_>],
    decision: &Decision,
) -> Vec<(PathBuf, PathBuf)> {
    let strays: Vec<Stray> =
        all.stripes.iter_mut().flat_map(|s| s.inventory.strays.drain(..)).collect();
    let (mut moves, mut seen): (_, Vec<(Uuid, SegmentId)>) = (Vec::new(), Vec::new());
    for stray in strays {
        let name = (stray.header.stripe, stray.header.id);
        let words = match belongs(all, sources, decision, &stray, &seen) {
            Belongs::Nowhere => continue,
            Belongs::Copy(dir) => {
                format!("a copy of a segment of {}; left alone", dir.display())
            }
            Belongs::Passed(dir) => {
                format!("a segment of {}, which does without it; left alone", dir.display())
            }
            Belongs::There(dir, file) => {
                seen.push(name);
                let to = dir.join(file);
                let words = format!("a segment of {}: move it to {}", dir.display(), to.display());
                moves.push((stray.path.clone(), to));
                words
            }
        };
        let about = all.findings.iter_mut();
        about.filter(|f| f.case == Case::R11 && f.path == stray.path).for_each(|f| {
            f.words.clone_from(&words);
            f.segment = Some(stray.header.id);
        });
    }
    moves
}

fn belongs(
    all: &mut Everything,
    sources: &[Source<'_>],
    decision: &Decision,
    stray: &Stray,
    seen: &[(Uuid, SegmentId)],
) -> Belongs {
    let (stripe, id) = (stray.header.stripe, stray.header.id);
    let Some(home) = sources.iter().position(|s| s.uuid == stripe) else { return Belongs::Nowhere };
    let Some(directory) = sources[home].directory else { return Belongs::Nowhere };
    let (gathered, verdict) = (&mut all.stripes[home], &decision.stripes[home]);
    let path = directory.path().to_owned();
    if gathered.inventory.ids().any(|known| known == id) || seen.contains(&(stripe, id)) {
        return Belongs::Copy(path);
    }
    let frontier = Sequence(decision.state.stripes[home].frontier());
    let oldest = headless::needed(gathered, verdict, frontier).first().copied();
    if !gathered.reading.present || (!verdict.is_damaged() && oldest.is_some_and(|o| id < o)) {
        return Belongs::Passed(path);
    }
    let slot = gathered.inventory.next_slot;
    gathered.inventory.next_slot += 1;
    Belongs::There(path, segment::file_name(slot))
}
