//! The queue of notices for one target, and the task that sends them.

use super::notice::Notice;
use super::sender::{DeliveryError, TargetSender};
use super::target::DeliveryTarget;
use super::{AGE_MAX, PAUSE_MAX, PAUSE_MIN, REFUSALS_MAX, WAITING_MAX};
use crate::monitor::alarm::alarm_record::{Alarm, AlarmSender};
use crate::monitor::alarm::severity::AlarmSeverity;
use millpond::Clock;
use millpond::internal::base::quantity::Quantity;
use millpond_flow::codes;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::metrics::Counter;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The period that the rate limit of the settings applies to.
const MINUTE: Duration = Duration::from_secs(60);

/// The queue of one target. Dropping it ends its task.
pub(crate) struct DeliveryQueue {
    pub(crate) target: DeliveryTarget,
    sender: AlarmSender,
    pub(crate) queue: Arc<PendingNotices>,
    task: JoinHandle<()>,
}

/// The waiting notices, and the counts of the others.
#[derive(Debug, Default)]
pub(crate) struct PendingNotices {
    /// The first one is being sent: it stays until it was delivered or given up.
    waiting: Mutex<VecDeque<(Duration, Notice)>>,
    more: Notify,
    /// The delivery's name.
    pub(crate) name: &'static str,
    pub(crate) sent: Counter,
    /// Failed attempts.
    pub(crate) failures: Counter,
    pub(crate) dropped: Counter,
    /// Dropped notices that were reported to the target.
    told: Counter,
}

impl PendingNotices {
    /// Returns how many wait, the one being sent included.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn push(&self, now: Duration, notice: Notice) {
        let mut waiting = self.lock();
        waiting.push_back((now, notice));
        if waiting.len() > WAITING_MAX {
            let least = least(&waiting);
            waiting.remove(least);
            self.dropped.add(1);
        }
        self.more.notify_one();
    }

    /// Returns the notice to send next.
    async fn first(&self) -> (Duration, Notice) {
        loop {
            if let Some(first) = self.lock().front().cloned() {
                return first;
            }
            self.more.notified().await;
        }
    }

    /// Removes the notice that was delivered or given up.
    fn done(&self) {
        self.lock().pop_front();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Duration, Notice)>> {
        // Nothing is left half done under the lock, so a poisoned lock is usable.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much the delivery of a notice matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NoticePriority {
    /// A later one about the same alarm waits.
    Superseded,
    /// A later one of the same kind about the same component waits, for example about another client.
    OneOfMany,
    Only(AlarmSeverity),
}

/// Returns the index of the oldest notice of the lowest rank; never that of the one being sent,
/// which may have arrived by now.
fn least(waiting: &VecDeque<(Duration, Notice)>) -> usize {
    let worth = |at: usize| {
        let Some(alarm) = waiting[at].1.alarm() else {
            return NoticePriority::Only(AlarmSeverity::Critical);
        };
        let later = || waiting.iter().skip(at + 1).filter_map(|(_, notice)| notice.alarm());
        let is_like =
            |other: &Alarm| (other.kind, &other.component) == (alarm.kind, &alarm.component);
        if later().any(|other| is_like(other) && other.subject == alarm.subject) {
            NoticePriority::Superseded
        } else if alarm.severity < AlarmSeverity::Critical && later().any(is_like) {
            NoticePriority::OneOfMany
        } else {
            NoticePriority::Only(alarm.severity)
        }
    };
    (1..waiting.len()).min_by_key(|at| worth(*at)).unwrap_or(0)
}

impl DeliveryQueue {
    /// Starts the task that sends what is put in.
    pub(crate) fn start(
        target: DeliveryTarget,
        sender: AlarmSender,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let queue = Arc::new(PendingNotices { name: target.name, ..PendingNotices::default() });
        Self::with(queue, target, sender, clock)
    }

    /// Returns whether it was started with these settings.
    pub(crate) fn serves(&self, target: &DeliveryTarget, sender: &AlarmSender) -> bool {
        self.target == *target && self.sender == *sender
    }

    /// Continues with other settings: the waiting notices and the counts stay.
    pub(crate) fn changed(
        self,
        target: DeliveryTarget,
        sender: AlarmSender,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let queue = Arc::clone(&self.queue);
        // Its task ends before another one works on the queue.
        drop(self);
        Self::with(queue, target, sender, clock)
    }

    fn with(
        queue: Arc<PendingNotices>,
        target: DeliveryTarget,
        sender: AlarmSender,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let post = DeliveryTask {
            queue: Arc::clone(&queue),
            pace: MinuteLimit::new(target.per_minute),
            speaker: TargetSender::new(target.clone(), sender.clone()),
            clock,
            spell: FailureLog::default(),
        };
        Self { target, sender, queue, task: tokio::spawn(post.run()) }
    }

    /// Adds a notice, if its rank is high enough; never waits.
    pub(crate) fn put(&self, now: Duration, notice: &Notice) {
        let severity = notice.alarm().map_or(AlarmSeverity::Critical, |alarm| alarm.severity);
        if severity >= self.target.least {
            self.queue.push(now, notice.clone());
        }
    }
}

impl Drop for DeliveryQueue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The rate limit: this many per minute.
#[derive(Debug)]
pub(super) struct MinuteLimit {
    per_minute: usize,
    /// When the last ones were sent.
    last: VecDeque<Duration>,
}

impl MinuteLimit {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute as usize, last: VecDeque::new() }
    }

    /// Returns how long to wait until the next send is allowed; `None` if it is allowed now.
    pub(super) fn pause(&mut self, now: Duration) -> Option<Duration> {
        while self.last.front().is_some_and(|at| now.saturating_sub(*at) >= MINUTE) {
            self.last.pop_front();
        }
        let first = self.last.front().filter(|_| self.last.len() >= self.per_minute)?;
        Some((*first + MINUTE).saturating_sub(now))
    }

    pub(super) fn sent(&mut self, now: Duration) {
        self.last.push_back(now);
    }
}

/// The sending task.
struct DeliveryTask {
    queue: Arc<PendingNotices>,
    speaker: TargetSender,
    clock: Arc<dyn Clock>,
    pace: MinuteLimit,
    spell: FailureLog,
}

impl DeliveryTask {
    async fn run(mut self) {
        loop {
            let (since, notice) = self.queue.first().await;
            let is_there = self.deliver(since, &notice).await;
            self.queue.done();
            if is_there {
                self.say_dropped().await;
            }
        }
    }

    /// Delivers a notice; returns false if it was dropped.
    async fn deliver(&mut self, since: Duration, notice: &Notice) -> bool {
        let (mut refusals, mut pause) = (0, PAUSE_MIN);
        loop {
            self.wait_for_turn().await;
            let said = self.speaker.say(notice, self.clock.wall_ms()).await;
            let now = self.clock.now();
            self.pace.sent(now);
            let error = match said {
                Ok(()) => {
                    self.queue.sent.add(1);
                    if let Some(words) = self.spell.over(now) {
                        tracing::info!("alarms: {}: {words}", self.speaker.place());
                    }
                    return true;
                }
                Err(error) => error,
            };
            self.failed(now, &error);
            refusals += u32::from(error.is_refusal());
            if refusals >= REFUSALS_MAX || now.saturating_sub(since) >= AGE_MAX {
                self.queue.dropped.add(1);
                return false;
            }
            sleep(pause.max(error.rest())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn failed(&self, now: Duration, error: &DeliveryError) {
        self.queue.failures.add(1);
        let words = format!("alarms: {} cannot be notified: {error}", self.speaker.place());
        if let Some(words) = self.spell.failed(now, &words) {
            tracing::warn!("{words}");
        }
    }

    async fn wait_for_turn(&mut self) {
        while let Some(pause) = self.pace.pause(self.clock.now()) {
            sleep(pause).await;
        }
    }

    /// Reports how many notices were dropped, once the target accepts notices again.
    async fn say_dropped(&mut self) {
        let count = self.queue.dropped.get() - self.queue.told.get();
        if count == 0 {
            return;
        }
        let notices = Quantity(count, "notification");
        tracing::warn!(
            code = %codes::NOTICES_DROPPED,
            "alarms: {}: {notices} dropped because they could not be delivered; /alarms and the log have all of them",
            self.speaker.place()
        );
        let now = self.clock.now();
        let is_there = self.deliver(now, &Notice::Dropped(count)).await;
        // Also if this one is lost, which is not counted again.
        self.queue.told.add(count + u64::from(!is_there));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alarm::kind::AlarmKind;

    fn notice(kind: AlarmKind, severity: AlarmSeverity, component: &str, subject: &str) -> Notice {
        Notice::Raised(Arc::new(Alarm {
            serial: 1,
            kind,
            severity,
            component: component.to_owned(),
            subject: subject.to_owned(),
            message: String::new(),
            parameters: std::collections::BTreeMap::new(),
            raised_ms: 0,
            cleared: None,
        }))
    }

    fn count(queue: &PendingNotices, is: impl Fn(&Alarm) -> bool) -> usize {
        queue.lock().iter().filter_map(|(_, notice)| notice.alarm()).filter(|a| is(a)).count()
    }

    #[test]
    fn a_flood_of_lesser_notices_drops_no_only_notice_of_a_critical_alarm() {
        let queue = PendingNotices::default();
        let push = |notice| queue.push(Duration::ZERO, notice);
        let client = |n: usize| {
            notice(
                AlarmKind::ClientSilent,
                AlarmSeverity::Major,
                "SOURCE.in",
                &format!("10.0.0.{n}"),
            )
        };
        push(client(0));
        for stripe in ["/d1", "/d2"] {
            push(notice(AlarmKind::StripeSuspended, AlarmSeverity::Critical, "CHANNEL.c", stripe));
        }
        push(notice(AlarmKind::ReloadRefused, AlarmSeverity::Minor, "AGENT.a", ""));
        (1..2000).for_each(|n| push(client(n)));
        assert_eq!((queue.len(), queue.dropped.get()), (WAITING_MAX, 2003 - WAITING_MAX as u64));
        assert_eq!(count(&queue, |alarm| alarm.kind == AlarmKind::StripeSuspended), 2);
        assert_eq!(
            count(&queue, |alarm| alarm.kind == AlarmKind::ReloadRefused),
            1,
            "the only one"
        );
        assert_eq!(count(&queue, |alarm| alarm.subject == "10.0.0.0"), 1, "it is in hand");
        assert_eq!(count(&queue, |alarm| alarm.subject == "10.0.0.1999"), 1, "the newest");
        // Superseded notices are dropped before all others, then those of the lowest severity.
        (0..WAITING_MAX).for_each(|n| {
            push(notice(AlarmKind::SinkStalled, AlarmSeverity::Critical, &format!("SINK.{n}"), ""));
        });
        assert_eq!(
            count(&queue, |alarm| alarm.kind == AlarmKind::ClientSilent),
            1,
            "it is in hand"
        );
        assert_eq!(count(&queue, |alarm| alarm.kind == AlarmKind::ReloadRefused), 0);
    }
}
