//! Files of events on HDFS and on other file systems.
//!
//! [`file_system`] is what the sink asks of any of them; each implementation is one file there. [`sink`] is the sink,
//! with the formats of its files.

pub mod file_system;
mod format;
pub mod sink;

use millpond_flow::sink::SinkType;

/// The types of sinks that this crate has.
pub const SINK_TYPES: &[&SinkType] = &[&sink::TYPE];
