//! The identity of a file; distinguishes files with equal beginnings and files that were rewritten.
//!
//! Inode numbers are reused after a deletion, and names change. So a file is the one that was read if these are
//! equal: the inode, its first bytes, the bytes before the offset up to which it was read, and the creation time if
//! the file system provides it. The device number decides only between several matches: it changes with a reboot.

use super::inode::InodeId;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::UNIX_EPOCH;

/// Bytes of each checksum: at the start of a file, and before the offset up to which it was read.
pub(super) const PRINT_BYTES: usize = 256;

/// A checksum over the first bytes of a file: differs when another file gets the same inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StartChecksum {
    /// Number of checked bytes, at most [`PRINT_BYTES`].
    pub(super) len: u16,
    pub(super) crc: u32,
}

impl StartChecksum {
    /// Computes the checksum of the first bytes of a file, at most [`PRINT_BYTES`].
    pub(super) fn of(start: &[u8]) -> Self {
        let start = &start[..start.len().min(PRINT_BYTES)];
        Self { len: start.len() as u16, crc: crc32fast::hash(start) }
    }

    /// Returns whether a file that begins with `start` may be the file of this checksum.
    pub(super) fn fits(self, start: &[u8]) -> bool {
        start.get(..usize::from(self.len)).is_some_and(|start| Self::of(start) == self)
    }
}

/// A checksum over the bytes before an offset: differs in a rewritten file with an equal beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TailChecksum {
    /// The offset.
    pub(super) at: u64,
    pub(super) crc: u32,
}

impl TailChecksum {
    /// Computes the checksum of the bytes before `at`, at most [`PRINT_BYTES`].
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

    /// Returns whether the file has these bytes there.
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

/// The identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// Its inode.
    pub(super) inode: u64,
    /// The device number, if it was recorded.
    pub(super) device: Option<u64>,
    /// Creation time in nanoseconds since 1970, if the file system provides it.
    pub(super) born_ns: Option<i64>,
    /// Checksum of its first bytes.
    pub(super) print: StartChecksum,
    /// Checksum of the last bytes read, if it was recorded.
    pub(super) ending: Option<TailChecksum>,
}

impl FileIdentity {
    /// Creates the identity of an existing file of which nothing was read.
    pub(super) fn unread(id: InodeId, born_ns: Option<i64>) -> Self {
        let (device, inode) = id;
        Self { inode, device: Some(device), born_ns, print: StartChecksum::default(), ending: None }
    }

    /// Compares an open file that begins with `start` to this identity.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn compare(
        &self,
        now: &FileIdentity,
        file: &File,
        start: &[u8],
    ) -> io::Result<FileMatch> {
        let born = self.born_ns.zip(now.born_ns).is_none_or(|(then, now)| then == now);
        if self.inode != now.inode || !born || !self.print.fits(start) {
            return Ok(FileMatch::Other);
        }
        Ok(match self.ending {
            Some(ending) if !ending.fits(file)? => FileMatch::Rewritten,
            _ => FileMatch::Same,
        })
    }
}

/// The result of a comparison with a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileMatch {
    /// It is that file.
    Same,
    /// It may be that file and begins alike, but was truncated or rewritten since.
    Rewritten,
    /// It is another file.
    Other,
}

/// Returns the creation time in nanoseconds since 1970, if the file system provides it.
pub(super) fn born_ns(found: &Metadata) -> Option<i64> {
    let since = found.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

/// Returns the first bytes of a file.
pub(super) fn start_of(file: &File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; PRINT_BYTES];
    let mut have = 0;
    while have < start.len() {
        match file.read_at(&mut start[have..], have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    start.truncate(have);
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_checksum_fits_files_with_the_same_beginning() {
        let print = StartChecksum::of(b"abc");
        assert!(print.fits(b"abc") && print.fits(b"abcdef"));
        assert!(!print.fits(b"ab") && !print.fits(b"abd"));
        assert!(StartChecksum::default().fits(b""));
        assert_eq!(StartChecksum::of(&[1; 1000]), StartChecksum::of(&[1; PRINT_BYTES]));
    }

    #[test]
    fn a_tail_checksum_distinguishes_files_with_equal_beginnings() {
        let directory = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            std::fs::write(directory.path().join("f"), text).unwrap();
            millpond_flow::base::files::open(&directory.path().join("f")).unwrap()
        };
        let head = "#".repeat(300);
        let ending = TailChecksum::of(&file(&format!("{head}one\n")), 304).unwrap();
        assert!(ending.fits(&file(&format!("{head}one\nmore"))).unwrap());
        assert!(!ending.fits(&file(&format!("{head}two\nmore"))).unwrap());
        assert!(!ending.fits(&file(&head)).unwrap(), "shorter");
        assert!(TailChecksum::of(&file(""), 0).unwrap().fits(&file("x")).unwrap());
    }
}
