//! `null`: takes events and discards them.

use millpond::{BoxFuture, Event};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::sink::{Failure, Sink, SinkContext, SinkType};

/// The type `null`.
pub const TYPE: SinkType =
    SinkType { names: &["null", "org.apache.flume.sink.NullSink"], keys: KEYS, build };

const KEYS: &[Key] = &[
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Events per transaction.",
    },
    Key {
        name: "logEveryNEvents",
        kind: KeyKind::Number,
        default: "10000",
        meaning: "Logs the number of taken events each time so many more were taken.",
    },
];

struct NullSink {
    batch_events: usize,
    log_every: u64,
    taken: u64,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Sink>, SettingError> {
    Ok(Box::new(NullSink {
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(100),
        log_every: reader.number("logEveryNEvents", 1..=u64::MAX)?.unwrap_or(10_000),
        taken: 0,
    }))
}

impl Sink for NullSink {
    fn batch_events(&self) -> usize {
        self.batch_events
    }

    fn start<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let before = self.taken / self.log_every;
        self.taken += batch.len() as u64;
        if self.taken / self.log_every > before {
            tracing::info!(sink = %context.name, events = self.taken, "events taken and discarded");
        }
        Box::pin(async { Ok(()) })
    }

    fn stop<'a>(&'a mut self, _: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::test_support::{build, captured_log, context};

    #[tokio::test]
    async fn takes_everything_and_logs_the_count_at_intervals() {
        let context = context();
        let mut sink = build(&TYPE, &[("logEveryNEvents", "10"), ("batchSize", "4")]).unwrap();
        assert_eq!(sink.batch_events(), 4);
        let batch = vec![Event::new("x"); 4];
        let lines = captured_log(async {
            for _ in 0..8 {
                sink.deliver(&context, &batch).await.unwrap();
            }
        })
        .await;
        let counts: Vec<&str> =
            lines.lines().filter(|l| l.contains("events taken and discarded")).collect();
        assert_eq!(counts.len(), 3, "{lines}");
        assert!(counts[0].contains("events=12") && counts[2].contains("events=32"), "{lines}");
    }

    #[test]
    fn an_empty_batch_size_is_refused() {
        assert!(build(&TYPE, &[("batchSize", "0")]).is_err());
        assert!(build(&TYPE, &[("logEveryNEvents", "0")]).is_err());
    }
}
