//! Commands that stand in for Java classes, as `-D` options name them:
//! `millpond.external.CLASS = COMMAND`, and `millpond.external.CLASS.KEY` for the other keys of the type
//! `external`. docs/external.md has the page.
//!
//! A component of such a class becomes one of the type `external`. All of its own keys are then those
//! of the process; what the agent is to know stands in the map and is laid beside them under [`OWN`].

use super::catalogue::{Catalogue, TypeEntry};
use super::settings::{Place, Setting, Settings};
use super::types::Part;
use std::collections::BTreeMap;

/// The type that runs a process.
const EXTERNAL: &str = "external";
/// What the options begin with.
pub const PREFIX: &str = "millpond.external.";
/// Keys of the map among a component's settings begin with this.
const OWN: &str = "millpond.external/";

/// The options among `system` that name stand-ins.
pub(super) fn among(system: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let from = system.range(PREFIX.to_owned()..);
    let named = from.take_while(|(key, _)| key.starts_with(PREFIX));
    named.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Catalogue {
    /// The type that stands in for `class`, and its settings.
    pub(super) fn stand_in(
        &self,
        part: Part,
        class: &str,
    ) -> Option<(&TypeEntry, Vec<(String, Setting)>)> {
        let command = self.stand_ins.get(&format!("{PREFIX}{class}"))?;
        if command.trim().is_empty() {
            return None;
        }
        let entry = self.entries(part).iter().find(|entry| entry.names[0] == EXTERNAL)?;
        let setting = |key: &str, value: &String| {
            let setting = Setting { value: value.clone(), place: Place::nowhere() };
            (format!("{OWN}{key}"), setting)
        };
        let mut own = vec![setting("command", command), setting("class", &class.to_owned())];
        for key in entry.keys {
            let value = self.stand_ins.get(&format!("{PREFIX}{class}.{}", key.name));
            own.extend(value.map(|value| setting(key.name, value)));
        }
        Some((entry, own))
    }

    /// What to write so that a process stands in for `class`; nothing where none can.
    pub(super) fn how_to_stand_in(&self, part: Part, class: &str) -> Option<String> {
        let can = self.entries(part).iter().any(|entry| entry.names[0] == EXTERNAL);
        can.then(|| {
            format!(
                "to run a program of your own in its place, write external.{class} = COMMAND into millpond.properties in the --conf directory, or give -D{PREFIX}{class}=COMMAND (docs/external.md)"
            )
        })
    }
}

/// Whether a key of a component's settings comes from the map.
#[must_use]
pub fn is_own(key: &str) -> bool {
    key.starts_with(OWN)
}

/// What the map says to the component with these `settings`; `None` where no process stands in for it.
#[must_use]
pub fn own_settings(settings: &Settings) -> Option<Settings> {
    let class = settings.entries.get(&format!("{OWN}class"))?.value.clone();
    let mut own = settings.subset(OWN);
    own.entries.remove("class");
    own.prefix = format!("{PREFIX}{class}");
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use crate::config::findings::Findings;
    use crate::config::load::{LoadError, Loaded, Origin, from_table};
    use crate::config::settings::{Key, Kind, Severity};
    use std::path::Path;
    use std::sync::Arc;

    const fn key(name: &'static str, kind: Kind) -> Key {
        Key { name, kind, default: "", meaning: "For a test." }
    }

    const KEYS: &[Key] =
        &[key("command", Kind::Text), key("answerTimeout", Kind::Number), key("*", Kind::Text)];

    fn catalogue() -> Catalogue {
        let external = || vec![TypeEntry { names: &["external"], keys: KEYS }];
        let selectors = vec![TypeEntry { names: &["replicating"], keys: &[] }];
        let (sources, sinks, interceptors) = (external(), external(), external());
        Catalogue { sources, sinks, interceptors, selectors, ..Catalogue::built_in() }
    }

    const CONFIGURATION: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
        a1.sources.r1.type = com.x.My\na1.sources.r1.command = mine\n\
        a1.sources.r1.channels = c1\na1.sources.r1.interceptors = i1\n\
        a1.sources.r1.interceptors.i1.type = com.x.I$Builder\n\
        a1.channels.c1.type = memory\n\
        a1.sinks.k1.type = external\na1.sinks.k1.command = cat\na1.sinks.k1.any.key = 5 # five\n\
        a1.sinks.k1.channel = c1\n";

    fn load(options: &[(&str, &str)]) -> Result<Loaded, LoadError> {
        let path = Path::new("flume.conf");
        let mut findings = Findings::default();
        let table = file::parse(&Arc::from(path), CONFIGURATION.as_bytes(), &mut findings).unwrap();
        let system = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let origin = Origin {
            path,
            agent: "a1",
            system: &system,
            environment: &|_| None,
            program: &|_, _| Err(String::new()),
        };
        from_table(&table, &origin, &catalogue(), findings)
    }

    #[test]
    fn a_class_with_a_command_is_external_and_keeps_its_keys_apart_from_those_of_the_map() {
        let loaded = load(&[
            ("millpond.external.com.x.My", "run it"),
            ("millpond.external.com.x.My.answerTimeout", "7"),
            ("millpond.external.com.x.Mys", "another"),
            ("millpond.external.com.x.I$Builder", "TOKEN=geheim run i"),
        ]);
        let loaded = loaded.unwrap();
        let source = &loaded.agent.sources[0];
        assert_eq!(source.component.type_name, "external");
        assert_eq!(source.component.settings.entries["type"].value, "com.x.My");
        assert_eq!(source.component.settings.entries["command"].value, "mine");
        let own = own_settings(&source.component.settings).unwrap();
        let pairs: Vec<_> =
            own.entries.iter().map(|(k, v)| (k.as_str(), v.value.as_str())).collect();
        assert_eq!(pairs, [("answerTimeout", "7"), ("command", "run it")]);
        assert_eq!(own.prefix, "millpond.external.com.x.My");
        assert_eq!(source.interceptors[0].type_name, "external");
        let sink = &loaded.agent.sinks[0].component.settings;
        assert!(own_settings(sink).is_none(), "its own keys are in the file");
        let warned: Vec<_> =
            loaded.findings.iter().filter(|f| f.severity > Severity::Note).collect();
        assert!(warned.is_empty(), "{warned:?}");
        let notes = loaded.findings.iter().filter(|f| f.message.contains("stands in for"));
        let mut ends: Vec<_> = notes.filter_map(|f| f.message.rsplit_once(": ")).collect();
        ends.sort_by_key(|(_, shown)| shown.len());
        assert_eq!(ends.iter().map(|(_, shown)| *shown).collect::<Vec<_>>(), ["…", "run …"]);
    }

    #[test]
    fn a_class_without_a_command_is_told_where_to_name_one() {
        let LoadError::Refused { first, findings, .. } = load(&[]).unwrap_err() else { panic!() };
        let stops = findings.iter().filter(|f| f.message.contains("in the --conf directory"));
        assert_eq!(stops.count(), 2, "{findings:?}");
        assert!(first.message.contains("write external.com.x."), "{first}");
        assert!(first.message.contains("-Dmillpond.external.com.x."), "{first}");
        let by_class = |class: &str| catalogue().how_to_stand_in(Part::Selector, class);
        assert_eq!(by_class("com.x.S"), None, "there is no such selector");
    }
}
