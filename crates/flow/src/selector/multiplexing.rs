//! `multiplexing`: the value of a header selects the channels.

use super::{EventRoute, Selector, SelectorType};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use millpond::Event;
use std::collections::{BTreeSet, HashMap};

/// The type `multiplexing`.
pub(super) const TYPE: SelectorType = SelectorType {
    names: &["multiplexing", "org.apache.flume.channel.MultiplexingChannelSelector"],
    keys: KEYS,
    build: |reader, channels| Ok(Box::new(build(reader, channels)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "header",
        kind: KeyKind::Text,
        default: "flume.selector.header",
        meaning: "The header whose value decides.",
    },
    Key {
        name: "mapping.*",
        kind: KeyKind::Names,
        default: "",
        meaning: "mapping.VALUE: the channels of events whose header has exactly this value.",
    },
    Key {
        name: "optional.*",
        kind: KeyKind::Names,
        default: "",
        meaning: "optional.VALUE: channels that get such events too, and whose failure the source does not hear of.",
    },
    Key {
        name: "default",
        kind: KeyKind::Names,
        default: "",
        meaning: "The channels of all other events; without it they go to none, and are dropped.",
    },
];

#[derive(Default)]
struct MappedChannels {
    required: Vec<usize>,
    optional: Vec<usize>,
}

struct Multiplexing {
    header: String,
    by_value: HashMap<String, MappedChannels>,
    others: MappedChannels,
    /// The channels that some value requires.
    required: BTreeSet<usize>,
}

fn build(
    reader: &mut SettingsReader<'_>,
    channels: &[String],
) -> Result<Multiplexing, SettingError> {
    let others = places(reader, "default", channels)?;
    if others.is_empty() {
        let message =
            "is not set: events of other values go to no channel and are dropped, as in Flume";
        reader.find(Severity::Warning, "default", message);
    }
    let mut by_value: HashMap<String, MappedChannels> = HashMap::new();
    for (value, key) in below(reader, "mapping.") {
        let required = places(reader, &key, channels)?;
        by_value.insert(value, MappedChannels { required, optional: Vec::new() });
    }
    for (value, key) in below(reader, "optional.") {
        let targets = by_value.entry(value).or_default();
        if targets.required.is_empty() {
            targets.required.clone_from(&others);
        }
        let mut optional = places(reader, &key, channels)?;
        optional.retain(|at| !targets.required.contains(at));
        targets.optional = optional;
    }
    let header = reader.text("header").unwrap_or("flume.selector.header").to_owned();
    let others = MappedChannels { required: others, optional: Vec::new() };
    let all = by_value.values().chain([&others]);
    let required = all.flat_map(|targets| targets.required.iter().copied()).collect();
    Ok(Multiplexing { header, by_value, others, required })
}

/// Returns the values below `prefix`, and the keys that name them.
fn below(reader: &SettingsReader<'_>, prefix: &str) -> Vec<(String, String)> {
    let keys = reader.settings().entries.keys();
    keys.filter_map(|key| Some((key.strip_prefix(prefix)?.to_owned(), key.clone()))).collect()
}

/// Returns the indexes of the channels that `key` names.
fn places(
    reader: &SettingsReader<'_>,
    key: &str,
    channels: &[String],
) -> Result<Vec<usize>, SettingError> {
    let names = reader.text(key).into_iter().flat_map(str::split_whitespace);
    let place = |name: &str| {
        channels.iter().position(|channel| channel == name).ok_or_else(|| {
            let known = channels.join(" ");
            reader.error(key, format!("{name} is not a channel of this source, which has {known}"))
        })
    };
    let mut places = names.map(place).collect::<Result<Vec<usize>, SettingError>>()?;
    let mut seen = Vec::new();
    places.retain(|at| {
        !seen.contains(at) && {
            seen.push(*at);
            true
        }
    });
    Ok(places)
}

impl Selector for Multiplexing {
    fn route(&self, event: &Event) -> EventRoute<'_> {
        let value = event.headers.get(&self.header).filter(|value| !value.trim().is_empty());
        let targets = value.and_then(|value| self.by_value.get(value)).unwrap_or(&self.others);
        EventRoute { required: &targets.required, optional: &targets.optional }
    }

    fn may_require(&self, at: usize) -> bool {
        self.required.contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::built;
    use super::*;

    fn route(selector: &dyn Selector, value: Option<&str>) -> (Vec<usize>, Vec<usize>) {
        let mut event = Event::new("");
        if let Some(value) = value {
            event.headers.set("state", value);
        }
        let route = selector.route(&event);
        (route.required.to_vec(), route.optional.to_vec())
    }

    #[test]
    fn the_value_of_the_header_decides_and_others_go_to_the_default() {
        let pairs = [
            ("header", "state"),
            ("mapping.CZ", "c1"),
            ("mapping.US", "c2  c3"),
            ("optional.CZ", "c1 c3"),
            ("optional.DE", "c2 c4"),
            ("default", "c4"),
        ];
        let selector = built(&TYPE, &pairs, &["c1", "c2", "c3", "c4"]).unwrap();
        let route = |value| route(&*selector, value);
        assert_eq!(route(Some("CZ")), (vec![0], vec![2]));
        assert_eq!(route(Some("US")), (vec![1, 2], vec![]));
        // Its required channel is the default one, which is not optional too.
        assert_eq!(route(Some("DE")), (vec![3], vec![1]));
        for other in [Some("cz"), Some(""), Some("  "), Some("FR"), None] {
            assert_eq!(route(other), (vec![3], vec![]), "{other:?}");
        }
    }

    #[test]
    fn without_a_default_the_rest_goes_nowhere() {
        let selector = built(&TYPE, &[("header", "state"), ("mapping.a", "c1")], &["c1"]).unwrap();
        assert_eq!(route(&*selector, Some("b")), (vec![], vec![]));
    }

    #[test]
    fn a_channel_that_the_source_does_not_have_is_refused_with_its_key() {
        let error = built(&TYPE, &[("mapping.a.b", "c9")], &["c1"]).err().unwrap();
        assert!(error.contains("mapping.a.b: c9 is not a channel"), "{error}");
    }
}
