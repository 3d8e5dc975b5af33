//! Every metric of the Prometheus page: its name, what it means and where its values come from.
//!
//! docs/monitoring.md has the same table; a test holds the two together.

use super::alarm::AlarmMetric;
use super::certificate_families::CERTIFICATES;
use super::client_families::CLIENTS;
use crate::metrics::{ChannelReading, ClientTotals, Counter, Role, Spread, StripeReading};
use std::time::Duration;

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows while what is counted runs.
    Counter,
    /// As of now.
    Gauge,
    /// How many took no longer than each of some bounds; with their number and sum.
    Histogram,
}

/// Where the values of a metric come from.
#[derive(Clone, Copy)]
pub(super) enum From {
    /// An attribute of each component of a role.
    Attribute(Role, &'static str),
    /// The same in milliseconds, shown in seconds.
    Millis(Role, &'static str),
    /// The same in percent, shown as a part of 1.
    Percent(Role, &'static str),
    /// Each open channel, where it has the number.
    Channel(fn(&ChannelReading) -> Option<i64>),
    /// The same in seconds.
    ChannelTime(fn(&ChannelReading) -> Duration),
    /// Each stripe of an open channel.
    Stripe(fn(&StripeReading) -> u64),
    /// The same in seconds.
    StripeTime(fn(&StripeReading) -> Duration),
    /// The alarms of the agent.
    Alarm(AlarmMetric),
    /// What was noted of how long something took, by its name.
    Took(Role, &'static str),
    /// The same of each stripe of an open channel.
    StripeTook(fn(&StripeReading) -> &Spread),
    /// Each sink and what it can do: seconds spent with it.
    Phases,
    /// Each component, interceptor and reason: events that ended without having arrived.
    Dropped,
    /// The clients of all sources together.
    Clients(fn(&ClientTotals) -> &Counter),
    /// The process.
    Process(fn() -> Option<f64>),
    /// Always 1, with the version as a label.
    Version,
}

/// One metric.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) from: From,
    /// One sentence.
    pub(super) help: &'static str,
}

const fn counter(name: &'static str, from: From, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, from, help }
}

pub(super) const fn gauge(name: &'static str, from: From, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, from, help }
}

const fn histogram(name: &'static str, from: From, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, from, help }
}

const fn source(name: &'static str, attribute: &'static str, help: &'static str) -> Family {
    counter(name, From::Attribute(Role::Source, attribute), help)
}

const fn sink(name: &'static str, attribute: &'static str, help: &'static str) -> Family {
    counter(name, From::Attribute(Role::Sink, attribute), help)
}

const fn channel(name: &'static str, attribute: &'static str, help: &'static str) -> Family {
    counter(name, From::Attribute(Role::Channel, attribute), help)
}

/// All of them, in the order of the page.
pub(super) const FAMILIES: &[&[Family]] =
    &[AGENT, CLIENTS, ALARMS, DROPPED, SOURCES, CHANNELS, STRIPES, SINKS, CERTIFICATES];

const AGENT: &[Family] = &[
    gauge("millpond_build_info", From::Version, "Always 1; the version is a label."),
    gauge(
        "process_resident_memory_bytes",
        From::Process(super::process::resident_bytes),
        "Memory of the process that is in use now.",
    ),
    counter(
        "process_cpu_seconds_total",
        From::Process(super::process::cpu_seconds),
        "Time that the processors spent for the process.",
    ),
    gauge(
        "process_open_fds",
        From::Process(super::process::open_files),
        "File descriptors in use.",
    ),
    gauge(
        "process_max_fds",
        From::Process(super::process::files_max),
        "File descriptors that it may have.",
    ),
    gauge(
        "process_start_time_seconds",
        From::Process(super::process::start_time),
        "When the process began, since 1970.",
    ),
    counter(
        "millpond_log_lines_dropped_total",
        From::Process(super::process::log_lines_dropped),
        "Lines of the log that stderr or the log file did not take.",
    ),
    counter(
        "millpond_log_lines_suppressed_total",
        From::Process(super::process::log_lines_suppressed),
        "Warnings and errors that the log did not write because they repeat.",
    ),
];

const ALARMS: &[Family] = &[
    gauge(
        "millpond_alarm_active",
        From::Alarm(AlarmMetric::Active),
        "Alarms that are active, of the component; without a sample while there is none.",
    ),
    counter(
        "millpond_alarms_raised_total",
        From::Alarm(AlarmMetric::Raised),
        "Alarms raised since the start.",
    ),
    counter(
        "millpond_alarms_cleared_total",
        From::Alarm(AlarmMetric::Cleared),
        "Alarms that were over since the start.",
    ),
    gauge(
        "millpond_alarm_notices_waiting",
        From::Alarm(AlarmMetric::Waiting),
        "Notices of alarms that wait to be sent.",
    ),
    counter(
        "millpond_alarm_notices_sent_total",
        From::Alarm(AlarmMetric::Sent),
        "Notices that arrived.",
    ),
    counter(
        "millpond_alarm_notice_failures_total",
        From::Alarm(AlarmMetric::Failures),
        "Tries to send a notice that failed.",
    ),
    counter(
        "millpond_alarm_notices_dropped_total",
        From::Alarm(AlarmMetric::Dropped),
        "Notices that were dropped: too many waited, or they were refused.",
    ),
];

const DROPPED: &[Family] = &[counter(
    "millpond_dropped_total",
    From::Dropped,
    "Events that ended without having arrived, by reason (loss.md).",
)];

const SOURCES: &[Family] = &[
    gauge(
        "millpond_source_up",
        From::Attribute(Role::Source, "Up"),
        "1 while the source listens or reads.",
    ),
    gauge(
        "millpond_source_done",
        From::Attribute(Role::Source, "Done"),
        "1 once the source has given all it had and ended by itself.",
    ),
    gauge(
        "millpond_source_start_time_seconds",
        From::Millis(Role::Source, "StartTime"),
        "When the source last started, since 1970; 0 before.",
    ),
    gauge(
        "millpond_source_stop_time_seconds",
        From::Millis(Role::Source, "StopTime"),
        "When the source stopped; 0 while it runs, and when it ended by itself.",
    ),
    source("millpond_source_received_events_total", "EventReceivedCount", "Events handed over."),
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
        "Batches handed over.",
    ),
    source(
        "millpond_source_accepted_batches_total",
        "AppendBatchAcceptedCount",
        "Batches committed whole.",
    ),
    gauge(
        "millpond_source_open_connections",
        From::Attribute(Role::Source, "OpenConnectionCount"),
        "Connections open now.",
    ),
    source(
        "millpond_source_read_failures_total",
        "EventReadFail",
        "Inputs that could not be read or understood.",
    ),
    source(
        "millpond_source_channel_write_failures_total",
        "ChannelWriteFail",
        "Batches that a required channel refused or left in doubt.",
    ),
    gauge(
        "millpond_source_held_bytes",
        From::Attribute(Role::Source, "HeldBytes"),
        "Bytes that requests and unfinished lines of its clients hold of the budget for all clients; what has no room in it waits.",
    ),
    gauge(
        "millpond_source_files_left_out",
        From::Attribute(Role::Source, "FilesLeftOut"),
        "Files that match the patterns of a taildir source and are not read, since it tails as many as it can (100,000); of a spooldir source directories that are more than 64 levels deep.",
    ),
    gauge(
        "millpond_source_empty_patterns",
        From::Attribute(Role::Source, "EmptyPatterns"),
        "File groups of a taildir source whose pattern matches no file.",
    ),
    gauge(
        "millpond_source_position_refused",
        From::Attribute(Role::Source, "PositionRefused"),
        "1 while the position of a source has no room in a channel, and it waits.",
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

const CHANNELS: &[Family] = &[
    gauge(
        "millpond_channel_open",
        From::Attribute(Role::Channel, "Open"),
        "1 while the channel is open.",
    ),
    gauge(
        "millpond_channel_unhealthy",
        From::Attribute(Role::Channel, "Unhealthy"),
        "1 while it cannot be opened or refuses puts for another reason than its capacity.",
    ),
    gauge(
        "millpond_channel_start_time_seconds",
        From::Millis(Role::Channel, "StartTime"),
        "When the channel was last opened, since 1970; 0 before.",
    ),
    gauge(
        "millpond_channel_waiting_events",
        From::Attribute(Role::Channel, "ChannelSize"),
        "Events waiting, lent or being written.",
    ),
    gauge(
        "millpond_channel_capacity_events",
        From::Attribute(Role::Channel, "ChannelCapacity"),
        "Events the channel holds at most.",
    ),
    gauge(
        "millpond_channel_fill_ratio",
        From::Percent(Role::Channel, "ChannelFillPercentage"),
        "Waiting events as a part of the capacity, 0 to 1.",
    ),
    channel(
        "millpond_channel_put_attempted_events_total",
        "EventPutAttemptCount",
        "Events that puts were tried with.",
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
        "Events lent, and takes that found none.",
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
        From::Channel(|c| c.waiting_bytes.try_into().ok()),
        "Bytes of the waiting events: in memory, or of the log from the first of them to its end, about.",
    ),
    gauge(
        "millpond_channel_segment_bytes",
        From::Channel(|c| {
            let on_disk = c.stripes.iter().map(|stripe| stripe.segment_bytes);
            if c.stripes.is_empty() { None } else { on_disk.sum::<u64>().try_into().ok() }
        }),
        "Bytes of the segment files that hold blocks, also of events that were taken; a segment is used again once all of its events are.",
    ),
    gauge(
        "millpond_channel_memory_bytes",
        From::Channel(|c| c.memory_bytes.try_into().ok()),
        "Bytes of memory that hold events, those on their way to and from the disk included.",
    ),
    counter(
        "millpond_channel_quarantined_events_total",
        From::Channel(|c| c.quarantined.try_into().ok()),
        "Events found damaged and set aside, or given up with a missing segment, since the channel was made.",
    ),
    gauge(
        "millpond_channel_unreachable_events",
        From::Channel(|c| c.out_of_reach.try_into().ok()),
        "Events on suspended stripes, which wait until their disk is back.",
    ),
    gauge(
        "millpond_channel_unaccounted_events",
        From::Channel(|c| c.unaccounted),
        "Events there at the opening and put since, less taken, waiting and quarantined ones; always 0.",
    ),
    counter(
        "millpond_channel_writes_total",
        From::Channel(|c| c.writes.try_into().ok()),
        "Writes to the log that ended well since the channel was opened.",
    ),
    counter(
        "millpond_channel_written_bytes_total",
        From::Channel(|c| c.written_bytes.try_into().ok()),
        "Bytes of those writes.",
    ),
    counter(
        "millpond_channel_failed_writes_total",
        From::Channel(|c| c.failed_writes.try_into().ok()),
        "Writes to the log that failed or were given up since the channel was opened.",
    ),
    gauge(
        "millpond_channel_oldest_event_age_seconds",
        From::ChannelTime(|c| c.oldest),
        "How long the oldest event has waited, to a second, lent ones and those of suspended stripes included; 0 without one. What was there at the opening counts from then.",
    ),
    histogram(
        "millpond_channel_put_commit_seconds",
        From::Took(Role::Channel, "PutCommit"),
        "From asking for the commit of a put until it was durable, the wait for room included.",
    ),
    histogram(
        "millpond_channel_take_commit_seconds",
        From::Took(Role::Channel, "TakeCommit"),
        "From asking for the commit of a take until it was durable.",
    ),
];

const STRIPES: &[Family] = &[
    gauge(
        "millpond_stripe_waiting_events",
        From::Stripe(|s| s.events),
        "Events of the stripe waiting, lent or being written.",
    ),
    gauge(
        "millpond_stripe_segment_bytes",
        From::Stripe(|s| s.segment_bytes),
        "Bytes of the segments that hold blocks.",
    ),
    gauge("millpond_stripe_segments", From::Stripe(|s| s.segments), "Segments that hold blocks."),
    gauge(
        "millpond_stripe_free_segments",
        From::Stripe(|s| s.free_segments),
        "Segments ready for use.",
    ),
    gauge(
        "millpond_stripe_suspended",
        From::Stripe(|s| u64::from(s.suspended.is_some())),
        "1 while the stripe cannot be written: its disk fails or is missing.",
    ),
    gauge(
        "millpond_stripe_out_of_space",
        From::Stripe(|s| u64::from(s.no_space.is_some())),
        "1 while the stripe takes no puts because its disk is full.",
    ),
    gauge(
        "millpond_stripe_frontier_sequence",
        From::Stripe(|s| s.frontier),
        "All events below this sequence are done, durably.",
    ),
    gauge(
        "millpond_stripe_watermark_sequence",
        From::Stripe(|s| s.watermark),
        "All events below this sequence are durable.",
    ),
    gauge(
        "millpond_stripe_lag_events",
        From::Stripe(|s| s.watermark.saturating_sub(s.frontier)),
        "Events from the first that is not done to the last durable one; the segments keep all of them.",
    ),
    gauge(
        "millpond_stripe_lag_bytes",
        From::Stripe(|s| s.lag_bytes),
        "Bytes of the log from the first event that is not done to its end, about: inside of a segment all events count as equally large.",
    ),
    gauge(
        "millpond_stripe_lag_seconds",
        From::StripeTime(|s| s.oldest),
        "How long the first event that is not done has waited, to a second; 0 without one. What was there at the opening counts from then.",
    ),
    histogram(
        "millpond_stripe_write_seconds",
        From::StripeTook(|s| &s.writes),
        "Writes to the log that ended well, from handing them to the disk until they were durable there.",
    ),
];

const SINKS: &[Family] = &[
    gauge("millpond_sink_up", From::Attribute(Role::Sink, "Up"), "1 while the sink is open."),
    gauge(
        "millpond_sink_failing",
        From::Attribute(Role::Sink, "Failing"),
        "1 from a try that failed to the next one that did not.",
    ),
    gauge(
        "millpond_sink_start_time_seconds",
        From::Millis(Role::Sink, "StartTime"),
        "When the sink was last opened, since 1970; 0 before.",
    ),
    gauge(
        "millpond_sink_stop_time_seconds",
        From::Millis(Role::Sink, "StopTime"),
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
    sink("millpond_sink_empty_batches_total", "BatchEmptyCount", "Takes that found nothing."),
    sink(
        "millpond_sink_partial_batches_total",
        "BatchUnderflowCount",
        "Batches smaller than asked for.",
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
        "Takes that the channel failed.",
    ),
    sink(
        "millpond_sink_dead_letter_events_total",
        "DeadLetterCount",
        "Events that the destination refused for good and that are in their dead-letter place.",
    ),
    sink(
        "millpond_sink_dropped_events_total",
        "DropCount",
        "Events taken out of the channel without having been delivered, since the sink is set to let go of such.",
    ),
    gauge(
        "millpond_sink_held_bytes",
        From::Attribute(Role::Sink, "HeldBytes"),
        "Bytes of the events in the sink's hands.",
    ),
    sink("millpond_sink_rollbacks_total", "RollbackCount", "Batches handed back to the channel."),
    sink(
        "millpond_sink_restarts_total",
        "RestartCount",
        "Times the sink was started again after a panic.",
    ),
    histogram(
        "millpond_sink_delivery_seconds",
        From::Took(Role::Sink, "Delivery"),
        "Batches delivered, from handing them to the sink until it said so.",
    ),
    counter(
        "millpond_sink_phase_seconds_total",
        From::Phases,
        "Time spent stopped, being opened, waiting for events, delivering, and resting after a failure.",
    ),
];

#[cfg(test)]
mod tests;
