//! The component types that can be built, as the higher modules provide them.

use super::channel_keys::{FILE_KEYS, MEMORY_KEYS, SPILLABLE_KEYS};
use super::types::{self, ComponentKind};
use millpond_flow::channel_type::ChannelType;
use millpond_flow::settings::Key;
use std::collections::BTreeMap;

/// A type that can be built: its names and keys.
#[derive(Clone, Copy, Debug)]
pub struct TypeEntry {
    /// The names that a configuration may use: the alias first, then class names.
    pub names: &'static [&'static str],
    /// Its keys, without those that every component of its kind has (`type`, `channels`, …).
    pub keys: &'static [Key],
}

/// All types that can be built, by kind.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Sources.
    pub sources: Vec<TypeEntry>,
    /// Sinks.
    pub sinks: Vec<TypeEntry>,
    /// Channels: `memory`, `file` and `spillablememory`, or fewer, and those of `channel_types`.
    pub channels: Vec<TypeEntry>,
    /// Channels of other crates.
    pub channel_types: Vec<&'static ChannelType>,
    /// Channel selectors.
    pub selectors: Vec<TypeEntry>,
    /// Interceptors.
    pub interceptors: Vec<TypeEntry>,
    /// Sink processors.
    pub sink_processors: Vec<TypeEntry>,
    /// The `-D` options that map Java classes to commands.
    pub class_mappings: BTreeMap<String, String>,
}

impl Catalogue {
    /// Returns the catalogue of the types built in here: the channels.
    #[must_use]
    pub fn built_in() -> Self {
        let channel = |names, keys| TypeEntry { names, keys };
        Self {
            channels: vec![
                channel(&["file", "org.apache.flume.channel.file.FileChannel"], &FILE_KEYS),
                channel(types::MEMORY_NAMES, &MEMORY_KEYS),
                channel(
                    &["spillablememory", "org.apache.flume.channel.SpillableMemoryChannel"],
                    &SPILLABLE_KEYS,
                ),
            ],
            ..Self::default()
        }
    }

    /// Returns the catalogue with channels of other crates.
    #[must_use]
    pub fn with_channels(mut self, types: &[&'static ChannelType]) -> Self {
        self.channels.extend(types.iter().map(|t| TypeEntry { names: t.names, keys: t.keys }));
        self.channel_types.extend(types);
        self
    }

    /// Returns the types of one kind.
    #[must_use]
    pub fn entries(&self, part: ComponentKind) -> &[TypeEntry] {
        match part {
            ComponentKind::Source => &self.sources,
            ComponentKind::Sink => &self.sinks,
            ComponentKind::Channel => &self.channels,
            ComponentKind::Selector => &self.selectors,
            ComponentKind::Interceptor => &self.interceptors,
            ComponentKind::SinkProcessor => &self.sink_processors,
        }
    }

    /// Returns the entry that `text` names, by a name of its own or by any other Flume name of the same type,
    /// ignoring case as Flume does for aliases.
    #[must_use]
    pub fn find(&self, part: ComponentKind, text: &str) -> Option<&TypeEntry> {
        let named = |name: &str| {
            self.entries(part)
                .iter()
                .find(|entry| entry.names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        };
        named(text).or_else(|| types::find(part, text)?.names.iter().find_map(|name| named(name)))
    }
}
