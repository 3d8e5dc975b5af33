//! `graph`: the flow of configured agents, drawn.

use super::arguments::{GraphArguments, GraphFormat};
use super::exit::{CommandError, say, show, show_words};
use super::java_options;
use crate::agent::build::{AgentPlan, ComponentTypes};
use millpond::internal::base::quantity::Quantity;
use millpond_config::agent::ComponentConfig;
use millpond_config::types::{self, ComponentKind, FlumeType};
use millpond_config::{AgentConfig, Catalogue, LoadedConfig, TypeEntry, loader};
use millpond_flow::settings::Severity;
use millpond_observe::graph::{FlowGraphs, dot, json, svg, text};

pub(super) fn run(arguments: &GraphArguments) -> Result<(), CommandError> {
    let outside = &arguments.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let catalogue = with_absent(ComponentTypes::built_in().catalogue());
    let mut agents = Vec::new();
    let (mut undrawn, mut left_out) = (Vec::new(), 0);
    let mut unseen: Vec<&String> = arguments.names.iter().collect();
    for file in &arguments.conf_files {
        let all = loader::load_all(file, &options.properties, &catalogue)
            .map_err(|error| CommandError::Failed(error.to_string()))?;
        let asked = |name: &String| arguments.names.is_empty() || arguments.names.contains(name);
        for (name, loaded) in all.into_iter().filter(|(name, _)| asked(name)) {
            unseen.retain(|asked| **asked != name);
            match loaded {
                Ok(loaded) => {
                    let (agent, errors) = that_runs(loaded);
                    left_out += errors;
                    agents.push(agent);
                }
                Err(error) => {
                    match error.findings() {
                        [] => say(&error.to_string()),
                        findings => findings.iter().for_each(|finding| say(&finding.to_string())),
                    }
                    undrawn.push(name);
                }
            }
        }
    }
    let mut picture = FlowGraphs::of(&agents);
    mark_absent(&mut picture);
    match arguments.format {
        GraphFormat::Text => show_words(&text(&picture)),
        GraphFormat::Dot => show(&dot(&picture)),
        GraphFormat::Svg => show(&svg(&picture)),
        GraphFormat::Json => show(&json(&picture)),
    }?;
    if let Some(name) = unseen.first() {
        return Err(CommandError::Failed(format!("there is no agent {name} in these files")));
    }
    if !undrawn.is_empty() {
        let names = undrawn.join(", ");
        let what = "not drawn, since they cannot run as they are configured";
        return Err(CommandError::Failed(format!("{what}: {names}")));
    }
    match (agents.is_empty(), left_out) {
        (true, _) => Err(CommandError::Failed("no agent is in these files".to_owned())),
        (false, 0) => Ok(()),
        (false, errors) => Err(CommandError::Failed(format!(
            "{}: what would be left out of its agent is not drawn",
            Quantity(errors as u64, "error")
        ))),
    }
}

/// The note at a part that cannot run, because its type is not available.
const ABSENT: &str = "not available here";

/// Returns `catalogue` with Flume's types of sources and sinks that this program does not have:
/// users of Flume want to see the whole flow.
fn with_absent(catalogue: Catalogue) -> Catalogue {
    let known = &catalogue;
    let absent = |part: ComponentKind| {
        let is_absent = move |kind: &&FlumeType| {
            kind.part == part && kind.names.iter().all(|name| known.find(part, name).is_none())
        };
        types::TYPES.iter().filter(is_absent).map(|kind| TypeEntry { names: kind.names, keys: &[] })
    };
    let sources = known.sources.iter().copied().chain(absent(ComponentKind::Source)).collect();
    let sinks = known.sinks.iter().copied().chain(absent(ComponentKind::Sink)).collect();
    Catalogue { sources, sinks, ..catalogue }
}

/// Marks each part whose type is not built in: it is drawn and would not run.
fn mark_absent(picture: &mut FlowGraphs) {
    let built_in = ComponentTypes::built_in().catalogue();
    for agent in &mut picture.agents {
        let sources =
            agent.sources.iter_mut().map(|source| (ComponentKind::Source, &mut source.part));
        let sinks = agent.sinks.iter_mut().map(|sink| (ComponentKind::Sink, &mut sink.part));
        for (kind, part) in sources.chain(sinks) {
            if built_in.find(kind, &part.type_name).is_none() {
                part.about.insert(0, ABSENT.to_owned());
            }
        }
    }
}

/// Returns the agent with the parts that can be built, as the agent itself would find, those whose
/// type is not available, and the number of errors for which others are left out. Each is reported.
fn that_runs(loaded: LoadedConfig) -> (AgentConfig, usize) {
    let LoadedConfig { mut agent, mut findings, .. } = loaded;
    let (plan, built) = AgentPlan::new(&agent, &ComponentTypes::built_in());
    findings.extend(built);
    findings.retain(|finding| finding.severity == Severity::Error);
    findings.iter().for_each(|finding| say(&finding.to_string()));
    let built_in = ComponentTypes::built_in().catalogue();
    let is_absent =
        |part, component: &ComponentConfig| built_in.find(part, component.type_name).is_none();
    // A part that is drawn all the same does not make the command fail.
    let drawn = agent.sources.iter().map(|s| (ComponentKind::Source, "sources", &s.component));
    let drawn =
        drawn.chain(agent.sinks.iter().map(|s| (ComponentKind::Sink, "sinks", &s.component)));
    let drawn = drawn.filter(|(part, _, component)| is_absent(*part, component));
    let keys: Vec<String> =
        drawn.map(|(_, section, c)| format!("{}.{section}.{}.", agent.name, c.name)).collect();
    findings.retain(|finding| !keys.iter().any(|key| finding.key.starts_with(key.as_str())));
    agent.sources.retain(|s| {
        is_absent(ComponentKind::Source, &s.component)
            || plan.sources.iter().any(|planned| planned.name == s.component.name)
    });
    let sinks = || plan.sinks.iter().chain(plan.groups.iter().flat_map(|group| &group.sinks));
    agent.sinks.retain(|s| {
        is_absent(ComponentKind::Sink, &s.component)
            || sinks().any(|planned| planned.name == s.component.name)
    });
    agent.sink_groups.retain(|g| plan.groups.iter().any(|planned| planned.name == g.name));
    (agent, findings.len())
}
