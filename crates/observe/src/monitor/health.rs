//! Whether the agent is alive, and whether it is ready, with reasons.

use super::WatchedAgent;
use super::alarm::time;
use millpond_flow::metrics::{self, ComponentReading, ComponentRole, FailureReport};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How long the agent's threads may be unresponsive.
const PULSE: Duration = Duration::from_secs(5);

/// Why something is unhealthy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnhealthyReason {
    /// Whose, as in `CHANNEL.c1`.
    pub(super) component: String,
    pub(super) words: String,
}

fn reason(component: impl Into<String>, words: impl Into<String>) -> UnhealthyReason {
    UnhealthyReason { component: component.into(), words: words.into() }
}

/// Returns the page, and whether all is well.
pub(super) fn page(
    good: (&str, bool),
    watched: &WatchedAgent,
    reasons: &[UnhealthyReason],
) -> Value {
    let reasons = reasons.iter().map(|r| json!({ "component": r.component, "reason": r.words }));
    let (name, is_good) = good;
    json!({
        "agent": watched.name,
        name: is_good,
        "reasons": reasons.collect::<Vec<_>>(),
    })
}

/// Returns the readiness page, which also has the components whose last attempt failed: a sink that
/// cannot deliver is ready.
pub(super) fn ready_page(watched: &WatchedAgent, readiness: &Readiness) -> Value {
    let mut page = page(("ready", readiness.reasons.is_empty()), watched, &readiness.reasons);
    let failing = readiness.failing.iter().map(|(component, failure)| {
        json!({
            "component": component,
            "code": failure.code.to_string(),
            "reason": failure.reason,
            "since": time(failure.since_ms),
            "sinceMs": failure.since_ms,
        })
    });
    page["failing"] = failing.collect();
    page
}

/// Whether the agent is ready.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Why not; empty if it is.
    pub(super) reasons: Vec<UnhealthyReason>,
    /// Components whose last attempt failed, with the cause.
    pub(super) failing: Vec<(String, FailureReport)>,
}

/// Returns which of the agent's threads are unresponsive; none while it is alive.
pub(super) async fn dead(watched: &WatchedAgent) -> Vec<UnhealthyReason> {
    let mut dead = Vec::new();
    for (name, threads) in &watched.threads {
        if !matches!(timeout(PULSE, threads.spawn(async {})).await, Ok(Ok(()))) {
            let words = format!("its threads have been unresponsive for {} s", PULSE.as_secs());
            dead.push(reason(*name, words));
        }
    }
    dead
}

/// Returns how old the oldest waiting event may be, from the query of `/readyz`; no limit without a
/// query, and an error text if it is invalid.
pub(super) fn oldest_max(query: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let seconds = query.strip_prefix("oldest_seconds=").and_then(|seconds| seconds.parse().ok());
    let said =
        || "/readyz understands ?oldest_seconds=N, with a whole number of seconds".to_owned();
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(said)
}

/// Returns what of the agent does not run as it should; an event that waits for longer than
/// `oldest_max` too.
pub(super) fn readiness(watched: &WatchedAgent, oldest_max: Option<Duration>) -> Readiness {
    let Readiness { mut reasons, mut failing } = Readiness::default();
    if watched.stopping.load(Ordering::Relaxed) {
        reasons.push(reason("agent", "it is stopping"));
    }
    reasons.extend(watched.alarms.blind().map(|since| {
        let seconds = since.as_secs();
        let why = watched.alarms.panic().map_or_else(
            || "an evaluation does not end: does a file system hang?".to_owned(),
            |panic| format!("each evaluation panics, which is a bug of this program ({panic})"),
        );
        reason("alarms", format!("alarms have not been evaluated for {seconds} s; {why}"))
    }));
    for reading in watched.registry.snapshot() {
        let old = oldest_max.and_then(|most| too_old(&reading, most));
        let words = why(&reading).into_iter().chain(old);
        reasons.extend(words.map(|words| reason(reading.key(), words)));
        failing.extend(lasting(&reading).map(|failure| (reading.key(), failure.clone())));
    }
    Readiness { reasons, failing }
}

/// Returns why the last attempt of a component failed, if none has succeeded since.
fn lasting(reading: &ComponentReading) -> Option<&FailureReport> {
    reading.failure.as_ref().filter(|failure| failure.lasts)
}

fn too_old(reading: &ComponentReading, most: Duration) -> Option<String> {
    let age = reading.channel.as_ref()?.oldest;
    // In whole seconds, as in the text.
    let (age, most) = (age.as_secs(), most.as_secs());
    (age > most).then(|| format!("its oldest event has waited for {age} s, and the limit is {most} s; do its sinks deliver?"))
}

fn why(reading: &ComponentReading) -> Vec<String> {
    let is_set = |name| {
        let value = reading.values.iter().find(|(attribute, _)| *attribute == name);
        value.is_some_and(|(_, value)| {
            !matches!(value, metrics::MetricValue::Level(0) | metrics::MetricValue::Flag(false))
        })
    };
    match reading.role {
        ComponentRole::Channel => channel(reading, is_set("Open"), is_set("Unhealthy")),
        // A source that has read all its input is done.
        ComponentRole::Source if is_set("PositionRefused") => {
            vec!["its position has no room in a channel".to_owned()]
        }
        ComponentRole::Source if reading.fault.is_some() => reading.fault.iter().cloned().collect(),
        ComponentRole::Source if is_set("Up") || is_set("Done") || is_set("StopTime") => Vec::new(),
        ComponentRole::Sink if is_set("Up") => Vec::new(),
        ComponentRole::Source | ComponentRole::Sink => {
            let words = if is_set("StartTime") {
                "has failed and is started again after a pause"
            } else {
                "has not started"
            };
            vec![because(words, lasting(reading))]
        }
    }
}

fn because(words: &str, failure: Option<&FailureReport>) -> String {
    failure.map_or_else(|| words.to_owned(), |failure| format!("{words}: {}", failure.words()))
}

fn channel(reading: &ComponentReading, open: bool, unhealthy: bool) -> Vec<String> {
    let stripes = reading.channel.iter().flat_map(|channel| &channel.stripes);
    let mut words: Vec<String> = stripes
        .filter_map(|s| Some((s, s.suspended.as_ref().or(s.no_space.as_ref())?)))
        .map(|(stripe, why)| format!("stripe {}: {why}", stripe.directory))
        .collect();
    if words.is_empty() {
        let trouble = reading.channel.as_ref().and_then(|channel| channel.trouble.clone());
        match (trouble, open, unhealthy) {
            (Some(trouble), ..) => words.push(trouble),
            (None, _, true) => words.push(match lasting(reading) {
                Some(failure) => failure.words(),
                None => "cannot be opened".to_owned(),
            }),
            (None, false, _) => words.push("is not open".to_owned()),
            (None, true, false) => {}
        }
    }
    words
}
