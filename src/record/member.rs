//! Member records: which directories make up a channel. Every directory has the whole list.
//!
//! A channel is created in two phases: every member durably says [`Phase::Creating`], and when all do, each durably
//! says [`Phase::Created`]; then comes the first block. So one member that says created proves that there may be
//! events, and that a missing member is missing.

use super::DecodeError;
use super::cursor::{Reader, Writer};
use super::slot::SlotKind;
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::limits::STRIPES_MAX;

/// Members of one channel: its stripes and the checkpoint directory.
pub const MEMBERS_MAX: usize = STRIPES_MAX + 1;

/// Bytes of a path in a member record. Paths are hints for messages; of a longer one only the end is kept.
pub const MEMBER_PATH_BYTES_MAX: usize = 1024;

/// Bytes before the member list.
pub const MEMBER_HEADER_BYTES: usize = 40;

/// Bytes of one member in the list without its path.
pub const MEMBER_NAME_BYTES: usize = 24;

const _: () = assert!(
    MEMBER_HEADER_BYTES + MEMBERS_MAX * (MEMBER_NAME_BYTES + MEMBER_PATH_BYTES_MAX)
        <= SlotKind::Member.payload_bytes_max()
);

/// The role of a directory in its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds a stripe of the log.
    Stripe(StripeIndex),
    /// It holds checkpoints only.
    Checkpoint,
}

/// The progress of the creation of the channel, or of its present member list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some member may not have the list yet; there is no event yet.
    Creating,
    /// Every member has the list.
    Created,
}

/// One directory of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberName {
    /// Its id.
    pub uuid: Uuid,
    /// Its role.
    pub role: Role,
    /// Its path when the list was written: a hint for messages, only the id counts.
    pub path: String,
}

/// The record of a directory about itself and the other members of its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The channel.
    pub channel: Uuid,
    /// This directory.
    pub me: Uuid,
    /// Its role.
    pub role: Role,
    /// The progress of the creation.
    pub phase: Phase,
    /// All directories of the channel, including this one.
    pub members: Vec<MemberName>,
}

impl Member {
    /// Returns the bytes that [`Member::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let names: usize =
            self.members.iter().map(|m| MEMBER_NAME_BYTES + hint(&m.path).len()).sum();
        MEMBER_HEADER_BYTES + names
    }

    /// Returns the encoded record, the payload of a slot.
    ///
    /// # Errors
    /// [`DecodeError::Bounds`]: there are more than [`MEMBERS_MAX`] members.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        if self.members.len() > MEMBERS_MAX {
            return Err(DecodeError::Bounds);
        }
        let mut out = vec![0; self.encoded_len()];
        let mut w = Writer::new(&mut out);
        w.uuid(&self.channel);
        w.uuid(&self.me);
        write_role(&mut w, self.role);
        w.u16(match self.phase {
            Phase::Creating => 1,
            Phase::Created => 2,
        });
        w.u16(u16::try_from(self.members.len()).map_err(|_| DecodeError::Bounds)?);
        for member in &self.members {
            let path = hint(&member.path);
            w.uuid(&member.uuid);
            write_role(&mut w, member.role);
            w.len(path.len());
            w.bytes(path.as_bytes());
        }
        Ok(out)
    }

    /// Reads a record that takes up all of `payload`.
    ///
    /// # Errors
    /// It is not what [`Member::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let (channel, me) = (r.uuid()?, r.uuid()?);
        let role = read_role(&mut r)?;
        let phase = match r.u16()? {
            1 => Phase::Creating,
            2 => Phase::Created,
            _ => return Err(DecodeError::Field("phase")),
        };
        let count = usize::from(r.u16()?);
        if count > MEMBERS_MAX {
            return Err(DecodeError::Bounds);
        }
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let uuid = r.uuid()?;
            let role = read_role(&mut r)?;
            let path_len = r.len()?;
            if path_len > MEMBER_PATH_BYTES_MAX {
                return Err(DecodeError::Bounds);
            }
            members.push(MemberName { uuid, role, path: r.text(path_len)?.to_owned() });
        }
        r.end()?;
        Ok(Self { channel, me, role, phase, members })
    }
}

/// Returns the part of `path` that a record keeps: its end.
fn hint(path: &str) -> &str {
    let mut from = path.len().saturating_sub(MEMBER_PATH_BYTES_MAX);
    while !path.is_char_boundary(from) {
        from += 1;
    }
    &path[from..]
}

fn write_role(w: &mut Writer<'_>, role: Role) {
    match role {
        Role::Stripe(index) => {
            w.u16(1);
            w.u16(index.0);
        }
        Role::Checkpoint => {
            w.u16(2);
            w.u16(0);
        }
    }
}

fn read_role(r: &mut Reader<'_>) -> Result<Role, DecodeError> {
    match (r.u16()?, r.u16()?) {
        (1, index) if usize::from(index) < STRIPES_MAX => Ok(Role::Stripe(StripeIndex(index))),
        (2, 0) => Ok(Role::Checkpoint),
        _ => Err(DecodeError::Field("role")),
    }
}
