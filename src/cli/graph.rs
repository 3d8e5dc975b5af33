//! `graph`: the flow of configured agents, drawn.

use super::arguments::{GraphArguments, GraphFormat};
use super::channel_open::{LoadStop, load_agent};
use super::words::{Stop, say, show};
use crate::config::agent::AgentConfig;
use crate::config::load;
use crate::graph::{Picture, dot, svg, text};
use std::path::PathBuf;

pub(super) fn run(arguments: &GraphArguments) -> Result<(), Stop> {
    let mut agents = Vec::new();
    let mut undrawn = Vec::new();
    let mut unseen: Vec<&String> = arguments.names.iter().collect();
    for file in &arguments.conf_files {
        let all = load::agents_in(file).map_err(|error| Stop::Failed(error.to_string()))?;
        let asked = |name: &String| arguments.names.is_empty() || arguments.names.contains(name);
        for name in all.into_iter().filter(asked) {
            unseen.retain(|asked| **asked != name);
            match read(arguments, file, &name)? {
                Some(agent) => agents.push(agent),
                None => undrawn.push(name),
            }
        }
    }
    let picture = Picture::of(&agents);
    show(&match arguments.format {
        GraphFormat::Text => text(&picture),
        GraphFormat::Dot => dot(&picture),
        GraphFormat::Svg => svg(&picture),
    })?;
    if let Some(name) = unseen.first() {
        return Err(Stop::Failed(format!("there is no agent {name} in these files")));
    }
    if undrawn.is_empty() && !agents.is_empty() {
        return Ok(());
    }
    let what = if undrawn.is_empty() {
        "no agent is in these files".to_owned()
    } else {
        format!("not drawn, since they cannot run as they are configured: {}", undrawn.join(", "))
    };
    Err(Stop::Failed(what))
}

/// The agent, or `None` when it cannot run; why is said.
fn read(
    arguments: &GraphArguments,
    file: &PathBuf,
    name: &str,
) -> Result<Option<AgentConfig>, Stop> {
    match load_agent(std::slice::from_ref(file), name, &arguments.outside) {
        Ok(loaded) => Ok(Some(loaded.agent)),
        Err(LoadStop::Usage(stop)) => Err(stop),
        Err(LoadStop::Load(error)) => {
            error.findings().iter().for_each(|finding| say(&finding.to_string()));
            say(&error.to_string());
            Ok(None)
        }
    }
}
