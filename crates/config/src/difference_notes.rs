//! Notes of `validate` about what an agent does differently from Flume.

use super::agent::{AgentConfig, ComponentConfig};
use super::difference::Difference;
use super::differences::{AGENT, DIFFERENCES};
use super::types::ComponentKind;
use millpond_flow::settings::{ConfigFinding, SettingPlace, Severity};
use std::collections::BTreeSet;

/// Returns notes about the differences of an agent's components: each once per type, at the first component.
#[must_use]
pub fn notes(config: &AgentConfig) -> Vec<ConfigFinding> {
    let mut said = BTreeSet::new();
    let mut notes = Vec::new();
    for (part, component) in parts(config) {
        let matters = |d: &Difference| {
            d.part == part && d.types.contains(&component.type_name) && d.matters(component)
        };
        for (at, difference) in DIFFERENCES.iter().enumerate().filter(|(_, d)| matters(d)) {
            if said.insert((at, component.type_name)) {
                notes.push(note(component, difference));
            }
        }
    }
    notes.extend(AGENT.iter().map(|what| ConfigFinding {
        severity: Severity::Note,
        place: SettingPlace::nowhere(),
        key: config.name.clone(),
        message: unlike_flume(what),
    }));
    notes
}

fn parts(config: &AgentConfig) -> Vec<(ComponentKind, &ComponentConfig)> {
    let mut parts = Vec::new();
    for source in &config.sources {
        parts.push((ComponentKind::Source, &source.component));
        parts.extend(source.interceptors.iter().map(|i| (ComponentKind::Interceptor, i)));
        parts.push((ComponentKind::Selector, &source.selector));
    }
    parts.extend(config.channels.iter().map(|c| (ComponentKind::Channel, &c.component)));
    parts.extend(config.sinks.iter().map(|s| (ComponentKind::Sink, &s.component)));
    parts.extend(config.sink_groups.iter().map(|g| (ComponentKind::SinkProcessor, &g.processor)));
    parts
}

/// Returns the difference as a note at the first of its keys that is set, or at the type.
fn note(component: &ComponentConfig, difference: &Difference) -> ConfigFinding {
    let settings = &component.settings;
    let set = difference.keys.iter().find_map(|key| settings.entries.get_key_value(*key));
    let (key, place) = set.map_or(("type", &component.place), |(key, s)| (key.as_str(), &s.place));
    ConfigFinding {
        severity: Severity::Note,
        place: place.clone(),
        key: format!("{}.{key}", settings.prefix),
        message: unlike_flume(difference.what),
    }
}

fn unlike_flume(what: &str) -> String {
    format!("unlike Flume: {what}")
}
