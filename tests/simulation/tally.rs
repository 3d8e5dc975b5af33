//! What a campaign did.

use std::collections::HashSet;
use std::fmt;

/// Counts of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    /// Lives in which some call to the disk failed.
    pub(crate) faults: u64,
    /// Crash images that were opened.
    pub(crate) crashes: u64,
    states: HashSet<u64>,
}

impl Tally {
    /// Distinct crash images so far.
    pub(crate) fn states(&self) -> usize {
        self.states.len()
    }

    /// A crash image is about to be opened. Answers whether it is a new one.
    pub(crate) fn state(&mut self, hash: u64) -> bool {
        self.crashes += 1;
        self.states.insert(hash)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} crashes, {} distinct crash states, {} lives with faults",
            self.runs,
            self.crashes,
            self.states.len(),
            self.faults
        )
    }
}
