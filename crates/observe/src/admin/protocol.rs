//! Messages of the admin socket, one line of JSON each.

use base64ct::{Base64, Encoding};
use millpond_flow::tap::{TapCounts, TappedEvent};
use serde::{Deserialize, Serialize};

/// The first line of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRequest {
    /// Shows events.
    Tap(TapRequest),
}

/// Which events, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapRequest {
    /// A component's name, or `SOURCE.name` and the like.
    pub component: String,
    /// Events per second.
    pub events_per_second: u32,
    /// Bytes per second.
    pub bytes_per_second: u32,
    /// Bytes of each body.
    pub body_bytes: u32,
}

/// A line from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminReply {
    /// The first line of an accepted request: the agent's name and the component.
    Tapped {
        /// The agent's name.
        agent: String,
        /// The component, as in `SINK.k1`.
        component: String,
    },
    /// The only line of a refused request: the reason.
    Refused(String),
    /// An event that passed.
    Event(ShownEvent),
    /// The counts so far, after a change, at most once per second.
    Counts {
        /// Events.
        passed: u64,
        /// Of them, shown.
        shown: u64,
        /// Of them, dropped because the client did not read fast enough.
        dropped: u64,
    },
    /// The last line: the component was removed.
    Gone,
}

/// An event, cut to the requested size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownEvent {
    /// `accepted`, `put`, `taken` or `delivered`.
    pub way: String,
    /// When it passed, milliseconds since 1970.
    pub time_ms: u64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Number of headers that are too long to be shown.
    pub headers_left_out: usize,
    /// The beginning of its body, in base64.
    pub body64: String,
    /// Length of the whole body, bytes.
    pub body_bytes: usize,
}

impl ShownEvent {
    /// Returns the bytes of the body; `None` if they are not valid base64.
    #[must_use]
    pub fn body(&self) -> Option<Vec<u8>> {
        Base64::decode_vec(&self.body64).ok()
    }
}

impl From<TappedEvent> for ShownEvent {
    fn from(glimpse: TappedEvent) -> Self {
        Self {
            way: glimpse.way.word().to_owned(),
            time_ms: glimpse.wall_ms,
            headers: glimpse.headers,
            headers_left_out: glimpse.headers_left_out,
            body64: Base64::encode_string(&glimpse.body),
            body_bytes: glimpse.body_bytes,
        }
    }
}

impl From<TapCounts> for AdminReply {
    fn from(TapCounts { passed, shown, dropped }: TapCounts) -> Self {
        Self::Counts { passed, shown, dropped }
    }
}

/// Encodes a message as a line, with its newline.
pub(super) fn line(said: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(said).expect("texts and numbers are written to memory");
    line.push(b'\n');
    line
}
