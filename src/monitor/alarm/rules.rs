//! Rules that need nothing but one look.

use super::SETTLES;
use super::kind::Kind;
use super::progress::because;
use super::settings::AlarmSettings;
use super::sight::{Observation, Place, Room, Sight, Verdict, Words, number};
use crate::base::quantity::{BinaryBytes, Quantity};
use crate::metrics::{ChannelReading, Reading, Role};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the rules say, and of which component nothing can be said now.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) list: Vec<Observation>,
    /// Parts of these components cannot be seen: what was said of them stays.
    pub(super) unseen: Vec<(Kind, String)>,
}

impl Observed {
    pub(super) fn add(
        &mut self,
        (kind, component, subject): (Kind, &str, &str),
        verdict: Verdict,
        (lasts, settles): (Duration, Duration),
    ) {
        let (component, subject) = (component.to_owned(), subject.to_owned());
        let place = Place { kind, component, subject };
        self.list.push(Observation { place, verdict, lasts, settles });
    }
}

/// Looks at everything.
pub(super) fn observe(sight: &Sight, settings: &AlarmSettings, observed: &mut Observed) {
    let look = Look { sight, settings };
    for channel in sight.of(Role::Channel) {
        look.failing(channel, observed);
        look.inside(channel, observed);
        look.space(channel, observed);
    }
    look.reload(observed);
}

/// What only a channel that is open can be asked: the last counts of one that was closed say nothing.
const INSIDE: [Kind; 5] = [
    Kind::ChannelFill,
    Kind::ChannelSize,
    Kind::StripeSuspended,
    Kind::Quarantine,
    Kind::OldestEvent,
];

struct Look<'a> {
    sight: &'a Sight,
    settings: &'a AlarmSettings,
}

/// Bad from a limit on, good below another.
fn between(value: u64, limit: u64, clear: u64, words: impl FnOnce() -> Words) -> Verdict {
    if value >= limit {
        Verdict::Bad(words())
    } else if value < clear {
        Verdict::Good
    } else {
        Verdict::Same
    }
}

fn bad_if(bad: bool, words: impl FnOnce() -> Words) -> Verdict {
    if bad { Verdict::Bad(words()) } else { Verdict::Good }
}

impl Look<'_> {
    fn fill(&self, channel: &Reading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::ChannelFill, &channel.name) else { return };
        let (size, capacity) = (number(channel, "ChannelSize"), number(channel, "ChannelCapacity"));
        let percent = match capacity {
            0 => 0,
            _ => u64::try_from(u128::from(size) * 100 / u128::from(capacity)).unwrap_or(u64::MAX),
        };
        let (limit, clear) = tuning.percents();
        let verdict = between(percent, limit, clear.max(1), || {
            let words = Words::new(format!(
                "{percent} % of the channel are full: {size} events of {capacity}; the limit is {limit} %"
            ));
            words
                .with("channelSize", size)
                .with("channelCapacity", capacity)
                .with("channelFillPercentage", percent)
        });
        observed.add((Kind::ChannelFill, &channel.key(), ""), verdict, (tuning.lasts, SETTLES));
    }

    fn size(&self, channel: &Reading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::ChannelSize, &channel.name) else { return };
        let Some((limit, clear)) = tuning.events() else { return };
        let size = number(channel, "ChannelSize");
        let verdict = between(size, limit, clear.max(1), || {
            let events = Quantity(size, "event");
            Words::new(format!("{events} waiting, the limit is {limit}")).with("channelSize", size)
        });
        observed.add((Kind::ChannelSize, &channel.key(), ""), verdict, (tuning.lasts, SETTLES));
    }

    fn failing(&self, channel: &Reading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::ChannelFailing, &channel.name) else {
            return;
        };
        let is_open = number(channel, "Open") > 0;
        let trouble = channel.channel.as_ref().and_then(|channel| channel.trouble.clone());
        let verdict = bad_if(!is_open || trouble.is_some(), || match trouble {
            Some(why) => {
                Words::new(format!("the channel refuses events: {why}")).with("cause", why)
            }
            None => because(
                "the channel is not open, and what is attached to it waits",
                channel.failure.as_ref().filter(|failure| failure.lasts),
            ),
        });
        observed.add((Kind::ChannelFailing, &channel.key(), ""), verdict, (tuning.lasts, SETTLES));
    }

    /// What only a channel that is open says.
    fn inside(&self, channel: &Reading, observed: &mut Observed) {
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

    fn stripes(&self, name: &str, key: &str, reading: &ChannelReading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::StripeSuspended, name) else { return };
        for stripe in &reading.stripes {
            // One that is missing has no directory to be known by.
            let directory = if stripe.directory.is_empty() { "missing" } else { &stripe.directory };
            let verdict = match &stripe.suspended {
                Some(why) => Verdict::Bad(
                    Words::new(format!("the stripe {directory} is suspended: {why}"))
                        .with("directory", directory)
                        .with("cause", why)
                        .with("eventsOutOfReach", reading.out_of_reach),
                ),
                None => Verdict::Good,
            };
            observed.add((Kind::StripeSuspended, key, directory), verdict, (tuning.lasts, SETTLES));
        }
    }

    fn quarantine(&self, name: &str, key: &str, reading: &ChannelReading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::Quarantine, name) else { return };
        let (events, known) = (reading.quarantined, tuning.limit.unwrap_or(0));
        let verdict = bad_if(events > known, || {
            let damaged = Quantity(events, "event");
            Words::new(format!(
                "{damaged} found damaged and set aside, or given up with a missing segment, {known} of them known before"
            ))
            .with("quarantinedEvents", events)
        });
        observed.add((Kind::Quarantine, key, ""), verdict, (Duration::ZERO, Duration::ZERO));
    }

    fn oldest(&self, name: &str, key: &str, reading: &ChannelReading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::OldestEvent, name) else { return };
        // In whole seconds, as the words have them.
        let (age, most) = (reading.oldest.as_secs(), tuning.lasts.as_secs());
        let verdict = bad_if(age > most, || {
            Words::new(format!(
                "the oldest event has waited for {age} s; it was to be {most} s at most"
            ))
            .with("oldestEventSeconds", age)
        });
        observed.add((Kind::OldestEvent, key, ""), verdict, (Duration::ZERO, SETTLES));
    }

    fn space(&self, channel: &Reading, observed: &mut Observed) {
        let Some(tuning) = self.settings.tuning(Kind::DiskSpace, &channel.name) else { return };
        let percent = tuning.limit.unwrap_or(0);
        // Directories of one disk have one alarm.
        let mut devices = BTreeSet::new();
        for place in self.settings.scene.directories.iter().filter(|d| d.channel == channel.name) {
            let directory = place.path.display().to_string();
            let verdict = match self.sight.spaces.get(&place.path) {
                None => Verdict::Same,
                Some(Room { device, .. }) if !devices.insert(*device) => continue,
                Some(Room { space, .. }) => {
                    let share = u128::from(space.total_bytes) * u128::from(percent) / 100;
                    let share = u64::try_from(share).unwrap_or(u64::MAX);
                    // The smaller of those that are set: a share of a large disk is much, and a small
                    // disk never has as much as a large one.
                    let least = match (percent, tuning.bytes) {
                        (0, bytes) => bytes,
                        (_, 0) => share,
                        (_, bytes) => share.min(bytes),
                    };
                    let least = least.max(place.required_bytes);
                    // No disk has more free than it is large.
                    let (total, tenth) = (space.total_bytes, least / 10);
                    let (least, clear) = (least.min(total), least.saturating_add(tenth).min(total));
                    let free = space.available_bytes;
                    let words = || {
                        Words::new(format!(
                            "{} of {} are free for {directory}; the limit is {}",
                            BinaryBytes(free),
                            BinaryBytes(space.total_bytes),
                            BinaryBytes(least)
                        ))
                        .with("directory", &directory)
                        .with("freeBytes", free)
                        .with("totalBytes", space.total_bytes)
                    };
                    // Over once a tenth more is free.
                    if free < least {
                        Verdict::Bad(words())
                    } else if free >= clear {
                        Verdict::Good
                    } else {
                        Verdict::Same
                    }
                }
            };
            let at = (Kind::DiskSpace, &*channel.key(), &*directory);
            observed.add(at, verdict, (tuning.lasts, SETTLES));
        }
    }

    fn reload(&self, observed: &mut Observed) {
        let agent = &self.settings.sender.agent;
        if self.settings.tuning(Kind::ReloadRefused, agent).is_none() {
            return;
        }
        let verdict = match &self.sight.refused {
            Some(why) => Verdict::Bad(
                Words::new(format!(
                    "the agent keeps its configuration; the changed one is refused: {why}"
                ))
                .with("cause", why),
            ),
            None => Verdict::Good,
        };
        let at = (Kind::ReloadRefused, &*format!("AGENT.{agent}"), "");
        observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
    }
}
