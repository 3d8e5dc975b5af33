//! A disk in memory that crashes from a seed.
//!
//! # Limits
//!
//! - Files are kept in memory; sectors of zeroes take none.
//! - [`SimDisk::trace`] keeps the last 4096 operations.
//!
//! # Operation
//!
//! The engine runs on it as on a real disk. A harness stops the machine at any operation ([`SimDisk::crash_at`]), takes
//! as many different outcomes of the power cut as it likes ([`SimDisk::crash`]), opens the engine on each and checks
//! it. Three states are kept apart: visible to reads, durable, and pending, separately for contents (by sector),
//! lengths and names. Calls move changes from one to the next exactly as [`millpond::internal::disk`] promises: a durable write
//! inside a file whose length or name is pending can vanish with them.
//!
//! After a power cut each pending write has arrived whole, in part or not at all; the two [`Model`]s define how names
//! and lengths behave. After a [`SimDisk::kill`] the cache is still there, readable and not durable.
//!
//! Every directory is a file system of its own, with its own journal, capacity and faults.
//!
//! # Invariants
//!
//! - The same options, calls and seeds give the same bytes.
//! - A crash image is a disk of its own; the one it was taken from does not change.
//! - What a caller may never do (submit outside the file, unaligned, over a write in flight, more
//!   at once than the storage allows) panics: it is a bug of ours, and a test must see it.

mod choice;
mod crash;
mod directory;
mod faults;
mod file;
mod image;
mod lottery;
mod options;
mod rot;
mod sectors;
#[cfg(test)]
mod tests;
mod trace;
mod volume;
mod world;

pub use choice::Outcomes;
pub use crash::Odds;
pub use faults::{DiskMutation, Fault, FaultEffect, FaultTarget, Lie, TARGET};
pub use image::Loss;
pub use options::{Completion, Model, SimOptions, TornBlock};
pub use rot::Nameless;

use directory::SimDirectory;
use millpond::internal::disk::{Directory, Disk, WriteToken};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use volume::Volume;
use world::{SharedWorld, SimFailure, World};

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: SharedWorld,
}

impl SimDisk {
    /// Returns an empty disk.
    ///
    /// # Panics
    /// The physical block is not a multiple of the sector.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        assert!(
            options.sector_bytes > 0
                && options.physical_block_bytes.is_multiple_of(options.sector_bytes),
            "a physical block is made of whole sectors"
        );
        Self { shared: SharedWorld::new(World::new(options)) }
    }

    /// Counts the operations so far that may have changed the state after a crash.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shared.lock().operations
    }

    /// Stops the machine in the middle of operation number `operation` (the first is 1): it and every later call fail,
    /// and its change is pending.
    pub fn crash_at(&self, operation: u64) {
        self.shared.lock().crash_at = Some(operation);
    }

    /// Stops the machine between two operations: every later call fails.
    pub fn stop(&self) {
        self.shared.lock().crashed = true;
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.shared.lock().crashed
    }

    /// Returns the disk after a power cut now. How much of the pending changes survives is drawn from `seed`.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self { shared: SharedWorld::new(crash::power_cut(&self.shared.lock(), seed, None)) }
    }

    /// Returns the disk after a power cut now, with given odds.
    #[must_use]
    pub fn crash_with(&self, seed: u64, odds: Odds) -> Self {
        Self { shared: SharedWorld::new(crash::power_cut(&self.shared.lock(), seed, Some(odds))) }
    }

    /// Returns the machine without power now, with every possible outcome of the power cut.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        Outcomes::of(&self.shared.lock())
    }

    /// Returns the disk after a kill of the process now: the cache is kept, and what was in flight has arrived or not.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        Self { shared: SharedWorld::new(crash::kill(&self.shared.lock(), seed)) }
    }

    /// Injects a fault.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Removes every injected fault.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Sets or removes a mutation from now on.
    pub fn set_mutation(&self, mutant: Option<DiskMutation>) {
        self.shared.lock().options.mutant = mutant;
    }

    /// Changes the space of a directory, bytes.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn set_capacity(&self, directory: &Path, bytes: u64) -> io::Result<()> {
        let mut world = self.shared.lock();
        let id = *world.paths.get(directory).ok_or(io::ErrorKind::NotFound)?;
        world.volume(id).capacity_bytes = bytes;
        Ok(())
    }

    /// Removes a directory with everything in it, as when its disk is unplugged: open files fail, and an open of the
    /// path finds nothing, or creates a new empty directory there.
    pub fn remove_directory(&self, path: &Path) {
        let mut world = self.shared.lock();
        let gone: Vec<PathBuf> =
            world.paths.keys().filter(|at| at.starts_with(path)).cloned().collect();
        for path in gone {
            if let Some(id) = world.paths.remove(&path) {
                tracing::trace!(target: TARGET, "a directory disappears");
                world.volume(id).mounted = false;
            }
        }
    }

    /// Removes the path of a directory, as a lazy unmount does: open descriptors keep working, and an open of the path
    /// finds nothing.
    pub fn move_directory_away(&self, path: &Path) {
        tracing::trace!(target: TARGET, "a directory moves away");
        self.shared.lock().paths.remove(path);
    }

    /// Restores what [`SimDisk::move_directory_away`] removed.
    pub fn move_directory_back(&self, path: &Path) {
        let mut world = self.shared.lock();
        let is_it = |volume: &Volume| volume.mounted && volume.path == path;
        let found = world.volumes.iter().find(|(_, volume)| is_it(volume)).map(|(id, _)| *id);
        if let Some(id) = found {
            world.paths.insert(path.to_owned(), id);
        }
    }

    /// Restores what [`SimDisk::remove_directory`] removed, over whatever is there by now.
    pub fn restore(&self, path: &Path) {
        let mut world = self.shared.lock();
        let away: Vec<(PathBuf, u64)> = world
            .volumes
            .iter()
            .filter(|(_, volume)| !volume.mounted && volume.path.starts_with(path))
            .map(|(id, volume)| (volume.path.clone(), *id))
            .collect();
        for (path, id) in away {
            if let Some(shadow) = world.paths.insert(path, id) {
                // Kept for its open files, which fail from now on, but never mounted again.
                let shadow = world.volume(shadow);
                shadow.mounted = false;
                shadow.path = PathBuf::new();
            }
            world.volume(id).mounted = true;
        }
    }

    /// Returns the writes in flight, oldest first.
    #[must_use]
    pub fn pending(&self) -> Vec<WriteToken> {
        self.shared.lock().flights.keys().copied().collect()
    }

    /// Ends a write in flight; its owner gets the result from [`File::finish`](millpond::internal::disk::File::finish).
    ///
    /// # Panics
    /// No such write is in flight: a bug of the harness.
    pub fn complete(&self, token: WriteToken, completion: Completion) {
        let mut world = self.shared.lock();
        let flight = world.flights.remove(&token).expect("the harness ends writes in flight");
        world.end(&flight, completion);
        let result = match completion {
            Completion::Done => None,
            Completion::Failed(kind, _) => Some(kind),
        };
        let result = world.reported(&flight, result).map_or(Ok(()), Err);
        world.outcomes.insert(token, (flight.file, result));
    }

    /// Returns a number that differs between durable states: names, lengths and bytes on the medium.
    #[must_use]
    pub fn image_hash(&self) -> u64 {
        image_of(&self.shared.lock())
    }

    /// Returns a number that differs between states that a process can find or a crash can leave: durable states as in
    /// [`SimDisk::image_hash`], and in addition what is visible and what is undecided.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        state_of(&self.shared.lock())
    }

    /// Returns the last operations, one per line: number (of those that change something), kind, path, offset, and
    /// whether it failed.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.shared.lock().trace.lines()
    }
}

fn image_of(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, id) in &world.paths {
        let Some(volume) = world.volumes.get(id) else { continue };
        path.hash(&mut hasher);
        for (name, file) in &volume.names {
            let Some(node) = world.files.get(file) else { continue };
            name.hash(&mut hasher);
            node.image.len_durable.hash(&mut hasher);
            let mut contents = node.image.durable.clone();
            contents.cut(node.image.len_durable, world.options.sector_bytes);
            contents.digest().hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn state_of(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    image_of(world).hash(&mut hasher);
    for volume in world.volumes.values().filter(|volume| volume.mounted) {
        (&volume.path, volume.durable).hash(&mut hasher);
        for change in &volume.pending {
            (&change.name, change.file.is_some()).hash(&mut hasher);
        }
        for (name, file) in &volume.seen {
            let Some(node) = world.files.get(file) else { continue };
            let image = &node.image;
            (name, image.len_seen, image.seen.digest()).hash(&mut hasher);
            for (_, len) in &image.len_pending {
                len.hash(&mut hasher);
            }
            for (_, number, sector) in image.undecided() {
                (number, sector).hash(&mut hasher);
            }
        }
    }
    for flight in world.flights.values() {
        for (number, sector) in &flight.pieces {
            (number, sector).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Returns the file at a path.
fn find(world: &World, path: &Path) -> Option<u64> {
    let volume = world.volumes.get(world.paths.get(path.parent()?)?)?;
    volume.seen.get(path.file_name()?.to_str()?).copied()
}

impl Disk for SimDisk {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        let mut world = self.shared.lock();
        if create && !world.paths.contains_key(path) {
            make_chain(&mut world, path)?;
        } else {
            world.begin(FaultTarget::OpenDir, path, 0, 0)?;
        }
        let volume = *world.paths.get(path).ok_or(io::ErrorKind::NotFound)?;
        if create && !world.lies(Lie::ForgetNewDirectory, path) {
            // As on the real disk: the name may be from a process that was killed before syncing it.
            world.volumes.get_mut(&volume).ok_or(io::ErrorKind::NotFound)?.durable = true;
        }
        Ok(Arc::new(SimDirectory { shared: self.shared.clone(), volume, path: path.to_owned() }))
    }
}

/// Creates a directory and its missing parents, each durable before the next.
fn make_chain(world: &mut World, path: &Path) -> io::Result<()> {
    let begun = world.begin(FaultTarget::MakeDir, path, 0, 0);
    let mut missing: Vec<PathBuf> = path
        .ancestors()
        .filter(|at| at.file_name().is_some() && !world.paths.contains_key(*at))
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    let (count, durable) = match &begun {
        Ok(()) => (missing.len(), !world.lies(Lie::ForgetNewDirectory, path)),
        // The crash decides how many of them are left.
        Err(SimFailure::Crash(_)) => (missing.len(), false),
        Err(SimFailure::Fault(_, FaultEffect::All)) => (missing.len(), true),
        Err(SimFailure::Fault(_, FaultEffect::Part)) => (missing.len() / 2, true),
        Err(_) => (0, false),
    };
    for path in missing.into_iter().take(count) {
        let id = world.next();
        let volume = Volume::new(path.clone(), world.options.capacity_bytes, durable);
        world.volumes.insert(id, volume);
        world.paths.insert(path, id);
    }
    Ok(begun?)
}
