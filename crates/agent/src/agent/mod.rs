//! The agent: reads a configuration, builds its components, starts, supervises and stops them.
//!
//! Limits: a stop takes [`AgentOptions::stop_deadline`] at most (20 s by default), also one that
//! comes during a start or a reload; what has not stopped by then is named and cut off. This loses
//! nothing that file channels acknowledged; events in memory channels are lost with the process.
//!
//! # How it works
//!
//! [`logging`] begins first. The configuration becomes a [`build::AgentPlan`]: components that
//! cannot be built are named and left out, the rest runs. [`supervise`] starts channels, then
//! sinks, then sources: a component waits for the channels it needs, and a component that cannot
//! start is retried every 3 s while the others run; a channel that has stopped after an internal
//! failure is reopened. When all run, one line on stderr says so. [`stop`] lets sources stop first,
//! then sinks (which finish the current batch and empty memory channels), then closes the channels.
//!
//! # Invariants
//!
//! - A panic or error of one component never ends another.
//! - Sources have ended before sinks stop, sinks before channels close.
//! - A changed configuration is read and checked whole before anything stops; one that cannot run,
//!   or of which more is left out than before, changes nothing. A refusal for a reason that may
//!   pass (an unreadable file or key store, a port in use) is retried at each poll.
//! - A stop interrupts a reload: nothing more of the changed configuration starts, except sinks
//!   that empty a memory channel whose own sinks are gone.
//! - A second signal ends the agent at once, whatever hangs; a signal within a quarter of a second
//!   of the first is a duplicate of it.

pub mod build;
mod channel_startup;
pub(crate) mod channels;
mod check_finding;
mod client_limits;
mod config_backup;
pub mod config_origin;
mod findings;
pub mod logging;
mod memory_handover;
mod opening_space;
mod options;
pub(crate) mod own_settings;
mod port_holder;
mod preflight;
use options::effective;
pub use options::{AgentOptions, POLL, STOP_DEADLINE};
pub(crate) use preflight::looking;
mod config_watch;
mod observers;
mod pending_sink;
pub mod reload;
pub mod start_checks;
pub mod stop;
mod store_checks;
pub mod supervise;

#[cfg(test)]
mod compat_tests;
#[cfg(test)]
mod tests;

use build::{AgentPlan, ComponentTypes};
use config_backup::ConfigBackup;
use config_origin::{ConfigOriginError, ConfigOrigins};
use config_watch::{ConfigWatch, ReloadCause};
use logging::say;
use millpond::SystemClock;
use millpond_config::{ConfigError, ConfigText, load_texts};
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::MetricsRegistry;
use millpond_flow::settings::{ConfigFinding, Severity};
use millpond_observe::graph::{self, FlowGraphs};
use millpond_observe::monitor::FlowGraph;
use millpond_observe::monitor::systemd::ServiceNotifier;
use observers::{ObservedConfig, Observers};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use stop::StopSignals;
use supervise::LiveAgent;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{Instant, timeout};

/// A signal within this time of the first one is a duplicate: `timeout`, and a service manager that
/// signals the group and the process, send two.
pub(crate) const SAME_STOP: Duration = Duration::from_millis(250);

/// The consequences of an unclean end.
const LEFT: &str = "what file channels acknowledged is not lost, and its last batches may be delivered again; what memory channels held is lost";

/// Why an agent ended with a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The agent is not defined.
    #[error(transparent)]
    Unread(#[from] ConfigOriginError),
    /// No source and no sink is left.
    #[error(
        "agent {name} has no source and no sink that can run; the messages above say why each was left out ({})",
        codes::NOTHING_RUNS
    )]
    NothingRuns {
        /// The agent.
        name: String,
        /// Whether a retry with the same text may leave out less.
        may_pass: bool,
    },
    /// The operating system refused threads or signals.
    #[error("the agent cannot start: {0} ({code})", code = codes::START_REFUSED)]
    Runtime(#[source] io::Error),
    /// A second signal came while it was stopping.
    #[error("ended at once by a second signal; {LEFT} ({})", codes::STOP_INTERRUPTED)]
    Interrupted,
    /// Components were cut off.
    #[error(
        "did not stop within {} s: {}; {LEFT} ({})",
        deadline.as_secs(),
        names.join(", "),
        codes::STOP_CUT_OFF
    )]
    CutOff {
        /// The deadline of the stop.
        deadline: Duration,
        /// The components.
        names: Vec<String>,
    },
}

impl AgentError {
    /// Returns whether a retry with the same configuration may succeed.
    fn may_pass(&self) -> bool {
        match self {
            Self::Configuration(error) => error.may_pass(),
            Self::NothingRuns { may_pass, .. } => *may_pass,
            Self::Unread(_) => true,
            _ => false,
        }
    }
}

/// Runs an agent until SIGTERM or SIGINT, and stops it in order.
///
/// # Errors
/// It cannot run, or did not stop cleanly. The log has it too.
pub fn run(options: &AgentOptions) -> Result<(), AgentError> {
    logging::start(&effective(options).0);
    options.warnings.iter().for_each(|warning| findings::warn(warning));
    let ended = run_to_its_end(options);
    if let Err(error) = &ended {
        logging::say_failed(&error.to_string());
    }
    logging::flush();
    ended
}

fn run_to_its_end(options: &AgentOptions) -> Result<(), AgentError> {
    let runtime = runtime_of("agent")?;
    // A turn of a busy connection is long, and a thousand may be waiting for theirs. Their events
    // must leave all the same, so the threads of sinks share the processors with them, not a queue.
    let sinks = runtime_of("sinks")?;
    let ended = runtime.block_on(run_agent(options, sinks.handle()));
    // Not dropped: that would wait for blocking calls that hang.
    runtime.shutdown_background();
    sinks.shutdown_background();
    ended
}

fn runtime_of(name: &str) -> Result<Runtime, AgentError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name(name).build().map_err(AgentError::Runtime)
}

async fn run_agent(options: &AgentOptions, sinks_on: &Handle) -> Result<(), AgentError> {
    let mut signals = StopSignals::new().map_err(AgentError::Runtime)?;
    let begun = tokio::select! {
        biased;
        name = signals.next() => {
            tracing::info!("{name}: ending; nothing has started, the configuration is not read yet");
            return Ok(());
        }
        begun = begin(options) => begun,
    };
    let (mut watch, ReadConfig { plan, mut errors, flow, .. }) = begun?;
    let shown = ObservedConfig { alarms: plan.alarms.clone(), flow };
    let (registry, clock) = (Arc::new(MetricsRegistry::default()), Arc::new(SystemClock::new()));
    let clients = client_limits::of_process(&effective(options).0, registry.client_totals());
    let mut running = LiveAgent::start(plan, &registry, clock.clone(), clients, sinks_on.clone());
    let observers = Observers::open(options, shown, registry, clock, sinks_on, &running);
    let mut all_started = Box::pin(running.all_started());
    let (mut said, mut refused, saver) = (false, None, ConfigBackup::of(options.clone()));
    let asked = loop {
        tokio::select! {
            biased;
            name = signals.next() => break asked_by(name),
            line = &mut all_started, if !said => {
                said = true;
                say(&line);
                observers.service.ready(&line);
            }
            why = watch.changed() => {
                let before = refused.take().filter(|_| why == ReloadCause::Again);
                if why == ReloadCause::Changed {
                    observers.service.reloading();
                }
                // A file system that hangs must not keep the agent from stopping.
                let read = tokio::select! {
                    biased;
                    name = signals.next() => break asked_by(name),
                    read = read_again(options, &watch, &errors, &running, before.as_ref()) => read,
                };
                let read = match read {
                    Ok(read) => read,
                    Err(now) => {
                        if before.is_none_or(|before| before.why != now.why) {
                            let words = format!("keeps its configuration: {}", now.why);
                            goes_on(options, &observers.service, said, &words);
                        }
                        observers.reload_refused(&now.why);
                        watch.try_again(now.may_pass);
                        refused = Some(now);
                        continue;
                    }
                };
                let shown = ObservedConfig { alarms: read.plan.alarms.clone(), flow: read.flow };
                errors = read.errors;
                saver.keep(read.texts, errors.len());
                watch.try_again(false);
                let after = adopt(&mut running, read.plan, options, &mut signals).await?;
                if after.changed {
                    (all_started, said) = (Box::pin(running.all_started()), false);
                }
                observers.adopt(shown, after.changed);
                goes_on(options, &observers.service, said, &after.words);
                if let Some(asked) = after.asked {
                    break asked;
                }
            }
        }
    };
    observers.stopping();
    stop(running, &mut signals, options, asked).await
}

/// Reports the outcome of a reload; an agent of which all runs is ready for more.
fn goes_on(options: &AgentOptions, service: &ServiceNotifier, all_runs: bool, words: &str) {
    say(&format!("agent {} {words}", options.name));
    if all_runs {
        service.ready(words);
    }
}

/// Marks the agent as stopping.
fn asked_by(signal: &str) -> Instant {
    tracing::info!("{signal}: stopping, sources first");
    Instant::now()
}

/// Stops what runs within what is left of the deadline since a stop was `asked` for; another signal
/// ends that.
async fn stop(
    running: LiveAgent,
    signals: &mut StopSignals,
    options: &AgentOptions,
    asked: Instant,
) -> Result<(), AgentError> {
    let left = options.stop_deadline.saturating_sub(asked.elapsed());
    tokio::select! {
        biased;
        name = signals.next_after(SAME_STOP) => {
            tracing::warn!("{name} again: ending at once");
            Err(AgentError::Interrupted)
        }
        cut_off = running.stop(left) => match cut_off {
            names if names.is_empty() => {
                tracing::info!("agent {} stopped", options.name);
                Ok(())
            }
            names => Err(AgentError::CutOff { deadline: options.stop_deadline, names }),
        }
    }
}

/// The outcome of a reload.
struct ReloadOutcome {
    /// Something was stopped or started.
    changed: bool,
    /// The earlier configuration stays, for this reason.
    words: String,
    /// A signal came meanwhile: the agent is to stop.
    asked: Option<Instant>,
}

/// Reads the configuration, and watches it from now on. A file system that hangs delays nothing but
/// this.
async fn begin(options: &AgentOptions) -> Result<(ConfigWatch, ReadConfig), AgentError> {
    let beside = options.own_settings.as_ref().map(|conf| conf.join(own_settings::NAME));
    let origins = ConfigOrigins::new(options.origins.clone(), options.access.clone(), beside);
    let mut watch = ConfigWatch::new(origins, options.poll).await.map_err(AgentError::Runtime)?;
    let mut said = None;
    loop {
        let error = match first(options, &mut watch).await {
            Ok(read) => return Ok((watch, read)),
            Err(error) => error,
        };
        if !options.waits_for_configuration() {
            return Err(error);
        }
        let words = error.to_string();
        if said.as_ref() != Some(&words) {
            say(&format!("agent {} waits for a configuration that can run: {words}", options.name));
            said = Some(words);
        }
        watch.try_again(error.may_pass());
        watch.changed().await;
    }
}

/// Reads the configuration, or its backup. One in ZooKeeper that cannot run is replaced by the backup too: others than
/// this agent's machine write it.
async fn first(options: &AgentOptions, watch: &mut ConfigWatch) -> Result<ReadConfig, AgentError> {
    let texts = watch.texts().await;
    let first = options.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let error = match texts {
            Ok(texts) => match read(&first, texts, true) {
                Err(error) if first.waits_for_configuration() => error,
                read => return (read, true),
            },
            Err(error) => AgentError::from(error),
        };
        let kept = config_backup::in_place_of(error, &first);
        (kept.and_then(|kept| read(&first, vec![kept], true)), false)
    });
    let reading = reading.await;
    let (read, had) = reading.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let mut read = read?;
    watch.try_again(!had);
    if had {
        let (options, texts) = (options.clone(), std::mem::take(&mut read.texts));
        let left_out = read.errors.len();
        let kept = move || config_backup::keep_for(&options, &texts, left_out);
        // It is stored before anything runs, unless its file system hangs: then the agent starts
        // meanwhile.
        let _ = timeout(config_backup::TIMEOUT, tokio::task::spawn_blocking(kept)).await;
    }
    Ok(read)
}

/// Applies `plan` to what runs.
async fn adopt(
    running: &mut LiveAgent,
    plan: AgentPlan,
    options: &AgentOptions,
    signals: &mut StopSignals,
) -> Result<ReloadOutcome, AgentError> {
    let (fire, stop) = StopSignal::new();
    let mut adopting = std::pin::pin!(running.adopt(plan, options.stop_deadline, &stop));
    let mut asked = None;
    let adopted = loop {
        tokio::select! {
            biased;
            name = signals.next_after(if asked.is_some() { SAME_STOP } else { Duration::ZERO }) => {
                if asked.is_some() {
                    tracing::warn!("{name} again: ending at once");
                    return Err(AgentError::Interrupted);
                }
                asked = Some(asked_by(name));
                fire.send_replace(true);
            }
            adopted = &mut adopting => break adopted,
        }
    };
    let words = if adopted.abandoned {
        "stops; the changed configuration is not taken over".to_owned()
    } else if adopted.is_empty() {
        "reloaded: nothing has changed".to_owned()
    } else {
        format!("reloaded: {}", adopted.words())
    };
    if !adopted.cut_off.is_empty() {
        tracing::error!(
            code = %codes::STOP_CUT_OFF,
            "did not stop in time and were cut off: {}; what file channels acknowledged is not lost, their last batches may be delivered again",
            adopted.cut_off.join(", ")
        );
    }
    Ok(ReloadOutcome { changed: !adopted.is_empty(), words, asked })
}

/// A configuration that can run.
struct ReadConfig {
    plan: AgentPlan,
    /// What of it is left out, and why.
    errors: BTreeSet<(String, String)>,
    /// Whether a retry with the same text may leave out less.
    may_pass: bool,
    /// Its text.
    texts: Vec<ConfigText>,
    /// The flow graph.
    flow: FlowGraph,
}

/// Why a changed configuration is refused.
struct ReloadRefused {
    why: String,
    /// The reason is not in the configuration, and may pass without a change to it.
    may_pass: bool,
    /// Its text, as far as it could be read.
    texts: Vec<ConfigText>,
}

/// Returns the changed configuration, or why it is refused: it cannot run, or leaves out what
/// `errors` does not name, or what runs cannot become it. Findings are not repeated if it is the
/// one that was refused `before`.
async fn read_again(
    options: &AgentOptions,
    watch: &ConfigWatch,
    errors: &BTreeSet<(String, String)>,
    running: &LiveAgent,
    before: Option<&ReloadRefused>,
) -> Result<ReadConfig, ReloadRefused> {
    let again = options.clone();
    let refused = |why, may_pass, texts| ReloadRefused { why, may_pass, texts };
    let texts = watch.texts().await;
    let texts = texts.map_err(|error| refused(error.to_string(), true, Vec::new()))?;
    let is_new = before.is_none_or(|before| before.texts != texts);
    let kept = texts.clone();
    let reading = tokio::task::spawn_blocking(move || read(&again, texts, is_new));
    let read = match reading.await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => return Err(refused(error.to_string(), error.may_pass(), kept)),
        Err(panic) => {
            return Err(refused(format!("reading the new one panicked: {panic}"), false, kept));
        }
    };
    if let Some((key, message)) = read.errors.difference(errors).next() {
        return Err(refused(format!("{key}: {message}"), read.may_pass, kept));
    }
    if let Some(why) = running.refuses(&read.plan) {
        return Err(refused(why, read.may_pass, kept));
    }
    match running.preflight(&read.plan).await {
        None => Ok(read),
        Some(why) => Err(refused(why, true, kept)),
    }
}

/// Builds the plan; all findings are logged if it `is_new`.
fn read(
    options: &AgentOptions,
    texts: Vec<ConfigText>,
    is_new: bool,
) -> Result<ReadConfig, AgentError> {
    let types = ComponentTypes::built_in();
    let (properties, warnings) = effective(options);
    let log = |found: &[ConfigFinding]| found.iter().filter(|_| is_new).for_each(findings::log);
    warnings.iter().filter(|_| is_new).for_each(|warning| findings::warn(warning));
    let loaded = load_texts(&texts, &options.name, &properties, &types.catalogue());
    let loaded = loaded.inspect_err(|error| log(error.findings()))?;
    log(&loaded.findings);
    let (mut plan, findings) = AgentPlan::new(&loaded.agent, &types);
    log(&findings);
    let all = loaded.findings.iter().chain(&findings);
    let left_out = all.filter(|finding| finding.severity == Severity::Error);
    let errors: Vec<_> = left_out.map(|f| (f.key.clone(), f.message.clone())).collect();
    plan.left_out = errors.len();
    if plan.sources.is_empty() && plan.sinks.is_empty() && plan.groups.is_empty() {
        let (name, may_pass) = (options.name.clone(), loaded.may_pass);
        return Err(AgentError::NothingRuns { name, may_pass });
    }
    let picture = FlowGraphs::of(std::slice::from_ref(&loaded.agent));
    let flow = FlowGraph { json: graph::json(&picture).into(), svg: graph::svg(&picture).into() };
    let errors = errors.into_iter().collect();
    Ok(ReadConfig { plan, errors, may_pass: loaded.may_pass, texts, flow })
}
