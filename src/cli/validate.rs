//! `validate`: a configuration read as `agent` would read it; every finding, nothing started.

use super::agent::configuration_files;
use super::arguments::ConfigurationArguments;
use super::channel_open::{LoadStop, load_agent};
use super::words::{Stop, show};
use crate::config::settings::{Finding, Severity};
use std::fmt::Write;

pub(super) fn run(arguments: &ConfigurationArguments) -> Result<(), Stop> {
    let files = configuration_files(arguments)?;
    match load_agent(&files, &arguments.name, &arguments.outside) {
        Ok(loaded) => {
            let agent = &loaded.agent;
            let mut text = lines(&loaded.findings);
            let _ = writeln!(
                text,
                "agent {}: {} sources, {} channels, {} sinks can run",
                agent.name,
                agent.sources.len(),
                agent.channels.len(),
                agent.sinks.len()
            );
            show(&text)?;
            match loaded.findings.iter().filter(|f| f.severity == Severity::Error).count() {
                0 => Ok(()),
                errors => Err(Stop::Failed(format!(
                    "{errors} errors: parts of the agent would be left out"
                ))),
            }
        }
        Err(LoadStop::Usage(stop)) => Err(stop),
        Err(LoadStop::Load(error)) => {
            show(&lines(error.findings()))?;
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
