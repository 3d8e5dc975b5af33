//! The rule that raises an alarm for lost events, and their log line.

use super::kind::AlarmKind;
use super::limits::SETTLES;
use super::observation::{AgentSnapshot, AlarmText, RuleVerdict};
use super::rule_observations::RuleObservations;
use super::settings::AlarmSettings;
use millpond::internal::base::quantity::Quantity;
use millpond_flow::codes;
use millpond_flow::metrics::{ComponentReading, DropCount, DropPlace, DropReason};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Interval between two log lines about the same component and reason.
const LOG_EVERY: Duration = Duration::from_secs(600);

/// The component, or the interceptor if it is one, and the reason.
type DropKey = (String, String);

fn key(reading: &ComponentReading, dropped: &DropCount) -> DropKey {
    let reason = dropped.reason.entry().name;
    let subject = match &dropped.interceptor {
        Some(interceptor) => format!("{interceptor} {reason}"),
        None => reason.to_owned(),
    };
    (reading.key(), subject)
}

/// Returns the unintended drops, by component.
fn lost(readings: &[ComponentReading]) -> impl Iterator<Item = (&ComponentReading, &DropCount)> {
    let all = readings.iter().flat_map(|reading| reading.dropped.iter().map(move |d| (reading, d)));
    all.filter(|(_, dropped)| dropped.events > 0 && dropped.reason.entry().has_alarm)
}

/// The drop counts at the last evaluation.
#[derive(Clone, Debug, Default)]
pub(super) struct DropRule(BTreeMap<DropKey, SeenDrops>);

#[derive(Clone, Copy, Debug)]
struct SeenDrops {
    count: u64,
    /// The count before the current series of losses began.
    before: u64,
    /// When it last grew.
    grew: Duration,
}

impl DropRule {
    pub(super) fn observe(
        &mut self,
        now: Duration,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) {
        let mut seen = BTreeMap::new();
        // A removed component and a new one of its name are looked at one after the other.
        for (reading, dropped) in lost(&view.last).chain(lost(&view.readings)) {
            let key = key(reading, dropped);
            let count = dropped.events;
            let quiet = settings.limits(AlarmKind::EventsLost, &reading.name);
            let lasts = quiet.as_ref().map_or(Duration::ZERO, |limits| limits.lasts);
            let known = seen.get(&key).or_else(|| self.0.get(&key)).copied();
            // A lower count means that another component of the name has replaced it.
            let known = known.filter(|known: &SeenDrops| known.count <= count);
            let mut state = known.unwrap_or(SeenDrops { count: 0, before: 0, grew: now });
            let is_quiet = now.saturating_sub(state.grew) >= lasts.max(SETTLES);
            let grew = count > state.count;
            if grew {
                let before = if is_quiet { state.count } else { state.before };
                state = SeenDrops { count, before, grew: now };
            }
            seen.insert(key.clone(), state);
            let Some(limits) = quiet else { continue };
            let events = count.saturating_sub(state.before);
            let verdict = if grew && events >= limits.limit.unwrap_or(1) {
                RuleVerdict::Bad(words(dropped, events))
            } else if !grew && is_quiet {
                RuleVerdict::Good
            } else {
                RuleVerdict::Unchanged
            };
            observed.add(
                (AlarmKind::EventsLost, &*key.0, &*key.1),
                verdict,
                (Duration::ZERO, Duration::ZERO),
            );
        }
        self.0 = seen;
    }
}

fn words(dropped: &DropCount, events: u64) -> AlarmText {
    let entry = dropped.reason.entry();
    let words = AlarmText::new(format!("{}: {}", arrived_not(events), entry.meaning))
        .with("reason", entry.name)
        .with("events", events)
        .with("eventsTotal", dropped.events);
    match &dropped.interceptor {
        Some(interceptor) => words.with("interceptor", interceptor),
        None => words,
    }
}

fn arrived_not(events: u64) -> String {
    format!("{} did not arrive", Quantity(events, "event"))
}

/// The throttle of the log lines about drops.
#[derive(Debug, Default)]
pub(super) struct DropLog(BTreeMap<DropKey, (u64, Duration)>);

impl DropLog {
    /// Returns the lines that are due: the first at once, the next at most every [`LOG_EVERY`],
    /// with the number since. `gone` are removed components, of which all is due now. `is_last`:
    /// the agent ends, and what was held back is due now.
    pub(super) fn due(
        &mut self,
        now: Duration,
        gone: &[ComponentReading],
        readings: &[ComponentReading],
        is_last: bool,
    ) -> Vec<DropLogLine> {
        let mut lines = self.lines(now, gone, true);
        for (reading, dropped) in lost(gone) {
            self.0.remove(&key(reading, dropped));
        }
        lines.extend(self.lines(now, readings, is_last));
        let there: BTreeSet<DropKey> = lost(readings).map(|(r, dropped)| key(r, dropped)).collect();
        self.0.retain(|key, _| there.contains(key));
        lines
    }

    fn lines(
        &mut self,
        now: Duration,
        readings: &[ComponentReading],
        is_last: bool,
    ) -> Vec<DropLogLine> {
        let mut lines = Vec::new();
        for (reading, dropped) in lost(readings) {
            let key = key(reading, dropped);
            // A lower count means that another component of the name has replaced it.
            let last = self.0.get(&key).copied().filter(|(logged, _)| *logged <= dropped.events);
            let (logged, at) = last.unwrap_or((0, Duration::ZERO));
            let is_due = last.is_none() || is_last || now.saturating_sub(at) >= LOG_EVERY;
            if dropped.events > logged && is_due {
                let (reason, total) = (dropped.reason, dropped.events);
                let component = key.0.clone();
                self.0.insert(key, (total, now));
                let interceptor = dropped.interceptor.clone();
                lines.push(DropLogLine {
                    component,
                    interceptor,
                    reason,
                    events: total - logged,
                    total,
                });
            }
        }
        lines
    }
}

/// A log line about drops.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DropLogLine {
    component: String,
    interceptor: Option<String>,
    reason: DropReason,
    events: u64,
    total: u64,
}

impl DropLogLine {
    pub(super) fn log(&self) {
        let Self { component, events, total, .. } = self;
        let entry = self.reason.entry();
        let (reason, meaning) = (entry.name, entry.meaning);
        match &self.interceptor {
            Some(interceptor) if entry.place == DropPlace::Interceptor => {
                tracing::warn!(
                    code = %codes::EVENTS_LOST,
                    component,
                    interceptor,
                    reason,
                    events,
                    total,
                    "events did not arrive: {meaning}"
                );
            }
            _ => {
                tracing::warn!(
                    code = %codes::EVENTS_LOST,
                    component,
                    reason,
                    events,
                    total,
                    "events did not arrive: {meaning}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alarm::tests::read;
    use millpond_flow::metrics::{ComponentId, ComponentRole, MetricsRegistry};

    fn look(registry: &MetricsRegistry) -> AgentSnapshot {
        let last = registry.take_last();
        AgentSnapshot { readings: registry.snapshot(), last, ..AgentSnapshot::default() }
    }

    fn verdicts(
        losses: &mut DropRule,
        seconds: u64,
        registry: &MetricsRegistry,
    ) -> Vec<(String, RuleVerdict)> {
        let (settings, _) = read("eventsLost.seconds = 60\neventsLost.r2.events = 5");
        let mut observed = RuleObservations::default();
        losses.observe(Duration::from_secs(seconds), &look(registry), &settings, &mut observed);
        let list = observed.list.into_iter();
        list.map(|seen| {
            let place = format!("{} {}", seen.place.component, seen.place.subject);
            (place.trim().to_owned(), seen.verdict)
        })
        .collect()
    }

    fn message(verdict: &RuleVerdict) -> &str {
        match verdict {
            RuleVerdict::Bad(words) => &words.message,
            RuleVerdict::Unchanged => "same",
            RuleVerdict::Good => "good",
        }
    }

    #[test]
    fn a_loss_is_bad_at_once_and_over_when_none_came_for_a_while() {
        let (registry, mut losses) = (MetricsRegistry::default(), DropRule::default());
        let source = registry.source("r1");
        source.interceptors.of("i1").add(DropReason::Filtered, 9);
        assert_eq!(verdicts(&mut losses, 1, &registry), [], "filtered on purpose");
        source.drops.add(DropReason::Unrouted, 1);
        for (second, add, expected) in [
            (2, 0, "1 event did not arrive: the selector names no channel for them"),
            (3, 0, "same"),
            (50, 4, "5 events did not arrive: the selector names no channel for them"),
            (109, 0, "same"),
            (110, 0, "good"),
            (200, 2, "2 events did not arrive: the selector names no channel for them"),
        ] {
            source.drops.add(DropReason::Unrouted, add);
            let [(place, verdict)] = &verdicts(&mut losses, second, &registry)[..] else {
                panic!("one place")
            };
            assert_eq!(place, "SOURCE.r1 unrouted");
            assert_eq!(message(verdict), expected, "at {second} s");
        }
    }

    #[test]
    fn fewer_losses_than_a_setting_allows_are_no_alarm() {
        let (registry, mut losses) = (MetricsRegistry::default(), DropRule::default());
        let source = registry.source("r2");
        source.interceptors.of("i1").add(DropReason::MatchFailed, 4);
        let seen = verdicts(&mut losses, 1, &registry);
        assert_eq!(seen, [("SOURCE.r2 i1 match_failed".to_owned(), RuleVerdict::Unchanged)]);
        source.interceptors.of("i1").add(DropReason::MatchFailed, 1);
        let seen = verdicts(&mut losses, 2, &registry);
        assert!(message(&seen[0].1).starts_with("5 events did not arrive: the pattern"));
    }

    #[test]
    fn losses_are_logged_at_once_then_every_ten_minutes_and_at_the_end() {
        let (registry, mut log) = (MetricsRegistry::default(), DropLog::default());
        let sink = registry.sink("k1");
        let mut events = |second, add, is_last| {
            sink.drops.add(DropReason::DeadLetter, add);
            let now = Duration::from_secs(second);
            let lines = log.due(now, &registry.take_last(), &registry.snapshot(), is_last);
            lines.iter().map(|line| (line.events, line.total)).collect::<Vec<_>>()
        };
        assert_eq!(events(1, 0, false), []);
        assert_eq!(events(2, 3, false), [(3, 3)]);
        assert_eq!(events(3, 100, false), []);
        assert_eq!(events(601, 100, false), []);
        assert_eq!(events(602, 0, false), [(200, 203)]);
        assert_eq!(events(2000, 0, false), []);
        assert_eq!(events(2001, 1, false), [(1, 204)]);
        assert_eq!(events(2002, 1, false), []);
        assert_eq!(events(2003, 0, true), [(1, 205)]);
        assert_eq!(events(2003, 0, true), []);
    }

    #[test]
    fn what_a_component_lost_just_before_a_reload_removes_it_is_logged_and_bad() {
        let (registry, mut log) = (MetricsRegistry::default(), DropLog::default());
        let mut losses = DropRule::default();
        let member = |name: &str| ComponentId {
            role: ComponentRole::Sink,
            name: name.to_owned(),
            kind: "null",
        };
        let now = Duration::from_secs(1);
        registry.keep(&[member("k1"), member("k2")]);
        assert!(log.due(now, &registry.take_last(), &registry.snapshot(), false).is_empty());
        let gone = registry.sink("k1");
        gone.drops.add(DropReason::DeadLetter, 7);
        // Another component of that name is added at the same time, and has losses as well.
        registry.keep(&[member("k2")]);
        registry.keep(&[member("k1"), member("k2")]);
        registry.sink("k1").drops.add(DropReason::DeadLetter, 2);
        let view = look(&registry);
        let lines = log.due(now, &view.last, &view.readings, false);
        let lines: Vec<_> = lines.iter().map(|line| (line.events, line.total)).collect();
        assert_eq!(lines, [(7, 7), (2, 2)]);
        let (settings, mut observed) = (read("").0, RuleObservations::default());
        losses.observe(now, &view, &settings, &mut observed);
        let bad = observed.list.iter().map(|seen| message(&seen.verdict).to_owned());
        let bad: Vec<String> = bad.map(|words| words.chars().take(8).collect()).collect();
        assert_eq!(bad, ["7 events", "2 events"]);
        assert!(registry.take_last().is_empty(), "each once");
    }

    #[test]
    fn a_component_that_comes_back_with_fewer_losses_is_logged_again() {
        let (registry, mut log) = (MetricsRegistry::default(), DropLog::default());
        let member = ComponentId { role: ComponentRole::Sink, name: "k1".to_owned(), kind: "null" };
        let mut logged = |second, registry: &MetricsRegistry| {
            let (now, gone) = (Duration::from_secs(second), registry.take_last());
            let lines = log.due(now, &gone, &registry.snapshot(), false);
            lines.iter().map(|line| line.events).sum::<u64>()
        };
        registry.sink("k1").drops.add(DropReason::DeadLetter, 100);
        assert_eq!(logged(1, &registry), 100);
        registry.keep(&[]);
        assert_eq!(logged(2, &registry), 0, "all of it was logged");
        registry.keep(&[member]);
        registry.sink("k1").drops.add(DropReason::DeadLetter, 3);
        assert_eq!(logged(3, &registry), 3, "at once, although it is less than before");
    }
}
