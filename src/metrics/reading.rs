//! What a watcher gets to see of one component at one moment.

use std::fmt;

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

/// The values of one component.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it is.
    pub role: Role,
    /// Its name in the configuration.
    pub name: String,
    /// Flume's attribute names, without `Type`, and their values.
    pub values: Vec<(&'static str, Value)>,
}

impl Reading {
    /// The name under which Flume shows the component, such as `CHANNEL.c1`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.role, self.name)
    }
}
