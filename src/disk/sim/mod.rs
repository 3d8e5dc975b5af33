//! A disk in memory that crashes from a seed.
//!
//! # Limits
//!
//! - Files live in memory; sectors of zeroes take none.
//! - [`SimDisk::trace`] remembers the last 4096 operations.
//!
//! # Story
//!
//! The engine runs on it as on a real disk. A harness stops the machine at any operation
//! ([`SimDisk::crash_at`]), takes as many different outcomes of the power cut as it likes
//! ([`SimDisk::crash`]), opens the engine on each and looks. Three things are kept apart: what
//! reads see, what is durable, and what is pending, separately for contents (by sector), lengths
//! and names. Calls move changes from one to the next as [`crate::disk`] promises, and not a bit
//! further: a durable write inside a file whose length or name is pending can vanish with them.
//!
//! After a power cut each pending write has arrived whole, in part or not at all; the two
//! [`Model`]s say how names and lengths go with it. After a [`SimDisk::kill`] the cache is still
//! there, readable and not durable.
//!
//! Every directory is a file system of its own, with its own journal, capacity and fate.
//!
//! # Invariants
//!
//! - The same options, calls and seeds give the same bytes.
//! - A crash image is a disk of its own; the one it was taken from does not change.
//! - What a caller may never do (submit outside the file, unaligned, over a write in flight, more
//!   at once than the storage allows) panics: it is our mistake, and a test must see it.

mod choice;
mod crash;
mod directory;
mod faults;
mod file;
mod image;
mod lottery;
mod rot;
mod sectors;
#[cfg(test)]
mod tests;
mod trace;
mod volume;
mod world;

pub use choice::Outcomes;
pub use crash::Odds;
pub use faults::{Effect, Fault, Lie, Mutant, On, TARGET};
pub use image::Loss;
pub use rot::Nameless;

use super::{Directory, Disk, WriteToken};
use crate::base::limits::DEVICE_BLOCK_BYTES;
use directory::SimDirectory;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use volume::Volume;
use world::{Shared, Trouble, World};

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
    /// One of those that the write was for may be garbage.
    DamageWritten,
    /// Any may be garbage, also one that the write was not for.
    DamageAll,
}

/// What kind of disk to simulate.
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
    /// By how many bytes the device's physical blocks begin before those of a file: 0 where the file system
    /// gives out space in whole physical blocks, a multiple of its own blocks where those are smaller. A
    /// multiple of the sector.
    pub shift_bytes: usize,
    /// Space of each directory, bytes.
    pub capacity_bytes: u64,
    /// Submitted writes bypass the cache; else each is a buffered write with a sync behind it,
    /// one in flight per file.
    pub direct: bool,
    /// Submitted writes stay in flight until they are finished; else they end at once.
    pub pending: bool,
    /// Files can have space set aside for them; a reader sees zeroes there.
    pub allocates: bool,
    /// A door that pretends.
    pub mutant: Option<Mutant>,
}

impl SimOptions {
    /// A strict disk of 1 GiB per directory with direct writes that end at once.
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
    fn has_lie(&self, lie: Lie) -> bool {
        self.mutant.is_some_and(|mutant| mutant.lie == lie)
    }

    /// Whether submitted writes really bypass the cache, whatever the door says.
    fn is_direct(&self) -> bool {
        self.direct && !self.has_lie(Lie::SilentBuffering)
    }

    /// What a torn physical block does, and by how many sectors its grid is shifted.
    fn tearing(&self) -> (TornBlock, u64) {
        match self.has_lie(Lie::SharedBlocks) {
            true => {
                (TornBlock::DamageAll, (self.physical_block_bytes / self.sector_bytes / 4) as u64)
            }
            false => (self.torn_block, (self.shift_bytes / self.sector_bytes) as u64),
        }
    }

    /// The physical block of a sector of a file, counted from the one that holds its first.
    fn physical_block(&self, sector: u64) -> u64 {
        (sector + self.tearing().1) / (self.physical_block_bytes / self.sector_bytes) as u64
    }

    /// The sectors of a file in a physical block.
    fn sectors_of(&self, block: u64) -> std::ops::Range<u64> {
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
    /// It failed, with what it did all the same.
    Failed(io::ErrorKind, Effect),
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Shared,
}

impl SimDisk {
    /// An empty disk.
    ///
    /// # Panics
    /// The physical block is no multiple of the sector.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        assert!(
            options.sector_bytes > 0
                && options.physical_block_bytes.is_multiple_of(options.sector_bytes),
            "a physical block is made of whole sectors"
        );
        Self { shared: Shared::new(World::new(options)) }
    }

    /// Operations so far that may have changed what a crash leaves.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shared.lock().operations
    }

    /// Stops the machine in the middle of operation number `operation` (the first is 1): it and
    /// every later call fail, and what it was doing is pending.
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

    /// The disk after a power cut now. How much of what is pending survives is drawn from `seed`.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self { shared: Shared::new(crash::power_cut(&self.shared.lock(), seed, None)) }
    }

    /// The disk after a power cut now, with given odds.
    #[must_use]
    pub fn crash_with(&self, seed: u64, odds: Odds) -> Self {
        Self { shared: Shared::new(crash::power_cut(&self.shared.lock(), seed, Some(odds))) }
    }

    /// The machine without power now, with every outcome that the power cut may have.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        Outcomes::of(&self.shared.lock())
    }

    /// The disk after the process was killed now: the cache lives on, and what was in flight has
    /// arrived or not.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        Self { shared: Shared::new(crash::kill(&self.shared.lock(), seed)) }
    }

    /// Orders a failure.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Takes back every ordered failure.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Makes the door a faulty or an honest one from now on.
    pub fn set_mutant(&self, mutant: Option<Mutant>) {
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

    /// Takes a directory away with everything in it, as when its disk is unplugged: open files
    /// fail, and who opens the path finds nothing, or makes a new empty directory there.
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

    /// Takes the path of a directory away, as a lazy unmount does: who has it open goes on with it, and
    /// who opens the path finds nothing.
    pub fn move_directory_away(&self, path: &Path) {
        tracing::trace!(target: TARGET, "a directory moves away");
        self.shared.lock().paths.remove(path);
    }

    /// Brings back what [`SimDisk::move_directory_away`] took.
    pub fn move_directory_back(&self, path: &Path) {
        let mut world = self.shared.lock();
        let is_it = |volume: &Volume| volume.mounted && volume.path == path;
        let found = world.volumes.iter().find(|(_, volume)| is_it(volume)).map(|(id, _)| *id);
        if let Some(id) = found {
            world.paths.insert(path.to_owned(), id);
        }
    }

    /// Brings back what [`SimDisk::remove_directory`] took away, over whatever is there by now.
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

    /// Writes in flight, oldest first.
    #[must_use]
    pub fn pending(&self) -> Vec<WriteToken> {
        self.shared.lock().flights.keys().copied().collect()
    }

    /// Ends a write in flight; its owner learns it from [`File::finish`](super::File::finish).
    ///
    /// # Panics
    /// No such write is in flight: the harness is wrong.
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

    /// A number that tells durable states apart: names, lengths and bytes on the medium.
    #[must_use]
    pub fn image_hash(&self) -> u64 {
        image_of(&self.shared.lock())
    }

    /// A number that tells apart what a process can find or a crash can leave: durable states as
    /// [`SimDisk::image_hash`] does, and on top of that what is seen and what is undecided.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        state_of(&self.shared.lock())
    }

    /// The last operations, one a line: number (of those that change something), kind, path,
    /// place, and whether it failed.
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

/// The file that a path names.
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
            world.begin(On::OpenDir, path, 0, 0)?;
        }
        let volume = *world.paths.get(path).ok_or(io::ErrorKind::NotFound)?;
        if create && !world.lies(Lie::ForgetNewDirectory, path) {
            // As the real door: the name may be of someone who was killed before syncing it.
            world.volumes.get_mut(&volume).ok_or(io::ErrorKind::NotFound)?.durable = true;
        }
        Ok(Arc::new(SimDirectory { shared: self.shared.clone(), volume, path: path.to_owned() }))
    }
}

/// Makes a directory and its missing parents, each durable before the next.
fn make_chain(world: &mut World, path: &Path) -> io::Result<()> {
    let begun = world.begin(On::MakeDir, path, 0, 0);
    let mut missing: Vec<PathBuf> = path
        .ancestors()
        .filter(|at| at.file_name().is_some() && !world.paths.contains_key(*at))
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    let (count, durable) = match &begun {
        Ok(()) => (missing.len(), !world.lies(Lie::ForgetNewDirectory, path)),
        // How many of them a crash leaves is decided there.
        Err(Trouble::Crash(_)) => (missing.len(), false),
        Err(Trouble::Fault(_, Effect::All)) => (missing.len(), true),
        Err(Trouble::Fault(_, Effect::Part)) => (missing.len() / 2, true),
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
