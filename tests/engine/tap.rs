//! A disk wrapper that lets a test see, or delay, the calls.

use millpond::internal::disk::{
    Access, Capabilities, Directory, Disk, Entry, File, Lock, LockError, Space, Submitted,
    WriteToken,
};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A call on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
    Allocate,
    Shorten,
    Sync,
    Submit,
    Create,
    Space,
}

type Tap = Arc<dyn Fn(Call, &Path, usize) + Send + Sync>;

pub(crate) struct TappedDisk(Arc<dyn Disk>, Tap);
struct TappedDirectory(Arc<dyn Directory>, Tap);
struct TappedFile(Arc<dyn File>, Tap);

impl TappedDisk {
    /// Returns a wrapper that calls `tap` before each call, with the number of bytes concerned.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        tap: impl Fn(Call, &Path, usize) + Send + Sync + 'static,
    ) -> Self {
        Self(disk, Arc::new(tap))
    }
}

impl Disk for TappedDisk {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        let directory = self.0.open_dir(path, create)?;
        Ok(Arc::new(TappedDirectory(directory, Arc::clone(&self.1))))
    }
}

impl TappedDirectory {
    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TappedFile(file, Arc::clone(&self.1)))
    }
}

impl Directory for TappedDirectory {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn identity(&self) -> io::Result<(u64, u64)> {
        self.0.identity()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.0.list()
    }
    fn lock(&self, name: &str) -> Result<Box<dyn Lock>, LockError> {
        self.0.lock(name)
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        (self.1)(Call::Create, self.path(), 0);
        Ok(self.file(self.0.create(name)?))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.0.open(name, access)?))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        (self.1)(Call::Sync, self.path(), 0);
        self.0.sync()
    }
    fn identity_of(&self, name: &str) -> io::Result<Option<(u64, u64)>> {
        self.0.identity_of(name)
    }
    fn is_at_its_path(&self) -> io::Result<bool> {
        self.0.is_at_its_path()
    }
    fn space(&self) -> io::Result<Space> {
        (self.1)(Call::Space, self.path(), 0);
        self.0.space()
    }
}

impl File for TappedFile {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn named_len(&self) -> io::Result<Option<u64>> {
        self.0.named_len()
    }
    fn identity(&self) -> io::Result<(u64, u64)> {
        self.0.identity()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (self.1)(Call::Read, self.path(), buffer.len());
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.1)(Call::Write, self.path(), bytes.len());
        self.0.write_at(offset, bytes)
    }
    fn allocate(&self, len: u64) -> io::Result<bool> {
        (self.1)(Call::Allocate, self.path(), len as usize);
        self.0.allocate(len)
    }
    fn shorten(&self, len: u64) -> io::Result<()> {
        (self.1)(Call::Shorten, self.path(), len as usize);
        self.0.shorten(len)
    }
    fn sync(&self) -> io::Result<()> {
        (self.1)(Call::Sync, self.path(), 0);
        self.0.sync()
    }
    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted {
        (self.1)(Call::Submit, self.path(), bytes.len());
        self.0.submit(offset, bytes)
    }
    fn finish(&self, token: WriteToken) -> io::Result<()> {
        self.0.finish(token)
    }
}
