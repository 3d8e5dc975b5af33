//! Decides, as Flume does, what of an agent's keys can run.
//!
//! The order is Flume's: channels, sources, sinks, sink groups; then unused channels are left out. A component
//! that Flume leaves out is left out, and the rest runs. If Flume ends, or would run something that is not
//! supported here, the agent does not run, but everything is checked first, so that one reading reports every
//! error.

mod dead_letter_cycles;
mod directories;
mod groups;
mod only_reader;
mod ports;

use super::agent::{
    AdapterChannel, AgentConfig, ChannelConfig, ChannelKind, ComponentConfig, SinkConfig,
    SourceConfig,
};
use super::catalogue::Catalogue;
use super::channel_keys::NO_ENCRYPTION;
use super::channels::{FileChannelSettings, MemoryChannelSettings, SpillableSettings};
use super::component_kinds::{self, UnavailableType};
use super::findings::ConfigFindings;
use super::sections::Sections;
use super::types::{self, ComponentKind};
use millpond_flow::settings::dead_letter::{self, DeadLetterPlace, DeadLetterSettings};
use millpond_flow::settings::{
    SettingError, SettingPlace, Settings, SettingsReader, Severity, flume_names,
};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the agent that `sections` describe.
pub(super) fn agent(
    name: &str,
    sections: Sections,
    catalogue: &Catalogue,
    findings: &mut ConfigFindings,
) -> AgentConfig {
    let mut run = Validation { agent: name, sections, catalogue, findings, stopped: Vec::new() };
    run.lists();
    let channels = run.channels();
    let sources = run.sources(&channels);
    let sinks = run.sinks(&channels);
    let (mut sinks, mut sink_groups) = run.groups(sinks);
    only_reader::check(&mut sinks, &mut sink_groups, &channels, run.findings);
    let channels = run.used(channels, &sources, &sinks);
    ports::each_for_one_source(&sources, run.findings);
    let (sources_listed, alarms) = (run.names_listed("sources"), run.sections.alarms.clone());
    let name = name.to_owned();
    let config =
        AgentConfig { name, channels, sources, sources_listed, sinks, sink_groups, alarms };
    run.whole(&config);
    run.unlisted();
    config
}

/// Returns one channel that `sections` describe, listed or not; `None` if it has no keys or a finding says why it
/// cannot be used.
pub(super) fn channel(
    sections: &Sections,
    name: &str,
    findings: &mut ConfigFindings,
) -> Option<ChannelConfig> {
    let settings = sections.components.get(&("channels", name.to_owned()))?.clone();
    let catalogue = Catalogue::built_in();
    let place = component_kinds::first_place(&settings);
    build_channel(settings, &place, &catalogue, findings).ok()
}

struct Validation<'a> {
    agent: &'a str,
    sections: Sections,
    catalogue: &'a Catalogue,
    findings: &'a mut ConfigFindings,
    /// Channels and sinks, by section and name, that are not supported here although Flume would run them or end.
    /// Their users are not reported as unattached, which would be a second finding about one error.
    stopped: Vec<(&'static str, String)>,
}

/// A listed name with the place of the list, and the keys of its component.
struct ListedName {
    name: String,
    place: SettingPlace,
    settings: Settings,
}

impl Validation<'_> {
    /// Reads the lists of names and removes their comments.
    fn lists(&mut self) {
        for (section, setting) in &mut self.sections.lists {
            let whole = format!("{}.{section}", self.agent);
            let list = component_kinds::name_list(&whole, setting, self.findings);
            setting.value = list.join(" ");
        }
    }

    /// Returns the listed components of a section that have keys; the others are reported as missing.
    fn listed(&mut self, section: &'static str, word: &str) -> Vec<ListedName> {
        let Some(list) = self.sections.lists.get(section).cloned() else { return Vec::new() };
        let mut found = Vec::new();
        for name in flume_names::split(&list.value) {
            let at = (section, name.to_owned());
            if let Some(settings) = self.sections.components.get(&at) {
                let (name, place) = (name.to_owned(), list.place.clone());
                found.push(ListedName { name, place, settings: settings.clone() });
                continue;
            }
            let hint = if self.findings.are_full(Severity::Error) {
                String::new()
            } else if name.contains(',') {
                "; names are separated by blanks, not commas".to_owned()
            } else {
                let named = self.sections.components.keys();
                let named = named.filter(|(s, _)| *s == section).map(|(_, name)| name.as_str());
                flume_names::did_you_mean(name, named)
            };
            self.findings.leave_out(
                &list.place,
                &format!("{}.{section}", self.agent),
                format!(
                    "lists the {word} {name}, which has no keys and is left out, as in Flume{hint}"
                ),
            );
        }
        found
    }

    /// Returns the names in the list of a section, existing or not. A name that was separated by commas is an
    /// error of the list.
    fn names_listed(&self, section: &str) -> Vec<String> {
        let list = self.sections.lists.get(section).map_or("", |list| &list.value);
        flume_names::split(list)
            .into_iter()
            .flat_map(|name| name.split(','))
            .map(str::to_owned)
            .collect()
    }

    fn channels(&mut self) -> Vec<ChannelConfig> {
        let mut channels = Vec::new();
        for ListedName { name, place, settings } in self.listed("channels", "channel") {
            match build_channel(settings, &place, self.catalogue, self.findings) {
                Ok(channel) => channels.push(channel),
                Err(UnavailableType::Stops) => self.stopped.push(("channels", name)),
                Err(UnavailableType::LeftOut) => {}
            }
        }
        directories::each_for_one_channel(&channels, self.findings);
        channels
    }

    fn sources(&mut self, channels: &[ChannelConfig]) -> Vec<SourceConfig> {
        let listed = self.listed("sources", "source");
        listed.into_iter().filter_map(|l| self.source(l, channels).ok()).collect()
    }

    fn source(
        &mut self,
        ListedName { mut settings, place, .. }: ListedName,
        channels: &[ChannelConfig],
    ) -> Result<SourceConfig, UnavailableType> {
        let selector = self.selector(&settings, &place);
        let interceptors = self.interceptors(&mut settings);
        let attached = self.attached(&mut settings, "channels", "source", channels);
        let component = component_kinds::component(
            self.catalogue,
            ComponentKind::Source,
            settings,
            None,
            &place,
            self.findings,
        )?;
        let (selector, interceptors, attached) = (selector?, interceptors?, attached?);
        self.fits(
            ComponentKind::Source,
            &component.settings,
            component.type_name,
            &attached,
            channels,
        )?;
        Ok(SourceConfig { component, channels: attached, selector, interceptors })
    }

    fn selector(
        &mut self,
        settings: &Settings,
        place: &SettingPlace,
    ) -> Result<ComponentConfig, UnavailableType> {
        let own = settings.subset("selector.");
        component_kinds::component(
            self.catalogue,
            ComponentKind::Selector,
            own,
            Some("replicating"),
            place,
            self.findings,
        )
    }

    fn interceptors(
        &mut self,
        settings: &mut Settings,
    ) -> Result<Vec<ComponentConfig>, UnavailableType> {
        let whole = format!("{}.interceptors", settings.prefix);
        let mut names = Vec::new();
        let mut place = SettingPlace::nowhere();
        if let Some(setting) = settings.entries.get_mut("interceptors") {
            place = setting.place.clone();
            names = component_kinds::name_list(&whole, setting, self.findings);
            setting.value = names.join(" ");
        }
        let mut built = Vec::new();
        let mut failed = None;
        for name in &names {
            let mut own = settings.subset(&format!("interceptors.{name}."));
            own.name.clone_from(name);
            match component_kinds::component(
                self.catalogue,
                ComponentKind::Interceptor,
                own,
                None,
                &place,
                self.findings,
            ) {
                Ok(component) => built.push(component),
                Err(why) => failed = Some(why),
            }
        }
        for (key, setting) in &settings.entries {
            let name = key.strip_prefix("interceptors.").and_then(|rest| rest.split('.').next());
            if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
                let hint = flume_names::did_you_mean(name, names.iter().map(String::as_str));
                let message = format!("the interceptor {name} is not listed and not used{hint}");
                self.findings.warn(&setting.place, &format!("{}.{key}", settings.prefix), message);
            }
        }
        failed.map_or(Ok(built), Err)
    }

    /// Returns the existing channels that `key` of a source or sink names.
    fn attached(
        &mut self,
        settings: &mut Settings,
        key: &str,
        word: &str,
        channels: &[ChannelConfig],
    ) -> Result<Vec<String>, UnavailableType> {
        let whole = format!("{}.{key}", settings.prefix);
        let place = component_kinds::first_place(settings);
        let Some(setting) = settings.entries.get_mut(key) else {
            let other = if key == "channel" { "channels" } else { "channel" };
            let hint = match settings.entries.contains_key(other) {
                true => format!("; a {word} has the key {key}, not {other}"),
                false => String::new(),
            };
            let message = format!("is not set, so the {word} is left out, as in Flume{hint}");
            self.findings.leave_out(&place, &whole, message);
            return Err(UnavailableType::LeftOut);
        };
        let list = component_kinds::name_list(&whole, setting, self.findings);
        setting.value = list.join(" ");
        let place = setting.place.clone();
        let exists = |name: &String| channels.iter().any(|c| c.component.name == *name);
        let (found, lost): (Vec<_>, Vec<_>) = list.into_iter().partition(exists);
        let (stopped, lost): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|name| self.has_stopped("channels", name));
        // A listed channel was left out, and a finding of its own says why.
        let follows = lost.iter().all(|name| self.is_listed("channels", name));
        let absent: Vec<String> = lost
            .iter()
            .map(|name| {
                let known = channels.iter().map(|c| c.component.name.as_str());
                let hint = match name.contains(',') {
                    true => "; names are separated by blanks, not commas".to_owned(),
                    false => flume_names::did_you_mean(name, known),
                };
                format!("there is no channel {name} that can be used{hint}")
            })
            .collect();
        if found.is_empty() && stopped.is_empty() {
            let why =
                if absent.is_empty() { "names no channel".to_owned() } else { absent.join("; ") };
            let message = format!("{why}; the {word} is left out, as in Flume");
            match follows && !absent.is_empty() {
                true => self.findings.leave_out_as_consequence(&place, &whole, &message),
                false => self.findings.leave_out(&place, &whole, message),
            }
            return Err(UnavailableType::LeftOut);
        }
        for message in absent {
            match follows {
                true => self.findings.warn_of_consequence(&place, &whole, &message),
                false => self.findings.warn(&place, &whole, message),
            }
        }
        if found.is_empty() { Err(UnavailableType::Stops) } else { Ok(found) }
    }

    /// Checks that a batch of a source or sink fits into a transaction of its channels, where Flume checks it.
    fn fits(
        &mut self,
        part: ComponentKind,
        settings: &Settings,
        type_name: &str,
        attached: &[String],
        channels: &[ChannelConfig],
    ) -> Result<(), UnavailableType> {
        let Some(known) = types::find(part, type_name) else { return Ok(()) };
        let Some((key, default)) = known.batch else { return Ok(()) };
        // The component reports a value that is not a number.
        let Ok(batch) = SettingsReader::new(settings).integer(key) else { return Ok(()) };
        let batch = batch.map_or(default, |batch| u64::try_from(batch).unwrap_or(0));
        for channel in channels.iter().filter(|c| attached.contains(&c.component.name)) {
            let capacity = channel.kind.transaction_capacity();
            if batch > capacity as u64 {
                let set = settings.entries.get(key);
                let place =
                    set.map_or_else(|| component_kinds::first_place(settings), |s| s.place.clone());
                let (word, whole) = (part.word(), format!("{}.{key}", settings.prefix));
                if known.clamps_batch {
                    let message = format!(
                        "{batch} events do not fit into a transaction of the channel {}: a batch has {capacity}, its transactionCapacity; Flume 1.11 leaves such a sink out, earlier ones run it",
                        channel.component.name
                    );
                    self.findings.warn(&place, &whole, message);
                    continue;
                }
                self.findings.leave_out(
                    &place,
                    &whole,
                    format!(
                        "{batch} events do not fit into a transaction of the channel {}, whose transactionCapacity is {capacity}; the {word} is left out, as in Flume",
                        channel.component.name
                    ),
                );
                return Err(UnavailableType::LeftOut);
            }
        }
        Ok(())
    }

    fn is_listed(&self, section: &str, name: &str) -> bool {
        let list = self.sections.lists.get(section);
        list.is_some_and(|list| flume_names::split(&list.value).contains(&name))
    }

    fn has_stopped(&self, section: &str, name: &str) -> bool {
        self.stopped.iter().any(|(s, n)| *s == section && n == name)
    }

    fn sinks(&mut self, channels: &[ChannelConfig]) -> Vec<SinkConfig> {
        let mut sinks = Vec::new();
        for listed in self.listed("sinks", "sink") {
            let name = listed.name.clone();
            match self.sink(listed, channels) {
                Ok(sink) => {
                    if !dead_letter_cycles::closes(&sinks, &sink, self.findings) {
                        sinks.push(sink);
                    }
                }
                Err(UnavailableType::Stops) => self.stopped.push(("sinks", name)),
                Err(UnavailableType::LeftOut) => {}
            }
        }
        sinks
    }

    fn sink(
        &mut self,
        ListedName { mut settings, place, .. }: ListedName,
        channels: &[ChannelConfig],
    ) -> Result<SinkConfig, UnavailableType> {
        let attached = self.attached(&mut settings, "channel", "sink", channels);
        let component = component_kinds::component(
            self.catalogue,
            ComponentKind::Sink,
            settings,
            None,
            &place,
            self.findings,
        )?;
        let mut attached = attached?;
        if attached.len() > 1 {
            let place = component_kinds::first_place(&component.settings);
            let message = "names several channels; a sink has one, so it is left out, as in Flume";
            let key = format!("{}.channel", component.settings.prefix);
            self.findings.leave_out(&place, &key, message);
            return Err(UnavailableType::LeftOut);
        }
        self.fits(
            ComponentKind::Sink,
            &component.settings,
            component.type_name,
            &attached,
            channels,
        )?;
        let channel = attached.pop().expect("an attached sink has a channel");
        let dead_letter = self.dead_letter(&component.settings, &channel, channels)?;
        Ok(SinkConfig { component, channel, dead_letter })
    }

    /// Reads where a sink's refused events go. A sink with an invalid setting is left out: its events would block
    /// the channel, or be written to an unexpected place.
    fn dead_letter(
        &mut self,
        settings: &Settings,
        drained: &str,
        channels: &[ChannelConfig],
    ) -> Result<Option<DeadLetterSettings>, UnavailableType> {
        let mut reader = SettingsReader::new(settings);
        let read = dead_letter::read(&mut reader).and_then(|read| {
            let Some(DeadLetterPlace::Channel(name)) = read.as_ref().map(|read| &read.place) else {
                return Ok(read);
            };
            let known = || channels.iter().map(|channel| channel.component.name.as_str());
            let channel = channels.iter().find(|channel| channel.component.name == *name);
            let message = if name == drained {
                "is the channel that the sink drains: a refused event would come again for ever"
                    .to_owned()
            } else if !known().any(|known| known == name) {
                format!(
                    "there is no channel {name} that can be used{}",
                    flume_names::did_you_mean(name, known())
                )
            } else if !channel.is_some_and(|channel| channel.kind.is_durable()) {
                format!(
                    "the channel {name} is not durable, as a file channel is: refused events would be lost when the process ends"
                )
            } else {
                return Ok(read);
            };
            Err(reader.error("deadLetter.channel", message))
        });
        self.findings.extend(reader.into_findings());
        read.map_err(|SettingError { place, key, message }| {
            self.findings.leave_out(&place, &key, format!("{message}; the sink is left out"));
            UnavailableType::LeftOut
        })
    }

    fn used(
        &mut self,
        channels: Vec<ChannelConfig>,
        sources: &[SourceConfig],
        sinks: &[SinkConfig],
    ) -> Vec<ChannelConfig> {
        let (used, idle): (Vec<_>, Vec<_>) = channels.into_iter().partition(|channel| {
            let name = &channel.component.name;
            sources.iter().any(|source| source.channels.contains(name))
                || sinks.iter().any(|sink| sink.uses(name))
        });
        // If a source or sink cannot be built, it is unknown which channels it would have used.
        let idle = if self.findings.stopped() { Vec::new() } else { idle };
        for channel in idle {
            self.findings.leave_out(
                &channel.component.place,
                &channel.component.settings.prefix,
                "has neither a source nor a sink and is left out, as in Flume",
            );
        }
        used
    }

    /// Checks that there is something to run, unless it is known already that the agent does not run: then a
    /// missing component is a consequence.
    fn whole(&mut self, config: &AgentConfig) {
        if self.findings.stopped() {
            return;
        }
        let place = self.sections.lists.values().map(|setting| &setting.place).min();
        let place = place.cloned().unwrap_or_else(SettingPlace::nowhere);
        if config.channels.is_empty() {
            let message =
                "the agent has no channel that can be used; Flume stays up and does nothing";
            self.findings.stop_as_consequence(&place, &format!("{}.channels", self.agent), message);
        } else if config.sources.is_empty() && config.sinks.is_empty() {
            let message = "the agent has neither a source nor a sink that can be used; Flume stays up and does nothing";
            self.findings.stop_as_consequence(&place, &format!("{}.sources", self.agent), message);
        } else {
            for (empty, section) in
                [(config.sources.is_empty(), "sources"), (config.sinks.is_empty(), "sinks")]
            {
                if empty {
                    let message = format!("the agent runs without {section}, as in Flume");
                    let key = format!("{}.{section}", self.agent);
                    self.findings.warn_of_consequence(&place, &key, &message);
                }
            }
        }
    }

    /// Reports components that have keys but are not listed.
    fn unlisted(&mut self) {
        let lists = self.sections.lists.iter();
        let lists: BTreeMap<_, BTreeSet<&str>> = lists
            .map(|(at, list)| (*at, flume_names::split(&list.value).into_iter().collect()))
            .collect();
        for ((section, name), settings) in &self.sections.components {
            let listed = lists.get(section);
            if listed.is_some_and(|names| names.contains(name.as_str())) {
                continue;
            }
            let hint = match self.findings.are_full(Severity::Warning) {
                false => flume_names::did_you_mean(name, listed.into_iter().flatten().copied()),
                true => String::new(),
            };
            self.findings.warn(
                &component_kinds::first_place(settings),
                &settings.prefix,
                format!(
                    "is not listed in {}.{section} and is not used, as in Flume{hint}",
                    self.agent
                ),
            );
        }
    }
}

fn build_channel(
    settings: Settings,
    listed: &SettingPlace,
    catalogue: &Catalogue,
    findings: &mut ConfigFindings,
) -> Result<ChannelConfig, UnavailableType> {
    let component = component_kinds::component(
        catalogue,
        ComponentKind::Channel,
        settings,
        None,
        listed,
        findings,
    )?;
    let alias =
        types::find(ComponentKind::Channel, component.type_name).map(|known| known.names[0]);
    let adapter = catalogue.channel_types.iter().find(|t| t.names.contains(&component.type_name));
    let mut reader = SettingsReader::new(&component.settings);
    let kind = match alias {
        _ if let Some(adapter) = adapter => {
            (adapter.read)(&mut reader).map(|opener| ChannelKind::Adapter(AdapterChannel(opener)))
        }
        Some("file") => FileChannelSettings::read(&mut reader).map(ChannelKind::File),
        Some("memory") => MemoryChannelSettings::read(&mut reader).map(ChannelKind::Memory),
        Some("spillablememory") => SpillableSettings::read(&mut reader).map(ChannelKind::Spillable),
        _ => {
            let message = format!("the channel type {} has no reader", component.type_name);
            findings.stop(&component.place, &component.settings.prefix, message);
            return Err(UnavailableType::Stops);
        }
    };
    findings.extend(reader.into_findings());
    match kind {
        Ok(kind) => Ok(ChannelConfig { component, kind }),
        // Flume would run encrypted, so leaving the channel out would differ.
        Err(error) if error.message == NO_ENCRYPTION => {
            findings.stop(&error.place, &error.key, error.message);
            Err(UnavailableType::Stops)
        }
        Err(error) => {
            let message = format!("{}; the channel is left out, as in Flume", error.message);
            findings.leave_out(&error.place, &error.key, message);
            Err(UnavailableType::LeftOut)
        }
    }
}
