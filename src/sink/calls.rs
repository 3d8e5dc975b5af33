//! What sinks that send batches in calls share: numbers corrected as Flume corrects them, and batches
//! in pieces.

use crate::config::settings::{SettingsReader, Severity};
use crate::event::Event;

/// A number; one below `min`, or none at all, is taken as `default`, as in Flume.
pub(crate) fn corrected(reader: &mut SettingsReader<'_>, key: &str, min: u64, default: u64) -> u64 {
    match reader.number(key, 0..=u64::from(u32::MAX)) {
        Ok(Some(number)) if number >= min => number,
        Ok(None) => default,
        Ok(Some(_)) | Err(_) => {
            let message =
                format!("is less than {min} or no number: taken as {default}, as in Flume");
            reader.find(Severity::Warning, key, message);
            default
        }
    }
}

/// The batch in pieces of at most `bytes_max` bytes on the wire, or of one event.
pub(crate) fn pieces(batch: &[Event], bytes_max: usize) -> Vec<&[Event]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, event) in batch.iter().enumerate() {
        let len = wire_bytes(event);
        if at > start && bytes + len > bytes_max {
            pieces.push(&batch[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += len;
    }
    pieces.push(&batch[start..]);
    pieces
}

/// Bytes that an event takes in a call, at most.
pub(crate) fn wire_bytes(event: &Event) -> usize {
    event.size_bytes() + 10 * event.headers.len() + 24
}
