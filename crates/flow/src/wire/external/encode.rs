//! Writes the lines of the agent.

use super::VERSION;
use base64ct::{Base64, Encoding};
use millpond::Event;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::BTreeMap;

/// The first line to a process.
#[derive(Clone, Debug, Serialize)]
pub struct Greeting<'a> {
    /// [`VERSION`].
    millpond: u32,
    /// `source`, `sink` or `interceptor`.
    pub role: &'static str,
    /// The component's full name, `a1.sources.r1`.
    pub name: &'a str,
    /// Its configuration keys that are passed to the process.
    pub settings: &'a BTreeMap<String, String>,
    /// Most events of one batch.
    pub batch: usize,
    /// Most bytes of one line, without its newline.
    pub line: usize,
    /// For a source: the position to resume from.
    #[serde(flatten)]
    pub place: Option<ResumePosition<'a>>,
}

/// The position to resume a source from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResumePosition<'a> {
    /// True if its channels keep positions together with events.
    pub durable: bool,
    /// The position of the last committed batch; `None` at first.
    pub position: Option<&'a str>,
    /// The batch that must come first, if only some of several channels have it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatedBatch<'a>>,
}

/// A batch that has to be put again unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RepeatedBatch<'a> {
    /// The number of its events.
    pub events: usize,
    /// Its position.
    pub position: &'a str,
}

impl<'a> Greeting<'a> {
    /// Returns a greeting to a process in the `role` of the component `name`.
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

    /// Returns the line.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }
}

/// Returns the line that confirms a source's batch.
#[must_use]
pub fn ok(number: u64) -> Vec<u8> {
    line(&BTreeMap::from([("ok", number)]))
}

/// Returns the line that refuses a source's batch for good, with the reason.
#[must_use]
pub fn failed(number: u64, why: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct FailedReply<'a> {
        failed: u64,
        why: &'a str,
    }
    line(&FailedReply { failed: number, why })
}

/// Returns the line that asks the process to end.
#[must_use]
pub fn stop() -> Vec<u8> {
    line(&BTreeMap::from([("stop", true)]))
}

/// An event that does not fit into a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event of {bytes} bytes makes a line of more than {max} bytes for its process; raise lineBytes"
)]
pub struct EventTooLong {
    /// Bytes of its body and headers.
    pub bytes: usize,
    /// Most bytes of a line.
    pub max: usize,
}

/// Returns the line of batch `number`, of at most `line_bytes_max` bytes, with as many of `events` from the first
/// on as fit, and their number; at least one.
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
        put(&mut out, &EncodedEvent(event));
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

/// An event as encoded in a line: `headers`, and the body as `body` if it is UTF-8, otherwise in base64 as
/// `body64`.
pub struct EncodedEvent<'a>(pub &'a Event);

impl Serialize for EncodedEvent<'_> {
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
