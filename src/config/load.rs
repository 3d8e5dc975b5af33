//! The entries of this floor: a file and an agent's name in, what can run and what was found out.

use super::agent::{AgentConfig, ChannelConfig};
use super::ask;
use super::catalogue::Catalogue;
use super::effective::{Effective, effective, left_out};
use super::file::{self, FileError, Table, Text};
use super::filters;
use super::findings::Findings;
use super::interpolate::Lookups;
use super::names;
use super::sections::{self, Sections, split_agent};
use super::settings::{Finding, Severity};
use super::stand_ins;
use super::tls;
use super::validate;
use crate::base::limits::CONFIG_VALUES_BYTES_MAX;
use crate::codes;
use jiff::Zoned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a configuration says, and what was found while reading it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The agent: every part of it can be built.
    pub agent: AgentConfig,
    /// Everything found, in the order of the file. Errors among them are parts left out.
    pub findings: Vec<Finding>,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file has no such agent.
    #[error("{}: there is no agent {agent}; {} ({})", path.display(), known_agents(agent, agents), codes::AGENT_ABSENT)]
    AgentAbsent {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        agent: String,
        /// The agents that the file has.
        agents: Vec<String>,
        /// Everything found.
        findings: Vec<Finding>,
    },
    /// The agent has no such channel.
    #[error("{}: agent {agent} has no channel {channel}; it has {} ({})", path.display(), listed(channels), codes::CHANNEL_ABSENT)]
    ChannelAbsent {
        /// The file.
        path: PathBuf,
        /// The agent.
        agent: String,
        /// The name that was asked for.
        channel: String,
        /// The channels that the agent has.
        channels: Vec<String>,
    },
    /// The agent, or the channel that was asked for, cannot run as it is written.
    #[error(
        "agent {agent} cannot run as it is configured: {first} ({})",
        codes::CONFIGURATION_REFUSED
    )]
    Refused {
        /// The agent.
        agent: String,
        /// The first reason in the order of validation.
        first: Box<Finding>,
        /// Everything found, the reasons among them.
        findings: Vec<Finding>,
        /// The parts of the agent with which nothing is wrong; `None` where one channel was asked for.
        parts: Option<Box<AgentConfig>>,
    },
}

impl LoadError {
    /// Everything that was found, in the order of the file.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::File(_) | Self::ChannelAbsent { .. } => &[],
            Self::AgentAbsent { findings, .. } | Self::Refused { findings, .. } => findings,
        }
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

/// Names that a message lists.
const NAMES_SHOWN: usize = 50;

fn known_agents(agent: &str, agents: &[String]) -> String {
    if agents.is_empty() {
        return "it describes no agent at all".to_owned();
    }
    let hint = names::did_you_mean(agent, agents.iter().map(String::as_str));
    format!("it has {}{hint}", listed(agents))
}

/// Reads the agent `agent` from the file at `path`, whose types are looked up in `catalogue`.
///
/// `system_properties` are the `-D` options.
///
/// # Errors
/// The file cannot be read, has no such agent, or the agent cannot run; every finding comes with
/// the error.
pub fn load(
    path: &Path,
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<Loaded, LoadError> {
    load_merged(&[path], agent, system_properties, catalogue)
}

/// Like [`load`] from several files, of which a later one's keys replace an earlier one's.
///
/// # Errors
/// As for [`load`].
pub fn load_merged(
    paths: &[&Path],
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<Loaded, LoadError> {
    let mut findings = Findings::default();
    let table = file::read(paths, &mut findings)?;
    let path = paths.last().copied().unwrap_or_else(|| Path::new(""));
    let origin = Origin::here(path, agent, system_properties);
    from_table(&table, &origin, catalogue, findings)
}

/// Like [`load_merged`] from texts that were read already.
///
/// # Errors
/// As for [`load`].
pub fn load_texts(
    texts: &[Text],
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<Loaded, LoadError> {
    let mut findings = Findings::default();
    let table = file::merged(texts, &mut findings)?;
    let name = texts.last().map_or(Path::new(""), |text| text.name.as_path());
    let origin = Origin::here(name, agent, system_properties);
    from_table(&table, &origin, catalogue, findings)
}

/// Every setting of `agent` with its origin: of the components that run, which `loaded` has, the values that count,
/// and what is written of those that are left out. No program of a configuration filter is run again for that: a
/// value that one gives stands there as it is written.
#[must_use]
pub fn settings_of(
    loaded: Option<&AgentConfig>,
    texts: &[Text],
    agent: &str,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Vec<Effective> {
    let mut all = loaded.map_or_else(Vec::new, |loaded| effective(loaded, catalogue));
    let mut findings = Findings::default();
    let Ok(table) = file::merged(texts, &mut findings) else { return all };
    let origin = Origin::here(Path::new(""), agent, system_properties);
    let now = Zoned::now();
    let written = resolve(&table, agent, &origin.lookups(&table, &now), &mut findings);
    let more = left_out(written, agent, &all);
    all.extend(more);
    all
}

/// Every agent that the file at `path` describes, by name, each as [`load`] reads it. The file is
/// read once.
///
/// # Errors
/// The file cannot be read. An agent that cannot run has its own error.
pub fn load_all(
    path: &Path,
    system_properties: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Result<BTreeMap<String, Result<Loaded, LoadError>>, FileError> {
    let mut findings = Findings::default();
    let table = file::read(&[path], &mut findings)?;
    let agents = sections::agents(&table).into_iter().map(|agent| {
        let origin = Origin::here(path, &agent, system_properties);
        let loaded = from_table(&table, &origin, catalogue, findings.clone());
        (agent, loaded)
    });
    Ok(agents.collect())
}

/// Reads one channel of an agent, whatever the rest of the agent is like: a channel can be looked
/// at and emptied although its agent cannot run.
///
/// # Errors
/// The file cannot be read, or has no such agent or channel, or the channel cannot be opened with
/// these settings.
pub fn load_channel(
    paths: &[&Path],
    agent: &str,
    channel: &str,
    system_properties: &BTreeMap<String, String>,
) -> Result<(ChannelConfig, Vec<Finding>), LoadError> {
    let mut findings = Findings::default();
    let table = file::read(paths, &mut findings)?;
    let path = paths.last().copied().unwrap_or_else(|| Path::new(""));
    let origin = Origin::here(path, agent, system_properties);
    let sections = sorted(&table, &origin, &mut findings)?;
    channel_of(&sections, &origin, channel, findings)
}

/// What a table of keys is read with.
pub(super) struct Origin<'a> {
    pub(super) path: &'a Path,
    pub(super) agent: &'a str,
    pub(super) system: &'a BTreeMap<String, String>,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// What a program answers that is asked for a key, see [`ask::program`].
    pub(super) program: &'a ask::Ask,
}

impl<'a> Origin<'a> {
    /// With the environment and the programs of this machine.
    fn here(path: &'a Path, agent: &'a str, system: &'a BTreeMap<String, String>) -> Self {
        let environment = &|name: &str| std::env::var(name).ok();
        Self { path, agent, system, environment, program: &ask::program }
    }

    /// What a `${…}` in the values of `table` may stand for.
    fn lookups(&self, table: &'a Table, now: &'a Zoned) -> Lookups<'a> {
        Lookups {
            system: self.system,
            environment: self.environment,
            now,
            keys: &table.entries,
            environment_by_name: self
                .system
                .get("propertiesImplementation")
                .is_some_and(|class| class == "org.apache.flume.node.EnvVarResolverProperties"),
        }
    }
}

pub(super) fn from_table(
    table: &Table,
    origin: &Origin<'_>,
    catalogue: &Catalogue,
    mut findings: Findings,
) -> Result<Loaded, LoadError> {
    let sections = sorted(table, origin, &mut findings)?;
    let catalogue = Catalogue { stand_ins: stand_ins::among(origin.system), ..catalogue.clone() };
    let agent = validate::agent(origin.agent, sections, &catalogue, &mut findings);
    let (mut findings, stop) = findings.into_parts();
    findings.retain(|finding| concerns(origin.agent, finding));
    match stop {
        None => Ok(Loaded { agent, findings }),
        Some(first) => Err(LoadError::Refused {
            agent: origin.agent.to_owned(),
            first: Box::new(first),
            findings,
            parts: Some(Box::new(agent)),
        }),
    }
}

pub(super) fn channel_of(
    sections: &Sections,
    origin: &Origin<'_>,
    channel: &str,
    mut findings: Findings,
) -> Result<(ChannelConfig, Vec<Finding>), LoadError> {
    let found = validate::channel(sections, channel, &mut findings);
    let prefix = format!("{}.channels.{channel}", origin.agent);
    let about = |finding: &Finding| {
        finding
            .key
            .strip_prefix(&prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let (mut findings, _) = findings.into_parts();
    findings.retain(about);
    let first = findings.iter().find(|finding| finding.severity == Severity::Error).cloned();
    match (found, first) {
        (Some(found), None) => Ok((found, findings)),
        (_, Some(first)) => Err(LoadError::Refused {
            agent: origin.agent.to_owned(),
            first: Box::new(first),
            findings,
            parts: None,
        }),
        (None, None) => {
            let channels = sections.components.keys().filter(|(section, _)| *section == "channels");
            Err(LoadError::ChannelAbsent {
                path: origin.path.to_path_buf(),
                agent: origin.agent.to_owned(),
                channel: channel.to_owned(),
                channels: channels.map(|(_, name)| name.clone()).collect(),
            })
        }
    }
}

/// The keys of the agent, with their references replaced.
pub(super) fn sorted(
    table: &Table,
    origin: &Origin<'_>,
    findings: &mut Findings,
) -> Result<Sections, LoadError> {
    let now = Zoned::now();
    let resolved = resolve(table, origin.agent, &origin.lookups(table, &now), findings);
    let mut sections = sections::sort(resolved, origin.agent, findings);
    if !sections.present {
        let agents = sections::agents(table);
        let (path, agent) = (origin.path.to_path_buf(), origin.agent.to_owned());
        let (findings, _) = std::mem::take(findings).into_parts();
        return Err(LoadError::AgentAbsent { path, agent, agents, findings });
    }
    filters::apply(origin, &mut sections, findings);
    tls::inherit(&mut sections, origin.system);
    Ok(sections)
}

/// Whether a finding is about this agent or about the file as a whole.
fn concerns(agent: &str, finding: &Finding) -> bool {
    split_agent(&finding.key).is_none_or(|(owner, _)| owner == agent)
}

/// The agent's values with their `${…}` replaced, and the keys that are of no agent.
fn resolve(table: &Table, agent: &str, lookups: &Lookups<'_>, findings: &mut Findings) -> Table {
    let concerns = |key: &str| split_agent(key).is_none_or(|(owner, _)| owner == agent);
    let own = |key: &str| split_agent(key).is_some();
    let entries = table.entries.iter().filter(|(key, _)| concerns(key));
    let entries = entries.map(|(key, setting)| (key.clone(), setting.clone()));
    let mut resolved = Table { entries: entries.collect() };
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
                    let message = format!("${{{name}}} asks a Java process; write the text itself");
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

fn unresolved(name: &str, place: &super::settings::Place, key: &str, findings: &mut Findings) {
    let lower = name.to_lowercase();
    let what = if lower.starts_with("env:") {
        "no such environment variable is set"
    } else if lower.starts_with("sys:") {
        "no such -D option is given"
    } else {
        return;
    };
    findings.warn(place, key, format!("${{{name}}} stays as it stands, as in Flume: {what}"));
}

#[cfg(test)]
mod tests;
