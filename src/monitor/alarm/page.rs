//! What watchers get to see: `/alarms`, and counts for Prometheus.

use super::BLIND;
use super::delivery::outbox::Queue;
use super::kind::Kind;
use super::machine::Counts;
use super::raised::{Alarm, Sender};
use crate::base::clock::Clock;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The alarms as of the last look, for whoever asks.
#[derive(Clone, Default)]
pub struct Window(Arc<Shared>);

#[derive(Default)]
struct Shared {
    view: Mutex<Arc<View>>,
    queues: Mutex<Vec<Arc<Queue>>>,
    pulse: Mutex<Option<Pulse>>,
}

/// When alarms were looked for last.
struct Pulse {
    clock: Arc<dyn Clock>,
    last: Duration,
    /// How the looks since then panicked.
    panic: Option<String>,
}

/// The alarms at one moment.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) enabled: bool,
    pub(super) sender: Sender,
    pub(super) active: Vec<Arc<Alarm>>,
    /// The newest first.
    pub(super) history: Vec<Arc<Alarm>>,
    pub(super) counts: Vec<(Kind, Counts)>,
}

/// A metric about alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmMetric {
    /// Those that are active, by what they are about.
    Active,
    Raised,
    Cleared,
    /// Of deliveries.
    Waiting,
    Sent,
    Failures,
    Dropped,
}

impl AlarmMetric {
    /// The labels of its samples.
    pub(crate) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Active => &["alarm", "id", "severity", "component"],
            Self::Raised | Self::Cleared => &["alarm", "id"],
            Self::Waiting | Self::Sent | Self::Failures | Self::Dropped => &["to"],
        }
    }
}

impl Window {
    /// From now on looks are expected.
    pub(crate) fn begin(&self, clock: Arc<dyn Clock>) {
        let last = clock.now();
        *lock(&self.0.pulse) = Some(Pulse { clock, last, panic: None });
    }

    /// A look went well.
    pub(super) fn looked(&self) {
        if let Some(pulse) = &mut *lock(&self.0.pulse) {
            pulse.last = pulse.clock.now();
            pulse.panic = None;
        }
    }

    /// A look panicked.
    pub(super) fn panicked(&self, words: &str) {
        if let Some(pulse) = &mut *lock(&self.0.pulse) {
            pulse.panic = Some(words.to_owned());
        }
    }

    /// How the last look panicked, if no look has gone well since.
    pub(crate) fn panic(&self) -> Option<String> {
        lock(&self.0.pulse).as_ref().and_then(|pulse| pulse.panic.clone())
    }

    /// For how long no look has gone well, where that is too long.
    pub(crate) fn blind(&self) -> Option<Duration> {
        let since = lock(&self.0.pulse).as_ref().map(|p| p.clock.now().saturating_sub(p.last));
        since.filter(|since| *since >= BLIND)
    }

    pub(super) fn show(&self, view: View) {
        *lock(&self.0.view) = Arc::new(view);
    }

    pub(super) fn show_queues(&self, queues: Vec<Arc<Queue>>) {
        *lock(&self.0.queues) = queues;
    }

    /// The page.
    pub(crate) fn json(&self) -> String {
        let view = Arc::clone(&lock(&self.0.view));
        let all = |alarms: &[Arc<Alarm>]| -> Vec<Json> {
            alarms.iter().map(|alarm| Json::Object(alarm.json())).collect()
        };
        let deliveries = lock(&self.0.queues).clone().into_iter().map(|queue| {
            json!({
                "to": queue.name,
                "waiting": queue.len(),
                "sent": queue.sent.get(),
                "failures": queue.failures.get(),
                "dropped": queue.dropped.get(),
            })
        });
        let page = json!({
            "agent": view.sender.agent,
            "cluster": view.sender.cluster,
            "host": view.sender.host,
            "enabled": view.enabled,
            "active": all(&view.active),
            "history": all(&view.history),
            "deliveries": deliveries.collect::<Vec<_>>(),
        });
        format!("{page}\n")
    }

    /// The samples of a metric: the values of its labels, and the number.
    pub(crate) fn samples(&self, metric: AlarmMetric) -> Vec<(Vec<String>, u64)> {
        let view = Arc::clone(&lock(&self.0.view));
        let queue = |number: fn(&Queue) -> u64| {
            let queues = lock(&self.0.queues).clone().into_iter();
            queues.map(|queue| (vec![queue.name.to_owned()], number(&queue))).collect()
        };
        let counts = |number: fn(&Counts) -> u64| {
            let of = |(kind, counts): &(Kind, Counts)| {
                let entry = kind.entry();
                (vec![entry.name.to_owned(), entry.id().to_string()], number(counts))
            };
            view.counts.iter().map(of).collect()
        };
        match metric {
            AlarmMetric::Active => {
                let mut active: BTreeMap<Vec<String>, u64> = BTreeMap::new();
                for alarm in &view.active {
                    let (entry, severity) = (alarm.kind.entry(), alarm.severity.word());
                    let labels = [entry.name, &entry.id().to_string(), severity, &alarm.component];
                    *active.entry(labels.map(str::to_owned).to_vec()).or_default() += 1;
                }
                active.into_iter().collect()
            }
            AlarmMetric::Raised => counts(|counts| counts.raised),
            AlarmMetric::Cleared => counts(|counts| counts.cleared),
            AlarmMetric::Waiting => queue(|queue| queue.len() as u64),
            AlarmMetric::Sent => queue(|queue| queue.sent.get()),
            AlarmMetric::Failures => queue(|queue| queue.failures.get()),
            AlarmMetric::Dropped => queue(|queue| queue.dropped.get()),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can be left half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
