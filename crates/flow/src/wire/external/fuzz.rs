//! Entry point of the fuzz target; crates/agent/tests/hostile runs it too.

use super::decode::{self, ProcessBatch, ProcessMessage};
use super::encode;

/// Most events of a line.
const EVENTS_MAX: usize = 1000;

/// Takes any bytes as the line of a process. The events of a valid batch must be equal after writing and reading
/// them, in one line and in lines of a few bytes.
///
/// # Panics
/// That does not hold.
pub fn external(bytes: &[u8]) {
    let Ok(said) = decode::line(bytes, EVENTS_MAX) else { return };
    let ProcessMessage::Batch(ProcessBatch { number, events, .. }) = said else { return };
    assert!(events.len() <= EVENTS_MAX, "no more events than allowed");
    for line_bytes_max in [usize::MAX, 200] {
        let (mut left, mut again) = (&events[..], Vec::new());
        while !left.is_empty() {
            let Ok((line, taken)) = encode::batch(number, left, line_bytes_max) else { break };
            assert!(taken > 0 && line.len() - 1 <= line_bytes_max, "within its bounds");
            let text = line.strip_suffix(b"\n").expect("a line ends");
            assert!(!text.contains(&b'\n'), "a batch is one line");
            match decode::line(text, EVENTS_MAX) {
                Ok(ProcessMessage::Batch(batch)) if batch.number == number => {
                    again.extend(batch.events);
                }
                other => panic!("a batch reads back: {other:?}"),
            }
            left = &left[taken..];
        }
        assert_eq!(again[..], events[..events.len() - left.len()], "events read back");
    }
}
