//! `AGENT.alarms.*`: which alarms there are, where they are stored and which targets are notified.
//!
//! Flume does not have these keys: an unknown key, and a value that cannot be used, is a finding
//! with its line; then the default counts, or the delivery is left out.

use super::alarm_record::AlarmSender;
use super::delivery::target::{self, DeliveryTarget};
use super::kind::{AlarmKind, AlarmSubject};
use super::limits::{HISTORY_MAX, HISTORY_MAX_DEFAULT};
use super::thresholds::{SHARED, Thresholds};
use millpond_config::agent::{AgentConfig, ChannelKind, SinkConfig};
use millpond_flow::base::files;
use millpond_flow::settings::{
    ConfigFinding, Key, KeyKind, SettingError, Settings, SettingsReader, Severity as Weight,
    flume_names,
};
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The keys that are not about a single alarm or delivery.
pub(super) const GENERAL: [Key; 4] = [
    Key {
        name: "enabled",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether there are alarms.",
    },
    Key {
        name: "cluster",
        kind: KeyKind::Text,
        default: "",
        meaning: "The name of the cluster that alarms come from; the agent's name by default.",
    },
    Key {
        name: "directory",
        kind: KeyKind::Path,
        default: "",
        meaning: "The directory of active alarms, their history and the learned clients. By default it is next to the first file channel's checkpointDir, with -alarms after its name; without such a channel ~/.flume/alarms/AGENT-HASH, the hash being of the configuration's path.",
    },
    Key {
        name: "history",
        kind: KeyKind::Number,
        default: "1000",
        meaning: "Cleared alarms that are kept, 0 to 10000.",
    },
];

/// The types of source that can tell their clients apart.
const LISTENERS: [&str; 3] = ["avro", "thrift", "org.apache.flume.source.scribe.ScribeSource"];

/// All alarm settings of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmSettings {
    pub(crate) enabled: bool,
    pub(crate) sender: AlarmSender,
    /// The directory where they are stored; `None` if there is none.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) history_max: usize,
    pub(crate) targets: Vec<DeliveryTarget>,
    pub(crate) topology: AgentTopology,
    /// Thresholds of a kind for all components, and for some.
    all_limits: BTreeMap<AlarmKind, (Thresholds, BTreeMap<String, Thresholds>)>,
}

/// The topology of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentTopology {
    pub(super) outlets: Vec<SinkOutlet>,
    pub(super) directories: Vec<ChannelDirectory>,
    /// Sources whose clients can be told apart.
    pub(super) listeners: Vec<String>,
    sources: Vec<String>,
    channels: Vec<String>,
}

/// A sink that runs alone, or the sinks of a group, of which one at a time delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SinkOutlet {
    /// As in `SINK.k1` or `SINKGROUP.g1`.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) sinks: Vec<String>,
    pub(super) channels: Vec<String>,
}

impl SinkOutlet {
    pub(super) fn is_group(&self) -> bool {
        self.sinks.len() > 1
    }
}

/// A directory of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelDirectory {
    pub(super) channel: String,
    pub(super) path: PathBuf,
    /// Free bytes below which the channel refuses events.
    pub(super) required_bytes: u64,
}

impl AlarmSettings {
    /// Returns the settings of `config`, and the findings in them.
    pub fn read(config: &AgentConfig) -> (Self, Vec<ConfigFinding>) {
        let topology = AgentTopology::of(config);
        let mut reader = SettingsReader::new(&config.alarms);
        let agent = config.name.clone();
        let cluster = reader.text_as_written("cluster").filter(|name| !name.is_empty());
        let host = dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned());
        let sender = AlarmSender { cluster: cluster.unwrap_or_else(|| agent.clone()), agent, host };
        let enabled = or_default(reader.truth("enabled", true), &mut reader).unwrap_or(true);
        let history = or_default(reader.number("history", 0..=HISTORY_MAX), &mut reader).flatten();
        let directory = reader.text("directory").filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut all_limits = BTreeMap::new();
        for kind in AlarmKind::ALL {
            all_limits.insert(kind, tunings_of(kind, &topology, &config.name, &mut reader));
        }
        let mut findings = unknown(&config.alarms, &topology, &config.name);
        let (targets, found) = target::read(&config.alarms);
        findings.extend(found);
        findings.extend(reader.into_findings());
        let settings = Self {
            enabled,
            directory: directory.or_else(|| default_directory(config)),
            history_max: history.unwrap_or(HISTORY_MAX_DEFAULT),
            sender,
            targets,
            topology,
            all_limits,
        };
        (settings, findings)
    }

    /// Returns the thresholds of `kind` for the component `name`, if it is watched.
    pub(super) fn limits(&self, kind: AlarmKind, name: &str) -> Option<Thresholds> {
        let (all, own) = self.all_limits.get(&kind)?;
        let limits = own.get(name).unwrap_or(all);
        limits.enabled.then(|| limits.clone())
    }
}

impl AgentTopology {
    fn of(config: &AgentConfig) -> Self {
        let grouped: BTreeSet<&String> =
            config.sink_groups.iter().flat_map(|group| &group.sinks).collect();
        let named = |name: &String| config.sinks.iter().find(|s| s.component.name == *name);
        let outlet = |key: String, name: &str, sinks: Vec<&SinkConfig>| {
            let mut channels: Vec<String> = sinks.iter().map(|s| s.channel.clone()).collect();
            channels.dedup();
            let sinks = sinks.iter().map(|sink| sink.component.name.clone()).collect();
            SinkOutlet { key, name: name.to_owned(), sinks, channels }
        };
        let alone = config.sinks.iter().filter(|sink| !grouped.contains(&sink.component.name));
        let mut outlets: Vec<SinkOutlet> = alone
            .map(|sink| {
                outlet(format!("SINK.{}", sink.component.name), &sink.component.name, vec![sink])
            })
            .collect();
        outlets.extend(config.sink_groups.iter().map(|group| {
            let sinks = group.sinks.iter().filter_map(named).collect();
            outlet(format!("SINKGROUP.{}", group.name), &group.name, sinks)
        }));
        let listeners = config.sources.iter().map(|source| &source.component);
        let listeners = listeners.filter(|source| LISTENERS.contains(&source.type_name));
        Self {
            outlets,
            directories: config.channels.iter().flat_map(directories).collect(),
            listeners: listeners.map(|source| source.name.clone()).collect(),
            sources: config.sources.iter().map(|source| source.component.name.clone()).collect(),
            channels: config.channels.iter().map(|c| c.component.name.clone()).collect(),
        }
    }

    /// Returns the names of the components that `kind` can be about.
    fn names(&self, kind: AlarmKind, agent: &str) -> Vec<String> {
        match kind.entry().about {
            AlarmSubject::Channel => self.channels.clone(),
            AlarmSubject::Listener => self.listeners.clone(),
            AlarmSubject::Source => self.sources.clone(),
            AlarmSubject::Component => {
                let sinks = self.outlets.iter().flat_map(|outlet| &outlet.sinks);
                let all = self.sources.iter().chain(&self.channels).chain(sinks);
                all.cloned().collect::<BTreeSet<_>>().into_iter().collect()
            }
            AlarmSubject::Outlet => self.outlets.iter().map(|outlet| outlet.name.clone()).collect(),
            AlarmSubject::Member => {
                let groups = self.outlets.iter().filter(|outlet| outlet.is_group());
                groups.flat_map(|group| group.sinks.clone()).collect()
            }
            AlarmSubject::Peer => {
                let sinks = self.outlets.iter().flat_map(|outlet| outlet.sinks.clone());
                self.sources.iter().cloned().chain(sinks).collect()
            }
            AlarmSubject::Agent => vec![agent.to_owned()],
        }
    }
}

fn directories(channel: &millpond_config::agent::ChannelConfig) -> Vec<ChannelDirectory> {
    let Some(file) = channel.kind.files() else { return Vec::new() };
    let place = |path: &PathBuf| ChannelDirectory {
        channel: channel.component.name.clone(),
        path: path.clone(),
        required_bytes: file.minimum_required_space,
    };
    file.data_dirs.iter().chain([&file.checkpoint_dir]).map(place).collect()
}

/// Returns where alarms are stored by default: next to the directory that the agent has locked.
fn default_directory(config: &AgentConfig) -> Option<PathBuf> {
    let file = config.channels.iter().find_map(|channel| match &channel.kind {
        ChannelKind::File(file) => Some(file),
        ChannelKind::Memory(_) | ChannelKind::Spillable(_) | ChannelKind::Adapter(_) => None,
    });
    if let Some(file) = file {
        let mut name = file.checkpoint_dir.file_name()?.to_owned();
        name.push("-alarms");
        return Some(file.checkpoint_dir.with_file_name(name));
    }
    // A name that leads out of the directory cannot be used.
    let is_plain = Path::new(&config.name).file_name().is_some_and(|name| name == &*config.name);
    let home = files::home_directory().filter(|_| is_plain)?;
    Some(home.join(".flume/alarms").join(format!("{}-{}", config.name, path_hash(config))))
}

/// Returns a hash that distinguishes agents of one name by the place of their configuration: many
/// first agents are called a1. The configuration is represented by a line of its first source, or
/// of what else there is.
fn path_hash(config: &AgentConfig) -> String {
    let sources = config.sources.iter().map(|source| &source.component);
    let sinks = config.sinks.iter().map(|sink| &sink.component);
    let channels = config.channels.iter().map(|channel| &channel.component);
    let mut components = sources.chain(sinks).chain(channels);
    let file = components.next().map_or(Path::new(""), |component| &component.place.file);
    // A URI is absolute already.
    let is_uri = file.to_string_lossy().contains("://");
    let path = if is_uri { None } else { std::path::absolute(file).ok() };
    let path = path.unwrap_or_else(|| file.to_owned());
    let digest = digest(&SHA256, path.as_os_str().as_encoded_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the value; if it cannot be used, notes a finding and returns `None`.
fn or_default<T>(read: Result<T, SettingError>, reader: &mut SettingsReader<'_>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            let key = own_key(reader.settings(), &error.key).to_owned();
            let message = format!("{}; the default counts", error.message);
            reader.find(Weight::Error, &key, message);
            None
        }
    }
}

fn own_key<'k>(settings: &Settings, whole: &'k str) -> &'k str {
    whole.strip_prefix(&*settings.prefix).map_or(whole, |key| key.trim_start_matches('.'))
}

/// Returns the thresholds of `kind`, for all components and for those that have keys of their own.
fn tunings_of(
    kind: AlarmKind,
    topology: &AgentTopology,
    agent: &str,
    reader: &mut SettingsReader<'_>,
) -> (Thresholds, BTreeMap<String, Thresholds>) {
    let entry = kind.entry();
    let apply = |limits: &mut Thresholds, before: &str, reader: &mut SettingsReader<'_>| {
        for param in SHARED.iter().chain(entry.params) {
            let read = param.read(reader, &format!("{before}.{}", param.key.name), limits);
            or_default(read, reader);
        }
        if kind == AlarmKind::DiskSpace {
            // If one of the two is set, it counts, and not the default of the other.
            let is_set = |name: &str| reader.text(&format!("{before}.{name}")).is_some();
            match (is_set("freePercent"), is_set("freeBytes")) {
                (true, false) if limits.limit > Some(0) => limits.bytes = 0,
                (false, true) if limits.bytes > 0 => limits.limit = Some(0),
                _ => {}
            }
        }
        if let (Some(limit), Some(clear)) = (limits.limit, limits.clear)
            && clear >= limit
        {
            let name = if kind == AlarmKind::ChannelFill { "clearPercent" } else { "clearEvents" };
            let message = format!(
                "{clear} is not below {limit}, from which the alarm is raised; the default counts"
            );
            let key = [format!("{before}.{name}"), format!("{}.{name}", entry.name)];
            let set = key.iter().find(|key| reader.text(key).is_some()).unwrap_or(&key[0]);
            reader.find(Weight::Error, set, message);
            limits.clear = None;
        }
    };
    let mut all = kind.thresholds();
    apply(&mut all, entry.name, reader);
    let mut own = BTreeMap::new();
    for name in topology.names(kind, agent) {
        let before = format!("{}.{name}", entry.name);
        let has = |key: &String| key.strip_prefix(&*before).is_some_and(|k| k.starts_with('.'));
        if reader.settings().entries.keys().any(has) {
            let mut limits = all.clone();
            apply(&mut limits, &before, reader);
            own.insert(name, limits);
        }
    }
    (all, own)
}

/// Reports the unknown keys.
fn unknown(settings: &Settings, topology: &AgentTopology, agent: &str) -> Vec<ConfigFinding> {
    let mut reader = SettingsReader::new(settings);
    for key in settings.entries.keys() {
        if let Some(why) = stranger(key, topology, agent) {
            reader.find(Weight::Warning, key, format!("{why}; ignored"));
        }
    }
    reader.into_findings()
}

/// Returns why a key is invalid, if it is.
fn stranger(key: &str, topology: &AgentTopology, agent: &str) -> Option<String> {
    if GENERAL.iter().any(|known| known.name == key) || target::knows(key) {
        return None;
    }
    let words: Vec<&str> = key.split('.').collect();
    let Some(kind) = AlarmKind::named(words[0]) else {
        let kinds = AlarmKind::ALL.iter().map(|kind| kind.entry().name);
        let general = GENERAL.iter().map(|key| key.name);
        if let Some(hint) = target::hint(key) {
            return Some(format!("there is no such key{hint}"));
        }
        let hint = flume_names::did_you_mean(words[0], kinds.chain(general).chain(target::NAMES));
        return Some(format!("there is no such alarm or key{hint}"));
    };
    let entry = kind.entry();
    let params = || SHARED.iter().chain(entry.params).map(|param| param.key.name);
    let (component, param) = match words[1..] {
        [param] => (None, param),
        [component, param] => (Some(component), param),
        _ => return Some("NAME.KEY or NAME.COMPONENT.KEY is expected".to_owned()),
    };
    if !params().any(|known| known == param) {
        let hint = flume_names::did_you_mean(param, params());
        return Some(format!("the alarm {} has no such key{hint}", entry.name));
    }
    let component = component?;
    let known = topology.names(kind, agent);
    if known.iter().any(|name| name == component) {
        return None;
    }
    let hint = flume_names::did_you_mean(component, known.iter().map(String::as_str));
    let group =
        topology.outlets.iter().find(|outlet| outlet.sinks.iter().any(|sink| sink == component));
    Some(match (kind.entry().about, group) {
        (AlarmSubject::Outlet, Some(group)) => {
            format!("the sink {component} is watched with its group: write {}", group.name)
        }
        (about, _) => format!(
            "the alarm {} is about {}; {component} is not one of them{hint}",
            entry.name,
            what(about)
        ),
    })
}

fn what(about: AlarmSubject) -> &'static str {
    match about {
        AlarmSubject::Channel => "channels",
        AlarmSubject::Listener => "sources of the types avro, thrift and scribe",
        AlarmSubject::Source => "sources",
        AlarmSubject::Component => "sources, channels and sinks",
        AlarmSubject::Outlet => "sinks and sink groups",
        AlarmSubject::Member => "sinks of a group",
        AlarmSubject::Peer => "sources and sinks",
        AlarmSubject::Agent => "the agent",
    }
}
