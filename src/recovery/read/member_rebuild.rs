//! The member list rebuilt from the logs, when no member file is left.
//!
//! Every segment names its channel and its stripe, and begins with a state record. That record has
//! the epoch of each stripe in the order of the member list, and its own segment's header names the
//! epoch in which it was begun. An epoch has a random nonce, so the one entry with that epoch is
//! the stripe's own: its index in the list. The list is rebuilt only if all directories say so,
//! none contradicts, and no checkpoint knows of more directories.

use super::inventory;
use super::members::{Evidence, Listed, ListedDir, Present};
use super::segment_file::Subject;
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::random::Random;
use crate::disk::Access;
use crate::layout::{self, AlignedBuffer, CHECKPOINT_NAME, LayoutError, segment_slot};
use crate::record::member::{MemberName, Phase, Role};
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use crate::recovery::error::RecoveryError;
use std::path::{Path, PathBuf};

/// Where the list of the channel's directories is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberLookup {
    /// From the member files.
    AsWritten,
    /// If none is readable, from the logs.
    OrFromLogs,
}

/// What the log of a directory says of the channel.
struct StripeIdentity {
    index: StripeIndex,
    /// Stripes of the channel.
    stripes: usize,
}

/// Returns the member list that the logs agree on; `None` when a member file is readable, or there
/// is no log.
pub(crate) fn members(
    places: &[ListedDir],
    random: &dyn Random,
) -> Result<Option<Vec<MemberName>>, RecoveryError> {
    let readable = |p: &ListedDir| p.member().is_some_and(|m| m.phase == Phase::Created);
    let log = places.iter().find_map(|p| p.present.as_ref().and_then(|p| p.evidence));
    let Some(Evidence { channel, .. }) = log.filter(|_| !places.iter().any(readable)) else {
        return Ok(None);
    };
    let unknown = |why: String| RecoveryError::MembersUnknown { channel, why };
    let mut names: Vec<MemberName> = Vec::new();
    let mut stripes = 0;
    for place in places.iter().filter(|p| p.listed == Listed::Data) {
        let path = place.path.display();
        let Some((present, evidence)) = evidence(place) else {
            return Err(unknown(format!("{path} holds no log that says whose it is")));
        };
        let Some(seat) = agreed_identity(present, evidence)? else {
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
    if let Some((known, path)) = named_by_checkpoints(places, channel, stripes)? {
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

/// Returns a checkpoint of the channel that knows of more data directories than `stripes`: their
/// number, and its path. A checkpoint that knows of fewer dates from before one was added.
fn named_by_checkpoints(
    places: &[ListedDir],
    channel: Uuid,
    stripes: usize,
) -> Result<Option<(usize, PathBuf)>, LayoutError> {
    let mut buffer = AlignedBuffer::small()?;
    for present in places.iter().filter_map(|place| place.present.as_ref()) {
        let directory = &*present.directory;
        let Some(file) = layout::open_file(directory, CHECKPOINT_NAME, Access::Read)? else {
            continue;
        };
        let found = layout::read_slots(&*file, SlotKind::Checkpoint, &mut buffer)?;
        for whole in found.whole.iter().filter(|whole| whole.channel == channel) {
            let known = StateRecord::decode(&whole.payload).map_or(0, |state| state.stripes.len());
            if known > stripes {
                return Ok(Some((known, file.path().to_owned())));
            }
        }
    }
    Ok(None)
}

fn evidence(place: &ListedDir) -> Option<(&Present, Evidence)> {
    let present = place.present.as_ref()?;
    present.evidence.map(|evidence| (present, evidence))
}

/// Returns the identity on which all conclusive segments of a directory agree.
fn agreed_identity(present: &Present, is: Evidence) -> Result<Option<StripeIdentity>, LayoutError> {
    let directory = &*present.directory;
    let subject = Subject {
        channel: is.channel,
        uuid: is.owner,
        index: StripeIndex(0),
        access: Access::Read,
        segment_bytes: 0,
    };
    let mut buffer = AlignedBuffer::small()?;
    let mut found: Option<StripeIdentity> = None;
    for entry in present.entries.iter().filter(|e| segment_slot(&e.name).is_some()) {
        let header = layout::segment_header(directory, &entry.name, &mut buffer)?;
        let Some((file, header)) = header else { continue };
        if (header.channel, header.stripe) != (is.channel, is.owner) {
            continue;
        }
        let first = inventory::first_block(&subject, &*file, entry.len, &mut buffer)?;
        let Some(state) = first.as_ref().and_then(|block| block.state()) else { continue };
        let epoch = (header.epoch.number, header.epoch.nonce);
        let mut own =
            (0u16..).zip(&state.stripes).filter(|(_, s)| (s.epoch.number, s.epoch.nonce) == epoch);
        let (Some((at, _)), None) = (own.next(), own.next()) else { continue };
        let stripes = state.stripes.len();
        match &mut found {
            Some(known) if known.index.0 != at => return Ok(None),
            Some(known) => known.stripes = known.stripes.max(stripes),
            None => found = Some(StripeIdentity { index: StripeIndex(at), stripes }),
        }
    }
    Ok(found)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns a new id.
pub(crate) fn draw(random: &dyn Random) -> Uuid {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    Uuid(bytes)
}
