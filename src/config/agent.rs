//! What an agent is made of, as its configuration says it, after validation.
//!
//! Everything here is usable as it stands: names are listed and have a type, types are known,
//! channels exist. What was left out, and why, stands in the findings beside it.

use super::channels::{FileChannelSettings, MemoryChannelSettings, SpillableSettings};
use super::dead_letter::{DeadLetterPlace, DeadLetterSettings};
use super::settings::{Place, Settings};

/// One agent.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Its name.
    pub name: String,
    /// Its channels, in the order they are listed; each is attached to a source or a sink.
    pub channels: Vec<ChannelConfig>,
    /// Its sources, in the order they are listed.
    pub sources: Vec<SourceConfig>,
    /// The names in its list of sources, also of those that were left out.
    pub sources_listed: Vec<String>,
    /// Its sinks, in the order they are listed, those of groups included.
    pub sinks: Vec<SinkConfig>,
    /// Its sink groups. A sink is in one group at most; sinks of no group run alone.
    pub sink_groups: Vec<SinkGroupConfig>,
    /// Its keys below `alarms.`, which Flume does not have, as they stand.
    pub alarms: Settings,
}

/// What every part has: a name, a type and settings.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name in the configuration.
    pub name: String,
    /// Its type: the first name of the type's entry in the catalogue, however it was written.
    pub type_name: &'static str,
    /// Where the type stands.
    pub place: Place,
    /// Its keys, `type` among them, without the prefix. Values that this floor has understood
    /// (type, name lists) stand without their trailing comment.
    pub settings: Settings,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// Name, type and settings.
    pub component: Component,
    /// The settings read, with Flume's defaults and corrections.
    pub kind: ChannelKind,
}

/// The types of channel that exist here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// `file`
    File(FileChannelSettings),
    /// `memory`
    Memory(MemoryChannelSettings),
    /// `spillablememory`
    Spillable(SpillableSettings),
}

impl ChannelKind {
    /// Events of one transaction at most.
    #[must_use]
    pub fn transaction_capacity(&self) -> usize {
        match self {
            Self::File(file) => file.transaction_capacity,
            Self::Memory(memory) => memory.transaction_capacity,
            Self::Spillable(spillable) => spillable.overflow.transaction_capacity,
        }
    }
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Name, type and settings.
    pub component: Component,
    /// The channels it feeds, in the order they are listed; at least one.
    pub channels: Vec<String>,
    /// How events are spread over the channels. Its settings are those below `selector.`.
    pub selector: Component,
    /// What events pass before, in this order.
    pub interceptors: Vec<Component>,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Name, type and settings.
    pub component: Component,
    /// The channel it drains.
    pub channel: String,
    /// Where an event goes that its destination refuses for good; `None`: it stays.
    pub dead_letter: Option<DeadLetterSettings>,
}

impl SinkConfig {
    /// Whether it takes from the channel or puts refused events into it.
    #[must_use]
    pub fn uses(&self, channel: &str) -> bool {
        let dead = self.dead_letter.as_ref().map(|dead| &dead.place);
        let puts = matches!(dead, Some(DeadLetterPlace::Channel(name)) if name == channel);
        puts || self.channel == channel
    }
}

/// Sinks of which one at a time delivers.
#[derive(Clone, Debug)]
pub struct SinkGroupConfig {
    /// Its name.
    pub name: String,
    /// Its sinks, in the order they are listed; at least one.
    pub sinks: Vec<String>,
    /// How a sink is chosen. Its settings are those below `processor.`.
    pub processor: Component,
}
