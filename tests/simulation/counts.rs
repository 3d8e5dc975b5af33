//! Counts of a campaign.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex};

/// How a machine was stopped, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stopped {
    /// The power was cut.
    Power,
    /// The process was killed; the cache survives.
    Kill,
    /// Either, while the channel was being created.
    Creating,
    /// Either, within an opening that recovered.
    Recovering,
}

/// A hasher for numbers that are hashes already.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Hashes = HashSet<u64, BuildHasherDefault<Itself>>;

/// Sets of hashes, each with a lock of its own, so that threads seldom contend.
#[derive(Debug)]
pub(crate) struct Shelf(Vec<Mutex<Hashes>>);

impl Default for Shelf {
    fn default() -> Self {
        Self((0..64).map(|_| Mutex::default()).collect())
    }
}

impl Shelf {
    fn insert(&self, hash: u64) -> bool {
        let set = &self.0[(hash >> 58) as usize];
        set.lock().expect("a thread that judges wrong says so, and panics elsewhere").insert(hash)
    }

    pub(crate) fn len(&self) -> usize {
        let lens = self.0.iter().map(|set| set.lock().expect("as above").len());
        lens.sum()
    }
}

fn mixed(one: u64, other: u64) -> u64 {
    let both = (one ^ other.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    both ^ (both >> 31)
}

/// Further outcomes judged at each crash of a long life, and of a crash after each of its steps.
const BRANCHES: u64 = 12;
const GLANCES: u64 = 3;

/// Counts of a campaign.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    /// Lives in which some call to the disk failed.
    pub(crate) faults: u64,
    /// Crash images met.
    pub(crate) crashes: u64,
    /// Crash images that were opened and judged.
    pub(crate) recoveries: u64,
    /// By how the machine was stopped.
    pub(crate) stopped: BTreeMap<Stopped, u64>,
    /// Further outcomes judged at each crash of a random life.
    pub(crate) branches: u64,
    /// Outcomes of a crash judged after each step of a random life.
    pub(crate) glances: u64,
    states: Arc<Shelf>,
    judged: Arc<Shelf>,
}

impl Tally {
    /// Counts the distinct crash images so far, of all threads.
    pub(crate) fn states(&self) -> usize {
        self.states.len()
    }

    /// Also judges other outcomes of long lives from now on. The lives continue as they would.
    pub(crate) fn judge_other_outcomes(&mut self) {
        (self.branches, self.glances) = (BRANCHES, GLANCES);
    }

    /// Returns a tally for another thread: its counts are its own, what was met is shared.
    pub(crate) fn for_thread(&self) -> Self {
        let (states, judged) = (Arc::clone(&self.states), Arc::clone(&self.judged));
        let (branches, glances) = (self.branches, self.glances);
        Self { states, judged, branches, glances, ..Self::default() }
    }

    /// Adds another thread's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        for (kind, count) in &other.stopped {
            *self.stopped.entry(*kind).or_default() += count;
        }
    }

    /// Records a crash image. Returns whether it is a new one.
    pub(crate) fn state(&mut self, hash: u64) -> bool {
        self.crashes += 1;
        self.states.insert(hash)
    }

    /// Records a crash image together with what the user expects of it. Returns whether the pair is new: an image is
    /// judged again if something else is expected.
    pub(crate) fn is_new(&mut self, image: u64, expectation: u64) -> bool {
        self.state(image);
        self.judged.insert(mixed(image, expectation))
    }

    /// Records a stop of a machine before anything is decided. Returns whether it is new for the same user: otherwise
    /// all its outcomes are known.
    pub(crate) fn is_new_stop(&mut self, stop: u64, expectation: u64) -> bool {
        self.judged.insert(mixed(!stop, expectation))
    }

    pub(crate) fn stopped(&mut self, how: Stopped) {
        *self.stopped.entry(how).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} crashes, {} distinct crash states, {} lives with faults",
            self.runs,
            self.crashes,
            self.states(),
            self.faults
        )
    }
}
