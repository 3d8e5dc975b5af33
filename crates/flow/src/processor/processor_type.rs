//! What a sink processor is.

use crate::settings::{Key, SettingError, SettingsReader};
use std::time::Duration;

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
