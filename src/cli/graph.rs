//! `graph`: the flow of configured agents, drawn.

use super::arguments::{GraphArguments, GraphFormat};
use super::java_options;
use super::words::{Stop, say, show, show_words};
use crate::agent::build::{Plan, Types};
use crate::base::quantity::Quantity;
use crate::config::settings::Severity;
use crate::config::{AgentConfig, Loaded, load};
use crate::graph::{Picture, dot, json, svg, text};

pub(super) fn run(arguments: &GraphArguments) -> Result<(), Stop> {
    let outside = &arguments.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let catalogue = Types::built_in().catalogue();
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
                    error.findings().iter().for_each(|finding| say(&finding.to_string()));
                    say(&error.to_string());
                    undrawn.push(name);
                }
            }
        }
    }
    let picture = Picture::of(&agents);
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

/// The agent with the parts that can be built, as the agent itself would find out, and the number of
/// errors for which others are left out. Each is said.
fn that_runs(loaded: Loaded) -> (AgentConfig, usize) {
    let Loaded { mut agent, mut findings } = loaded;
    let (plan, built) = Plan::new(&agent, &Types::built_in());
    findings.extend(built);
    findings.retain(|finding| finding.severity == Severity::Error);
    findings.iter().for_each(|finding| say(&finding.to_string()));
    agent.sources.retain(|s| plan.sources.iter().any(|planned| planned.name == s.component.name));
    let sinks = || plan.sinks.iter().chain(plan.groups.iter().flat_map(|group| &group.sinks));
    agent.sinks.retain(|s| sinks().any(|planned| planned.name == s.component.name));
    agent.sink_groups.retain(|g| plan.groups.iter().any(|planned| planned.name == g.name));
    (agent, findings.len())
}
