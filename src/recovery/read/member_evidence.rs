//! Evidence of the log that contradicts the directory's member file.
//!
//! The log and the checkpoints of a directory are written for one member and name it everywhere;
//! its member file is one small file that may have been copied or swapped. If it were trusted,
//! every event of the directory would be foreign: passed over, and lost for good. So where log and
//! checkpoints agree on another member, the member file counts as damaged.

use super::members::{Evidence, Listed, ListedDir, Present};
use crate::base::ids::Uuid;
use crate::disk::Access;
use crate::layout::{self, AlignedBuffer, CHECKPOINT_NAME, LayoutError, MemberClaim, segment_slot};
use crate::record::member::Phase;
use crate::record::segment::SEGMENT_HEADER_BYTES;
use crate::record::slot::SlotKind;
use crate::recovery::error::RecoveryError;

/// Corrects the claims of data directories. A directory whose log cannot be read counts as missing
/// in a degraded opening: its member file alone is not trusted.
pub(crate) fn correct(places: &mut [ListedDir], open_degraded: bool) -> Result<(), RecoveryError> {
    for place in places.iter_mut().filter(|place| place.listed == Listed::Data) {
        let Some(present) = &mut place.present else { continue };
        let MemberClaim::Member(member) = &present.claim else { continue };
        if member.phase != Phase::Created {
            continue;
        }
        match contradiction(present, member.me) {
            Ok(None) => {}
            Ok(Some(evidence)) => {
                present.claim = MemberClaim::Damaged;
                present.evidence = Some(evidence);
            }
            Err(error @ LayoutError::Read { .. }) if open_degraded => {
                place.present = None;
                place.fault = Some(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns the owner that the log and the checkpoints name, if both agree on another than `me`. One
/// segment of `me` suffices to trust the member file, so that of a sound directory one header is
/// read.
fn contradiction(present: &Present, me: Uuid) -> Result<Option<Evidence>, LayoutError> {
    let directory = &*present.directory;
    let mut buffer = AlignedBuffer::new(SEGMENT_HEADER_BYTES)?;
    let mut found: Option<Evidence> = None;
    for entry in present.entries.iter().filter(|e| segment_slot(&e.name).is_some()) {
        let header = layout::segment_header(directory, &entry.name, &mut buffer)?;
        let Some((_, header)) = header else { continue };
        let owner = Evidence { channel: header.channel, owner: header.stripe };
        if owner.owner == me || found.is_some_and(|other| other != owner) {
            return Ok(None);
        }
        found = Some(owner);
    }
    let (Some(owner), Some(file)) =
        (found, layout::open_file(directory, CHECKPOINT_NAME, Access::Read)?)
    else {
        return Ok(None);
    };
    let mut buffer = AlignedBuffer::new(SlotKind::Checkpoint.slot_bytes())?;
    let slots = layout::read_slots(&*file, SlotKind::Checkpoint, &mut buffer)?;
    let agrees = |w: &layout::SlotValue| w.channel == owner.channel && w.owner == owner.owner;
    Ok(slots.newest().filter(|whole| agrees(whole)).map(|_| owner))
}
