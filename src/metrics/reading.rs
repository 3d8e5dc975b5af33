//! What a watcher gets to see of one component at one moment.

use super::{Dropped, Failure, PhaseReading, Spread};
use std::fmt;
use std::time::Duration;

/// One value, by how it moves: formats of monitoring tell counters and gauges apart.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Only grows while the agent runs.
    Count(u64),
    /// As of now.
    Level(u64),
    /// As of now, percent.
    Percent(f64),
    /// Yes or no.
    Flag(bool),
}

/// What a component is. Its text is the one in Flume's names of components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A channel.
    Channel,
    /// A sink.
    Sink,
    /// A source.
    Source,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel => "CHANNEL",
            Self::Sink => "SINK",
            Self::Source => "SOURCE",
        })
    }
}

/// A component that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub role: Role,
    /// Its name in the configuration.
    pub name: String,
    /// Its type: the first of the type's names, such as `file` or `avro`.
    pub kind: &'static str,
}

/// The values of one component.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it is.
    pub role: Role,
    /// Its name in the configuration.
    pub name: String,
    /// Its type, as [`Member::kind`]; empty when nobody said.
    pub kind: &'static str,
    /// Flume's attribute names, without `Type`, and their values.
    pub values: Vec<(&'static str, Value)>,
    /// How long what it does took, by the name of that.
    pub spreads: Vec<(&'static str, Spread)>,
    /// Events that ended without having arrived, by reason, zeroes included.
    pub dropped: Vec<Dropped>,
    /// Why a source collects nothing, while it knows.
    pub fault: Option<String>,
    /// Why its last try failed, if one ever did.
    pub failure: Option<Failure>,
    /// What a sink does, once it was begun.
    pub phases: Option<PhaseReading>,
    /// What a channel that is open says beyond them.
    pub channel: Option<ChannelReading>,
}

/// What a channel says of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelReading {
    /// Bytes of the waiting events: in memory as they are counted there, on disk about; 0 without any.
    pub waiting_bytes: u64,
    /// Bytes of memory that hold events, those on their way to and from the disk included.
    pub memory_bytes: u64,
    /// Events found damaged and set aside, since the channel was made.
    pub quarantined: u64,
    /// Events of suspended stripes, which cannot be reached now.
    pub out_of_reach: u64,
    /// Events there at the opening and put since, less those taken, waiting and found damaged: 0.
    /// `None` where the channel cannot count both sides at one moment.
    pub unaccounted: Option<i64>,
    /// Writes to the log that ended well, since the channel was opened.
    pub writes: u64,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Writes to the log that failed or were given up, likewise.
    pub failed_writes: u64,
    /// How long the oldest event has waited, lent and unreachable ones included; zero without one.
    pub oldest: Duration,
    /// Why it would refuse a put for another reason than its capacity, if it would.
    pub trouble: Option<String>,
    /// Its stripes; none of a channel in memory.
    pub stripes: Vec<StripeReading>,
}

/// A stripe of a channel, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeReading {
    /// Its data directory; empty while that is missing.
    pub directory: String,
    /// Events waiting, lent or being written.
    pub events: u64,
    /// Bytes of the segments that hold blocks.
    pub segment_bytes: u64,
    /// Segments that hold blocks.
    pub segments: u64,
    /// Segments ready for use.
    pub free_segments: u64,
    /// Below this sequence everything is acknowledged or void, durably.
    pub frontier: u64,
    /// Below this sequence everything is durable.
    pub watermark: u64,
    /// How long the first event that is not done has waited; zero without one.
    pub oldest: Duration,
    /// Bytes of the log from that event to its end, about.
    pub lag_bytes: u64,
    /// Writes that ended well, each durable when it did.
    pub writes: Spread,
    /// Why it cannot be written, if it cannot.
    pub suspended: Option<String>,
    /// Why it takes no puts, if it does not.
    pub no_space: Option<String>,
}

impl Reading {
    /// The name under which Flume shows the component, such as `CHANNEL.c1`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.role, self.name)
    }
}
