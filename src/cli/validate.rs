//! `validate`: a configuration read as `agent` would read it; every finding, nothing started.

use super::agent::configuration_files;
use super::arguments::ConfigurationArguments;
use super::channel_open::{LoadStop, load_agent};
use super::words::{Stop, show_words};
use crate::agent::build::{Plan, Types};
use crate::config::settings::{Finding, Severity};
use std::fmt::Write;

pub(super) fn run(arguments: &ConfigurationArguments) -> Result<(), Stop> {
    let files = configuration_files(arguments)?;
    match load_agent(&files, &arguments.name, &arguments.outside) {
        Ok(loaded) => {
            // The settings of sources, sinks and interceptors are looked at by building them, as
            // the agent does; nothing is opened by that.
            let (plan, built) = Plan::new(&loaded.agent, &Types::built_in());
            let mut findings = loaded.findings;
            findings.extend(built);
            findings.sort_by(|a, b| a.place.cmp(&b.place));
            let in_groups: usize = plan.groups.iter().map(|group| group.sinks.len()).sum();
            let (sources, channels, sinks) =
                (plan.sources.len(), plan.channels.len(), plan.sinks.len() + in_groups);
            let mut text = lines(&findings);
            let _ = writeln!(
                text,
                "agent {}: {sources} sources, {channels} channels, {sinks} sinks can run",
                plan.name
            );
            show_words(&text)?;
            if sources == 0 && sinks == 0 {
                return Err(Stop::Failed(format!(
                    "agent {} has no source and no sink that can run, so it would not start",
                    plan.name
                )));
            }
            match findings.iter().filter(|f| f.severity == Severity::Error).count() {
                0 => Ok(()),
                errors => Err(Stop::Failed(format!(
                    "{errors} errors: parts of the agent would be left out"
                ))),
            }
        }
        Err(LoadStop::Usage(stop)) => Err(stop),
        Err(LoadStop::Load(error)) => {
            show_words(&lines(error.findings()))?;
            Err(Stop::Failed(error.to_string()))
        }
    }
}

fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}");
    }
    text
}
