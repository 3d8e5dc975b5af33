//! `AGENT.alarms.*`: which alarms there are, where they are kept and who is told.
//!
//! A key that Flume does not have is ours to hold to its word: one that nobody knows, and a value that
//! cannot be used, is a finding with its line; then the default counts, or the delivery is left out.

use super::delivery::target::{self, Target};
use super::kind::{About, Kind};
use super::raised::Sender;
use super::tuning::{SHARED, Tuning};
use super::{HISTORY_MAX, HISTORY_MAX_DEFAULT};
use crate::base::files;
use crate::config::agent::{AgentConfig, ChannelKind, SinkConfig};
use crate::config::names;
use crate::config::settings::{
    Finding, Key, Kind as KeyKind, SettingError, Settings, SettingsReader, Severity as Weight,
};
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The keys that are about no single alarm and no delivery.
pub(super) const GENERAL: [Key; 4] = [
    Key {
        name: "enabled",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether there are alarms at all.",
    },
    Key {
        name: "cluster",
        kind: KeyKind::Text,
        default: "",
        meaning: "The name of the cluster that alarms come from; the agent's name without it.",
    },
    Key {
        name: "directory",
        kind: KeyKind::Path,
        default: "",
        meaning: "Where active alarms, their history and the clients that were learned are kept. Without it beside the first file channel's checkpointDir, with -alarms after its name; without such a channel ~/.flume/alarms/AGENT-HASH, the hash being of the configuration's path.",
    },
    Key {
        name: "history",
        kind: KeyKind::Number,
        default: "1000",
        meaning: "Alarms that are over and still known, 0 to 10000.",
    },
];

/// The types of source that can tell their clients apart.
const LISTENERS: [&str; 3] = ["avro", "thrift", "org.apache.flume.source.scribe.ScribeSource"];

/// Everything that alarms of an agent go by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlarmSettings {
    pub(crate) enabled: bool,
    pub(crate) sender: Sender,
    /// Where they are kept; `None` where there is no place.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) history_max: usize,
    pub(crate) targets: Vec<Target>,
    pub(crate) scene: Scene,
    /// Of a kind for all components, and for some.
    tunings: BTreeMap<Kind, (Tuning, BTreeMap<String, Tuning>)>,
}

/// What hangs together in an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(super) outlets: Vec<Outlet>,
    pub(super) directories: Vec<DataPlace>,
    /// Sources whose clients can be told apart.
    pub(super) listeners: Vec<String>,
    sources: Vec<String>,
    channels: Vec<String>,
}

/// A sink that runs alone, or the sinks of a group, of which one at a time delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outlet {
    /// As in `SINK.k1` or `SINKGROUP.g1`.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) sinks: Vec<String>,
    pub(super) channels: Vec<String>,
}

impl Outlet {
    pub(super) fn is_group(&self) -> bool {
        self.sinks.len() > 1
    }
}

/// A directory of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataPlace {
    pub(super) channel: String,
    pub(super) path: PathBuf,
    /// Free bytes below which the channel takes no events.
    pub(super) required_bytes: u64,
}

impl AlarmSettings {
    /// What `config` says, and what was found in it.
    pub(crate) fn read(config: &AgentConfig) -> (Self, Vec<Finding>) {
        let scene = Scene::of(config);
        let mut reader = SettingsReader::new(&config.alarms);
        let agent = config.name.clone();
        let cluster = reader.text_as_written("cluster").filter(|name| !name.is_empty());
        let host = dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned());
        let sender = Sender { cluster: cluster.unwrap_or_else(|| agent.clone()), agent, host };
        let enabled = or_default(reader.truth("enabled", true), &mut reader).unwrap_or(true);
        let history = or_default(reader.number("history", 0..=HISTORY_MAX), &mut reader).flatten();
        let directory = reader.text("directory").filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut tunings = BTreeMap::new();
        for kind in Kind::ALL {
            tunings.insert(kind, tunings_of(kind, &scene, &config.name, &mut reader));
        }
        let mut findings = unknown(&config.alarms, &scene, &config.name);
        let (targets, found) = target::read(&config.alarms);
        findings.extend(found);
        findings.extend(reader.into_findings());
        let settings = Self {
            enabled,
            directory: directory.or_else(|| default_directory(config)),
            history_max: history.unwrap_or(HISTORY_MAX_DEFAULT),
            sender,
            targets,
            scene,
            tunings,
        };
        (settings, findings)
    }

    /// How `kind` is to be watched at the component `name`, if it is.
    pub(super) fn tuning(&self, kind: Kind, name: &str) -> Option<Tuning> {
        let (all, own) = self.tunings.get(&kind)?;
        let tuning = own.get(name).unwrap_or(all);
        tuning.enabled.then(|| tuning.clone())
    }
}

impl Scene {
    fn of(config: &AgentConfig) -> Self {
        let grouped: BTreeSet<&String> =
            config.sink_groups.iter().flat_map(|group| &group.sinks).collect();
        let named = |name: &String| config.sinks.iter().find(|s| s.component.name == *name);
        let outlet = |key: String, name: &str, sinks: Vec<&SinkConfig>| {
            let mut channels: Vec<String> = sinks.iter().map(|s| s.channel.clone()).collect();
            channels.dedup();
            let sinks = sinks.iter().map(|sink| sink.component.name.clone()).collect();
            Outlet { key, name: name.to_owned(), sinks, channels }
        };
        let alone = config.sinks.iter().filter(|sink| !grouped.contains(&sink.component.name));
        let mut outlets: Vec<Outlet> = alone
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

    /// The names of the components that `kind` can be about.
    fn names(&self, kind: Kind, agent: &str) -> Vec<String> {
        match kind.entry().about {
            About::Channel => self.channels.clone(),
            About::Listener => self.listeners.clone(),
            About::Source => self.sources.clone(),
            About::Component => {
                let sinks = self.outlets.iter().flat_map(|outlet| &outlet.sinks);
                let all = self.sources.iter().chain(&self.channels).chain(sinks);
                all.cloned().collect::<BTreeSet<_>>().into_iter().collect()
            }
            About::Outlet => self.outlets.iter().map(|outlet| outlet.name.clone()).collect(),
            About::Member => {
                let groups = self.outlets.iter().filter(|outlet| outlet.is_group());
                groups.flat_map(|group| group.sinks.clone()).collect()
            }
            About::Peer => {
                let sinks = self.outlets.iter().flat_map(|outlet| outlet.sinks.clone());
                self.sources.iter().cloned().chain(sinks).collect()
            }
            About::Agent => vec![agent.to_owned()],
        }
    }
}

fn directories(channel: &crate::config::agent::ChannelConfig) -> Vec<DataPlace> {
    let file = match &channel.kind {
        ChannelKind::File(file) => file,
        ChannelKind::Spillable(spillable) if spillable.overflow_capacity > 0 => &spillable.overflow,
        ChannelKind::Spillable(_) | ChannelKind::Memory(_) => return Vec::new(),
    };
    let place = |path: &PathBuf| DataPlace {
        channel: channel.component.name.clone(),
        path: path.clone(),
        required_bytes: file.minimum_required_space,
    };
    file.data_dirs.iter().chain([&file.checkpoint_dir]).map(place).collect()
}

/// Where alarms are kept where nothing is said: beside what the agent has locked for itself.
fn default_directory(config: &AgentConfig) -> Option<PathBuf> {
    let file = config.channels.iter().find_map(|channel| match &channel.kind {
        ChannelKind::File(file) => Some(file),
        ChannelKind::Memory(_) | ChannelKind::Spillable(_) => None,
    });
    if let Some(file) = file {
        let mut name = file.checkpoint_dir.file_name()?.to_owned();
        name.push("-alarms");
        return Some(file.checkpoint_dir.with_file_name(name));
    }
    // A name that leads out of the directory has no place there.
    let is_plain = Path::new(&config.name).file_name().is_some_and(|name| name == &*config.name);
    let home = files::home_directory().filter(|_| is_plain)?;
    Some(home.join(".flume/alarms").join(format!("{}-{}", config.name, path_hash(config))))
}

/// Tells agents of one name apart by where their configurations are: a1 is everybody's first. A line of the
/// first source stands for the configuration, or of what else there is.
fn path_hash(config: &AgentConfig) -> String {
    let sources = config.sources.iter().map(|source| &source.component);
    let sinks = config.sinks.iter().map(|sink| &sink.component);
    let channels = config.channels.iter().map(|channel| &channel.component);
    let mut components = sources.chain(sinks).chain(channels);
    let file = components.next().map_or(Path::new(""), |component| &component.place.file);
    // A URI is where it is already.
    let is_uri = file.to_string_lossy().contains("://");
    let path = if is_uri { None } else { std::path::absolute(file).ok() };
    let path = path.unwrap_or_else(|| file.to_owned());
    let digest = digest(&SHA256, path.as_os_str().as_encoded_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The value; where it cannot be used that is a finding, and there is none.
fn or_default<T>(read: Result<T, SettingError>, reader: &mut SettingsReader<'_>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            let key = own_key(reader.settings(), &error.key).to_owned();
            let message = format!("{}; what counts without this key counts", error.message);
            reader.find(Weight::Error, &key, message);
            None
        }
    }
}

fn own_key<'k>(settings: &Settings, whole: &'k str) -> &'k str {
    whole.strip_prefix(&*settings.prefix).map_or(whole, |key| key.trim_start_matches('.'))
}

/// What the keys of `kind` say, for all components and for those that have keys of their own.
fn tunings_of(
    kind: Kind,
    scene: &Scene,
    agent: &str,
    reader: &mut SettingsReader<'_>,
) -> (Tuning, BTreeMap<String, Tuning>) {
    let entry = kind.entry();
    let apply = |tuning: &mut Tuning, before: &str, reader: &mut SettingsReader<'_>| {
        for param in SHARED.iter().chain(entry.params) {
            let read = param.read(reader, &format!("{before}.{}", param.key.name), tuning);
            or_default(read, reader);
        }
        if kind == Kind::DiskSpace {
            // Where one of the two is set, it counts and not the default of the other.
            let is_set = |name: &str| reader.text(&format!("{before}.{name}")).is_some();
            match (is_set("freePercent"), is_set("freeBytes")) {
                (true, false) if tuning.limit > Some(0) => tuning.bytes = 0,
                (false, true) if tuning.bytes > 0 => tuning.limit = Some(0),
                _ => {}
            }
        }
        if let (Some(limit), Some(clear)) = (tuning.limit, tuning.clear)
            && clear >= limit
        {
            let name = if kind == Kind::ChannelFill { "clearPercent" } else { "clearEvents" };
            let message = format!(
                "{clear} is not below {limit}, from which the alarm is raised; what counts without this key counts"
            );
            let key = [format!("{before}.{name}"), format!("{}.{name}", entry.name)];
            let set = key.iter().find(|key| reader.text(key).is_some()).unwrap_or(&key[0]);
            reader.find(Weight::Error, set, message);
            tuning.clear = None;
        }
    };
    let mut all = Tuning::new(kind);
    apply(&mut all, entry.name, reader);
    let mut own = BTreeMap::new();
    for name in scene.names(kind, agent) {
        let before = format!("{}.{name}", entry.name);
        let has = |key: &String| key.strip_prefix(&*before).is_some_and(|k| k.starts_with('.'));
        if reader.settings().entries.keys().any(has) {
            let mut tuning = all.clone();
            apply(&mut tuning, &before, reader);
            own.insert(name, tuning);
        }
    }
    (all, own)
}

/// The keys that nobody knows.
fn unknown(settings: &Settings, scene: &Scene, agent: &str) -> Vec<Finding> {
    let mut reader = SettingsReader::new(settings);
    for key in settings.entries.keys() {
        if let Some(why) = stranger(key, scene, agent) {
            reader.find(Weight::Warning, key, format!("{why}; ignored"));
        }
    }
    reader.into_findings()
}

/// Why a key is none, if it is none.
fn stranger(key: &str, scene: &Scene, agent: &str) -> Option<String> {
    if GENERAL.iter().any(|known| known.name == key) || target::knows(key) {
        return None;
    }
    let words: Vec<&str> = key.split('.').collect();
    let Some(kind) = Kind::named(words[0]) else {
        let kinds = Kind::ALL.iter().map(|kind| kind.entry().name);
        let general = GENERAL.iter().map(|key| key.name);
        if let Some(hint) = target::hint(key) {
            return Some(format!("there is no such key{hint}"));
        }
        let hint = names::did_you_mean(words[0], kinds.chain(general).chain(target::NAMES));
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
        let hint = names::did_you_mean(param, params());
        return Some(format!("the alarm {} has no such key{hint}", entry.name));
    }
    let component = component?;
    let known = scene.names(kind, agent);
    if known.iter().any(|name| name == component) {
        return None;
    }
    let hint = names::did_you_mean(component, known.iter().map(String::as_str));
    let group =
        scene.outlets.iter().find(|outlet| outlet.sinks.iter().any(|sink| sink == component));
    Some(match (kind.entry().about, group) {
        (About::Outlet, Some(group)) => {
            format!("the sink {component} is watched with its group: write {}", group.name)
        }
        (about, _) => format!(
            "the alarm {} is about {}, and {component} is none{hint}",
            entry.name,
            what(about)
        ),
    })
}

fn what(about: About) -> &'static str {
    match about {
        About::Channel => "channels",
        About::Listener => "sources of the types avro, thrift and scribe",
        About::Source => "sources",
        About::Component => "sources, channels and sinks",
        About::Outlet => "sinks and sink groups",
        About::Member => "sinks of a group",
        About::Peer => "sources and sinks",
        About::Agent => "the agent",
    }
}
