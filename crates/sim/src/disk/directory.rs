//! A directory of the simulated disk.

use super::faults::{FaultEffect, FaultTarget, Lie, TARGET};
use super::file::SimFile;
use super::image::Image;
use super::volume::{FileId, VolumeId};
use super::world::{Node, SharedWorld, SimFailure, World};
use millpond::internal::base::limits::WRITES_IN_FLIGHT_MAX;
use millpond::internal::disk::{
    Access, Capabilities, Directory, Entry, File, Lock, LockError, Renewed, Space,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone)]
pub(super) struct SimDirectory {
    pub(super) shared: SharedWorld,
    pub(super) volume: VolumeId,
    pub(super) path: PathBuf,
}

/// A lock of the simulated machine.
struct SimLock {
    directory: SimDirectory,
    name: String,
    path: PathBuf,
    file: Mutex<FileId>,
}

impl SimLock {
    fn file(&self) -> MutexGuard<'_, FileId> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lock for SimLock {
    fn path(&self) -> &Path {
        &self.path
    }

    fn renew(&self) -> Result<Renewed, LockError> {
        let mut file = self.file();
        let named = self
            .directory
            .identity_of(&self.name)
            .map_err(|source| LockError::Io { path: self.path.clone(), source })?;
        if named.is_some_and(|(_, named)| named == *file) {
            return Ok(Renewed::Kept);
        }
        let again = self.directory.lock_file(&self.name)?;
        self.directory.shared.lock().locks.remove(&*file);
        *file = again;
        Ok(Renewed::Remade)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let file = *self.file();
        self.directory.shared.lock().locks.remove(&file);
    }
}

impl SimDirectory {
    fn file(&self, world: &mut World, id: FileId, name: &str, access: Access) -> Arc<dyn File> {
        let path = self.path.join(name);
        let shared = self.shared.clone();
        let node = world.node(id);
        // An error that was not reported yet is reported to the next opener of the file.
        let errors_seen = node.errors - u64::from(node.errors > node.errors_reported);
        Arc::new(SimFile {
            shared,
            id,
            volume: self.volume,
            path,
            writable: access == Access::Write,
            sync_failed: AtomicBool::new(false),
            errors_seen: AtomicU64::new(errors_seen),
        })
    }

    /// Locks the file `name`, creating it if needed.
    fn lock_file(&self, name: &str) -> Result<FileId, LockError> {
        let path = self.path.join(name);
        let mut world = self.shared.lock();
        let begun = world.begin_in(self.volume, FaultTarget::Lock, &path, 0, 0);
        let there = world.volumes.get(&self.volume).and_then(|v| v.seen.get(name).copied());
        let made = match there {
            Some(file) => begun.map(|()| file).map_err(io::Error::from),
            None if begun.is_ok() => {
                let file = add_file(&mut world, self.volume);
                self.change(&mut world, begun, name, Some(file)).map(|()| file)
            }
            None => begun.map(|()| 0).map_err(io::Error::from),
        };
        let file = match made {
            Ok(file) => file,
            Err(source) => return Err(LockError::Io { path, source }),
        };
        if !world.locks.insert(file) && !world.lies(Lie::LockAnyway, &path) {
            return Err(LockError::Held { path, holder: Some(std::process::id()) });
        }
        Ok(file)
    }

    /// Changes a name, or applies the effect of a fault.
    fn change(
        &self,
        world: &mut World,
        begun: Result<(), SimFailure>,
        name: &str,
        file: Option<FileId>,
    ) -> io::Result<()> {
        let happens = match &begun {
            // A crash leaves the change pending.
            Ok(()) | Err(SimFailure::Crash(_)) => true,
            Err(SimFailure::Fault(_, effect)) => !matches!(effect, FaultEffect::Nothing),
            Err(SimFailure::Refused(_)) => false,
        };
        if happens {
            let order = world.next();
            world.volume(self.volume).change(order, name, file);
        }
        Ok(begun?)
    }
}

/// Adds an empty file to a directory, without a name.
fn add_file(world: &mut World, volume: VolumeId) -> FileId {
    let id = world.next();
    let image = Image::new(world.options.sector_bytes);
    world.files.insert(id, Node::new(volume, image));
    id
}

impl Directory for SimDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let world = self.shared.lock();
        match world.volumes.get(&self.volume) {
            Some(volume) if volume.mounted && !world.crashed => Ok((1, self.volume)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        let options = &self.shared.lock().options;
        Capabilities {
            direct: options.direct,
            writes_in_flight_max: if options.direct { WRITES_IN_FLIGHT_MAX } else { 1 },
            align_bytes: options.physical_block_bytes,
        }
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut world = self.shared.lock();
        world.begin_in(self.volume, FaultTarget::List, &self.path, 0, 0)?;
        let names = world.volume(self.volume).seen.clone();
        let mut entries: Vec<Entry> = names
            .into_iter()
            .map(|(name, file)| Entry { name, len: world.node(file).image.len_seen, is_file: true })
            .collect();
        for path in world.paths.keys().filter(|path| path.parent() == Some(&self.path)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            entries.push(Entry { name, len: 0, is_file: false });
        }
        entries.sort();
        Ok(entries)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>, LockError> {
        let file = Mutex::new(self.lock_file(name)?);
        let (directory, name, path) = (self.clone(), name.to_owned(), self.path.join(name));
        Ok(Box::new(SimLock { directory, name, path, file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let mut world = self.shared.lock();
        let begun = match world.begin_in(self.volume, FaultTarget::Create, &path, 0, 0) {
            Err(SimFailure::Refused(error)) => return Err(error),
            begun => begun,
        };
        if world.volume(self.volume).seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if world.used_bytes(self.volume) >= world.volume(self.volume).capacity_bytes {
            tracing::trace!(target: TARGET, "Create fails, no space");
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = add_file(&mut world, self.volume);
        self.change(&mut world, begun, name, Some(file))?;
        Ok(self.file(&mut world, file, name, Access::Write))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let mut world = self.shared.lock();
        world.begin_in(self.volume, FaultTarget::Open, &path, 0, 0)?;
        match world.volume(self.volume).seen.get(name).copied() {
            Some(file) => Ok(self.file(&mut world, file, name, access)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        let mut world = self.shared.lock();
        let begun = match world.begin_in(self.volume, FaultTarget::Remove, &path, 0, 0) {
            Err(SimFailure::Refused(error)) => return Err(error),
            begun => begun,
        };
        if !world.volume(self.volume).seen.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(&mut world, begun, name, None)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.shared.lock();
        let begun = world.begin_in(self.volume, FaultTarget::SyncDir, &self.path, 0, 0);
        match &begun {
            Ok(()) if world.lies(Lie::SkipDirSync, &self.path) => {}
            Ok(()) | Err(SimFailure::Fault(_, FaultEffect::All)) => {
                world.volume(self.volume).persist(|_| true);
                world.commit_journal(self.volume);
            }
            Err(SimFailure::Fault(_, FaultEffect::Part)) => {
                let count = world.volume(self.volume).pending.len();
                let arrived = world.lottery.prefix(count, 50);
                let mut at = 0;
                world.volume(self.volume).persist(|_| {
                    at += 1;
                    at <= arrived
                });
            }
            // Visible as long as the machine runs, and never on its way to the medium.
            Err(SimFailure::Fault(_, FaultEffect::Lost(_))) => {
                world.volume(self.volume).pending.clear();
            }
            Err(_) => {}
        }
        world.answer(begun, Lie::HideSyncErrors, &self.path)
    }

    fn identity_of(&self, name: &str) -> io::Result<Option<(u64, u64)>> {
        let world = self.shared.lock();
        match world.volumes.get(&self.volume) {
            Some(volume) if volume.mounted && !world.crashed => {
                Ok(volume.seen.get(name).map(|file| (self.volume, *file)))
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        self.identity()?;
        Ok(self.shared.lock().paths.get(&self.path) == Some(&self.volume))
    }

    fn space(&self) -> io::Result<Space> {
        let mut world = self.shared.lock();
        world.begin_in(self.volume, FaultTarget::Space, &self.path, 0, 0)?;
        let (used, total) =
            (world.used_bytes(self.volume), world.volume(self.volume).capacity_bytes);
        Ok(Space { available_bytes: total.saturating_sub(used), total_bytes: total })
    }
}
