//! What a selector is.

use crate::settings::{Key, SettingError, SettingsReader};
use millpond::Event;

/// A type of selector: its names, its keys and its constructor. Each type declares one constant.
pub struct SelectorType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings, for the channels of the source.
    pub build: BuildSelector,
}

/// Builds a selector over the channels of a source.
pub type BuildSelector =
    fn(&mut SettingsReader<'_>, &[String]) -> Result<Box<dyn Selector>, SettingError>;

/// The channels of an event, as indexes in the source's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRoute<'a> {
    /// Channels that must commit it; a failure is an error of the source.
    pub required: &'a [usize],
    /// Channels that may fail, which is logged and counted.
    pub optional: &'a [usize],
}

/// Chooses the channels of events.
pub trait Selector: Send + Sync {
    /// Returns the channels of `event`.
    fn route(&self, event: &Event) -> EventRoute<'_>;

    /// Returns the channels of every event, if they do not depend on the event.
    fn same_for_all(&self) -> Option<EventRoute<'_>> {
        None
    }

    /// Returns true if the same event always goes the same way. Otherwise a batch that some of several channels
    /// have cannot be put into the others.
    fn is_repeatable(&self) -> bool {
        true
    }

    /// Returns true if some event may require the channel at this index.
    fn may_require(&self, _at: usize) -> bool {
        true
    }
}
