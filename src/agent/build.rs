//! From a validated configuration to what is to run.

use crate::config::agent::{
    AgentConfig, ChannelKind, Component, SinkConfig, SinkGroupConfig, SourceConfig,
};
use crate::config::dead_letter::DeadLetterSettings;
use crate::config::settings::{Finding, SettingError, SettingsReader, Severity};
use crate::config::{Catalogue, TypeEntry};
use crate::flow::interceptor::{Interceptor, InterceptorType};
use crate::flow::processor::{Processor, ProcessorType};
use crate::flow::selector::{Selector, SelectorType};
use crate::flow::sink::SinkType;
use crate::flow::sink_runner::SinkMaker;
use crate::flow::source::SourceType;
use crate::flow::source_runner::SourceMaker;
use crate::metrics::{Member, Role};
use crate::monitor::alarm::AlarmSettings;

/// The types of sources, interceptors and sinks that can be built.
#[derive(Clone, Copy)]
pub struct Types {
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

impl Types {
    /// Everything that is built in.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            sources: crate::source::TYPES,
            interceptors: crate::flow::interceptor::TYPES,
            selectors: crate::flow::selector::TYPES,
            processors: crate::flow::processor::TYPES,
            sinks: crate::sink::TYPES,
        }
    }

    /// What a configuration may name.
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
            ..Catalogue::built_in()
        }
    }
}

/// What is to run. Every component can be built; nothing is open yet.
pub struct Plan {
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
    /// The names of all sources that are listed, also of those that were left out.
    pub sources_listed: Vec<String>,
    /// Errors of the configuration: how often something was left out.
    pub left_out: usize,
    /// What is watched, and who is told.
    pub(crate) alarms: AlarmSettings,
}

/// What a component is made from: its type, its settings and what it is attached to. One with
/// another print is another component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Print(Vec<String>);

impl Print {
    fn of(component: &Component) -> Self {
        let mut print = Self(vec![component.type_name.to_owned()]);
        let entries = &component.settings.entries;
        print.0.extend(entries.iter().map(|(key, setting)| format!("{key}={}", setting.value)));
        print
    }

    /// With a part of it, or what it is attached to; `what` keeps parts apart.
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
    /// Its type, by its first name.
    pub type_name: &'static str,
    /// Its type and settings.
    pub kind: ChannelKind,
    /// What it is made from.
    pub print: Print,
}

/// A source to run.
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its type, by its first name.
    pub type_name: &'static str,
    /// Its channels, in order.
    pub channels: Vec<String>,
    /// Decides to which of them an event goes.
    pub selector: Box<dyn Selector>,
    /// What its events pass on the way to the channels, by name, in this order.
    pub interceptors: Vec<(String, Box<dyn Interceptor>)>,
    /// Builds it.
    pub make: SourceMaker,
    /// What it is made from.
    pub print: Print,
}

/// A sink to run.
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// Its type, by its first name.
    pub type_name: &'static str,
    /// Its channel.
    pub channel: String,
    /// Where events go that are refused for good.
    pub dead_letter: Option<DeadLetterSettings>,
    /// Builds it.
    pub make: SinkMaker,
    /// What it is made from.
    pub print: Print,
}

/// A group of sinks to run.
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// Its sinks, in the order in which the processor counts them.
    pub sinks: Vec<SinkPlan>,
    /// Says which of them delivers next.
    pub processor: Box<dyn Processor>,
    /// What it is made from.
    pub print: Print,
}

impl Plan {
    /// What of `config` can be built, and what was found while trying. A component whose settings
    /// it cannot work with is left out, with an error; the rest runs.
    #[must_use]
    pub fn new(config: &AgentConfig, types: &Types) -> (Self, Vec<Finding>) {
        let (alarms, mut findings) = AlarmSettings::read(config);
        let channels = config.channels.iter().map(|channel| ChannelPlan {
            name: channel.component.name.clone(),
            type_name: channel.component.type_name,
            kind: channel.kind.clone(),
            print: Print::of(&channel.component),
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

    /// Every channel, source and sink of it.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let member = |role, name: &str, kind| Member { role, name: name.to_owned(), kind };
        let grouped = self.groups.iter().flat_map(|group| &group.sinks);
        let mut members = Vec::new();
        members.extend(self.channels.iter().map(|c| member(Role::Channel, &c.name, c.type_name)));
        members.extend(self.sources.iter().map(|s| member(Role::Source, &s.name, s.type_name)));
        let sinks = self.sinks.iter().chain(grouped);
        members.extend(sinks.map(|s| member(Role::Sink, &s.name, s.type_name)));
        members
    }
}

fn plan_source(
    config: &SourceConfig,
    types: &Types,
    findings: &mut Vec<Finding>,
) -> Option<SourcePlan> {
    let named =
        types.sources.iter().copied().find(|t| t.names.contains(&config.component.type_name));
    let make = try_out(&config.component, named.map(|t| t.build), "source", findings)?;
    let interceptors = plan_interceptors(config, types, findings)?;
    let selector = plan_selector(config, types, findings)?;
    let print = Print::of(&config.component)
        .with("channels", Print(config.channels.clone()))
        .with("selector", Print::of(&config.selector));
    let with = |print: Print, i: &Component| print.with(&i.name, Print::of(i));
    Some(SourcePlan {
        print: config.interceptors.iter().fold(print, with),
        name: config.component.name.clone(),
        type_name: config.component.type_name,
        channels: config.channels.clone(),
        selector,
        interceptors,
        make,
    })
}

/// The selector of a source, over its channels; without it the source is left out, as in Flume.
fn plan_selector(
    config: &SourceConfig,
    types: &Types,
    findings: &mut Vec<Finding>,
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

fn left_out(SettingError { place, key, message }: SettingError, what: &str) -> Finding {
    let message = format!("{message}; the {what} is left out");
    Finding { severity: Severity::Error, place, key, message }
}

/// All of them, or none: a source whose events would miss one is left out, as in Flume.
fn plan_interceptors(
    config: &SourceConfig,
    types: &Types,
    findings: &mut Vec<Finding>,
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

fn plan_sink(config: &SinkConfig, types: &Types, findings: &mut Vec<Finding>) -> Option<SinkPlan> {
    let named = types.sinks.iter().copied().find(|t| t.names.contains(&config.component.type_name));
    let make = try_out(&config.component, named.map(|t| t.build), "sink", findings)?;
    let channel = config.channel.clone();
    let print = Print::of(&config.component).with("channel", Print(vec![channel.clone()]));
    let (name, dead_letter) = (config.component.name.clone(), config.dead_letter.clone());
    if dead_letter.is_some() && make().is_ok_and(|sink| !sink.may_refuse()) {
        findings.push(idle_dead_letter(&config.component));
    }
    let type_name = config.component.type_name;
    Some(SinkPlan { name, type_name, channel, dead_letter, make, print })
}

/// That `deadLetter.*` stands at a sink that refuses nothing.
fn idle_dead_letter(component: &Component) -> Finding {
    let reader = SettingsReader::new(&component.settings);
    let set = |key: &&str| reader.text(key).is_some();
    let key = ["deadLetter.directory", "deadLetter.channel"].into_iter().find(set);
    let message = format!(
        "has no effect: a sink of the type {} with these settings never refuses an event for good; what it cannot deliver is tried until it can",
        component.type_name
    );
    let SettingError { place, key, message } = reader.error(key.unwrap_or_default(), message);
    Finding { severity: Severity::Warning, place, key, message }
}

/// The group, with those of its sinks that can be built. Without a processor its sinks do not run
/// either, as in Flume.
fn plan_group(
    config: &SinkGroupConfig,
    alone: &mut Vec<SinkPlan>,
    types: &Types,
    findings: &mut Vec<Finding>,
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
    let print = Print::of(&config.processor);
    let with = |print: Print, s: &SinkPlan| print.with(&s.name, s.print.clone());
    let print = sinks.iter().fold(print, with);
    (!sinks.is_empty()).then(|| GroupPlan { name: config.name.clone(), sinks, processor, print })
}

/// Builds a component.
type Build<T> = fn(&mut SettingsReader<'_>) -> Result<Box<T>, SettingError>;
/// Builds a component of a known configuration.
type Maker<T> = Box<dyn Fn() -> Result<Box<T>, SettingError> + Send + Sync>;

/// Builds the component once, to see whether that works, and answers how to build it again. Without it
/// `what` is left out.
fn try_out<T: ?Sized + 'static>(
    component: &Component,
    build: Option<Build<T>>,
    what: &str,
    findings: &mut Vec<Finding>,
) -> Option<Maker<T>> {
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
