//! Sink processors: which sink of a group delivers next.
//!
//! A group of sinks is one line of work: it adds no parallelism, it adds a second way. A new
//! processor is one file and one line in [`TYPES`].

mod failover;
mod load_balance;

use crate::config::settings::{Key, SettingError, SettingsReader};
use std::time::Duration;

/// Every type of sink processor.
pub const TYPES: &[&ProcessorType] = &[&ALONE, &failover::TYPE, &load_balance::TYPE];

/// A type of sink processor: its names, its keys, how it is built. Each declares one constant.
pub struct ProcessorType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings, over the sinks of the group in the order they are listed.
    pub build: Build,
}

/// Builds a processor over the sinks of a group.
pub type Build = fn(&mut SettingsReader<'_>, &[String]) -> Result<Box<dyn Processor>, SettingError>;

/// Decides which sink delivers. Sinks are places in the group's list; `now` is a reading of
/// [`Clock::now`](crate::base::clock::Clock::now).
pub trait Processor: Send {
    /// The sinks to try, one after the other until one does not fail. `waits` says whether there
    /// is an event for a sink.
    fn order(&mut self, now: Duration, waits: &dyn Fn(usize) -> bool) -> Vec<usize>;

    /// A sink delivered.
    fn delivered(&mut self, at: usize);

    /// A sink failed.
    fn failed(&mut self, at: usize, now: Duration);

    /// Whether several sinks deliver side by side, and not one as long as it can.
    fn spreads(&self) -> bool {
        false
    }
}

/// The type `default`: a sink alone.
const ALONE: ProcessorType = ProcessorType {
    names: &["default", "org.apache.flume.sink.DefaultSinkProcessor"],
    keys: &[],
    build: |_, sinks| Ok(Box::new(Alone(sinks.len()))),
};

struct Alone(usize);

impl Processor for Alone {
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
    let settings = crate::config::settings::Settings::from_pairs("processor", pairs);
    let sinks: Vec<String> = sinks.iter().map(|name| (*name).to_owned()).collect();
    let mut reader = SettingsReader::new(&settings);
    let built = (kind.build)(&mut reader, &sinks).map_err(|error| error.to_string());
    (built, reader.into_findings().iter().map(ToString::to_string).collect())
}
