//! Counters of what happened to events, by component, under the names that Flume's monitoring uses.
//!
//! Limits: one set of counters per component. Counters are atomics that do not wrap in practice. They are read
//! one by one: a reader may see an event counted in one and not yet in the next. The flow layer counts the events
//! that it moves; sources count what only they see (what they received, and from how many connections).
//! Monitoring reads a [`snapshot`](MetricsRegistry::snapshot).
//!
//! [`MetricsRegistry::keep`] sets the configured components; removed ones are no longer shown. Unlike in Flume, a
//! component that is restarted continues its counts: only gauges and times decrease.
//!
//! Events that end without having arrived are counted by reason in the `drops` of each component; [`DropReason`]
//! is the list of reasons.
//!
//! Each component keeps why its last try failed ([`LastFailure`]). Sources that can distinguish their clients
//! report them in [`SourceClients`].

mod client_totals;
mod clients;
mod component_values;
mod counters;
mod drops;
mod fault;
mod last_failure;
mod phase;
mod registry;

pub use client_totals::ClientTotals;
pub use clients::{ClientConnection, ClientId, SeenClient, SilentConnection, SourceClients};
pub use component_values::{
    ChannelReading, ComponentId, ComponentReading, ComponentRole, MetricValue,
};
pub use counters::{ChannelCounters, SinkCounters, SourceCounters};
pub use drops::{
    DropCount, DropCounters, DropPlace, DropReason, DropReasonEntry, InterceptorDrops,
};
pub use fault::FaultGauge;
pub use last_failure::{FailureReport, LastFailure};
pub use phase::{PhaseReading, SinkPhase, SinkPhases};
pub use registry::{Components, MetricsRegistry};

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that threads update concurrently.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts `n` from a gauge.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Returns the current number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn value(readings: &[ComponentReading], key: &str, attribute: &str) -> MetricValue {
        let reading = readings.iter().find(|reading| reading.key() == key).expect("a component");
        let found = reading.values.iter().find(|(name, _)| *name == attribute);
        found.unwrap_or_else(|| panic!("{key} has no {attribute}")).1
    }

    #[test]
    fn a_component_keeps_its_counters_and_shows_them_under_flumes_names() {
        let registry = MetricsRegistry::default();
        registry.channel("c1").event_put_success.add(3);
        registry.channel("c1").size.set(7);
        registry.channel("c1").capacity.set(28);
        registry.source("r1").batch_received(5);
        registry.sink("k1").started(1_700_000_000_000);
        let all = registry.snapshot();
        let keys: Vec<String> = all.iter().map(ComponentReading::key).collect();
        assert_eq!(keys, ["CHANNEL.c1", "SINK.k1", "SOURCE.r1"]);
        assert_eq!(value(&all, "CHANNEL.c1", "EventPutSuccessCount"), MetricValue::Count(3));
        assert_eq!(value(&all, "CHANNEL.c1", "ChannelSize"), MetricValue::Level(7));
        assert_eq!(value(&all, "CHANNEL.c1", "ChannelFillPercentage"), MetricValue::Percent(25.0));
        assert_eq!(value(&all, "CHANNEL.c1", "Open"), MetricValue::Flag(false));
        assert_eq!(value(&all, "SOURCE.r1", "EventReceivedCount"), MetricValue::Count(5));
        assert_eq!(value(&all, "SOURCE.r1", "AppendBatchReceivedCount"), MetricValue::Count(1));
        assert_eq!(value(&all, "SINK.k1", "StartTime"), MetricValue::Level(1_700_000_000_000));
        assert_eq!(value(&all, "SINK.k1", "StopTime"), MetricValue::Level(0));
    }

    #[test]
    fn removed_components_are_not_shown_and_the_others_continue_their_counts() {
        let member = |role, name: &str, kind| ComponentId { role, name: name.to_owned(), kind };
        let registry = MetricsRegistry::default();
        let (stays, goes) = (registry.sink("k1"), registry.sink("k2"));
        stays.event_drain_success.add(3);
        registry.channel("c1");
        registry.watch_channel("c1", Arc::new(|| panic!("the channel was removed")));
        registry.keep(&[
            member(ComponentRole::Sink, "k1", "avro"),
            member(ComponentRole::Source, "r1", "seq"),
        ]);
        let all = registry.snapshot();
        let keys: Vec<_> = all.iter().map(|reading| (reading.key(), reading.kind)).collect();
        assert_eq!(keys, [("SINK.k1".to_owned(), "avro"), ("SOURCE.r1".to_owned(), "seq")]);
        assert_eq!(value(&all, "SINK.k1", "EventDrainSuccessCount"), MetricValue::Count(3));
        goes.event_drain_success.add(1);
        assert_eq!(registry.snapshot().len(), 2, "a component that ends late is not shown");
    }

    #[test]
    fn gauges_are_refreshed_by_their_owner() {
        let registry = MetricsRegistry::default();
        let counters = registry.channel("c1");
        let look = Arc::clone(&counters);
        let look = move || {
            look.size.set(look.size.get() + 1);
            Some(ChannelReading { waiting_bytes: 5, ..ChannelReading::default() })
        };
        registry.watch_channel("c1", Arc::new(look));
        assert_eq!(registry.snapshot().len(), 1);
        assert_eq!(value(&registry.snapshot(), "CHANNEL.c1", "ChannelSize"), MetricValue::Level(2));
        registry.sink("k1");
        let said: Vec<_> = registry.snapshot().into_iter().map(|reading| reading.channel).collect();
        assert!(
            matches!(&said[..], [Some(ChannelReading { waiting_bytes: 5, .. }), None]),
            "{said:?}"
        );
    }

    #[test]
    fn every_attribute_of_flume_is_there() {
        let names = |values: Vec<(&'static str, MetricValue)>| -> Vec<&'static str> {
            values.into_iter().map(|(name, _)| name).collect()
        };
        let expect = |found: Vec<&'static str>, flume: &str| {
            for name in flume.split_whitespace() {
                assert!(found.contains(&name), "{name} is missing");
            }
        };
        expect(
            names(SourceCounters::default().values()),
            "StartTime StopTime EventReceivedCount EventAcceptedCount AppendReceivedCount
             AppendAcceptedCount AppendBatchReceivedCount AppendBatchAcceptedCount
             OpenConnectionCount EventReadFail ChannelWriteFail GenericProcessingFail",
        );
        expect(
            names(SinkCounters::default().values()),
            "StartTime StopTime ConnectionCreatedCount ConnectionClosedCount ConnectionFailedCount
             BatchEmptyCount BatchUnderflowCount BatchCompleteCount EventDrainAttemptCount
             EventDrainSuccessCount EventWriteFail ChannelReadFail",
        );
        expect(
            names(ChannelCounters::default().values()),
            "StartTime StopTime EventPutAttemptCount EventTakeAttemptCount EventPutSuccessCount
             EventTakeSuccessCount ChannelFillPercentage ChannelCapacity ChannelSize Open Closed
             Unhealthy EventPutErrorCount EventTakeErrorCount CheckpointWriteErrorCount
             CheckpointBackupWriteErrorCount",
        );
    }
}
