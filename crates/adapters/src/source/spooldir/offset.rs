//! The source offset of `spooldir` in its channels: a file, its identity, and the start and end of its newest batch.

use crate::source::file_reading::{FileOffset, FileStamp};
use crate::wire::avro::values::{AvroReader, put_bytes, put_long};
use bytes::Bytes;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// First byte of the first layout.
const KIND: u8 = b'S';
const IDLE: i64 = 0;
const WITHIN: i64 = 1;

/// The file in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpoolOffset {
    pub(super) path: PathBuf,
    pub(super) stamp: FileStamp,
}

/// A file and a batch of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResumedBatch {
    pub(super) place: SpoolOffset,
    pub(super) from: FileOffset,
    pub(super) to: FileOffset,
}

impl SpoolOffset {
    pub(super) fn encode(&self, from: FileOffset, to: FileOffset) -> Bytes {
        let mut out = vec![KIND];
        put_long(&mut out, WITHIN);
        let FileStamp { inode, len, changed_ns } = self.stamp;
        for number in [from.offset, from.skip, to.offset, to.skip, inode, len] {
            put_long(&mut out, number.cast_signed());
        }
        put_long(&mut out, changed_ns);
        put_bytes(&mut out, self.path.as_os_str().as_bytes());
        out.into()
    }
}

/// Encodes that the source has completed every file.
pub(super) fn idle() -> Bytes {
    let mut out = vec![KIND];
    put_long(&mut out, IDLE);
    out.into()
}

/// Decodes the bytes of [`SpoolOffset::encode`] or [`idle`]; `None` if no file was in progress, or if they were left
/// by another type of source with this name.
pub(super) fn decode(bytes: &[u8]) -> Option<ResumedBatch> {
    let mut values = AvroReader::new(bytes.strip_prefix(&[KIND])?);
    if values.long("a place").ok()? != WITHIN {
        return None;
    }
    let mut number = || Some(values.long("a place").ok()?.cast_unsigned());
    let from = FileOffset { offset: number()?, skip: number()? };
    let to = FileOffset { offset: number()?, skip: number()? };
    let (inode, len) = (number()?, number()?);
    let changed_ns = values.long("a place").ok()?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(values.bytes("a path").ok()?.to_vec()));
    values.end().ok()?;
    Some(ResumedBatch {
        place: SpoolOffset { path, stamp: FileStamp { inode, len, changed_ns } },
        from,
        to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_round_trips_and_a_truncated_one_is_refused() {
        let stamp = FileStamp { inode: u64::MAX, len: 7, changed_ns: -1 };
        let place = SpoolOffset { path: PathBuf::from("/in/\u{fc} a"), stamp };
        let (from, to) = (FileOffset { offset: 3, skip: 1 }, FileOffset::at(1 << 40));
        let bytes = place.encode(from, to);
        assert_eq!(decode(&bytes), Some(ResumedBatch { place, from, to }));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(decode(&idle()), None);
        assert_eq!(decode(b"T\x02"), None);
    }
}
