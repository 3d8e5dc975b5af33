//! Where the source stands, as its channels keep it: a file, what it is known by, and from where to
//! where the newest batch of it goes.

use crate::source::reading::{Point, Stamp};
use crate::wire::avro::values::{Values, put_bytes, put_long};
use bytes::Bytes;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The first byte: of a spooling directory, first layout.
const KIND: u8 = b'S';
const IDLE: i64 = 0;
const WITHIN: i64 = 1;

/// A file in which the source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// A file and a batch of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Within {
    pub(super) place: Place,
    pub(super) from: Point,
    pub(super) to: Point,
}

impl Place {
    pub(super) fn encode(&self, from: Point, to: Point) -> Bytes {
        let mut out = vec![KIND];
        put_long(&mut out, WITHIN);
        let Stamp { inode, len, changed_ns } = self.stamp;
        for number in [from.offset, from.skip, to.offset, to.skip, inode, len] {
            put_long(&mut out, number.cast_signed());
        }
        put_long(&mut out, changed_ns);
        put_bytes(&mut out, self.path.as_os_str().as_bytes());
        out.into()
    }
}

/// That the source is done with every file it had.
pub(super) fn idle() -> Bytes {
    let mut out = vec![KIND];
    put_long(&mut out, IDLE);
    out.into()
}

/// What [`Place::encode`] or [`idle`] made; `None` where the source was in no file, or the bytes are
/// of another kind of source that had this one's name.
pub(super) fn decode(bytes: &[u8]) -> Option<Within> {
    let mut values = Values::new(bytes.strip_prefix(&[KIND])?);
    if values.long("a place").ok()? != WITHIN {
        return None;
    }
    let mut number = || Some(values.long("a place").ok()?.cast_unsigned());
    let from = Point { offset: number()?, skip: number()? };
    let to = Point { offset: number()?, skip: number()? };
    let (inode, len) = (number()?, number()?);
    let changed_ns = values.long("a place").ok()?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(values.bytes("a path").ok()?.to_vec()));
    values.end().ok()?;
    Some(Within { place: Place { path, stamp: Stamp { inode, len, changed_ns } }, from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_cut_short_it_is_none() {
        let stamp = Stamp { inode: u64::MAX, len: 7, changed_ns: -1 };
        let place = Place { path: PathBuf::from("/in/\u{fc} a"), stamp };
        let (from, to) = (Point { offset: 3, skip: 1 }, Point::at(1 << 40));
        let bytes = place.encode(from, to);
        assert_eq!(decode(&bytes), Some(Within { place, from, to }));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(decode(&idle()), None);
        assert_eq!(decode(b"T\x02"), None);
    }
}
