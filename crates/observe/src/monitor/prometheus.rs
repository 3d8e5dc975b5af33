//! The page for Prometheus, in its text format 0.0.4.

use super::alarm::AlarmView;
use super::families::FAMILIES;
use super::flume;
use super::metric_family::{MetricFamily, MetricType, ValueSource};
use millpond::StripeStatus;
use millpond::internal::base::histogram::{BOUNDS_MICROS, HistogramReading};
use millpond_flow::metrics::{
    ChannelReading, ClientTotals, ComponentReading, ComponentRole, MetricValue, SinkPhase,
};
use std::fmt::Write;
use std::time::Duration;

/// The content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A line of the page, after the name of its metric.
struct MetricSample {
    /// The part of a histogram; empty for other metrics.
    part: &'static str,
    labels: String,
    value: String,
}

/// Returns the page: our metrics, then Flume's attributes under the names of Flume's own page for
/// Prometheus.
pub(super) fn text(
    readings: &[ComponentReading],
    alarms: &AlarmView,
    clients: &ClientTotals,
) -> String {
    own(readings, alarms, clients) + &flume::for_prometheus(readings)
}

fn own(readings: &[ComponentReading], alarms: &AlarmView, clients: &ClientTotals) -> String {
    let mut page = String::new();
    for family in FAMILIES.iter().copied().flatten() {
        let samples = samples(family, readings, alarms, clients);
        if samples.is_empty() {
            continue;
        }
        let kind = match family.kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
        };
        let name = family.name;
        let _ = write!(page, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
        for MetricSample { part, labels, value } in samples {
            let _ = writeln!(page, "{name}{part}{labels} {value}");
        }
    }
    page
}

/// Returns a line for each component that has the metric, or the lines of its histogram.
fn samples(
    family: &MetricFamily,
    readings: &[ComponentReading],
    alarms: &AlarmView,
    clients: &ClientTotals,
) -> Vec<MetricSample> {
    let of = |role| readings.iter().filter(move |reading| reading.role == role);
    let attribute = |role, name, write: fn(MetricValue) -> String| {
        let value = |reading: &ComponentReading| {
            let found = reading.values.iter().find(|(attribute, _)| *attribute == name);
            Some(sample(component(reading, &[]), write(found?.1)))
        };
        of(role).filter_map(value).collect()
    };
    match family.from {
        ValueSource::Attribute(role, name) => attribute(role, name, number),
        ValueSource::Millis(role, name) => attribute(role, name, seconds),
        ValueSource::Percent(role, name) => attribute(role, name, ratio),
        ValueSource::Channel(get) => channels(readings, |channel| Some(get(channel)?.to_string())),
        ValueSource::ChannelTime(get) => {
            channels(readings, |channel| Some(get(channel).as_secs_f64().to_string()))
        }
        ValueSource::Stripe(get) => stripes(readings, |labels, stripe| {
            vec![sample(write_labels(labels), get(stripe).to_string())]
        }),
        ValueSource::StripeTime(get) => stripes(readings, |labels, stripe| {
            vec![sample(write_labels(labels), get(stripe).as_secs_f64().to_string())]
        }),
        ValueSource::StripeTook(get) => {
            stripes(readings, |labels, stripe| histogram(labels, get(stripe)))
        }
        ValueSource::Took(role, name) => {
            let spread = |reading: &ComponentReading| {
                let found = reading.spreads.iter().find(|(spread, _)| *spread == name);
                found.map(|(_, spread)| histogram(&component_labels(reading), spread))
            };
            of(role).filter_map(spread).flatten().collect()
        }
        ValueSource::Phases => of(ComponentRole::Sink).flat_map(phases).collect(),
        ValueSource::Dropped => readings.iter().flat_map(dropped).collect(),
        ValueSource::Clients(get) => vec![sample(String::new(), get(clients).get().to_string())],
        ValueSource::Process(get) => {
            get().map(|n| sample(String::new(), n.to_string())).into_iter().collect()
        }
        ValueSource::Alarm(metric) => {
            let one = |(values, number): (Vec<String>, u64)| {
                let values = values.iter().map(String::as_str);
                let named: Vec<_> = metric.labels().iter().copied().zip(values).collect();
                sample(write_labels(&named), number.to_string())
            };
            alarms.samples(metric).into_iter().map(one).collect()
        }
        ValueSource::Version => {
            let version = [("version", env!("CARGO_PKG_VERSION"))];
            vec![sample(write_labels(&version), "1".to_owned())]
        }
    }
}

fn sample(labels: String, value: String) -> MetricSample {
    MetricSample { part: "", labels, value }
}

/// Returns a line for each open channel that has the number.
fn channels(
    readings: &[ComponentReading],
    get: impl Fn(&ChannelReading) -> Option<String>,
) -> Vec<MetricSample> {
    let value = |reading: &ComponentReading| {
        Some(sample(component(reading, &[]), get(reading.channel.as_ref()?)?))
    };
    readings.iter().filter_map(value).collect()
}

/// Returns the lines of each stripe of each open channel.
fn stripes(
    readings: &[ComponentReading],
    get: impl Fn(&[(&str, &str)], &StripeStatus) -> Vec<MetricSample>,
) -> Vec<MetricSample> {
    let mut samples = Vec::new();
    for reading in readings {
        let stripes = reading.channel.iter().flat_map(|channel| &channel.stripes);
        for (index, stripe) in stripes.enumerate() {
            let index = index.to_string();
            let more = [("stripe", &*index), ("directory", &*stripe.directory)];
            samples.extend(get(&[&component_labels(reading)[..], &more].concat(), stripe));
        }
    }
    samples
}

/// Returns the time of a sink in each phase.
fn phases(sink: &ComponentReading) -> Vec<MetricSample> {
    let spent = sink.phases.iter().flat_map(|phases| phases.spent);
    let line = |(phase, spent): (SinkPhase, Duration)| {
        sample(component(sink, &[("phase", phase.name())]), spent.as_secs_f64().to_string())
    };
    SinkPhase::ALL.into_iter().zip(spent).map(line).collect()
}

/// Returns the events of a component that ended without being delivered, by reason.
fn dropped(reading: &ComponentReading) -> impl Iterator<Item = MetricSample> + '_ {
    reading.dropped.iter().map(|dropped| {
        let entry = dropped.reason.entry();
        let component = dropped.component(&reading.name);
        let labels =
            [("component", &*component), ("kind", entry.place.name()), ("reason", entry.name)];
        sample(write_labels(&labels), dropped.events.to_string())
    })
}

/// Returns a histogram: how many within each bound, and their number and sum.
fn histogram(labels: &[(&str, &str)], spread: &HistogramReading) -> Vec<MetricSample> {
    let bucket = |bound: &str, count: u64| MetricSample {
        part: "_bucket",
        labels: write_labels(&[labels, &[("le", bound)]].concat()),
        value: count.to_string(),
    };
    let bounds = BOUNDS_MICROS.iter().enumerate();
    let mut samples: Vec<MetricSample> = bounds
        .map(|(at, micros)| bucket(&(*micros as f64 / 1e6).to_string(), spread.within(at)))
        .collect();
    samples.push(bucket("+Inf", spread.count()));
    for (part, value) in
        [("_sum", spread.total.as_secs_f64().to_string()), ("_count", spread.count().to_string())]
    {
        samples.push(MetricSample { part, labels: write_labels(labels), value });
    }
    samples
}

/// Returns the labels of a component, and more of them.
fn component(reading: &ComponentReading, more: &[(&str, &str)]) -> String {
    write_labels(&[&component_labels(reading)[..], more].concat())
}

fn component_labels(reading: &ComponentReading) -> [(&'static str, &str); 2] {
    let role = match reading.role {
        ComponentRole::Source => "source",
        ComponentRole::Channel => "channel",
        ComponentRole::Sink => "sink",
    };
    [(role, &*reading.name), ("type", reading.kind)]
}

/// Returns `{a="x",b="y"}`, with special characters escaped.
fn write_labels(labels: &[(&str, &str)]) -> String {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn number(value: MetricValue) -> String {
    match value {
        MetricValue::Count(n) | MetricValue::Level(n) => n.to_string(),
        MetricValue::Percent(percent) => percent.to_string(),
        MetricValue::Flag(set) => u8::from(set).to_string(),
    }
}

fn seconds(value: MetricValue) -> String {
    match value {
        MetricValue::Level(ms) => format!("{}.{:03}", ms / 1000, ms % 1000),
        other => number(other),
    }
}

fn ratio(value: MetricValue) -> String {
    match value {
        // A channel that was never opened.
        MetricValue::Percent(percent) if percent > f64::from(u32::MAX) => "0".to_owned(),
        MetricValue::Percent(percent) => (percent / 100.0).to_string(),
        other => number(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{Clock, FaultCause, FaultKind, FaultPlace, SystemClock};
    use millpond_flow::metrics::{ComponentId, DropReason, MetricsRegistry};
    use std::collections::BTreeSet;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    fn page() -> String {
        own(&readings(), &AlarmView::default(), &ClientTotals::default())
    }

    /// Returns a source, a channel of two stripes with an odd path, one in memory, and a sink.
    fn readings() -> Vec<ComponentReading> {
        let registry = MetricsRegistry::default();
        let member = |role, name: &str, kind| ComponentId { role, name: name.to_owned(), kind };
        registry.keep(&[
            member(ComponentRole::Source, "r1", "avro"),
            member(ComponentRole::Channel, "c1", "file"),
            member(ComponentRole::Channel, "c2", "memory"),
            member(ComponentRole::Sink, "k1", "avro"),
        ]);
        registry.source("r1").batch_received(20);
        registry.source("r1").drops.add(DropReason::Unrouted, 7);
        registry.source("r1").interceptors.of("i1").add(DropReason::Filtered, 2);
        registry.source("r1").started(1_442_566_410_435);
        registry.channel("c1").put_commit.note(Duration::from_micros(150));
        registry.channel("c1").put_commit.note(Duration::from_secs(60));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        registry.sink("k1").phases.enter(SinkPhase::Waiting, &clock);
        registry.channel("c1").capacity.set(8);
        registry.channel("c1").size.set(2);
        let look = || {
            let hung = |why: &str| FaultCause::new(FaultKind::Hung, FaultPlace::default(), why);
            let stripe = |directory: &str, suspended: Option<&str>| StripeStatus {
                directory: directory.to_owned(),
                segments: 3,
                suspended: suspended.map(hung),
                ..StripeStatus::default()
            };
            let stripes = vec![stripe("/d/1", None), stripe("/d \"\\\n2", Some("why"))];
            let oldest = Duration::from_millis(2500);
            Some(ChannelReading {
                unaccounted: Some(-4),
                oldest,
                stripes,
                ..ChannelReading::default()
            })
        };
        registry.watch_channel("c1", Arc::new(look));
        registry.snapshot()
    }

    #[test]
    fn flumes_own_names_are_served_in_addition_to_ours() {
        let page = text(&readings(), &AlarmView::default(), &ClientTotals::default());
        for line in [
            "# TYPE Flume_EventReceivedCount_total counter",
            "Flume_EventReceivedCount_total{component=\"r1\"} 20",
            "# TYPE Flume_ChannelSize gauge",
            "Flume_ChannelSize{component=\"c1\"} 2",
            "Flume_ChannelSize{component=\"c2\"} 0",
            "Flume_OpenConnectionCount{component=\"r1\"} 0",
            "Flume_EventDrainSuccessCount_total{component=\"k1\"} 0",
            "millpond_source_received_events_total{source=\"r1\",type=\"avro\"} 20",
        ] {
            assert!(page.lines().any(|l| l == line), "no {line}\nin\n{page}");
        }
        for left_out in ["StartTime", "StopTime", "ChannelFillPercentage", "Closed", "Type"] {
            assert!(!page.contains(&format!("Flume_{left_out}")), "{left_out}");
        }
        let helped = page.matches("# HELP Flume_ChannelSize ").count();
        assert_eq!(helped, 1, "all samples of a metric stand together");
    }

    #[test]
    fn samples_have_the_labels_and_units_that_they_should() {
        let page = page();
        for line in [
            "millpond_source_received_events_total{source=\"r1\",type=\"avro\"} 20",
            "millpond_source_start_time_seconds{source=\"r1\",type=\"avro\"} 1442566410.435",
            "millpond_channel_fill_ratio{channel=\"c1\",type=\"file\"} 0.25",
            "millpond_channel_fill_ratio{channel=\"c2\",type=\"memory\"} 0",
            "millpond_channel_unaccounted_events{channel=\"c1\",type=\"file\"} -4",
            "millpond_stripe_segments{channel=\"c1\",type=\"file\",stripe=\"0\",directory=\"/d/1\"} 3",
            "millpond_stripe_suspended{channel=\"c1\",type=\"file\",stripe=\"1\",directory=\"/d \\\"\\\\\\n2\"} 1",
            "millpond_channel_put_commit_seconds_bucket{channel=\"c1\",type=\"file\",le=\"0.0001\"} 0",
            "millpond_channel_put_commit_seconds_bucket{channel=\"c1\",type=\"file\",le=\"0.0002\"} 1",
            "millpond_channel_put_commit_seconds_bucket{channel=\"c1\",type=\"file\",le=\"30\"} 1",
            "millpond_channel_put_commit_seconds_bucket{channel=\"c1\",type=\"file\",le=\"+Inf\"} 2",
            "millpond_channel_put_commit_seconds_sum{channel=\"c1\",type=\"file\"} 60.00015",
            "millpond_channel_put_commit_seconds_count{channel=\"c1\",type=\"file\"} 2",
            "millpond_stripe_write_seconds_count{channel=\"c1\",type=\"file\",stripe=\"0\",directory=\"/d/1\"} 0",
            "millpond_channel_oldest_event_age_seconds{channel=\"c1\",type=\"file\"} 2.5",
            "millpond_dropped_total{component=\"r1\",kind=\"source\",reason=\"unrouted\"} 7",
            "millpond_dropped_total{component=\"r1/i1\",kind=\"interceptor\",reason=\"filtered\"} 2",
            "millpond_dropped_total{component=\"k1\",kind=\"sink\",reason=\"dead_letter\"} 0",
            "millpond_sink_phase_seconds_total{sink=\"k1\",type=\"avro\",phase=\"resting\"} 0",
            "# TYPE millpond_sink_delivered_events_total counter",
            "# TYPE millpond_sink_failing gauge",
        ] {
            assert!(page.lines().any(|l| l == line), "no {line}\nin\n{page}");
        }
        // A channel that is not open has only its counters.
        assert!(!page.contains("millpond_channel_unaccounted_events{channel=\"c2\""), "{page}");
    }

    #[test]
    fn every_attribute_of_a_component_is_on_the_page_once() {
        let families: Vec<&MetricFamily> = FAMILIES.iter().copied().flatten().collect();
        let names: BTreeSet<&str> = families.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), families.len(), "a name is there twice");
        for family in &families {
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == MetricType::Counter,
                "{}",
                family.name
            );
        }
        let registry = MetricsRegistry::default();
        registry.source("x");
        registry.channel("x");
        registry.sink("x");
        for reading in registry.snapshot() {
            for (attribute, _) in &reading.values {
                let shows = |family: &&&MetricFamily| match family.from {
                    ValueSource::Attribute(role, name)
                    | ValueSource::Millis(role, name)
                    | ValueSource::Percent(role, name) => {
                        (role, name) == (reading.role, *attribute)
                    }
                    _ => false,
                };
                // Closed is the opposite of Open, and a channel that is not open shows its start.
                let left_out = reading.role == ComponentRole::Channel
                    && ["Closed", "StopTime"].contains(attribute);
                let shown = families.iter().filter(shows).count();
                assert_eq!(shown, usize::from(!left_out), "{} {attribute}", reading.role);
            }
        }
    }

    #[test]
    fn promtool_has_nothing_to_say_against_the_page() {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            println!("left out promtool_has_nothing_to_say_against_the_page: no promtool");
            return;
        };
        let mut stdin = promtool.stdin.take().expect("a pipe");
        stdin.write_all(page().as_bytes()).expect("it reads");
        drop(stdin);
        let said = promtool.wait_with_output().expect("it ends");
        let words = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && words.is_empty(), "{words}");
    }
}
