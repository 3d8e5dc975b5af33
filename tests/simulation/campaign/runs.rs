//! Long lives from seeds, of every kind.

use super::damage;
use crate::counts::Tally;
use crate::coverage;
use crate::missing_dirs;
use crate::random;
use millpond::internal::base::coverage_mark::CoverageMark;
use millpond::internal::recovery::decision_table::Case;

/// A kind of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Faults and crashes.
    Random,
    /// Directories that disappear and come back.
    Away,
    /// Files that rot, disappear, or are foreign.
    Harm,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Random, Self::Away, Self::Harm];
}

/// Runs one life.
pub(super) fn run_seed(kind: Kind, seed: u64, tally: &mut Tally) -> Result<(), String> {
    tally.runs += 1;
    let lived = match kind {
        Kind::Random => random::run(seed, None, tally),
        Kind::Away => missing_dirs::run_seed(seed, tally),
        Kind::Harm => damage::run_seed(seed, tally),
    };
    lived.map_err(|words| format!("{kind:?}: {words}"))
}

/// Kinds of faults that the lives must meet.
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

fn names_of(rows: &[Case], places: &[CoverageMark], faults: &[&str]) -> Vec<String> {
    let faults = faults.iter().map(|name| (*name).to_owned());
    coverage::names(rows, places).into_iter().chain(faults).collect()
}

/// Returns what the whole campaign must meet: every row, every coverage mark, every kind of fault.
pub(super) fn must_meet() -> Vec<String> {
    names_of(&Case::ALL, &CoverageMark::ALL, &FAULTS)
}

/// Returns what a normal run of it must meet: what few seeds meet reliably.
pub(super) fn must_meet_in_part() -> Vec<String> {
    let often = [Case::R6, Case::R8, Case::R10, Case::R11, Case::R13, Case::R14];
    names_of(&often, &[], &FAULTS[16..])
}
