//! `org.apache.flume.source.StressSource`: emits the same event repeatedly, for load tests.

use super::commit_retry::rest;
use millpond::internal::base::quantity::Quantity;
use millpond::{BoxFuture, Event};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The type `org.apache.flume.source.StressSource`.
pub const TYPE: SourceType =
    SourceType { names: &["org.apache.flume.source.StressSource"], keys: KEYS, build };

const KEYS: &[Key] = &[
    Key {
        name: "size",
        kind: KeyKind::Number,
        default: "500",
        meaning: "Bytes of each body, all 0x7F.",
    },
    Key {
        name: "maxTotalEvents",
        kind: KeyKind::Number,
        default: "-1",
        meaning: "Events tried, after which the source ends; -1 for no end.",
    },
    Key {
        name: "maxSuccessfulEvents",
        kind: KeyKind::Number,
        default: "-1",
        meaning: "Events committed, after which the source ends; -1 for no end.",
    },
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "1",
        meaning: "Events per transaction; at most the channel's transactionCapacity are used.",
    },
    Key {
        name: "maxEventsPerSecond",
        kind: KeyKind::Number,
        default: "0",
        meaning: "Events per second at most; 0 for as many as the channel takes.",
    },
];

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

struct Stress {
    event: Event,
    total_max: Option<u64>,
    successful_max: Option<u64>,
    batch_events: u64,
    per_second: Option<u64>,
    tried: AtomicU64,
    successful: AtomicU64,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    let size = reader.number("size", 0..=64 * 1024 * 1024)?.unwrap_or(500);
    let mut end = |key| -> Result<Option<u64>, SettingError> {
        Ok(reader.number(key, i64::MIN..=i64::MAX)?.and_then(|n| u64::try_from(n).ok()))
    };
    let (total_max, successful_max) = (end("maxTotalEvents")?, end("maxSuccessfulEvents")?);
    let per_second = end("maxEventsPerSecond")?.filter(|&n| n > 0);
    Ok(Box::new(Stress {
        event: Event::new(vec![0x7F; size]),
        total_max,
        successful_max,
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(1),
        per_second,
        tried: AtomicU64::new(0),
        successful: AtomicU64::new(0),
    }))
}

impl Stress {
    /// Returns the number of events of the next batch; 0 when the source is done.
    fn next_batch(&self, transaction_capacity: usize) -> u64 {
        let most = self.batch_events.min(transaction_capacity as u64).max(1);
        let successful = self.successful.load(Ordering::Relaxed);
        if self.successful_max.is_some_and(|max| successful >= max) {
            return 0;
        }
        let left = |max: u64| max.saturating_sub(self.tried.load(Ordering::Relaxed));
        self.total_max.map_or(most, |max| most.min(left(max)))
    }
}

impl Source for Stress {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            context.started();
            let (mut pause, mut due) = (PAUSE_MIN, context.clock.now());
            while !context.stop.fired() {
                let n = self.next_batch(context.intake.transaction_capacity());
                if n == 0 {
                    return Ok(());
                }
                if let Some(per_second) = self.per_second {
                    let now = context.clock.now();
                    rest(context, due.saturating_sub(now)).await;
                    if context.stop.fired() {
                        return Ok(());
                    }
                    let micros = n.saturating_mul(1_000_000) / per_second;
                    due = due.max(now) + Duration::from_micros(micros);
                }
                self.tried.fetch_add(n, Ordering::Relaxed);
                context.counters.batch_received(n);
                let batch = vec![self.event.clone(); usize::try_from(n).unwrap_or(1)];
                match context.intake.commit(batch).await {
                    Ok(()) => {
                        context.counters.batch_accepted();
                        self.successful.fetch_add(n, Ordering::Relaxed);
                        pause = PAUSE_MIN;
                        tokio::task::yield_now().await;
                    }
                    Err(error) if error.never_fits() => {
                        let what = format!(
                            "no channel can ever hold a batch of {} of {} bytes; lower batchSize or size",
                            Quantity(n, "event"),
                            self.event.body.len()
                        );
                        return Err(Failure::caused(what, error));
                    }
                    Err(error) => {
                        if pause == PAUSE_MIN {
                            tracing::warn!(source = %context.name, %error, "the channel does not take events");
                        }
                        // Flume counts each try as another event: the refused events are lost.
                        tracing::debug!(source = %context.name, %error, events = n, "not taken");
                        rest(context, pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::{CommitReply, SourceHarness, build, narrow_channel};

    #[tokio::test]
    async fn makes_the_configured_number_of_events_and_ends() {
        let harness = SourceHarness::new();
        let pairs = [("size", "4"), ("maxTotalEvents", "6"), ("batchSize", "4")];
        build(&TYPE, &pairs).unwrap().run(&harness.context).await.unwrap();
        assert_eq!(harness.batches(), [4, 2]);
        assert!(harness.events().iter().all(|e| &e.body[..] == b"\x7f\x7f\x7f\x7f"));
    }

    #[tokio::test]
    async fn a_refused_event_counts_as_tried_but_not_as_successful() {
        let harness = SourceHarness::new();
        harness.reply_with([CommitReply::Full]);
        let source = build(&TYPE, &[("maxTotalEvents", "3")]).unwrap();
        source.run(&harness.context).await.unwrap();
        assert_eq!((harness.tries(), harness.events().len()), (3, 2));
        let harness = SourceHarness::new();
        harness.reply_with([CommitReply::Full]);
        let source = build(&TYPE, &[("maxSuccessfulEvents", "3")]).unwrap();
        source.run(&harness.context).await.unwrap();
        assert_eq!((harness.tries(), harness.events().len()), (4, 3));
        assert_eq!(harness.events()[0].body.len(), 500);
    }

    #[tokio::test]
    async fn keeps_to_its_rate() {
        let harness = SourceHarness::new();
        let source = build(&TYPE, &[("maxEventsPerSecond", "2")]).unwrap();
        let before = harness.context.clock.now();
        harness.run(source.as_ref(), harness.until_events(2)).await.unwrap();
        // The second event must not come before half a second after the first.
        assert!(harness.context.clock.now() - before >= Duration::from_millis(490));
    }

    #[tokio::test]
    async fn an_event_too_large_for_every_channel_ends_the_source_with_an_error() {
        let harness = SourceHarness::over(&narrow_channel(1000));
        let source = build(&TYPE, &[("size", "1001"), ("maxTotalEvents", "5")]).unwrap();
        let failure = source.run(&harness.context).await.unwrap_err().to_string();
        assert!(failure.contains("size") && failure.contains("byte_capacity"), "{failure}");
        assert_eq!(
            harness.context.counters.channel_write_fail.get(),
            1,
            "it does not retry forever"
        );
    }
}
