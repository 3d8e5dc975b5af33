//! The files that are not written to their file system yet, in a local directory under the paths that they have there.
//!
//! The files have at most [`Spool::bytes_max`] bytes together; a write that would exceed that is refused.
//!
//! Next to the file `a` stands `a.upload` while it is being uploaded: the path that it gets. So an upload
//! whose reply was lost, by a crash or on the network, is recognised as done.

use crate::file_system::{FileStatus, PATH_BYTES_MAX};
use bytes::Bytes;
use millpond_flow::base::files;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// What ends the name of the note of an upload.
const NOTE: &str = ".upload";

/// Tries to create a file in a directory that is removed meanwhile.
const DIRECTORY_TRIES: usize = 10;
/// Directories within each other that are looked at for files of an earlier process: a path has no more names.
const DEPTH_MAX: usize = PATH_BYTES_MAX / 2;

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    root: PathBuf,
    used: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Spool {
    /// Returns the spool in `root`, with the files that an earlier process left there.
    pub(crate) fn new(root: PathBuf, bytes_max: u64) -> Self {
        let used = bytes_below(&root, DEPTH_MAX);
        Self { root, used: Arc::new(used.into()), bytes_max }
    }

    /// Counts `bytes` that are about to be written.
    ///
    /// # Errors
    /// [`io::ErrorKind::QuotaExceeded`]: there is no room for them.
    pub(crate) fn claim(&self, bytes: u64) -> io::Result<()> {
        let max = self.bytes_max;
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(()),
            Err(used) => Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!(
                    "{used} bytes wait for the store, at most {max} may (hdfs.spoolBytes); see why files are not uploaded, or raise the limit"
                ),
            )),
        }
    }

    /// Counts `bytes` that are not there, or not any more.
    pub(crate) fn release(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Returns where `path` is kept, if each of its names can be that of a file.
    pub(crate) fn local(&self, path: &str) -> io::Result<PathBuf> {
        let relative = Path::new(path.trim_start_matches('/'));
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() || path.ends_with(NOTE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!("a path has names without . and .., and does not end with {NOTE}"),
            ));
        }
        Ok(self.root.join(relative))
    }

    /// Creates the file `path`, which is not there yet.
    pub(crate) fn create(&self, path: &str) -> io::Result<File> {
        let local = self.local(path)?;
        // What an earlier file of this name was uploaded as says nothing about this one.
        ignore_missing(std::fs::remove_file(note_of(&local)))?;
        for _ in 1..DIRECTORY_TRIES {
            match create_with_directories(&local) {
                // Another file left the directory empty, and it was removed.
                Err(error) if is_missing(&error) => {}
                result => return result.inspect(files::hold),
            }
        }
        create_with_directories(&local).inspect(files::hold)
    }

    /// Opens the file `path` to write at its end.
    #[cfg(feature = "object-store")]
    pub(crate) fn append(&self, path: &str) -> io::Result<File> {
        let local = self.local(path)?;
        std::fs::metadata(&local)?;
        files::append(&local)
    }

    /// Returns what is at `path`.
    pub(crate) fn status(&self, path: &str) -> io::Result<Option<FileStatus>> {
        match std::fs::metadata(self.local(path)?) {
            Ok(found) => Ok(Some(status_of(path, &found))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the files and directories in the directory `path`.
    #[cfg(feature = "object-store")]
    pub(crate) fn list(&self, path: &str) -> io::Result<Vec<FileStatus>> {
        let directory = self.root.join(path.trim_matches('/'));
        let entries = match files::list(&directory) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.ends_with(NOTE)) else { continue };
            let path = format!("{}/{name}", path.trim_end_matches('/'));
            found.push(status_of(&path, &entry.metadata()?));
        }
        Ok(found)
    }

    /// Returns up to `length` bytes of `path` from `offset` on.
    pub(crate) fn read(&self, path: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut file = files::open(&self.local(path)?)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    /// Cuts the file `path` to its first `length` bytes, durably.
    pub(crate) fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let local = self.local(path)?;
        let before = std::fs::metadata(&local)?.len();
        files::truncate(&local, length)?;
        self.release(before.saturating_sub(length));
        Ok(())
    }

    /// Returns whether a writer has the file `path` open; one whose write hangs still has it.
    pub(crate) fn is_held(&self, path: &str) -> io::Result<bool> {
        match files::is_held(&self.local(path)?) {
            Err(error) if is_missing(&error) => Ok(false),
            result => result,
        }
    }

    /// Removes the file `path` and the directories that it leaves empty, and returns whether it was there.
    pub(crate) fn remove(&self, path: &str) -> io::Result<bool> {
        let local = self.local(path)?;
        let bytes = std::fs::metadata(&local).map_or(0, |found| found.len());
        let was_there = match std::fs::remove_file(&local) {
            Ok(()) => {
                self.release(bytes);
                true
            }
            Err(error) if is_missing(&error) => false,
            Err(error) => return Err(error),
        };
        // The file first: a note without its file has no meaning.
        ignore_missing(std::fs::remove_file(note_of(&local)))?;
        for directory in local.ancestors().skip(1).take_while(|directory| *directory != self.root) {
            if std::fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(was_there)
    }

    /// Notes, durably, that `path` is being uploaded as `target`.
    pub(crate) fn note_upload(&self, path: &str, target: &str) -> io::Result<()> {
        let note = note_of(&self.local(path)?);
        ignore_missing(std::fs::remove_file(&note))?;
        let mut file = files::create_new(&note)?;
        file.write_all(target.as_bytes())?;
        files::sync(&file)
    }

    /// Returns what was noted for `path`, at most `bytes_max` bytes of it.
    #[cfg(feature = "parquet")]
    pub(crate) fn noted(&self, path: &str, bytes_max: usize) -> io::Result<Option<String>> {
        match files::open(&note_of(&self.local(path)?)) {
            Ok(file) => {
                let mut text = Vec::new();
                file.take(bytes_max as u64).read_to_end(&mut text)?;
                Ok(String::from_utf8(text).ok())
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file `path` for reading.
    #[cfg(feature = "parquet")]
    pub(crate) fn open(&self, path: &str) -> io::Result<File> {
        files::open(&self.local(path)?)
    }

    /// Returns whether there are files in it.
    #[cfg(feature = "parquet")]
    pub(crate) fn has_files(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    /// Returns whether an upload of `path` as `target` was begun before.
    #[cfg(feature = "object-store")]
    pub(crate) fn is_noted(&self, path: &str, target: &str) -> io::Result<bool> {
        match files::open(&note_of(&self.local(path)?)) {
            Ok(file) => {
                let mut text = Vec::new();
                file.take(target.len() as u64 + 1).read_to_end(&mut text)?;
                Ok(text == target.as_bytes())
            }
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Creates `local` and the directories that it lacks, and makes their names durable.
fn create_with_directories(local: &Path) -> io::Result<File> {
    if let Some(directory) = local.parent() {
        files::create_directory(directory)?;
    }
    files::create_new(local)
}

/// Returns the bytes of the files below `directory`; 0 for what cannot be read.
fn bytes_below(directory: &Path, depth: usize) -> u64 {
    let Ok(entries) = files::list(directory) else { return 0 };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    entries.flatten().map(bytes).sum()
}

fn note_of(local: &Path) -> PathBuf {
    let mut name = local.as_os_str().to_owned();
    name.push(NOTE);
    name.into()
}

fn status_of(path: &str, found: &std::fs::Metadata) -> FileStatus {
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let milliseconds = modified.map_or(0, |time| time.as_millis());
    FileStatus {
        path: path.to_owned(),
        length: if found.is_dir() { 0 } else { found.len() },
        is_directory: found.is_dir(),
        modified_ms: u64::try_from(milliseconds).unwrap_or(u64::MAX),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
}
