//! Sink processors, which choose the sink of a group that delivers next.
//!
//! A group adds an alternative destination, not parallelism: its sinks run one at a time. A new processor is one
//! file and one line in [`TYPES`].

mod failover;
mod load_balance;

use crate::settings::{Key, SettingError, SettingsReader};
use std::time::Duration;

/// Every type of sink processor.
pub const TYPES: &[&ProcessorType] = &[&ALONE, &failover::TYPE, &load_balance::TYPE];

/// A type of sink processor: its names, its keys and its constructor. Each type declares one constant.
pub struct ProcessorType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings, for the sinks of the group in the order in which they are listed.
    pub build: BuildProcessor,
}

/// Builds a processor over the sinks of a group.
pub type BuildProcessor =
    fn(&mut SettingsReader<'_>, &[String]) -> Result<Box<dyn Processor>, SettingError>;

/// Chooses the sink that delivers. Sinks are indexes in the group's list; `now` is a reading of
/// [`Clock::now`](millpond::Clock::now).
pub trait Processor: Send {
    /// Returns the sinks to try, one after the other until one does not fail. `waits` returns true if there is an
    /// event for a sink.
    fn order(&mut self, now: Duration, waits: &dyn Fn(usize) -> bool) -> Vec<usize>;

    /// Records that a sink delivered.
    fn delivered(&mut self, at: usize);

    /// Records that a sink failed.
    fn failed(&mut self, at: usize, now: Duration);

    /// Returns true if several sinks deliver in turn, and not one as long as it can.
    fn spreads(&self) -> bool {
        false
    }
}

/// The type `default`: a single sink.
const ALONE: ProcessorType = ProcessorType {
    names: &["default", "org.apache.flume.sink.DefaultSinkProcessor"],
    keys: &[],
    build: |_, sinks| Ok(Box::new(SingleSink(sinks.len()))),
};

struct SingleSink(usize);

impl Processor for SingleSink {
    fn order(&mut self, _: Duration, _: &dyn Fn(usize) -> bool) -> Vec<usize> {
        (0..self.0).collect()
    }

    fn delivered(&mut self, _: usize) {}

    fn failed(&mut self, _: usize, _: Duration) {}
}

#[cfg(test)]
fn built(
    kind: &ProcessorType,
    pairs: &[(&str, &str)],
    sinks: &[&str],
) -> (Result<Box<dyn Processor>, String>, Vec<String>) {
    let settings = crate::settings::Settings::from_pairs("processor", pairs);
    let sinks: Vec<String> = sinks.iter().map(|name| (*name).to_owned()).collect();
    let mut reader = SettingsReader::new(&settings);
    let built = (kind.build)(&mut reader, &sinks).map_err(|error| error.to_string());
    (built, reader.into_findings().iter().map(ToString::to_string).collect())
}
