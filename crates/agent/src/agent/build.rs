//! Builds the plan of what runs from a validated configuration.

use millpond_config::agent::{
    AgentConfig, ChannelKind, ComponentConfig, SinkConfig, SinkGroupConfig, SourceConfig,
};
use millpond_config::{Catalogue, TypeEntry};
use millpond_flow::channel_type::ChannelType;
use millpond_flow::interceptor::{Interceptor, InterceptorType};
use millpond_flow::metrics::{ComponentId, ComponentRole};
use millpond_flow::processor::{Processor, ProcessorType};
use millpond_flow::selector::{Selector, SelectorType};
use millpond_flow::settings::dead_letter::DeadLetterSettings;
use millpond_flow::settings::{ConfigFinding, SettingError, SettingsReader, Severity};
use millpond_flow::sink::SinkType;
use millpond_flow::sink_runner::SinkMaker;
use millpond_flow::source::SourceType;
use millpond_flow::source_runner::SourceMaker;
use millpond_observe::monitor::alarm::AlarmSettings;
use std::sync::LazyLock;

/// The sinks of this build.
static SINKS: LazyLock<Vec<&'static SinkType>> = LazyLock::new(|| {
    let light = millpond_adapters::sink::TYPES.iter().copied();
    #[cfg(feature = "hdfs")]
    let light = light.chain(millpond_hdfs::SINK_TYPES.iter().copied());
    #[cfg(feature = "kafka")]
    let light = light.chain(millpond_kafka::SINK_TYPES.iter().copied());
    light.collect()
});

/// The sources of this build.
static SOURCES: LazyLock<Vec<&'static SourceType>> = LazyLock::new(|| {
    let light = millpond_adapters::source::TYPES.iter().copied();
    #[cfg(feature = "jms")]
    let light = light.chain(millpond_jms::SOURCE_TYPES.iter().copied());
    #[cfg(feature = "kafka")]
    let light = light.chain(millpond_kafka::SOURCE_TYPES.iter().copied());
    light.collect()
});

/// The channels of this build, besides the engine's.
static CHANNELS: LazyLock<Vec<&'static ChannelType>> = LazyLock::new(|| {
    #[cfg(feature = "kafka")]
    return millpond_kafka::CHANNEL_TYPES.to_vec();
    #[cfg(not(feature = "kafka"))]
    Vec::new()
});

/// The types of components that can be built.
#[derive(Clone, Copy)]
pub struct ComponentTypes {
    /// Channels, besides the engine's.
    pub channels: &'static [&'static ChannelType],
    /// Sources.
    pub sources: &'static [&'static SourceType],
    /// Interceptors.
    pub interceptors: &'static [&'static InterceptorType],
    /// Channel selectors.
    pub selectors: &'static [&'static SelectorType],
    /// Sink processors.
    pub processors: &'static [&'static ProcessorType],
    /// Sinks.
    pub sinks: &'static [&'static SinkType],
}

impl ComponentTypes {
    /// All built-in types.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            channels: &CHANNELS,
            sources: &SOURCES,
            interceptors: millpond_flow::interceptor::TYPES,
            selectors: millpond_flow::selector::TYPES,
            processors: millpond_flow::processor::TYPES,
            sinks: &SINKS,
        }
    }

    /// The components that a configuration may name.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        let source = |kind: &&SourceType| TypeEntry { names: kind.names, keys: kind.keys };
        let interceptor =
            |kind: &&InterceptorType| TypeEntry { names: kind.names, keys: kind.keys };
        let selector = |kind: &&SelectorType| TypeEntry { names: kind.names, keys: kind.keys };
        let processor = |kind: &&ProcessorType| TypeEntry { names: kind.names, keys: kind.keys };
        let sink = |kind: &&SinkType| TypeEntry { names: kind.names, keys: kind.keys };
        Catalogue {
            sources: self.sources.iter().map(source).collect(),
            interceptors: self.interceptors.iter().map(interceptor).collect(),
            selectors: self.selectors.iter().map(selector).collect(),
            sink_processors: self.processors.iter().map(processor).collect(),
            sinks: self.sinks.iter().map(sink).collect(),
            ..Catalogue::built_in().with_channels(self.channels)
        }
    }
}

/// The plan of what runs. Every component can be built; nothing is open yet.
pub struct AgentPlan {
    /// The agent's name.
    pub name: String,
    /// Channels, in the order of the configuration.
    pub channels: Vec<ChannelPlan>,
    /// Sources.
    pub sources: Vec<SourcePlan>,
    /// Sinks that run alone.
    pub sinks: Vec<SinkPlan>,
    /// Groups of sinks.
    pub groups: Vec<GroupPlan>,
    /// The names of all listed sources, including those that were left out.
    pub sources_listed: Vec<String>,
    /// Errors of the configuration: the number of parts that were left out.
    pub left_out: usize,
    /// The alarms and their delivery targets.
    pub(crate) alarms: AlarmSettings,
}

/// Identity of a component: its type, its settings and what it is attached to. A component with
/// another fingerprint is another component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFingerprint(Vec<String>);

impl ConfigFingerprint {
    fn of(component: &ComponentConfig) -> Self {
        let mut fingerprint = Self(vec![component.type_name.to_owned()]);
        let entries = &component.settings.entries;
        fingerprint
            .0
            .extend(entries.iter().map(|(key, setting)| format!("{key}={}", setting.value)));
        fingerprint
    }

    /// Adds a part, or something it is attached to; `what` separates the parts.
    fn with(mut self, what: &str, part: Self) -> Self {
        self.0.push(format!("{what}:"));
        self.0.extend(part.0);
        self
    }
}

/// A channel to open.
pub struct ChannelPlan {
    /// Its name.
    pub name: String,
    /// Its type, by its main name.
    pub type_name: &'static str,
    /// Its type and settings.
    pub kind: ChannelKind,
    /// Its identity.
    pub fingerprint: ConfigFingerprint,
}

/// A source to run.
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its type, by its main name.
    pub type_name: &'static str,
    /// Its channels, in order.
    pub channels: Vec<String>,
    /// Selects the channels of an event.
    pub selector: Box<dyn Selector>,
    /// The names of its interceptors, in order.
    pub interceptors: Vec<(String, Box<dyn Interceptor>)>,
    /// Builds it.
    pub make: SourceMaker,
    /// Its identity.
    pub fingerprint: ConfigFingerprint,
}

/// A sink to run.
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// Its type, by its main name.
    pub type_name: &'static str,
    /// Its channel.
    pub channel: String,
    /// The destination of events that are refused for good.
    pub dead_letter: Option<DeadLetterSettings>,
    /// Builds it.
    pub make: SinkMaker,
    /// Its identity.
    pub fingerprint: ConfigFingerprint,
}

/// A group of sinks to run.
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// Its sinks, in the order of the processor's indices.
    pub sinks: Vec<SinkPlan>,
    /// Selects the sink that delivers next.
    pub processor: Box<dyn Processor>,
    /// Its identity.
    pub fingerprint: ConfigFingerprint,
}

impl AgentPlan {
    /// Returns what of `config` can be built, and the findings. A component with unusable settings
    /// is left out, with an error; the rest runs.
    #[must_use]
    pub fn new(config: &AgentConfig, types: &ComponentTypes) -> (Self, Vec<ConfigFinding>) {
        let (alarms, mut findings) = AlarmSettings::read(config);
        let channels = config.channels.iter().map(|channel| ChannelPlan {
            name: channel.component.name.clone(),
            type_name: channel.component.type_name,
            kind: channel.kind.clone(),
            fingerprint: ConfigFingerprint::of(&channel.component),
        });
        let mut plan = Self {
            name: config.name.clone(),
            channels: channels.collect(),
            sources: Vec::new(),
            sinks: Vec::new(),
            groups: Vec::new(),
            sources_listed: config.sources_listed.clone(),
            left_out: 0,
            alarms,
        };
        for source in &config.sources {
            plan.sources.extend(plan_source(source, types, &mut findings));
        }
        for sink in &config.sinks {
            plan.sinks.extend(plan_sink(sink, types, &mut findings));
        }
        for group in &config.sink_groups {
            plan.groups.extend(plan_group(group, &mut plan.sinks, types, &mut findings));
        }
        (plan, findings)
    }

    /// Returns the id of every channel, source and sink.
    #[must_use]
    pub fn members(&self) -> Vec<ComponentId> {
        let member = |role, name: &str, kind| ComponentId { role, name: name.to_owned(), kind };
        let grouped = self.groups.iter().flat_map(|group| &group.sinks);
        let mut members = Vec::new();
        members.extend(
            self.channels.iter().map(|c| member(ComponentRole::Channel, &c.name, c.type_name)),
        );
        members.extend(
            self.sources.iter().map(|s| member(ComponentRole::Source, &s.name, s.type_name)),
        );
        let sinks = self.sinks.iter().chain(grouped);
        members.extend(sinks.map(|s| member(ComponentRole::Sink, &s.name, s.type_name)));
        members
    }
}

fn plan_source(
    config: &SourceConfig,
    types: &ComponentTypes,
    findings: &mut Vec<ConfigFinding>,
) -> Option<SourcePlan> {
    let named =
        types.sources.iter().copied().find(|t| t.names.contains(&config.component.type_name));
    let make = try_out(&config.component, named.map(|t| t.build), "source", findings)?;
    let interceptors = plan_interceptors(config, types, findings)?;
    let selector = plan_selector(config, types, findings)?;
    let fingerprint = ConfigFingerprint::of(&config.component)
        .with("channels", ConfigFingerprint(config.channels.clone()))
        .with("selector", ConfigFingerprint::of(&config.selector));
    let with = |fingerprint: ConfigFingerprint, i: &ComponentConfig| {
        fingerprint.with(&i.name, ConfigFingerprint::of(i))
    };
    Some(SourcePlan {
        fingerprint: config.interceptors.iter().fold(fingerprint, with),
        name: config.component.name.clone(),
        type_name: config.component.type_name,
        channels: config.channels.clone(),
        selector,
        interceptors,
        make,
    })
}

/// Returns the selector of a source, over its channels; without it the source is left out, as in
/// Flume.
fn plan_selector(
    config: &SourceConfig,
    types: &ComponentTypes,
    findings: &mut Vec<ConfigFinding>,
) -> Option<Box<dyn Selector>> {
    let component = &config.selector;
    let named = types.selectors.iter().find(|t| t.names.contains(&component.type_name));
    let mut reader = SettingsReader::new(&component.settings);
    let built = match named {
        Some(kind) => (kind.build)(&mut reader, &config.channels),
        None => Err(reader.error("type", "is not built in")),
    };
    findings.extend(reader.into_findings());
    built.map_err(|error| findings.push(left_out(error, "source"))).ok()
}

fn left_out(SettingError { place, key, message }: SettingError, what: &str) -> ConfigFinding {
    let message = format!("{message}; the {what} is left out");
    ConfigFinding { severity: Severity::Error, place, key, message }
}

/// Returns all interceptors, or none: a source whose events would miss one is left out, as in
/// Flume.
fn plan_interceptors(
    config: &SourceConfig,
    types: &ComponentTypes,
    findings: &mut Vec<ConfigFinding>,
) -> Option<Vec<(String, Box<dyn Interceptor>)>> {
    let mut chain = Some(Vec::new());
    for component in &config.interceptors {
        let named = types.interceptors.iter().find(|t| t.names.contains(&component.type_name));
        let make = try_out(component, named.map(|t| t.build), "source", findings);
        let built = make.and_then(|make| make().ok());
        chain = chain.zip(built).map(|(mut chain, built)| {
            chain.push((component.name.clone(), built));
            chain
        });
    }
    chain
}

fn plan_sink(
    config: &SinkConfig,
    types: &ComponentTypes,
    findings: &mut Vec<ConfigFinding>,
) -> Option<SinkPlan> {
    let named = types.sinks.iter().copied().find(|t| t.names.contains(&config.component.type_name));
    let make = try_out(&config.component, named.map(|t| t.build), "sink", findings)?;
    let channel = config.channel.clone();
    let fingerprint = ConfigFingerprint::of(&config.component)
        .with("channel", ConfigFingerprint(vec![channel.clone()]));
    let (name, mut dead_letter) = (config.component.name.clone(), config.dead_letter.clone());
    match (&dead_letter, make()) {
        (None, Ok(sink)) if sink.has_own_dead_letters() => {
            dead_letter = DeadLetterSettings::below_home();
        }
        (Some(_), Ok(sink)) if !sink.may_refuse() => {
            findings.push(idle_dead_letter(&config.component));
        }
        _ => {}
    }
    let type_name = config.component.type_name;
    Some(SinkPlan { name, type_name, channel, dead_letter, make, fingerprint })
}

/// Reports a `deadLetter.*` setting of a sink that refuses nothing.
fn idle_dead_letter(component: &ComponentConfig) -> ConfigFinding {
    let reader = SettingsReader::new(&component.settings);
    let set = |key: &&str| reader.text(key).is_some();
    let key = ["deadLetter.directory", "deadLetter.channel"].into_iter().find(set);
    let message = format!(
        "has no effect: a sink of the type {} with these settings never refuses an event for good; what it cannot deliver is tried until it can",
        component.type_name
    );
    let SettingError { place, key, message } = reader.error(key.unwrap_or_default(), message);
    ConfigFinding { severity: Severity::Warning, place, key, message }
}

/// Returns the group, with those of its sinks that can be built. Without a processor its sinks do
/// not run either, as in Flume.
fn plan_group(
    config: &SinkGroupConfig,
    alone: &mut Vec<SinkPlan>,
    types: &ComponentTypes,
    findings: &mut Vec<ConfigFinding>,
) -> Option<GroupPlan> {
    let mut sinks: Vec<SinkPlan> = Vec::new();
    for name in &config.sinks {
        let at = alone.iter().position(|sink| sink.name == *name);
        sinks.extend(at.map(|at| alone.remove(at)));
    }
    let names: Vec<String> = sinks.iter().map(|sink| sink.name.clone()).collect();
    let component = &config.processor;
    let named = types.processors.iter().find(|t| t.names.contains(&component.type_name));
    let mut reader = SettingsReader::new(&component.settings);
    let built = match named {
        Some(kind) => (kind.build)(&mut reader, &names),
        None => Err(reader.error("type", "is not built in")),
    };
    findings.extend(reader.into_findings());
    let processor = built.map_err(|error| findings.push(left_out(error, "group"))).ok()?;
    let fingerprint = ConfigFingerprint::of(&config.processor);
    let with = |fingerprint: ConfigFingerprint, s: &SinkPlan| {
        fingerprint.with(&s.name, s.fingerprint.clone())
    };
    let fingerprint = sinks.iter().fold(fingerprint, with);
    (!sinks.is_empty()).then(|| GroupPlan {
        name: config.name.clone(),
        sinks,
        processor,
        fingerprint,
    })
}

/// Builds a component.
type BuildComponent<T> = fn(&mut SettingsReader<'_>) -> Result<Box<T>, SettingError>;
/// Builds a component of a known configuration.
type ComponentMaker<T> = Box<dyn Fn() -> Result<Box<T>, SettingError> + Send + Sync>;

/// Builds the component once to validate it, and returns the function that builds it again. If that
/// fails, `what` is left out.
fn try_out<T: ?Sized + 'static>(
    component: &ComponentConfig,
    build: Option<BuildComponent<T>>,
    what: &str,
    findings: &mut Vec<ConfigFinding>,
) -> Option<ComponentMaker<T>> {
    let settings = component.settings.clone();
    let mut reader = SettingsReader::new(&settings);
    let tried = match build {
        Some(build) => build(&mut reader).map(|_| build),
        None => Err(reader.error("type", "is not built in")),
    };
    findings.extend(reader.into_findings());
    match tried {
        Ok(build) => Some(Box::new(move || build(&mut SettingsReader::new(&settings)))),
        Err(error) => {
            findings.push(left_out(error, what));
            None
        }
    }
}
