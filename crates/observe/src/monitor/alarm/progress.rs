//! Rules about progress: sinks that deliver, sources that keep running.

use super::kind::AlarmKind;
use super::limits::SETTLES;
use super::observation::{AgentSnapshot, AlarmText, RuleVerdict, number};
use super::rule_observations::RuleObservations;
use super::settings::{AlarmSettings, SinkOutlet};
use millpond::internal::base::quantity::Quantity;
use millpond_flow::base::limits::{SPOOL_DEPTH_MAX, TAIL_FILES_MAX};
use millpond_flow::metrics::{ComponentReading, ComponentRole, FailureReport, SinkPhase};
use std::collections::BTreeMap;
use std::time::Duration;

/// A batch that is under way for this long is not one of many attempts.
const HANGS: Duration = Duration::from_secs(5);

/// Returns why a running source does not do all its work.
fn stands(source: &ComponentReading) -> Option<AlarmText> {
    if number(source, "PositionRefused") > 0 {
        return Some(AlarmText::new(
            "the source waits, because its position has no room in a channel: forget the positions of sources that are gone (millpond channel forget-source), or give it a channel of its own",
        ));
    }
    let files = Some(number(source, "FilesLeftOut")).filter(|files| *files > 0)?;
    let words = match source.kind {
        "spooldir" => format!(
            "{files} directories are more than {SPOOL_DEPTH_MAX} levels below spoolDir, and nothing in them is read: move them up, or give them a source of their own"
        ),
        _ => format!(
            "{files} files match and are not read, since the source holds {TAIL_FILES_MAX} already: move old files away, or use several sources"
        ),
    };
    Some(AlarmText::new(words).with("files", files))
}

/// Returns the text about a source that does not run, or `runs` only briefly.
fn fails(source: &ComponentReading, runs: bool) -> AlarmText {
    if let Some(fault) = &source.fault {
        return AlarmText::new(fault.as_str());
    }
    let words = if runs {
        "the source fails again and again, and is started again"
    } else if number(source, "StartTime") > 0 {
        "the source has failed and is started again after a pause"
    } else {
        "the source has not started"
    };
    because(words, source.failure.as_ref())
}

/// Returns `words`, and the failure that caused it.
pub(super) fn because(words: &str, failure: Option<&FailureReport>) -> AlarmText {
    match failure {
        None => AlarmText::new(words),
        Some(failure) => AlarmText::new(format!("{words}: {}", failure.words()))
            .with("cause", &failure.reason)
            .with("causeCode", failure.code),
    }
}

/// What was observed of components at the last evaluation.
#[derive(Debug, Default)]
pub(super) struct ProgressRule {
    outlets: BTreeMap<String, DeliveredCounts>,
    /// How often each source was restarted.
    restarts: BTreeMap<String, u64>,
    /// Events that each source had handed over, and when their number last changed.
    accepted: BTreeMap<String, (u64, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct DeliveredCounts {
    count: u64,
    /// Since when nothing was delivered although events were waiting.
    since: Duration,
}

impl ProgressRule {
    pub(super) fn observe(
        &mut self,
        now: Duration,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) {
        let outlets = &settings.topology.outlets;
        self.outlets.retain(|key, _| outlets.iter().any(|outlet| outlet.key == *key));
        for outlet in outlets {
            self.outlet(now, outlet, view, settings, observed);
        }
        self.members(view, settings, observed);
        self.silence(now, view, settings, observed);
        self.restarts.retain(|name, _| view.reading(ComponentRole::Source, name).is_some());
        for source in view.of(ComponentRole::Source) {
            let restarts = number(source, "RestartCount");
            let before = self.restarts.insert(source.name.clone(), restarts);
            let Some(limits) = settings.limits(AlarmKind::SourceFailing, &source.name) else {
                continue;
            };
            // A source that has read all its input is done.
            let is_set = |attribute| number(source, attribute) > 0;
            let runs =
                source.fault.is_none() && (is_set("Up") || is_set("Done") || is_set("StopTime"));
            let fell = before.is_some_and(|before| before != restarts);
            let verdict = if let Some(words) = stands(source).filter(|_| runs && !fell) {
                RuleVerdict::Bad(words)
            } else if runs && !fell {
                RuleVerdict::Good
            } else {
                RuleVerdict::Bad(fails(source, runs).with("restarts", restarts))
            };
            // Between two failures it may run briefly.
            let settles = limits.lasts.max(SETTLES);
            let at = (AlarmKind::SourceFailing, &*source.key(), "");
            observed.add(at, verdict, (limits.lasts, settles));
        }
    }

    /// Judges sources that hand nothing over, if a setting limits the time.
    fn silence(
        &mut self,
        now: Duration,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) {
        self.accepted.retain(|name, _| view.reading(ComponentRole::Source, name).is_some());
        for source in view.of(ComponentRole::Source) {
            let count = number(source, "EventAcceptedCount");
            let last = self.accepted.entry(source.name.clone()).or_insert((count, now));
            if last.0 != count {
                *last = (count, now);
            }
            let since = last.1;
            let Some(limits) = settings.limits(AlarmKind::SourceSilent, &source.name) else {
                continue;
            };
            let Some(most) = limits.limit else { continue };
            let silent = now.saturating_sub(since).as_secs();
            let verdict = if silent < most {
                RuleVerdict::Good
            } else {
                let words = format!(
                    "no event has come for {silent} s; at least one every {most} s is expected"
                );
                RuleVerdict::Bad(
                    AlarmText::new(words).with("silentSeconds", silent).with("eventsTotal", count),
                )
            };
            let at = (AlarmKind::SourceSilent, &*source.key(), "");
            observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
        }
    }

    /// Judges sinks of groups whose last attempt failed: the others deliver, and if the next one
    /// fails, nothing replaces it.
    fn members(
        &self,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) {
        for group in settings.topology.outlets.iter().filter(|outlet| outlet.is_group()) {
            for name in &group.sinks {
                let Some(sink) = view.reading(ComponentRole::Sink, name) else { continue };
                let Some(limits) = settings.limits(AlarmKind::SinkFailing, name) else { continue };
                let verdict = if number(sink, "Failing") > 0 {
                    let words = format!(
                        "the sink fails, and its group {} continues without it",
                        group.name
                    );
                    let words = because(&words, sink.failure.as_ref());
                    RuleVerdict::Bad(words.with("group", &group.name))
                } else {
                    RuleVerdict::Good
                };
                // Between two attempts it may look well briefly.
                let settles = SETTLES.min(limits.lasts);
                let at = (AlarmKind::SinkFailing, &*sink.key(), "");
                observed.add(at, verdict, (limits.lasts, settles));
            }
        }
    }

    fn outlet(
        &mut self,
        now: Duration,
        outlet: &SinkOutlet,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) {
        let Some(limits) = settings.limits(AlarmKind::SinkStalled, &outlet.name) else { return };
        let sinks = outlet.sinks.iter().filter_map(|name| view.reading(ComponentRole::Sink, name));
        let (mut count, mut refused, mut failing, mut busy) = (0, 0, false, Duration::ZERO);
        let (mut phases, mut failure) = (Vec::new(), None);
        for sink in sinks {
            phases.push(sink.phases.map(|phases| phases.phase));
            // Batches, not events: Flume does not count all delivered events. Dropped events and
            // dead letters do not count.
            let delivered = sink.spreads.iter().find(|(name, _)| *name == "Delivery");
            count += delivered.map_or(0, |(_, spread)| spread.count());
            refused += number(sink, "DeadLetterCount") + number(sink, "DropCount");
            failing |= number(sink, "Failing") > 0;
            failure = failure.or(sink.failure.as_ref().filter(|failure| failure.lasts));
            let phase = sink.phases.filter(|phases| phases.phase == SinkPhase::Delivering);
            busy = busy.max(phase.map_or(Duration::ZERO, |phases| phases.lasts));
        }
        let idle = is_idle(&phases, outlet.channels.len());
        let channels =
            outlet.channels.iter().filter_map(|name| view.reading(ComponentRole::Channel, name));
        // A channel that is not open has an alarm of its own.
        let open = channels.filter(|channel| channel.channel.is_some());
        let waiting: Option<u64> = open.map(|channel| number(channel, "ChannelSize")).max();
        let first = !self.outlets.contains_key(&outlet.key);
        let last = self.outlets.entry(outlet.key.clone());
        let last = last.or_insert(DeliveredCounts { count, since: now });
        // A lower count means that a sink was removed.
        let moved = count > last.count;
        last.count = count;
        if moved || idle || waiting.is_none_or(|events| events == 0) {
            last.since = now;
        }
        let stood = now.saturating_sub(last.since);
        let verdict = match waiting {
            None => RuleVerdict::Unchanged,
            Some(0) => RuleVerdict::Good,
            Some(_) if moved && !first => RuleVerdict::Good,
            Some(_) if idle => RuleVerdict::Unchanged,
            Some(events) if stood >= limits.lasts => {
                // A sink whose attempts failed may hang by now: its current state is reported
                // before the past one.
                let fails = (failing || failure.is_some()) && busy < HANGS;
                let words = format!(
                    "nothing was delivered for {} s with {} waiting in {}: {}",
                    stood.as_secs(),
                    Quantity(events, "event"),
                    outlet.channels.join(", "),
                    does_instead(fails, refused, busy)
                );
                RuleVerdict::Bad(
                    because(&words, failure.filter(|_| fails))
                        .with("channel", outlet.channels.join(" "))
                        .with("channelSize", events)
                        .with("silentSeconds", stood.as_secs()),
                )
            }
            Some(_) => RuleVerdict::Unchanged,
        };
        let at = (AlarmKind::SinkStalled, &*outlet.key, "");
        observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
    }
}

/// Returns what an outlet without deliveries does instead.
fn does_instead(fails: bool, refused: u64, busy: Duration) -> String {
    match busy.as_secs() {
        _ if fails => "its attempts fail".to_owned(),
        0 if refused > 0 => {
            format!("its destination refused {} since the start", Quantity(refused, "event"))
        }
        0 => "the cause is unknown".to_owned(),
        busy => format!("it has waited for a reply for {busy} s"),
    }
}

/// Returns whether a sink has nothing to take: all waiting events may be in the hands of another
/// one. In a group a failed sink goes on resting meanwhile; with several channels it may rest while
/// events wait.
fn is_idle(phases: &[Option<SinkPhase>], channels: usize) -> bool {
    let waits = |phase: &Option<SinkPhase>| *phase == Some(SinkPhase::Waiting);
    let rests = |phase: &Option<SinkPhase>| *phase == Some(SinkPhase::Resting) && channels == 1;
    phases.iter().any(waits) && phases.iter().all(|phase| waits(phase) || rests(phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_idle_when_one_waits_and_the_others_rest() {
        use SinkPhase::{Delivering, Opening, Resting, Waiting};
        for (phases, channels, idle) in [
            (&[Waiting][..], 1, true),
            (&[Waiting, Resting], 1, true),
            (&[Waiting, Waiting], 2, true),
            (&[Waiting, Resting], 2, false),
            (&[Waiting, Delivering], 1, false),
            (&[Waiting, Opening], 1, false),
            (&[Resting, Resting], 1, false),
            (&[], 1, false),
        ] {
            let phases: Vec<_> = phases.iter().copied().map(Some).collect();
            assert_eq!(is_idle(&phases, channels), idle, "{phases:?} {channels}");
        }
        assert!(!is_idle(&[Some(Waiting), None], 1));
    }
}
