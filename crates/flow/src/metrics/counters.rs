//! The counters of one component.

use super::drops::{self, DropCount, DropCounters, DropPlace, InterceptorDrops};
use super::{Counter, FaultGauge, LastFailure, MetricValue, SinkPhases, SourceClients};
use millpond::internal::base::histogram::{DurationHistogram, HistogramReading};

fn count(n: u64) -> MetricValue {
    MetricValue::Count(n)
}

fn level(n: u64) -> MetricValue {
    MetricValue::Level(n)
}

fn flag(n: u64) -> MetricValue {
    MetricValue::Flag(n != 0)
}

macro_rules! counters {
    (
        $(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ident = $key:literal,)+ }
        durations { $($(#[$took_doc:meta])* $took:ident = $took_key:literal,)* }
        more { $($(#[$more_doc:meta])* $more:ident: $more_type:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Counter,)+
            $($(#[$took_doc])* pub $took: DurationHistogram,)*
            $($(#[$more_doc])* pub $more: $more_type,)*
            /// Time of its last start, in milliseconds since 1970-01-01 UTC; 0 before the first.
            pub start_time: Counter,
            /// Time of its stop, in the same unit; 0 while it runs.
            pub stop_time: Counter,
        }

        impl $name {
            /// Records a start at `wall_ms`.
            pub fn started(&self, wall_ms: u64) {
                self.start_time.set(wall_ms);
                self.stop_time.set(0);
            }

            /// Records a stop at `wall_ms`.
            pub fn stopped(&self, wall_ms: u64) {
                self.stop_time.set(wall_ms);
            }

            fn counted(&self) -> Vec<(&'static str, MetricValue)> {
                vec![
                    ("StartTime", MetricValue::Level(self.start_time.get())),
                    ("StopTime", MetricValue::Level(self.stop_time.get())),
                    $(($key, $kind(self.$field.get())),)+
                ]
            }

            /// Returns the duration histograms, by name.
            #[must_use]
            pub fn spreads(&self) -> Vec<(&'static str, HistogramReading)> {
                vec![$(($took_key, self.$took.read()),)*]
            }
        }
    };
}

counters!(
    /// Counters of a source.
    SourceCounters {
        /// Events the source handed over.
        event_received: count = "EventReceivedCount",
        /// Events that all required channels committed.
        event_accepted: count = "EventAcceptedCount",
        /// Single events handed over.
        append_received: count = "AppendReceivedCount",
        /// Single events committed.
        append_accepted: count = "AppendAcceptedCount",
        /// Batches handed over.
        append_batch_received: count = "AppendBatchReceivedCount",
        /// Batches committed.
        append_batch_accepted: count = "AppendBatchAcceptedCount",
        /// Open connections.
        open_connection: level = "OpenConnectionCount",
        /// Inputs that could not be read or parsed.
        event_read_fail: count = "EventReadFail",
        /// Batches that a required channel refused or left in doubt.
        channel_write_fail: count = "ChannelWriteFail",
        /// Bytes held by requests of its clients, as its memory budget counts them.
        held_bytes: level = "HeldBytes",
        /// Matching files that are not read because the source is at its limit of open files.
        files_left_out: level = "FilesLeftOut",
        /// File patterns that match no file.
        empty_patterns: level = "EmptyPatterns",
        /// 1 while no channel has room for its source offset.
        position_refused: level = "PositionRefused",
        /// Expiry of its TLS certificate, in seconds since 1970; 0 without one.
        certificate_end: level = "CertificateNotAfter",
        /// Other failures.
        generic_processing_fail: count = "GenericProcessingFail",
        /// Events that an optional channel did not take.
        optional_write_fail: count = "OptionalChannelWriteFail",
        /// Restarts after an error or a panic.
        restarts: count = "RestartCount",
        /// 1 while it listens or reads.
        up: flag = "Up",
        /// 1 once it has delivered all of its input and ended by itself.
        done: flag = "Done",
    }
    durations {}
    more {
        /// Its clients, if it can distinguish them.
        clients: SourceClients,
        /// Its events that ended without having arrived.
        drops: DropCounters,
        /// Why its last try failed.
        failure: LastFailure,
        /// Drops of each of its interceptors.
        interceptors: InterceptorDrops,
        /// Why it collects nothing although its start did not fail; kept until the next start.
        fault: FaultGauge,
    }
);

counters!(
    /// Counters of a sink.
    SinkCounters {
        /// Times its target was opened.
        connection_created: count = "ConnectionCreatedCount",
        /// Times its target was closed.
        connection_closed: count = "ConnectionClosedCount",
        /// Times opening its target failed.
        connection_failed: count = "ConnectionFailedCount",
        /// Takes that returned no event.
        batch_empty: count = "BatchEmptyCount",
        /// Batches smaller than requested.
        batch_underflow: count = "BatchUnderflowCount",
        /// Full batches.
        batch_complete: count = "BatchCompleteCount",
        /// Events handed to the sink, repeats included.
        event_drain_attempt: count = "EventDrainAttemptCount",
        /// Events delivered and committed.
        event_drain_success: count = "EventDrainSuccessCount",
        /// Batches the sink did not deliver.
        event_write_fail: count = "EventWriteFail",
        /// Takes that the channel failed.
        channel_read_fail: count = "ChannelReadFail",
        /// Events that their destination refused for good, and that were written elsewhere.
        dead_letter: count = "DeadLetterCount",
        /// Events taken from the channel and, as configured, not delivered.
        dropped: count = "DropCount",
        /// Bytes of the events that it has taken and not finished.
        held_bytes: level = "HeldBytes",
        /// Expiry of its client certificate, in seconds since 1970; 0 without one.
        certificate_end: level = "CertificateNotAfter",
        /// Expiry of the server's certificate at the last connection, in seconds since 1970; 0 without one.
        peer_certificate_end: level = "PeerCertificateNotAfter",
        /// Batches returned to the channel.
        rollback: count = "RollbackCount",
        /// Restarts after a panic.
        restarts: count = "RestartCount",
        /// 1 while it is open.
        up: flag = "Up",
        /// 1 from a failed try to the next successful one.
        failing: flag = "Failing",
    }
    durations {
        /// Time from handing a batch to the sink until the sink confirmed its delivery.
        delivery = "Delivery",
    }
    more {
        /// Its current phase and the time spent in each.
        phases: SinkPhases,
        /// Its events that ended without having arrived.
        drops: DropCounters,
        /// Why its last try failed.
        failure: LastFailure,
    }
);

counters!(
    /// Counters of a channel.
    ChannelCounters {
        /// Events waiting or lent.
        size: level = "ChannelSize",
        /// Largest number of events that the channel holds.
        capacity: level = "ChannelCapacity",
        /// Events of all attempted puts.
        event_put_attempt: count = "EventPutAttemptCount",
        /// Events in committed puts.
        event_put_success: count = "EventPutSuccessCount",
        /// Attempted takes, those that returned nothing included.
        event_take_attempt: count = "EventTakeAttemptCount",
        /// Events in committed takes.
        event_take_success: count = "EventTakeSuccessCount",
        /// Put commits refused or in doubt.
        event_put_error: count = "EventPutErrorCount",
        /// Takes and take commits that failed.
        event_take_error: count = "EventTakeErrorCount",
        /// Lent events that were returned.
        rollback: count = "RollbackCount",
        /// 1 while the channel is open.
        open: flag = "Open",
        /// 1 once it was closed.
        closed: level = "Closed",
        /// 1 while it cannot be opened or refuses puts for a reason other than its capacity.
        unhealthy: level = "Unhealthy",
        /// Checkpoints that could not be written into `checkpointDir`.
        checkpoint_error: count = "CheckpointWriteErrorCount",
        /// Copies of checkpoints that could not be written into a data directory.
        checkpoint_backup_error: count = "CheckpointBackupWriteErrorCount",
    }
    durations {
        /// Durations of successful put commits, including the wait for room.
        put_commit = "PutCommit",
        /// Durations of successful take commits.
        take_commit = "TakeCommit",
    }
    more {
        /// Its events that ended without having arrived.
        drops: DropCounters,
        /// Why its last try failed.
        failure: LastFailure,
    }
);

impl SourceCounters {
    /// Resets the gauges for a new source of this name, perhaps of another type.
    pub fn begin(&self) {
        self.done.set(0);
        self.fault.clear();
        let levels = [
            &self.files_left_out,
            &self.empty_patterns,
            &self.position_refused,
            &self.certificate_end,
        ];
        levels.into_iter().for_each(|level| level.set(0));
    }

    /// Records a received batch of `events`.
    pub fn batch_received(&self, events: u64) {
        self.event_received.add(events);
        self.append_batch_received.add(1);
    }

    /// Returns the drops by reason, those of its interceptors included.
    #[must_use]
    pub fn dropped_events(&self) -> Vec<DropCount> {
        drops::read(&self.drops, DropPlace::Source, Some(&self.interceptors))
    }

    /// Records the commit of a whole batch.
    pub fn batch_accepted(&self) {
        self.append_batch_accepted.add(1);
    }

    /// Returns Flume's attributes and millpond's own, with their current values.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, MetricValue)> {
        self.counted()
    }
}

impl SinkCounters {
    /// Resets the gauges for a new sink of this name, perhaps of another type.
    pub fn begin(&self) {
        self.certificate_end.set(0);
        self.peer_certificate_end.set(0);
    }

    /// Returns the drops by reason.
    #[must_use]
    pub fn dropped_events(&self) -> Vec<DropCount> {
        drops::read(&self.drops, DropPlace::Sink, None)
    }

    /// Returns Flume's attributes and millpond's own, with their current values.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, MetricValue)> {
        self.counted()
    }
}

impl ChannelCounters {
    /// Returns the drops by reason.
    #[must_use]
    pub fn dropped_events(&self) -> Vec<DropCount> {
        drops::read(&self.drops, DropPlace::Channel, None)
    }

    /// Returns Flume's attributes, those of its file channel included, with their current values.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, MetricValue)> {
        let (size, capacity) = (self.size.get(), self.capacity.get());
        // Flume's value for a channel that was never opened.
        let filled = if capacity == 0 { f64::MAX } else { size as f64 / capacity as f64 * 100.0 };
        let mut values = self.counted();
        values.push(("ChannelFillPercentage", MetricValue::Percent(filled)));
        values
    }
}
