//! The whole state of the simulated machine, in one mutex.

use super::faults::{Fault, FaultEffect, FaultTarget, Lie, TARGET};
use super::image::{Image, Order, Piece};
use super::lottery::Lottery;
use super::options::{Completion, Model, SimOptions};
use super::trace::Trace;
use super::volume::{FileId, Volume, VolumeId};
use millpond::internal::disk::WriteToken;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The world as shared by directories, files and locks.
#[derive(Clone, Debug)]
pub(super) struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        // A panic of a test's thread must not be hidden by one of ours.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file, also while it has no name.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) volume: VolumeId,
    pub(super) image: Image,
    /// Write-backs that failed.
    pub(super) errors: u64,
    /// How many of them were reported to some open file description.
    pub(super) errors_reported: u64,
    /// The error of a write that returned success: another write's sync will take it.
    misplaced_error: bool,
}

impl Node {
    pub(super) fn new(volume: VolumeId, image: Image) -> Self {
        Self { volume, image, errors: 0, errors_reported: 0, misplaced_error: false }
    }
}

/// A submitted write that has not ended.
#[derive(Clone, Debug)]
pub(super) struct SimWrite {
    pub(super) file: FileId,
    pub(super) order: Order,
    pub(super) pieces: Vec<Piece>,
    /// How many of the pieces, counted from the last, a mutation leaves in a cache.
    pub(super) cached: usize,
    /// A mutation would hold it back until the next one is durable.
    pub(super) swapped: bool,
}

/// Why an operation is not simply executed.
#[derive(Debug)]
pub(super) enum SimFailure {
    /// It does not start.
    Refused(io::Error),
    /// The machine stops in the middle of it.
    Crash(io::Error),
    /// A fault was injected.
    Fault(io::Error, FaultEffect),
}

impl From<SimFailure> for io::Error {
    fn from(fault: SimFailure) -> Self {
        match fault {
            SimFailure::Refused(error) | SimFailure::Crash(error) | SimFailure::Fault(error, _) => {
                error
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) options: SimOptions,
    pub(super) volumes: BTreeMap<VolumeId, Volume>,
    pub(super) paths: BTreeMap<PathBuf, VolumeId>,
    pub(super) files: BTreeMap<FileId, Node>,
    pub(super) flights: BTreeMap<WriteToken, SimWrite>,
    /// Results of writes that the harness ended before their owner asked.
    pub(super) outcomes: BTreeMap<WriteToken, (FileId, Result<(), io::ErrorKind>)>,
    pub(super) locks: BTreeSet<FileId>,
    pub(super) faults: Vec<Fault>,
    pub(super) lottery: Lottery,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) trace: Trace,
    /// The write that [`Lie::SwapWrites`] holds back.
    pub(super) held: Option<(FileId, Order)>,
    last: u64,
}

pub(super) fn crash_error() -> io::Error {
    io::Error::other("simulated crash")
}

impl World {
    pub(super) fn new(options: SimOptions) -> Self {
        Self {
            lottery: Lottery::new(options.seed),
            options,
            volumes: BTreeMap::new(),
            paths: BTreeMap::new(),
            files: BTreeMap::new(),
            flights: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: Vec::new(),
            operations: 0,
            crash_at: None,
            crashed: false,
            trace: Trace::default(),
            held: None,
            last: 0,
        }
    }

    /// Returns a unique number: the next change's order, or an id.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn lies(&self, lie: Lie, path: &Path) -> bool {
        self.options.mutant.is_some_and(|mutant| mutant.tells(lie, path))
    }

    /// Returns how many pieces of a submitted write a mutation leaves in a cache, counted from the last.
    pub(super) fn cached(&self, path: &Path, pieces: usize) -> usize {
        if self.lies(Lie::SubmitNotDurable, path) {
            pieces
        } else if self.lies(Lie::HalfWrite, path) {
            pieces / 2
        } else {
            0
        }
    }

    /// Returns the result of a call; with `lie`, an injected failure is reported as success.
    pub(super) fn answer(
        &self,
        begun: Result<(), SimFailure>,
        lie: Lie,
        path: &Path,
    ) -> io::Result<()> {
        match begun {
            Err(SimFailure::Fault(..)) if self.lies(lie, path) => Ok(()),
            begun => Ok(begun?),
        }
    }

    /// Starts an operation: counts it, stops the machine at it, or injects a fault.
    pub(super) fn begin(
        &mut self,
        on: FaultTarget,
        path: &Path,
        at: u64,
        len: u64,
    ) -> Result<(), SimFailure> {
        if self.crashed {
            return Err(SimFailure::Refused(crash_error()));
        }
        if on.changes() {
            self.operations += 1;
        }
        let number = on.changes().then_some(self.operations);
        if number.is_some() && number == self.crash_at {
            self.crashed = true;
            self.trace.add(number, on, path, at, len, "crash");
            return Err(SimFailure::Crash(crash_error()));
        }
        // Every fault counts the operation, also if another one applies.
        let mut struck = None;
        for fault in &mut self.faults {
            if fault.strikes(on, path, at) && struck.is_none() {
                struck = Some((fault.kind, fault.effect));
            }
        }
        if let Some((kind, effect)) = struck {
            self.trace.add(number, on, path, at, len, "fault");
            tracing::trace!(target: TARGET, "{on:?} fails, {effect:?}");
            let error = io::Error::new(kind, format!("simulated fault: {}", path.display()));
            return Err(SimFailure::Fault(error, effect));
        }
        self.trace.add(number, on, path, at, len, "");
        Ok(())
    }

    /// Like [`World::begin`], for an operation in a directory that may be gone.
    pub(super) fn begin_in(
        &mut self,
        volume: VolumeId,
        on: FaultTarget,
        path: &Path,
        at: u64,
        len: u64,
    ) -> Result<(), SimFailure> {
        let mounted = self.volumes.get(&volume).is_some_and(|volume| volume.mounted);
        if !self.crashed && !mounted {
            tracing::trace!(target: TARGET, "{on:?} fails, its directory is gone");
            let error = format!("simulated: the directory of {} is gone", path.display());
            return Err(SimFailure::Refused(io::Error::new(io::ErrorKind::NotFound, error)));
        }
        self.begin(on, path, at, len)
    }

    pub(super) fn volume(&mut self, id: VolumeId) -> &mut Volume {
        self.volumes.get_mut(&id).expect("an open directory's volume is kept")
    }

    pub(super) fn node(&mut self, id: FileId) -> &mut Node {
        self.files.get_mut(&id).expect("an open file's node is kept")
    }

    /// Returns the bytes of a directory's files, in whole physical blocks.
    pub(super) fn used_bytes(&self, volume: VolumeId) -> u64 {
        let Some(volume) = self.volumes.get(&volume) else { return 0 };
        let block = self.options.physical_block_bytes as u64;
        let lens = volume.seen.values().filter_map(|file| self.files.get(file));
        lens.map(|node| node.image.len_seen.next_multiple_of(block)).sum()
    }

    /// Returns how long a file may become.
    pub(super) fn len_max(&self, file: FileId) -> u64 {
        let Some(node) = self.files.get(&file) else { return 0 };
        let block = self.options.physical_block_bytes as u64;
        let own = node.image.len_seen.next_multiple_of(block);
        let others = self.used_bytes(node.volume).saturating_sub(own);
        let capacity = self.volumes.get(&node.volume).map_or(0, |volume| volume.capacity_bytes);
        // Existing content stays, also if the capacity has shrunk below it.
        (capacity.saturating_sub(others) / block * block).max(node.image.len_seen)
    }

    /// Commits the journal, as a journalling file system does at every sync: all earlier names and lengths of the
    /// directory become durable, in order.
    pub(super) fn commit_journal(&mut self, volume: VolumeId) {
        if self.options.model != Model::Journalling {
            return;
        }
        for node in self.files.values_mut().filter(|node| node.volume == volume) {
            node.image.persist_len(Order::MAX);
        }
        self.volume(volume).persist(|_| true);
    }

    /// Ends a submitted write successfully.
    pub(super) fn land(&mut self, flight: &SimWrite) {
        let swapped = flight.swapped && self.held.is_none();
        let cached = if swapped { flight.pieces.len() } else { flight.cached };
        let (now, later) = flight.pieces.split_at(flight.pieces.len() - cached);
        let direct = self.options.is_direct();
        let image = &mut self.node(flight.file).image;
        image.reach(&flight.pieces);
        if direct {
            image.land(now);
            image.cache(flight.order, later);
        } else {
            // All of it is in the cache already.
            let now: BTreeSet<u64> = now.iter().map(|(number, _)| *number).collect();
            image.persist(|write, number| write == flight.order && now.contains(&number));
        }
        if swapped {
            self.held = Some((flight.file, flight.order));
            return;
        }
        if let Some((file, order)) = self.held.take() {
            self.node(file).image.persist(|write, _| write == order);
        }
    }

    /// Ends a submitted write with an error.
    pub(super) fn miss(&mut self, flight: &SimWrite, effect: FaultEffect) {
        let (says_direct, direct) = (self.options.direct, self.options.is_direct());
        let mut lottery = self.lottery.clone();
        let image = &mut self.node(flight.file).image;
        let arrivals = lottery.arrivals(flight.pieces.len(), 50);
        let arrived = || flight.pieces.iter().zip(&arrivals).filter(|(_, arrived)| **arrived);
        match effect {
            FaultEffect::Nothing => {}
            FaultEffect::Part | FaultEffect::Lost(_) if direct => {
                let arrived: Vec<Piece> = arrived().map(|(piece, _)| piece.clone()).collect();
                image.land(&arrived);
            }
            FaultEffect::All if direct => image.land(&flight.pieces),
            FaultEffect::Later if direct => image.stray(flight.order, &flight.pieces),
            FaultEffect::Part => {
                let arrived: BTreeSet<u64> = arrived().map(|((number, _), _)| *number).collect();
                image.persist(|write, number| write == flight.order && arrived.contains(&number));
            }
            FaultEffect::All => image.persist(|write, _| write == flight.order),
            FaultEffect::Later => {}
            FaultEffect::Lost(loss) => {
                // A synchronous write is synced by itself; one followed by a sync is synced with everything else.
                let only = says_direct.then_some(flight.order);
                image.lose(loss, &mut lottery, 50, only);
            }
        }
        self.lottery = lottery;
    }

    /// Returns the result that the caller of a write gets: its own error, or, on storage that buffers although it
    /// claims direct writes, the error that another write on the same description has left or taken.
    pub(super) fn reported<E: From<io::ErrorKind>>(
        &mut self,
        flight: &SimWrite,
        failed: Option<E>,
    ) -> Option<E> {
        if !self.options.has_lie(Lie::SilentBuffering) {
            return failed;
        }
        let others = self.flights.values().any(|other| other.file == flight.file);
        if failed.is_some() && others && self.lottery.wins(50) {
            self.node(flight.file).misplaced_error = true;
            return None;
        }
        let taken = std::mem::take(&mut self.node(flight.file).misplaced_error);
        failed.or_else(|| taken.then(|| io::ErrorKind::Other.into()))
    }

    /// Ends a flight as the harness requests.
    pub(super) fn end(&mut self, flight: &SimWrite, completion: Completion) {
        match completion {
            Completion::Done => self.land(flight),
            Completion::Failed(_, effect) => {
                tracing::trace!(target: TARGET, "{:?} fails, {effect:?}", FaultTarget::Finish);
                self.miss(flight, effect);
            }
        }
    }
}
