//! Member records: which directories make up a channel. Every directory has the whole list.
//!
//! A channel is created in two phases: every member durably says [`Phase::Creating`], and when all
//! do, each durably says [`Phase::Created`]; then comes the first block. So whoever finds one
//! member that says created knows that there may be events, and that a missing member is missing.

use super::Refusal;
use super::cursor::{Reader, Writer};
use super::slot::SlotKind;
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::limits::STRIPES_MAX;

/// Members of one channel: its stripes and the checkpoint directory.
pub const MEMBERS_MAX: usize = STRIPES_MAX + 1;

/// Bytes of a path in a member record. Paths are hints for messages, so a longer one keeps its
/// end only.
pub const MEMBER_PATH_BYTES_MAX: usize = 1024;

/// Bytes in front of the member list.
pub const MEMBER_HEADER_BYTES: usize = 40;

/// Bytes of one member in the list without its path.
pub const MEMBER_NAME_BYTES: usize = 24;

const _: () = assert!(
    MEMBER_HEADER_BYTES + MEMBERS_MAX * (MEMBER_NAME_BYTES + MEMBER_PATH_BYTES_MAX)
        <= SlotKind::Member.payload_bytes_max()
);

/// What a directory is to its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds a stripe of the log.
    Stripe(StripeIndex),
    /// It holds checkpoints only.
    Checkpoint,
}

/// How far the creation of the channel, or of its present member list, has come.
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
    /// What it is.
    pub role: Role,
    /// Where it was when the list was written: a hint for messages, the id alone counts.
    pub path: String,
}

/// What a directory of a channel says of itself and of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The channel.
    pub channel: Uuid,
    /// This directory.
    pub me: Uuid,
    /// What it is.
    pub role: Role,
    /// How far creation has come.
    pub phase: Phase,
    /// All directories of the channel, this one too.
    pub members: Vec<MemberName>,
}

impl Member {
    /// Bytes that [`Member::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let names: usize =
            self.members.iter().map(|m| MEMBER_NAME_BYTES + hint(&m.path).len()).sum();
        MEMBER_HEADER_BYTES + names
    }

    /// The record as bytes, the payload of a slot.
    ///
    /// # Errors
    /// [`Refusal::Bounds`]: there are more than [`MEMBERS_MAX`] members.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        if self.members.len() > MEMBERS_MAX {
            return Err(Refusal::Bounds);
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
        w.u16(u16::try_from(self.members.len()).map_err(|_| Refusal::Bounds)?);
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
    pub fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        let mut r = Reader::new(payload);
        let (channel, me) = (r.uuid()?, r.uuid()?);
        let role = read_role(&mut r)?;
        let phase = match r.u16()? {
            1 => Phase::Creating,
            2 => Phase::Created,
            _ => return Err(Refusal::Field("phase")),
        };
        let count = usize::from(r.u16()?);
        if count > MEMBERS_MAX {
            return Err(Refusal::Bounds);
        }
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let uuid = r.uuid()?;
            let role = read_role(&mut r)?;
            let path_len = r.len()?;
            if path_len > MEMBER_PATH_BYTES_MAX {
                return Err(Refusal::Bounds);
            }
            members.push(MemberName { uuid, role, path: r.text(path_len)?.to_owned() });
        }
        r.end()?;
        Ok(Self { channel, me, role, phase, members })
    }
}

/// The end of `path` that a record keeps.
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

fn read_role(r: &mut Reader<'_>) -> Result<Role, Refusal> {
    match (r.u16()?, r.u16()?) {
        (1, index) if usize::from(index) < STRIPES_MAX => Ok(Role::Stripe(StripeIndex(index))),
        (2, 0) => Ok(Role::Checkpoint),
        _ => Err(Refusal::Field("role")),
    }
}
