//! The lines of the agent.

use super::VERSION;
use crate::event::Event;
use base64ct::{Base64, Encoding};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::BTreeMap;

/// The first line that a process gets.
#[derive(Clone, Debug, Serialize)]
pub struct Greeting<'a> {
    /// [`VERSION`].
    millpond: u32,
    /// `source`, `sink` or `interceptor`.
    pub role: &'static str,
    /// The component's whole name, `a1.sources.r1`.
    pub name: &'a str,
    /// Its keys in the configuration that are the process's own.
    pub settings: &'a BTreeMap<String, String>,
    /// Events of one batch at most.
    pub batch: usize,
    /// Bytes of one line at most, its newline not counted.
    pub line: usize,
    /// Of a source: where it stands.
    #[serde(flatten)]
    pub place: Option<Place<'a>>,
}

/// Where a source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place<'a> {
    /// Whether its channels keep positions together with events.
    pub durable: bool,
    /// The position of the last batch that was committed; none at first.
    pub position: Option<&'a str>,
    /// What the first batch has to be, where one channel of several has it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat<'a>>,
}

/// A batch that has to be put again as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Repeat<'a> {
    /// How many events it has.
    pub events: usize,
    /// Its position.
    pub position: &'a str,
}

impl<'a> Greeting<'a> {
    /// A greeting to a process in the `role` of the component `name`.
    #[must_use]
    pub fn new(
        role: &'static str,
        name: &'a str,
        settings: &'a BTreeMap<String, String>,
        batch: usize,
        line: usize,
    ) -> Self {
        Self { millpond: VERSION, role, name, settings, batch, line, place: None }
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }
}

/// A source's batch of this number is committed.
#[must_use]
pub fn ok(number: u64) -> Vec<u8> {
    line(&BTreeMap::from([("ok", number)]))
}

/// A source's batch of this number is not, and `why` it is not tried again.
#[must_use]
pub fn failed(number: u64, why: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Failed<'a> {
        failed: u64,
        why: &'a str,
    }
    line(&Failed { failed: number, why })
}

/// The process is to end.
#[must_use]
pub fn stop() -> Vec<u8> {
    line(&BTreeMap::from([("stop", true)]))
}

/// An event that makes too long a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event of {bytes} bytes makes a line of more than {max} bytes for its process; raise lineBytes"
)]
pub struct EventTooLong {
    /// Bytes of its body and headers.
    pub bytes: usize,
    /// Bytes of a line at most.
    pub max: usize,
}

/// The batch `number` of as many of `events`, from the first on, as a line of `line_bytes_max` bytes
/// holds, and how many those are; at least one.
///
/// # Errors
/// The first event alone is too long.
pub fn batch(
    number: u64,
    events: &[Event],
    line_bytes_max: usize,
) -> Result<(Vec<u8>, usize), EventTooLong> {
    const END: &[u8] = b"]}";
    let mut out = format!("{{\"batch\":{number},\"events\":[").into_bytes();
    for (at, event) in events.iter().enumerate() {
        let before = out.len();
        if at > 0 {
            out.push(b',');
        }
        put(&mut out, &Written(event));
        if out.len() + END.len() <= line_bytes_max {
            continue;
        }
        if at == 0 {
            return Err(EventTooLong { bytes: event.size_bytes(), max: line_bytes_max });
        }
        out.truncate(before);
        out.extend_from_slice(END);
        out.push(b'\n');
        return Ok((out, at));
    }
    out.extend_from_slice(END);
    out.push(b'\n');
    Ok((out, events.len()))
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, message);
    out.push(b'\n');
    out
}

fn put(out: &mut Vec<u8>, message: &impl Serialize) {
    serde_json::to_writer(out, message).expect("texts and numbers are written to memory");
}

/// An event as it stands in a line: `headers`, and the body as `body` where it is UTF-8, else in base64 as
/// `body64`.
pub struct Written<'a>(pub &'a Event);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("headers", &WrittenHeaders(self.0))?;
        match std::str::from_utf8(&self.0.body) {
            Ok(text) => map.serialize_entry("body", text)?,
            Err(_) => map.serialize_entry("body64", &Base64::encode_string(&self.0.body))?,
        }
        map.end()
    }
}

struct WrittenHeaders<'a>(&'a Event);

impl Serialize for WrittenHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.headers.iter())
    }
}
