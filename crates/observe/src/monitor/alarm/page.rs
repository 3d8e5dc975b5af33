//! The page `/alarms`, and the alarm metrics for Prometheus.

use super::alarm_record::{Alarm, AlarmSender};
use super::delivery::queue::PendingNotices;
use super::evaluator::AlarmCounts;
use super::kind::AlarmKind;
use super::limits::BLIND;
use millpond::Clock;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The alarms as of the last evaluation, for readers.
#[derive(Clone, Default)]
pub struct AlarmView(Arc<SharedAlarms>);

#[derive(Default)]
struct SharedAlarms {
    view: Mutex<Arc<AlarmSnapshot>>,
    queues: Mutex<Vec<Arc<PendingNotices>>>,
    heartbeat: Mutex<Option<EvaluationHeartbeat>>,
}

/// When the last evaluation took place.
struct EvaluationHeartbeat {
    clock: Arc<dyn Clock>,
    last: Duration,
    /// The message of a panic since then.
    panic: Option<String>,
}

/// The alarms at one time.
#[derive(Debug, Default)]
pub(super) struct AlarmSnapshot {
    pub(super) enabled: bool,
    pub(super) sender: AlarmSender,
    pub(super) active: Vec<Arc<Alarm>>,
    /// The newest first.
    pub(super) history: Vec<Arc<Alarm>>,
    pub(super) counts: Vec<(AlarmKind, AlarmCounts)>,
}

/// A metric about alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmMetric {
    /// Active alarms, by what they are about.
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
    /// Returns the labels of its samples.
    pub(crate) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Active => &["alarm", "id", "severity", "component"],
            Self::Raised | Self::Cleared => &["alarm", "id"],
            Self::Waiting | Self::Sent | Self::Failures | Self::Dropped => &["to"],
        }
    }
}

impl AlarmView {
    /// Begins to expect evaluations.
    pub(crate) fn begin(&self, clock: Arc<dyn Clock>) {
        let last = clock.now();
        *lock(&self.0.heartbeat) = Some(EvaluationHeartbeat { clock, last, panic: None });
    }

    /// Notes a successful evaluation.
    pub(super) fn looked(&self) {
        if let Some(heartbeat) = &mut *lock(&self.0.heartbeat) {
            heartbeat.last = heartbeat.clock.now();
            heartbeat.panic = None;
        }
    }

    /// Notes an evaluation that panicked.
    pub(super) fn panicked(&self, words: &str) {
        if let Some(heartbeat) = &mut *lock(&self.0.heartbeat) {
            heartbeat.panic = Some(words.to_owned());
        }
    }

    /// Returns the message of the last panic, if no evaluation has succeeded since.
    pub(crate) fn panic(&self) -> Option<String> {
        lock(&self.0.heartbeat).as_ref().and_then(|heartbeat| heartbeat.panic.clone())
    }

    /// Returns for how long no evaluation has succeeded, if that is too long.
    pub(crate) fn blind(&self) -> Option<Duration> {
        let since = lock(&self.0.heartbeat).as_ref().map(|p| p.clock.now().saturating_sub(p.last));
        since.filter(|since| *since >= BLIND)
    }

    pub(super) fn show(&self, view: AlarmSnapshot) {
        *lock(&self.0.view) = Arc::new(view);
    }

    pub(super) fn show_queues(&self, queues: Vec<Arc<PendingNotices>>) {
        *lock(&self.0.queues) = queues;
    }

    /// Returns the page.
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

    /// Returns the samples of a metric: the values of its labels, and the number.
    pub(crate) fn samples(&self, metric: AlarmMetric) -> Vec<(Vec<String>, u64)> {
        let view = Arc::clone(&lock(&self.0.view));
        let queue = |number: fn(&PendingNotices) -> u64| {
            let queues = lock(&self.0.queues).clone().into_iter();
            queues.map(|queue| (vec![queue.name.to_owned()], number(&queue))).collect()
        };
        let counts = |number: fn(&AlarmCounts) -> u64| {
            let of = |(kind, counts): &(AlarmKind, AlarmCounts)| {
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
    // Nothing is left half done under the lock, so a poisoned lock is usable.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
