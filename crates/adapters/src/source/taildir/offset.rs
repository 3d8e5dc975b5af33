//! The source offset of `taildir` in its channels: the offsets of the files read since the journal was last written,
//! the name of that journal, and the newest batch.

use super::identity::{FileIdentity, StartChecksum, TailChecksum};
use crate::wire::avro::values::{AvroReader, put_count, put_long};
use bytes::Bytes;

/// First byte of the first layout: inode, start checksum and offset of every file.
const FIRST: u8 = b'T';
/// First byte of the current layout.
const KIND: u8 = b'U';

/// The offset up to which one file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileEntry {
    pub(super) identity: FileIdentity,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
}

/// A journal and its valid length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalPosition {
    /// Its number; 0 for none.
    pub(super) id: u64,
    /// Its valid length in bytes.
    pub(super) len: u64,
}

/// The files that differ from the journal, and the newest batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TailOffset {
    pub(super) journal: JournalPosition,
    pub(super) entries: Vec<FileEntry>,
    /// Index of the newest batch's file among the entries.
    pub(super) newest: usize,
    /// Start of that batch; it ends at the entry's offset.
    pub(super) from: u64,
}

impl TailOffset {
    /// Encodes the source offset after a batch from `from` to `to` of the newest file.
    pub(super) fn encode(&self, from: u64, to: u64) -> Bytes {
        let mut out = vec![KIND];
        put_long(&mut out, self.journal.id.cast_signed());
        put_long(&mut out, self.journal.len.cast_signed());
        put_count(&mut out, self.newest);
        put_long(&mut out, from.cast_signed());
        put_count(&mut out, self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let pos = if at == self.newest { to } else { entry.pos };
            // Of a batch in several pieces only the final checksum is known, not that of each piece.
            let ending = entry.identity.ending.filter(|ending| ending.at <= pos);
            FileEntry { pos, identity: FileIdentity { ending, ..entry.identity } }.encode(&mut out);
        }
        out.into()
    }

    /// Decodes the bytes of [`TailOffset::encode`], or of the first layout; `None` for another kind of source.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut values = AvroReader::new(rest);
        let journal = match *kind {
            KIND => JournalPosition { id: number(&mut values)?, len: number(&mut values)? },
            FIRST => JournalPosition::default(),
            _ => return None,
        };
        let newest = usize::try_from(values.long("a file").ok()?).ok()?;
        let from = number(&mut values)?;
        let mut place = Self { journal, entries: Vec::new(), newest, from };
        for _ in 0..values.long("a count").ok()? {
            let entry = if *kind == KIND { FileEntry::decode } else { FileEntry::decode_first };
            place.entries.push(entry(&mut values)?);
        }
        values.end().ok()?;
        Some(place)
    }
}

fn number(values: &mut AvroReader<'_>) -> Option<u64> {
    Some(values.long("a number").ok()?.cast_unsigned())
}

fn checksum(values: &mut AvroReader<'_>) -> Option<u32> {
    Some(u32::from_le_bytes(values.take(4, "a checksum").ok()?.try_into().ok()?))
}

impl FileEntry {
    /// Most bytes of an entry.
    pub(super) const BYTES_MAX: usize = 60;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let FileIdentity { inode, device, born_ns, print, ending } = self.identity;
        put_long(out, inode.cast_signed());
        put_long(out, device.map_or(-1, u64::cast_signed));
        put_long(out, born_ns.unwrap_or(0));
        put_long(out, i64::from(print.len));
        out.extend_from_slice(&print.crc.to_le_bytes());
        put_long(out, self.pos.cast_signed());
        // Nearly always 0: the tail checksum is usually of `pos`.
        let behind = ending.map_or(-1, |ending| self.pos.saturating_sub(ending.at).cast_signed());
        put_long(out, behind);
        out.extend_from_slice(&ending.map_or(0, |ending| ending.crc).to_le_bytes());
    }

    pub(super) fn decode(values: &mut AvroReader<'_>) -> Option<Self> {
        let inode = number(values)?;
        let device = Some(values.long("a device").ok()?).filter(|device| *device != -1);
        let born_ns = Some(values.long("a time").ok()?).filter(|born| *born != 0);
        let len = u16::try_from(values.long("a length").ok()?).ok()?;
        let print = StartChecksum { len, crc: checksum(values)? };
        let pos = number(values)?;
        let behind = values.long("a distance").ok()?;
        let crc = checksum(values)?;
        let ending = match u64::try_from(behind) {
            Ok(behind) => Some(TailChecksum { at: pos.checked_sub(behind)?, crc }),
            Err(_) => None,
        };
        let device = device.map(i64::cast_unsigned);
        Some(Self { identity: FileIdentity { inode, device, born_ns, print, ending }, pos })
    }

    fn decode_first(values: &mut AvroReader<'_>) -> Option<Self> {
        let inode = number(values)?;
        let len = u16::try_from(values.long("a length").ok()?).ok()?;
        let print = StartChecksum { len, crc: checksum(values)? };
        let pos = number(values)?;
        let identity = FileIdentity { inode, device: None, born_ns: None, print, ending: None };
        Some(Self { identity, pos })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::base::limits::{SOURCE_OFFSET_BYTES_MAX, TAIL_CHANGED_UNWRITTEN_MAX};

    fn entry(inode: u64, pos: u64) -> FileEntry {
        let identity = FileIdentity {
            inode,
            device: Some(66_306),
            born_ns: Some(1_700_000_000_123_456_789),
            print: StartChecksum::of(&inode.to_le_bytes()),
            ending: Some(TailChecksum { at: pos, crc: 7 }),
        };
        FileEntry { identity, pos }
    }

    #[test]
    fn an_offset_round_trips_and_a_truncated_one_is_refused() {
        let mut unknown = entry(5, 6);
        unknown.identity =
            FileIdentity { device: None, born_ns: None, ending: None, ..unknown.identity };
        let mut place = TailOffset {
            journal: JournalPosition { id: 3, len: 1 << 33 },
            entries: vec![entry(7, 9), entry(u64::MAX, 1 << 40), unknown],
            newest: 0,
            from: 3,
        };
        let bytes = place.encode(3, 12);
        place.entries[0].pos = 12;
        assert_eq!(TailOffset::decode(&bytes), Some(place));
        for end in 0..bytes.len() {
            assert_eq!(TailOffset::decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(TailOffset::decode(b"S\0"), None);
    }

    /// As written by an earlier version: newest 0, from 3, one file.
    #[test]
    fn the_first_layout_is_still_read() {
        let mut bytes = vec![b'T'];
        for value in [0, 3, 1, 7, 3] {
            put_long(&mut bytes, value);
        }
        bytes.extend_from_slice(&crc32fast::hash(b"abc").to_le_bytes());
        put_long(&mut bytes, 9);
        let place = TailOffset::decode(&bytes).expect("the first layout");
        assert_eq!((place.newest, place.from, place.journal), (0, 3, JournalPosition::default()));
        let [entry] = place.entries[..] else { panic!("one file") };
        assert_eq!((entry.identity.inode, entry.pos), (7, 9));
        assert_eq!(entry.identity.print, StartChecksum::of(b"abc"));
        assert_eq!((entry.identity.device, entry.identity.ending), (None, None));
    }

    #[test]
    fn an_offset_with_the_most_files_fits_a_channel() {
        let worst = FileEntry {
            identity: FileIdentity {
                inode: u64::MAX / 2 + 1,
                device: Some(u64::MAX / 2 + 1),
                born_ns: Some(i64::MIN),
                print: StartChecksum { len: 256, crc: u32::MAX },
                ending: Some(TailChecksum { at: 0, crc: u32::MAX }),
            },
            pos: u64::MAX / 2,
        };
        let mut bytes = Vec::new();
        worst.encode(&mut bytes);
        assert!(bytes.len() <= FileEntry::BYTES_MAX, "{}", bytes.len());
        const {
            assert!(
                TAIL_CHANGED_UNWRITTEN_MAX * FileEntry::BYTES_MAX + 4096 <= SOURCE_OFFSET_BYTES_MAX
            );
        };
    }
}
