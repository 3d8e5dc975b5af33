//! A file of the simulated disk.

use super::faults::{Effect, Lie, On, TARGET};
use super::image::Order;
use super::volume::{FileId, VolumeId};
use super::world::{Flight, Shared, Trouble, World};
use crate::base::limits::WRITES_IN_FLIGHT_MAX;
use crate::disk::{File, Submitted, WriteToken};
use std::io;
use std::path::{Path, PathBuf};

pub(super) struct SimFile {
    pub(super) shared: Shared,
    pub(super) id: FileId,
    pub(super) volume: VolumeId,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl SimFile {
    fn may_write(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        let text = format!("{} is opened for reading only", self.path.display());
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, text))
    }

    /// Checks what every submitted write must keep to; breaking it is our mistake, not the
    /// world's.
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
            "a submitted write lies inside the file: {} at {offset}",
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

    /// What trouble leaves of a submitted write.
    fn submit_in_trouble(world: &mut World, flight: &Flight, trouble: &Trouble) {
        let direct = world.options.direct;
        let effect = match trouble {
            Trouble::Refused(_) | Trouble::Fault(_, Effect::Nothing) => return,
            Trouble::Crash(_) => Effect::Later,
            Trouble::Fault(_, effect) => *effect,
        };
        if !direct {
            world.node(flight.file).image.cache(flight.order, &flight.pieces);
        }
        world.miss(flight, effect);
    }
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
        // With its directory unplugged it has a name there, where nobody sees it.
        let is_named = !volume.mounted || volume.seen.values().any(|id| *id == self.id);
        Ok(is_named.then_some(len))
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((self.volume, self.id))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.shared.lock();
        world.begin_in(self.volume, On::Read, &self.path, offset, buffer.len() as u64)?;
        let align = world.options.physical_block_bytes;
        let direct = world.options.direct
            && offset.is_multiple_of(align as u64)
            && buffer.len().is_multiple_of(align)
            && buffer.as_ptr().addr().is_multiple_of(align);
        Ok(world.node(self.id).image.read(offset, buffer, direct))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.may_write()?;
        let mut world = self.shared.lock();
        let begun = world.begin_in(self.volume, On::Write, &self.path, offset, bytes.len() as u64);
        let room = world.len_max(self.id).saturating_sub(offset);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let order = world.next();
        let part = usize::try_from(world.lottery.below(fits as u64)).unwrap_or(0);
        let image = &mut world.node(self.id).image;
        match &begun {
            Ok(()) | Err(Trouble::Crash(_)) | Err(Trouble::Fault(_, Effect::All)) => {
                image.write(order, offset, &bytes[..fits]);
            }
            Err(Trouble::Fault(_, Effect::Part | Effect::Lost(_))) => {
                image.write(order, offset, &bytes[..part]);
            }
            Err(Trouble::Fault(_, Effect::Later)) => {
                let pieces = image.pieces(offset, &bytes[..fits]);
                image.stray(order, &pieces);
            }
            Err(Trouble::Refused(_) | Trouble::Fault(_, Effect::Nothing)) => {}
        }
        begun?;
        if fits < bytes.len() {
            tracing::trace!(target: TARGET, "Write fails, no space");
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Space that is set aside reads as zeroes, and so does what of a write of zeroes is lost: the
    /// one stands for the other.
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
        let mut world = self.shared.lock();
        let begun = world.begin_in(self.volume, On::Sync, &self.path, 0, 0);
        let forgets_length = world.lies(Lie::SkipLength, &self.path);
        let mut lottery = world.lottery.clone();
        match &begun {
            Ok(()) if world.lies(Lie::SkipFileSync, &self.path) => {}
            Ok(()) | Err(Trouble::Fault(_, Effect::All)) => {
                let image = &mut world.node(self.id).image;
                image.persist(|_, _| true);
                if !forgets_length {
                    image.persist_len(Order::MAX);
                    world.commit_journal(self.volume);
                }
            }
            Err(Trouble::Fault(_, Effect::Part)) => {
                world.node(self.id).image.persist(|_, _| lottery.wins(50));
            }
            Err(Trouble::Fault(_, Effect::Lost(loss))) => {
                let chance = [0, 50][usize::from(lottery.wins(50))];
                world.node(self.id).image.lose(*loss, &mut lottery, chance);
            }
            Err(_) => {}
        }
        world.lottery = lottery;
        world.answer(begun, Lie::HideSyncErrors, &self.path)
    }

    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted {
        if let Err(error) = self.may_write() {
            return Submitted::Done(Err(error));
        }
        let mut world = self.shared.lock();
        let begun = world.begin_in(self.volume, On::Submit, &self.path, offset, bytes.len() as u64);
        if let Err(Trouble::Refused(error)) = begun {
            return Submitted::Done(Err(error));
        }
        self.check_submit(&mut world, offset, bytes);
        let order = world.next();
        let pieces = world.node(self.id).image.pieces(offset, bytes);
        let cached = world.cached(&self.path, pieces.len());
        let swapped = world.lies(Lie::SwapWrites, &self.path);
        let flight = Flight { file: self.id, order, pieces, cached, swapped };
        if let Err(trouble) = &begun {
            Self::submit_in_trouble(&mut world, &flight, trouble);
            return Submitted::Done(world.answer(begun, Lie::HideWriteErrors, &self.path));
        }
        if !world.options.direct {
            world.node(self.id).image.cache(order, &flight.pieces);
        }
        if world.options.pending {
            let token = WriteToken(order);
            world.flights.insert(token, flight);
            return Submitted::Pending(token);
        }
        world.land(&flight);
        Submitted::Done(Ok(()))
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
            return result.map_err(|kind| io::Error::new(kind, "simulated: the write failed"));
        }
        if world.flights.get(&token).is_none_or(|flight| flight.file != self.id) {
            let text = format!("no write {} is in flight on {}", token.0, self.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let begun = world.begin_in(self.volume, On::Finish, &self.path, 0, 0);
        if matches!(begun, Err(Trouble::Crash(_))) {
            // It stays in flight, and the crash decides.
            return Ok(begun?);
        }
        let Some(flight) = world.flights.remove(&token) else {
            return Ok(());
        };
        match &begun {
            Ok(()) => world.land(&flight),
            Err(Trouble::Fault(_, effect)) => world.miss(&flight, *effect),
            // The directory has gone with whatever arrived.
            Err(_) => world.miss(&flight, Effect::Later),
        }
        world.answer(begun, Lie::HideWriteErrors, &self.path)
    }
}
