//! The options of a simulated disk.

use super::faults::DiskMutation;
use super::faults::FaultEffect;
use super::faults::Lie;
use millpond::internal::base::limits::DEVICE_BLOCK_BYTES;
use std::io;

/// How names and lengths become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// Each only by its own sync, and in any order at a crash: all that POSIX promises.
    StrictPosix,
    /// In the order in which they changed; any sync in a directory takes all earlier changes of
    /// names and lengths there with it.
    Journalling,
}

/// What a torn physical block does to its sectors that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TornBlock {
    /// They keep their old bytes.
    Clean,
    /// One of those that were being written may be garbage.
    DamageWritten,
    /// Any may be garbage, also one that was not being written.
    DamageAll,
}

/// The kind of disk to simulate.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Seed of everything random while the machine runs.
    pub seed: u64,
    /// How names and lengths become durable.
    pub model: Model,
    /// Bytes that the medium writes whole or not at all.
    pub sector_bytes: usize,
    /// Bytes that the medium rewrites together; alignment of submitted writes.
    pub physical_block_bytes: usize,
    /// What a torn physical block does.
    pub torn_block: TornBlock,
    /// By how many bytes the device's physical blocks begin before those of a file: 0 if the file system allocates
    /// whole physical blocks, a multiple of its own blocks if those are smaller. A multiple of the sector.
    pub shift_bytes: usize,
    /// Space of each directory, bytes.
    pub capacity_bytes: u64,
    /// Submitted writes bypass the cache; otherwise each is a buffered write followed by a sync, one in flight per
    /// file.
    pub direct: bool,
    /// Submitted writes stay in flight until they are finished; otherwise they end at once.
    pub pending: bool,
    /// Space can be allocated for files; a reader sees zeroes there.
    pub allocates: bool,
    /// A disk mutation.
    pub mutant: Option<DiskMutation>,
}

impl SimOptions {
    /// Returns a strict disk of 1 GiB per directory with direct writes that end at once.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            model: Model::StrictPosix,
            sector_bytes: 512,
            physical_block_bytes: DEVICE_BLOCK_BYTES,
            torn_block: TornBlock::DamageWritten,
            shift_bytes: 0,
            capacity_bytes: 1 << 30,
            direct: true,
            pending: false,
            allocates: false,
            mutant: None,
        }
    }
}

impl SimOptions {
    pub(super) fn has_lie(&self, lie: Lie) -> bool {
        self.mutant.is_some_and(|mutant| mutant.lie == lie)
    }

    /// Whether submitted writes really bypass the cache, whatever a mutation claims.
    pub(super) fn is_direct(&self) -> bool {
        self.direct && !self.has_lie(Lie::SilentBuffering)
    }

    /// Returns what a torn physical block does, and by how many sectors its grid is shifted.
    pub(super) fn tearing(&self) -> (TornBlock, u64) {
        match self.has_lie(Lie::SharedBlocks) {
            true => {
                (TornBlock::DamageAll, (self.physical_block_bytes / self.sector_bytes / 4) as u64)
            }
            false => (self.torn_block, (self.shift_bytes / self.sector_bytes) as u64),
        }
    }

    /// Returns the physical block of a sector of a file, counted from the one that holds its first.
    pub(super) fn physical_block(&self, sector: u64) -> u64 {
        (sector + self.tearing().1) / (self.physical_block_bytes / self.sector_bytes) as u64
    }

    /// Returns the sectors of a file in a physical block.
    pub(super) fn sectors_of(&self, block: u64) -> std::ops::Range<u64> {
        let (shift, count) =
            (self.tearing().1, (self.physical_block_bytes / self.sector_bytes) as u64);
        (block * count).saturating_sub(shift)..((block + 1) * count).saturating_sub(shift)
    }
}

/// How a harness ends a write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is durable.
    Done,
    /// It failed, with this effect.
    Failed(io::ErrorKind, FaultEffect),
}
