//! Errors of opening a channel.

use crate::base::codes::{self, Code, Coded};
use crate::base::ids::Uuid;
use crate::base::quantity::Quantity;
use crate::base::setting;
use crate::disk::{LockError, is_out_of_descriptors};
use crate::layout::LayoutError;
use std::io;
use std::path::PathBuf;

/// Why a channel did not open. None of these loses acknowledged data: each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// No data directory, or more than a channel has.
    #[error(
        "a channel has 1 to {max} data directories, {count} are listed; change {} ({code})",
        setting::DATA_DIRS, code = self.code()
    )]
    DirectoryCount {
        /// Directories listed.
        count: usize,
        /// Directories a channel has at most.
        max: usize,
    },
    /// One directory is listed twice, perhaps under two names.
    #[error(
        "{path} and {other} are the same directory; list each directory once in {} and {} ({code})",
        setting::CHECKPOINT_DIR, setting::DATA_DIRS,
        path = path.display(), other = other.display(), code = self.code()
    )]
    SameDirectory {
        /// The directory listed later.
        path: PathBuf,
        /// The directory listed earlier.
        other: PathBuf,
    },
    /// A directory cannot be opened, made or listed.
    #[error("cannot use the directory {path}: {source}; check that it is mounted, a directory, and writable ({code})", path = path.display(), code = self.code())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A directory is in use, or cannot be locked.
    #[error("{held}; {way} ({code})", held = .0, way = lock_advice(.0), code = self.code())]
    Lock(#[from] LockError),
    /// A member of a created channel is missing. Nothing is created in its place: an unmounted disk
    /// would be mistaken for an empty one.
    #[error(
        "{role} {member} of the channel {channel}, last seen as {last_path}, is {what}; mount or restore it and list it in {key}, \
         or open degraded (without its events) by the setting {} = true ({code})",
        setting::OPEN_DEGRADED, last_path = last_path.display(),
        key = if role.starts_with('c') { setting::CHECKPOINT_DIR } else { setting::DATA_DIRS }, code = self.code()
    )]
    MemberMissing {
        /// The channel.
        channel: Uuid,
        /// The member.
        member: Uuid,
        /// "data directory" or "checkpoint directory".
        role: &'static str,
        /// Its path when it was last opened.
        last_path: PathBuf,
        /// Missing, or listed but empty: as text.
        what: String,
    },
    /// A directory belongs to another channel.
    #[error(
        "{path} belongs to the channel {found}, not to {expected}; correct {} or {} ({code})",
        setting::CHECKPOINT_DIR, setting::DATA_DIRS,
        path = path.display(), code = self.code()
    )]
    ForeignMember {
        /// The directory.
        path: PathBuf,
        /// The channel that it belongs to.
        found: Uuid,
        /// The channel that is being opened.
        expected: Uuid,
    },
    /// A directory has another role in the channel than the one it is listed for.
    #[error(
        "{path} is the {found} of the channel {channel} but is listed as {listed}; correct {} and {} ({code})",
        setting::CHECKPOINT_DIR, setting::DATA_DIRS,
        path = path.display(), code = self.code()
    )]
    WrongRole {
        /// The directory.
        path: PathBuf,
        /// The channel.
        channel: Uuid,
        /// What it is.
        found: &'static str,
        /// What it is listed as.
        listed: &'static str,
    },
    /// A directory without a member file has a log in it, and no other member names it.
    #[error(
        "{path} holds segments of the channel {channel} but no readable member file, and no other directory names them; \
         list every directory of that channel, or move the files away; if the member files of all of them are lost, millpond channel repair makes them again from the logs ({code})",
        path = path.display(), code = self.code()
    )]
    Orphan {
        /// The directory.
        path: PathBuf,
        /// The channel its segments name.
        channel: Uuid,
    },
    /// A new channel was to be created in the place of a file channel of Apache Flume.
    #[error(
        "{path} holds a file channel of Apache Flume ({file}): a new channel would hide the events that wait in it; \
         let Flume drain it and move its files away, or give this channel directories of its own; nothing was changed ({code})",
        path = path.display(), code = self.code()
    )]
    FlumeChannel {
        /// The directory.
        path: PathBuf,
        /// A file of Flume's in it.
        file: String,
    },
    /// A directory names a number so high that no channel reaches it.
    #[error(
        "{path} names {what} with the number {number}, which no channel reaches: it was not written by millpond, or the machine's memory is faulty; \
         bring back a copy of the directories; nothing was changed ({code})",
        path = path.display(), code = self.code()
    )]
    UsedUp {
        /// The directory; `checkpointDir` for what belongs to no stripe.
        path: PathBuf,
        /// What has the number.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// Segments of one directory of the channel are in another, and are missing where they belong.
    #[error("segments are in the wrong directory of the channel: move {list}, then open again; nothing was given up ({code})", list = listed(.moves), code = self.code())]
    Misplaced {
        /// Source and destination of each move.
        moves: Vec<(PathBuf, PathBuf)>,
    },
    /// Segments that hold events, or the end of a log, are missing.
    #[error(
        "segment files are missing: {list}; nothing was changed: put the files back into that directory (they are known by what is in them, their names do not count), \
         or give up what was in them by the setting openWithoutMissingSegments = true (on the command line --without-missing-segments) ({code})",
        list = shortened(.missing), code = self.code()
    )]
    SegmentsMissing {
        /// What is missing, by place in a log.
        missing: Vec<MissingSegments>,
    },
    /// Two directories are the same member: one is a copy of the other.
    #[error(
        "{path} and {other} both are the member {member} of the channel {channel}: one is a copy of the other; list the directory that belongs in its place, and move the copy away ({code})",
        path = path.display(), other = other.display(), code = self.code()
    )]
    Twins {
        /// The one listed first.
        path: PathBuf,
        /// The one listed later.
        other: PathBuf,
        /// The member.
        member: Uuid,
        /// The channel.
        channel: Uuid,
    },
    /// No directory has a readable member file, and the logs do not tell which directories belong
    /// together.
    #[error(
        "no directory of the channel {channel} has a readable member file, and they cannot be made again: {why}; nothing was changed ({code})", code = self.code()
    )]
    MembersUnknown {
        /// The channel that the logs name.
        channel: Uuid,
        /// What is missing or contradictory.
        why: String,
    },
    /// There is no channel in the directories (only where none may be created).
    #[error("there is no channel in {path}: {what} ({code})", path = path.display(), code = self.code())]
    NoChannel {
        /// The first directory inspected.
        path: PathBuf,
        /// What was found instead.
        what: String,
    },
    /// A file of the channel cannot be read, created or written, or is of another build. Nothing
    /// was voided.
    #[error("{}{} ({code})", .0, file_advice(.0), code = self.code())]
    File(#[from] LayoutError),
}

impl Coded for RecoveryError {
    fn code(&self) -> &'static Code {
        match self {
            Self::DirectoryCount { .. } => &codes::DIRECTORY_COUNT,
            Self::SameDirectory { .. } => &codes::DIRECTORY_TWICE,
            Self::Directory { .. } => &codes::DIRECTORY_UNUSABLE,
            Self::Lock(_) => &codes::CHANNEL_LOCKED,
            Self::MemberMissing { .. } => &codes::MEMBER_MISSING,
            Self::ForeignMember { .. } => &codes::MEMBER_FOREIGN,
            Self::WrongRole { .. } => &codes::MEMBER_WRONG_ROLE,
            Self::Orphan { .. } => &codes::MEMBER_ORPHAN,
            Self::FlumeChannel { .. } => &codes::FLUME_CHANNEL,
            Self::UsedUp { .. } => &codes::NUMBER_USED_UP,
            Self::Misplaced { .. } => &codes::SEGMENT_MISPLACED,
            Self::SegmentsMissing { .. } => &codes::SEGMENT_MISSING,
            Self::Twins { .. } => &codes::MEMBER_TWINS,
            Self::MembersUnknown { .. } => &codes::MEMBERS_UNKNOWN,
            Self::NoChannel { .. } => &codes::NO_CHANNEL,
            Self::File(error) => code_of(error),
        }
    }
}

/// A place in the log of a data directory where segment files are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSegments {
    /// The data directory.
    pub directory: PathBuf,
    /// Waiting events that are named elsewhere; more may have been there.
    pub events: u64,
    /// Their sequences, `start..end`, if there are any.
    pub sequences: Option<(u64, u64)>,
    /// Whether the segment in which the log ends is among them: then what was put last is unknown.
    pub end: bool,
}

impl std::fmt::Display for MissingSegments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "in {} ", self.directory.display())?;
        match (self.sequences, self.end) {
            (Some((start, end)), _) => {
                write!(
                    f,
                    "those with {} that wait{} (sequences {start} to {})",
                    Quantity(self.events, "event"),
                    if self.events == 1 { "s" } else { "" },
                    end - 1
                )?;
                if self.end { write!(f, ", and the one in which the log ends") } else { Ok(()) }
            }
            (None, _) => write!(f, "the one in which the log ends"),
        }
    }
}

/// Places listed in a message.
const PLACES_SHOWN_MAX: usize = 20;

fn shortened(missing: &[MissingSegments]) -> String {
    let shown = missing.iter().take(PLACES_SHOWN_MAX).map(MissingSegments::to_string);
    let list = shown.collect::<Vec<_>>().join("; ");
    match missing.len().saturating_sub(PLACES_SHOWN_MAX) {
        0 => list,
        more => format!("{list}; and in {more} more places"),
    }
}

/// Moves listed in a message.
const MOVES_SHOWN_MAX: usize = 20;

fn listed(moves: &[(PathBuf, PathBuf)]) -> String {
    let shown = moves.iter().take(MOVES_SHOWN_MAX);
    let shown = shown.map(|(from, to)| format!("{} to {}", from.display(), to.display()));
    let list = shown.collect::<Vec<_>>().join(", ");
    match moves.len().saturating_sub(MOVES_SHOWN_MAX) {
        0 => list,
        more => format!("{list}, and {more} more"),
    }
}

impl RecoveryError {
    /// Returns the error of a directory that could not be used.
    pub(super) fn directory(path: PathBuf, source: io::Error) -> Self {
        match is_out_of_descriptors(&source) {
            true => LayoutError::Descriptors { path, source }.into(),
            false => Self::Directory { path, source },
        }
    }

    /// Returns the error of a directory that could not be locked.
    pub(super) fn lock(error: LockError) -> Self {
        match error {
            LockError::Io { path, source } if is_out_of_descriptors(&source) => {
                LayoutError::Descriptors { path, source }.into()
            }
            error => Self::Lock(error),
        }
    }
}

fn code_of(error: &LayoutError) -> &'static Code {
    match error {
        LayoutError::Read { .. } => &codes::OPENING_UNREADABLE,
        LayoutError::Descriptors { .. } => &codes::OUT_OF_DESCRIPTORS,
        LayoutError::Newer { .. } => &codes::FORMAT_NEWER,
        LayoutError::TooLarge { .. } => &codes::RECORD_TOO_LARGE,
        LayoutError::Memory { .. } => &codes::OUT_OF_MEMORY,
        LayoutError::Create { .. }
        | LayoutError::Write { .. }
        | LayoutError::Remove { .. }
        | LayoutError::QuarantineFull { .. } => &codes::OPENING_UNWRITABLE,
    }
}

fn file_advice(error: &LayoutError) -> String {
    let text = match error {
        LayoutError::Read { .. } => {
            return format!(
                "; nothing was given up: check the disk, or open degraded (without this directory's events) by the setting {} = true",
                setting::OPEN_DEGRADED
            );
        }
        LayoutError::Descriptors { .. } => {
            "; raise the limit of open files (ulimit -n, LimitNOFILE=): a channel needs two for each segment in use; nothing is wrong with the disk"
        }
        LayoutError::Newer { .. } => "; use a newer build",
        LayoutError::TooLarge { .. } => "; use the build that wrote the channel last",
        LayoutError::Memory { .. } => "",
        LayoutError::Create { .. }
        | LayoutError::Write { .. }
        | LayoutError::Remove { .. }
        | LayoutError::QuarantineFull { .. } => "; free space or check the disk, then open again",
    };
    text.to_owned()
}

fn lock_advice(error: &LockError) -> &'static str {
    match error {
        LockError::Held { .. } => {
            "stop the other agent, or give this channel directories of its own"
        }
        LockError::Io { .. } => {
            "check that this user may write there, that there is room, and that it is not mounted read-only"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_descriptors_is_not_taken_for_a_broken_disk() {
        let out = || io::Error::from_raw_os_error(libc::EMFILE);
        let path = || PathBuf::from("/d/segment-00000.log");
        for error in [
            LayoutError::read(path(), 0, out()).into(),
            RecoveryError::directory(path(), out()),
            RecoveryError::lock(LockError::Io { path: path(), source: out() }),
        ] {
            // A degraded opening leaves out what is unreadable, but must not leave out this.
            assert!(
                matches!(error, RecoveryError::File(LayoutError::Descriptors { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("ulimit -n"), "{error}");
        }
        let broken = || io::Error::from_raw_os_error(libc::EIO);
        assert!(matches!(LayoutError::read(path(), 0, broken()), LayoutError::Read { .. }));
        let held = RecoveryError::lock(LockError::Held { path: path(), holder: None });
        assert!(matches!(held, RecoveryError::Lock(_)));
    }
}
