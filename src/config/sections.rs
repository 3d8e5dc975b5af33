//! The keys of one agent, sorted by the part that they belong to.

use super::file::Table;
use super::findings::Findings;
use super::names;
use super::settings::{Setting, Settings};
use std::collections::BTreeMap;

/// The lists and sections an agent has; the text is the word in keys.
pub(super) const SECTIONS: [&str; 5] =
    ["sources", "channels", "sinks", "sinkgroups", "configfilters"];

/// What the keys of alarms begin with, behind the agent. Flume has no such section and reads over it.
const ALARMS: &str = "alarms";

/// The keys of one agent.
#[derive(Debug)]
pub(super) struct Sections {
    /// Whether the file has any key of the agent.
    pub(super) present: bool,
    /// Section to the list of names.
    pub(super) lists: BTreeMap<&'static str, Setting>,
    /// Section and name to the component's keys.
    pub(super) components: BTreeMap<(&'static str, String), Settings>,
    /// What it says about alarms.
    pub(super) alarms: Settings,
}

/// The agent of a key and the rest, if the key has both.
pub(super) fn split_agent(key: &str) -> Option<(&str, &str)> {
    key.split_once('.').filter(|(agent, rest)| !agent.is_empty() && !rest.is_empty())
}

/// The agents that `table` has at least one list or component of.
pub(super) fn agents(table: &Table) -> Vec<String> {
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

/// Sorts the keys of `agent`; keys that are none are findings.
pub(super) fn sort(table: Table, agent: &str, findings: &mut Findings) -> Sections {
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
            let hint = names::did_you_mean(word, SECTIONS.into_iter().chain([ALARMS]));
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

    fn take(&mut self, agent: &str, rest: &str, setting: Setting) -> bool {
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
