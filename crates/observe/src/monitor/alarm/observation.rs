//! What one evaluation observes of an agent, and the verdict of a rule.

use super::alarm_record::plain;
use super::kind::AlarmKind;
use millpond::internal::disk::Space;
use millpond_flow::metrics::{ComponentReading, ComponentRole, MetricValue, SeenClient};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The time of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvaluationTime {
    /// Monotonic.
    pub(crate) now: Duration,
    /// Milliseconds since 1970, for people.
    pub(crate) wall_ms: u64,
}

/// The observable state of an agent at one time.
#[derive(Debug, Default)]
pub(crate) struct AgentSnapshot {
    /// Every component.
    pub(crate) readings: Vec<ComponentReading>,
    /// The last readings of components that were removed since the last evaluation.
    pub(crate) last: Vec<ComponentReading>,
    /// The clients that were heard since the last evaluation, by source.
    pub(crate) heard: BTreeMap<String, Vec<SeenClient>>,
    /// Addresses with a connection that has sent nothing, by source.
    pub(crate) unheard: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Free space, by directory; without directories whose measurement hangs.
    pub(crate) spaces: BTreeMap<PathBuf, FreeSpace>,
    /// Why a changed configuration was refused, while that lasts.
    pub(crate) refused: Option<String>,
}

/// The free space of a directory, and its device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeSpace {
    pub(crate) space: Space,
    pub(crate) device: u64,
}

impl AgentSnapshot {
    pub(super) fn of(&self, role: ComponentRole) -> impl Iterator<Item = &ComponentReading> {
        self.readings.iter().filter(move |reading| reading.role == role)
    }

    pub(super) fn reading(&self, role: ComponentRole, name: &str) -> Option<&ComponentReading> {
        self.of(role).find(|reading| reading.name == name)
    }
}

/// Returns an attribute of a component as a number; 0 if it has none.
pub(super) fn number(reading: &ComponentReading, attribute: &str) -> u64 {
    let found = reading.values.iter().find(|(name, _)| *name == attribute);
    match found.map(|(_, value)| *value) {
        Some(MetricValue::Count(number) | MetricValue::Level(number)) => number,
        Some(MetricValue::Flag(set)) => u64::from(set),
        Some(MetricValue::Percent(_)) | None => 0,
    }
}

/// What a rule decides about a target at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleVerdict {
    Bad(AlarmText),
    /// Neither: the state stays.
    Unchanged,
    Good,
}

/// The text of an alarm and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AlarmText {
    pub(super) message: String,
    pub(super) parameters: BTreeMap<String, String>,
}

impl AlarmText {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: plain(&message.into()), parameters: BTreeMap::new() }
    }

    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.parameters.insert(key.to_owned(), plain(&value.to_string()));
        self
    }
}

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AlarmTarget {
    pub(super) kind: AlarmKind,
    /// As in `CHANNEL.c1`.
    pub(super) component: String,
    pub(super) subject: String,
}

/// The observation of a target.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) place: AlarmTarget,
    pub(super) verdict: RuleVerdict,
    /// How long it must be bad, without being good for `settles`, before an alarm is raised.
    pub(super) lasts: Duration,
    /// How long it must be good before the alarm is cleared.
    pub(super) settles: Duration,
}
