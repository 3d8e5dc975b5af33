//! The last hour, in memory: a sample of every component each 5 s, for the page that draws it.

use crate::metrics::{Reading, Role, Value};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two samples.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// Samples that are kept: those of an hour.
const SAMPLES_MAX: usize = 720;
/// Curves that are kept, 2880 bytes each: 1.4 MiB for all, however many components there are.
const SERIES_MAX: usize = 512;

/// How a number becomes a point of a curve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// As it is.
    Level,
    /// What came to it in a second.
    PerSecond,
}

/// What is kept: an attribute of each component of a role, and what its curve is called.
const MEASURES: &[(Role, &str, How, &str)] = &[
    (Role::Source, "EventAcceptedCount", How::PerSecond, "accepted_events_per_second"),
    (Role::Channel, "EventPutSuccessCount", How::PerSecond, "put_events_per_second"),
    (Role::Channel, "EventTakeSuccessCount", How::PerSecond, "taken_events_per_second"),
    (Role::Channel, "ChannelSize", How::Level, "waiting_events"),
    (Role::Sink, "EventDrainSuccessCount", How::PerSecond, "delivered_events_per_second"),
];

/// The samples.
#[derive(Debug, Default)]
pub struct History(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    /// When the first sample was taken, milliseconds since 1970.
    began_ms: u64,
    /// How many samples were ever taken.
    taken: u64,
    /// When those that are kept were taken.
    times_ms: VecDeque<u64>,
    /// By component, such as `CHANNEL.c1`, and measure; each as long as `times_ms`.
    series: BTreeMap<(String, &'static str), Series>,
    /// Curves that are not kept, as of the last sample.
    left_out: usize,
}

/// A curve; a point that there is not is no number.
#[derive(Debug, Default)]
struct Series {
    points: VecDeque<f32>,
    /// A counter as of the last sample.
    before: Option<u64>,
}

impl History {
    /// Adds a sample; `elapsed` since the one before.
    pub(super) fn sample(&self, readings: &[Reading], elapsed: Duration, wall_ms: u64) {
        self.lock().sample(readings, elapsed, wall_ms);
    }

    /// The samples from the number `from` on, as JSON.
    pub(super) fn json(&self, agent: &str, from: u64) -> String {
        self.lock().json(agent, from)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn sample(&mut self, readings: &[Reading], elapsed: Duration, wall_ms: u64) {
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
            // Its component is gone, or is not there for the moment.
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
        // A number beyond the last sample is one of an agent before this one.
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

impl Series {
    fn point(&self, number: u64, how: How, elapsed: Duration) -> f32 {
        match (how, self.before) {
            (How::Level, _) => number as f32,
            (How::PerSecond, Some(before)) if number >= before && !elapsed.is_zero() => {
                ((number - before) as f64 / elapsed.as_secs_f64()) as f32
            }
            // The first sample, or a component of that name that counts anew.
            (How::PerSecond, _) => f32::NAN,
        }
    }
}

fn measured(
    reading: &Reading,
) -> impl Iterator<Item = (&Reading, &'static (Role, &'static str, How, &'static str))> {
    let of = reading.role;
    MEASURES.iter().filter(move |(role, ..)| *role == of).map(move |measure| (reading, measure))
}

fn number(reading: &Reading, attribute: &str) -> Option<u64> {
    match reading.values.iter().find(|(name, _)| *name == attribute)?.1 {
        Value::Count(n) | Value::Level(n) => Some(n),
        Value::Percent(_) | Value::Flag(_) => None,
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

/// One digit behind the point is more than a curve shows.
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
    use crate::metrics::{Member, Registry};
    use serde_json::{Value as Json, json};

    fn page(history: &History, from: u64) -> Json {
        serde_json::from_str(&history.json("a \"1\"", from)).expect("JSON")
    }

    fn values<'a>(page: &'a Json, component: &str, measure: &str) -> Option<&'a Json> {
        let series = page["series"].as_array().expect("a list");
        let found = series.iter().find(|s| s["component"] == component && s["measure"] == measure);
        Some(&found?["values"])
    }

    #[test]
    fn counters_become_rates_and_gauges_stay() {
        let (registry, history) = (Registry::default(), History::default());
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
        // Numbers of an agent before this one.
        assert_eq!(page(&history, 900)["times_ms"], json!([1000, 1001, 1002]));
    }

    #[test]
    fn who_comes_later_begins_with_nothing_and_who_goes_is_forgotten_in_an_hour() {
        let (registry, history) = (Registry::default(), History::default());
        let member =
            |name: &str| Member { role: Role::Channel, name: name.to_owned(), kind: "memory" };
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
        let (registry, history) = (Registry::default(), History::default());
        (0..SERIES_MAX + 3).for_each(|n| drop(registry.sink(&n.to_string())));
        history.sample(&registry.snapshot(), PAUSE, 1);
        history.sample(&registry.snapshot(), PAUSE, 2);
        let all = page(&history, 0);
        assert_eq!(all["series"].as_array().map(Vec::len), Some(SERIES_MAX));
        assert_eq!(all["series_left_out"], json!(3));
    }
}
