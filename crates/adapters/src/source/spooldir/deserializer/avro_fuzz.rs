//! Entry point of the fuzz target `container`; crates/agent/tests/hostile runs it too.

use super::avro::{AvroContainer, SchemaType};
use super::deserialize::Deserializer;
use crate::source::file_reading::FileOffset;
use crate::source::file_reading::buffered_file::BufferedFile;
use millpond::Event;
use std::io;
use std::os::unix::fs::FileExt;

/// Reads any bytes as a container file: whole, resumed after each datum, and while the file grows.
///
/// # Panics
/// The events depend on where reading began, or on how much of the file existed.
pub fn fuzz(bytes: &[u8]) {
    let all = events(bytes, FileOffset::default(), true);
    let is_cut = all.len() == FUZZED_MAX;
    for from in all
        .iter()
        .take(if is_cut { 0 } else { FUZZED_MAX })
        .step_by(1 + all.len() / 8)
        .map(|(_, point)| *point)
    {
        let rest = events(bytes, from, true);
        assert!(all.ends_with(&rest), "after {from:?} the same follows");
    }
    let cut = bytes.len() / 2;
    let growing = events(&bytes[..cut], FileOffset::default(), false);
    assert!(all.starts_with(&growing), "what is there of a file is its beginning");
}

/// Most events that [`fuzz`] checks.
const FUZZED_MAX: usize = 2000;

fn events(bytes: &[u8], from: FileOffset, whole: bool) -> Vec<(Event, FileOffset)> {
    let mut input = BufferedFile::new(Fuzzed(bytes), from.offset);
    let mut container = AvroContainer::new(SchemaType::Hash, from);
    let mut events = Vec::new();
    while let Ok(Some(event)) = container.next(&mut input, whole) {
        events.push((event, container.point(&input)));
        if events.len() == FUZZED_MAX {
            break;
        }
    }
    events
}

/// A file in memory.
struct Fuzzed<'a>(&'a [u8]);

impl FileExt for Fuzzed<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let count = out.len().min(self.0.len() - at);
        out[..count].copy_from_slice(&self.0[at..at + count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("nothing is written")
    }
}
