//! Loads an agent's configuration from a file: validated settings and findings.

use super::agent::{AgentConfig, ChannelConfig};
use super::catalogue::Catalogue;
use super::class_mapping;
use super::effective_settings::{EffectiveSetting, effective, left_out};
use super::file::{self, ConfigText, FileError, KeyTable};
use super::filters;
use super::findings::ConfigFindings;
use super::load_context::LoadContext;
use super::sections::{self, Sections, split_agent};
use super::tls_inheritance;
use super::validation;
use crate::interpolation::Lookups;
use jiff::Zoned;
use millpond_flow::base::limits::CONFIG_VALUES_BYTES_MAX;
use millpond_flow::codes;
use millpond_flow::settings::{ConfigFinding, Severity, flume_names};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A configuration and the findings of its reading.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The agent; every component of it can be built.
    pub agent: AgentConfig,
    /// All findings, in the order of the file. Errors among them are components left out.
    pub findings: Vec<ConfigFinding>,
    /// True if the next reading of the same text may have fewer findings: the program of a config filter gave no
    /// value.
    pub may_pass: bool,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file has no such agent.
    #[error("{}: there is no agent {agent}; {} ({})", path.display(), known_agents(agent, agents), codes::AGENT_ABSENT)]
    AgentAbsent {
        /// The file.
        path: PathBuf,
        /// The requested name.
        agent: String,
        /// The agents in the file.
        agents: Vec<String>,
        /// All findings.
        findings: Vec<ConfigFinding>,
    },
    /// The agent has no such channel.
    #[error("{}: agent {agent} has no channel {channel}; it has {} ({})", path.display(), listed(channels), codes::CHANNEL_ABSENT)]
    ChannelAbsent {
        /// The file.
        path: PathBuf,
        /// The agent.
        agent: String,
        /// The requested name.
        channel: String,
        /// The channels that the agent has.
        channels: Vec<String>,
    },
    /// The agent, or the requested channel, cannot run with its configuration.
    #[error(
        "agent {agent} cannot run as it is configured: {first} ({})",
        codes::CONFIGURATION_REFUSED
    )]
    Refused {
        /// The agent.
        agent: String,
        /// The first reason in the order of validation.
        first: Box<ConfigFinding>,
        /// All findings, including the reasons.
        findings: Vec<ConfigFinding>,
        /// The components of the agent without errors; `None` if one channel was requested.
        parts: Option<Box<AgentConfig>>,
        /// As [`LoadedConfig::may_pass`].
        may_pass: bool,
    },
}

impl ConfigError {
    /// Returns all findings, in the order of the file.
    #[must_use]
    pub fn findings(&self) -> &[ConfigFinding] {
        match self {
            Self::File(_) | Self::ChannelAbsent { .. } => &[],
            Self::AgentAbsent { findings, .. } | Self::Refused { findings, .. } => findings,
        }
    }

    /// Returns true if the next reading of the same text may succeed: the program of a config filter gave no
    /// value.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { may_pass: true, .. })
    }
}

fn listed(names: &[String]) -> String {
    match names.get(NAMES_SHOWN..) {
        _ if names.is_empty() => "none".to_owned(),
        Some(more @ [_, ..]) => {
            format!("{} and {} more", names[..NAMES_SHOWN].join(", "), more.len())
        }
        _ => names.join(", "),
    }
}

/// Most names that a message lists.
const NAMES_SHOWN: usize = 50;

fn known_agents(agent: &str, agents: &[String]) -> String {
    if agents.is_empty() {
        return "it describes no agent at all".to_owned();
    }
    let hint = flume_names::did_you_mean(agent, agents.iter().map(String::as_str));
    format!("it has {}{hint}", listed(agents))
}

/// Reads the agent `agent` from the file at `path`, with the types of `catalogue`. `system_properties` are the
/// `-D` options.
///
/// # Errors
/// The file cannot be read, has no such agent, or the agent cannot run; the error has all findings.
pub fn load(
    path: &Path,
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<LoadedConfig, ConfigError> {
    load_merged(&[path], agent, system_properties, catalogue)
}

/// Like [`load`] from several files, of which later ones override keys of earlier ones.
///
/// # Errors
/// As for [`load`].
pub fn load_merged(
    paths: &[&Path],
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<LoadedConfig, ConfigError> {
    let mut findings = ConfigFindings::default();
    let table = file::read(paths, &mut findings)?;
    let path = paths.last().copied().unwrap_or_else(|| Path::new(""));
    let origin = LoadContext::here(path, agent, system_properties);
    from_table(&table, &origin, catalogue, findings)
}

/// Like [`load_merged`] from texts in memory.
///
/// # Errors
/// As for [`load`].
pub fn load_texts(
    texts: &[ConfigText],
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<LoadedConfig, ConfigError> {
    let mut findings = ConfigFindings::default();
    let table = file::merged(texts, &mut findings)?;
    let name = texts.last().map_or(Path::new(""), |text| text.name.as_path());
    let origin = LoadContext::here(name, agent, system_properties);
    from_table(&table, &origin, catalogue, findings)
}

/// Returns every setting of `agent` with its origin: the effective values of the components in `loaded`, and the
/// written values of those that are left out. It does not run programs of config filters again: their values are
/// shown as they are written.
#[must_use]
pub fn settings_of(
    loaded: Option<&AgentConfig>,
    texts: &[ConfigText],
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Vec<EffectiveSetting> {
    let mut all = loaded.map_or_else(Vec::new, |loaded| effective(loaded, catalogue));
    let mut findings = ConfigFindings::default();
    let Ok(table) = file::merged(texts, &mut findings) else { return all };
    let origin = LoadContext::here(Path::new(""), agent, system_properties);
    let now = Zoned::now();
    let written = resolve(&table, agent, &origin.lookups(&table, &now), &mut findings);
    let more = left_out(written, agent, &all);
    all.extend(more);
    all
}

/// Returns every agent in the file at `path` by name, each as [`load`] reads it. The file is read once.
///
/// # Errors
/// The file cannot be read. An agent that cannot run has its own error.
pub fn load_all(
    path: &Path,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<BTreeMap<String, Result<LoadedConfig, ConfigError>>, FileError> {
    let mut findings = ConfigFindings::default();
    let table = file::read(&[path], &mut findings)?;
    let agents = sections::agents(&table).into_iter().map(|agent| {
        let origin = LoadContext::here(path, &agent, system_properties);
        let loaded = from_table(&table, &origin, catalogue, findings.clone());
        (agent, loaded)
    });
    Ok(agents.collect())
}

/// Reads one channel of an agent independently of the rest of the agent, so that a channel can be examined and
/// drained although its agent cannot run.
///
/// # Errors
/// The file cannot be read, has no such agent or channel, or the channel cannot be opened with these settings.
pub fn load_channel(
    paths: &[&Path],
    agent: &str,
    channel: &str,
    system_properties: &BTreeMap<String, String>,
) -> Result<(ChannelConfig, Vec<ConfigFinding>), ConfigError> {
    let mut findings = ConfigFindings::default();
    let table = file::read(paths, &mut findings)?;
    let path = paths.last().copied().unwrap_or_else(|| Path::new(""));
    let origin = LoadContext::here(path, agent, system_properties);
    let sections = sorted(&table, &origin, &mut findings)?;
    channel_of(&sections, &origin, channel, findings)
}

pub(super) fn from_table(
    table: &KeyTable,
    origin: &LoadContext<'_>,
    catalogue: &Catalogue,
    mut findings: ConfigFindings,
) -> Result<LoadedConfig, ConfigError> {
    let sections = sorted(table, origin, &mut findings)?;
    let catalogue =
        Catalogue { class_mappings: class_mapping::among(origin.system), ..catalogue.clone() };
    let agent = validation::agent(origin.agent, sections, &catalogue, &mut findings);
    let may_pass = findings.may_pass();
    let (mut findings, stop) = findings.into_parts();
    findings.retain(|finding| concerns(origin.agent, finding));
    match stop {
        None => Ok(LoadedConfig { agent, findings, may_pass }),
        Some(first) => Err(ConfigError::Refused {
            agent: origin.agent.to_owned(),
            first: Box::new(first),
            findings,
            parts: Some(Box::new(agent)),
            may_pass,
        }),
    }
}

pub(super) fn channel_of(
    sections: &Sections,
    origin: &LoadContext<'_>,
    channel: &str,
    mut findings: ConfigFindings,
) -> Result<(ChannelConfig, Vec<ConfigFinding>), ConfigError> {
    let found = validation::channel(sections, channel, &mut findings);
    let prefix = format!("{}.channels.{channel}", origin.agent);
    let about = |finding: &ConfigFinding| {
        finding
            .key
            .strip_prefix(&prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let may_pass = findings.may_pass();
    let (mut findings, _) = findings.into_parts();
    findings.retain(about);
    let first = findings.iter().find(|finding| finding.severity == Severity::Error).cloned();
    match (found, first) {
        (Some(found), None) => Ok((found, findings)),
        (_, Some(first)) => Err(ConfigError::Refused {
            agent: origin.agent.to_owned(),
            first: Box::new(first),
            findings,
            parts: None,
            may_pass,
        }),
        (None, None) => {
            let channels = sections.components.keys().filter(|(section, _)| *section == "channels");
            Err(ConfigError::ChannelAbsent {
                path: origin.path.to_path_buf(),
                agent: origin.agent.to_owned(),
                channel: channel.to_owned(),
                channels: channels.map(|(_, name)| name.clone()).collect(),
            })
        }
    }
}

/// Returns the keys of the agent, with their references replaced.
pub(super) fn sorted(
    table: &KeyTable,
    origin: &LoadContext<'_>,
    findings: &mut ConfigFindings,
) -> Result<Sections, ConfigError> {
    let now = Zoned::now();
    let resolved = resolve(table, origin.agent, &origin.lookups(table, &now), findings);
    let mut sections = sections::sort(resolved, origin.agent, findings);
    if !sections.present {
        let agents = sections::agents(table);
        let (path, agent) = (origin.path.to_path_buf(), origin.agent.to_owned());
        let (findings, _) = std::mem::take(findings).into_parts();
        return Err(ConfigError::AgentAbsent { path, agent, agents, findings });
    }
    filters::apply(origin, &mut sections, findings);
    tls_inheritance::inherit(&mut sections, origin.system);
    Ok(sections)
}

/// Returns true if a finding is about this agent or about the whole file.
fn concerns(agent: &str, finding: &ConfigFinding) -> bool {
    split_agent(&finding.key).is_none_or(|(owner, _)| owner == agent)
}

/// Returns the agent's values with their `${…}` replaced, and the keys that belong to no agent.
fn resolve(
    table: &KeyTable,
    agent: &str,
    lookups: &Lookups<'_>,
    findings: &mut ConfigFindings,
) -> KeyTable {
    let concerns = |key: &str| split_agent(key).is_none_or(|(owner, _)| owner == agent);
    let own = |key: &str| split_agent(key).is_some();
    let entries = table.entries.iter().filter(|(key, _)| concerns(key));
    let entries = entries.map(|(key, setting)| (key.clone(), setting.clone()));
    let mut resolved = KeyTable { entries: entries.collect() };
    let mut bytes = 0_usize;
    for (key, setting) in resolved.entries.iter_mut().filter(|(key, _)| own(key)) {
        let place = setting.place.clone();
        if bytes > CONFIG_VALUES_BYTES_MAX {
            setting.value.clear();
            continue;
        }
        match lookups.resolve(&setting.value) {
            Ok(value) => {
                for name in &value.unsupported {
                    let message =
                        format!("${{{name}}} needs a Java process; write the text itself");
                    findings.stop(&place, key, message);
                }
                for name in value.unresolved.iter().filter(|n| !value.unsupported.contains(n)) {
                    unresolved(name, &place, key, findings);
                }
                file::trim(&value.text).clone_into(&mut setting.value);
                bytes += setting.value.len();
                if bytes > CONFIG_VALUES_BYTES_MAX {
                    let message = format!(
                        "the values of the agent have more than {CONFIG_VALUES_BYTES_MAX} bytes together, with their references replaced"
                    );
                    findings.stop(&place, key, message);
                }
            }
            Err(error) => findings.stop(&place, key, error.to_string()),
        }
    }
    resolved
}

fn unresolved(
    name: &str,
    place: &millpond_flow::settings::SettingPlace,
    key: &str,
    findings: &mut ConfigFindings,
) {
    let lower = name.to_lowercase();
    let what = if lower.starts_with("env:") {
        "no such environment variable is set"
    } else if lower.starts_with("sys:") {
        "no such -D option is given"
    } else {
        return;
    };
    findings.warn(place, key, format!("${{{name}}} is left unchanged, as in Flume: {what}"));
}

#[cfg(test)]
mod tests;
