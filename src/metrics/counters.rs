//! The counters of one component.

use super::drops::{self, DropPlace, Dropped, Drops, InterceptorDrops};
use super::{Clients, Counter, Durations, Fault, LastFailure, Phases, Spread, Value};

fn count(n: u64) -> Value {
    Value::Count(n)
}

fn level(n: u64) -> Value {
    Value::Level(n)
}

fn flag(n: u64) -> Value {
    Value::Flag(n != 0)
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
            $($(#[$took_doc])* pub $took: Durations,)*
            $($(#[$more_doc])* pub $more: $more_type,)*
            /// When it last started, milliseconds since 1970-01-01 UTC; 0 before.
            pub start_time: Counter,
            /// When it stopped, in the same unit; 0 while it runs.
            pub stop_time: Counter,
        }

        impl $name {
            /// It has started at `wall_ms`.
            pub fn started(&self, wall_ms: u64) {
                self.start_time.set(wall_ms);
                self.stop_time.set(0);
            }

            /// It has stopped at `wall_ms`.
            pub fn stopped(&self, wall_ms: u64) {
                self.stop_time.set(wall_ms);
            }

            fn counted(&self) -> Vec<(&'static str, Value)> {
                vec![
                    ("StartTime", Value::Level(self.start_time.get())),
                    ("StopTime", Value::Level(self.stop_time.get())),
                    $(($key, $kind(self.$field.get())),)+
                ]
            }

            /// How long things took, by name.
            #[must_use]
            pub fn spreads(&self) -> Vec<(&'static str, Spread)> {
                vec![$(($took_key, self.$took.read()),)*]
            }
        }
    };
}

counters!(
    /// What a source did.
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
        /// Bytes that its clients' requests make it hold, as its budget counts them.
        held_bytes: level = "HeldBytes",
        /// Files that match and are not read, since the source holds as many as it can.
        files_left_out: level = "FilesLeftOut",
        /// Patterns of files that match none.
        empty_patterns: level = "EmptyPatterns",
        /// 1 while its position has no room in a channel.
        position_refused: level = "PositionRefused",
        /// When the certificate that it serves TLS with ends, seconds since 1970; 0 without one.
        certificate_end: level = "CertificateNotAfter",
        /// Other failures.
        generic_processing_fail: count = "GenericProcessingFail",
        /// Events that an optional channel did not take.
        optional_write_fail: count = "OptionalChannelWriteFail",
        /// Times the source was started again after an error or a panic.
        restarts: count = "RestartCount",
        /// 1 while it listens or reads.
        up: flag = "Up",
        /// 1 once it has given all it had, and ended by itself.
        done: flag = "Done",
    }
    durations {}
    more {
        /// Whom it hears, where it can tell its clients apart.
        clients: Clients,
        /// Events of it that ended without having arrived.
        drops: Drops,
        /// Why its last try failed.
        failure: LastFailure,
        /// The same, of each of its interceptors.
        interceptors: InterceptorDrops,
        /// Why it collects nothing although it has not failed to start, until it is started again.
        fault: Fault,
    }
);

counters!(
    /// What a sink did.
    SinkCounters {
        /// Times its target was opened.
        connection_created: count = "ConnectionCreatedCount",
        /// Times its target was closed.
        connection_closed: count = "ConnectionClosedCount",
        /// Times opening its target failed.
        connection_failed: count = "ConnectionFailedCount",
        /// Takes that found nothing.
        batch_empty: count = "BatchEmptyCount",
        /// Batches smaller than asked for.
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
        /// Events that their destination refused for good, and that are elsewhere now.
        dead_letter: count = "DeadLetterCount",
        /// Events that it took out of the channel without having delivered them, as it is told to.
        dropped: count = "DropCount",
        /// Bytes of the events in its hands.
        held_bytes: level = "HeldBytes",
        /// When the certificate that it shows ends, seconds since 1970; 0 without one.
        certificate_end: level = "CertificateNotAfter",
        /// The same of the server's certificate, as of the last connection.
        peer_certificate_end: level = "PeerCertificateNotAfter",
        /// Batches handed back to the channel.
        rollback: count = "RollbackCount",
        /// Times the sink was started again after a panic.
        restarts: count = "RestartCount",
        /// 1 while it is open.
        up: flag = "Up",
        /// 1 from a try that failed to the next one that did not.
        failing: flag = "Failing",
    }
    durations {
        /// Batches that were delivered: from handing them to the sink to its word that they are.
        delivery = "Delivery",
    }
    more {
        /// What it does.
        phases: Phases,
        /// Events of it that ended without having arrived.
        drops: Drops,
        /// Why its last try failed.
        failure: LastFailure,
    }
);

counters!(
    /// What went through a channel.
    ChannelCounters {
        /// Events waiting or lent.
        size: level = "ChannelSize",
        /// Events the channel holds at most.
        capacity: level = "ChannelCapacity",
        /// Events that puts were tried with.
        event_put_attempt: count = "EventPutAttemptCount",
        /// Events in committed puts.
        event_put_success: count = "EventPutSuccessCount",
        /// Takes tried, those that found nothing included.
        event_take_attempt: count = "EventTakeAttemptCount",
        /// Events in committed takes.
        event_take_success: count = "EventTakeSuccessCount",
        /// Put commits refused or in doubt.
        event_put_error: count = "EventPutErrorCount",
        /// Takes and take commits that failed.
        event_take_error: count = "EventTakeErrorCount",
        /// Lent events handed back.
        rollback: count = "RollbackCount",
        /// 1 while the channel is open.
        open: flag = "Open",
        /// 1 once it was closed.
        closed: level = "Closed",
        /// 1 while it cannot be opened or refuses puts for another reason than its capacity.
        unhealthy: level = "Unhealthy",
        /// Checkpoints that could not be written into `checkpointDir`.
        checkpoint_error: count = "CheckpointWriteErrorCount",
        /// Copies of checkpoints that could not be written into a data directory.
        checkpoint_backup_error: count = "CheckpointBackupWriteErrorCount",
    }
    durations {
        /// Commits of puts that ended well, with the wait for room.
        put_commit = "PutCommit",
        /// Commits of takes that ended well.
        take_commit = "TakeCommit",
    }
    more {
        /// Events of it that ended without having arrived.
        drops: Drops,
        /// Why its last try failed.
        failure: LastFailure,
    }
);

impl SourceCounters {
    /// A source begins, perhaps one of another type in the place of an earlier one: what showed how that was holds no more.
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

    /// A batch of `events` was received.
    pub fn batch_received(&self, events: u64) {
        self.event_received.add(events);
        self.append_batch_received.add(1);
    }

    /// Events that ended without having arrived, by reason, those of its interceptors included.
    #[must_use]
    pub fn dropped_events(&self) -> Vec<Dropped> {
        drops::read(&self.drops, DropPlace::Source, Some(&self.interceptors))
    }

    /// All of a batch was committed.
    pub fn batch_accepted(&self) {
        self.append_batch_accepted.add(1);
    }

    /// Flume's attributes, some of our own, and their values as of now.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        self.counted()
    }
}

impl SinkCounters {
    /// A sink begins, perhaps one of another type in the place of an earlier one.
    pub fn begin(&self) {
        self.certificate_end.set(0);
        self.peer_certificate_end.set(0);
    }

    /// Events that ended without having arrived, by reason.
    #[must_use]
    pub fn dropped_events(&self) -> Vec<Dropped> {
        drops::read(&self.drops, DropPlace::Sink, None)
    }

    /// Flume's attributes, some of our own, and their values as of now.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        self.counted()
    }
}

impl ChannelCounters {
    /// Events that ended without having arrived, by reason.
    #[must_use]
    pub fn dropped_events(&self) -> Vec<Dropped> {
        drops::read(&self.drops, DropPlace::Channel, None)
    }

    /// Flume's attributes, those of its file channel included, and their values as of now.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let (size, capacity) = (self.size.get(), self.capacity.get());
        // Flume's answer for a channel that was never opened.
        let filled = if capacity == 0 { f64::MAX } else { size as f64 / capacity as f64 * 100.0 };
        let mut values = self.counted();
        values.push(("ChannelFillPercentage", Value::Percent(filled)));
        values
    }
}
