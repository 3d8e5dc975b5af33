//! Every metric of the Prometheus page: its name, its meaning and the source of its values.
//!
//! docs/monitoring.md has the same table; a test holds the two together.

use super::alarm::AlarmMetric;
use super::certificate_families::CERTIFICATES;
use super::client_families::CLIENTS;
use super::metric_family::{
    MetricFamily, ValueSource, channel, counter, gauge, histogram, sink, source,
};
use millpond_flow::metrics::ComponentRole;

/// All metrics, in the order of the page.
pub(super) const FAMILIES: &[&[MetricFamily]] =
    &[AGENT, CLIENTS, ALARMS, DROPPED, SOURCES, CHANNELS, STRIPES, SINKS, CERTIFICATES];

const AGENT: &[MetricFamily] = &[
    gauge("millpond_build_info", ValueSource::Version, "Always 1; the version is a label."),
    gauge(
        "process_resident_memory_bytes",
        ValueSource::Process(super::process::resident_bytes),
        "Resident memory of the process.",
    ),
    counter(
        "process_cpu_seconds_total",
        ValueSource::Process(super::process::cpu_seconds),
        "Processor time of the process, user and system.",
    ),
    gauge(
        "process_open_fds",
        ValueSource::Process(super::process::open_files),
        "File descriptors in use.",
    ),
    gauge(
        "process_max_fds",
        ValueSource::Process(super::process::files_max),
        "Limit on open file descriptors of the process.",
    ),
    gauge(
        "process_start_time_seconds",
        ValueSource::Process(super::process::start_time),
        "When the process began, since 1970.",
    ),
    counter(
        "millpond_log_lines_dropped_total",
        ValueSource::Process(super::process::log_lines_dropped),
        "Log lines that stderr or the log file did not accept.",
    ),
    counter(
        "millpond_log_lines_suppressed_total",
        ValueSource::Process(super::process::log_lines_suppressed),
        "Warnings and errors that the log did not write because they repeat.",
    ),
];

const ALARMS: &[MetricFamily] = &[
    gauge(
        "millpond_alarm_active",
        ValueSource::Alarm(AlarmMetric::Active),
        "Alarms that are active, of the component; without a sample while there is none.",
    ),
    counter(
        "millpond_alarms_raised_total",
        ValueSource::Alarm(AlarmMetric::Raised),
        "Alarms raised since the start.",
    ),
    counter(
        "millpond_alarms_cleared_total",
        ValueSource::Alarm(AlarmMetric::Cleared),
        "Alarms cleared since the start.",
    ),
    gauge(
        "millpond_alarm_notices_waiting",
        ValueSource::Alarm(AlarmMetric::Waiting),
        "Notifications of alarms that wait to be sent.",
    ),
    counter(
        "millpond_alarm_notices_sent_total",
        ValueSource::Alarm(AlarmMetric::Sent),
        "Notifications that were delivered.",
    ),
    counter(
        "millpond_alarm_notice_failures_total",
        ValueSource::Alarm(AlarmMetric::Failures),
        "Failed attempts to send a notification.",
    ),
    counter(
        "millpond_alarm_notices_dropped_total",
        ValueSource::Alarm(AlarmMetric::Dropped),
        "Notifications that were dropped: too many waited, or they were refused.",
    ),
];

const DROPPED: &[MetricFamily] = &[counter(
    "millpond_dropped_total",
    ValueSource::Dropped,
    "Events that were dropped, by reason (loss.md).",
)];

const SOURCES: &[MetricFamily] = &[
    gauge(
        "millpond_source_up",
        ValueSource::Attribute(ComponentRole::Source, "Up"),
        "1 while the source listens or reads.",
    ),
    gauge(
        "millpond_source_done",
        ValueSource::Attribute(ComponentRole::Source, "Done"),
        "1 once the source has read all of its input and ended by itself.",
    ),
    gauge(
        "millpond_source_start_time_seconds",
        ValueSource::Millis(ComponentRole::Source, "StartTime"),
        "When the source last started, since 1970; 0 before.",
    ),
    gauge(
        "millpond_source_stop_time_seconds",
        ValueSource::Millis(ComponentRole::Source, "StopTime"),
        "When the source stopped; 0 while it runs, and when it ended by itself.",
    ),
    source("millpond_source_received_events_total", "EventReceivedCount", "Events received."),
    source(
        "millpond_source_accepted_events_total",
        "EventAcceptedCount",
        "Events that all required channels committed.",
    ),
    source(
        "millpond_source_received_appends_total",
        "AppendReceivedCount",
        "Calls with a single event.",
    ),
    source(
        "millpond_source_accepted_appends_total",
        "AppendAcceptedCount",
        "Calls with a single event that was committed.",
    ),
    source(
        "millpond_source_received_batches_total",
        "AppendBatchReceivedCount",
        "Batches received.",
    ),
    source(
        "millpond_source_accepted_batches_total",
        "AppendBatchAcceptedCount",
        "Batches committed whole.",
    ),
    gauge(
        "millpond_source_open_connections",
        ValueSource::Attribute(ComponentRole::Source, "OpenConnectionCount"),
        "Connections open now.",
    ),
    source(
        "millpond_source_read_failures_total",
        "EventReadFail",
        "Inputs that could not be read or parsed.",
    ),
    source(
        "millpond_source_channel_write_failures_total",
        "ChannelWriteFail",
        "Batches that a required channel refused or left in doubt.",
    ),
    gauge(
        "millpond_source_held_bytes",
        ValueSource::Attribute(ComponentRole::Source, "HeldBytes"),
        "Bytes that requests and unfinished lines of its clients hold of the budget for all clients; what has no room in it waits.",
    ),
    gauge(
        "millpond_source_files_left_out",
        ValueSource::Attribute(ComponentRole::Source, "FilesLeftOut"),
        "Files that match the patterns of a taildir source and are not read, since it tails as many as it can (100,000); of a spooldir source directories that are more than 64 levels deep.",
    ),
    gauge(
        "millpond_source_empty_patterns",
        ValueSource::Attribute(ComponentRole::Source, "EmptyPatterns"),
        "File groups of a taildir source whose pattern matches no file.",
    ),
    gauge(
        "millpond_source_position_refused",
        ValueSource::Attribute(ComponentRole::Source, "PositionRefused"),
        "1 while the offset of a source has no room in a channel, and it waits.",
    ),
    source("millpond_source_other_failures_total", "GenericProcessingFail", "Other failures."),
    source(
        "millpond_source_optional_channel_lost_events_total",
        "OptionalChannelWriteFail",
        "Events that an optional channel did not take.",
    ),
    source(
        "millpond_source_restarts_total",
        "RestartCount",
        "Times the source was started again after an error or a panic.",
    ),
];

const CHANNELS: &[MetricFamily] = &[
    gauge(
        "millpond_channel_open",
        ValueSource::Attribute(ComponentRole::Channel, "Open"),
        "1 while the channel is open.",
    ),
    gauge(
        "millpond_channel_unhealthy",
        ValueSource::Attribute(ComponentRole::Channel, "Unhealthy"),
        "1 while it cannot be opened or refuses puts for a reason other than its capacity.",
    ),
    gauge(
        "millpond_channel_start_time_seconds",
        ValueSource::Millis(ComponentRole::Channel, "StartTime"),
        "When the channel was last opened, since 1970; 0 before.",
    ),
    gauge(
        "millpond_channel_waiting_events",
        ValueSource::Attribute(ComponentRole::Channel, "ChannelSize"),
        "Events waiting, lent or being written.",
    ),
    gauge(
        "millpond_channel_capacity_events",
        ValueSource::Attribute(ComponentRole::Channel, "ChannelCapacity"),
        "Events that the channel holds at most.",
    ),
    gauge(
        "millpond_channel_fill_ratio",
        ValueSource::Percent(ComponentRole::Channel, "ChannelFillPercentage"),
        "Waiting events as a part of the capacity, 0 to 1.",
    ),
    channel(
        "millpond_channel_put_attempted_events_total",
        "EventPutAttemptCount",
        "Events of attempted puts.",
    ),
    channel(
        "millpond_channel_put_events_total",
        "EventPutSuccessCount",
        "Events in committed puts.",
    ),
    channel(
        "millpond_channel_put_failures_total",
        "EventPutErrorCount",
        "Commits of puts refused or in doubt.",
    ),
    channel(
        "millpond_channel_take_attempts_total",
        "EventTakeAttemptCount",
        "Events lent, and takes that returned none.",
    ),
    channel(
        "millpond_channel_taken_events_total",
        "EventTakeSuccessCount",
        "Events in committed takes.",
    ),
    channel(
        "millpond_channel_take_failures_total",
        "EventTakeErrorCount",
        "Takes and commits of takes that failed.",
    ),
    channel(
        "millpond_channel_returned_events_total",
        "RollbackCount",
        "Events that were lent and handed back.",
    ),
    channel(
        "millpond_channel_checkpoint_failures_total",
        "CheckpointWriteErrorCount",
        "Checkpoints that could not be written into checkpointDir since the channel was opened.",
    ),
    channel(
        "millpond_channel_checkpoint_copy_failures_total",
        "CheckpointBackupWriteErrorCount",
        "Checkpoints that could not be written into a data directory since the channel was opened.",
    ),
    gauge(
        "millpond_channel_waiting_bytes",
        ValueSource::Channel(|c| c.waiting_bytes.try_into().ok()),
        "Approximate bytes of the waiting events: those in memory, or those of the log from the first of them to its end.",
    ),
    gauge(
        "millpond_channel_segment_bytes",
        ValueSource::Channel(|c| {
            let on_disk = c.stripes.iter().map(|stripe| stripe.segment_bytes);
            if c.stripes.is_empty() { None } else { on_disk.sum::<u64>().try_into().ok() }
        }),
        "Bytes of the segment files that hold blocks, also of events that were taken; a segment is used again once all of its events are.",
    ),
    gauge(
        "millpond_channel_memory_bytes",
        ValueSource::Channel(|c| c.memory_bytes.try_into().ok()),
        "Bytes of memory that hold events, those on their way to and from the disk included.",
    ),
    counter(
        "millpond_channel_quarantined_events_total",
        ValueSource::Channel(|c| c.quarantined.try_into().ok()),
        "Events found damaged and set aside, or given up with a missing segment, since the channel was created.",
    ),
    gauge(
        "millpond_channel_unreachable_events",
        ValueSource::Channel(|c| c.out_of_reach.try_into().ok()),
        "Events on suspended stripes, which wait until their disk is back.",
    ),
    gauge(
        "millpond_channel_unaccounted_events",
        ValueSource::Channel(|c| c.unaccounted),
        "Events present at the opening and put since, minus taken, waiting and quarantined ones; always 0.",
    ),
    counter(
        "millpond_channel_writes_total",
        ValueSource::Channel(|c| c.writes.try_into().ok()),
        "Successful writes to the log since the channel was opened.",
    ),
    counter(
        "millpond_channel_written_bytes_total",
        ValueSource::Channel(|c| c.written_bytes.try_into().ok()),
        "Bytes of those writes.",
    ),
    counter(
        "millpond_channel_failed_writes_total",
        ValueSource::Channel(|c| c.failed_writes.try_into().ok()),
        "Writes to the log that failed or were abandoned since the channel was opened.",
    ),
    gauge(
        "millpond_channel_oldest_event_age_seconds",
        ValueSource::ChannelTime(|c| c.oldest),
        "How long the oldest event has waited, to a second, lent ones and those of suspended stripes included; 0 without one. What was there at the opening counts from then.",
    ),
    histogram(
        "millpond_channel_put_commit_seconds",
        ValueSource::Took(ComponentRole::Channel, "PutCommit"),
        "From the request to commit a put until it was durable, the wait for space included.",
    ),
    histogram(
        "millpond_channel_take_commit_seconds",
        ValueSource::Took(ComponentRole::Channel, "TakeCommit"),
        "From the request to commit a take until it was durable.",
    ),
];

const STRIPES: &[MetricFamily] = &[
    gauge(
        "millpond_stripe_waiting_events",
        ValueSource::Stripe(|s| s.events),
        "Events of the stripe waiting, lent or being written.",
    ),
    gauge(
        "millpond_stripe_segment_bytes",
        ValueSource::Stripe(|s| s.segment_bytes),
        "Bytes of the segments that hold blocks.",
    ),
    gauge(
        "millpond_stripe_segments",
        ValueSource::Stripe(|s| s.segments),
        "Segments that hold blocks.",
    ),
    gauge(
        "millpond_stripe_free_segments",
        ValueSource::Stripe(|s| s.free_segments),
        "Segments ready for use.",
    ),
    gauge(
        "millpond_stripe_suspended",
        ValueSource::Stripe(|s| u64::from(s.suspended.is_some())),
        "1 while the stripe cannot be written: its disk fails or is missing.",
    ),
    gauge(
        "millpond_stripe_out_of_space",
        ValueSource::Stripe(|s| u64::from(s.no_space.is_some())),
        "1 while the stripe takes no puts because its disk is full.",
    ),
    gauge(
        "millpond_stripe_frontier_sequence",
        ValueSource::Stripe(|s| s.frontier),
        "All events below this sequence are durably acknowledged.",
    ),
    gauge(
        "millpond_stripe_watermark_sequence",
        ValueSource::Stripe(|s| s.watermark),
        "All events below this sequence are durable.",
    ),
    gauge(
        "millpond_stripe_lag_events",
        ValueSource::Stripe(|s| s.watermark.saturating_sub(s.frontier)),
        "Events from the first unacknowledged one to the last durable one; the segments keep all of them.",
    ),
    gauge(
        "millpond_stripe_lag_bytes",
        ValueSource::Stripe(|s| s.lag_bytes),
        "Approximate bytes of the log from the first unacknowledged event to its end: within a segment all events count as equally large.",
    ),
    gauge(
        "millpond_stripe_lag_seconds",
        ValueSource::StripeTime(|s| s.oldest),
        "How long the first unacknowledged event has waited, to a second; 0 without one. Events that were there at the opening count from then on.",
    ),
    histogram(
        "millpond_stripe_write_seconds",
        ValueSource::StripeTook(|s| &s.writes),
        "Successful writes to the log, from submission until they were durable.",
    ),
];

const SINKS: &[MetricFamily] = &[
    gauge(
        "millpond_sink_up",
        ValueSource::Attribute(ComponentRole::Sink, "Up"),
        "1 while the sink is open.",
    ),
    gauge(
        "millpond_sink_failing",
        ValueSource::Attribute(ComponentRole::Sink, "Failing"),
        "1 from a failed attempt to the next successful one.",
    ),
    gauge(
        "millpond_sink_start_time_seconds",
        ValueSource::Millis(ComponentRole::Sink, "StartTime"),
        "When the sink was last opened, since 1970; 0 before.",
    ),
    gauge(
        "millpond_sink_stop_time_seconds",
        ValueSource::Millis(ComponentRole::Sink, "StopTime"),
        "When the sink stopped; 0 while it runs.",
    ),
    sink(
        "millpond_sink_connections_created_total",
        "ConnectionCreatedCount",
        "Times a connection or file was opened.",
    ),
    sink(
        "millpond_sink_connections_closed_total",
        "ConnectionClosedCount",
        "Times a connection or file was closed.",
    ),
    sink(
        "millpond_sink_connections_failed_total",
        "ConnectionFailedCount",
        "Times opening a connection or file failed.",
    ),
    sink("millpond_sink_empty_batches_total", "BatchEmptyCount", "Takes that returned no event."),
    sink(
        "millpond_sink_partial_batches_total",
        "BatchUnderflowCount",
        "Batches smaller than requested.",
    ),
    sink("millpond_sink_full_batches_total", "BatchCompleteCount", "Full batches."),
    sink(
        "millpond_sink_attempted_events_total",
        "EventDrainAttemptCount",
        "Events handed to the sink, repeats included.",
    ),
    sink(
        "millpond_sink_delivered_events_total",
        "EventDrainSuccessCount",
        "Events delivered and taken out of the channel.",
    ),
    sink(
        "millpond_sink_failed_batches_total",
        "EventWriteFail",
        "Batches that were not delivered.",
    ),
    sink(
        "millpond_sink_channel_read_failures_total",
        "ChannelReadFail",
        "Takes that failed in the channel.",
    ),
    sink(
        "millpond_sink_dead_letter_events_total",
        "DeadLetterCount",
        "Events that the destination permanently refused and that are in the dead-letter queue.",
    ),
    sink(
        "millpond_sink_dropped_events_total",
        "DropCount",
        "Events taken out of the channel without having been delivered, because the sink is configured to drop them.",
    ),
    gauge(
        "millpond_sink_held_bytes",
        ValueSource::Attribute(ComponentRole::Sink, "HeldBytes"),
        "Bytes of the events that the sink holds.",
    ),
    sink("millpond_sink_rollbacks_total", "RollbackCount", "Batches handed back to the channel."),
    sink(
        "millpond_sink_restarts_total",
        "RestartCount",
        "Times the sink was started again after a panic.",
    ),
    histogram(
        "millpond_sink_delivery_seconds",
        ValueSource::Took(ComponentRole::Sink, "Delivery"),
        "Delivered batches, from the call of the sink until it returned.",
    ),
    counter(
        "millpond_sink_phase_seconds_total",
        ValueSource::Phases,
        "Time spent stopped, opening, waiting for events, delivering, and pausing after a failure.",
    ),
];

#[cfg(test)]
mod tests;
