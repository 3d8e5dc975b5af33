//! Damage to bytes and files from outside the engine.

use super::faults::TARGET;
use super::image::Image;
use super::volume::FileId;
use super::world::{Node, World};
use super::{SimDisk, find};
use std::io;
use std::path::{Path, PathBuf};

/// A file without a name.
#[derive(Debug)]
pub struct Nameless(FileId);

fn read_all(world: &mut World, id: FileId) -> Vec<u8> {
    let image = &mut world.node(id).image;
    let mut bytes = vec![0; usize::try_from(image.len_seen).unwrap_or(0)];
    image.read(0, &mut bytes, false);
    bytes
}

impl SimDisk {
    /// Flips a bit in each of `len` bytes of a file, on the medium and in the cache.
    ///
    /// # Errors
    /// There is no such file.
    pub fn rot(&self, file: &Path, offset: u64, len: u64) -> io::Result<()> {
        let mut world = self.shared.lock();
        let id = find(&world, file).ok_or(io::ErrorKind::NotFound)?;
        tracing::trace!(target: TARGET, "bytes rot");
        for at in offset..offset + len {
            let mask = 1 << world.lottery.below(8);
            world.node(id).image.flip(at, mask);
        }
        Ok(())
    }

    /// Flips the bits of `mask` in one byte of a file, on the medium and in the cache.
    ///
    /// # Errors
    /// There is no such file.
    pub fn flip(&self, file: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let mut world = self.shared.lock();
        let id = find(&world, file).ok_or(io::ErrorKind::NotFound)?;
        world.node(id).image.flip(offset, mask);
        Ok(())
    }

    /// Truncates a file to `len` bytes, durably, also for open descriptors.
    ///
    /// # Errors
    /// There is no such file.
    pub fn cut(&self, file: &Path, len: u64) -> io::Result<()> {
        let mut world = self.shared.lock();
        let id = find(&world, file).ok_or(io::ErrorKind::NotFound)?;
        world.node(id).image.cut(len);
        Ok(())
    }

    /// Like [`SimDisk::cut`], while a channel has the file open: a write after the end makes the file longer again,
    /// with zeroes between.
    ///
    /// # Errors
    /// There is no such file.
    pub fn cut_in_use(&self, file: &Path, len: u64) -> io::Result<()> {
        let mut world = self.shared.lock();
        let id = find(&world, file).ok_or(io::ErrorKind::NotFound)?;
        let image = &mut world.node(id).image;
        image.len_given = image.len_seen;
        image.cut(len);
        Ok(())
    }

    /// Removes the name of a file, durably. Open descriptors keep working.
    ///
    /// # Errors
    /// There is no such file.
    pub fn take_away(&self, file: &Path) -> io::Result<Nameless> {
        let id = find(&self.shared.lock(), file).ok_or(io::ErrorKind::NotFound)?;
        self.put_in_place(file, None)?;
        Ok(Nameless(id))
    }

    /// Returns the bytes of a file without a name, as open descriptors see them.
    #[must_use]
    pub fn contents_of(&self, file: &Nameless) -> Vec<u8> {
        read_all(&mut self.shared.lock(), file.0)
    }

    /// Returns every file that has a name, by path.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let world = self.shared.lock();
        let volumes = world.volumes.values().filter(|volume| volume.mounted);
        let paths = volumes.flat_map(|v| v.seen.keys().map(|name| v.path.join(name)));
        let mut paths: Vec<PathBuf> = paths.collect();
        paths.sort();
        paths
    }

    /// Returns the bytes of a file, as a reader sees them.
    ///
    /// # Errors
    /// There is no such file.
    pub fn contents(&self, file: &Path) -> io::Result<Vec<u8>> {
        let mut world = self.shared.lock();
        let id = find(&world, file).ok_or(io::ErrorKind::NotFound)?;
        Ok(read_all(&mut world, id))
    }

    /// Renames a file in its directory, durably; open descriptors keep it.
    ///
    /// # Errors
    /// There is no such file.
    pub fn move_away(&self, file: &Path, name: &str) -> io::Result<()> {
        let mut world = self.shared.lock();
        let id = find(&world, file).ok_or(io::ErrorKind::NotFound)?;
        let directory = file.parent().and_then(|path| world.paths.get(path).copied());
        let volume = directory.ok_or(io::ErrorKind::NotFound)?;
        let old = file.file_name().and_then(|old| old.to_str()).ok_or(io::ErrorKind::NotFound)?;
        for (name, id) in [(name, Some(id)), (old, None)] {
            let order = world.next();
            world.volume(volume).change(order, name, id);
            world.volume(volume).persist(|change| change.order == order);
        }
        Ok(())
    }

    /// Puts a file with these bytes at a path, durably, in place of an existing one; without bytes removes the file.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn put_in_place(&self, file: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
        let mut world = self.shared.lock();
        let directory = file.parent().and_then(|path| world.paths.get(path).copied());
        let volume = directory.ok_or(io::ErrorKind::NotFound)?;
        let name =
            file.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::NotFound)?;
        let made = bytes.map(|bytes| durable_file(&mut world, volume, bytes));
        let order = world.next();
        world.volume(volume).change(order, name, made);
        world.volume(volume).persist(|change| change.order == order);
        Ok(())
    }
}

fn durable_file(world: &mut World, volume: u64, bytes: &[u8]) -> FileId {
    let (id, order) = (world.next(), world.next());
    let mut image = Image::new(world.options.sector_bytes);
    image.write(order, 0, bytes);
    image.persist(|_, _| true);
    image.persist_len(order);
    world.files.insert(id, Node::new(volume, image));
    id
}
