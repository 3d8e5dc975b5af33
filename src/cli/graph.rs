//! `graph`: the flow of configured agents, drawn.

use super::arguments::{GraphArguments, GraphFormat};
use super::java_options;
use super::words::{Stop, say, show, show_words};
use crate::agent::build::Types;
use crate::config::load;
use crate::graph::{Picture, dot, json, svg, text};

pub(super) fn run(arguments: &GraphArguments) -> Result<(), Stop> {
    let outside = &arguments.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let catalogue = Types::built_in().catalogue();
    let mut agents = Vec::new();
    let mut undrawn = Vec::new();
    let mut unseen: Vec<&String> = arguments.names.iter().collect();
    for file in &arguments.conf_files {
        let all = load::load_all(file, &options.properties, &catalogue)
            .map_err(|error| Stop::Failed(error.to_string()))?;
        let asked = |name: &String| arguments.names.is_empty() || arguments.names.contains(name);
        for (name, loaded) in all.into_iter().filter(|(name, _)| asked(name)) {
            unseen.retain(|asked| **asked != name);
            match loaded {
                Ok(loaded) => agents.push(loaded.agent),
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
