//! `replicating`: every event to every channel.

use super::{EventRoute, Selector, SelectorType};
use crate::settings::{Key, KeyKind, Severity};
use millpond::Event;

/// The type `replicating`.
pub(super) const TYPE: SelectorType = SelectorType {
    names: &["replicating", "org.apache.flume.channel.ReplicatingChannelSelector"],
    keys: &[Key {
        name: "optional",
        kind: KeyKind::Names,
        default: "",
        meaning: "Channels whose failure the source does not hear of.",
    }],
    build: |reader, channels| {
        let optional: Vec<&str> =
            reader.text("optional").into_iter().flat_map(str::split_whitespace).collect();
        let (selector, foreign) = Replicating::new(channels, &optional);
        for name in foreign {
            let message = format!("{name} is not a channel of this source: it has no effect");
            reader.find(Severity::Warning, "optional", message);
        }
        Ok(Box::new(selector))
    },
};

/// Every event to every channel; those named `optional` may fail.
#[derive(Clone, Debug)]
pub struct Replicating {
    required: Vec<usize>,
    optional: Vec<usize>,
}

impl Replicating {
    /// Returns a selector over `channels`, of which those named in `optional` may fail; and the names in
    /// `optional` that are not channels of the source and have no effect.
    #[must_use]
    pub fn new(channels: &[String], optional: &[&str]) -> (Self, Vec<String>) {
        let (optional_places, required) =
            (0..channels.len()).partition(|&at| optional.contains(&channels[at].as_str()));
        let foreign = optional
            .iter()
            .filter(|name| !channels.iter().any(|channel| channel == **name))
            .map(|name| (*name).to_owned())
            .collect();
        (Self { required, optional: optional_places }, foreign)
    }
}

impl Selector for Replicating {
    fn route(&self, _event: &Event) -> EventRoute<'_> {
        EventRoute { required: &self.required, optional: &self.optional }
    }

    fn same_for_all(&self) -> Option<EventRoute<'_>> {
        Some(EventRoute { required: &self.required, optional: &self.optional })
    }

    fn may_require(&self, at: usize) -> bool {
        self.required.contains(&at)
    }
}
