//! The types that can be built, as the floors above hand them in.

use super::channel_keys::{FILE_KEYS, MEMORY_KEYS, SPILLABLE_KEYS};
use super::settings::Key;
use super::types::{self, Part};
use std::collections::BTreeMap;

/// A type that can be built: its names and keys.
#[derive(Clone, Copy, Debug)]
pub struct TypeEntry {
    /// The names a configuration may use: the alias first, then class names.
    pub names: &'static [&'static str],
    /// The keys it knows, without those that every part of its sort has (`type`, `channels`, …).
    pub keys: &'static [Key],
}

/// Everything that can be built, sort by sort.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Sources.
    pub sources: Vec<TypeEntry>,
    /// Sinks.
    pub sinks: Vec<TypeEntry>,
    /// Channels: `memory`, `file`, `spillablememory`, or fewer.
    pub channels: Vec<TypeEntry>,
    /// Channel selectors.
    pub selectors: Vec<TypeEntry>,
    /// Interceptors.
    pub interceptors: Vec<TypeEntry>,
    /// Sink processors.
    pub sink_processors: Vec<TypeEntry>,
    /// The `-D` options that name commands in the place of Java classes.
    pub stand_ins: BTreeMap<String, String>,
}

impl Catalogue {
    /// What is there whatever the floors above bring: the channels.
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

    /// The types of one sort.
    #[must_use]
    pub fn entries(&self, part: Part) -> &[TypeEntry] {
        match part {
            Part::Source => &self.sources,
            Part::Sink => &self.sinks,
            Part::Channel => &self.channels,
            Part::Selector => &self.selectors,
            Part::Interceptor => &self.interceptors,
            Part::SinkProcessor => &self.sink_processors,
        }
    }

    /// The entry that `text` names: by a name of its own, or by any other name that Flume has
    /// for the same type. Upper and lower case are the same, as in Flume's aliases.
    #[must_use]
    pub fn find(&self, part: Part, text: &str) -> Option<&TypeEntry> {
        let named = |name: &str| {
            self.entries(part)
                .iter()
                .find(|entry| entry.names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        };
        named(text).or_else(|| types::find(part, text)?.names.iter().find_map(|name| named(name)))
    }
}
