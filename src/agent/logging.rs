//! Log lines on stderr or in a [file](super::log_file): human or JSON, by level, the same warning not a
//! thousand times.
//!
//! | setting | is |
//! |---|---|
//! | `MILLPOND_LOG` | filter directives, `debug` or `millpond::sink=trace,info`; wins |
//! | `-Dflume.root.logger=LEVEL,console` | log4j's level; `LOGFILE` for the file |
//! | `-Dmillpond.log.format=json` | one JSON object a line |
//! | `NO_COLOR`, or stderr is no terminal | no colours |
//!
//! Every line is one message: what comes from outside, such as a name of a file, an answer of a server or
//! what a program writes to stderr, cannot begin another one, nor tell a terminal what to do.
//!
//! The two `-D` options, from the command line or `millpond.properties`, are read when the agent starts; a
//! changed configuration changes nothing about them.
//!
//! A warning or error that says the same as one less than 30 s ago is not written; the next one
//! that is says how many were not. Lines at INFO and below are always written.

use super::log_file::{self, LogFile};
use crate::base::clock::{Clock, SystemClock};
use crate::base::visible::OneLine;
use crate::codes;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Where filter directives may stand.
const VARIABLE: &str = "MILLPOND_LOG";
/// How long the same warning is not written again.
const QUIET: Duration = Duration::from_secs(30);
/// Different warnings that are remembered; with more, all are written.
const REMEMBERED_MAX: usize = 256;

/// Begins to log as the `-D` options and the environment say. Only the first call counts.
pub fn start(properties: &BTreeMap<String, String>) {
    let root = properties.get("flume.root.logger").map(String::as_str);
    let variable = std::env::var(VARIABLE).ok();
    let (filter, complaint) = filter(variable.as_deref(), root);
    let mut complaints: Vec<String> = complaint.into_iter().collect();
    let file = file(properties, root, &mut complaints);
    let console =
        file.is_none() || appenders(root).any(|name| name.eq_ignore_ascii_case("console"));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = file.is_none() && !no_color && std::io::stderr().is_terminal();
    let writer = match file.clone() {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(file) if console => BoxMakeWriter::new(std::io::stderr.and(file)),
        Some(file) => BoxMakeWriter::new(file),
    };
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    let json =
        properties.get("millpond.log.format").is_some_and(|f| f.eq_ignore_ascii_case("json"));
    let begun = if json {
        let lines = tracing_subscriber::fmt::format().json().flatten_event(true);
        let builder = builder.fmt_fields(tracing_subscriber::fmt::format::JsonFields::new());
        builder.event_format(Calm::new(lines, false)).try_init()
    } else {
        let lines = Calm::new(tracing_subscriber::fmt::format(), true);
        builder.fmt_fields(debug_fn(field).delimited(" ")).event_format(lines).try_init()
    };
    if begun.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(code = %codes::PANICKED, "{panic}")));
    }
    if let Some(file) = file.filter(|_| begun.is_ok()) {
        // Nobody was before this call.
        let _ = FILE.set(file);
    }
    complaints.iter().for_each(|complaint| tracing::warn!("{complaint}"));
}

/// The agent's own file, if it has one.
static FILE: OnceLock<LogFile> = OnceLock::new();

/// One line on stderr at every level, and in the file: scripts wait for it.
pub(super) fn say(line: &str) {
    // Nobody may be listening, and that is no reason to stop.
    let line = OneLine(line).to_string();
    let _ = writeln!(std::io::stderr().lock(), "{line}");
    note(&line);
}

/// One line in the file, if there is one: stderr hears it from elsewhere.
pub(super) fn note(line: &str) {
    if let Some(file) = FILE.get() {
        file.say(line);
    }
}

/// Waits a little for what was logged last.
pub(super) fn flush() {
    if let Some(file) = FILE.get() {
        file.flush();
    }
}

/// What stands behind the level.
fn appenders(root: Option<&str>) -> impl Iterator<Item = &str> {
    root.unwrap_or_default().split(',').skip(1).map(str::trim).filter(|name| !name.is_empty())
}

/// The file that `root` asks for. One that cannot be had is a complaint, and the words go to stderr.
fn file(
    properties: &BTreeMap<String, String>,
    root: Option<&str>,
    complaints: &mut Vec<String>,
) -> Option<LogFile> {
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    for other in appenders(root).filter(|name| !is(name, "console") && !is(name, "LOGFILE")) {
        complaints.push(format!("flume.root.logger: {other}: there are console and LOGFILE"));
    }
    appenders(root).find(|name| is(name, "LOGFILE"))?;
    let (path, bounds, wrong) = log_file::settings(properties);
    complaints.extend(wrong);
    let shown = path.display().to_string();
    let file = LogFile::start(path, bounds);
    file.inspect_err(|error| {
        complaints.push(format!("{shown}: no log file: {error}; what is logged goes to stderr"));
    })
    .ok()
}

/// A field on its one line; the message has no name.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => {}
        (name, true) => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
        (name, false) => write!(writer, "{name}=")?,
    }
    if field.name() == "message" {
        let text = format!("{value:?}");
        let mut rows = rows(&text);
        write!(writer, "{}", OneLine(rows.next().unwrap_or_default()))?;
        return rows.try_for_each(|row| write!(writer, "\n{}", OneLine(row)));
    }
    write!(writer, "{}", OneLine(format_args!("{value:?}")))
}

/// The lines of an event as a logger sink shows it: each 16 bytes of a body have one. Any other message is one
/// line, and so is what only looks like such a row in part.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    // "00000010 ", then 16 times two digits and a blank, or three blanks.
    const OFFSET: usize = 8;
    const ROW: usize = OFFSET + 1 + 16 * 3;
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    let is_row = move |rest: &[u8]| {
        let Some(row) = rest.get(..ROW) else { return false };
        let bytes = row[OFFSET + 1..].chunks(3);
        row[..OFFSET].iter().all(is_hex)
            && row[OFFSET] == b' '
            && bytes.clone().all(|b| b[2] == b' ' && (b == b"   " || b[..2].iter().all(is_hex)))
    };
    let is_event = text.starts_with("Event: { headers:");
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut ends = text.match_indices('\n').map(|(at, _)| at);
        match ends.find(|at| is_event && is_row(&text.as_bytes()[at + 1..])) {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}

/// The filter, and a word about a setting that is none.
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
        match EnvFilter::try_new(directives) {
            Ok(filter) => return (filter, complaint),
            Err(error) => {
                complaint = Some(format!("{VARIABLE}={directives} is no filter: {error}"));
            }
        }
    }
    (EnvFilter::new(from_root), complaint)
}

/// The level of `LEVEL,appender,…`, as log4j names them.
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

/// Lines of `inner`, but the same warning not again and again.
struct Calm<F> {
    inner: F,
    /// Off for JSON: a line of words would be none.
    says_how_often: bool,
    clock: Arc<dyn Clock>,
    /// By what was said: when it was last written, and how often it was not since.
    seen: Mutex<BTreeMap<String, (Duration, u64)>>,
}

impl<F> Calm<F> {
    fn new(inner: F, says_how_often: bool) -> Self {
        Self { inner, says_how_often, clock: Arc::new(SystemClock::new()), seen: Mutex::default() }
    }

    /// Whether to write what `event` says, and how often it was not written before.
    fn passes(&self, event: &Event<'_>) -> Option<u64> {
        if *event.metadata().level() > Level::WARN {
            return Some(0);
        }
        let mut said = Said(event.metadata().target().to_owned());
        event.record(&mut said);
        let now = self.clock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((written, since)) = seen.get_mut(&said.0) {
            if now.saturating_sub(*written) < QUIET {
                *since += 1;
                return None;
            }
            *written = now;
            return Some(std::mem::take(since));
        }
        seen.retain(|_, (written, since)| *since > 0 || now.saturating_sub(*written) < QUIET);
        if seen.len() < REMEMBERED_MAX {
            seen.insert(said.0, (now, 0));
        }
        Some(0)
    }
}

/// Everything an event says, as one string.
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S, N, F> FormatEvent<S, N> for Calm<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.passes(event) {
            None => Ok(()),
            Some(0) => self.inner.format_event(context, writer, event),
            Some(before) => {
                self.inner.format_event(context, writer.by_ref(), event)?;
                if self.says_how_often {
                    writeln!(writer, "  (the line above came {before} more times before)")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use std::io;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::util::SubscriberInitExt;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Paper {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_message_of_more_lines_is_one_line_but_for_the_rows_of_an_events_body() {
        let dump = "Event: { headers:{a=x\ny} body: 30 0\n00000010 58 59 5A                                        XYZ }";
        let parts: Vec<&str> = rows(dump).collect();
        assert_eq!(parts.len(), 2, "{parts:?}");
        assert!(parts[0].ends_with("body: 30 0") && parts[1].starts_with("00000010 58"));
        for one in [
            "a\n00000010 58 59 5A                                        XYZ }",
            "Event: { headers:{} body: x\n00000010 58 59 5A and more that is no row of an event's body }",
            "Event: { headers:{} body: x\n2026-01-01 WARN all is lost",
            "Event: { headers:{} body: \u{e9}\n\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(rows(one).collect::<Vec<_>>(), [one]);
        }
    }

    fn warn(what: &str) {
        tracing::warn!(sink = "k1", "cannot {what}");
    }

    #[test]
    fn the_same_warning_is_written_once_in_a_while_and_says_how_often_it_was_not() {
        let (paper, clock) = (Paper::default(), Arc::new(ManualClock::default()));
        let mut calm = Calm::new(tracing_subscriber::fmt::format().without_time(), true);
        calm.clock = clock.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(paper.clone())
            .with_ansi(false)
            .fmt_fields(debug_fn(field).delimited(" "))
            .event_format(calm)
            .finish();
        let guard = subscriber.set_default();
        for _ in 0..100 {
            warn("connect");
        }
        warn("write");
        clock.advance(QUIET);
        warn("connect");
        warn("connect");
        for _ in 0..3 {
            tracing::info!("an event");
        }
        let forged = "sorry\r\n  WARN millpond: all is lost\u{2028}\u{1b}[2J\tx";
        tracing::info!(answer = %forged, "the server says {forged}");
        drop(guard);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line =
            |level: &str, rest: &str| format!("{level} millpond::agent::logging::tests: {rest}");
        assert_eq!(
            lines,
            [
                &line("WARN", "cannot connect sink=\"k1\"")[..],
                &line("WARN", "cannot write sink=\"k1\""),
                &line("WARN", "cannot connect sink=\"k1\""),
                "(the line above came 99 more times before)",
                &line("INFO", "an event"),
                &line("INFO", "an event"),
                &line("INFO", "an event"),
                &line(
                    "INFO",
                    "the server says sorry\\r\\n  WARN millpond: all is lost\\u{2028}\\u{1b}[2J\tx answer=sorry\\r\\n  WARN millpond: all is lost\\u{2028}\\u{1b}[2J\tx"
                ),
            ]
        );
    }

    #[test]
    fn levels_are_log4js_and_the_variable_wins() {
        let of = |variable, root| filter(variable, root).0.to_string();
        assert_eq!(of(None, None), "info");
        assert_eq!(of(None, Some("DEBUG,console")), "debug");
        assert_eq!(of(None, Some("fatal")), "error");
        assert_eq!(of(None, Some("ALL,LOGFILE")), "trace");
        assert_eq!(
            of(Some("millpond::sink=trace,warn"), Some("DEBUG")),
            "millpond::sink=trace,warn"
        );
        assert_eq!(of(Some(""), Some("ERROR")), "error");
        let (fallen, complaint) = filter(None, Some("LOUD,console"));
        assert_eq!(fallen.to_string(), "info");
        assert!(complaint.unwrap().contains("LOUD"));
        let (_, complaint) = filter(Some("a=b=c"), None);
        assert!(complaint.unwrap().contains("MILLPOND_LOG"));
    }
}
