//! The agent: reads a configuration, builds its components, starts them, watches them, stops them.
//!
//! Limits: a stop takes [`AgentOptions::stop_deadline`] at most (20 s by default); what has not
//! stopped by then is named and cut off, which loses nothing that was acknowledged.
//!
//! # The story
//!
//! [`logging`] begins first. The configuration becomes a [`build::Plan`]: components that cannot
//! be built are named and left out, the rest runs. [`supervise`] starts channels, then sinks,
//! then sources: a component waits for the channels it needs, and one that cannot start is tried
//! again every 3 s while the others run; a channel that has stopped after an internal failure is
//! opened again. When all run, one line on stderr says so. [`stop`]
//! lets sources stop first, then sinks (which finish the batch in hand and empty channels in
//! memory), then closes the channels.
//!
//! # Invariants
//!
//! - A panic or error of one component never ends another.
//! - Sources are gone before sinks stop, sinks before channels close.
//! - A second signal ends the agent at once, whatever hangs; one that comes within a quarter of a
//!   second of the first is the same wish once more.

pub mod build;
pub(crate) mod channels;
pub mod logging;
mod opening;
pub mod stop;
pub mod supervise;

#[cfg(test)]
mod tests;

use crate::base::clock::SystemClock;
use crate::config::settings::{Finding, Severity};
use crate::config::{LoadError, load_merged};
use crate::metrics::Registry;
use build::{Plan, Types};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stop::Signals;

/// What comes within this time of the first signal is the same wish once more: `timeout`, and a
/// service manager that signals the group and the process, send two.
const SAME_STOP: Duration = Duration::from_millis(250);
use supervise::Running;

/// How long a stop may take unless told otherwise.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// What an agent runs with.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The agent's name in the configuration.
    pub name: String,
    /// The configuration files; a later one's keys replace an earlier one's.
    pub files: Vec<PathBuf>,
    /// The `-D` options.
    pub properties: BTreeMap<String, String>,
    /// How long a stop may take.
    pub stop_deadline: Duration,
}

impl AgentOptions {
    /// The agent `name` of one file, with the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            files: vec![file.into()],
            properties: BTreeMap::new(),
            stop_deadline: STOP_DEADLINE,
        }
    }
}

/// Why an agent ended with a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] LoadError),
    /// No source and no sink is left.
    #[error(
        "agent {name} has no source and no sink that can run; the messages above say why each was left out"
    )]
    NothingRuns {
        /// The agent.
        name: String,
    },
    /// The operating system refused threads or signals.
    #[error("the agent cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// A second signal came while it was stopping.
    #[error("ended at once by a second signal; nothing acknowledged is lost")]
    Interrupted,
    /// Components were cut off.
    #[error(
        "did not stop within {} s: {}; nothing acknowledged is lost, their last batches may come again",
        deadline.as_secs(),
        names.join(", ")
    )]
    CutOff {
        /// How long the stop was to take.
        deadline: Duration,
        /// The components.
        names: Vec<String>,
    },
}

/// Runs an agent until SIGTERM or SIGINT, and stops it in order.
///
/// # Errors
/// It cannot run, or did not stop cleanly.
pub fn run(options: &AgentOptions) -> Result<(), AgentError> {
    logging::start(&options.properties);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("agent")
        .build()
        .map_err(AgentError::Runtime)?;
    let ended = runtime.block_on(live(options));
    // Not dropped: that would wait for blocking calls that hang.
    runtime.shutdown_background();
    ended
}

async fn live(options: &AgentOptions) -> Result<(), AgentError> {
    let mut signals = Signals::new().map_err(AgentError::Runtime)?;
    let plan = plan(options)?;
    let registry = Arc::new(Registry::default());
    let running = Running::start(plan, &registry, Arc::new(SystemClock::new()));
    let mut all_started = std::pin::pin!(running.all_started());
    let mut said = false;
    loop {
        tokio::select! {
            biased;
            name = signals.next() => {
                tracing::info!("{name}: stopping, sources first");
                break;
            }
            line = &mut all_started, if !said => {
                said = true;
                say(&line);
            }
        }
    }
    tokio::select! {
        biased;
        name = signals.next_after(SAME_STOP) => {
            tracing::warn!("{name} again: ending at once");
            Err(AgentError::Interrupted)
        }
        cut_off = running.stop(options.stop_deadline) => match cut_off {
            names if names.is_empty() => {
                tracing::info!("agent {} stopped", options.name);
                Ok(())
            }
            names => Err(AgentError::CutOff { deadline: options.stop_deadline, names }),
        }
    }
}

/// What is to run, with everything said about it that there is to say.
fn plan(options: &AgentOptions) -> Result<Plan, AgentError> {
    let types = Types::built_in();
    let paths: Vec<&Path> = options.files.iter().map(PathBuf::as_path).collect();
    let loaded = load_merged(&paths, &options.name, &options.properties, &types.catalogue());
    let loaded = loaded.inspect_err(|error| error.findings().iter().for_each(log))?;
    loaded.findings.iter().for_each(log);
    let (mut plan, findings) = Plan::new(&loaded.agent, &types);
    findings.iter().for_each(log);
    let errors = |found: &[Finding]| found.iter().filter(|f| f.severity == Severity::Error).count();
    plan.left_out = errors(&loaded.findings) + errors(&findings);
    if plan.sources.is_empty() && plan.sinks.is_empty() && plan.groups.is_empty() {
        return Err(AgentError::NothingRuns { name: options.name.clone() });
    }
    Ok(plan)
}

fn log(finding: &Finding) {
    match finding.severity {
        Severity::Note => tracing::info!("{finding}"),
        Severity::Warning => tracing::warn!("{finding}"),
        Severity::Error => tracing::error!("{finding}"),
    }
}

/// One line on stderr at every log level: scripts wait for it.
fn say(line: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody may be listening, and that is no reason to stop.
    let _ = writeln!(stderr, "{line}");
}
