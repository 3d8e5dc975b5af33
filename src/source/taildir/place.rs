//! Where the source stands, as its channels keep it: how far each file was read, and which batch
//! came last.

use crate::wire::avro::values::{Values, put_count, put_long};
use bytes::Bytes;

/// The first byte: of tailed files, first layout.
const KIND: u8 = b'T';
/// Bytes at the start of a file by which it is known again.
pub(super) const PRINT_BYTES: usize = 256;

/// A checksum over the first bytes of a file: another file that got the same number has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print {
    /// Bytes that count, [`PRINT_BYTES`] at most.
    pub(super) len: u16,
    crc: u32,
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

/// How far one file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) inode: u64,
    pub(super) print: Print,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
}

/// Every file, and the newest batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) entries: Vec<Entry>,
    /// The file of the newest batch, as a place among the entries.
    pub(super) newest: usize,
    /// Where that batch begins; it ends where the entry says.
    pub(super) from: u64,
}

impl Place {
    /// The same behind a batch from `from` to `to` of the newest file.
    pub(super) fn encode(&self, from: u64, to: u64) -> Bytes {
        let mut out = vec![KIND];
        put_count(&mut out, self.newest);
        put_long(&mut out, from.cast_signed());
        put_count(&mut out, self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let pos = if at == self.newest { to } else { entry.pos };
            put_long(&mut out, entry.inode.cast_signed());
            put_long(&mut out, i64::from(entry.print.len));
            out.extend_from_slice(&entry.print.crc.to_le_bytes());
            put_long(&mut out, pos.cast_signed());
        }
        out.into()
    }

    /// What [`Place::encode`] made; `None` where the bytes are of another kind of source.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut values = Values::new(bytes.strip_prefix(&[KIND])?);
        let newest = usize::try_from(values.long("a file").ok()?).ok()?;
        let from = values.long("a place").ok()?.cast_unsigned();
        let mut place = Self { entries: Vec::new(), newest, from };
        for _ in 0..values.long("a count").ok()? {
            let inode = values.long("an inode").ok()?.cast_unsigned();
            let len = u16::try_from(values.long("a length").ok()?).ok()?;
            let crc = values.take(4, "a checksum").ok()?.try_into().ok()?;
            let pos = values.long("a position").ok()?.cast_unsigned();
            let print = Print { len, crc: u32::from_le_bytes(crc) };
            place.entries.push(Entry { inode, print, pos });
        }
        values.end().ok()?;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_cut_short_it_is_none() {
        let entry = |inode, pos| Entry { inode, print: Print::of(&inode.to_le_bytes()), pos };
        let mut place =
            Place { entries: vec![entry(7, 9), entry(u64::MAX, 1 << 40)], newest: 0, from: 3 };
        let bytes = place.encode(3, 12);
        place.entries[0].pos = 12;
        assert_eq!(Place::decode(&bytes), Some(place));
        for end in 0..bytes.len() {
            assert_eq!(Place::decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Place::decode(b"S\0"), None);
    }

    #[test]
    fn a_print_fits_files_that_begin_so() {
        let print = Print::of(b"abc");
        assert!(print.fits(b"abc") && print.fits(b"abcdef"));
        assert!(!print.fits(b"ab") && !print.fits(b"abd"));
        assert!(Print::default().fits(b""));
        assert_eq!(Print::of(&[1; 1000]), Print::of(&[1; PRINT_BYTES]));
    }
}
