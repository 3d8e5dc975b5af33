//! `validate`: a configuration read as `agent` would read it; every finding, nothing started.

use super::agent::{access, origins};
use super::arguments::ConfigurationArguments;
use super::java_options;
use super::words::{Stop, say, show_words};
use crate::agent::build::{Plan, Types};
use crate::agent::origin::read_once;
use crate::config::settings::{Finding, Severity};
use crate::config::{differences, load_texts};
use std::fmt::Write;

pub(super) fn run(arguments: &ConfigurationArguments) -> Result<(), Stop> {
    let origins = origins(arguments)?;
    let outside = &arguments.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let access = access(arguments, &origins, &options.properties)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("cannot begin: {error}")))?;
    let texts = runtime.block_on(read_once(origins, access));
    let texts = texts.map_err(|error| Stop::Failed(error.to_string()))?;
    let catalogue = Types::built_in().catalogue();
    match load_texts(&texts, &arguments.name, &options.properties, &catalogue) {
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
            let mut text = lines(&findings) + &lines(&differences::notes(&loaded.agent));
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
        Err(error) => {
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
