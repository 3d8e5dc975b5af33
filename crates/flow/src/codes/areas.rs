//! The codes by the areas of the page.

use super::agent::AGENT;
use super::alarms::ALARMS;
use super::sinks::SINKS;
use super::sources::SOURCES;
use super::start::START;
use millpond::internal::base::codes::{CHANNEL, Code};

/// The first number of an alarm.
pub(super) const ALARMS_FROM: u32 = 10_000;

/// A group of codes with its title.
pub(super) struct CodeGroup {
    pub(super) title: &'static str,
    pub(super) codes: &'static [Code],
}

pub(super) const AREAS: &[CodeGroup] = &[
    CodeGroup { title: "Channels and disks", codes: CHANNEL },
    CodeGroup { title: "Sources", codes: SOURCES },
    CodeGroup { title: "Sinks", codes: SINKS },
    CodeGroup { title: "Configuration, start and stop", codes: START },
    CodeGroup { title: "Agent, monitoring and alarms", codes: AGENT },
    CodeGroup { title: "Each alarm", codes: ALARMS },
];
