//! The format of log lines: text or JSON, each event on one line.
//!
//! | part | text | JSON |
//! |---|---|---|
//! | time, level, target | first | `timestamp`, `level`, `target` |
//! | the message and its fields | `message name=value` | `message`, `name` |
//! | number of similar lines that were not written | ` suppressed=N` at the end | `suppressed` |

use super::throttle::{LogThrottle, Suppressed};
use millpond_flow::base::escape::EscapedLine;
use std::fmt;
use std::sync::Arc;
use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineStyle {
    Text,
    Json,
}

impl LineStyle {
    /// A line without an event of the program, with one number.
    pub(super) fn line(
        self,
        level: Level,
        target: &str,
        message: &str,
        number: Option<(&str, u64)>,
    ) -> String {
        let mut time = String::new();
        // A machine without a clock writes the line all the same.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        match self {
            Self::Text => {
                let number =
                    number.map_or(String::new(), |(name, value)| format!(" {name}={value}"));
                format!("{time} {level:>5} {target}: {}{number}\n", EscapedLine(message))
            }
            Self::Json => {
                let mut line = serde_json::json!({
                    "timestamp": time, "level": level.as_str(), "message": message, "target": target,
                });
                if let (Some((name, value)), Some(object)) = (number, line.as_object_mut()) {
                    object.insert(name.to_owned(), value.into());
                }
                format!("{line}\n")
            }
        }
    }
}

/// Writes the lines of `inner` that the throttle lets through, with the number of suppressed ones.
pub(super) struct ThrottledLines<F> {
    pub(super) inner: F,
    pub(super) style: LineStyle,
    pub(super) throttle: Arc<LogThrottle>,
}

impl<S, N, F> FormatEvent<S, N> for ThrottledLines<F>
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
        let admission = self.throttle.admit(event);
        if let Some(evicted) = admission.evicted {
            writer.write_str(&self.style.suppressed(&evicted))?;
        }
        match admission.write {
            None => Ok(()),
            Some(0) => self.inner.format_event(context, writer, event),
            Some(suppressed) => {
                let mut line = String::new();
                let plain = Writer::new(&mut line);
                self.inner.format_event(context, plain, event)?;
                writer.write_str(&self.style.with_count(line, suppressed))
            }
        }
    }
}

impl LineStyle {
    /// Returns the line that stands for `suppressed` ones.
    pub(super) fn suppressed(self, suppressed: &Suppressed) -> String {
        let Suppressed { count, level, target, sample } = suppressed;
        let words = format!("more lines like this one were not written: {sample}");
        self.line(*level, target, &words, Some(("suppressed", *count)))
    }

    /// Returns `line` with one field more.
    fn with_count(self, mut line: String, suppressed: u64) -> String {
        let (end, field) = match self {
            Self::Text => ("\n", format!(" suppressed={suppressed}\n")),
            Self::Json => ("}\n", format!(",\"suppressed\":{suppressed}}}\n")),
        };
        if line.ends_with(end) {
            line.truncate(line.len() - end.len());
            line.push_str(&field);
        }
        line
    }
}

/// Appends a field to its line; the message has no name.
pub(super) fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => {}
        (name, true) => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
        (name, false) => write!(writer, "{name}=")?,
    }
    if field.name() == "message" {
        let text = format!("{value:?}");
        let mut rows = rows(&text);
        write!(writer, "{}", EscapedLine(rows.next().unwrap_or_default()))?;
        return rows.try_for_each(|row| write!(writer, "\n{}", EscapedLine(row)));
    }
    write!(writer, "{}", EscapedLine(format_args!("{value:?}")))
}

/// Returns the lines of an event as a logger sink shows it: one for each 16 bytes of a body. Any
/// other message is one line, and so is text that only partly looks like such a row.
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

#[cfg(test)]
mod tests {
    use super::super::throttle::{TEXTS_MAX, WINDOW};
    use super::*;
    use millpond::ManualClock;
    use std::io;
    use std::sync::Mutex;
    use tracing_subscriber::field::MakeExt;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::{JsonFields, debug_fn};
    use tracing_subscriber::util::SubscriberInitExt;

    #[derive(Clone, Default)]
    struct CapturedLines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for CapturedLines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for CapturedLines {
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
            "Event: { headers:{} body: x\n00000010 58 59 5A and more that is not a row of an event's body }",
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
        let (paper, clock) = (CapturedLines::default(), Arc::new(ManualClock::default()));
        let throttle = Arc::new(LogThrottle::new(clock.clone()));
        let inner = tracing_subscriber::fmt::format().without_time();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(paper.clone())
            .with_ansi(false)
            .fmt_fields(debug_fn(field).delimited(" "))
            .event_format(ThrottledLines { inner, style: LineStyle::Text, throttle })
            .finish();
        let guard = subscriber.set_default();
        for _ in 0..100 {
            warn("connect");
        }
        warn("write");
        clock.advance(WINDOW);
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
        let line = |level: &str, rest: &str| format!("{level} {}: {rest}", module_path!());
        assert_eq!(
            lines,
            [
                &line("WARN", "cannot connect sink=\"k1\"")[..],
                &line("WARN", "cannot write sink=\"k1\""),
                &line("WARN", "cannot connect sink=\"k1\" suppressed=99"),
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
    fn json_lines_have_the_count_as_a_field_and_ours_look_the_same() {
        let (paper, clock) = (CapturedLines::default(), Arc::new(ManualClock::default()));
        let throttle = Arc::new(LogThrottle::new(clock.clone()));
        let inner = tracing_subscriber::fmt::format().json().flatten_event(true);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(paper.clone())
            .fmt_fields(JsonFields::new())
            .event_format(ThrottledLines {
                inner,
                style: LineStyle::Json,
                throttle: Arc::clone(&throttle),
            })
            .finish();
        let guard = subscriber.set_default();
        (0..10).for_each(|_| warn("connect"));
        clock.advance(WINDOW);
        warn("connect");
        (0..TEXTS_MAX + 3).for_each(|peer| warn(&format!("speak to {peer}")));
        drop(guard);
        let counts = throttle.drain();
        let own = LineStyle::Json.suppressed(&counts[0]);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap() + &own;
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(lines[0]["message"], "cannot connect");
        assert_eq!(lines[0].get("suppressed"), None);
        assert_eq!((&lines[1]["suppressed"], &lines[1]["sink"]), (&9.into(), &"k1".into()));
        let own = lines.last().expect("a line");
        assert_eq!((&own["suppressed"], &own["level"]), (&4.into(), &"WARN".into()));
        let keys = |line: &serde_json::Value| -> Vec<String> {
            line.as_object().expect("an object").keys().cloned().collect()
        };
        let shared = keys(own).into_iter().filter(|key| keys(&lines[0]).contains(key)).count();
        assert_eq!(shared, 4, "timestamp, level, message and target: {own}");
    }
}
