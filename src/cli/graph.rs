//! `graph`: the flow of configured agents, drawn.

use super::arguments::{GraphArguments, GraphFormat};
use super::java_options;
use super::words::{Stop, say, show, show_words};
use crate::agent::build::{Plan, Types};
use crate::base::quantity::Quantity;
use crate::config::agent::Component;
use crate::config::settings::Severity;
use crate::config::types::{self, FlumeType, Part};
use crate::config::{AgentConfig, Catalogue, Loaded, TypeEntry, load};
use crate::graph::{Picture, dot, json, svg, text};

pub(super) fn run(arguments: &GraphArguments) -> Result<(), Stop> {
    let outside = &arguments.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let catalogue = with_absent(Types::built_in().catalogue());
    let mut agents = Vec::new();
    let (mut undrawn, mut left_out) = (Vec::new(), 0);
    let mut unseen: Vec<&String> = arguments.names.iter().collect();
    for file in &arguments.conf_files {
        let all = load::load_all(file, &options.properties, &catalogue)
            .map_err(|error| Stop::Failed(error.to_string()))?;
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
    let mut picture = Picture::of(&agents);
    mark_absent(&mut picture);
    match arguments.format {
        GraphFormat::Text => show_words(&text(&picture)),
        GraphFormat::Dot => show(&dot(&picture)),
        GraphFormat::Svg => show(&svg(&picture)),
        GraphFormat::Json => show(&json(&picture)),
    }?;
    if let Some(name) = unseen.first() {
        return Err(Stop::Failed(format!("there is no agent {name} in these files")));
    }
    if !undrawn.is_empty() {
        let names = undrawn.join(", ");
        let what = "not drawn, since they cannot run as they are configured";
        return Err(Stop::Failed(format!("{what}: {names}")));
    }
    match (agents.is_empty(), left_out) {
        (true, _) => Err(Stop::Failed("no agent is in these files".to_owned())),
        (false, 0) => Ok(()),
        (false, errors) => Err(Stop::Failed(format!(
            "{}: what would be left out of its agent is not drawn",
            Quantity(errors as u64, "error")
        ))),
    }
}

/// What a part says that cannot run, because nothing here does what its type does.
const ABSENT: &str = "not available here";

/// `catalogue` with the types of sources and sinks that Flume has and this program does not: who comes from Flume
/// wants to see the whole flow.
fn with_absent(catalogue: Catalogue) -> Catalogue {
    let known = &catalogue;
    let absent = |part: Part| {
        let is_absent = move |kind: &&FlumeType| {
            kind.part == part && kind.names.iter().all(|name| known.find(part, name).is_none())
        };
        types::TYPES.iter().filter(is_absent).map(|kind| TypeEntry { names: kind.names, keys: &[] })
    };
    let sources = known.sources.iter().copied().chain(absent(Part::Source)).collect();
    let sinks = known.sinks.iter().copied().chain(absent(Part::Sink)).collect();
    Catalogue { sources, sinks, ..catalogue }
}

/// Says of each part whose type is not built in that it is drawn and would not run.
fn mark_absent(picture: &mut Picture) {
    let built_in = Types::built_in().catalogue();
    for agent in &mut picture.agents {
        let sources = agent.sources.iter_mut().map(|source| (Part::Source, &mut source.part));
        let sinks = agent.sinks.iter_mut().map(|sink| (Part::Sink, &mut sink.part));
        for (kind, part) in sources.chain(sinks) {
            if built_in.find(kind, &part.type_name).is_none() {
                part.about.insert(0, ABSENT.to_owned());
            }
        }
    }
}

/// The agent with the parts that can be built, as the agent itself would find out, those whose type is not
/// available, and the number of errors for which others are left out. Each is said.
fn that_runs(loaded: Loaded) -> (AgentConfig, usize) {
    let Loaded { mut agent, mut findings } = loaded;
    let (plan, built) = Plan::new(&agent, &Types::built_in());
    findings.extend(built);
    findings.retain(|finding| finding.severity == Severity::Error);
    findings.iter().for_each(|finding| say(&finding.to_string()));
    let built_in = Types::built_in().catalogue();
    let is_absent =
        |part, component: &Component| built_in.find(part, component.type_name).is_none();
    // What is drawn all the same is no reason to fail.
    let drawn = agent.sources.iter().map(|s| (Part::Source, "sources", &s.component));
    let drawn = drawn.chain(agent.sinks.iter().map(|s| (Part::Sink, "sinks", &s.component)));
    let drawn = drawn.filter(|(part, _, component)| is_absent(*part, component));
    let keys: Vec<String> =
        drawn.map(|(_, section, c)| format!("{}.{section}.{}.", agent.name, c.name)).collect();
    findings.retain(|finding| !keys.iter().any(|key| finding.key.starts_with(key.as_str())));
    agent.sources.retain(|s| {
        is_absent(Part::Source, &s.component)
            || plan.sources.iter().any(|planned| planned.name == s.component.name)
    });
    let sinks = || plan.sinks.iter().chain(plan.groups.iter().flat_map(|group| &group.sinks));
    agent.sinks.retain(|s| {
        is_absent(Part::Sink, &s.component)
            || sinks().any(|planned| planned.name == s.component.name)
    });
    agent.sink_groups.retain(|g| plan.groups.iter().any(|planned| planned.name == g.name));
    (agent, findings.len())
}
