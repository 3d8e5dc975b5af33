//! What is said on the socket: a line of JSON each.

use crate::flow::tap::{Counts, Glimpse};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

/// The first line of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// To be shown events.
    Tap(TapRequest),
}

/// Which events, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapRequest {
    /// A component's name, or `SOURCE.name` and its like.
    pub component: String,
    /// Events a second.
    pub events_per_second: u32,
    /// Bytes a second.
    pub bytes_per_second: u32,
    /// Bytes of a body.
    pub body_bytes: u32,
}

/// A line of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one, when there is nothing against it: who answers, and about what.
    Tapped {
        /// The agent's name.
        agent: String,
        /// The component, as in `SINK.k1`.
        component: String,
    },
    /// The only one: why not.
    Refused(String),
    /// An event that passed.
    Event(Shown),
    /// What passed so far, whenever that has changed, once in a second at most.
    Counts {
        /// Events.
        passed: u64,
        /// Of them shown.
        shown: u64,
        /// Of them dropped, since they were not read soon enough.
        dropped: u64,
    },
    /// The last one: the component is gone.
    Gone,
}

/// An event, cut to what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// `accepted`, `put`, `taken` or `delivered`.
    pub way: String,
    /// When it passed, milliseconds since 1970.
    pub time_ms: u64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Headers that are too long to be shown.
    pub headers_left_out: usize,
    /// The beginning of its body, in base64.
    pub body64: String,
    /// Bytes of the whole body.
    pub body_bytes: usize,
}

impl Shown {
    /// The bytes of the body; `None` where they are no base64.
    #[must_use]
    pub fn body(&self) -> Option<Vec<u8>> {
        Base64::decode_vec(&self.body64).ok()
    }
}

impl From<Glimpse> for Shown {
    fn from(glimpse: Glimpse) -> Self {
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

impl From<Counts> for Line {
    fn from(Counts { passed, shown, dropped }: Counts) -> Self {
        Self::Counts { passed, shown, dropped }
    }
}

/// What is said as a line, with its end.
pub(super) fn line(said: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(said).expect("texts and numbers are written to memory");
    line.push(b'\n');
    line
}
