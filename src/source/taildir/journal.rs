//! The places of all files, beside the position file, so that what rides in each batch stays small.
//!
//! A source with more files than fit a batch's position writes their places here, a piece at a time: what
//! rides in a batch names the journal, how much of it counts, and only the files that were read since. A
//! piece is durable before a position names it; what stands behind the named length does not count. Two
//! files take turns: the next journal holds everything anew, and the one before it is written over only
//! when a position that names a later one is in the channels.
//!
//! ```text
//! file:   "MPTAIL1\n"  number u64  piece*
//! piece:  length u32   crc32 u32   count, entries (as in a position)
//! ```

use super::place::{Entry, JournalMark};
use crate::base::files;
use crate::base::limits::{TAIL_JOURNAL_BYTES_MAX, TAIL_JOURNAL_BYTES_MIN};
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::wire::avro::values::{Values, put_count};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"MPTAIL1\n";
const HEADER_BYTES: usize = 16;
const PIECE_HEADER_BYTES: usize = 8;

/// The journals of one source.
pub(super) struct Journal {
    /// Of which the names are made.
    position_file: PathBuf,
    /// The journal that is written.
    mark: JournalMark,
    /// It holds every file, but for those that changed since; and is open.
    file: Option<File>,
    /// Bytes that it had when it was begun.
    began: u64,
    /// The number of the newest journal that a position in all channels names.
    committed: u64,
}

/// Why the places of an earlier life cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: ReadWholeError },
    #[error("{} is missing, of another journal, or damaged", path.display())]
    Other { path: PathBuf },
}

impl Journal {
    /// The journals beside `position_file`, where the channels name `mark`.
    pub(super) fn new(position_file: &Path, mark: JournalMark) -> Self {
        let position_file = position_file.to_owned();
        Self { position_file, mark, file: None, began: 0, committed: mark.id }
    }

    fn path(&self, id: u64) -> PathBuf {
        let mut path = self.position_file.clone().into_os_string();
        path.push(if id.is_multiple_of(2) { ".places-a" } else { ".places-b" });
        path.into()
    }

    /// What rides in a position beside the files that changed since.
    pub(super) fn mark(&self) -> JournalMark {
        self.mark
    }

    /// Whether the journal of this life holds every file but for those that changed since.
    pub(super) fn is_whole(&self) -> bool {
        self.file.is_some()
    }

    /// The files of the journal that the channels name, by their numbers.
    ///
    /// # Errors
    /// It is not there as it was written.
    pub(super) fn read(&self) -> Result<Vec<Entry>, JournalError> {
        if self.mark.id == 0 {
            return Ok(Vec::new());
        }
        let path = self.path(self.mark.id);
        let bytes = match read_whole(&path, TAIL_JOURNAL_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(ReadWholeError::Missing) => return Err(JournalError::Other { path }),
            Err(source) => return Err(JournalError::Read { path, source }),
        };
        decode(&bytes, self.mark).ok_or(JournalError::Other { path })
    }

    /// Positions no longer name the journal that the channels name, since it cannot be read.
    pub(super) fn forget(&mut self) {
        self.mark = JournalMark::default();
    }

    /// Notes that a position with this mark is in all channels.
    pub(super) fn committed(&mut self, mark: JournalMark) {
        self.committed = self.committed.max(mark.id);
    }

    /// Whether writing everything anew is worth it, or the journal of this life is still to be begun.
    pub(super) fn wants_all(&self) -> bool {
        let grown = self.mark.len >= TAIL_JOURNAL_BYTES_MIN.max(self.began.saturating_mul(4));
        // The next one takes the place of the one before this: nobody may need that any more.
        !self.is_whole() || (grown && self.committed == self.mark.id)
    }

    /// Adds `entries` durably: all that there are, if [`Journal::wants_all`], else those that changed.
    ///
    /// # Errors
    /// They could not be written. The journal is begun anew the next time.
    pub(super) fn write(&mut self, entries: &[Entry], all: bool) -> io::Result<()> {
        let written = if all { self.begin(entries) } else { self.append(entries) };
        if written.is_err() && self.committed == self.mark.id {
            // What is in it now nobody knows. The other one may be written over.
            self.file = None;
        }
        written
    }

    fn begin(&mut self, entries: &[Entry]) -> io::Result<()> {
        // Never the file of the journal that the channels name.
        let id = self.committed + 1;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&id.to_le_bytes());
        put_piece(&mut bytes, entries);
        let path = self.path(id);
        files::replace(&path, &bytes)?;
        self.file = Some(files::append(&path)?);
        self.began = bytes.len() as u64;
        self.mark = JournalMark { id, len: self.began };
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut bytes = Vec::new();
        put_piece(&mut bytes, entries);
        let wanted = self.mark.len;
        if file.metadata()?.len() != wanted {
            // A piece before this was written in part.
            file.set_len(wanted)?;
        }
        file.write_all(&bytes)?;
        files::sync(file)?;
        self.mark.len += bytes.len() as u64;
        Ok(())
    }
}

fn put_piece(out: &mut Vec<u8>, entries: &[Entry]) {
    let mut piece = Vec::with_capacity(10 + entries.len() * Entry::BYTES_MAX);
    put_count(&mut piece, entries.len());
    entries.iter().for_each(|entry| entry.encode(&mut piece));
    out.extend_from_slice(&(piece.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&piece).to_le_bytes());
    out.extend_from_slice(&piece);
}

/// The files of the first `mark.len` bytes, of each the latest entry.
fn decode(bytes: &[u8], mark: JournalMark) -> Option<Vec<Entry>> {
    let bytes = bytes.get(..usize::try_from(mark.len).ok()?)?;
    let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (magic, id) = header.split_at(MAGIC.len());
    if magic != MAGIC || id != mark.id.to_le_bytes() {
        return None;
    }
    let mut entries = BTreeMap::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_at_checked(PIECE_HEADER_BYTES)?;
        let (len, crc) = header.split_at(4);
        let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
        let (piece, behind) = behind.split_at_checked(len)?;
        if crc32fast::hash(piece).to_le_bytes() != crc {
            return None;
        }
        let mut values = Values::new(piece);
        for _ in 0..values.long("a count").ok()? {
            let entry = Entry::decode(&mut values)?;
            entries.insert((entry.identity.device, entry.identity.inode), entry);
        }
        values.end().ok()?;
        rest = behind;
    }
    Some(entries.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::taildir::identity::Identity;

    fn entry(inode: u64, pos: u64) -> Entry {
        Entry { identity: Identity::unread((1, inode), Some(5)), pos }
    }

    #[test]
    fn a_journal_is_read_up_to_what_a_position_names() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.json");
        let mut journal = Journal::new(&file, JournalMark::default());
        assert!(journal.wants_all() && journal.read().unwrap().is_empty());
        journal.write(&[entry(1, 10), entry(2, 20)], true).unwrap();
        let first = journal.mark();
        assert!(!journal.wants_all());
        journal.write(&[entry(2, 25), entry(3, 30)], false).unwrap();
        let second = journal.mark();
        let read = |mark| Journal::new(&file, mark).read().unwrap();
        assert_eq!(read(first), [entry(1, 10), entry(2, 20)]);
        assert_eq!(read(second), [entry(1, 10), entry(2, 25), entry(3, 30)]);
        // The next life begins another and leaves what the channels name alone.
        let mut next = Journal::new(&file, second);
        for _ in 0..2 {
            assert!(next.wants_all());
            next.write(&[entry(9, 9)], true).unwrap();
            assert_eq!(read(second).len(), 3);
            next = Journal::new(&file, second);
        }
    }

    #[test]
    fn a_journal_that_was_damaged_or_is_another_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.json");
        let mut journal = Journal::new(&file, JournalMark::default());
        journal.write(&[entry(1, 10)], true).unwrap();
        let mark = journal.mark();
        let path = journal.path(mark.id);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            std::fs::write(&path, other).unwrap();
            assert!(Journal::new(&file, mark).read().is_err(), "{at}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Journal::new(&file, mark).read().is_err());
        std::fs::remove_file(&path).unwrap();
        let error = Journal::new(&file, mark).read().unwrap_err().to_string();
        assert!(error.contains("p.json.places-b"), "{error}");
    }

    #[test]
    fn a_journal_that_has_grown_is_written_anew_once_the_channels_name_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(&directory.path().join("p.json"), JournalMark::default());
        journal.write(&[entry(1, 10)], true).unwrap();
        while journal.mark().len < TAIL_JOURNAL_BYTES_MIN {
            let many: Vec<Entry> = (0..5000).map(|inode| entry(inode, 7)).collect();
            journal.write(&many, false).unwrap();
        }
        assert!(!journal.wants_all(), "no position names it");
        journal.committed(journal.mark());
        assert!(journal.wants_all());
        let before = journal.mark().id;
        journal.write(&[entry(1, 10)], true).unwrap();
        assert_eq!(journal.mark().id, before + 1);
        assert!(journal.mark().len < 100 && !journal.wants_all());
    }
}
