//! The directories of a channel: opened, locked, and asked which channel they belong to.

use super::buffer::{self, Buffer};
use super::slots::{self, Slots};
use super::{CHECKPOINT_NAME, LOCK_NAME, MEMBER_NAME, OpenError, RecoverOptions};
use crate::base::ids::Uuid;
use crate::base::limits::STRIPES_MAX;
use crate::base::mutant::Broken;
use crate::disk::{Access, Directory, Disk, Entry, Lock, LockError};
use crate::record::member::{Member, Phase, Role};
use crate::record::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a directory was listed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// `checkpointDir`.
    Checkpoint,
    /// `dataDirs`.
    Data,
}

impl Listed {
    /// The part in words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint directory",
            Self::Data => "data directory",
        }
    }

    /// The part that `role` has.
    pub(super) fn of(role: Role) -> Self {
        match role {
            Role::Checkpoint => Self::Checkpoint,
            Role::Stripe(_) => Self::Data,
        }
    }
}

/// What a directory says of itself.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    /// Nothing: no member file, or one that was never written to.
    Nothing,
    /// Its member file has bytes, none of them whole.
    Damaged,
    /// A whole member record.
    Member(Member),
}

/// Whether a directory is locked before anything in it is read. The lock is a file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// By nobody who only looks.
    Never,
    /// Where it has files of a channel. In any other, which may be where a disk is not mounted, nothing is left.
    IfUsed,
    /// It becomes part of a channel.
    Always,
}

/// Who wrote the log or the checkpoints in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) channel: Uuid,
    pub(super) owner: Uuid,
}

/// A listed directory that exists.
pub(super) struct Present {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) lock: Option<Box<dyn Lock>>,
    pub(super) entries: Vec<Entry>,
    pub(super) slots: Slots,
    pub(super) claim: Claim,
    /// Looked up only where the claim alone does not settle what the directory is.
    pub(super) evidence: Option<Evidence>,
}

/// A listed directory.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) listed: Listed,
    /// `None` when there is no such directory, or it cannot be used and that is tolerated.
    pub(super) present: Option<Present>,
    /// Why it cannot be used.
    pub(super) trouble: Option<OpenError>,
}

impl Place {
    /// The member record, if there is a whole one.
    pub(super) fn member(&self) -> Option<&Member> {
        match &self.present {
            Some(Present { claim: Claim::Member(member), .. }) => Some(member),
            _ => None,
        }
    }

    /// Whether the channel this directory belongs to was created: it says so, or it has a log,
    /// which nobody writes before.
    pub(super) fn is_created(&self) -> bool {
        self.member().is_some_and(|m| m.phase == Phase::Created)
            || self.present.as_ref().is_some_and(|p| p.evidence.is_some())
    }

    /// The channel and the member that this directory is, by its member file or else by its log.
    pub(super) fn identity(&self) -> Option<Evidence> {
        match self.member() {
            Some(member) => Some(Evidence { channel: member.channel, owner: member.me }),
            None => self.present.as_ref().and_then(|p| p.evidence),
        }
    }
}

/// Opens and reads the listed directories; with `lock`, locks each that has files of a channel before anything in it
/// is read.
/// A data directory that cannot be read or locked counts as missing in a degraded opening, else it is
/// refused. So do those in `without`: this opening has failed to write in them.
pub(super) fn survey(
    disk: &dyn Disk,
    options: &RecoverOptions,
    lock: bool,
    without: &[PathBuf],
) -> Result<Vec<Place>, OpenError> {
    let count = options.data_dirs.len();
    if count == 0 || count > STRIPES_MAX {
        return Err(OpenError::DirectoryCount { count, max: STRIPES_MAX });
    }
    let listed = options.data_dirs.iter().map(|path| (path, Listed::Data));
    let listed = std::iter::once((&options.checkpoint_dir, Listed::Checkpoint))
        .chain(listed)
        .map(|(path, listed)| Place { path: path.clone(), listed, present: None, trouble: None });
    let locking = if lock { Locking::IfUsed } else { Locking::Never };
    let mut places: Vec<Place> = Vec::new();
    let mut seen = Vec::new();
    for mut place in listed {
        if without.contains(&place.path) {
            let source = io::Error::other("writing in it failed");
            place.trouble = Some(OpenError::Directory { path: place.path.clone(), source });
            places.push(place);
            continue;
        }
        let opened = match open_existing(disk, &place.path) {
            Ok(Some(directory)) => {
                unique(&mut seen, &place.path, &*directory)?;
                look(directory, locking).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let refuses = Broken::LockErrorRefuses.is_chosen()
            && matches!(opened, Err(OpenError::Lock(LockError::Io { .. })));
        let tolerated = options.open_degraded && place.listed == Listed::Data && !refuses;
        match opened {
            Ok(present) => place.present = present,
            // One that another process has is neither missing nor lost.
            Err(
                error @ (OpenError::Directory { .. }
                | OpenError::Unreadable { .. }
                | OpenError::Lock(LockError::Io { .. })),
            ) if tolerated => place.trouble = Some(error),
            Err(error) => return Err(error),
        }
        if let Some(other) = places.iter().find(|p| p.path == place.path) {
            return Err(OpenError::SameDirectory { path: place.path, other: other.path.clone() });
        }
        places.push(place);
    }
    Ok(places)
}

/// A directory's identity, and the path it was listed under.
pub(super) type Seen = ((u64, u64), PathBuf);

/// Refuses a directory that was seen before, whatever its path.
pub(super) fn unique(
    seen: &mut Vec<Seen>,
    path: &Path,
    directory: &dyn Directory,
) -> Result<(), OpenError> {
    let identity = directory
        .identity()
        .map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
    if let Some((_, other)) = seen.iter().find(|(known, _)| *known == identity) {
        return Err(OpenError::SameDirectory { path: path.to_owned(), other: other.clone() });
    }
    seen.push((identity, path.to_owned()));
    Ok(())
}

fn open_existing(disk: &dyn Disk, path: &Path) -> Result<Option<Arc<dyn Directory>>, OpenError> {
    match disk.open_dir(path, false) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::directory(path.to_owned(), source)),
    }
}

/// Whether a channel or Flume's has put a file into a directory, or is about to.
fn is_used(entries: &[Entry]) -> bool {
    let is_own = |name: &str| [LOCK_NAME, MEMBER_NAME, CHECKPOINT_NAME].contains(&name);
    entries.iter().any(|entry| is_own(&entry.name) || segment::slot_of(&entry.name).is_some())
}

/// Locks (if told to) and reads one directory.
pub(super) fn look(directory: Arc<dyn Directory>, locking: Locking) -> Result<Present, OpenError> {
    let list = || {
        let listed = directory.list().or_else(|_| directory.list());
        listed.map_err(|source| OpenError::directory(directory.path().to_owned(), source))
    };
    let mut entries = match locking {
        Locking::Always => Vec::new(),
        Locking::Never | Locking::IfUsed => list()?,
    };
    let mut lock = None;
    if locking == Locking::Always || locking == Locking::IfUsed && is_used(&entries) {
        lock = Some(directory.lock(LOCK_NAME).map_err(OpenError::lock)?);
        // Who had it until now may have changed what is there.
        entries = list()?;
    }
    let mut buffer = Buffer::small()?;
    let slots = match slots::open(&*directory, MEMBER_NAME, Access::Read)? {
        Some(file) => slots::read(&*file, SlotKind::Member, &mut buffer)?,
        None => Slots::default(),
    };
    // The newest record that decodes counts; the payload is under the slot's checksum, so one
    // that does not was written by something else.
    let member = slots.whole.iter().rev().find_map(|whole| {
        let member = Member::decode(&whole.payload).ok()?;
        (member.channel == whole.channel && member.me == whole.owner).then_some(member)
    });
    let claim = match member {
        Some(member) => Claim::Member(member),
        None if slots.is_blank() => Claim::Nothing,
        None => Claim::Damaged,
    };
    let settled = matches!(&claim, Claim::Member(m) if m.phase == Phase::Created);
    let mut present = Present { directory, lock, entries, slots, claim, evidence: None };
    if !settled {
        present.evidence = evidence(&present, &mut buffer)?;
    }
    Ok(present)
}

/// Who wrote the checkpoints in a directory; if nobody can tell, who wrote all the segments. A
/// stranger's segment may lie among its own, and be the only one whose header is whole.
fn evidence(present: &Present, buffer: &mut Buffer) -> Result<Option<Evidence>, OpenError> {
    let directory = &*present.directory;
    let mut owners: Vec<Evidence> = Vec::new();
    for entry in present.entries.iter().filter(|e| segment::slot_of(&e.name).is_some()) {
        let Some(file) = slots::open(directory, &entry.name, Access::Read)? else { continue };
        let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
        let len = buffer::read(&*file, 0, bytes)?;
        if let Ok(header) = SegmentHeader::decode(&bytes[..len]) {
            owners.push(Evidence { channel: header.channel, owner: header.stripe });
        }
    }
    if let Some(file) = slots::open(directory, CHECKPOINT_NAME, Access::Read)? {
        let slots = slots::read(&*file, SlotKind::Checkpoint, buffer)?;
        if let Some(whole) = slots.newest() {
            return Ok(Some(Evidence { channel: whole.channel, owner: whole.owner }));
        }
    }
    Ok(owners.first().filter(|first| owners.iter().all(|o| o == *first)).copied())
}
