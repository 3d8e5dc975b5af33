//! The directories of a channel: opened, locked, and identified by their member files.

use crate::base::ids::Uuid;
use crate::base::limits::STRIPES_MAX;
use crate::base::mutation::Mutation;
use crate::disk::{Access, Directory, Disk, Entry, Lock, LockError};
use crate::layout::{
    self, AlignedBuffer, CHECKPOINT_NAME, LOCK_NAME, LayoutError, MemberClaim, SlotContents,
    is_own_name, segment_slot,
};
use crate::record::member::{Member, Phase, Role};
use crate::record::slot::SlotKind;
use crate::recovery::error::RecoveryError;
use crate::recovery::options::RecoverOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The role for which a directory was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// `checkpointDir`.
    Checkpoint,
    /// `dataDirs`.
    Data,
}

impl Listed {
    /// Returns the role as text.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint directory",
            Self::Data => "data directory",
        }
    }

    /// Returns the list that has directories of `role`.
    pub(crate) fn of(role: Role) -> Self {
        match role {
            Role::Checkpoint => Self::Checkpoint,
            Role::Stripe(_) => Self::Data,
        }
    }
}

/// Whether a directory is locked before anything in it is read. The lock is a file in the
/// directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// For reading only.
    Never,
    /// Where it has files of a channel. In any other directory, which may be the mount point of an
    /// unmounted disk, no file is left.
    IfUsed,
    /// It becomes part of a channel.
    Always,
}

/// The owner that the log or the checkpoints in a directory name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) channel: Uuid,
    pub(crate) owner: Uuid,
}

/// A listed directory that exists.
pub(crate) struct Present {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) lock: Option<Box<dyn Lock>>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) slots: SlotContents,
    pub(crate) claim: MemberClaim,
    /// Looked up only where the claim alone does not settle what the directory is.
    pub(crate) evidence: Option<Evidence>,
}

/// A listed directory.
pub(crate) struct ListedDir {
    pub(crate) path: PathBuf,
    pub(crate) listed: Listed,
    /// `None` when the directory does not exist, or cannot be used and that is tolerated.
    pub(crate) present: Option<Present>,
    /// Why it cannot be used.
    pub(crate) fault: Option<RecoveryError>,
}

impl ListedDir {
    /// Returns the member record, if there is a whole one.
    pub(crate) fn member(&self) -> Option<&Member> {
        match &self.present {
            Some(Present { claim: MemberClaim::Member(member), .. }) => Some(member),
            _ => None,
        }
    }

    /// Returns whether the channel of this directory was created: its member file says so, or it
    /// has a log, which is not written before.
    pub(crate) fn is_created(&self) -> bool {
        self.member().is_some_and(|m| m.phase == Phase::Created)
            || self.present.as_ref().is_some_and(|p| p.evidence.is_some())
    }

    /// Returns the channel and the member that this directory is, by its member file or else by its
    /// log.
    pub(crate) fn identity(&self) -> Option<Evidence> {
        match self.member() {
            Some(member) => Some(Evidence { channel: member.channel, owner: member.me }),
            None => self.present.as_ref().and_then(|p| p.evidence),
        }
    }
}

/// Opens and reads the listed directories; with `lock`, locks each that has files of a channel
/// before anything in it is read. A data directory that cannot be read or locked counts as missing
/// in a degraded opening, else it is refused. The directories in `without` count as missing too:
/// this opening has failed to write in them.
pub(crate) fn survey(
    disk: &dyn Disk,
    options: &RecoverOptions,
    lock: bool,
    without: &[PathBuf],
) -> Result<Vec<ListedDir>, RecoveryError> {
    let count = options.data_dirs.len();
    if count == 0 || count > STRIPES_MAX {
        return Err(RecoveryError::DirectoryCount { count, max: STRIPES_MAX });
    }
    let listed = options.data_dirs.iter().map(|path| (path, Listed::Data));
    let listed = std::iter::once((&options.checkpoint_dir, Listed::Checkpoint))
        .chain(listed)
        .map(|(path, listed)| ListedDir { path: path.clone(), listed, present: None, fault: None });
    let locking = if lock { Locking::IfUsed } else { Locking::Never };
    let mut places: Vec<ListedDir> = Vec::new();
    let mut seen = Vec::new();
    for mut place in listed {
        if without.contains(&place.path) {
            let source = io::Error::other("writing in it failed");
            place.fault = Some(RecoveryError::Directory { path: place.path.clone(), source });
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
        let refuses = Mutation::LockErrorRefuses.is_active()
            && matches!(opened, Err(RecoveryError::Lock(LockError::Io { .. })));
        let tolerated = options.open_degraded && place.listed == Listed::Data && !refuses;
        match opened {
            Ok(present) => place.present = present,
            // A directory that another process holds is neither missing nor lost.
            Err(
                error @ (RecoveryError::Directory { .. }
                | RecoveryError::File(LayoutError::Read { .. })
                | RecoveryError::Lock(LockError::Io { .. })),
            ) if tolerated => place.fault = Some(error),
            Err(error) => return Err(error),
        }
        if let Some(other) = places.iter().find(|p| p.path == place.path) {
            return Err(RecoveryError::SameDirectory {
                path: place.path,
                other: other.path.clone(),
            });
        }
        places.push(place);
    }
    Ok(places)
}

/// A directory's identity, and the path it was listed under.
pub(crate) type Seen = ((u64, u64), PathBuf);

/// Refuses a directory that was seen before under any path.
pub(crate) fn unique(
    seen: &mut Vec<Seen>,
    path: &Path,
    directory: &dyn Directory,
) -> Result<(), RecoveryError> {
    let identity = directory
        .identity()
        .map_err(|source| RecoveryError::Directory { path: path.to_owned(), source })?;
    if let Some((_, other)) = seen.iter().find(|(known, _)| *known == identity) {
        return Err(RecoveryError::SameDirectory { path: path.to_owned(), other: other.clone() });
    }
    seen.push((identity, path.to_owned()));
    Ok(())
}

fn open_existing(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Arc<dyn Directory>>, RecoveryError> {
    match disk.open_dir(path, false) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecoveryError::directory(path.to_owned(), source)),
    }
}

/// Returns whether a channel or Flume's has put a file into a directory, or is about to.
fn is_used(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| is_own_name(&entry.name) || segment_slot(&entry.name).is_some())
}

/// Locks (if so configured) and reads one directory.
pub(crate) fn look(
    directory: Arc<dyn Directory>,
    locking: Locking,
) -> Result<Present, RecoveryError> {
    let list = || {
        let listed = directory.list().or_else(|_| directory.list());
        listed.map_err(|source| RecoveryError::directory(directory.path().to_owned(), source))
    };
    let mut entries = match locking {
        Locking::Always => Vec::new(),
        Locking::Never | Locking::IfUsed => list()?,
    };
    let mut lock = None;
    if locking == Locking::Always || locking == Locking::IfUsed && is_used(&entries) {
        lock = Some(directory.lock(LOCK_NAME).map_err(RecoveryError::lock)?);
        // The previous holder of the lock may have changed the contents.
        entries = list()?;
    }
    let mut buffer = AlignedBuffer::small()?;
    let (slots, claim) = layout::read_member(&*directory, &mut buffer)?;
    let settled = matches!(&claim, MemberClaim::Member(m) if m.phase == Phase::Created);
    let mut present = Present { directory, lock, entries, slots, claim, evidence: None };
    if !settled {
        present.evidence = evidence(&present, &mut buffer)?;
    }
    Ok(present)
}

/// Returns the owner that the checkpoints in a directory name; if they name none, the owner that
/// all the segments name. A foreign segment may be among its own, and be the only one whose header
/// is whole.
fn evidence(
    present: &Present,
    buffer: &mut AlignedBuffer,
) -> Result<Option<Evidence>, LayoutError> {
    let directory = &*present.directory;
    let mut owners: Vec<Evidence> = Vec::new();
    for entry in present.entries.iter().filter(|e| segment_slot(&e.name).is_some()) {
        if let Some((_, header)) = layout::segment_header(directory, &entry.name, buffer)? {
            owners.push(Evidence { channel: header.channel, owner: header.stripe });
        }
    }
    if let Some(file) = layout::open_file(directory, CHECKPOINT_NAME, Access::Read)? {
        let slots = layout::read_slots(&*file, SlotKind::Checkpoint, buffer)?;
        if let Some(whole) = slots.newest() {
            return Ok(Some(Evidence { channel: whole.channel, owner: whole.owner }));
        }
    }
    Ok(owners.first().filter(|first| owners.iter().all(|o| o == *first)).copied())
}
