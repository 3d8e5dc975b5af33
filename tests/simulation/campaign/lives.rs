//! Long lives from seeds, of every kind.

use super::harm;
use crate::away;
use crate::random;
use crate::tally::Tally;
use crate::words;
use millpond::base::rare::Rare;
use millpond::recovery::table::Case;

/// A kind of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Faults and crashes.
    Random,
    /// Directories that disappear and come back.
    Away,
    /// Files that rot, go, or are others'.
    Harm,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Random, Self::Away, Self::Harm];
}

/// Lives one.
pub(super) fn live(kind: Kind, seed: u64, tally: &mut Tally) -> Result<(), String> {
    tally.runs += 1;
    let lived = match kind {
        Kind::Random => random::run(seed, None, tally),
        Kind::Away => away::live(seed, tally),
        Kind::Harm => harm::live(seed, tally),
    };
    lived.map_err(|words| format!("{kind:?}: {words}"))
}

/// Kinds of failure that the lives are there for.
const FAULTS: [&str; 18] = [
    "Sync fails, Lost(KeepsNew)",
    "Sync fails, Lost(RevertsToOld)",
    "Sync fails, Lost(DropsAtNextRead)",
    "SyncDir fails, Nothing",
    "SyncDir fails, Part",
    "Submit fails, Later",
    "Submit fails, Nothing",
    "Finish fails, All",
    "Finish fails, Later",
    "Finish fails, Part",
    "Write fails, Part",
    "Write fails, no space",
    "Create fails, no space",
    "Read fails, Nothing",
    "a write hangs",
    "a write ends late",
    "bytes rot",
    "a directory disappears",
];

fn due_of(rows: &[Case], places: &[Rare], faults: &[&str]) -> Vec<String> {
    let faults = faults.iter().map(|name| (*name).to_owned());
    words::names(rows, places).into_iter().chain(faults).collect()
}

/// What the whole campaign must meet: every row, every rare place, every kind of failure.
pub(super) fn due() -> Vec<String> {
    due_of(&Case::ALL, &Rare::ALL, &FAULTS)
}

/// What a normal run of it must meet: what so few seeds do not meet by luck only.
pub(super) fn due_in_a_part() -> Vec<String> {
    let often = [Case::R6, Case::R8, Case::R10, Case::R11, Case::R13, Case::R14];
    due_of(&often, &[], &FAULTS[16..])
}
