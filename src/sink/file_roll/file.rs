//! The open file: appending whole batches, and taking back what failed.

use super::names::Names;
use crate::base::files;
use crate::event::Event;
use crate::flow::sink::Failure;
use crate::sink::serializer::Serializer;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BUFFER_BYTES: usize = 64 * 1024;
/// Names in a row that may be taken already before the sink gives up.
const NAMES_TRIED_MAX: usize = 1000;
/// An empty file that was younger at the start may be another sink's, about to be written to.
const BEGUN_AGE: Duration = Duration::from_secs(60);

/// What is written to.
pub(super) trait Target: Send {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Whether it still has a name. Without one all writes succeed, and nobody can read them.
    fn is_named(&self) -> io::Result<bool>;
}

impl Target for File {
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

/// Creates a file that was not there.
pub(super) type Create = fn(&Path) -> io::Result<Box<dyn Target>>;

/// The files of one sink, of which one at most is open.
pub(super) struct Files {
    pub(super) names: Names,
    serializer: Box<dyn Serializer>,
    create: Create,
    open: Option<Open>,
}

struct Open {
    path: PathBuf,
    target: Box<dyn Target>,
    /// Bytes up to here are whole batches, and synced.
    good_bytes: u64,
}

/// What a failed append says about the file.
enum Broken {
    /// Writing failed.
    Write(io::Error),
    /// Syncing failed: what the kernel still holds of this file is anybody's guess.
    Sync(io::Error),
    /// The file was removed by somebody else, and the batch with it.
    Removed,
}

impl Files {
    pub(super) fn new(names: Names, serializer: Box<dyn Serializer>) -> Self {
        let create: Create = |path| Ok(Box::new(files::create_new(path)?));
        Self { names, serializer, create, open: None }
    }

    #[cfg(test)]
    pub(super) fn create_with(&mut self, create: Create) {
        self.create = create;
    }

    /// Appends `batch` and syncs it; where its events cannot share a file, to several. When a later one
    /// fails, what stands in the earlier ones comes again, as behind any crash.
    pub(super) fn append(&mut self, batch: &[Event], now_ms: u64) -> Result<(), Failure> {
        let Some(mut groups) = self.serializer.groups(batch)? else {
            return self.append_to_one(batch, now_ms);
        };
        // What the open file takes, first: as few files as possible.
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
                "half a batch cannot be cut off this file; what follows good_bytes comes again in the next file");
        } else if let Broken::Write(error) = broken {
            let failure = failure("write", error);
            self.open = Some(open);
            return Err(failure);
        }
        let failure = match broken {
            Broken::Write(error) => failure("write", error),
            Broken::Sync(error) => failure("sync", error),
            // The name is no longer ours: what has it now, if anything, stays.
            Broken::Removed => {
                return Err(Failure::new(format!(
                    "{} was removed while it was written to; the batch goes into another file",
                    open.path.display()
                )));
            }
        };
        open.leave();
        Err(failure)
    }

    /// Removes what an earlier life began in `directory` and wrote nothing to, where that is no legal file:
    /// its readers would stumble over it. What is young may be another sink's, which writes to it between
    /// the look and the removal: it stays. A sink that is about to write to an old one notices that it is
    /// gone, and its batch goes into another file.
    pub(super) fn remove_begun(&self, directory: &Path, now_ms: u64) {
        if self.serializer.may_be_empty() {
            return;
        }
        for entry in files::list(directory).into_iter().flatten().flatten() {
            let own = entry.file_name().to_str().is_some_and(|name| self.names.are_like(name));
            let path = entry.path();
            // Looked at right before the removal, not when it was listed.
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

    fn create(&mut self, now_ms: u64) -> Result<Open, Failure> {
        for _ in 0..NAMES_TRIED_MAX {
            let path = self.names.next(now_ms);
            match (self.create)(&path) {
                Ok(target) => return Ok(Open { path, target, good_bytes: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
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

/// Whether nothing was written to the file there, and nobody has touched it of late. Not through a link:
/// what that leads to is not ours.
fn is_begun(path: &Path, now_ms: u64) -> bool {
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    let is_old = |changed: SystemTime| now.duration_since(changed).is_ok_and(|age| age > BEGUN_AGE);
    path.symlink_metadata().is_ok_and(|found| {
        found.is_file() && found.len() == 0 && found.modified().is_ok_and(is_old)
    })
}

impl Open {
    fn append(&mut self, serializer: &mut dyn Serializer, batch: &[Event]) -> Result<(), Broken> {
        let at = At { target: self.target.as_ref(), offset: self.good_bytes };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, at);
        let written = Self::serialize(serializer, batch, self.good_bytes == 0, &mut out);
        // Not through `drop`, which would write what is left in the buffer once more.
        let (at, _) = out.into_parts();
        let end = at.offset;
        written.map_err(Broken::Write)?;
        self.target.sync().map_err(Broken::Sync)?;
        // Asked after the sync: what is removed from here on was there for whoever removed it.
        if self.is_removed() {
            return Err(Broken::Removed);
        }
        self.good_bytes = end;
        Ok(())
    }

    /// A file system that cannot tell is no reason to doubt.
    fn is_removed(&self) -> bool {
        matches!(self.target.is_named(), Ok(false))
    }

    fn serialize(
        serializer: &mut dyn Serializer,
        batch: &[Event],
        first: bool,
        out: &mut BufWriter<At<'_>>,
    ) -> io::Result<()> {
        if first {
            serializer.begin(&batch[0], out)?;
        }
        serializer.write(batch, out)?;
        out.flush()
    }

    /// Closes the file; one that never held a batch goes.
    fn leave(self) {
        if self.good_bytes == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes from an offset on.
struct At<'a> {
    target: &'a dyn Target,
    offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.target.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
