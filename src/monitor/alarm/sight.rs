//! What one look at an agent sees, and what a rule makes of a part of it.

use super::kind::Kind;
use super::raised::plain;
use crate::disk::Space;
use crate::metrics::{Heard, Reading, Role, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The time of a look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Never goes back.
    pub(crate) now: Duration,
    /// Milliseconds since 1970, for people.
    pub(crate) wall_ms: u64,
}

/// What there is to see of an agent at one moment.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Every component.
    pub(crate) readings: Vec<Reading>,
    /// Of components that are gone since the last look, what they had lost.
    pub(crate) last: Vec<Reading>,
    /// Who was heard since the last look, by source.
    pub(crate) heard: BTreeMap<String, Vec<Heard>>,
    /// Addresses from which somebody is connected and has sent nothing, by source.
    pub(crate) unheard: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Free space, by directory; one that does not answer is not there.
    pub(crate) spaces: BTreeMap<PathBuf, Room>,
    /// Why a changed configuration was refused, while that is so.
    pub(crate) refused: Option<String>,
}

/// The free space of a directory, and of which device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) space: Space,
    pub(crate) device: u64,
}

impl Sight {
    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = &Reading> {
        self.readings.iter().filter(move |reading| reading.role == role)
    }

    pub(super) fn reading(&self, role: Role, name: &str) -> Option<&Reading> {
        self.of(role).find(|reading| reading.name == name)
    }
}

/// An attribute of a component as a number; 0 where there is none.
pub(super) fn number(reading: &Reading, attribute: &str) -> u64 {
    let found = reading.values.iter().find(|(name, _)| *name == attribute);
    match found.map(|(_, value)| *value) {
        Some(Value::Count(number) | Value::Level(number)) => number,
        Some(Value::Flag(set)) => u64::from(set),
        Some(Value::Percent(_)) | None => 0,
    }
}

/// What a rule says of one thing at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Bad(Words),
    /// Neither: what was, stays.
    Same,
    Good,
}

/// What there is to say of a trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) message: String,
    pub(super) parameters: BTreeMap<String, String>,
}

impl Words {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: plain(&message.into()), parameters: BTreeMap::new() }
    }

    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.parameters.insert(key.to_owned(), plain(&value.to_string()));
        self
    }
}

/// What an alarm would be about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) kind: Kind,
    /// As in `CHANNEL.c1`.
    pub(super) component: String,
    pub(super) subject: String,
}

/// What was seen of a place.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) place: Place,
    pub(super) verdict: Verdict,
    /// How long it must be bad, without a good moment as long as `settles`, before it counts.
    pub(super) lasts: Duration,
    /// How long it must be good before it is over.
    pub(super) settles: Duration,
}
