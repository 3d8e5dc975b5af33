//! The trait of sources.

use crate::settings::{Key, SettingError, SettingsReader};
use millpond::BoxFuture;

/// A type of source: its names, its keys and its constructor. Each adapter declares one constant.
pub struct SourceType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without those that every source has (`type`, `channels`, …).
    pub keys: &'static [Key],
    /// Reads the settings; starts nothing and opens nothing.
    pub build: fn(&mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError>,
}

/// A source: takes events from outside and hands them to its channels.
pub trait Source: Send + Sync {
    /// Opens what it listens to or reads, reports that through [`SourceContext::started`], and runs until
    /// [`SourceContext::stop`] fires; then it closes within the stop deadline: pending batches are confirmed or
    /// abandoned. After an error or a panic the flow calls it again, with back-off.
    ///
    /// # Errors
    /// The cause that ended the source. `Ok` before the stop signal means that the source has no further events
    /// (a `seq` with `totalEvents`); it is not started again.
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>>;

    /// Tries the begin of [`Source::run`] while the source that it will replace still runs: reads key stores and
    /// passwords, binds ports that no source of this process listens on, examines directories. Keeps nothing of
    /// it.
    ///
    /// # Errors
    /// It could not start.
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

pub use super::context::{Failure, SourceContext};
