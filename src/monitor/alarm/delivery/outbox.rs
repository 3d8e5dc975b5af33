//! The notices that wait for one target, and the task that sends them.

use super::notice::Notice;
use super::sending::{SendError, Speaker};
use super::target::Target;
use super::{AGE_MAX, PAUSE_MAX, PAUSE_MIN, REFUSALS_MAX, WAITING_MAX};
use crate::base::clock::Clock;
use crate::base::quantity::Quantity;
use crate::codes;
use crate::flow::spell::Spell;
use crate::metrics::Counter;
use crate::monitor::alarm::kind::Severity;
use crate::monitor::alarm::raised::{Alarm, Sender};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A minute, of which a setting says how many notices it may have.
const MINUTE: Duration = Duration::from_secs(60);

/// Where notices are put for one target. Dropping it ends its task.
pub(crate) struct Outbox {
    pub(crate) target: Target,
    sender: Sender,
    pub(crate) queue: Arc<Queue>,
    task: JoinHandle<()>,
}

/// What waits, and what became of the rest.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The first one is in hand: it stays until it was delivered or given up.
    waiting: Mutex<VecDeque<(Duration, Notice)>>,
    more: Notify,
    /// One of the deliveries' names.
    pub(crate) name: &'static str,
    pub(crate) sent: Counter,
    /// Tries that failed.
    pub(crate) failures: Counter,
    pub(crate) dropped: Counter,
    /// Dropped notices of which the target has heard.
    told: Counter,
}

impl Queue {
    /// How many wait, the one in hand among them.
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

    /// The one to take in hand.
    async fn first(&self) -> (Duration, Notice) {
        loop {
            if let Some(first) = self.lock().front().cloned() {
                return first;
            }
            self.more.notified().await;
        }
    }

    /// The one in hand was delivered or given up.
    fn done(&self) {
        self.lock().pop_front();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Duration, Notice)>> {
        // Nothing under the lock can be left half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much it matters that a notice is delivered, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// A later one about the same alarm waits.
    Superseded,
    /// A later one of the same kind about the same component waits, for example about another client.
    OneOfMany,
    Only(Severity),
}

/// The place of the notice that matters least, the oldest of those; never that of the one in hand, which
/// may be there by now.
fn least(waiting: &VecDeque<(Duration, Notice)>) -> usize {
    let worth = |at: usize| {
        let Some(alarm) = waiting[at].1.alarm() else { return Worth::Only(Severity::Critical) };
        let later = || waiting.iter().skip(at + 1).filter_map(|(_, notice)| notice.alarm());
        let is_like =
            |other: &Alarm| (other.kind, &other.component) == (alarm.kind, &alarm.component);
        if later().any(|other| is_like(other) && other.subject == alarm.subject) {
            Worth::Superseded
        } else if alarm.severity < Severity::Critical && later().any(is_like) {
            Worth::OneOfMany
        } else {
            Worth::Only(alarm.severity)
        }
    };
    (1..waiting.len()).min_by_key(|at| worth(*at)).unwrap_or(0)
}

impl Outbox {
    /// Begins to send what is put in.
    pub(crate) fn start(target: Target, sender: Sender, clock: Arc<dyn Clock>) -> Self {
        let queue = Arc::new(Queue { name: target.name, ..Queue::default() });
        Self::with(queue, target, sender, clock)
    }

    /// Whether it does as these settings say.
    pub(crate) fn serves(&self, target: &Target, sender: &Sender) -> bool {
        self.target == *target && self.sender == *sender
    }

    /// Goes on with other settings where this one is: what waits and what was counted stay.
    pub(crate) fn changed(self, target: Target, sender: Sender, clock: Arc<dyn Clock>) -> Self {
        let queue = Arc::clone(&self.queue);
        // Its task ends before another one works on the queue.
        drop(self);
        Self::with(queue, target, sender, clock)
    }

    fn with(queue: Arc<Queue>, target: Target, sender: Sender, clock: Arc<dyn Clock>) -> Self {
        let post = Post {
            queue: Arc::clone(&queue),
            pace: Pace::new(target.per_minute),
            speaker: Speaker::new(target.clone(), sender.clone()),
            clock,
            spell: Spell::default(),
        };
        Self { target, sender, queue, task: tokio::spawn(post.run()) }
    }

    /// Puts a notice in, if it matters enough; never waits.
    pub(crate) fn put(&self, now: Duration, notice: &Notice) {
        let severity = notice.alarm().map_or(Severity::Critical, |alarm| alarm.severity);
        if severity >= self.target.least {
            self.queue.push(now, notice.clone());
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// So many within a minute, and no more.
#[derive(Debug)]
pub(super) struct Pace {
    per_minute: usize,
    /// When the last ones were sent.
    last: VecDeque<Duration>,
}

impl Pace {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute as usize, last: VecDeque::new() }
    }

    /// How long to wait until one more fits; `None` for not at all.
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

/// The task.
struct Post {
    queue: Arc<Queue>,
    speaker: Speaker,
    clock: Arc<dyn Clock>,
    pace: Pace,
    spell: Spell,
}

impl Post {
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

    /// Whether the target has it; else it was dropped.
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

    fn failed(&self, now: Duration, error: &SendError) {
        self.queue.failures.add(1);
        let words = format!("alarms: {} is not told: {error}", self.speaker.place());
        if let Some(words) = self.spell.failed(now, &words) {
            tracing::warn!("{words}");
        }
    }

    async fn wait_for_turn(&mut self) {
        while let Some(pause) = self.pace.pause(self.clock.now()) {
            sleep(pause).await;
        }
    }

    /// Says how many notices were lost, once somebody listens.
    async fn say_dropped(&mut self) {
        let count = self.queue.dropped.get() - self.queue.told.get();
        if count == 0 {
            return;
        }
        let notices = Quantity(count, "notice");
        tracing::warn!(
            code = %codes::NOTICES_DROPPED,
            "alarms: {}: {notices} dropped, not to be delivered; /alarms and the log have all of them",
            self.speaker.place()
        );
        let now = self.clock.now();
        let is_there = self.deliver(now, &Notice::Dropped(count)).await;
        // Also where this one is lost, which is not counted again.
        self.queue.told.add(count + u64::from(!is_there));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alarm::kind::Kind;

    fn notice(kind: Kind, severity: Severity, component: &str, subject: &str) -> Notice {
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

    fn count(queue: &Queue, is: impl Fn(&Alarm) -> bool) -> usize {
        queue.lock().iter().filter_map(|(_, notice)| notice.alarm()).filter(|a| is(a)).count()
    }

    #[test]
    fn a_flood_of_lesser_notices_drops_no_only_notice_of_a_critical_alarm() {
        let queue = Queue::default();
        let push = |notice| queue.push(Duration::ZERO, notice);
        let client = |n: usize| {
            notice(Kind::ClientSilent, Severity::Major, "SOURCE.in", &format!("10.0.0.{n}"))
        };
        push(client(0));
        for stripe in ["/d1", "/d2"] {
            push(notice(Kind::StripeSuspended, Severity::Critical, "CHANNEL.c", stripe));
        }
        push(notice(Kind::ReloadRefused, Severity::Minor, "AGENT.a", ""));
        (1..2000).for_each(|n| push(client(n)));
        assert_eq!((queue.len(), queue.dropped.get()), (WAITING_MAX, 2003 - WAITING_MAX as u64));
        assert_eq!(count(&queue, |alarm| alarm.kind == Kind::StripeSuspended), 2);
        assert_eq!(count(&queue, |alarm| alarm.kind == Kind::ReloadRefused), 1, "the only one");
        assert_eq!(count(&queue, |alarm| alarm.subject == "10.0.0.0"), 1, "it is in hand");
        assert_eq!(count(&queue, |alarm| alarm.subject == "10.0.0.1999"), 1, "the newest");
        // What has a later word goes before anything else, and what matters least before the others.
        (0..WAITING_MAX).for_each(|n| {
            push(notice(Kind::SinkStalled, Severity::Critical, &format!("SINK.{n}"), ""));
        });
        assert_eq!(count(&queue, |alarm| alarm.kind == Kind::ClientSilent), 1, "it is in hand");
        assert_eq!(count(&queue, |alarm| alarm.kind == Kind::ReloadRefused), 0);
    }
}
