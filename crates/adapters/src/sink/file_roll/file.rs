//! The open file: appends whole batches, and undoes failed ones.

use super::directory::ready_directory;
use super::names::FileNames;
use crate::sink::serializer::Serializer;
use millpond::Event;
use millpond_flow::base::files;
use millpond_flow::sink::Failure;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BUFFER_BYTES: usize = 64 * 1024;
/// Most consecutive existing names before the sink gives up.
const NAMES_TRIED_MAX: usize = 1000;
/// An empty file younger than this at the start may belong to another sink that is about to write to it.
const BEGUN_AGE: Duration = Duration::from_secs(60);

/// The file being written.
pub(super) trait RolledFile: Send {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Returns whether it still has a name. Without one all writes succeed, but the data is unreachable.
    fn is_named(&self) -> io::Result<bool>;
}

impl RolledFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn is_named(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}

/// Creates a file that did not exist.
pub(super) type CreateFile = fn(&Path) -> io::Result<Box<dyn RolledFile>>;

/// The files of one sink; at most one is open.
pub(super) struct RolledFiles {
    pub(super) names: FileNames,
    serializer: Box<dyn Serializer>,
    create: CreateFile,
    open: Option<OpenRolledFile>,
}

struct OpenRolledFile {
    path: PathBuf,
    target: Box<dyn RolledFile>,
    /// Length of the whole, synced batches.
    good_bytes: u64,
}

/// What a failed append implies for the file.
enum AppendError {
    /// Writing failed.
    Write(io::Error),
    /// Syncing failed: the kernel's state of the file is unknown.
    Sync(io::Error),
    /// The file was removed by another program, and the batch with it.
    Removed,
}

impl RolledFiles {
    pub(super) fn new(names: FileNames, serializer: Box<dyn Serializer>) -> Self {
        let create: CreateFile = |path| Ok(Box::new(files::create_new(path)?));
        Self { names, serializer, create, open: None }
    }

    #[cfg(test)]
    pub(super) fn create_with(&mut self, create: CreateFile) {
        self.create = create;
    }

    /// Appends `batch` and syncs it; to several files if its events cannot share one. When a later one fails, the
    /// events in the earlier ones are repeated, as after a crash.
    pub(super) fn append(&mut self, batch: &[Event], now_ms: u64) -> Result<(), Failure> {
        let Some(mut groups) = self.serializer.groups(batch)? else {
            return self.append_to_one(batch, now_ms);
        };
        // The open file's group comes first: as few files as possible.
        groups.sort_by_key(|group| !self.serializer.goes_on(&group[0]));
        for group in groups {
            if !self.serializer.goes_on(&group[0]) {
                self.close();
            }
            self.append_to_one(&group, now_ms)?;
        }
        Ok(())
    }

    /// Appends `batch` and syncs it, to a new file if none is open or the open one was removed.
    fn append_to_one(&mut self, batch: &[Event], now_ms: u64) -> Result<(), Failure> {
        let mut open = match self.open.take() {
            Some(open) if open.is_removed() => {
                tracing::warn!(path = %open.path.display(), "this file was removed while it was open; another one is begun");
                self.create(now_ms)?
            }
            Some(open) => open,
            None => self.create(now_ms)?,
        };
        let broken = match open.append(self.serializer.as_mut(), batch) {
            Ok(()) => {
                self.open = Some(open);
                return Ok(());
            }
            Err(broken) => broken,
        };
        let failure = |what: &str, error| {
            Failure::caused(format!("cannot {what} {}", open.path.display()), error)
        };
        if let Err(error) = open.target.truncate(open.good_bytes) {
            tracing::warn!(path = %open.path.display(), good_bytes = open.good_bytes, %error,
                "a partial batch cannot be cut off this file; the events after good_bytes are repeated in the next file");
        } else if let AppendError::Write(error) = broken {
            let failure = failure("write", error);
            self.open = Some(open);
            return Err(failure);
        }
        let failure = match broken {
            AppendError::Write(error) => failure("write", error),
            AppendError::Sync(error) => failure("sync", error),
            // The name no longer belongs to this file: another file under it stays.
            AppendError::Removed => {
                return Err(Failure::new(format!(
                    "{} was removed while it was written to; the batch is written to another file",
                    open.path.display()
                )));
            }
        };
        open.leave();
        Err(failure)
    }

    /// Removes files in `directory` that an earlier run began and never wrote to, if an empty file is invalid: its
    /// readers would fail. A young file stays: it may belong to another sink that writes to it between the check and
    /// the removal. A sink about to write to an old one notices the removal, and its batch is written to another
    /// file.
    pub(super) fn remove_begun(&self, directory: &Path, now_ms: u64) {
        if self.serializer.may_be_empty() {
            return;
        }
        for entry in files::list(directory).into_iter().flatten().flatten() {
            let own = entry.file_name().to_str().is_some_and(|name| self.names.are_like(name));
            let path = entry.path();
            // Checked right before the removal, not at the listing.
            if own && is_begun(&path, now_ms) {
                let shown = path.display();
                match std::fs::remove_file(&path) {
                    Ok(()) => tracing::info!("{shown}: removed, an empty file is not an Avro file"),
                    Err(error) => tracing::warn!(
                        "{shown}: an empty file is not an Avro file, and it cannot be removed: {error}"
                    ),
                }
            }
        }
    }

    /// Closes the open file, if there is one. It is synced already.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.leave();
        }
    }

    /// Creates the next file, and the directory if that was removed since the start.
    fn create(&mut self, now_ms: u64) -> Result<OpenRolledFile, Failure> {
        let mut may_create_directory = true;
        for _ in 0..NAMES_TRIED_MAX {
            let path = self.names.next(now_ms);
            match (self.create)(&path) {
                Ok(target) => return Ok(OpenRolledFile { path, target, good_bytes: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) && std::mem::take(&mut may_create_directory) =>
                {
                    ready_directory(self.names.directory())?;
                }
                Err(error) => {
                    let what = format!("cannot create {}", path.display());
                    return Err(Failure::caused(what, error));
                }
            }
        }
        Err(Failure::new(format!(
            "no free file name: {NAMES_TRIED_MAX} in a row exist already, the last {}",
            self.names.next(now_ms).display()
        )))
    }
}

/// Returns whether nothing was written to the file, and it was not changed recently. Does not follow links: their
/// target belongs to another owner.
fn is_begun(path: &Path, now_ms: u64) -> bool {
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    let is_old = |changed: SystemTime| now.duration_since(changed).is_ok_and(|age| age > BEGUN_AGE);
    path.symlink_metadata().is_ok_and(|found| {
        found.is_file() && found.len() == 0 && found.modified().is_ok_and(is_old)
    })
}

impl OpenRolledFile {
    fn append(
        &mut self,
        serializer: &mut dyn Serializer,
        batch: &[Event],
    ) -> Result<(), AppendError> {
        let at = OffsetWriter { target: self.target.as_ref(), offset: self.good_bytes };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, at);
        let written = Self::serialize(serializer, batch, self.good_bytes == 0, &mut out);
        // Not by `drop`, which would write the rest of the buffer once more.
        let (at, _) = out.into_parts();
        let end = at.offset;
        written.map_err(AppendError::Write)?;
        self.target.sync().map_err(AppendError::Sync)?;
        // Checked after the sync: a file removed from here on was complete at its removal.
        if self.is_removed() {
            return Err(AppendError::Removed);
        }
        self.good_bytes = end;
        Ok(())
    }

    /// A file system that cannot tell counts as not removed.
    fn is_removed(&self) -> bool {
        matches!(self.target.is_named(), Ok(false))
    }

    fn serialize(
        serializer: &mut dyn Serializer,
        batch: &[Event],
        first: bool,
        out: &mut BufWriter<OffsetWriter<'_>>,
    ) -> io::Result<()> {
        if first {
            serializer.begin(&batch[0], out)?;
        }
        serializer.write(batch, out)?;
        out.flush()
    }

    /// Closes the file; one that never held a batch is deleted.
    fn leave(self) {
        if self.good_bytes == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes from an offset on.
struct OffsetWriter<'a> {
    target: &'a dyn RolledFile,
    offset: u64,
}

impl Write for OffsetWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.target.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
