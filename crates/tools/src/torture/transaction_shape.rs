//! The contents of each put transaction. They follow from the seed, the writer and the
//! transaction's number, so that an acknowledgement need not carry any bytes and every byte can
//! still be judged.

use super::seed_stream::{SeedStream, purpose};
use millpond::Event;
use std::fmt;

/// A put transaction: the `number`th of its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PutName {
    pub(super) writer: u32,
    pub(super) number: u64,
}

impl fmt::Display for PutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.writer, self.number)
    }
}

/// The shape of a put transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransactionShape {
    /// Events in it; with a source offset it may have none.
    pub(super) events: u32,
    /// Whether it carries its writer's source offset.
    pub(super) position: bool,
    /// Whether it is rolled back and never committed.
    pub(super) rolled_back: bool,
    /// Whether it is committed by a future.
    pub(super) by_future: bool,
}

impl TransactionShape {
    /// Returns the shape of `put`.
    pub(super) fn of(seed: u64, put: PutName) -> Self {
        let draw = SeedStream::new(seed, &[purpose::PUT, u64::from(put.writer), put.number]);
        let events = match draw.below(100) {
            0 => 0,
            1..=45 => 1,
            46..=92 => draw.between(2, 20),
            _ => draw.between(21, 100),
        };
        Self {
            events: events as u32,
            position: events == 0 || draw.one_in(3),
            rolled_back: draw.one_in(25),
            by_future: draw.one_in(4),
        }
    }
}

/// Returns the source name under which `writer` commits its source offsets.
pub(super) fn source(writer: u32) -> String {
    format!("writer-{writer}")
}

/// Returns the event at `index` of `put`.
pub(super) fn event(seed: u64, put: PutName, index: u32) -> Event {
    let path = [purpose::EVENT, u64::from(put.writer), put.number, u64::from(index)];
    let draw = SeedStream::new(seed, &path);
    let bytes = match draw.below(1000) {
        0..=899 => draw.below(600),
        900..=996 => draw.below(8 * 1024),
        _ => draw.below(100 * 1024),
    } as usize;
    let mut body = format!("{put}.{index};").into_bytes();
    let end = body.len() + bytes;
    while body.len() < end {
        body.extend_from_slice(&draw.bits().to_le_bytes());
    }
    body.truncate(end);
    let mut event = Event::new(body);
    if draw.one_in(3) {
        event.headers.set("put", put.number.to_string());
        event.headers.set("empty", "");
    }
    event
}

/// Returns the name that the event carries.
pub(super) fn name_of(event: &Event) -> Option<(PutName, u32)> {
    let head = &event.body[..event.body.len().min(64)];
    let end = head.iter().position(|b| *b == b';')?;
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let mut parts = text.split('.');
    let put = PutName { writer: number(parts.next()?)?, number: number(parts.next()?)? };
    let index = number(parts.next()?)?;
    parts.next().is_none().then_some((put, index))
}

/// Parses a number as it is written here: digits alone, no sign.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_its_name_and_no_two_are_alike() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..200 {
            let put = PutName { writer: 3, number };
            for index in 0..TransactionShape::of(9, put).events {
                let it = event(9, put, index);
                assert_eq!(name_of(&it), Some((put, index)));
                assert_eq!(it, event(9, put, index));
                assert!(seen.insert(it.body.to_vec()));
            }
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        for body in ["", "1.2.3", "1.2;", "1.2.3.4;", "a.2.3;", "+1.2.3;", "1.-2.3;x"] {
            assert_eq!(name_of(&Event::new(body)), None, "{body}");
        }
    }
}
