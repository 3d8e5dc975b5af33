//! Where the source stands, as its channels keep it: how far files were read since the journal was
//! written last, which journal that is, and which batch came last.

use super::identity::{Ending, Identity, Print};
use crate::wire::avro::values::{Values, put_count, put_long};
use bytes::Bytes;

/// The first byte of the first layout: of every file inode, print and place.
const FIRST: u8 = b'T';
/// The first byte: of tailed files, the layout that is written.
const KIND: u8 = b'U';

/// How far one file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) identity: Identity,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
}

/// A journal and how much of it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalMark {
    /// Its number; 0 for none.
    pub(super) id: u64,
    /// Bytes of it.
    pub(super) len: u64,
}

/// The files that are not in the journal as they are here, and the newest batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) journal: JournalMark,
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
        put_long(&mut out, self.journal.id.cast_signed());
        put_long(&mut out, self.journal.len.cast_signed());
        put_count(&mut out, self.newest);
        put_long(&mut out, from.cast_signed());
        put_count(&mut out, self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let pos = if at == self.newest { to } else { entry.pos };
            // Of a batch that comes in pieces the end is known, not that of each piece.
            let ending = entry.identity.ending.filter(|ending| ending.at <= pos);
            Entry { pos, identity: Identity { ending, ..entry.identity } }.encode(&mut out);
        }
        out.into()
    }

    /// What [`Place::encode`] made, or the first layout; `None` where the bytes are of another kind of
    /// source.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut values = Values::new(rest);
        let journal = match *kind {
            KIND => JournalMark { id: number(&mut values)?, len: number(&mut values)? },
            FIRST => JournalMark::default(),
            _ => return None,
        };
        let newest = usize::try_from(values.long("a file").ok()?).ok()?;
        let from = number(&mut values)?;
        let mut place = Self { journal, entries: Vec::new(), newest, from };
        for _ in 0..values.long("a count").ok()? {
            let entry = if *kind == KIND { Entry::decode } else { Entry::decode_first };
            place.entries.push(entry(&mut values)?);
        }
        values.end().ok()?;
        Some(place)
    }
}

fn number(values: &mut Values<'_>) -> Option<u64> {
    Some(values.long("a number").ok()?.cast_unsigned())
}

fn checksum(values: &mut Values<'_>) -> Option<u32> {
    Some(u32::from_le_bytes(values.take(4, "a checksum").ok()?.try_into().ok()?))
}

impl Entry {
    /// Bytes that an entry takes at most.
    pub(super) const BYTES_MAX: usize = 60;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Identity { inode, device, born_ns, print, ending } = self.identity;
        put_long(out, inode.cast_signed());
        put_long(out, device.map_or(-1, u64::cast_signed));
        put_long(out, born_ns.unwrap_or(0));
        put_long(out, i64::from(print.len));
        out.extend_from_slice(&print.crc.to_le_bytes());
        put_long(out, self.pos.cast_signed());
        // Nearly always 0: the print of the end is that of `pos`.
        let behind = ending.map_or(-1, |ending| self.pos.saturating_sub(ending.at).cast_signed());
        put_long(out, behind);
        out.extend_from_slice(&ending.map_or(0, |ending| ending.crc).to_le_bytes());
    }

    pub(super) fn decode(values: &mut Values<'_>) -> Option<Self> {
        let inode = number(values)?;
        let device = Some(values.long("a device").ok()?).filter(|device| *device != -1);
        let born_ns = Some(values.long("a time").ok()?).filter(|born| *born != 0);
        let len = u16::try_from(values.long("a length").ok()?).ok()?;
        let print = Print { len, crc: checksum(values)? };
        let pos = number(values)?;
        let behind = values.long("a distance").ok()?;
        let crc = checksum(values)?;
        let ending = match u64::try_from(behind) {
            Ok(behind) => Some(Ending { at: pos.checked_sub(behind)?, crc }),
            Err(_) => None,
        };
        let device = device.map(i64::cast_unsigned);
        Some(Self { identity: Identity { inode, device, born_ns, print, ending }, pos })
    }

    fn decode_first(values: &mut Values<'_>) -> Option<Self> {
        let inode = number(values)?;
        let len = u16::try_from(values.long("a length").ok()?).ok()?;
        let print = Print { len, crc: checksum(values)? };
        let pos = number(values)?;
        let identity = Identity { inode, device: None, born_ns: None, print, ending: None };
        Some(Self { identity, pos })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{POSITION_BYTES_MAX, TAIL_CHANGED_UNWRITTEN_MAX};

    fn entry(inode: u64, pos: u64) -> Entry {
        let identity = Identity {
            inode,
            device: Some(66_306),
            born_ns: Some(1_700_000_000_123_456_789),
            print: Print::of(&inode.to_le_bytes()),
            ending: Some(Ending { at: pos, crc: 7 }),
        };
        Entry { identity, pos }
    }

    #[test]
    fn a_place_is_read_as_it_was_written_and_cut_short_it_is_none() {
        let mut unknown = entry(5, 6);
        unknown.identity =
            Identity { device: None, born_ns: None, ending: None, ..unknown.identity };
        let mut place = Place {
            journal: JournalMark { id: 3, len: 1 << 33 },
            entries: vec![entry(7, 9), entry(u64::MAX, 1 << 40), unknown],
            newest: 0,
            from: 3,
        };
        let bytes = place.encode(3, 12);
        place.entries[0].pos = 12;
        assert_eq!(Place::decode(&bytes), Some(place));
        for end in 0..bytes.len() {
            assert_eq!(Place::decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Place::decode(b"S\0"), None);
    }

    /// As a version before this one wrote it: newest 0, from 3, one file.
    #[test]
    fn the_first_layout_is_still_read() {
        let mut bytes = vec![b'T'];
        for value in [0, 3, 1, 7, 3] {
            put_long(&mut bytes, value);
        }
        bytes.extend_from_slice(&crc32fast::hash(b"abc").to_le_bytes());
        put_long(&mut bytes, 9);
        let place = Place::decode(&bytes).expect("the first layout");
        assert_eq!((place.newest, place.from, place.journal), (0, 3, JournalMark::default()));
        let [entry] = place.entries[..] else { panic!("one file") };
        assert_eq!((entry.identity.inode, entry.pos), (7, 9));
        assert_eq!(entry.identity.print, Print::of(b"abc"));
        assert_eq!((entry.identity.device, entry.identity.ending), (None, None));
    }

    #[test]
    fn as_many_files_as_a_place_may_have_fit_a_channel() {
        let worst = Entry {
            identity: Identity {
                inode: u64::MAX / 2 + 1,
                device: Some(u64::MAX / 2 + 1),
                born_ns: Some(i64::MIN),
                print: Print { len: 256, crc: u32::MAX },
                ending: Some(Ending { at: 0, crc: u32::MAX }),
            },
            pos: u64::MAX / 2,
        };
        let mut bytes = Vec::new();
        worst.encode(&mut bytes);
        assert!(bytes.len() <= Entry::BYTES_MAX, "{}", bytes.len());
        const { assert!(TAIL_CHANGED_UNWRITTEN_MAX * Entry::BYTES_MAX + 4096 <= POSITION_BYTES_MAX) };
    }
}
