//! A file of the simulated disk.

use super::faults::{FaultEffect, FaultTarget, Lie, TARGET};
use super::image::Order;
use super::volume::{FileId, VolumeId};
use super::world::{SharedWorld, SimFailure, SimWrite, World};
use millpond::internal::base::limits::WRITES_IN_FLIGHT_MAX;
use millpond::internal::disk::{File, Submitted, WriteToken};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(super) struct SimFile {
    pub(super) shared: SharedWorld,
    pub(super) id: FileId,
    pub(super) volume: VolumeId,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
    /// A sync through this description has failed: no later one is trusted, as with a real file.
    pub(super) sync_failed: AtomicBool,
    /// Failed write-backs of the file that this description has reported.
    pub(super) errors_seen: AtomicU64,
}

impl SimFile {
    fn may_write(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        let text = format!("{} is opened for reading only", self.path.display());
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, text))
    }

    /// Checks that no sync through this description has failed.
    fn may_sync(&self) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("simulated: an earlier sync failed; open the file anew"));
        }
        Ok(())
    }

    /// Returns the result of a sync of this description, whose own part ended with `result`: a failed write-back is
    /// reported once to each description.
    fn told(&self, world: &mut World, failed: bool, result: io::Result<()>) -> io::Result<()> {
        let node = world.node(self.id);
        node.errors += u64::from(failed);
        if self.errors_seen.swap(node.errors, Ordering::Relaxed) == node.errors {
            return result;
        }
        node.errors_reported = node.errors;
        result.and_then(|()| match world.lies(Lie::HideSyncErrors, &self.path) {
            true => Ok(()),
            false => Err(io::Error::other("simulated: a write-back failed before")),
        })
    }

    /// Records a failed sync. Direct writes have errors of their own.
    fn synced(&self, result: io::Result<()>) -> io::Result<()> {
        self.sync_failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }

    /// Returns the result of a submitted write: a direct one has an error of its own, another is a write and a sync.
    fn written(&self, world: &mut World, failed: bool, result: io::Result<()>) -> io::Result<()> {
        match world.options.direct {
            true => result,
            false => self.synced(self.told(world, failed, result)),
        }
    }

    /// Checks the rules of every submitted write; breaking one is a bug of ours, not a fault.
    fn check_submit(&self, world: &mut World, offset: u64, bytes: &[u8]) {
        let align = world.options.physical_block_bytes;
        assert!(
            offset.is_multiple_of(align as u64)
                && bytes.len().is_multiple_of(align)
                && bytes.as_ptr().addr().is_multiple_of(align),
            "a submitted write is aligned to device blocks"
        );
        let end = offset + bytes.len() as u64;
        let image = &world.node(self.id).image;
        assert!(
            end <= image.len_seen.max(image.len_given),
            "a submitted write is inside the file: {} at {offset}",
            self.path.display()
        );
        let sector = world.options.sector_bytes as u64;
        let (first, last) = (offset / sector, end / sector);
        let mut in_flight = 0;
        for flight in world.flights.values().filter(|flight| flight.file == self.id) {
            in_flight += 1;
            let overlaps = flight.pieces.iter().any(|(number, _)| (first..last).contains(number));
            assert!(
                !overlaps,
                "writes in flight do not overlap: {} at {offset}",
                self.path.display()
            );
        }
        let max = if world.options.direct { WRITES_IN_FLIGHT_MAX } else { 1 };
        assert!(in_flight < max, "no more writes in flight than the storage allows");
    }

    /// Applies the effect of a fault to a submitted write.
    fn submit_failing(world: &mut World, flight: &SimWrite, fault: &SimFailure) {
        let direct = world.options.is_direct();
        let effect = match fault {
            SimFailure::Refused(_) | SimFailure::Fault(_, FaultEffect::Nothing) => return,
            SimFailure::Crash(_) => FaultEffect::Later,
            SimFailure::Fault(_, effect) => *effect,
        };
        if !direct {
            world.node(flight.file).image.cache(flight.order, &flight.pieces);
        }
        world.miss(flight, effect);
    }
}

/// Whether an operation with an injected failure marks the file as one with a failed write-back.
fn is_failed_write_back(begun: &Result<(), SimFailure>) -> bool {
    matches!(begun, Err(SimFailure::Fault(_, FaultEffect::Part | FaultEffect::Lost(_))))
}

impl File for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> io::Result<u64> {
        let mut world = self.shared.lock();
        if world.crashed {
            return Err(super::world::crash_error());
        }
        Ok(world.node(self.id).image.len_seen)
    }

    fn named_len(&self) -> io::Result<Option<u64>> {
        let len = self.len()?;
        let mut world = self.shared.lock();
        let volume = world.volume(self.volume);
        // With its directory unmounted it has a name there that is not visible.
        let is_named = !volume.mounted || volume.seen.values().any(|id| *id == self.id);
        Ok(is_named.then_some(len))
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((self.volume, self.id))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.shared.lock();
        world.begin_in(self.volume, FaultTarget::Read, &self.path, offset, buffer.len() as u64)?;
        let align = world.options.physical_block_bytes;
        let direct = world.options.is_direct()
            && offset.is_multiple_of(align as u64)
            && buffer.len().is_multiple_of(align)
            && buffer.as_ptr().addr().is_multiple_of(align);
        Ok(world.node(self.id).image.read(offset, buffer, direct))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.may_write()?;
        let mut world = self.shared.lock();
        let begun =
            world.begin_in(self.volume, FaultTarget::Write, &self.path, offset, bytes.len() as u64);
        let room = world.len_max(self.id).saturating_sub(offset);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let order = world.next();
        let part = usize::try_from(world.lottery.below(fits as u64)).unwrap_or(0);
        let image = &mut world.node(self.id).image;
        match &begun {
            Ok(()) | Err(SimFailure::Crash(_)) | Err(SimFailure::Fault(_, FaultEffect::All)) => {
                image.write(order, offset, &bytes[..fits]);
            }
            Err(SimFailure::Fault(_, FaultEffect::Lost(_))) => {
                image.write(order, offset, &bytes[..fits]);
            }
            Err(SimFailure::Fault(_, FaultEffect::Part)) => {
                image.write(order, offset, &bytes[..part]);
            }
            Err(SimFailure::Fault(_, FaultEffect::Later)) => {
                let pieces = image.pieces(offset, &bytes[..fits]);
                image.stray(order, &pieces);
            }
            Err(SimFailure::Refused(_) | SimFailure::Fault(_, FaultEffect::Nothing)) => {}
        }
        match begun {
            // The later write-back is what fails.
            Err(SimFailure::Fault(_, FaultEffect::Lost(loss))) => {
                let mut lottery = world.lottery.clone();
                let node = world.node(self.id);
                node.image.lose(loss, &mut lottery, 50, None);
                node.errors += 1;
                world.lottery = lottery;
            }
            begun => begun?,
        }
        if fits < bytes.len() {
            tracing::trace!(target: TARGET, "Write fails, no space");
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Extends the file by a write of zeroes: allocated space reads as zeroes, and so does a lost write of zeroes.
    fn allocate(&self, len: u64) -> io::Result<bool> {
        if !self.shared.lock().options.allocates {
            return Ok(false);
        }
        let end = self.len()?;
        let zeroes = vec![0; usize::try_from(len.saturating_sub(end)).unwrap_or(usize::MAX)];
        self.write_at(end, &zeroes)?;
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        self.may_write()?;
        self.may_sync()?;
        let mut world = self.shared.lock();
        let begun = world.begin_in(self.volume, FaultTarget::Sync, &self.path, 0, 0);
        let forgets_length = world.lies(Lie::SkipLength, &self.path);
        let mut lottery = world.lottery.clone();
        match &begun {
            Ok(()) if world.lies(Lie::SkipFileSync, &self.path) => {}
            Ok(()) | Err(SimFailure::Fault(_, FaultEffect::All)) => {
                let image = &mut world.node(self.id).image;
                image.persist(|_, _| true);
                if !forgets_length {
                    image.persist_len(Order::MAX);
                    world.commit_journal(self.volume);
                }
            }
            Err(SimFailure::Fault(_, FaultEffect::Part)) => {
                world.node(self.id).image.persist(|_, _| lottery.wins(50));
            }
            Err(SimFailure::Fault(_, FaultEffect::Lost(loss))) => {
                let chance = [0, 50][usize::from(lottery.wins(50))];
                world.node(self.id).image.lose(*loss, &mut lottery, chance, None);
            }
            Err(_) => {}
        }
        world.lottery = lottery;
        let failed = is_failed_write_back(&begun);
        let answer = world.answer(begun, Lie::HideSyncErrors, &self.path);
        self.synced(self.told(&mut world, failed && answer.is_err(), answer))
    }

    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted {
        if let Err(error) = self.may_write() {
            return Submitted::Done(Err(error));
        }
        let mut world = self.shared.lock();
        let (says_direct, direct) = (world.options.direct, world.options.is_direct());
        if let Err(error) =
            self.may_sync().or_else(|error| if says_direct { Ok(()) } else { Err(error) })
        {
            return Submitted::Done(Err(error));
        }
        let begun = world.begin_in(
            self.volume,
            FaultTarget::Submit,
            &self.path,
            offset,
            bytes.len() as u64,
        );
        if let Err(SimFailure::Refused(error)) = begun {
            return Submitted::Done(Err(error));
        }
        self.check_submit(&mut world, offset, bytes);
        let order = world.next();
        let pieces = world.node(self.id).image.pieces(offset, bytes);
        let cached = world.cached(&self.path, pieces.len());
        let swapped = world.lies(Lie::SwapWrites, &self.path);
        let flight = SimWrite { file: self.id, order, pieces, cached, swapped };
        if let Err(fault) = &begun {
            Self::submit_failing(&mut world, &flight, fault);
            let failed = is_failed_write_back(&begun);
            let answer = world.answer(begun, Lie::HideWriteErrors, &self.path);
            let failed = failed && answer.is_err();
            return Submitted::Done(self.written(&mut world, failed, answer));
        }
        if !direct {
            world.node(self.id).image.cache(order, &flight.pieces);
        }
        if world.options.pending {
            let token = WriteToken(order);
            world.flights.insert(token, flight);
            return Submitted::Pending(token);
        }
        world.land(&flight);
        Submitted::Done(self.written(&mut world, false, Ok(())))
    }

    fn finish(&self, token: WriteToken) -> io::Result<()> {
        let mut world = self.shared.lock();
        if world.crashed {
            return Err(super::world::crash_error());
        }
        if world.outcomes.get(&token).is_some_and(|(file, _)| *file == self.id) {
            let ended = world.outcomes.remove(&token);
            let result = ended.map_or(Ok(()), |(_, result)| result);
            if world.lies(Lie::HideWriteErrors, &self.path) {
                return Ok(());
            }
            let result = result.map_err(|kind| io::Error::new(kind, "simulated: the write failed"));
            // Which part of it failed was decided when the harness ended it.
            let failed = result.is_err();
            return self.written(&mut world, failed, result);
        }
        if world.flights.get(&token).is_none_or(|flight| flight.file != self.id) {
            let text = format!("no write {} is in flight on {}", token.0, self.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let begun = world.begin_in(self.volume, FaultTarget::Finish, &self.path, 0, 0);
        if matches!(begun, Err(SimFailure::Crash(_))) {
            // It stays in flight, and the crash decides.
            return Ok(begun?);
        }
        let Some(flight) = world.flights.remove(&token) else {
            return Ok(());
        };
        match &begun {
            Ok(()) => world.land(&flight),
            Err(SimFailure::Fault(_, effect)) => world.miss(&flight, *effect),
            // The directory is gone with whatever arrived.
            Err(_) => world.miss(&flight, FaultEffect::Later),
        }
        let failed = is_failed_write_back(&begun);
        let own = world.answer(begun, Lie::HideWriteErrors, &self.path).err();
        let answer = world.reported(&flight, own).map_or(Ok(()), Err);
        self.written(&mut world, failed && answer.is_err(), answer)
    }
}
