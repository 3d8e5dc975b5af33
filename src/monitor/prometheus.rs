//! The page for Prometheus, in its text format 0.0.4.

use super::alarm::Window;
use super::families::{FAMILIES, Family, From, Kind};
use crate::metrics::{Reading, Role, StripeReading, Value};
use std::fmt::Write;

/// What the page is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page.
pub(super) fn text(readings: &[Reading], alarms: &Window) -> String {
    let mut page = String::new();
    for family in FAMILIES.iter().copied().flatten() {
        let samples = samples(family, readings, alarms);
        if samples.is_empty() {
            continue;
        }
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let name = family.name;
        let _ = write!(page, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
        for (labels, value) in samples {
            let _ = writeln!(page, "{name}{labels} {value}");
        }
    }
    page
}

/// Labels in braces and the value, for each component that has the metric.
fn samples(family: &Family, readings: &[Reading], alarms: &Window) -> Vec<(String, String)> {
    let of = |role| readings.iter().filter(move |reading| reading.role == role);
    let attribute = |role, name, write: fn(Value) -> String| {
        let value = |reading: &Reading| {
            let found = reading.values.iter().find(|(attribute, _)| *attribute == name);
            Some((component(reading, &[]), write(found?.1)))
        };
        of(role).filter_map(value).collect()
    };
    match family.from {
        From::Attribute(role, name) => attribute(role, name, number),
        From::Millis(role, name) => attribute(role, name, seconds),
        From::Percent(role, name) => attribute(role, name, ratio),
        From::Channel(get) => {
            let value = |reading: &Reading| {
                let got = get(reading.channel.as_ref()?)?;
                Some((component(reading, &[]), got.to_string()))
            };
            of(Role::Channel).filter_map(value).collect()
        }
        From::Stripe(get) => {
            let stripes = |reading: &Reading| -> Vec<(String, String)> {
                let stripes = reading.channel.iter().flat_map(|channel| &channel.stripes);
                let sample = |(index, stripe): (usize, &StripeReading)| {
                    let index = index.to_string();
                    let more = [("stripe", &*index), ("directory", &*stripe.directory)];
                    (component(reading, &more), get(stripe).to_string())
                };
                stripes.enumerate().map(sample).collect()
            };
            of(Role::Channel).flat_map(stripes).collect()
        }
        From::Alarm(metric) => {
            let sample = |(values, number): (Vec<String>, u64)| {
                let values = values.iter().map(String::as_str);
                let named: Vec<_> = metric.labels().iter().copied().zip(values).collect();
                (labels(&named), number.to_string())
            };
            alarms.samples(metric).into_iter().map(sample).collect()
        }
        From::Process(get) => get().map(|n| (String::new(), n.to_string())).into_iter().collect(),
        From::Version => {
            vec![(labels(&[("version", env!("CARGO_PKG_VERSION"))]), "1".to_owned())]
        }
    }
}

/// The labels of a component, and more of them.
fn component(reading: &Reading, more: &[(&str, &str)]) -> String {
    let role = match reading.role {
        Role::Source => "source",
        Role::Channel => "channel",
        Role::Sink => "sink",
    };
    let own = [(role, &*reading.name), ("type", reading.kind)];
    labels(&[&own[..], more].concat())
}

/// `{a="x",b="y"}`, with what has a meaning in it escaped.
fn labels(labels: &[(&str, &str)]) -> String {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn number(value: Value) -> String {
    match value {
        Value::Count(n) | Value::Level(n) => n.to_string(),
        Value::Percent(percent) => percent.to_string(),
        Value::Flag(set) => u8::from(set).to_string(),
    }
}

fn seconds(value: Value) -> String {
    match value {
        Value::Level(ms) => format!("{}.{:03}", ms / 1000, ms % 1000),
        other => number(other),
    }
}

fn ratio(value: Value) -> String {
    match value {
        // A channel that was never opened.
        Value::Percent(percent) if percent > f64::from(u32::MAX) => "0".to_owned(),
        Value::Percent(percent) => (percent / 100.0).to_string(),
        other => number(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ChannelReading, Member, Registry};
    use std::collections::BTreeSet;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    /// A source, a channel of two stripes with an odd path, one in memory, and a sink.
    fn page() -> String {
        let registry = Registry::default();
        let member = |role, name: &str, kind| Member { role, name: name.to_owned(), kind };
        registry.keep(&[
            member(Role::Source, "r1", "avro"),
            member(Role::Channel, "c1", "file"),
            member(Role::Channel, "c2", "memory"),
            member(Role::Sink, "k1", "avro"),
        ]);
        registry.source("r1").batch_received(20);
        registry.source("r1").started(1_442_566_410_435);
        registry.channel("c1").capacity.set(8);
        registry.channel("c1").size.set(2);
        let look = || {
            let stripe = |directory: &str, suspended: Option<&str>| StripeReading {
                directory: directory.to_owned(),
                segments: 3,
                suspended: suspended.map(str::to_owned),
                ..StripeReading::default()
            };
            let stripes = vec![stripe("/d/1", None), stripe("/d \"\\\n2", Some("why"))];
            Some(ChannelReading { unaccounted: Some(-4), stripes, ..ChannelReading::default() })
        };
        registry.watch_channel("c1", Arc::new(look));
        text(&registry.snapshot(), &Window::default())
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
            "# TYPE millpond_sink_delivered_events_total counter",
            "# TYPE millpond_sink_failing gauge",
        ] {
            assert!(page.lines().any(|l| l == line), "no {line}\nin\n{page}");
        }
        // One that is not open has no more to say than its counters.
        assert!(!page.contains("millpond_channel_unaccounted_events{channel=\"c2\""), "{page}");
    }

    #[test]
    fn every_attribute_of_a_component_is_on_the_page_once() {
        let families: Vec<&Family> = FAMILIES.iter().copied().flatten().collect();
        let names: BTreeSet<&str> = families.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), families.len(), "a name is there twice");
        for family in &families {
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{}",
                family.name
            );
        }
        let registry = Registry::default();
        registry.source("x");
        registry.channel("x");
        registry.sink("x");
        for reading in registry.snapshot() {
            for (attribute, _) in &reading.values {
                let shows = |family: &&&Family| match family.from {
                    From::Attribute(role, name)
                    | From::Millis(role, name)
                    | From::Percent(role, name) => (role, name) == (reading.role, *attribute),
                    _ => false,
                };
                // Closed is the opposite of Open, and a channel that is not open shows its start.
                let left_out =
                    reading.role == Role::Channel && ["Closed", "StopTime"].contains(attribute);
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
