//! Flume's tracker file of the file in progress: `.flumespool-main.meta`, an Avro container file.
//!
//! Its metadata contains the path of the file, each of its blocks one record with the offset reached; the last one
//! counts. It is read when no channel has the source's offset, and kept up to date for Flume and its tools.

use crate::wire::avro::values::{AvroReader, put_bytes, put_long};
use millpond_flow::base::files;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"Obj\x01";
const SCHEMA: &str = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;
/// Most bytes of the header: a schema and a path.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Bytes at the end that contain the last whole record.
const TAIL_BYTES: u64 = 1024;
const SYNC_BYTES: usize = 16;

/// The tracker file of one spooling directory.
pub(super) struct TrackerFile {
    path: PathBuf,
    open: Option<TrackedFile>,
}

/// The tracker file as begun for one spooled file.
struct TrackedFile {
    target: PathBuf,
    out: Box<dyn Write + Send>,
    sync: [u8; SYNC_BYTES],
}

impl TrackerFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(".flumespool-main.meta"), open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file in progress and the offset reached in it, if the tracker file names one.
    pub(super) fn read(&self) -> io::Result<Option<(PathBuf, u64)>> {
        let file = match files::open_regular(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        let read = |from: u64, most: usize| -> io::Result<Vec<u8>> {
            let room = usize::try_from(len.saturating_sub(from)).unwrap_or(most).min(most);
            let mut bytes = vec![0; room];
            file.read_exact_at(&mut bytes, from)?;
            Ok(bytes)
        };
        let start = read(0, HEADER_BYTES_MAX)?;
        let Some((target, sync, begin)) = header(&start) else { return Ok(None) };
        let from = len.saturating_sub(TAIL_BYTES).max(begin as u64);
        let tail = read(from, TAIL_BYTES as usize)?;
        let records = if from == begin as u64 { Some(&tail[..]) } else { behind(&tail, &sync) };
        Ok(Some((target, records.map_or(0, |records| last_offset(records, &sync)))))
    }

    /// Records that the file at `target` was read up to `offset`.
    pub(super) fn store(&mut self, target: &Path, offset: u64) -> io::Result<()> {
        if let Some(open) = self.open.as_mut().filter(|open| open.target == target) {
            let stored = open.out.write_all(&record(offset, &open.sync));
            if stored.is_err() {
                self.open = None;
            }
            return stored;
        }
        self.open = None;
        let random = RandomState::new();
        let mut sync = [0; SYNC_BYTES];
        sync[..8].copy_from_slice(&random.hash_one(0).to_le_bytes());
        sync[8..].copy_from_slice(&random.hash_one(1).to_le_bytes());
        let mut out = MAGIC.to_vec();
        put_long(&mut out, 2);
        put_bytes(&mut out, b"avro.schema");
        put_bytes(&mut out, SCHEMA.as_bytes());
        put_bytes(&mut out, b"file");
        put_bytes(&mut out, target.to_string_lossy().as_bytes());
        put_long(&mut out, 0);
        out.extend_from_slice(&sync);
        out.extend_from_slice(&record(offset, &sync));
        files::replace(&self.path, &out)?;
        let out = Box::new(files::append(&self.path)?);
        self.open = Some(TrackedFile { target: target.to_owned(), out, sync });
        Ok(())
    }

    /// Removes the record of the file, which is complete.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.open = None;
        match files::remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

fn record(offset: u64, sync: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    put_long(&mut value, offset.cast_signed());
    let mut out = Vec::new();
    put_long(&mut out, 1);
    put_bytes(&mut out, &value);
    out.extend_from_slice(sync);
    out
}

/// Returns the path, the sync marker and the offset of the records.
fn header(start: &[u8]) -> Option<(PathBuf, [u8; SYNC_BYTES], usize)> {
    let mut values = AvroReader::new(start.strip_prefix(MAGIC)?);
    let (mut target, mut plain) = (None, true);
    loop {
        let count = values.block(2, "the metadata").ok()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let (key, value) = (values.bytes("a key").ok()?, values.bytes("a value").ok()?);
            match key {
                b"file" => target = Some(PathBuf::from(std::str::from_utf8(value).ok()?)),
                b"avro.codec" => plain = value == b"null",
                _ => {}
            }
        }
    }
    let sync = values.take(SYNC_BYTES, "a sync marker").ok()?.try_into().ok()?;
    let begin = start.len() - values.rest().len();
    target.filter(|_| plain).map(|target| (target, sync, begin))
}

/// Returns the bytes after the first sync marker.
fn behind<'a>(tail: &'a [u8], sync: &[u8]) -> Option<&'a [u8]> {
    let at = tail.windows(SYNC_BYTES).position(|window| window == sync)?;
    Some(&tail[at + SYNC_BYTES..])
}

/// Returns the offset in the last whole record; 0 when there is none.
fn last_offset(records: &[u8], sync: &[u8]) -> u64 {
    let mut values = AvroReader::new(records);
    let mut last = 0;
    while let Some(offset) = next_offset(&mut values, sync) {
        last = offset;
    }
    last
}

fn next_offset(values: &mut AvroReader<'_>, sync: &[u8]) -> Option<u64> {
    let count = values.long("a count").ok()?;
    let mut block = AvroReader::new(values.bytes("a block").ok()?);
    if values.take(SYNC_BYTES, "a sync marker").ok()? != sync {
        return None;
    }
    let mut last = None;
    for _ in 0..count {
        last = Some(u64::try_from(block.long("an offset").ok()?).ok()?);
    }
    last
}

/// Returns the name of the file that marks a spooled file as complete: `relative` with the suffix, below the tracker
/// directory.
pub(super) fn done_name(tracker: &Path, relative: &Path, suffix: &str) -> PathBuf {
    let mut name = relative.as_os_str().to_owned();
    // Writing to an `OsString` cannot fail.
    let _ = name.write_str(suffix);
    tracker.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_many_offsets_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut tracker = TrackerFile::new(directory.path());
        assert_eq!(tracker.read().unwrap(), None);
        let target = PathBuf::from("/in/a.txt");
        for offset in 0..200 {
            tracker.store(&target, offset * 1000).unwrap();
            let read = TrackerFile::new(directory.path()).read().unwrap();
            assert_eq!(read, Some((target.clone(), offset * 1000)));
        }
        // Another process appends to the existing records.
        let mut tracker = TrackerFile::new(directory.path());
        tracker.store(&target, 7).unwrap();
        assert_eq!(tracker.read().unwrap(), Some((target, 7)));
        tracker.remove().unwrap();
        tracker.remove().unwrap();
        assert_eq!(tracker.read().unwrap(), None);
    }

    #[test]
    fn a_torn_or_foreign_file_yields_only_whole_records() {
        let directory = tempfile::tempdir().unwrap();
        let mut tracker = TrackerFile::new(directory.path());
        let target = PathBuf::from("/in/a.txt");
        tracker.store(&target, 5).unwrap();
        tracker.store(&target, 70_000).unwrap();
        let whole = std::fs::read(tracker.path()).unwrap();
        for len in 0..whole.len() {
            std::fs::write(tracker.path(), &whole[..len]).unwrap();
            let read = tracker.read().unwrap();
            assert!(
                matches!(&read, None | Some((_, 0 | 5))),
                "{len} of {} bytes: {read:?}",
                whole.len()
            );
        }
        std::fs::write(tracker.path(), b"something else").unwrap();
        assert_eq!(tracker.read().unwrap(), None);
    }

    /// The layout written by Flume 1.11.
    #[test]
    fn a_file_of_flumes_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = TrackerFile::new(directory.path());
        let mut bytes = b"Obj\x01\x04\x16avro.schema\x90\x02".to_vec();
        bytes.extend_from_slice(SCHEMA.as_bytes());
        bytes.extend_from_slice(b"\x08file\x22/spool/in/big.txt\x00");
        let sync = b"\x92\x14\x6e\x1e\x65\xfe\x19\x08\xa3\x51\x33\x4b\x94\xee\x41\x10";
        bytes.extend_from_slice(sync);
        for record in [b"\x02\x02\x08", b"\x02\x02\x10"] {
            bytes.extend_from_slice(record);
            bytes.extend_from_slice(sync);
        }
        std::fs::write(tracker.path(), bytes).unwrap();
        assert_eq!(tracker.read().unwrap(), Some((PathBuf::from("/spool/in/big.txt"), 8)));
    }
}
