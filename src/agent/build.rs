//! From a validated configuration to what is to run.

use crate::config::agent::{AgentConfig, ChannelKind, Component, SinkConfig, SourceConfig};
use crate::config::settings::{Finding, SettingError, SettingsReader, Severity};
use crate::config::{Catalogue, TypeEntry};
use crate::flow::interceptor::{Interceptor, InterceptorType};
use crate::flow::sink::SinkType;
use crate::flow::sink_runner::SinkMaker;
use crate::flow::source::SourceType;
use crate::flow::source_runner::SourceMaker;

/// The types of sources, interceptors and sinks that can be built.
#[derive(Clone, Copy)]
pub struct Types {
    /// Sources.
    pub sources: &'static [&'static SourceType],
    /// Interceptors.
    pub interceptors: &'static [&'static InterceptorType],
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
            sinks: crate::sink::TYPES,
        }
    }

    /// What a configuration may name.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        let source = |kind: &&SourceType| TypeEntry { names: kind.names, keys: kind.keys };
        let interceptor =
            |kind: &&InterceptorType| TypeEntry { names: kind.names, keys: kind.keys };
        let sink = |kind: &&SinkType| TypeEntry { names: kind.names, keys: kind.keys };
        Catalogue {
            sources: self.sources.iter().map(source).collect(),
            interceptors: self.interceptors.iter().map(interceptor).collect(),
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
    /// Sinks.
    pub sinks: Vec<SinkPlan>,
    /// Errors of the configuration: how often something was left out.
    pub left_out: usize,
}

/// A channel to open.
pub struct ChannelPlan {
    /// Its name.
    pub name: String,
    /// Its type and settings.
    pub kind: ChannelKind,
}

/// A source to run.
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its channels, in order.
    pub channels: Vec<String>,
    /// Those of them that may fail.
    pub optional: Vec<String>,
    /// What its events pass on the way to the channels, in this order.
    pub interceptors: Vec<Box<dyn Interceptor>>,
    /// Builds it.
    pub make: SourceMaker,
}

/// A sink to run.
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// Its channel.
    pub channel: String,
    /// Builds it.
    pub make: SinkMaker,
}

impl Plan {
    /// What of `config` can be built, and what was found while trying. A component whose settings
    /// it cannot work with is left out, with an error; the rest runs.
    #[must_use]
    pub fn new(config: &AgentConfig, types: &Types) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let channels = config.channels.iter().map(|channel| ChannelPlan {
            name: channel.component.name.clone(),
            kind: channel.kind.clone(),
        });
        let mut plan = Self {
            name: config.name.clone(),
            channels: channels.collect(),
            sources: Vec::new(),
            sinks: Vec::new(),
            left_out: 0,
        };
        for source in &config.sources {
            plan.sources.extend(plan_source(source, types, &mut findings));
        }
        for sink in &config.sinks {
            plan.sinks.extend(plan_sink(sink, types, &mut findings));
        }
        (plan, findings)
    }
}

fn plan_source(
    config: &SourceConfig,
    types: &Types,
    findings: &mut Vec<Finding>,
) -> Option<SourcePlan> {
    let named =
        types.sources.iter().copied().find(|t| t.names.contains(&config.component.type_name));
    let make = try_out(&config.component, named.map(|t| t.build), findings)?;
    let interceptors = plan_interceptors(config, types, findings)?;
    let optional = config.selector.settings.entries.get("optional");
    let optional = optional.map(|setting| setting.value.split_whitespace().map(str::to_owned));
    Some(SourcePlan {
        name: config.component.name.clone(),
        channels: config.channels.clone(),
        optional: optional.into_iter().flatten().collect(),
        interceptors,
        make,
    })
}

/// All of them, or none: a source whose events would miss one is left out, as in Flume.
fn plan_interceptors(
    config: &SourceConfig,
    types: &Types,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Box<dyn Interceptor>>> {
    let mut chain = Some(Vec::new());
    for component in &config.interceptors {
        let named = types.interceptors.iter().find(|t| t.names.contains(&component.type_name));
        let make = try_out(component, named.map(|t| t.build), findings);
        let built = make.and_then(|make| make().ok());
        chain = chain.zip(built).map(|(mut chain, built)| {
            chain.push(built);
            chain
        });
    }
    chain
}

fn plan_sink(config: &SinkConfig, types: &Types, findings: &mut Vec<Finding>) -> Option<SinkPlan> {
    let named = types.sinks.iter().copied().find(|t| t.names.contains(&config.component.type_name));
    let make = try_out(&config.component, named.map(|t| t.build), findings)?;
    Some(SinkPlan { name: config.component.name.clone(), channel: config.channel.clone(), make })
}

/// Builds a component.
type Build<T> = fn(&mut SettingsReader<'_>) -> Result<Box<T>, SettingError>;
/// Builds a component of a known configuration.
type Maker<T> = Box<dyn Fn() -> Result<Box<T>, SettingError> + Send + Sync>;

/// Builds the component once, to see whether that works, and answers how to build it again.
fn try_out<T: ?Sized + 'static>(
    component: &Component,
    build: Option<Build<T>>,
    findings: &mut Vec<Finding>,
) -> Option<Maker<T>> {
    let settings = component.settings.clone();
    let mut reader = SettingsReader::new(&settings);
    let tried = match build {
        Some(build) => build(&mut reader).map(|_| build),
        None => Err(reader.error("type", "is not built in; the component is left out")),
    };
    findings.extend(reader.into_findings());
    match tried {
        Ok(build) => Some(Box::new(move || build(&mut SettingsReader::new(&settings)))),
        Err(SettingError { place, key, message }) => {
            let message = format!("{message}; the component is left out");
            findings.push(Finding { severity: Severity::Error, place, key, message });
            None
        }
    }
}
