//! Counters: what happened to events, by component, under the names that Flume's monitoring uses.
//!
//! Limits: one set of counters per component. Counters are atomics, wrap never in practice, and
//! are read one by one: a reader may see one event counted in one and not yet in the next.
//! Whoever moves events counts (the flow floor, and sources for what only they see); whoever
//! watches reads a [`Registry`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One number that many threads move.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
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

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $key:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Counter,)+
        }

        impl $name {
            /// Flume's attribute names and the numbers as of now.
            #[must_use]
            pub fn read(&self) -> Vec<(&'static str, u64)> {
                vec![$(($key, self.$field.get()),)+]
            }
        }
    };
}

counters!(
    /// What a source did.
    SourceCounters {
        /// Events the source handed over.
        event_received = "EventReceivedCount",
        /// Events that all required channels committed.
        event_accepted = "EventAcceptedCount",
        /// Single events handed over.
        append_received = "AppendReceivedCount",
        /// Single events committed.
        append_accepted = "AppendAcceptedCount",
        /// Batches handed over.
        append_batch_received = "AppendBatchReceivedCount",
        /// Batches committed.
        append_batch_accepted = "AppendBatchAcceptedCount",
        /// Open connections.
        open_connection = "OpenConnectionCount",
        /// Inputs that could not be read or parsed.
        event_read_fail = "EventReadFail",
        /// Batches that a required channel refused or left in doubt.
        channel_write_fail = "ChannelWriteFail",
        /// Other failures.
        generic_processing_fail = "GenericProcessingFail",
        /// Events that an optional channel did not take.
        optional_write_fail = "OptionalChannelWriteFail",
        /// Times the source was started again after an error or a panic.
        restarts = "RestartCount",
    }
);

counters!(
    /// What a sink did.
    SinkCounters {
        /// Times its target was opened.
        connection_created = "ConnectionCreatedCount",
        /// Times its target was closed.
        connection_closed = "ConnectionClosedCount",
        /// Times opening its target failed.
        connection_failed = "ConnectionFailedCount",
        /// Takes that found nothing.
        batch_empty = "BatchEmptyCount",
        /// Batches smaller than asked for.
        batch_underflow = "BatchUnderflowCount",
        /// Full batches.
        batch_complete = "BatchCompleteCount",
        /// Events handed to the sink, repeats included.
        event_drain_attempt = "EventDrainAttemptCount",
        /// Events delivered and committed.
        event_drain_success = "EventDrainSuccessCount",
        /// Batches the sink did not deliver.
        event_write_fail = "EventWriteFail",
        /// Takes that the channel failed.
        channel_read_fail = "ChannelReadFail",
        /// Batches handed back to the channel.
        rollback = "RollbackCount",
        /// Times the sink was started again after a panic.
        restarts = "RestartCount",
    }
);

counters!(
    /// What went through a channel.
    ChannelCounters {
        /// Events waiting or lent.
        size = "ChannelSize",
        /// Events the channel holds at most.
        capacity = "ChannelCapacity",
        /// Events that puts were tried with.
        event_put_attempt = "EventPutAttemptCount",
        /// Events in committed puts.
        event_put_success = "EventPutSuccessCount",
        /// Takes tried, those that found nothing included.
        event_take_attempt = "EventTakeAttemptCount",
        /// Events in committed takes.
        event_take_success = "EventTakeSuccessCount",
        /// Put commits refused or in doubt.
        event_put_error = "EventPutErrorCount",
        /// Takes and take commits that failed.
        event_take_error = "EventTakeErrorCount",
        /// Lent events handed back.
        rollback = "RollbackCount",
    }
);

/// The counters of every component of an agent.
#[derive(Debug, Default)]
pub struct Registry {
    components: Mutex<Components>,
}

/// Counters by component name.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// Of the sources.
    pub sources: BTreeMap<String, Arc<SourceCounters>>,
    /// Of the sinks.
    pub sinks: BTreeMap<String, Arc<SinkCounters>>,
    /// Of the channels.
    pub channels: BTreeMap<String, Arc<ChannelCounters>>,
}

impl Registry {
    /// Counters of the source `name`, from zero the first time.
    pub fn source(&self, name: &str) -> Arc<SourceCounters> {
        Arc::clone(self.lock().sources.entry(name.to_owned()).or_default())
    }

    /// Counters of the sink `name`, from zero the first time.
    pub fn sink(&self, name: &str) -> Arc<SinkCounters> {
        Arc::clone(self.lock().sinks.entry(name.to_owned()).or_default())
    }

    /// Counters of the channel `name`, from zero the first time.
    pub fn channel(&self, name: &str) -> Arc<ChannelCounters> {
        Arc::clone(self.lock().channels.entry(name.to_owned()).or_default())
    }

    /// All of them, to read.
    #[must_use]
    pub fn components(&self) -> Components {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Components> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_keeps_its_counters_and_shows_them_under_flumes_names() {
        let registry = Registry::default();
        registry.channel("c1").event_put_success.add(3);
        registry.channel("c1").size.set(7);
        let read = registry.components().channels["c1"].read();
        assert!(read.contains(&("EventPutSuccessCount", 3)));
        assert!(read.contains(&("ChannelSize", 7)));
        assert!(registry.components().sources.is_empty());
    }
}
