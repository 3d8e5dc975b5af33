//! `seq`: emits consecutive numbers from 0.

use super::commit_retry::{self, RetryOutcome};
use millpond::{BoxFuture, Event};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::sync::atomic::{AtomicU64, Ordering};

/// The type `seq`.
pub const TYPE: SourceType = SourceType {
    names: &["seq", "org.apache.flume.source.SequenceGeneratorSource"],
    keys: KEYS,
    build,
};

const KEYS: &[Key] = &[
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "1",
        meaning: "Events per transaction; at most the channel's transactionCapacity are used.",
    },
    Key {
        name: "totalEvents",
        kind: KeyKind::Number,
        default: "9223372036854775807",
        meaning: "Events after which the source ends.",
    },
];

struct Seq {
    batch_events: usize,
    total: u64,
    /// The next number. A refused batch does not advance it.
    next: AtomicU64,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    Ok(Box::new(Seq {
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(1),
        total: reader.number("totalEvents", 0..=i64::MAX as u64)?.unwrap_or(i64::MAX as u64),
        next: AtomicU64::new(0),
    }))
}

impl Source for Seq {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            context.started();
            let batch = self.batch_events.min(context.intake.transaction_capacity()).max(1) as u64;
            loop {
                let first = self.next.load(Ordering::Relaxed);
                let after = self.total.min(first.saturating_add(batch));
                if first >= after || context.stop.fired() {
                    return Ok(());
                }
                let events = (first..after).map(|n| Event::new(n.to_string())).collect();
                if commit_retry::commit(context, events).await == RetryOutcome::Done {
                    self.next.store(after, Ordering::Relaxed);
                }
                // Channels that never wait must not starve other tasks of the runtime.
                tokio::task::yield_now().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::{CommitReply, SourceHarness, bodies, build, until};

    #[tokio::test]
    async fn counts_from_zero_and_ends_after_the_total() {
        let harness = SourceHarness::new();
        let source = build(&TYPE, &[("totalEvents", "5"), ("batchSize", "2")]).unwrap();
        source.run(&harness.context).await.unwrap();
        assert_eq!(bodies(&harness.events()), ["0", "1", "2", "3", "4"]);
        assert_eq!(harness.batches(), [2, 2, 1]);
    }

    #[tokio::test]
    async fn a_refused_number_comes_again() {
        let harness = SourceHarness::new();
        harness.reply_with([CommitReply::Take, CommitReply::Full, CommitReply::Take]);
        let source = build(&TYPE, &[("totalEvents", "3")]).unwrap();
        source.run(&harness.context).await.unwrap();
        assert_eq!(bodies(&harness.events()), ["0", "1", "2"]);
    }

    #[tokio::test]
    async fn continues_after_a_restart_and_stops_on_request() {
        let harness = SourceHarness::new();
        let source = build(&TYPE, &[]).unwrap();
        let script = until("some numbers", || harness.events().len() > 10);
        harness.run(source.as_ref(), script).await.unwrap();
        let n = harness.events().len();
        let again = SourceHarness::new();
        again.run(source.as_ref(), again.until_events(1)).await.unwrap();
        assert_eq!(bodies(&again.events())[0], n.to_string());
    }

    #[test]
    fn an_empty_batch_size_is_refused() {
        assert!(build(&TYPE, &[("batchSize", "0")]).is_err());
    }
}
