//! What a source is.

use crate::channel::BoxFuture;
use crate::config::settings::{Key, SettingError, SettingsReader};

/// A type of source: its names, its keys, how it is built. Each adapter declares one constant.
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
    /// Opens what it listens to or reads, says so through [`SourceContext::started`], and runs
    /// until [`SourceContext::stop`] fires, then lets go within the stop deadline: what was
    /// handed over and not answered is answered or given up. After an error or a panic the flow
    /// calls it again, with back-off.
    ///
    /// # Errors
    /// What made the source end by itself. `Ok` before the stop signal means that the source has
    /// nothing more to give (a `seq` with `totalEvents`); it is not started again.
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>>;

    /// Tries what [`Source::run`] begins with, while another source runs in whose place this one is to come:
    /// reads key stores and passwords, binds the ports that no source of this process listens on, looks at
    /// directories. Keeps nothing of it.
    ///
    /// # Errors
    /// It could not start.
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

pub use super::context::{Failure, SourceContext};
