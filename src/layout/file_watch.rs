//! Whether the files in use are still those that the next opening will find.

use super::names::{CHECKPOINT_NAME, segment_name};
use crate::disk::{Directory, File};
use std::fmt;

/// A change of a segment file that is in use, made from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentChange {
    /// Its name is gone, and the file with it.
    Removed,
    /// Its name leads to another file.
    Replaced,
    /// It has another name.
    Moved,
    /// It has another name, and its name leads to another file.
    MovedAndReplaced,
    /// It is shorter than it was.
    CutShort {
        /// Bytes that it had.
        from: u64,
        /// Bytes that it has.
        to: u64,
    },
}

impl fmt::Display for SegmentChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed => f.write_str("was removed"),
            Self::Replaced => f.write_str("was replaced by another file"),
            Self::Moved => f.write_str("was moved away"),
            Self::MovedAndReplaced => {
                f.write_str("was moved away, and another file put in its place,")
            }
            Self::CutShort { from, to } => write!(f, "was cut short from {from} to {to} bytes"),
        }
    }
}

/// Returns how the segment file in slot `slot`, opened as `file` with `len` bytes, was changed;
/// `None` also where the file system cannot tell.
pub(crate) fn segment_change(
    directory: &dyn Directory,
    slot: u32,
    file: &dyn File,
    len: u64,
) -> Option<SegmentChange> {
    let named = || directory.identity_of(&segment_name(slot));
    match file.named_len().ok()? {
        None => Some(match named() {
            Ok(Some(_)) => SegmentChange::Replaced,
            _ => SegmentChange::Removed,
        }),
        Some(now) if now < len => Some(SegmentChange::CutShort { from: len, to: now }),
        Some(_) => {
            let (named, own) = (named().ok()?, file.identity().ok()?);
            match named {
                None => Some(SegmentChange::Moved),
                Some(other) if other != own => Some(SegmentChange::MovedAndReplaced),
                Some(_) => None,
            }
        }
    }
}

/// Returns whether the path leads to the directory, and its checkpoints are there.
pub(crate) fn is_in_place(directory: &dyn Directory) -> bool {
    matches!(directory.is_at_its_path(), Ok(true))
        && matches!(directory.holds(CHECKPOINT_NAME), Ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::real::RealDisk;

    #[test]
    #[allow(clippy::disallowed_methods)] // the test replaces the file as another process would
    fn a_file_that_another_one_has_replaced_is_not_said_to_be_removed() {
        let temp = tempfile::tempdir().expect("a directory");
        let directory = RealDisk::default().open_dir(temp.path(), false).expect("opened");
        let path = temp.path().join(segment_name(7));
        let file = directory.create(&segment_name(7)).expect("made");
        let change = || segment_change(&*directory, 7, &*file, 0);
        assert_eq!(change(), None);
        std::fs::write(temp.path().join("other"), b"").expect("written");
        std::fs::rename(temp.path().join("other"), &path).expect("renamed");
        assert_eq!(change(), Some(SegmentChange::Replaced));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(change(), Some(SegmentChange::Removed));
    }
}
