//! Counters: what happened to events, by component, under the names that Flume's monitoring uses.
//!
//! Limits: one set of counters per component. Counters are atomics, wrap never in practice, and
//! are read one by one: a reader may see one event counted in one and not yet in the next.
//! Whoever moves events counts: the flow floor, and sources for what only they see (what they
//! received, and from how many connections). Whoever watches asks a [`Registry`] for a
//! [`snapshot`](Registry::snapshot).
//!
//! An agent says with [`Registry::keep`] which components there are: what a changed configuration has
//! no more is shown no more. Unlike in Flume a component that is started again goes on counting where it was: a watcher sees
//! no number fall but gauges and times.
//!
//! Events that end without having arrived are counted by reason in the `drops` of each component
//! ([`DropReason`] is the list of reasons, and says how).
//!
//! Each component keeps why its last try failed ([`LastFailure`]).
//!
//! Sources that know who their clients are say whom they hear ([`Clients`]).

mod ages;
mod client_totals;
mod clients;
mod counters;
mod drops;
mod failure;
mod fault;
mod phase;
mod reading;
mod registry;
mod spread;

pub use ages::Ages;
pub use client_totals::ClientTotals;
pub use clients::{Client, Clients, Contact, Heard, UnheardConnection};
pub use counters::{ChannelCounters, SinkCounters, SourceCounters};
pub use drops::{DropEntry, DropPlace, DropReason, Dropped, Drops, InterceptorDrops};
pub use failure::{Failure, LastFailure};
pub use fault::Fault;
pub use phase::{Phase, PhaseReading, Phases};
pub use reading::{ChannelReading, Member, Reading, Role, StripeReading, Value};
pub use registry::{Components, Registry};
pub use spread::{BOUNDS_MICROS, Durations, Spread};

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that many threads move.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` of a gauge, which was added before.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number as of now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn value(readings: &[Reading], key: &str, attribute: &str) -> Value {
        let reading = readings.iter().find(|reading| reading.key() == key).expect("a component");
        let found = reading.values.iter().find(|(name, _)| *name == attribute);
        found.unwrap_or_else(|| panic!("{key} has no {attribute}")).1
    }

    #[test]
    fn a_component_keeps_its_counters_and_shows_them_under_flumes_names() {
        let registry = Registry::default();
        registry.channel("c1").event_put_success.add(3);
        registry.channel("c1").size.set(7);
        registry.channel("c1").capacity.set(28);
        registry.source("r1").batch_received(5);
        registry.sink("k1").started(1_700_000_000_000);
        let all = registry.snapshot();
        let keys: Vec<String> = all.iter().map(Reading::key).collect();
        assert_eq!(keys, ["CHANNEL.c1", "SINK.k1", "SOURCE.r1"]);
        assert_eq!(value(&all, "CHANNEL.c1", "EventPutSuccessCount"), Value::Count(3));
        assert_eq!(value(&all, "CHANNEL.c1", "ChannelSize"), Value::Level(7));
        assert_eq!(value(&all, "CHANNEL.c1", "ChannelFillPercentage"), Value::Percent(25.0));
        assert_eq!(value(&all, "CHANNEL.c1", "Open"), Value::Flag(false));
        assert_eq!(value(&all, "SOURCE.r1", "EventReceivedCount"), Value::Count(5));
        assert_eq!(value(&all, "SOURCE.r1", "AppendBatchReceivedCount"), Value::Count(1));
        assert_eq!(value(&all, "SINK.k1", "StartTime"), Value::Level(1_700_000_000_000));
        assert_eq!(value(&all, "SINK.k1", "StopTime"), Value::Level(0));
    }

    #[test]
    fn what_is_there_no_more_is_shown_no_more_and_what_stays_counts_on() {
        let member = |role, name: &str, kind| Member { role, name: name.to_owned(), kind };
        let registry = Registry::default();
        let (stays, goes) = (registry.sink("k1"), registry.sink("k2"));
        stays.event_drain_success.add(3);
        registry.channel("c1");
        registry.watch_channel("c1", Arc::new(|| panic!("the channel is gone")));
        registry.keep(&[member(Role::Sink, "k1", "avro"), member(Role::Source, "r1", "seq")]);
        let all = registry.snapshot();
        let keys: Vec<_> = all.iter().map(|reading| (reading.key(), reading.kind)).collect();
        assert_eq!(keys, [("SINK.k1".to_owned(), "avro"), ("SOURCE.r1".to_owned(), "seq")]);
        assert_eq!(value(&all, "SINK.k1", "EventDrainSuccessCount"), Value::Count(3));
        goes.event_drain_success.add(1);
        assert_eq!(registry.snapshot().len(), 2, "who ends late counts for nobody");
    }

    #[test]
    fn gauges_are_brought_up_to_date_by_whoever_owns_them() {
        let registry = Registry::default();
        let counters = registry.channel("c1");
        let look = Arc::clone(&counters);
        let look = move || {
            look.size.set(look.size.get() + 1);
            Some(ChannelReading { waiting_bytes: 5, ..ChannelReading::default() })
        };
        registry.watch_channel("c1", Arc::new(look));
        assert_eq!(registry.snapshot().len(), 1);
        assert_eq!(value(&registry.snapshot(), "CHANNEL.c1", "ChannelSize"), Value::Level(2));
        registry.sink("k1");
        let said: Vec<_> = registry.snapshot().into_iter().map(|reading| reading.channel).collect();
        assert!(
            matches!(&said[..], [Some(ChannelReading { waiting_bytes: 5, .. }), None]),
            "{said:?}"
        );
    }

    #[test]
    fn every_attribute_of_flume_is_there() {
        let names = |values: Vec<(&'static str, Value)>| -> Vec<&'static str> {
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
