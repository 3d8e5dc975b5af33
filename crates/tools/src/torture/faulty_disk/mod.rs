//! A disk that counts its calls, kills its own process at a chosen one, keeps to a quota and, for
//! tests of the tool itself, lies. It wraps the machine's own disk.

mod control;
mod lost_writes;

pub(super) use control::{DiskControl, RunStage};
pub use lost_writes::DiskLie;

use super::crash_point::{CrashPoint, CrashTiming};
use millpond::internal::disk::{
    Access, Capabilities, Directory, Disk, Entry, File, Lock, LockError, Space, Submitted,
    WriteToken,
};
use millpond::internal::layout::{self, CHECKPOINT_NAME, MEMBER_NAME};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The disk.
pub(super) struct TortureDisk {
    inner: Arc<dyn Disk>,
    control: Arc<DiskControl>,
}

impl TortureDisk {
    /// Returns a disk over `inner` under `control`.
    pub(super) fn new(inner: Arc<dyn Disk>, control: Arc<DiskControl>) -> Self {
        Self { inner, control }
    }
}

struct TortureDirectory {
    inner: Arc<dyn Directory>,
    control: Arc<DiskControl>,
}

struct TortureFile {
    inner: Arc<dyn File>,
    directory: Arc<dyn Directory>,
    name: FileRole,
    control: Arc<DiskControl>,
}

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileRole {
    Segment,
    Checkpoint,
    Member,
    Other,
}

impl FileRole {
    fn of(name: &str) -> Self {
        match name {
            CHECKPOINT_NAME => Self::Checkpoint,
            MEMBER_NAME => Self::Member,
            _ if layout::segment_slot(name).is_some() => Self::Segment,
            _ => Self::Other,
        }
    }
}

impl Disk for TortureDisk {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        let inner = self.control.around(CrashPoint::Make, || self.inner.open_dir(path, create))?;
        Ok(Arc::new(TortureDirectory { inner, control: Arc::clone(&self.control) }))
    }
}

impl TortureDirectory {
    fn file(&self, name: &str, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TortureFile {
            inner,
            directory: Arc::clone(&self.inner),
            name: FileRole::of(name),
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
        self.control.around(CrashPoint::Make, || self.inner.list())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>, LockError> {
        self.control.around(CrashPoint::Make, || self.inner.lock(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let made = self.control.around(CrashPoint::Make, || {
            self.control.allows(&*self.inner, 1)?;
            self.inner.create(name)
        })?;
        Ok(self.file(name, made))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let opened = self.control.around(CrashPoint::Make, || self.inner.open(name, access))?;
        Ok(self.file(name, opened))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.control.around(CrashPoint::Make, || self.inner.remove(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.control.around(CrashPoint::Make, || self.inner.sync())
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
    /// Returns the purpose of a write at `offset`.
    fn moment(&self, offset: u64, durable: bool) -> CrashPoint {
        match self.name {
            FileRole::Checkpoint | FileRole::Member => CrashPoint::Checkpoint,
            FileRole::Segment if !durable => CrashPoint::Make,
            FileRole::Segment if offset == 0 => self.control.header(self.inner.path()),
            FileRole::Segment | FileRole::Other => CrashPoint::Commit,
        }
    }

    /// Writes through `write`, or writes the first part of it and then dies.
    fn write<R>(
        &self,
        moment: CrashPoint,
        bytes: &[u8],
        write: impl FnOnce() -> R,
        part: impl FnOnce(&[u8]),
    ) -> R {
        match self.control.reach(moment) {
            None => write(),
            Some(strike) => {
                match strike.how {
                    CrashTiming::Before => {}
                    CrashTiming::Half => {
                        let align = self.inner_align();
                        let half = bytes.len() / 2 / align * align;
                        part(&bytes[..half]);
                    }
                    CrashTiming::After => drop(write()),
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
        self.control.around(CrashPoint::Read, || {
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
            // It dies next; whether the part was written is the question that it leaves.
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
    use super::super::note_writer::RecordedNotes;
    use super::*;
    use millpond::internal::disk::real::RealDisk;

    #[test]
    fn changes_to_a_file_from_outside_are_visible_through_the_disk() {
        let top = tempfile::tempdir().expect("a directory");
        let control =
            Arc::new(DiskControl::new(Arc::new(RecordedNotes::default()), None, None, None));
        let disk = TortureDisk::new(Arc::new(RealDisk::new()), control);
        let directory = disk.open_dir(top.path(), false).expect("it is there");
        let file = directory.create("a").expect("made");
        let own = file.identity().expect("told");
        assert_eq!(directory.identity_of("a").expect("told"), Some(own));
        let (from, to) = (top.path().join("a"), top.path().join("b"));
        millpond_flow::base::files::rename_new(&from, &to).expect("moved");
        assert!(!directory.holds("a").expect("told"));
        std::fs::write(top.path().join("a"), "another").expect("written");
        let other = directory.identity_of("a").expect("told");
        assert!(directory.holds("a").expect("told") && other.is_some_and(|other| other != own));
        std::fs::remove_file(top.path().join("b")).expect("removed");
        assert_eq!(file.named_len().expect("told"), None);
    }
}
