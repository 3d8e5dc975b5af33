//! `logger`: prints each event, with the first bytes of its body, to the log at INFO.
//!
//! The line is Flume's to the byte, because people and scripts read it. Printing bodies is the purpose of this sink;
//! no other part of the agent logs them. A line for which the log has no room is not delivered; while the log does
//! not show INFO, events are dropped and counted.

use super::java_text;
use millpond::{BoxFuture, Event};
use millpond_flow::base::lost_lines;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::DropReason;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use millpond_flow::sink::{Failure, Sink, SinkContext, SinkType};
use std::fmt::Write;
use std::time::Duration;

/// The type `logger`.
pub const TYPE: SinkType =
    SinkType { names: &["logger", "org.apache.flume.sink.LoggerSink"], keys: KEYS, build };

const KEYS: &[Key] = &[Key {
    name: "maxBytesToLog",
    kind: KeyKind::Number,
    default: "16",
    meaning: "Bytes of the body that are printed; a value that is not a number counts as 16.",
}];

/// Pause before a refused line is logged again, and how long that is retried.
const PAUSE: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(2);

struct LoggerSink {
    body_bytes_max: usize,
    /// Whether the log did not show the last batch: its level is above INFO.
    unseen: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Sink>, SettingError> {
    let body_bytes_max = match reader.number("maxBytesToLog", 0..=i32::MAX as usize) {
        Ok(number) => number.unwrap_or(16),
        Err(error) => {
            let message = format!("{}; 16 is used", error.message);
            reader.find(Severity::Warning, "maxBytesToLog", message);
            16
        }
    };
    Ok(Box::new(LoggerSink { body_bytes_max, unseen: false }))
}

impl Sink for LoggerSink {
    /// One, as in Flume: after a crash at most one event is printed twice.
    fn batch_events(&self) -> usize {
        1
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.unseen = !tracing::enabled!(tracing::Level::INFO);
        if self.unseen {
            return Box::pin(async { Ok(()) });
        }
        Box::pin(async move {
            for event in batch {
                print(&describe(event, self.body_bytes_max), &context.stop).await?;
            }
            Ok(())
        })
    }

    fn dropped(&self) -> Option<DropReason> {
        self.unseen.then_some(DropReason::LogLevel)
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

/// Logs an event, and retries while the log has no room for the line.
async fn print(text: &str, stop: &StopSignal) -> Result<(), Failure> {
    let mut waited = Duration::ZERO;
    loop {
        let before = lost_lines::count();
        // No fields: the line must end with the event.
        lost_lines::trying_again(|| tracing::info!("Event: {text}"));
        if lost_lines::count() == before {
            return Ok(());
        }
        if waited >= TIMEOUT || stop.fired() {
            return Err(Failure::new("the log cannot be written, or not as fast as events come"));
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Returns `{ headers:{name=value} body: 68 69 … hi }`.
fn describe(event: &Event, body_bytes_max: usize) -> String {
    let shown = &event.body[..event.body.len().min(body_bytes_max)];
    let mut text = format!("{{ headers:{} body:", java_text::headers(&event.headers));
    if shown.is_empty() && !event.body.is_empty() {
        text.push_str("...Exception while dumping: illegal index: 0 into array of length 0");
    }
    for (i, row) in shown.chunks(16).enumerate() {
        if i > 0 {
            // The first row has no offset.
            let _ = write!(text, "\n{:08X}", i * 16);
        }
        text.push(' ');
        for column in 0..16 {
            match row.get(column) {
                Some(byte) => {
                    let _ = write!(text, "{byte:02X} ");
                }
                None => text.push_str("   "),
            }
        }
        text.extend(
            row.iter().map(|&b| if matches!(b, 0x20..=0x7E) { char::from(b) } else { '.' }),
        );
    }
    text.push_str(" }");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::test_support::{build, captured_log, context};

    fn event(headers: &[(&str, &str)], body: &[u8]) -> Event {
        let mut event = Event::new(body.to_vec());
        event.headers = headers.iter().copied().collect();
        event
    }

    #[test]
    fn the_line_is_flumes() {
        for (event, max, line) in [
            (
                event(&[], b"hello"),
                16,
                "{ headers:{} body: 68 65 6C 6C 6F                                  hello }",
            ),
            (
                event(&[("k", "v")], b"0123456789abcdefXYZ"),
                16,
                "{ headers:{k=v} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef }",
            ),
            (event(&[], b""), 16, "{ headers:{} body: }"),
            (
                event(&[("a", "1")], b"tab\there\x00\xff"),
                16,
                "{ headers:{a=1} body: 74 61 62 09 68 65 72 65 00 FF                   tab.here.. }",
            ),
            (
                event(&[], "日志".as_bytes()),
                16,
                "{ headers:{} body: E6 97 A5 E5 BF 97                               ...... }",
            ),
            (
                event(&[], b"0123456789abcdefXYZ"),
                64,
                "{ headers:{} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef\n00000010 58 59 5A                                        XYZ }",
            ),
            (
                event(&[], b"x"),
                0,
                "{ headers:{} body:...Exception while dumping: illegal index: 0 into array of length 0 }",
            ),
        ] {
            assert_eq!(describe(&event, max), line);
        }
    }

    #[tokio::test]
    async fn the_event_ends_its_line_of_the_log() {
        let context = context();
        let mut sink = build(&TYPE, &[]).unwrap();
        let batch = [event(&[("k", "v")], b"hi")];
        let lines = captured_log(async { sink.deliver(&context, &batch).await.unwrap() }).await;
        let line = lines.lines().next().unwrap();
        assert!(line.contains(" INFO "), "{line}");
        assert!(line.contains("Event: { headers:{k=v} body: 68 69 "), "{line}");
        assert!(line.ends_with(" hi }"), "{line}");
        assert_eq!(sink.batch_events(), 1);
    }

    #[tokio::test]
    async fn above_the_level_info_events_are_dropped_and_counted() {
        let context = context();
        let mut sink = build(&TYPE, &[]).unwrap();
        let batch = [event(&[], b"hi")];
        captured_log(async { sink.deliver(&context, &batch).await.unwrap() }).await;
        assert_eq!(sink.dropped(), None);
        // Without a subscriber no line is shown.
        let quiet = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).finish();
        let guard = tracing_subscriber::util::SubscriberInitExt::set_default(quiet);
        sink.deliver(&context, &batch).await.unwrap();
        drop(guard);
        assert_eq!(sink.dropped(), Some(DropReason::LogLevel));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_the_log_refuses_is_not_delivered() {
        struct Refuses;
        impl std::io::Write for Refuses {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                lost_lines::note();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let full = tracing_subscriber::fmt().with_writer(|| Refuses).finish();
        let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(full);
        let (_running, stop) = StopSignal::new();
        let context = SinkContext { stop, ..context() };
        let mut sink = build(&TYPE, &[]).unwrap();
        let refused = sink.deliver(&context, &[event(&[], b"hi")]).await.unwrap_err();
        assert!(refused.to_string().contains("cannot be written"), "{refused}");
    }

    #[test]
    fn a_value_that_is_not_a_number_counts_as_sixteen() {
        let settings =
            millpond_flow::settings::Settings::from_pairs("k1", &[("maxBytesToLog", "many")]);
        let mut reader = SettingsReader::new(&settings);
        assert!((TYPE.build)(&mut reader).is_ok());
        assert!(reader.into_findings()[0].message.ends_with("16 is used"));
    }
}
