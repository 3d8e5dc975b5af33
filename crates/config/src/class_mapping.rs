//! Mapping of Java classes to commands, by the `-D` options `millpond.external.CLASS = COMMAND` and
//! `millpond.external.CLASS.KEY` for the other keys of the type `external`. See docs/external.md.
//!
//! A component of such a class becomes one of the type `external`. All of its own keys are passed to the process;
//! the agent's settings come from the map and are stored next to them under [`OWN`].

use super::catalogue::{Catalogue, TypeEntry};
use super::types::ComponentKind;
use millpond_flow::settings::class_settings::{OWN, PREFIX};
use millpond_flow::settings::{ConfigSetting, SettingPlace};
use std::collections::BTreeMap;

/// The type that runs a process.
const EXTERNAL: &str = "external";

/// Returns the mapping options in `system`.
pub(super) fn among(system: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let from = system.range(PREFIX.to_owned()..);
    let named = from.take_while(|(key, _)| key.starts_with(PREFIX));
    named.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Catalogue {
    /// Returns the type that replaces `class`, and its settings.
    pub(super) fn mapped_command(
        &self,
        part: ComponentKind,
        class: &str,
    ) -> Option<(&TypeEntry, Vec<(String, ConfigSetting)>)> {
        let command = self.class_mappings.get(&format!("{PREFIX}{class}"))?;
        if command.trim().is_empty() {
            return None;
        }
        let entry = self.entries(part).iter().find(|entry| entry.names[0] == EXTERNAL)?;
        let setting = |key: &str, value: &String| {
            let setting = ConfigSetting { value: value.clone(), place: SettingPlace::nowhere() };
            (format!("{OWN}{key}"), setting)
        };
        let mut own = vec![setting("command", command), setting("class", &class.to_owned())];
        for key in entry.keys {
            let value = self.class_mappings.get(&format!("{PREFIX}{class}.{}", key.name));
            own.extend(value.map(|value| setting(key.name, value)));
        }
        Some((entry, own))
    }

    /// Returns advice to map `class` to a process; `None` if that is not possible.
    pub(super) fn mapping_advice(&self, part: ComponentKind, class: &str) -> Option<String> {
        let can = self.entries(part).iter().any(|entry| entry.names[0] == EXTERNAL);
        can.then(|| {
            format!(
                "to run a program of your own in its place, write external.{class} = COMMAND into millpond.properties in the --conf directory, or give -D{PREFIX}{class}=COMMAND (docs/external.md)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use crate::findings::ConfigFindings;
    use crate::load_context::LoadContext;
    use crate::loader::{ConfigError, LoadedConfig, from_table};
    use millpond_flow::settings::class_settings::own_settings;
    use millpond_flow::settings::{Key, KeyKind, Severity};
    use std::path::Path;
    use std::sync::Arc;

    const fn key(name: &'static str, kind: KeyKind) -> Key {
        Key { name, kind, default: "", meaning: "For a test." }
    }

    const KEYS: &[Key] = &[
        key("command", KeyKind::Text),
        key("answerTimeout", KeyKind::Number),
        key("*", KeyKind::Text),
    ];

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

    fn load(options: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
        let path = Path::new("flume.conf");
        let mut findings = ConfigFindings::default();
        let table = file::parse(&Arc::from(path), CONFIGURATION.as_bytes(), &mut findings).unwrap();
        let system = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let origin = LoadContext {
            path,
            agent: "a1",
            system: &system,
            environment: &|_| None,
            program: &|_, _| Err(String::new()),
        };
        from_table(&table, &origin, &catalogue(), findings)
    }

    #[test]
    fn a_class_with_a_command_is_external_and_keeps_its_own_keys() {
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
        let notes = loaded.findings.iter().filter(|f| f.message.contains("a process replaces"));
        let mut ends: Vec<_> = notes.filter_map(|f| f.message.rsplit_once(": ")).collect();
        ends.sort_by_key(|(_, shown)| shown.len());
        assert_eq!(ends.iter().map(|(_, shown)| *shown).collect::<Vec<_>>(), ["…", "run …"]);
    }

    #[test]
    fn a_class_without_a_command_is_refused_with_the_place_to_name_one() {
        let ConfigError::Refused { first, findings, .. } = load(&[]).unwrap_err() else { panic!() };
        let stops = findings.iter().filter(|f| f.message.contains("in the --conf directory"));
        assert_eq!(stops.count(), 2, "{findings:?}");
        assert!(first.message.contains("write external.com.x."), "{first}");
        assert!(first.message.contains("-Dmillpond.external.com.x."), "{first}");
        let by_class = |class: &str| catalogue().mapping_advice(ComponentKind::Selector, class);
        assert_eq!(by_class("com.x.S"), None, "there is no such selector");
    }
}
