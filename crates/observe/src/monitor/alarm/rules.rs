//! Rules that need only one observation.

use super::kind::AlarmKind;
use super::limits::SETTLES;
use super::observation::{AgentSnapshot, AlarmText, FreeSpace, RuleVerdict, number};
use super::progress::because;
use super::settings::AlarmSettings;
use crate::monitor::alarm::rule_observations::RuleObservations;
use millpond::internal::base::quantity::{BinaryBytes, Quantity};
use millpond_flow::metrics::{ChannelReading, ComponentReading, ComponentRole};
use std::collections::BTreeSet;
use std::time::Duration;

/// Evaluates all rules of this file.
pub(super) fn observe(
    view: &AgentSnapshot,
    settings: &AlarmSettings,
    observed: &mut RuleObservations,
) {
    let look = Evaluation { view, settings };
    for channel in view.of(ComponentRole::Channel) {
        look.failing(channel, observed);
        look.inside(channel, observed);
        look.space(channel, observed);
    }
    look.reload(observed);
}

/// Alarms about open channels only: the last counts of a closed channel say nothing.
const INSIDE: [AlarmKind; 5] = [
    AlarmKind::ChannelFill,
    AlarmKind::ChannelSize,
    AlarmKind::StripeSuspended,
    AlarmKind::Quarantine,
    AlarmKind::OldestEvent,
];

struct Evaluation<'a> {
    view: &'a AgentSnapshot,
    settings: &'a AlarmSettings,
}

/// Bad from one limit on, good below another.
fn between(value: u64, limit: u64, clear: u64, words: impl FnOnce() -> AlarmText) -> RuleVerdict {
    if value >= limit {
        RuleVerdict::Bad(words())
    } else if value < clear {
        RuleVerdict::Good
    } else {
        RuleVerdict::Unchanged
    }
}

fn bad_if(bad: bool, words: impl FnOnce() -> AlarmText) -> RuleVerdict {
    if bad { RuleVerdict::Bad(words()) } else { RuleVerdict::Good }
}

impl Evaluation<'_> {
    fn fill(&self, channel: &ComponentReading, observed: &mut RuleObservations) {
        let Some(limits) = self.settings.limits(AlarmKind::ChannelFill, &channel.name) else {
            return;
        };
        let (size, capacity) = (number(channel, "ChannelSize"), number(channel, "ChannelCapacity"));
        let percent = match capacity {
            0 => 0,
            _ => u64::try_from(u128::from(size) * 100 / u128::from(capacity)).unwrap_or(u64::MAX),
        };
        let (limit, clear) = limits.percents();
        let verdict = between(percent, limit, clear.max(1), || {
            let words = AlarmText::new(format!(
                "{percent} % of the channel are full: {size} events of {capacity}; the limit is {limit} %"
            ));
            words
                .with("channelSize", size)
                .with("channelCapacity", capacity)
                .with("channelFillPercentage", percent)
        });
        observed.add(
            (AlarmKind::ChannelFill, &channel.key(), ""),
            verdict,
            (limits.lasts, SETTLES),
        );
    }

    fn size(&self, channel: &ComponentReading, observed: &mut RuleObservations) {
        let Some(limits) = self.settings.limits(AlarmKind::ChannelSize, &channel.name) else {
            return;
        };
        let Some((limit, clear)) = limits.events() else { return };
        let size = number(channel, "ChannelSize");
        let verdict = between(size, limit, clear.max(1), || {
            let events = Quantity(size, "event");
            AlarmText::new(format!("{events} waiting, the limit is {limit}"))
                .with("channelSize", size)
        });
        observed.add(
            (AlarmKind::ChannelSize, &channel.key(), ""),
            verdict,
            (limits.lasts, SETTLES),
        );
    }

    fn failing(&self, channel: &ComponentReading, observed: &mut RuleObservations) {
        let Some(limits) = self.settings.limits(AlarmKind::ChannelFailing, &channel.name) else {
            return;
        };
        let is_open = number(channel, "Open") > 0;
        let trouble = channel.channel.as_ref().and_then(|channel| channel.trouble.clone());
        let verdict = bad_if(!is_open || trouble.is_some(), || match trouble {
            Some(why) => {
                AlarmText::new(format!("the channel refuses events: {why}")).with("cause", why)
            }
            None => because(
                "the channel is not open, and what is attached to it waits",
                channel.failure.as_ref().filter(|failure| failure.lasts),
            ),
        });
        observed.add(
            (AlarmKind::ChannelFailing, &channel.key(), ""),
            verdict,
            (limits.lasts, SETTLES),
        );
    }

    /// Judges what only an open channel reports.
    fn inside(&self, channel: &ComponentReading, observed: &mut RuleObservations) {
        let key = channel.key();
        let Some(reading) = &channel.channel else {
            for kind in INSIDE {
                observed.unseen.push((kind, key.clone()));
            }
            return;
        };
        self.fill(channel, observed);
        self.size(channel, observed);
        self.stripes(&channel.name, &key, reading, observed);
        self.quarantine(&channel.name, &key, reading, observed);
        self.oldest(&channel.name, &key, reading, observed);
    }

    fn stripes(
        &self,
        name: &str,
        key: &str,
        reading: &ChannelReading,
        observed: &mut RuleObservations,
    ) {
        let Some(limits) = self.settings.limits(AlarmKind::StripeSuspended, name) else { return };
        for stripe in &reading.stripes {
            // A missing stripe has no directory that would identify it.
            let directory = if stripe.directory.is_empty() { "missing" } else { &stripe.directory };
            let verdict = match &stripe.suspended {
                Some(why) => RuleVerdict::Bad(
                    AlarmText::new(format!("the stripe {directory} is suspended: {why}"))
                        .with("directory", directory)
                        .with("cause", why)
                        .with("eventsOutOfReach", reading.out_of_reach),
                ),
                None => RuleVerdict::Good,
            };
            observed.add(
                (AlarmKind::StripeSuspended, key, directory),
                verdict,
                (limits.lasts, SETTLES),
            );
        }
    }

    fn quarantine(
        &self,
        name: &str,
        key: &str,
        reading: &ChannelReading,
        observed: &mut RuleObservations,
    ) {
        let Some(limits) = self.settings.limits(AlarmKind::Quarantine, name) else { return };
        let (events, known) = (reading.quarantined, limits.limit.unwrap_or(0));
        let verdict = bad_if(events > known, || {
            let damaged = Quantity(events, "event");
            AlarmText::new(format!(
                "{damaged} found damaged and set aside, or given up with a missing segment, {known} of them known before"
            ))
            .with("quarantinedEvents", events)
        });
        observed.add((AlarmKind::Quarantine, key, ""), verdict, (Duration::ZERO, Duration::ZERO));
    }

    fn oldest(
        &self,
        name: &str,
        key: &str,
        reading: &ChannelReading,
        observed: &mut RuleObservations,
    ) {
        let Some(limits) = self.settings.limits(AlarmKind::OldestEvent, name) else { return };
        // In whole seconds, as in the text.
        let (age, most) = (reading.oldest.as_secs(), limits.lasts.as_secs());
        let verdict = bad_if(age > most, || {
            AlarmText::new(format!(
                "the oldest event has waited for {age} s; the limit is {most} s"
            ))
            .with("oldestEventSeconds", age)
        });
        observed.add((AlarmKind::OldestEvent, key, ""), verdict, (Duration::ZERO, SETTLES));
    }

    fn space(&self, channel: &ComponentReading, observed: &mut RuleObservations) {
        let Some(limits) = self.settings.limits(AlarmKind::DiskSpace, &channel.name) else {
            return;
        };
        let percent = limits.limit.unwrap_or(0);
        // Directories of one disk share an alarm.
        let mut devices = BTreeSet::new();
        for place in self.settings.topology.directories.iter().filter(|d| d.channel == channel.name)
        {
            let directory = place.path.display().to_string();
            let verdict = match self.view.spaces.get(&place.path) {
                None => RuleVerdict::Unchanged,
                Some(FreeSpace { device, .. }) if !devices.insert(*device) => continue,
                Some(FreeSpace { space, .. }) => {
                    let share = u128::from(space.total_bytes) * u128::from(percent) / 100;
                    let share = u64::try_from(share).unwrap_or(u64::MAX);
                    // The smaller of the limits that are set: a share of a large disk is much, and
                    // a small disk never has as much as a large one.
                    let least = match (percent, limits.bytes) {
                        (0, bytes) => bytes,
                        (_, 0) => share,
                        (_, bytes) => share.min(bytes),
                    };
                    let least = least.max(place.required_bytes);
                    // A limit is never above the size of the disk.
                    let (total, tenth) = (space.total_bytes, least / 10);
                    let (least, clear) = (least.min(total), least.saturating_add(tenth).min(total));
                    let free = space.available_bytes;
                    let words = || {
                        AlarmText::new(format!(
                            "{} of {} are free for {directory}; the limit is {}",
                            BinaryBytes(free),
                            BinaryBytes(space.total_bytes),
                            BinaryBytes(least)
                        ))
                        .with("directory", &directory)
                        .with("freeBytes", free)
                        .with("totalBytes", space.total_bytes)
                    };
                    // Cleared once a tenth more is free.
                    if free < least {
                        RuleVerdict::Bad(words())
                    } else if free >= clear {
                        RuleVerdict::Good
                    } else {
                        RuleVerdict::Unchanged
                    }
                }
            };
            let at = (AlarmKind::DiskSpace, &*channel.key(), &*directory);
            observed.add(at, verdict, (limits.lasts, SETTLES));
        }
    }

    fn reload(&self, observed: &mut RuleObservations) {
        let agent = &self.settings.sender.agent;
        if self.settings.limits(AlarmKind::ReloadRefused, agent).is_none() {
            return;
        }
        let verdict = match &self.view.refused {
            Some(why) => RuleVerdict::Bad(
                AlarmText::new(format!(
                    "the agent keeps its configuration; the changed one is refused: {why}"
                ))
                .with("cause", why),
            ),
            None => RuleVerdict::Good,
        };
        let at = (AlarmKind::ReloadRefused, &*format!("AGENT.{agent}"), "");
        observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
    }
}
