//! The list of reasons why events end without having arrived, and counters by reason.
//!
//! Limits: one counter per component and reason. A source has counters for each of its interceptors, and keeps
//! those of [`INTERCEPTORS_GONE_MAX`] interceptors that a reload has removed.
//!
//! A component that discards an event of which no other copy is kept counts it at once:
//!
//! ```
//! use millpond_flow::metrics::{DropReason, SourceCounters};
//! let counters = SourceCounters::default(); // `context.counters` of a source or sink
//! counters.drops.add(DropReason::Unrouted, 3);
//! assert_eq!(counters.drops.get(DropReason::Unrouted), 3);
//! ```
//!
//! Everything else is derived from the counter once a second, outside the event flow: the metric
//! `millpond_dropped_total`, the page `/dropped`, the alarm `eventsLost`, and one log line per component and
//! reason at most every ten minutes. A component that knows more (which file, which client) logs that itself,
//! throttled.
//!
//! An event that is refused while its sender is notified and keeps it is not dropped; `ChannelWriteFail` and
//! `EventReadFail` count those. An event that is tried again is not dropped either. Where only a number of lines,
//! datagrams or files is known, that number is counted; the meaning of the reason says so.
//!
//! A new reason is a variant with its [`DropReasonEntry`], and a row in `docs/loss.md`; tests hold the two together
//! and look for a place in the code that counts it.

use super::Counter;
use DropPlace::{Channel, Interceptor, Sink, Source};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why an event ended without having arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// An interceptor left it out, as it is configured to.
    Filtered,
    /// An interceptor could not match its pattern, and is configured to drop such events.
    MatchFailed,
    /// The selector names no channel for it.
    Unrouted,
    /// An optional channel did not take it.
    OptionalChannel,
    /// No channel of the source can ever hold it.
    TooLarge,
    /// Its line is longer than the source accepts, or cannot be decoded.
    Unreadable,
    /// A required channel refused it, and its sender does not wait for a reply.
    Refused,
    /// The agent or the source stopped before a channel had taken it.
    Stopped,
    /// A datagram for which the socket's buffer had no room.
    SocketBuffer,
    /// A datagram of a sender that `ipFilterRules` deny.
    Denied,
    /// A further line of a datagram of which only the first line becomes an event.
    ExtraLine,
    /// A line that its sender had not ended when the connection was closed.
    UnfinishedLine,
    /// Its file was removed or truncated before it was read.
    FileGone,
    /// It has no body, and the sink does not send such events.
    EmptyBody,
    /// The server returned an error status, and the sink is configured not to send again.
    ErrorStatus,
    /// Its body does not match the pattern by which the sink writes it.
    Unmatched,
    /// The log is not configured to show lines of its level.
    LogLevel,
    /// Its destination refused it for good; it is in the dead-letter queue.
    DeadLetter,
    /// It was in memory when its channel was closed.
    Memory,
    /// It was found damaged in its segment and set aside.
    Damaged,
}

/// Kind of component that counts a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropPlace {
    /// A source.
    Source,
    /// An interceptor of a source.
    Interceptor,
    /// A channel.
    Channel,
    /// A sink.
    Sink,
}

impl DropPlace {
    /// Returns the label `kind` of the metric.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Interceptor => "interceptor",
            Self::Channel => "channel",
            Self::Sink => "sink",
        }
    }
}

/// Properties of a reason.
#[derive(Clone, Copy, Debug)]
pub struct DropReasonEntry {
    /// The label `reason` of the metric.
    pub name: &'static str,
    /// Kind of component that counts it.
    pub place: DropPlace,
    /// True if it is a loss, that is, not configured by the user.
    pub is_loss: bool,
    /// True if the alarm `eventsLost` and the log report it: a loss that no other alarm reports.
    pub has_alarm: bool,
    /// What is counted, for users; completes "events that did not arrive: ".
    pub meaning: &'static str,
}

const fn loss(name: &'static str, place: DropPlace, meaning: &'static str) -> DropReasonEntry {
    DropReasonEntry { name, place, is_loss: true, has_alarm: true, meaning }
}

const fn expected(name: &'static str, place: DropPlace, meaning: &'static str) -> DropReasonEntry {
    DropReasonEntry { name, place, is_loss: false, has_alarm: false, meaning }
}

/// Returns the entry of a loss that another alarm reports.
const fn reported(name: &'static str, place: DropPlace, meaning: &'static str) -> DropReasonEntry {
    DropReasonEntry { name, place, is_loss: true, has_alarm: false, meaning }
}

impl DropReason {
    /// All reasons, in the order of the enum.
    pub const ALL: [Self; 20] = [
        Self::Filtered,
        Self::MatchFailed,
        Self::Unrouted,
        Self::OptionalChannel,
        Self::TooLarge,
        Self::Unreadable,
        Self::Refused,
        Self::Stopped,
        Self::SocketBuffer,
        Self::Denied,
        Self::ExtraLine,
        Self::UnfinishedLine,
        Self::FileGone,
        Self::EmptyBody,
        Self::ErrorStatus,
        Self::Unmatched,
        Self::LogLevel,
        Self::DeadLetter,
        Self::Memory,
        Self::Damaged,
    ];

    /// Returns the entry of this reason.
    #[must_use]
    pub const fn entry(self) -> DropReasonEntry {
        match self {
            Self::Filtered => expected("filtered", Interceptor, "left out, as configured"),
            Self::MatchFailed => loss(
                "match_failed",
                Interceptor,
                "the pattern could not be matched, and onFailure is drop",
            ),
            Self::Unrouted => loss("unrouted", Source, "the selector names no channel for them"),
            Self::OptionalChannel => {
                loss("optional_channel", Source, "an optional channel refused them")
            }
            Self::TooLarge => {
                loss("too_large", Source, "larger than any channel of the source can hold")
            }
            Self::Unreadable => loss(
                "unreadable",
                Source,
                "lines longer than the source accepts, or not valid in the configured encoding",
            ),
            Self::Refused => loss(
                "refused",
                Source,
                "a required channel refused them, and the sender does not wait for a reply",
            ),
            Self::Stopped => {
                loss("stopped", Source, "received, and not confirmed by any channel at the stop")
            }
            Self::SocketBuffer => {
                loss("socket_buffer", Source, "datagrams that had no room in the socket's buffer")
            }
            Self::Denied => expected("denied", Source, "from senders that ipFilterRules deny"),
            Self::ExtraLine => loss(
                "extra_line",
                Source,
                "further lines of a datagram, of which only the first is an event",
            ),
            Self::UnfinishedLine => expected(
                "unfinished_line",
                Source,
                "lines that the sender had not ended when the connection was closed",
            ),
            Self::FileGone => loss(
                "file_gone",
                Source,
                "files or batches that were removed or truncated before they were read",
            ),
            Self::EmptyBody => {
                loss("empty_body", Sink, "without a body, which the sink does not send")
            }
            Self::ErrorStatus => loss(
                "error_status",
                Sink,
                "rejected with an error status for which rollback is false",
            ),
            Self::Unmatched => loss("unmatched", Sink, "not matched by serializer.regex"),
            Self::LogLevel => loss("log_level", Sink, "the log shows no lines of the level INFO"),
            Self::DeadLetter => loss(
                "dead_letter",
                Sink,
                "permanently refused by the destination, and in the dead-letter queue",
            ),
            Self::Memory => loss("memory", Channel, "in memory when the channel was closed"),
            Self::Damaged => reported(
                "damaged",
                Channel,
                "found damaged and set aside, or given up with a missing segment, since the channel was created",
            ),
        }
    }
}

/// Counters of drops, by reason.
#[derive(Debug, Default)]
pub struct DropCounters([Counter; DropReason::ALL.len()]);

impl DropCounters {
    /// Adds `events` to the count of `reason`.
    pub fn add(&self, reason: DropReason, events: u64) {
        self.0[reason as usize].add(events);
    }

    /// Returns the count of `reason` since the start of the process.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].get()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|count| count.get() == 0)
    }

    /// Returns all reasons of `place` with their counts, zeroes included.
    fn of(&self, place: DropPlace) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let here = move |reason: &DropReason| reason.entry().place == place;
        DropReason::ALL.into_iter().filter(here).map(|reason| (reason, self.get(reason)))
    }
}

/// Largest number of removed interceptors that are shown by name. Each reload that renames an interceptor adds
/// one; the limit keeps the table of metrics readable.
const INTERCEPTORS_GONE_MAX: usize = 64;

/// Name of the sum over all further ones. No interceptor has this name: names contain no blanks.
const INTERCEPTORS_GONE: &str = "all others before";

/// Drops of each interceptor of a source. The counts stay as long as the source does, so that the totals of a
/// source never decrease when a reload removes an interceptor.
#[derive(Debug, Default)]
pub struct InterceptorDrops(Mutex<BTreeMap<String, Arc<DropCounters>>>);

impl InterceptorDrops {
    /// Returns the counters of the interceptor `name`; creates them at zero.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<DropCounters> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Sets the present interceptors. Of the others, those without drops are removed; beyond
    /// [`INTERCEPTORS_GONE_MAX`] the counts of removed interceptors are merged.
    pub fn keep(&self, names: &[String]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An interceptor that is still ending may count here.
        let is_used = |drops: &Arc<DropCounters>| Arc::strong_count(drops) > 1 || !drops.is_empty();
        all.retain(|name, drops| names.contains(name) || is_used(drops));
        let gone = |name: &str| name != INTERCEPTORS_GONE && !names.iter().any(|it| it == name);
        let more: Vec<String> =
            all.keys().filter(|name| gone(name)).skip(INTERCEPTORS_GONE_MAX).cloned().collect();
        for name in more {
            let Some(drops) = all.remove(&name) else { continue };
            let together = all.entry(INTERCEPTORS_GONE.to_owned()).or_default();
            for reason in DropReason::ALL {
                together.add(reason, drops.get(reason));
            }
        }
    }

    fn read(&self, into: &mut Vec<DropCount>) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, drops) in &*all {
            for (reason, events) in drops.of(Interceptor) {
                into.push(DropCount { interceptor: Some(name.clone()), reason, events });
            }
        }
    }
}

/// The count of one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCount {
    /// Interceptor of the source that counted it; `None` for the component itself.
    pub interceptor: Option<String>,
    /// The reason.
    pub reason: DropReason,
    /// Number of events.
    pub events: u64,
}

impl DropCount {
    /// Returns the label `component` of the metric for a component of this name: `r1`, or `r1/i1` for an
    /// interceptor.
    #[must_use]
    pub fn component(&self, name: &str) -> String {
        match &self.interceptor {
            Some(interceptor) => format!("{name}/{interceptor}"),
            None => name.to_owned(),
        }
    }
}

/// Returns the counts of a component, zeroes included.
pub(super) fn read(
    drops: &DropCounters,
    place: DropPlace,
    interceptors: Option<&InterceptorDrops>,
) -> Vec<DropCount> {
    let own = drops.of(place);
    let mut all: Vec<DropCount> =
        own.map(|(reason, events)| DropCount { interceptor: None, reason, events }).collect();
    if let Some(interceptors) = interceptors {
        interceptors.read(&mut all);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let drops = DropCounters::default();
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?} is not where ALL has it");
            drops.add(reason, at as u64 + 1);
        }
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(drops.get(reason), at as u64 + 1);
        }
        let names: BTreeSet<_> = DropReason::ALL.map(|reason| reason.entry().name).into();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    /// `docs/loss.md` has a row for each reason, with what counts it, whether it is an alarm and its meaning.
    #[test]
    fn the_page_on_losses_has_each_reason_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/loss.md");
        let page = std::fs::read_to_string(path).expect("the document");
        let section = page.split("## Reasons").nth(1).and_then(|rest| rest.split("## ").next());
        let rows = section.expect("a section").lines().filter(|line| line.starts_with("| `"));
        let mut found = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [name, place, alarm, meaning, steps] = cells[..] else { panic!("{row}") };
            assert!(steps.len() > 10, "{name} does not say what to do");
            found.push([name, place, alarm, meaning].map(str::to_owned));
        }
        let expected = DropReason::ALL.map(|reason| {
            let DropReasonEntry { name, place, has_alarm, meaning, .. } = reason.entry();
            let alarm = if has_alarm { "yes" } else { "no" };
            [&format!("`{name}`"), place.name(), alarm, meaning].map(str::to_owned)
        });
        assert_eq!(found, expected);
        // The alert excludes reasons that are not a loss and those with an alert of their own.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/prometheus/alerts.yml");
        let rules = std::fs::read_to_string(path).expect("the rules");
        let kept = DropReason::ALL.into_iter().filter(|reason| !reason.entry().has_alarm);
        let kept: Vec<_> = kept.map(|reason| reason.entry().name).collect();
        assert!(rules.contains(&format!("{{reason!~\"{}\"}}", kept.join("|"))));
    }

    #[test]
    fn a_component_shows_the_reasons_of_its_place_and_those_of_its_interceptors() {
        let (drops, interceptors) = (DropCounters::default(), InterceptorDrops::default());
        drops.add(DropReason::Unrouted, 2);
        interceptors.of("i1").add(DropReason::Filtered, 3);
        let _ = interceptors.of("i2");
        interceptors.keep(&["i1".to_owned()]);
        let read = read(&drops, Source, Some(&interceptors));
        let found = |interceptor: Option<&str>, reason| {
            let all = read.iter();
            let mut found =
                all.filter(|d| d.interceptor.as_deref() == interceptor && d.reason == reason);
            found.next().map(|dropped| dropped.events)
        };
        assert_eq!(found(None, DropReason::Unrouted), Some(2));
        assert_eq!(found(None, DropReason::Stopped), Some(0));
        assert_eq!(found(Some("i1"), DropReason::Filtered), Some(3));
        assert_eq!(found(None, DropReason::Filtered), None);
        assert_eq!(found(Some("i2"), DropReason::Filtered), None);
    }

    #[test]
    fn what_an_interceptor_counted_stays_when_a_reload_takes_it_away() {
        let interceptors = InterceptorDrops::default();
        let total = || {
            let mut all = Vec::new();
            interceptors.read(&mut all);
            (all.iter().map(|row| row.events).sum::<u64>(), all.len())
        };
        interceptors.of("i1").add(DropReason::Filtered, 3);
        interceptors.keep(&["i2".to_owned()]);
        assert_eq!(total().0, 3, "the source is still there");
        interceptors.keep(&["i1".to_owned()]);
        interceptors.of("i1").add(DropReason::Filtered, 1);
        assert_eq!(interceptors.of("i1").get(DropReason::Filtered), 4, "and goes on from there");
        // One whose chain ends just now.
        let ending = interceptors.of("ending");
        interceptors.keep(&[]);
        ending.add(DropReason::Filtered, 1);
        assert_eq!(total().0, 5);
        for n in 0..10 * INTERCEPTORS_GONE_MAX as u64 {
            interceptors.of(&format!("n{n}")).add(DropReason::MatchFailed, 1);
            interceptors.keep(&[]);
            assert_eq!(total().0, 6 + n);
        }
        let reasons = DropReason::ALL.iter().filter(|r| r.entry().place == Interceptor);
        assert_eq!(total().1, (INTERCEPTORS_GONE_MAX + 1) * reasons.count());
    }
}
