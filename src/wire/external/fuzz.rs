//! What the fuzz target calls; tests/hostile runs it too.

use super::read::{self, Batch, Said};
use super::write;

/// Events of a line at most.
const EVENTS_MAX: usize = 1000;

/// Any bytes as the line of a process. The events of a batch that is understood are the same when they
/// are written and read again, in one line and in lines of a few bytes.
///
/// # Panics
/// They are not.
pub fn external(bytes: &[u8]) {
    let Ok(said) = read::line(bytes, EVENTS_MAX) else { return };
    let Said::Batch(Batch { number, events, .. }) = said else { return };
    assert!(events.len() <= EVENTS_MAX, "no more events than allowed");
    for line_bytes_max in [usize::MAX, 200] {
        let (mut left, mut again) = (&events[..], Vec::new());
        while !left.is_empty() {
            let Ok((line, taken)) = write::batch(number, left, line_bytes_max) else { break };
            assert!(taken > 0 && line.len() - 1 <= line_bytes_max, "within its bounds");
            let text = line.strip_suffix(b"\n").expect("a line ends");
            assert!(!text.contains(&b'\n'), "a batch is one line");
            match read::line(text, EVENTS_MAX) {
                Ok(Said::Batch(batch)) if batch.number == number => again.extend(batch.events),
                other => panic!("a batch reads back: {other:?}"),
            }
            left = &left[taken..];
        }
        assert_eq!(again[..], events[..events.len() - left.len()], "events read back");
    }
}
