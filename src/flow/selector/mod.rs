//! Selectors: which channels of a source an event goes to.
//!
//! A new selector is one file and one line in [`TYPES`].

mod load_balancing;
mod multiplexing;
mod replicating;

pub use replicating::Replicating;

use crate::config::settings::{Key, SettingError, SettingsReader};
use crate::event::Event;

/// Every type of selector.
pub const TYPES: &[&SelectorType] =
    &[&replicating::TYPE, &multiplexing::TYPE, &load_balancing::TYPE];

/// A type of selector: its names, its keys, how it is built. Each declares one constant.
pub struct SelectorType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings, over the channels of the source.
    pub build: Build,
}

/// Builds a selector over the channels of a source.
pub type Build = fn(&mut SettingsReader<'_>, &[String]) -> Result<Box<dyn Selector>, SettingError>;

/// Where one event goes, as places in the source's list of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Channels that must commit it; one that does not is an error of the source.
    pub required: &'a [usize],
    /// Channels that may fail: that is logged and counted.
    pub optional: &'a [usize],
}

/// Decides where events go.
pub trait Selector: Send + Sync {
    /// Where `event` goes.
    fn route(&self, event: &Event) -> Route<'_>;

    /// Where every event goes, if that does not depend on it.
    fn same_for_all(&self) -> Option<Route<'_>> {
        None
    }

    /// Whether the same event goes the same way whenever it comes. Otherwise a batch that some of
    /// several channels have cannot be put into the others.
    fn is_repeatable(&self) -> bool {
        true
    }

    /// Whether some event may have to enter the channel at this place.
    fn may_require(&self, _at: usize) -> bool {
        true
    }
}

#[cfg(test)]
fn built(
    kind: &SelectorType,
    pairs: &[(&str, &str)],
    channels: &[&str],
) -> Result<Box<dyn Selector>, String> {
    let settings = crate::config::settings::Settings::from_pairs("selector", pairs);
    let channels: Vec<String> = channels.iter().map(|name| (*name).to_owned()).collect();
    (kind.build)(&mut SettingsReader::new(&settings), &channels).map_err(|error| error.to_string())
}
