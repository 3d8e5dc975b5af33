//! The values of one component at one moment, as monitoring shows them.

use super::{DropCount, FailureReport, PhaseReading};
use millpond::StripeStatus;
use millpond::internal::base::histogram::HistogramReading;
use std::fmt;
use std::time::Duration;

/// A value with its kind: monitoring formats distinguish counters and gauges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue {
    /// Counter: only grows while the agent runs.
    Count(u64),
    /// Gauge.
    Level(u64),
    /// Gauge in percent.
    Percent(f64),
    /// Boolean gauge.
    Flag(bool),
}

/// Role of a component. Its text is the prefix of Flume's component names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComponentRole {
    /// A channel.
    Channel,
    /// A sink.
    Sink,
    /// A source.
    Source,
}

impl fmt::Display for ComponentRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel => "CHANNEL",
            Self::Sink => "SINK",
            Self::Source => "SOURCE",
        })
    }
}

/// Identity of a configured component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentId {
    /// Its role.
    pub role: ComponentRole,
    /// Its name in the configuration.
    pub name: String,
    /// Its type: the first of the type's names, such as `file` or `avro`.
    pub kind: &'static str,
}

/// The values of one component.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentReading {
    /// Its role.
    pub role: ComponentRole,
    /// Its name in the configuration.
    pub name: String,
    /// Its type, as [`ComponentId::kind`]; empty if unknown.
    pub kind: &'static str,
    /// Flume's attribute names, without `Type`, and their values.
    pub values: Vec<(&'static str, MetricValue)>,
    /// Duration histograms, by operation.
    pub spreads: Vec<(&'static str, HistogramReading)>,
    /// Events that ended without having arrived, by reason, zeroes included.
    pub dropped: Vec<DropCount>,
    /// Why a source collects nothing, while that is known.
    pub fault: Option<String>,
    /// Why its last try failed, if one ever failed.
    pub failure: Option<FailureReport>,
    /// Phases of a sink, once it was started.
    pub phases: Option<PhaseReading>,
    /// Further values of an open channel.
    pub channel: Option<ChannelReading>,
}

/// Values that a channel reports of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelReading {
    /// Bytes of the waiting events: exact in memory, approximate on disk; 0 without events.
    pub waiting_bytes: u64,
    /// Bytes of memory that hold events, including those being written or read back.
    pub memory_bytes: u64,
    /// Events found damaged and quarantined since the channel was created.
    pub quarantined: u64,
    /// Events of suspended stripes, which cannot be reached now.
    pub out_of_reach: u64,
    /// Events there at the opening plus those put since, less those taken, waiting and damaged: must be 0. `None`
    /// where the channel cannot count both sides at one moment.
    pub unaccounted: Option<i64>,
    /// Successful writes to the log since the channel was opened.
    pub writes: u64,
    /// Bytes of these writes.
    pub written_bytes: u64,
    /// Failed or abandoned writes to the log since the channel was opened.
    pub failed_writes: u64,
    /// Age of the oldest event, lent and unreachable ones included; zero without events.
    pub oldest: Duration,
    /// Why it would refuse a put for a reason other than its capacity, if it would.
    pub trouble: Option<String>,
    /// Its stripes; empty for a memory channel.
    pub stripes: Vec<StripeStatus>,
}

impl ComponentReading {
    /// Returns the name under which Flume shows the component, such as `CHANNEL.c1`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.role, self.name)
    }
}
