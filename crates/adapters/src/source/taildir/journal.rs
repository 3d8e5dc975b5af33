//! Journal of the offsets of all files, next to the position file, which keeps the source offset of each batch small.
//!
//! A source with more files than fit in a source offset appends their offsets here in pieces: the source offset of a
//! batch names the journal, its valid length, and only the files read since. A piece is durable before a source
//! offset names it; bytes beyond the named length are void. Two files alternate: the next journal contains all files,
//! and the previous one is overwritten only when a source offset that names a later one is in the channels.
//!
//! ```text
//! file:   "MPTAIL1\n"  number u64  piece*
//! piece:  length u32   crc32 u32   count, entries (as in a source offset)
//! ```

use super::offset::{FileEntry, JournalPosition};
use crate::wire::avro::values::{AvroReader, put_count};
use millpond_flow::base::files;
use millpond_flow::base::limits::{TAIL_JOURNAL_BYTES_MAX, TAIL_JOURNAL_BYTES_MIN};
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"MPTAIL1\n";
const HEADER_BYTES: usize = 16;
const PIECE_HEADER_BYTES: usize = 8;

/// The journals of one source.
pub(super) struct OffsetJournal {
    /// The base of the journals' names.
    position_file: PathBuf,
    /// The journal being written.
    mark: JournalPosition,
    /// The open journal; set once it contains every file except those that changed since.
    file: Option<File>,
    /// Its length after the first piece.
    began: u64,
    /// The number of the newest journal that a source offset in all channels names.
    committed: u64,
}

/// The reason why the offsets of an earlier run cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: SmallFileError },
    #[error("{} is missing, of another journal, or damaged", path.display())]
    Other { path: PathBuf },
}

impl OffsetJournal {
    /// Creates the journals next to `position_file`, where the channels name `mark`.
    pub(super) fn new(position_file: &Path, mark: JournalPosition) -> Self {
        let position_file = position_file.to_owned();
        Self { position_file, mark, file: None, began: 0, committed: mark.id }
    }

    fn path(&self, id: u64) -> PathBuf {
        let mut path = self.position_file.clone().into_os_string();
        path.push(if id.is_multiple_of(2) { ".places-a" } else { ".places-b" });
        path.into()
    }

    /// Returns the part of a source offset that names the journal.
    pub(super) fn mark(&self) -> JournalPosition {
        self.mark
    }

    /// Returns whether this run's journal contains every file except those that changed since.
    pub(super) fn is_whole(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the files of the journal that the channels name, by inode.
    ///
    /// # Errors
    /// The journal is missing or differs from what was written.
    pub(super) fn read(&self) -> Result<Vec<FileEntry>, JournalError> {
        if self.mark.id == 0 {
            return Ok(Vec::new());
        }
        let path = self.path(self.mark.id);
        let bytes = match read_whole(&path, TAIL_JOURNAL_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => return Err(JournalError::Other { path }),
            Err(source) => return Err(JournalError::Read { path, source }),
        };
        decode(&bytes, self.mark).ok_or(JournalError::Other { path })
    }

    /// Stops naming the journal that the channels name, because it cannot be read.
    pub(super) fn drop_unreadable(&mut self) {
        self.mark = JournalPosition::default();
    }

    /// Records that a source offset with this mark is in all channels.
    pub(super) fn committed(&mut self, mark: JournalPosition) {
        self.committed = self.committed.max(mark.id);
    }

    /// Returns whether all files should be rewritten: the journal has grown, or this run has not begun one.
    pub(super) fn wants_all(&self) -> bool {
        let grown = self.mark.len >= TAIL_JOURNAL_BYTES_MIN.max(self.began.saturating_mul(4));
        // The next journal overwrites the previous one, which no channel may name any more.
        !self.is_whole() || (grown && self.committed == self.mark.id)
    }

    /// Appends `entries` durably: all files if [`OffsetJournal::wants_all`], otherwise those that changed.
    ///
    /// # Errors
    /// They could not be written. The journal is rewritten the next time.
    pub(super) fn write(&mut self, entries: &[FileEntry], all: bool) -> io::Result<()> {
        let written = if all { self.begin(entries) } else { self.append(entries) };
        if written.is_err() && self.committed == self.mark.id {
            // Its content is unknown now. The other file may be overwritten.
            self.file = None;
        }
        written
    }

    fn begin(&mut self, entries: &[FileEntry]) -> io::Result<()> {
        // Never the file of the journal that the channels name.
        let id = self.committed + 1;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&id.to_le_bytes());
        put_piece(&mut bytes, entries);
        let path = self.path(id);
        files::replace(&path, &bytes)?;
        self.file = Some(files::append(&path)?);
        self.began = bytes.len() as u64;
        self.mark = JournalPosition { id, len: self.began };
        Ok(())
    }

    fn append(&mut self, entries: &[FileEntry]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut bytes = Vec::new();
        put_piece(&mut bytes, entries);
        let wanted = self.mark.len;
        if file.metadata()?.len() != wanted {
            // An earlier piece was written in part.
            file.set_len(wanted)?;
        }
        file.write_all(&bytes)?;
        files::sync(file)?;
        self.mark.len += bytes.len() as u64;
        Ok(())
    }
}

fn put_piece(out: &mut Vec<u8>, entries: &[FileEntry]) {
    let mut piece = Vec::with_capacity(10 + entries.len() * FileEntry::BYTES_MAX);
    put_count(&mut piece, entries.len());
    entries.iter().for_each(|entry| entry.encode(&mut piece));
    out.extend_from_slice(&(piece.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&piece).to_le_bytes());
    out.extend_from_slice(&piece);
}

/// Decodes the files in the first `mark.len` bytes, the latest entry of each.
fn decode(bytes: &[u8], mark: JournalPosition) -> Option<Vec<FileEntry>> {
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
        let mut values = AvroReader::new(piece);
        for _ in 0..values.long("a count").ok()? {
            let entry = FileEntry::decode(&mut values)?;
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
    use crate::source::taildir::identity::FileIdentity;

    fn entry(inode: u64, pos: u64) -> FileEntry {
        FileEntry { identity: FileIdentity::unread((1, inode), Some(5)), pos }
    }

    #[test]
    fn a_journal_is_read_up_to_the_named_length() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.json");
        let mut journal = OffsetJournal::new(&file, JournalPosition::default());
        assert!(journal.wants_all() && journal.read().unwrap().is_empty());
        journal.write(&[entry(1, 10), entry(2, 20)], true).unwrap();
        let first = journal.mark();
        assert!(!journal.wants_all());
        journal.write(&[entry(2, 25), entry(3, 30)], false).unwrap();
        let second = journal.mark();
        let read = |mark| OffsetJournal::new(&file, mark).read().unwrap();
        assert_eq!(read(first), [entry(1, 10), entry(2, 20)]);
        assert_eq!(read(second), [entry(1, 10), entry(2, 25), entry(3, 30)]);
        // The next run begins another file and keeps the one that the channels name.
        let mut next = OffsetJournal::new(&file, second);
        for _ in 0..2 {
            assert!(next.wants_all());
            next.write(&[entry(9, 9)], true).unwrap();
            assert_eq!(read(second).len(), 3);
            next = OffsetJournal::new(&file, second);
        }
    }

    #[test]
    fn a_damaged_or_foreign_journal_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.json");
        let mut journal = OffsetJournal::new(&file, JournalPosition::default());
        journal.write(&[entry(1, 10)], true).unwrap();
        let mark = journal.mark();
        let path = journal.path(mark.id);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            std::fs::write(&path, other).unwrap();
            assert!(OffsetJournal::new(&file, mark).read().is_err(), "{at}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(OffsetJournal::new(&file, mark).read().is_err());
        std::fs::remove_file(&path).unwrap();
        let error = OffsetJournal::new(&file, mark).read().unwrap_err().to_string();
        assert!(error.contains("p.json.places-b"), "{error}");
    }

    #[test]
    fn a_grown_journal_is_rewritten_once_the_channels_name_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal =
            OffsetJournal::new(&directory.path().join("p.json"), JournalPosition::default());
        journal.write(&[entry(1, 10)], true).unwrap();
        while journal.mark().len < TAIL_JOURNAL_BYTES_MIN {
            let many: Vec<FileEntry> = (0..5000).map(|inode| entry(inode, 7)).collect();
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
