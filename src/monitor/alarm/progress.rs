//! Rules about what moves: sinks that deliver, sources that go on running.

use super::SETTLES;
use super::kind::Kind;
use super::rules::Observed;
use super::settings::{AlarmSettings, Outlet};
use super::sight::{Sight, Verdict, Words, number};
use crate::base::limits::{SPOOL_DEPTH_MAX, TAIL_FILES_MAX};
use crate::base::quantity::Quantity;
use crate::metrics::{Failure, Phase, Reading, Role};
use std::collections::BTreeMap;
use std::time::Duration;

/// A batch that is under way for so long is not one of many tries.
const HANGS: Duration = Duration::from_secs(5);

/// Why a source that runs does not do all its work.
fn stands(source: &Reading) -> Option<Words> {
    if number(source, "PositionRefused") > 0 {
        return Some(Words::new(
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
    Some(Words::new(words).with("files", files))
}

/// What there is to say of a source that does not run, or `runs` for a moment only.
fn fails(source: &Reading, runs: bool) -> Words {
    if let Some(fault) = &source.fault {
        return Words::new(fault.as_str());
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

/// `words`, and the failure that they come from.
pub(super) fn because(words: &str, failure: Option<&Failure>) -> Words {
    match failure {
        None => Words::new(words),
        Some(failure) => Words::new(format!("{words}: {}", failure.words()))
            .with("cause", &failure.reason)
            .with("causeCode", failure.code),
    }
}

/// What was seen of components at the last look.
#[derive(Debug, Default)]
pub(super) struct Progress {
    outlets: BTreeMap<String, Delivered>,
    /// How often each source was started again.
    restarts: BTreeMap<String, u64>,
    /// Events that each source had handed over, and since when there are no more.
    accepted: BTreeMap<String, (u64, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Delivered {
    count: u64,
    /// Since when nothing was delivered although there was something.
    since: Duration,
}

impl Progress {
    pub(super) fn observe(
        &mut self,
        now: Duration,
        sight: &Sight,
        settings: &AlarmSettings,
        observed: &mut Observed,
    ) {
        let outlets = &settings.scene.outlets;
        self.outlets.retain(|key, _| outlets.iter().any(|outlet| outlet.key == *key));
        for outlet in outlets {
            self.outlet(now, outlet, sight, settings, observed);
        }
        self.members(sight, settings, observed);
        self.silence(now, sight, settings, observed);
        self.restarts.retain(|name, _| sight.reading(Role::Source, name).is_some());
        for source in sight.of(Role::Source) {
            let restarts = number(source, "RestartCount");
            let before = self.restarts.insert(source.name.clone(), restarts);
            let Some(tuning) = settings.tuning(Kind::SourceFailing, &source.name) else { continue };
            // One that has given all it had is done.
            let is_set = |attribute| number(source, attribute) > 0;
            let runs =
                source.fault.is_none() && (is_set("Up") || is_set("Done") || is_set("StopTime"));
            let fell = before.is_some_and(|before| before != restarts);
            let verdict = if let Some(words) = stands(source).filter(|_| runs && !fell) {
                Verdict::Bad(words)
            } else if runs && !fell {
                Verdict::Good
            } else {
                Verdict::Bad(fails(source, runs).with("restarts", restarts))
            };
            // Between two failures it may run for a moment.
            let settles = tuning.lasts.max(SETTLES);
            let at = (Kind::SourceFailing, &*source.key(), "");
            observed.add(at, verdict, (tuning.lasts, settles));
        }
    }

    /// Sources that hand nothing over, where a setting says for how long that may be.
    fn silence(
        &mut self,
        now: Duration,
        sight: &Sight,
        settings: &AlarmSettings,
        observed: &mut Observed,
    ) {
        self.accepted.retain(|name, _| sight.reading(Role::Source, name).is_some());
        for source in sight.of(Role::Source) {
            let count = number(source, "EventAcceptedCount");
            let last = self.accepted.entry(source.name.clone()).or_insert((count, now));
            if last.0 != count {
                *last = (count, now);
            }
            let since = last.1;
            let Some(tuning) = settings.tuning(Kind::SourceSilent, &source.name) else { continue };
            let Some(most) = tuning.limit else { continue };
            let silent = now.saturating_sub(since).as_secs();
            let verdict = if silent < most {
                Verdict::Good
            } else {
                let words = format!(
                    "no event has come for {silent} s; there was to be one every {most} s at least"
                );
                Verdict::Bad(
                    Words::new(words).with("silentSeconds", silent).with("eventsTotal", count),
                )
            };
            let at = (Kind::SourceSilent, &*source.key(), "");
            observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
        }
    }

    /// Sinks of groups whose last attempt failed: the others deliver, and one that fails next has no one left.
    fn members(&self, sight: &Sight, settings: &AlarmSettings, observed: &mut Observed) {
        for group in settings.scene.outlets.iter().filter(|outlet| outlet.is_group()) {
            for name in &group.sinks {
                let Some(sink) = sight.reading(Role::Sink, name) else { continue };
                let Some(tuning) = settings.tuning(Kind::SinkFailing, name) else { continue };
                let verdict = if number(sink, "Failing") > 0 {
                    let words =
                        format!("the sink fails, and its group {} goes on without it", group.name);
                    let words = because(&words, sink.failure.as_ref());
                    Verdict::Bad(words.with("group", &group.name))
                } else {
                    Verdict::Good
                };
                // Between two attempts it may look well for a moment.
                let settles = SETTLES.min(tuning.lasts);
                let at = (Kind::SinkFailing, &*sink.key(), "");
                observed.add(at, verdict, (tuning.lasts, settles));
            }
        }
    }

    fn outlet(
        &mut self,
        now: Duration,
        outlet: &Outlet,
        sight: &Sight,
        settings: &AlarmSettings,
        observed: &mut Observed,
    ) {
        let Some(tuning) = settings.tuning(Kind::SinkStalled, &outlet.name) else { return };
        let sinks = outlet.sinks.iter().filter_map(|name| sight.reading(Role::Sink, name));
        let (mut count, mut refused, mut failing, mut busy) = (0, 0, false, Duration::ZERO);
        let (mut phases, mut failure) = (Vec::new(), None);
        for sink in sinks {
            phases.push(sink.phases.map(|phases| phases.phase));
            // Not events: Flume does not count all that are delivered. What was let go of, or went to the dead
            // letters, is none.
            let delivered = sink.spreads.iter().find(|(name, _)| *name == "Delivery");
            count += delivered.map_or(0, |(_, spread)| spread.count());
            refused += number(sink, "DeadLetterCount") + number(sink, "DropCount");
            failing |= number(sink, "Failing") > 0;
            failure = failure.or(sink.failure.as_ref().filter(|failure| failure.lasts));
            let phase = sink.phases.filter(|phases| phases.phase == Phase::Delivering);
            busy = busy.max(phase.map_or(Duration::ZERO, |phases| phases.lasts));
        }
        let idle = is_idle(&phases, outlet.channels.len());
        let channels = outlet.channels.iter().filter_map(|name| sight.reading(Role::Channel, name));
        // One that is not open has an alarm of its own.
        let open = channels.filter(|channel| channel.channel.is_some());
        let waiting: Option<u64> = open.map(|channel| number(channel, "ChannelSize")).max();
        let first = !self.outlets.contains_key(&outlet.key);
        let last = self.outlets.entry(outlet.key.clone());
        let last = last.or_insert(Delivered { count, since: now });
        // A count that fell is that of a sink that was taken away.
        let moved = count > last.count;
        last.count = count;
        if moved || idle || waiting.is_none_or(|events| events == 0) {
            last.since = now;
        }
        let stood = now.saturating_sub(last.since);
        let verdict = match waiting {
            None => Verdict::Same,
            Some(0) => Verdict::Good,
            Some(_) if moved && !first => Verdict::Good,
            Some(_) if idle => Verdict::Same,
            Some(events) if stood >= tuning.lasts => {
                // One whose tries failed may hang by now: what it does comes before what it did.
                let fails = (failing || failure.is_some()) && busy < HANGS;
                let words = format!(
                    "nothing was delivered for {} s with {} waiting in {}: {}",
                    stood.as_secs(),
                    Quantity(events, "event"),
                    outlet.channels.join(", "),
                    does_instead(fails, refused, busy)
                );
                Verdict::Bad(
                    because(&words, failure.filter(|_| fails))
                        .with("channel", outlet.channels.join(" "))
                        .with("channelSize", events)
                        .with("silentSeconds", stood.as_secs()),
                )
            }
            Some(_) => Verdict::Same,
        };
        let at = (Kind::SinkStalled, &*outlet.key, "");
        observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
    }
}

/// What an outlet that delivers nothing does.
fn does_instead(fails: bool, refused: u64, busy: Duration) -> String {
    match busy.as_secs() {
        _ if fails => "its tries fail".to_owned(),
        0 if refused > 0 => {
            format!("its destination refused {} since the start", Quantity(refused, "event"))
        }
        0 => "it does not say why".to_owned(),
        busy => format!("it has waited for an answer for {busy} s"),
    }
}

/// Whether a sink has nothing to take: all that wait may be in the hands of another one. In a group one that
/// failed goes on resting meanwhile; where the members have several channels it may rest on what waits.
fn is_idle(phases: &[Option<Phase>], channels: usize) -> bool {
    let waits = |phase: &Option<Phase>| *phase == Some(Phase::Waiting);
    let rests = |phase: &Option<Phase>| *phase == Some(Phase::Resting) && channels == 1;
    phases.iter().any(waits) && phases.iter().all(|phase| waits(phase) || rests(phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_idle_when_one_waits_and_the_others_rest() {
        use Phase::{Delivering, Opening, Resting, Waiting};
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
