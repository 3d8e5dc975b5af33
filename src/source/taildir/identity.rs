//! By what a file is known again: two that begin alike, and one that was written anew, are told apart.
//!
//! A number in a file system is given to another file once a file is gone, and names change. So a file
//! is the one that was read when its number is the same, its first bytes, the bytes in front of the place
//! up to which it was read, and the time at which it was made, as far as its file system tells that. The
//! number of the file system decides only between several that fit: it changes with a reboot.

use super::tails::FileId;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::UNIX_EPOCH;

/// Bytes at the start of a file, and in front of the place up to which it was read, by which it is known
/// again.
pub(super) const PRINT_BYTES: usize = 256;

/// A checksum over the first bytes of a file: another file that got the same number has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print {
    /// Bytes that count, [`PRINT_BYTES`] at most.
    pub(super) len: u16,
    pub(super) crc: u32,
}

impl Print {
    /// Of the first bytes of a file, of which at most [`PRINT_BYTES`] are given.
    pub(super) fn of(start: &[u8]) -> Self {
        let start = &start[..start.len().min(PRINT_BYTES)];
        Self { len: start.len() as u16, crc: crc32fast::hash(start) }
    }

    /// Whether a file that begins with `start` may be the one of this print.
    pub(super) fn fits(self, start: &[u8]) -> bool {
        start.get(..usize::from(self.len)).is_some_and(|start| Self::of(start) == self)
    }
}

/// A checksum over the bytes in front of a place: a file that begins alike and was written anew has others
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The place.
    pub(super) at: u64,
    pub(super) crc: u32,
}

impl Ending {
    /// Of the bytes in front of `at`, [`PRINT_BYTES`] at most.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter ([`io::ErrorKind::UnexpectedEof`]).
    pub(super) fn of(file: &File, at: u64) -> io::Result<Self> {
        let len = at.min(PRINT_BYTES as u64);
        let mut bytes = [0; PRINT_BYTES];
        let bytes = &mut bytes[..len as usize];
        file.read_exact_at(bytes, at - len)?;
        Ok(Self { at, crc: crc32fast::hash(bytes) })
    }

    /// Whether the file has these bytes there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn fits(self, file: &File) -> io::Result<bool> {
        match Self::of(file, self.at) {
            Ok(found) => Ok(found == self),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// By what a file is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its number in its file system.
    pub(super) inode: u64,
    /// The file system's number, where it was noted.
    pub(super) device: Option<u64>,
    /// When it was made, in nanoseconds since 1970, where its file system tells.
    pub(super) born_ns: Option<i64>,
    /// Of its first bytes.
    pub(super) print: Print,
    /// Of the last bytes that were read, where it was noted.
    pub(super) ending: Option<Ending>,
}

impl Identity {
    /// Of a file that is there, of which nothing was read.
    pub(super) fn unread(id: FileId, born_ns: Option<i64>) -> Self {
        let (device, inode) = id;
        Self { inode, device: Some(device), born_ns, print: Print::default(), ending: None }
    }

    /// What the file that is there now, begins with `start` and is open, is to the one of this identity.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn compare(
        &self,
        now: &Identity,
        file: &File,
        start: &[u8],
    ) -> io::Result<Likeness> {
        let born = self.born_ns.zip(now.born_ns).is_none_or(|(then, now)| then == now);
        if self.inode != now.inode || !born || !self.print.fits(start) {
            return Ok(Likeness::Other);
        }
        Ok(match self.ending {
            Some(ending) if !ending.fits(file)? => Likeness::Rewritten,
            _ => Likeness::Same,
        })
    }
}

/// What a file is to one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It is that file.
    Same,
    /// It may be that file and begins alike, and was cut or written anew since.
    Rewritten,
    /// It is another.
    Other,
}

/// When the file was made, in nanoseconds since 1970, where its file system tells.
pub(super) fn born_ns(found: &Metadata) -> Option<i64> {
    let since = found.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_fits_files_that_begin_so() {
        let print = Print::of(b"abc");
        assert!(print.fits(b"abc") && print.fits(b"abcdef"));
        assert!(!print.fits(b"ab") && !print.fits(b"abd"));
        assert!(Print::default().fits(b""));
        assert_eq!(Print::of(&[1; 1000]), Print::of(&[1; PRINT_BYTES]));
    }

    #[test]
    fn an_ending_tells_files_apart_that_begin_alike() {
        let directory = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            std::fs::write(directory.path().join("f"), text).unwrap();
            crate::base::files::open(&directory.path().join("f")).unwrap()
        };
        let head = "#".repeat(300);
        let ending = Ending::of(&file(&format!("{head}one\n")), 304).unwrap();
        assert!(ending.fits(&file(&format!("{head}one\nmore"))).unwrap());
        assert!(!ending.fits(&file(&format!("{head}two\nmore"))).unwrap());
        assert!(!ending.fits(&file(&head)).unwrap(), "shorter");
        assert!(Ending::of(&file(""), 0).unwrap().fits(&file("x")).unwrap());
    }
}
