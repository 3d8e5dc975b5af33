//! The last hour, in memory: a sample of every component every 5 s, for the dashboard's curves.

use millpond_flow::metrics::{ComponentReading, ComponentRole, MetricValue};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Interval between two samples.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// Samples that are kept: an hour.
const SAMPLES_MAX: usize = 720;
/// Curves that are kept, 2880 bytes each: 1.4 MiB for all, however many components there are.
const SERIES_MAX: usize = 512;

/// How a number becomes a point of a curve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SampleKind {
    /// As it is.
    Level,
    /// Its increase per second.
    PerSecond,
}

/// What is kept: an attribute of each component of a role, and the name of its curve.
const MEASURES: &[(ComponentRole, &str, SampleKind, &str)] = &[
    (
        ComponentRole::Source,
        "EventAcceptedCount",
        SampleKind::PerSecond,
        "accepted_events_per_second",
    ),
    (
        ComponentRole::Channel,
        "EventPutSuccessCount",
        SampleKind::PerSecond,
        "put_events_per_second",
    ),
    (
        ComponentRole::Channel,
        "EventTakeSuccessCount",
        SampleKind::PerSecond,
        "taken_events_per_second",
    ),
    (ComponentRole::Channel, "ChannelSize", SampleKind::Level, "waiting_events"),
    (
        ComponentRole::Sink,
        "EventDrainSuccessCount",
        SampleKind::PerSecond,
        "delivered_events_per_second",
    ),
];

/// The samples.
#[derive(Debug, Default)]
pub struct MetricHistory(Mutex<SampleRing>);

#[derive(Debug, Default)]
struct SampleRing {
    /// When the first sample was taken, milliseconds since 1970.
    began_ms: u64,
    /// Number of samples taken so far.
    taken: u64,
    /// When the kept samples were taken.
    times_ms: VecDeque<u64>,
    /// By component, such as `CHANNEL.c1`, and measure; each as long as `times_ms`.
    series: BTreeMap<(String, &'static str), MetricSeries>,
    /// Curves that are not kept, as of the last sample.
    left_out: usize,
}

/// A curve; NaN stands for a missing point.
#[derive(Debug, Default)]
struct MetricSeries {
    points: VecDeque<f32>,
    /// The counter at the last sample.
    before: Option<u64>,
}

impl MetricHistory {
    /// Adds a sample, `elapsed` after the one before.
    pub(super) fn sample(&self, readings: &[ComponentReading], elapsed: Duration, wall_ms: u64) {
        self.lock().sample(readings, elapsed, wall_ms);
    }

    /// Returns the samples from the number `from` on, as JSON.
    pub(super) fn json(&self, agent: &str, from: u64) -> String {
        self.lock().json(agent, from)
    }

    fn lock(&self) -> MutexGuard<'_, SampleRing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SampleRing {
    fn sample(&mut self, readings: &[ComponentReading], elapsed: Duration, wall_ms: u64) {
        if self.taken == 0 {
            self.began_ms = wall_ms;
        }
        self.taken += 1;
        self.times_ms.push_back(wall_ms);
        let kept = self.times_ms.len();
        self.left_out = 0;
        for (reading, measure) in readings.iter().flat_map(measured) {
            let (_, attribute, how, name) = *measure;
            let Some(number) = number(reading, attribute) else { continue };
            let (full, key) = (self.series.len() >= SERIES_MAX, (reading.key(), name));
            if full && !self.series.contains_key(&key) {
                self.left_out += 1;
                continue;
            }
            let series = self.series.entry(key).or_default();
            series.points.resize(kept - 1, f32::NAN);
            series.points.push_back(series.point(number, how, elapsed));
            series.before = Some(number);
        }
        for series in self.series.values_mut().filter(|series| series.points.len() < kept) {
            // Its component was removed, or is missing for the moment.
            series.points.push_back(f32::NAN);
            series.before = None;
        }
        if kept > SAMPLES_MAX {
            self.times_ms.pop_front();
            for series in self.series.values_mut() {
                series.points.pop_front();
            }
        }
        self.series.retain(|_, series| {
            series.points.iter().any(|point| !point.is_nan()) || series.before.is_some()
        });
    }

    fn json(&self, agent: &str, from: u64) -> String {
        let oldest = self.taken - self.times_ms.len() as u64;
        // A number beyond the last sample is from an earlier agent.
        let first = if from > self.taken { oldest } else { from.max(oldest) };
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        let mut page = format!(
            "{{\"agent\":{},\"started_ms\":{},\"pause_seconds\":{},\"samples_max\":{SAMPLES_MAX},\"series_left_out\":{},\"first\":{first},\"times_ms\":[",
            text(agent),
            self.began_ms,
            PAUSE.as_secs(),
            self.left_out,
        );
        list(&mut page, self.times_ms.iter().skip(skipped).map(u64::to_string));
        page.push_str("],\"series\":[");
        for (at, ((component, measure), series)) in self.series.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(
                page,
                "{comma}{{\"component\":{},\"measure\":\"{measure}\",\"values\":[",
                text(component)
            );
            list(&mut page, series.points.iter().skip(skipped).map(|point| written(*point)));
            page.push_str("]}");
        }
        page.push_str("]}\n");
        page
    }
}

impl MetricSeries {
    fn point(&self, number: u64, how: SampleKind, elapsed: Duration) -> f32 {
        match (how, self.before) {
            (SampleKind::Level, _) => number as f32,
            (SampleKind::PerSecond, Some(before)) if number >= before && !elapsed.is_zero() => {
                ((number - before) as f64 / elapsed.as_secs_f64()) as f32
            }
            // The first sample, or a new component of that name.
            (SampleKind::PerSecond, _) => f32::NAN,
        }
    }
}

fn measured(
    reading: &ComponentReading,
) -> impl Iterator<
    Item = (&ComponentReading, &'static (ComponentRole, &'static str, SampleKind, &'static str)),
> {
    let of = reading.role;
    MEASURES.iter().filter(move |(role, ..)| *role == of).map(move |measure| (reading, measure))
}

fn number(reading: &ComponentReading, attribute: &str) -> Option<u64> {
    match reading.values.iter().find(|(name, _)| *name == attribute)?.1 {
        MetricValue::Count(n) | MetricValue::Level(n) => Some(n),
        MetricValue::Percent(_) | MetricValue::Flag(_) => None,
    }
}

fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(page: &mut String, items: impl Iterator<Item = String>) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            page.push(',');
        }
        page.push_str(&item);
    }
}

/// One digit after the point is more than a curve shows.
fn written(point: f32) -> String {
    match point {
        point if point.is_nan() => "null".to_owned(),
        point if point.fract() == 0.0 => format!("{point:.0}"),
        point => format!("{point:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::metrics::{ComponentId, MetricsRegistry};
    use serde_json::{Value as Json, json};

    fn page(history: &MetricHistory, from: u64) -> Json {
        serde_json::from_str(&history.json("a \"1\"", from)).expect("JSON")
    }

    fn values<'a>(page: &'a Json, component: &str, measure: &str) -> Option<&'a Json> {
        let series = page["series"].as_array().expect("a list");
        let found = series.iter().find(|s| s["component"] == component && s["measure"] == measure);
        Some(&found?["values"])
    }

    #[test]
    fn counters_become_rates_and_gauges_stay() {
        let (registry, history) = (MetricsRegistry::default(), MetricHistory::default());
        let (sink, channel) = (registry.sink("k1"), registry.channel("c1"));
        for (second, (delivered, waiting)) in [(10, 7), (20, 5), (13, 3)].into_iter().enumerate() {
            sink.event_drain_success.add(delivered);
            channel.size.set(waiting);
            history.sample(&registry.snapshot(), PAUSE, 1000 + second as u64);
        }
        let all = page(&history, 0);
        assert_eq!(
            (&all["agent"], &all["first"], &all["started_ms"]),
            (&json!("a \"1\""), &json!(0), &json!(1000))
        );
        assert_eq!(all["times_ms"], json!([1000, 1001, 1002]));
        let rates = values(&all, "SINK.k1", "delivered_events_per_second");
        assert_eq!(rates, Some(&json!([null, 4, 2.6])));
        assert_eq!(values(&all, "CHANNEL.c1", "waiting_events"), Some(&json!([7, 5, 3])));
        let new = page(&history, 2);
        assert_eq!((&new["first"], &new["times_ms"]), (&json!(2), &json!([1002])));
        assert_eq!(values(&new, "CHANNEL.c1", "waiting_events"), Some(&json!([3])));
        assert_eq!(page(&history, 3)["times_ms"], json!([]));
        // Numbers of an earlier agent.
        assert_eq!(page(&history, 900)["times_ms"], json!([1000, 1001, 1002]));
    }

    #[test]
    fn a_new_component_begins_without_samples_and_a_removed_one_is_forgotten() {
        let (registry, history) = (MetricsRegistry::default(), MetricHistory::default());
        let member = |name: &str| ComponentId {
            role: ComponentRole::Channel,
            name: name.to_owned(),
            kind: "memory",
        };
        let sample = || history.sample(&registry.snapshot(), PAUSE, 1);
        registry.keep(&[member("c1")]);
        sample();
        registry.keep(&[member("c1"), member("c2")]);
        sample();
        registry.keep(&[member("c2")]);
        sample();
        let all = page(&history, 0);
        assert_eq!(values(&all, "CHANNEL.c1", "waiting_events"), Some(&json!([0, 0, null])));
        assert_eq!(values(&all, "CHANNEL.c2", "waiting_events"), Some(&json!([null, 0, 0])));
        (3..SAMPLES_MAX + 5).for_each(|_| sample());
        let all = page(&history, 0);
        assert_eq!(all["times_ms"].as_array().map(Vec::len), Some(SAMPLES_MAX));
        assert_eq!(all["first"], json!(5));
        assert_eq!(values(&all, "CHANNEL.c1", "waiting_events"), None);
        let kept = values(&all, "CHANNEL.c2", "waiting_events").and_then(Json::as_array);
        assert_eq!(kept.map(Vec::len), Some(SAMPLES_MAX));
    }

    #[test]
    fn however_many_components_there_are_it_keeps_so_many_curves() {
        let (registry, history) = (MetricsRegistry::default(), MetricHistory::default());
        (0..SERIES_MAX + 3).for_each(|n| drop(registry.sink(&n.to_string())));
        history.sample(&registry.snapshot(), PAUSE, 1);
        history.sample(&registry.snapshot(), PAUSE, 2);
        let all = page(&history, 0);
        assert_eq!(all["series"].as_array().map(Vec::len), Some(SERIES_MAX));
        assert_eq!(all["series_left_out"], json!(3));
    }
}
