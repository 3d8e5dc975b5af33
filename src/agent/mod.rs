//! The agent: reads a configuration, builds its components, starts them, watches them, stops them.
//!
//! Limits: a stop takes [`AgentOptions::stop_deadline`] at most (20 s by default), also one that comes
//! while the configuration is read or taken over; what has not stopped by then is named and cut off,
//! which loses nothing that file channels acknowledged; what channels in memory held goes with the process.
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
//! - A changed configuration is read and checked whole before anything stops; one that cannot run, or
//!   of which more is left out than before, changes nothing. What is refused for a reason that may pass, a
//!   file or a key store that cannot be read, a port in use, is tried again at each poll.
//! - A stop ends a reload where that is: nothing of the changed configuration starts any more, but sinks
//!   that empty a channel in memory whose own sinks are gone.
//! - A second signal ends the agent at once, whatever hangs; one that comes within a quarter of a
//!   second of the first is the same wish once more.

mod backup;
pub mod build;
mod carry;
pub(crate) mod channels;
mod client_limits;
mod findings;
pub mod logging;
mod opening;
pub mod origin;
pub(crate) mod own_settings;
mod port_holder;
mod preflight;
pub(crate) use preflight::looking;
pub mod reload;
mod seat;
pub mod start_checks;
pub mod stop;
mod store_checks;
pub mod supervise;
mod watch;
mod windows;

#[cfg(test)]
mod compat_tests;
#[cfg(test)]
mod tests;

use crate::base::clock::SystemClock;
use crate::codes;
use crate::config::settings::{Finding, Severity};
use crate::config::{LoadError, Text, load_texts};
use crate::flow::context::StopSignal;
use crate::graph::{self, Picture};
use crate::metrics::Registry;
use crate::monitor::Flow;
use crate::monitor::systemd::Notifier;
use backup::Saver;
use build::{Plan, Types};
use logging::say;
use origin::{Access, Origin, OriginError, Origins};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stop::Signals;
use supervise::Running;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{Instant, timeout};
use watch::{Watch, Why};
use windows::{Shown, Windows};

/// What comes within this time of the first signal is the same wish once more: `timeout`, and a
/// service manager that signals the group and the process, send two.
pub(crate) const SAME_STOP: Duration = Duration::from_millis(250);

/// How long a stop may take unless told otherwise.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Between looks at the configuration, unless told otherwise; as Flume for files.
pub const POLL: Duration = Duration::from_secs(30);

/// What an agent runs with.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The agent's name in the configuration.
    pub name: String,
    /// Where the configuration comes from; a later one's keys replace an earlier one's.
    pub origins: Vec<Origin>,
    /// How web servers are asked for it.
    pub access: Access,
    /// The directory in which the last one that could be used is kept, for a start without it.
    pub backup: Option<PathBuf>,
    /// The directory whose `millpond.properties` is read with the configuration.
    pub own_settings: Option<PathBuf>,
    /// The `-D` options, which replace what stands there.
    pub properties: BTreeMap<String, String>,
    /// How long a stop may take.
    pub stop_deadline: Duration,
    /// How often to look whether it has changed; `None` for on SIGHUP only.
    pub poll: Option<Duration>,
    /// What is to be said of the command line once the log has begun.
    pub warnings: Vec<String>,
}

impl AgentOptions {
    /// The agent `name` of one file, with the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            origins: vec![Origin::File(file.into())],
            access: Access::new(None, &BTreeMap::new()),
            backup: None,
            own_settings: None,
            properties: BTreeMap::new(),
            stop_deadline: STOP_DEADLINE,
            poll: Some(POLL),
            warnings: Vec::new(),
        }
    }
}

/// What an end without order leaves.
const LEFT: &str = "what file channels acknowledged is not lost, and its last batches may come again; what channels in memory held is lost";

/// Why an agent ended with a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] LoadError),
    /// There is none.
    #[error(transparent)]
    Unread(#[from] OriginError),
    /// No source and no sink is left.
    #[error(
        "agent {name} has no source and no sink that can run; the messages above say why each was left out ({})",
        codes::NOTHING_RUNS
    )]
    NothingRuns {
        /// The agent.
        name: String,
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
        /// How long the stop was to take.
        deadline: Duration,
        /// The components.
        names: Vec<String>,
    },
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
    // A turn of a busy connection lasts long, and a thousand may be waiting for theirs. What they put has
    // to leave all the same, so the threads of sinks share the processors with them, not a queue.
    let sinks = runtime_of("sinks")?;
    let ended = runtime.block_on(live(options, sinks.handle()));
    // Not dropped: that would wait for blocking calls that hang.
    runtime.shutdown_background();
    sinks.shutdown_background();
    ended
}

fn runtime_of(name: &str) -> Result<Runtime, AgentError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name(name).build().map_err(AgentError::Runtime)
}

async fn live(options: &AgentOptions, sinks_on: &Handle) -> Result<(), AgentError> {
    let mut signals = Signals::new().map_err(AgentError::Runtime)?;
    let begun = tokio::select! {
        biased;
        name = signals.next() => {
            tracing::info!("{name}: ending; nothing had started, the configuration is not read yet");
            return Ok(());
        }
        begun = begin(options) => begun,
    };
    let (mut watch, Read { plan, mut errors, flow, .. }) = begun?;
    let shown = Shown { alarms: plan.alarms.clone(), flow };
    let (registry, clock) = (Arc::new(Registry::default()), Arc::new(SystemClock::new()));
    let clients = client_limits::of_process(&effective(options).0, registry.client_totals());
    let mut running = Running::start(plan, &registry, clock.clone(), clients, sinks_on.clone());
    let windows = Windows::open(options, shown, registry, clock, sinks_on, &running);
    let mut all_started = Box::pin(running.all_started());
    let (mut said, mut refused, saver) = (false, None, Saver::of(options.clone()));
    let asked = loop {
        tokio::select! {
            biased;
            name = signals.next() => break asked_by(name),
            line = &mut all_started, if !said => {
                said = true;
                say(&line);
                windows.service.ready(&line);
            }
            why = watch.changed() => {
                let before = refused.take().filter(|_| why == Why::Again);
                if why == Why::Changed {
                    windows.service.reloading();
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
                            goes_on(options, &windows.service, said, &words);
                        }
                        windows.reload_refused(&now.why);
                        watch.try_again(now.may_pass);
                        refused = Some(now);
                        continue;
                    }
                };
                let shown = Shown { alarms: read.plan.alarms.clone(), flow: read.flow };
                errors = read.errors;
                saver.keep(read.texts, errors.len());
                watch.try_again(false);
                let after = adopt(&mut running, read.plan, options, &mut signals).await?;
                if after.changed {
                    (all_started, said) = (Box::pin(running.all_started()), false);
                }
                windows.adopt(shown, after.changed);
                goes_on(options, &windows.service, said, &after.words);
                if let Some(asked) = after.asked {
                    break asked;
                }
            }
        }
    };
    windows.stopping();
    stop(running, &mut signals, options, asked).await
}

/// Says what came of a look at the configuration; an agent of which all runs is ready for more.
fn goes_on(options: &AgentOptions, service: &Notifier, all_runs: bool, words: &str) {
    say(&format!("agent {} {words}", options.name));
    if all_runs {
        service.ready(words);
    }
}

/// Now the agent is to stop.
fn asked_by(signal: &str) -> Instant {
    tracing::info!("{signal}: stopping, sources first");
    Instant::now()
}

/// Stops what runs within what is left of the deadline since a stop was `asked` for; a signal more ends
/// that.
async fn stop(
    running: Running,
    signals: &mut Signals,
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

/// What came of a changed configuration.
struct After {
    /// Something was stopped or started.
    changed: bool,
    /// What was, for one line.
    words: String,
    /// When a signal came meanwhile: the agent is to stop.
    asked: Option<Instant>,
}

/// The configuration as it is now, and watched from now on. A file system that hangs holds up
/// nothing but this.
async fn begin(options: &AgentOptions) -> Result<(Watch, Read), AgentError> {
    let beside = options.own_settings.as_ref().map(|conf| conf.join(own_settings::NAME));
    let origins = Origins::new(options.origins.clone(), options.access.clone(), beside);
    let mut watch = Watch::new(origins, options.poll).await.map_err(AgentError::Runtime)?;
    let texts = watch.texts().await;
    let first = options.clone();
    let had = texts.is_ok();
    watch.try_again(!had);
    let read = tokio::task::spawn_blocking(move || match texts {
        Ok(texts) => read(&first, texts, true),
        Err(error) => read(&first, vec![backup::in_place_of(error, &first)?], true),
    });
    let read = read.await;
    let mut read = read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    if had {
        let (options, texts) = (options.clone(), std::mem::take(&mut read.texts));
        let left_out = read.errors.len();
        let kept = move || backup::keep_for(&options, &texts, left_out);
        // It is there before anything runs, unless its file system hangs: then it goes on behind.
        let _ = timeout(backup::PATIENCE, tokio::task::spawn_blocking(kept)).await;
    }
    Ok((watch, read))
}

/// The options, those of `millpond.properties` as it is now behind them, and warnings about that file.
fn effective(options: &AgentOptions) -> (BTreeMap<String, String>, Vec<String>) {
    let own = options.own_settings.as_deref().map(own_settings::read);
    let (mut properties, warnings) = own.unwrap_or_default();
    properties.extend(options.properties.clone());
    (properties, warnings)
}

/// Brings what runs in line with `plan`.
async fn adopt(
    running: &mut Running,
    plan: Plan,
    options: &AgentOptions,
    signals: &mut Signals,
) -> Result<After, AgentError> {
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
            "did not stop in time and were cut off: {}; what file channels acknowledged is not lost, their last batches may come again",
            adopted.cut_off.join(", ")
        );
    }
    Ok(After { changed: !adopted.is_empty(), words, asked })
}

/// A configuration that can run.
struct Read {
    plan: Plan,
    /// What of it is left out, and why.
    errors: BTreeSet<(String, String)>,
    /// Its text.
    texts: Vec<Text>,
    /// What leads where.
    flow: Flow,
}

/// Why a changed configuration does not take over.
struct Refused {
    why: String,
    /// The reason is not in the configuration, and may pass without a change to it.
    may_pass: bool,
    /// Its text, as far as it could be read.
    texts: Vec<Text>,
}

/// The changed configuration, or why it does not take over: it cannot run, or leaves out what
/// `errors` does not name, or what runs cannot become it. What is found in it is not said again when it is
/// the one that was refused `before`.
async fn read_again(
    options: &AgentOptions,
    watch: &Watch,
    errors: &BTreeSet<(String, String)>,
    running: &Running,
    before: Option<&Refused>,
) -> Result<Read, Refused> {
    let again = options.clone();
    let for_now = |why, texts| Refused { why, may_pass: true, texts };
    let for_good = |why| Refused { why, may_pass: false, texts: Vec::new() };
    let texts = watch.texts().await.map_err(|error| for_now(error.to_string(), Vec::new()))?;
    let is_new = before.is_none_or(|before| before.texts != texts);
    let reading = tokio::task::spawn_blocking(move || read(&again, texts, is_new));
    let read = reading.await.map_err(|panic| format!("reading the new one panicked: {panic}"));
    let read = read.map_err(for_good)?.map_err(|error| for_good(error.to_string()))?;
    if let Some((key, message)) = read.errors.difference(errors).next() {
        return Err(for_good(format!("{key}: {message}")));
    }
    if let Some(why) = running.refuses(&read.plan) {
        return Err(for_good(why));
    }
    match running.preflight(&read.plan).await {
        None => Ok(read),
        Some(why) => Err(for_now(why, read.texts)),
    }
}

/// What is to run; everything that there is to say about it is said if it `is_new`.
fn read(options: &AgentOptions, texts: Vec<Text>, is_new: bool) -> Result<Read, AgentError> {
    let types = Types::built_in();
    let (properties, warnings) = effective(options);
    let log = |found: &[Finding]| found.iter().filter(|_| is_new).for_each(findings::log);
    warnings.iter().filter(|_| is_new).for_each(|warning| findings::warn(warning));
    let loaded = load_texts(&texts, &options.name, &properties, &types.catalogue());
    let loaded = loaded.inspect_err(|error| log(error.findings()))?;
    log(&loaded.findings);
    let (mut plan, findings) = Plan::new(&loaded.agent, &types);
    log(&findings);
    let all = loaded.findings.iter().chain(&findings);
    let left_out = all.filter(|finding| finding.severity == Severity::Error);
    let errors: Vec<_> = left_out.map(|f| (f.key.clone(), f.message.clone())).collect();
    plan.left_out = errors.len();
    if plan.sources.is_empty() && plan.sinks.is_empty() && plan.groups.is_empty() {
        return Err(AgentError::NothingRuns { name: options.name.clone() });
    }
    let picture = Picture::of(std::slice::from_ref(&loaded.agent));
    let flow = Flow { json: graph::json(&picture).into(), svg: graph::svg(&picture).into() };
    Ok(Read { plan, errors: errors.into_iter().collect(), texts, flow })
}
