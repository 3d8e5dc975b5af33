//! A log that contradicts its directory's member file.
//!
//! The log and the checkpoints of a directory are written for one member and name it everywhere;
//! its member file is one small file that somebody may have copied or swapped. Believed, it would
//! make every event of the directory a foreign one: passed over, and given up for good. So where
//! log and checkpoints agree on another member, the member file counts as damaged.

use super::buffer::{self, Buffer};
use super::members::{Claim, Evidence, Listed, Place, Present};
use super::slots;
use super::{CHECKPOINT_NAME, OpenError};
use crate::base::ids::Uuid;
use crate::disk::Access;
use crate::record::member::Phase;
use crate::record::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;

/// Corrects what data directories say of themselves. One whose log cannot be read counts as missing
/// in a degraded opening: its member file alone is not believed.
pub(super) fn correct(places: &mut [Place], open_degraded: bool) -> Result<(), OpenError> {
    for place in places.iter_mut().filter(|place| place.listed == Listed::Data) {
        let Some(present) = &mut place.present else { continue };
        let Claim::Member(member) = &present.claim else { continue };
        if member.phase != Phase::Created {
            continue;
        }
        match contradiction(present, member.me) {
            Ok(None) => {}
            Ok(Some(evidence)) => {
                present.claim = Claim::Damaged;
                present.evidence = Some(evidence);
            }
            Err(error @ OpenError::Unreadable { .. }) if open_degraded => {
                place.present = None;
                place.trouble = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Who wrote the log and the checkpoints, if both agree on another than `me`. One segment of `me`
/// suffices to believe the member file, so that of a sound directory one header is read.
fn contradiction(present: &Present, me: Uuid) -> Result<Option<Evidence>, OpenError> {
    let directory = &*present.directory;
    let mut buffer = Buffer::new(SEGMENT_HEADER_BYTES)?;
    let mut found: Option<Evidence> = None;
    for entry in present.entries.iter().filter(|e| segment::slot_of(&e.name).is_some()) {
        let Some(file) = slots::open(directory, &entry.name, Access::Read)? else { continue };
        let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
        let len = buffer::read(&*file, 0, bytes)?;
        let Ok(header) = SegmentHeader::decode(&bytes[..len]) else { continue };
        let owner = Evidence { channel: header.channel, owner: header.stripe };
        if owner.owner == me || found.is_some_and(|other| other != owner) {
            return Ok(None);
        }
        found = Some(owner);
    }
    let (Some(owner), Some(file)) = (found, slots::open(directory, CHECKPOINT_NAME, Access::Read)?)
    else {
        return Ok(None);
    };
    let mut buffer = Buffer::new(SlotKind::Checkpoint.slot_bytes())?;
    let slots = slots::read(&*file, SlotKind::Checkpoint, &mut buffer)?;
    let agrees = |w: &slots::Whole| w.channel == owner.channel && w.owner == owner.owner;
    Ok(slots.newest().filter(|whole| agrees(whole)).map(|_| owner))
}
