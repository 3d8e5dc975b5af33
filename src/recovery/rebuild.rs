//! The member list made again from the logs, when no member file is left.
//!
//! Every segment names its channel and its stripe, and begins with a state record. That record has the
//! life of each stripe in the order of the member list, and its own segment's header names the life it
//! was begun in. A life has a random nonce, so the one entry with that life is the stripe's own: its
//! place in the list. Only when all directories say so, and none contradicts, nor any checkpoint knows of
//! more of them, is the list what it was.

use super::buffer::{self, Buffer};
use super::inventory::{self, Subject};
use super::members::{Evidence, Listed, Place, Present};
use super::{CHECKPOINT_NAME, OpenError, slots};
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::random::Random;
use crate::disk::Access;
use crate::record::member::{MemberName, Phase, Role};
use crate::record::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use std::path::{Path, PathBuf};

/// Whose word counts for which directories make up the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Members {
    /// That of the member files.
    AsWritten,
    /// If none is readable, that of the logs.
    OrFromLogs,
}

/// What the log of a directory says of the channel.
struct Seat {
    index: StripeIndex,
    /// Stripes of the channel.
    stripes: usize,
}

/// The member list that the logs agree on; nothing when a member file is readable, or there is no log.
pub(super) fn members(
    places: &[Place],
    random: &dyn Random,
) -> Result<Option<Vec<MemberName>>, OpenError> {
    let readable = |p: &Place| p.member().is_some_and(|m| m.phase == Phase::Created);
    let log = places.iter().find_map(|p| p.present.as_ref().and_then(|p| p.evidence));
    let Some(Evidence { channel, .. }) = log.filter(|_| !places.iter().any(readable)) else {
        return Ok(None);
    };
    let unknown = |why: String| OpenError::MembersUnknown { channel, why };
    let mut names: Vec<MemberName> = Vec::new();
    let mut stripes = 0;
    for place in places.iter().filter(|p| p.listed == Listed::Data) {
        let path = place.path.display();
        let Some((present, evidence)) = evidence(place) else {
            return Err(unknown(format!("{path} holds no log that says whose it is")));
        };
        let Some(seat) = seat(present, evidence)? else {
            let why = "no segment, or segments that contradict each other, tell which of the data directories it is";
            return Err(unknown(format!("in {path} {why}")));
        };
        stripes = stripes.max(seat.stripes);
        let role = Role::Stripe(seat.index);
        if let Some(other) = names.iter().find(|name| name.role == role) {
            return Err(unknown(format!(
                "{} and {path} both are data directory {}",
                other.path, seat.index
            )));
        }
        names.push(MemberName { uuid: evidence.owner, role, path: text(&place.path) });
    }
    if names.len() != stripes {
        return Err(unknown(format!(
            "the logs know of {stripes} data directories, {} are listed: list all of them",
            names.len()
        )));
    }
    if let Some((known, path)) = told_by_checkpoints(places, channel, stripes)? {
        return Err(unknown(format!(
            "the logs know of {stripes} data directories, the checkpoint in {path} of {known}: one was added that no log here tells of; list all of them",
            path = path.display()
        )));
    }
    names.sort_by_key(|name| match name.role {
        Role::Checkpoint => None,
        Role::Stripe(index) => Some(index),
    });
    let listed = places.iter().find(|p| p.listed == Listed::Checkpoint);
    let known = listed.and_then(evidence).filter(|(_, e)| e.channel == channel);
    let uuid = known.map_or_else(|| draw(random), |(_, evidence)| evidence.owner);
    let path = listed.map(|p| text(&p.path)).unwrap_or_default();
    names.insert(0, MemberName { uuid, role: Role::Checkpoint, path });
    Ok(Some(names))
}

/// A checkpoint of the channel that knows of more data directories than `stripes`: how many, and where
/// it is. One that knows of fewer is from before one was added.
fn told_by_checkpoints(
    places: &[Place],
    channel: Uuid,
    stripes: usize,
) -> Result<Option<(usize, PathBuf)>, OpenError> {
    let mut buffer = Buffer::small()?;
    for present in places.iter().filter_map(|place| place.present.as_ref()) {
        let directory = &*present.directory;
        let Some(file) = slots::open(directory, CHECKPOINT_NAME, Access::Read)? else { continue };
        let found = slots::read(&*file, SlotKind::Checkpoint, &mut buffer)?;
        for whole in found.whole.iter().filter(|whole| whole.channel == channel) {
            let known = StateRecord::decode(&whole.payload).map_or(0, |state| state.stripes.len());
            if known > stripes {
                return Ok(Some((known, file.path().to_owned())));
            }
        }
    }
    Ok(None)
}

fn evidence(place: &Place) -> Option<(&Present, Evidence)> {
    let present = place.present.as_ref()?;
    present.evidence.map(|evidence| (present, evidence))
}

/// What all segments of a directory that can tell agree on.
fn seat(present: &Present, is: Evidence) -> Result<Option<Seat>, OpenError> {
    let directory = &*present.directory;
    let subject = Subject {
        channel: is.channel,
        uuid: is.owner,
        index: StripeIndex(0),
        access: Access::Read,
        segment_bytes: 0,
    };
    let mut buffer = Buffer::small()?;
    let mut found: Option<Seat> = None;
    for entry in present.entries.iter().filter(|e| segment::slot_of(&e.name).is_some()) {
        let Some(file) = slots::open(directory, &entry.name, Access::Read)? else { continue };
        let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
        let len = buffer::read(&*file, 0, bytes)?;
        let Ok(header) = SegmentHeader::decode(&bytes[..len]) else { continue };
        if (header.channel, header.stripe) != (is.channel, is.owner) {
            continue;
        }
        let first = inventory::first_block(&subject, &*file, entry.len, &mut buffer)?;
        let Some(state) = first.as_ref().and_then(|block| block.state()) else { continue };
        let life = (header.epoch.number, header.epoch.nonce);
        let mut own =
            (0u16..).zip(&state.stripes).filter(|(_, s)| (s.epoch.number, s.epoch.nonce) == life);
        let (Some((at, _)), None) = (own.next(), own.next()) else { continue };
        let stripes = state.stripes.len();
        match &mut found {
            Some(known) if known.index.0 != at => return Ok(None),
            Some(known) => known.stripes = known.stripes.max(stripes),
            None => found = Some(Seat { index: StripeIndex(at), stripes }),
        }
    }
    Ok(found)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A new id.
pub(super) fn draw(random: &dyn Random) -> Uuid {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    Uuid(bytes)
}
