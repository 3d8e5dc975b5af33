//! Log lines on stderr or in a [file]: text or JSON, by level, with repeated lines throttled.
//!
//! | setting | is |
//! |---|---|
//! | `MILLPOND_LOG` | filter directives, `debug` or `millpond::sink=trace,info`; wins |
//! | `-Dflume.root.logger=LEVEL,console` | log4j's level; `LOGFILE` for the file |
//! | `-Dmillpond.log.format=json` | one JSON object a line |
//! | `NO_COLOR`, or stderr is not a terminal | no colours |
//!
//! Every line is one message: text from outside, such as a file's name, a server's reply or a
//! program's stderr, can neither begin another line nor contain terminal escapes. Everything that
//! an agent writes to stderr is such a line, including its start, its reloads and the error that
//! ends it.
//!
//! Logging never waits for stderr or the file, not even in a thread that panics: each has a [queue]
//! and a thread. The two `-D` options, from the command line or `millpond.properties`, are read
//! when the agent starts; a changed configuration does not change them.
//!
//! A warning or error that repeats is counted and not written: [`throttle`]. Lines at INFO and
//! below are always written.

mod file;
mod log_target;
mod outputs;
mod queue;
mod stderr;
mod style;
mod throttle;

use file::LogFile;
use millpond::SystemClock;
use millpond_flow::codes;
use outputs::{LogOutputs, STARTED, StartedLogging, on_stderr};
use queue::LineQueue;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use stderr::StderrWriter;
use style::{LineStyle, ThrottledLines, field};
use throttle::LogThrottle;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

/// The environment variable for filter directives.
const VARIABLE: &str = "MILLPOND_LOG";
/// The target of lines about the agent as a whole.
const AGENT: &str = "millpond::agent";
/// The crates around the engine, whose lines have a target of their own.
const CRATES: &[&str] = &["adapters", "agent", "config", "flow", "observe", "tools"];
/// The target of the error that ends the program.
const PROGRAM: &str = "millpond";

/// Begins to log as the `-D` options and the environment say. Only the first call counts.
pub(super) fn start(properties: &BTreeMap<String, String>) {
    begin(properties, |style| LineQueue::start("millpond-stderr", StderrWriter, style, tick).ok());
}

/// Begins to log for a command: the calling thread writes to stderr.
pub(crate) fn start_without_queue(properties: &BTreeMap<String, String>) {
    begin(properties, |_| None);
}

fn begin(
    properties: &BTreeMap<String, String>,
    stderr: impl FnOnce(LineStyle) -> Option<LineQueue>,
) {
    let root = properties.get("flume.root.logger").map(String::as_str);
    let variable = std::env::var(VARIABLE).ok();
    let (filter, complaint) = filter(variable.as_deref(), root);
    let mut complaints: Vec<String> = complaint.into_iter().collect();
    let is_json =
        properties.get("millpond.log.format").is_some_and(|f| f.eq_ignore_ascii_case("json"));
    let style = if is_json { LineStyle::Json } else { LineStyle::Text };
    let throttle = Arc::new(LogThrottle::new(Arc::new(SystemClock::new())));
    let file = file(properties, root, style, &mut complaints);
    let console =
        file.is_none() || appenders(root).any(|name| name.eq_ignore_ascii_case("console"));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = file.is_none() && !no_color && io::stderr().is_terminal();
    let outputs = LogOutputs { stderr: stderr(style), file, console };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(outputs.clone())
        .with_ansi(ansi);
    let begun = if is_json {
        let inner = tracing_subscriber::fmt::format().json().flatten_event(true);
        let lines = ThrottledLines { inner, style, throttle: Arc::clone(&throttle) };
        let builder = builder.fmt_fields(tracing_subscriber::fmt::format::JsonFields::new());
        builder.event_format(lines).try_init()
    } else {
        let inner = tracing_subscriber::fmt::format();
        let lines = ThrottledLines { inner, style, throttle: Arc::clone(&throttle) };
        builder.fmt_fields(debug_fn(field).delimited(" ")).event_format(lines).try_init()
    };
    if begun.is_ok() {
        // No panic hook was set before this call.
        let _ = STARTED.set(StartedLogging { style, throttle, outputs });
        std::panic::set_hook(Box::new(panicked));
    }
    complaints.iter().for_each(|complaint| tracing::warn!("{complaint}"));
}

/// A panic is a log line like any other, and is written also if the process ends with it. Its
/// thread does not wait for a log that is not read: it may serve other clients, and clients may be
/// able to cause panics.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let say = || tracing::error!(code = %codes::PANICKED, "{panic}");
    match STARTED.get() {
        Some(log) => log.outputs.write_out(say),
        None => say(),
    }
}

/// What the log's threads do in addition to writing lines.
fn tick() {
    if let Some(log) = STARTED.get() {
        log.write_counts(log.throttle.overdue());
    }
}

/// Writes a line about the agent on stderr at every level, and in the file: scripts wait for it.
pub(super) fn say(line: &str) {
    at_any_level(Level::INFO, AGENT, line);
}

/// Writes why the program ends, in the same way.
pub(super) fn say_failed(error: &str) {
    at_any_level(Level::ERROR, PROGRAM, error);
}

fn at_any_level(level: Level, target: &str, words: &str) {
    let log = STARTED.get();
    let line = log.map_or(LineStyle::Text, |log| log.style).line(level, target, words, None);
    on_stderr(&line);
    if let Some(file) = log.and_then(|log| log.outputs.file.as_ref()) {
        file.add(line.into_bytes());
    }
}

/// Waits briefly for the last lines.
pub(crate) fn flush() {
    let Some(log) = STARTED.get() else { return };
    log.write_counts(log.throttle.drain());
    let LogOutputs { stderr, file, .. } = &log.outputs;
    for queue in file.iter().chain(stderr) {
        queue.flush();
    }
}

/// Returns the text after the level.
fn appenders(root: Option<&str>) -> impl Iterator<Item = &str> {
    root.unwrap_or_default().split(',').skip(1).map(str::trim).filter(|name| !name.is_empty())
}

/// Opens the file that `root` asks for. If it cannot be opened there is a complaint, and lines go
/// to stderr.
fn file(
    properties: &BTreeMap<String, String>,
    root: Option<&str>,
    style: LineStyle,
    complaints: &mut Vec<String>,
) -> Option<LineQueue> {
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    for other in appenders(root).filter(|name| !is(name, "console") && !is(name, "LOGFILE")) {
        complaints.push(format!("flume.root.logger: {other}: there are console and LOGFILE"));
    }
    appenders(root).find(|name| is(name, "LOGFILE"))?;
    let (path, bounds, wrong) = file::settings(properties);
    complaints.extend(wrong);
    let shown = path.display().to_string();
    let queue = LogFile::open(path, bounds, style)
        .and_then(|file| LineQueue::start("millpond-log", file, style, tick));
    queue
        .inspect_err(|error| {
            complaints.push(format!("{shown}: no log file: {error}; log lines go to stderr"));
        })
        .ok()
}

/// Returns the filter, and a complaint about an invalid setting.
fn filter(variable: Option<&str>, root: Option<&str>) -> (EnvFilter, Option<String>) {
    let (from_root, mut complaint) = match root.map(|root| (root, level(root))) {
        None => ("info", None),
        Some((_, Some(level))) => (level, None),
        Some((root, None)) => {
            let word = format!("flume.root.logger={root} has no level of log4j; INFO is used");
            ("info", Some(word))
        }
    };
    if let Some(directives) = variable.filter(|directives| !directives.is_empty()) {
        match EnvFilter::try_new(for_all_crates(directives)) {
            Ok(filter) => return (filter, complaint),
            Err(error) => {
                complaint = Some(format!("{VARIABLE}={directives} is not a filter: {error}"));
            }
        }
    }
    (EnvFilter::new(from_root), complaint)
}

/// Returns `directives` with those for a module of the program, such as `millpond::sink=trace`, for each crate
/// that may have the module.
fn for_all_crates(directives: &str) -> String {
    let each = directives.split(',').flat_map(|directive| {
        let inside = directive.trim().strip_prefix("millpond::");
        let of_crates = inside
            .into_iter()
            .flat_map(|inside| CRATES.iter().map(move |name| format!("millpond_{name}::{inside}")));
        [directive.to_owned()].into_iter().chain(of_crates)
    });
    each.collect::<Vec<String>>().join(",")
}

/// Returns the level of `LEVEL,appender,…`, as log4j names them.
fn level(root: &str) -> Option<&'static str> {
    let level = root.split(',').next().unwrap_or_default().trim().to_ascii_uppercase();
    Some(match level.as_str() {
        "OFF" => "off",
        "FATAL" | "ERROR" => "error",
        "WARN" => "warn",
        "INFO" => "info",
        "DEBUG" => "debug",
        "TRACE" | "ALL" => "trace",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_log4js_and_the_variable_wins() {
        let of = |variable, root| filter(variable, root).0.to_string();
        assert_eq!(of(None, None), "info");
        assert_eq!(of(None, Some("DEBUG,console")), "debug");
        assert_eq!(of(None, Some("fatal")), "error");
        assert_eq!(of(None, Some("ALL,LOGFILE")), "trace");
        assert_eq!(
            of(Some("millpond::sink=trace,warn"), Some("DEBUG")),
            "millpond_adapters::sink=trace,millpond_observe::sink=trace,millpond_config::sink=trace,millpond_tools::sink=trace,millpond_agent::sink=trace,millpond_flow::sink=trace,millpond::sink=trace,warn"
        );
        assert_eq!(of(Some(""), Some("ERROR")), "error");
        let (fallen, complaint) = filter(None, Some("LOUD,console"));
        assert_eq!(fallen.to_string(), "info");
        assert!(complaint.unwrap().contains("LOUD"));
        let (_, complaint) = filter(Some("a=b=c"), None);
        assert!(complaint.unwrap().contains("MILLPOND_LOG"));
    }
}
