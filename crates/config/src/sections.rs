//! Sorts the keys of one agent by the component that they belong to.

use super::file::KeyTable;
use super::findings::ConfigFindings;
use millpond_flow::settings::{ConfigSetting, Settings, flume_names};
use std::collections::BTreeMap;

/// The lists and sections of an agent, by their word in keys.
pub(super) const SECTIONS: [&str; 5] =
    ["sources", "channels", "sinks", "sinkgroups", "configfilters"];

/// The section of alarm keys. Flume has no such section and ignores it.
const ALARMS: &str = "alarms";

/// The keys of one agent.
#[derive(Debug)]
pub(super) struct Sections {
    /// True if the file has any key of the agent.
    pub(super) present: bool,
    /// Lists of names, by section.
    pub(super) lists: BTreeMap<&'static str, ConfigSetting>,
    /// Keys of components, by section and name.
    pub(super) components: BTreeMap<(&'static str, String), Settings>,
    /// Its alarm settings.
    pub(super) alarms: Settings,
}

/// Splits a key into agent and rest, if it has both.
pub(super) fn split_agent(key: &str) -> Option<(&str, &str)> {
    key.split_once('.').filter(|(agent, rest)| !agent.is_empty() && !rest.is_empty())
}

/// Returns the agents with at least one list or component in `table`.
pub(super) fn agents(table: &KeyTable) -> Vec<String> {
    let mut agents: Vec<String> = Vec::new();
    // In the order of the keys, so that those of one agent follow each other.
    for (key, setting) in &table.entries {
        let Some((agent, rest)) = split_agent(key) else { continue };
        let section = rest.split_once('.').map_or(rest, |(section, _)| section);
        let counts = SECTIONS.contains(&section) && !setting.value.is_empty();
        if counts && agents.last().is_none_or(|last| last != agent) {
            agents.push(agent.to_owned());
        }
    }
    agents
}

/// Sorts the keys of `agent`; invalid keys are findings.
pub(super) fn sort(table: KeyTable, agent: &str, findings: &mut ConfigFindings) -> Sections {
    let mut sections = Sections::new(agent);
    for (key, setting) in table.entries {
        let Some((owner, rest)) = split_agent(&key) else {
            if !setting.value.is_empty() || key.is_empty() {
                findings.warn(
                    &setting.place,
                    &key,
                    "is not a key: AGENT.SECTION.NAME.KEY is expected; ignored, as in Flume",
                );
            }
            continue;
        };
        if owner != agent {
            continue;
        }
        sections.present = true;
        if setting.value.is_empty() {
            findings.warn(&setting.place, &key, "has no value and is ignored, as in Flume");
            continue;
        }
        let place = setting.place.clone();
        if !sections.take(agent, rest, setting) {
            let word = rest.split('.').next().unwrap_or(rest);
            let hint = flume_names::did_you_mean(word, SECTIONS.into_iter().chain([ALARMS]));
            findings.warn(
                &place,
                &key,
                format!("belongs to no section of an agent and is ignored, as in Flume{hint}"),
            );
        }
    }
    sections
}

impl Sections {
    fn new(agent: &str) -> Self {
        Self {
            present: false,
            lists: BTreeMap::new(),
            components: BTreeMap::new(),
            alarms: Settings::new(format!("{agent}.{ALARMS}"), ALARMS),
        }
    }

    fn take(&mut self, agent: &str, rest: &str, setting: ConfigSetting) -> bool {
        if let Some(section) = SECTIONS.into_iter().find(|section| *section == rest) {
            self.lists.insert(section, setting);
            return true;
        }
        let Some((word, rest)) = rest.split_once('.') else { return false };
        if word == ALARMS {
            self.alarms.entries.insert(rest.to_owned(), setting.clone());
            return !rest.is_empty();
        }
        let Some(section) = SECTIONS.into_iter().find(|section| *section == word) else {
            return false;
        };
        let Some((name, key)) = rest.split_once('.') else { return false };
        if name.is_empty() || key.is_empty() {
            return false;
        }
        let settings = self
            .components
            .entry((section, name.to_owned()))
            .or_insert_with(|| Settings::new(format!("{agent}.{section}.{name}"), name));
        settings.entries.insert(key.to_owned(), setting);
        true
    }
}
