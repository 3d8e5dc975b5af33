//! One metric of the Prometheus page.

use super::alarm::AlarmMetric;
use millpond::StripeStatus;
use millpond::internal::base::histogram::HistogramReading;
use millpond_flow::metrics::{ChannelReading, ClientTotals, ComponentRole, Counter};
use std::time::Duration;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricType {
    /// Only grows while the counted component runs.
    Counter,
    /// As of now.
    Gauge,
    /// Counts of durations up to each of some bounds; with their number and sum.
    Histogram,
}

/// Where the values of a metric come from.
#[derive(Clone, Copy)]
pub(super) enum ValueSource {
    /// An attribute of each component of a role.
    Attribute(ComponentRole, &'static str),
    /// The attribute in milliseconds, shown in seconds.
    Millis(ComponentRole, &'static str),
    /// The attribute in percent, shown as a part of 1.
    Percent(ComponentRole, &'static str),
    /// A number of each open channel that has it.
    Channel(fn(&ChannelReading) -> Option<i64>),
    /// A time of each open channel, in seconds.
    ChannelTime(fn(&ChannelReading) -> Duration),
    /// A number of each stripe of an open channel.
    Stripe(fn(&StripeStatus) -> u64),
    /// A time of each stripe, in seconds.
    StripeTime(fn(&StripeStatus) -> Duration),
    /// The alarms of the agent.
    Alarm(AlarmMetric),
    /// A histogram of a component's durations, by its name.
    Took(ComponentRole, &'static str),
    /// A histogram of each stripe of an open channel.
    StripeTook(fn(&StripeStatus) -> &HistogramReading),
    /// Seconds that each sink spent in each phase.
    Phases,
    /// Events that ended without being delivered, by component, interceptor and reason.
    Dropped,
    /// The clients of all sources together.
    Clients(fn(&ClientTotals) -> &Counter),
    /// The process.
    Process(fn() -> Option<f64>),
    /// Always 1, with the version as a label.
    Version,
}

/// One metric.
pub(super) struct MetricFamily {
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) from: ValueSource,
    /// A description in one sentence.
    pub(super) help: &'static str,
}

pub(super) const fn counter(
    name: &'static str,
    from: ValueSource,
    help: &'static str,
) -> MetricFamily {
    MetricFamily { name, kind: MetricType::Counter, from, help }
}

pub(super) const fn gauge(
    name: &'static str,
    from: ValueSource,
    help: &'static str,
) -> MetricFamily {
    MetricFamily { name, kind: MetricType::Gauge, from, help }
}

pub(super) const fn histogram(
    name: &'static str,
    from: ValueSource,
    help: &'static str,
) -> MetricFamily {
    MetricFamily { name, kind: MetricType::Histogram, from, help }
}

pub(super) const fn source(
    name: &'static str,
    attribute: &'static str,
    help: &'static str,
) -> MetricFamily {
    counter(name, ValueSource::Attribute(ComponentRole::Source, attribute), help)
}

pub(super) const fn sink(
    name: &'static str,
    attribute: &'static str,
    help: &'static str,
) -> MetricFamily {
    counter(name, ValueSource::Attribute(ComponentRole::Sink, attribute), help)
}

pub(super) const fn channel(
    name: &'static str,
    attribute: &'static str,
    help: &'static str,
) -> MetricFamily {
    counter(name, ValueSource::Attribute(ComponentRole::Channel, attribute), help)
}
