//! The validated configuration of an agent.
//!
//! Everything here is usable: listed names exist and have a type, types are known, channels exist. The findings
//! say what was left out, and why.

use super::channels::{FileChannelSettings, MemoryChannelSettings, SpillableSettings};
use millpond_flow::channel_type::ChannelOpener;
use millpond_flow::settings::dead_letter::{DeadLetterPlace, DeadLetterSettings};
use millpond_flow::settings::{SettingPlace, Settings};
use std::sync::Arc;

/// One agent.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Its name.
    pub name: String,
    /// Its channels, in the listed order; each is used by a source or a sink.
    pub channels: Vec<ChannelConfig>,
    /// Its sources, in the listed order.
    pub sources: Vec<SourceConfig>,
    /// The names in its list of sources, including those that were left out.
    pub sources_listed: Vec<String>,
    /// Its sinks, in the listed order, those of groups included.
    pub sinks: Vec<SinkConfig>,
    /// Its sink groups. A sink is in at most one group; sinks without a group run alone.
    pub sink_groups: Vec<SinkGroupConfig>,
    /// Its unparsed keys below `alarms.`, which Flume does not have.
    pub alarms: Settings,
}

/// The common part of every component: name, type and settings.
#[derive(Clone, Debug)]
pub struct ComponentConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Its type: the first name of the type's catalogue entry, however it was written.
    pub type_name: &'static str,
    /// The place of the type in the file.
    pub place: SettingPlace,
    /// Its keys without the prefix, `type` included. Values parsed by this module (types, name lists) have no
    /// trailing comment.
    pub settings: Settings,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// Name, type and settings.
    pub component: ComponentConfig,
    /// The parsed settings, with Flume's defaults and corrections.
    pub kind: ChannelKind,
}

/// The channel types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// `file`
    File(FileChannelSettings),
    /// `memory`
    Memory(MemoryChannelSettings),
    /// `spillablememory`
    Spillable(SpillableSettings),
    /// A type of another crate.
    Adapter(AdapterChannel),
}

/// A channel of another crate. Two are equal if they are the same.
#[derive(Clone, Debug)]
pub struct AdapterChannel(pub Arc<dyn ChannelOpener>);

impl PartialEq for AdapterChannel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AdapterChannel {}

impl ChannelKind {
    /// Returns the most events of one transaction.
    #[must_use]
    pub fn transaction_capacity(&self) -> usize {
        match self {
            Self::File(file) => file.transaction_capacity,
            Self::Memory(memory) => memory.transaction_capacity,
            Self::Spillable(spillable) => spillable.overflow.transaction_capacity,
            Self::Adapter(AdapterChannel(opener)) => opener.transaction_capacity(),
        }
    }

    /// Returns the settings of its files on this machine, if it stores events in files.
    #[must_use]
    pub fn files(&self) -> Option<&FileChannelSettings> {
        match self {
            Self::File(file) => Some(file),
            Self::Spillable(spillable) if spillable.overflow_capacity > 0 => {
                Some(&spillable.overflow)
            }
            Self::Spillable(_) | Self::Memory(_) | Self::Adapter(_) => None,
        }
    }

    /// Returns true if every committed event outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Memory(_) | Self::Spillable(_) => false,
            Self::Adapter(AdapterChannel(opener)) => opener.is_durable(),
        }
    }
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Name, type and settings.
    pub component: ComponentConfig,
    /// The channels it feeds, in the listed order; at least one.
    pub channels: Vec<String>,
    /// The channel selector, with the settings below `selector.`.
    pub selector: ComponentConfig,
    /// Its interceptors, in order.
    pub interceptors: Vec<ComponentConfig>,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Name, type and settings.
    pub component: ComponentConfig,
    /// The channel it drains.
    pub channel: String,
    /// Where events go that the destination refuses for good; `None`: they stay.
    pub dead_letter: Option<DeadLetterSettings>,
}

impl SinkConfig {
    /// Returns true if it takes from the channel or puts refused events into it.
    #[must_use]
    pub fn uses(&self, channel: &str) -> bool {
        let dead = self.dead_letter.as_ref().map(|dead| &dead.place);
        let puts = matches!(dead, Some(DeadLetterPlace::Channel(name)) if name == channel);
        puts || self.channel == channel
    }
}

/// Sinks of which one delivers at a time.
#[derive(Clone, Debug)]
pub struct SinkGroupConfig {
    /// Its name.
    pub name: String,
    /// Its sinks, in the listed order; at least one.
    pub sinks: Vec<String>,
    /// The sink processor, with the settings below `processor.`.
    pub processor: ComponentConfig,
}
