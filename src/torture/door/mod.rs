//! A door to storage that counts its calls, kills its own process at a chosen one, keeps to a quota
//! and, for tests of the tool itself, lies. Behind it stands the machine's own disk.

mod control;
mod lie;

pub(super) use control::{Control, Stage};
pub use lie::Lie;

use super::moment::{How, Moment};
use crate::disk::{
    Access, Capabilities, Directory, Disk, Entry, File, Lock, LockError, Space, Submitted,
    WriteToken,
};
use crate::record::segment;
use crate::recovery::{CHECKPOINT_NAME, MEMBER_NAME};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The door.
pub(super) struct TortureDisk {
    inner: Arc<dyn Disk>,
    control: Arc<Control>,
}

impl TortureDisk {
    /// A door to `inner` under `control`.
    pub(super) fn new(inner: Arc<dyn Disk>, control: Arc<Control>) -> Self {
        Self { inner, control }
    }
}

struct TortureDirectory {
    inner: Arc<dyn Directory>,
    control: Arc<Control>,
}

struct TortureFile {
    inner: Arc<dyn File>,
    directory: Arc<dyn Directory>,
    name: Name,
    control: Arc<Control>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Segment,
    Checkpoint,
    Member,
    Other,
}

impl Name {
    fn of(name: &str) -> Self {
        match name {
            CHECKPOINT_NAME => Self::Checkpoint,
            MEMBER_NAME => Self::Member,
            _ if segment::slot_of(name).is_some() => Self::Segment,
            _ => Self::Other,
        }
    }
}

impl Disk for TortureDisk {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        let inner = self.control.around(Moment::Make, || self.inner.open_dir(path, create))?;
        Ok(Arc::new(TortureDirectory { inner, control: Arc::clone(&self.control) }))
    }
}

impl TortureDirectory {
    fn file(&self, name: &str, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TortureFile {
            inner,
            directory: Arc::clone(&self.inner),
            name: Name::of(name),
            control: Arc::clone(&self.control),
        })
    }
}

impl Directory for TortureDirectory {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        self.inner.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.control.around(Moment::Make, || self.inner.list())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>, LockError> {
        self.control.around(Moment::Make, || self.inner.lock(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let made = self.control.around(Moment::Make, || {
            self.control.allows(&*self.inner, 1)?;
            self.inner.create(name)
        })?;
        Ok(self.file(name, made))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let opened = self.control.around(Moment::Make, || self.inner.open(name, access))?;
        Ok(self.file(name, opened))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.control.around(Moment::Make, || self.inner.remove(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.control.around(Moment::Make, || self.inner.sync())
    }

    fn identity_of(&self, name: &str) -> io::Result<Option<(u64, u64)>> {
        self.inner.identity_of(name)
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        self.inner.is_at_its_path()
    }

    fn space(&self) -> io::Result<Space> {
        let space = self.inner.space()?;
        self.control.space(&*self.inner, space)
    }
}

impl TortureFile {
    /// What a write at `offset` is for.
    fn moment(&self, offset: u64, durable: bool) -> Moment {
        match self.name {
            Name::Checkpoint | Name::Member => Moment::Checkpoint,
            Name::Segment if !durable => Moment::Make,
            Name::Segment if offset == 0 => self.control.header(self.inner.path()),
            Name::Segment | Name::Other => Moment::Commit,
        }
    }

    /// Writes through `write`, or the first part of it and then dies.
    fn write<R>(
        &self,
        moment: Moment,
        bytes: &[u8],
        write: impl FnOnce() -> R,
        part: impl FnOnce(&[u8]),
    ) -> R {
        match self.control.reach(moment) {
            None => write(),
            Some(strike) => {
                match strike.how {
                    How::Before => {}
                    How::Half => {
                        let align = self.inner_align();
                        let half = bytes.len() / 2 / align * align;
                        part(&bytes[..half]);
                    }
                    How::After => drop(write()),
                }
                self.control.die(&strike)
            }
        }
    }

    fn inner_align(&self) -> usize {
        self.directory.capabilities().align_bytes.max(1)
    }
}

impl File for TortureFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn named_len(&self) -> io::Result<Option<u64>> {
        self.inner.named_len()
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        self.inner.identity()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.control.around(Moment::Read, || {
            let read = self.inner.read_at(offset, buffer)?;
            self.control.remember(self.inner.path(), offset, &mut buffer[..read]);
            Ok(read)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let whole = || {
            let end = offset + bytes.len() as u64;
            let growth = end.saturating_sub(self.inner.len()?);
            if growth > 0 {
                self.control.allows(&*self.directory, growth)?;
            }
            self.inner.write_at(offset, bytes)
        };
        let part = |part: &[u8]| {
            // It dies next; whether the part got there is the question it leaves.
            let _ = self.inner.write_at(offset, part);
        };
        self.write(self.moment(offset, false), bytes, whole, part)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.control.around(self.moment(0, false), || {
            let growth = len.saturating_sub(self.inner.len()?);
            self.control.allows(&*self.directory, growth)?;
            self.inner.allocate(len)
        })
    }

    fn shorten(&self, len: u64) -> io::Result<()> {
        self.inner.shorten(len)
    }

    fn sync(&self) -> io::Result<()> {
        let moment = self.moment(1, false);
        self.control.around(moment, || match self.control.lies() {
            true => Ok(()),
            false => self.inner.sync(),
        })
    }

    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted {
        let whole = || match self.control.hold_back(&self.inner, offset, bytes) {
            true => Submitted::Done(Ok(())),
            false => self.inner.submit(offset, bytes),
        };
        let part = |part: &[u8]| {
            if !part.is_empty() {
                let _ = self.inner.write_durable(offset, part);
            }
        };
        self.write(self.moment(offset, true), bytes, whole, part)
    }

    fn finish(&self, token: WriteToken) -> io::Result<()> {
        self.inner.finish(token)
    }
}

#[cfg(test)]
mod tests {
    use super::super::voice::Kept;
    use super::*;
    use crate::disk::real::RealDisk;

    #[test]
    fn what_befalls_a_file_from_outside_shows_through_the_door() {
        let top = tempfile::tempdir().expect("a directory");
        let control = Arc::new(Control::new(Arc::new(Kept::default()), None, None, None));
        let disk = TortureDisk::new(Arc::new(RealDisk::new()), control);
        let directory = disk.open_dir(top.path(), false).expect("it is there");
        let file = directory.create("a").expect("made");
        let own = file.identity().expect("told");
        assert_eq!(directory.identity_of("a").expect("told"), Some(own));
        let (from, to) = (top.path().join("a"), top.path().join("b"));
        crate::base::files::rename_new(&from, &to).expect("moved");
        assert!(!directory.holds("a").expect("told"));
        std::fs::write(top.path().join("a"), "another").expect("written");
        let other = directory.identity_of("a").expect("told");
        assert!(directory.holds("a").expect("told") && other.is_some_and(|other| other != own));
        std::fs::remove_file(top.path().join("b")).expect("removed");
        assert_eq!(file.named_len().expect("told"), None);
    }
}
