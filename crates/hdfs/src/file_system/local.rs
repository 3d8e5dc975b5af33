//! The file system of this machine, for `file:` URLs.
//!
//! Calls run on blocking threads. A call on a disk that hangs is ended by the caller's limit; its thread goes on.

use super::{FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile};
use bytes::Bytes;
use millpond_flow::base::files;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl FileSystem for Local {
    fn create<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        run("create", path, |path| {
            files::create_directory(parent(path)).map_err(|error| match error.kind() {
                // One of them is a file: another name in it would be refused, too.
                io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
                _ => error,
            })?;
            let file = files::create_new(path)?;
            files::hold(&file);
            files::sync_directory(parent(path))?;
            Ok(opened(path, file))
        })
    }

    fn append<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        run("append", path, |path| {
            path.symlink_metadata()?;
            Ok(opened(path, files::append(path)?))
        })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
        length: usize,
    ) -> FileSystemFuture<'a, Bytes> {
        run("read", path, move |path| {
            let mut file = files::open_regular(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length as u64).read_to_end(&mut bytes)?;
            Ok(Bytes::from(bytes))
        })
    }

    fn truncate<'a>(&'a self, path: &'a str, length: u64) -> FileSystemFuture<'a, ()> {
        run("truncate", path, move |path| files::truncate(path, length))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> FileSystemFuture<'a, ()> {
        let from = from.to_owned();
        run("rename", to, move |to| {
            files::rename_new(Path::new(&from), to)?;
            if parent(Path::new(&from)) == parent(to) {
                return Ok(());
            }
            files::sync_directory(parent(Path::new(&from)))
        })
    }

    fn status<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Option<FileStatus>> {
        run("look at", path, |path| match path.symlink_metadata() {
            Ok(found) => Ok(Some(status(path, &found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Vec<FileStatus>> {
        run("list", path, |path| {
            let entries = match files::list(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut all = Vec::new();
            for entry in entries {
                let entry = entry?;
                all.push(status(&entry.path(), &entry.metadata()?));
            }
            Ok(all)
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        run("delete", path, |path| {
            let done = match path.symlink_metadata() {
                Ok(found) if found.is_dir() => files::remove_empty_directory(path),
                Ok(_) => files::remove(path),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn mkdirs<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, ()> {
        run("make", path, files::create_directory)
    }

    /// The lease of a file of this machine is its lock, which ends with the writer. A write that hangs keeps it, so that
    /// nothing is written after the recovery.
    fn recover_lease<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        run("recover", path, |path| files::is_held(path).map(|held| !held))
    }
}

/// An open file of this machine.
struct LocalFile {
    path: String,
    /// None after an error or a call that was dropped: it is not known what the file has.
    file: Option<Arc<File>>,
}

impl LocalFile {
    fn call<T: Send + 'static>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> FileSystemFuture<'_, T> {
        Box::pin(async move {
            let Some(file) = self.file.take() else {
                let error = io::Error::new(io::ErrorKind::BrokenPipe, "an earlier call failed");
                return Err(fault(action, &self.path, &error));
            };
            let used = Arc::clone(&file);
            let done = tokio::task::spawn_blocking(move || work(&used)).await;
            let result = joined(done).map_err(|error| fault(action, &self.path, &error))?;
            self.file = Some(file);
            Ok(result)
        })
    }
}

impl OpenFile for LocalFile {
    fn write(&mut self, bytes: Bytes) -> FileSystemFuture<'_, ()> {
        self.call("write", move |mut file| file.write_all(&bytes))
    }

    fn hsync(&mut self) -> FileSystemFuture<'_, ()> {
        self.call("sync", files::sync)
    }

    fn close(&mut self) -> FileSystemFuture<'_, ()> {
        Box::pin(async move {
            if self.file.is_some() {
                self.call("close", files::sync).await?;
                self.file = None;
            }
            Ok(())
        })
    }
}

fn opened(path: &Path, file: File) -> Box<dyn OpenFile> {
    let path = path.to_string_lossy().into_owned();
    Box::new(LocalFile { path, file: Some(Arc::new(file)) })
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn status(path: &Path, found: &std::fs::Metadata) -> FileStatus {
    let changed = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_ms = changed.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    let is_directory = found.is_dir();
    let length = if is_directory { 0 } else { found.len() };
    FileStatus { path: path.to_string_lossy().into_owned(), length, is_directory, modified_ms }
}

/// Runs `work` on a blocking thread.
fn run<'a, T: Send + 'static>(
    action: &'static str,
    path: &'a str,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> FileSystemFuture<'a, T> {
    let owned = path.to_owned();
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(move || work(Path::new(&owned))).await;
        joined(done).map_err(|error| fault(action, path, &error))
    })
}

fn joined<T>(done: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    done.unwrap_or_else(|error| Err(io::Error::other(format!("it ended by a defect: {error}"))))
}

fn fault(action: &'static str, path: &str, error: &io::Error) -> FileSystemError {
    use io::ErrorKind as E;
    let kind = match error.kind() {
        E::AlreadyExists => FaultKind::AlreadyExists,
        E::NotFound => FaultKind::NotFound,
        E::PermissionDenied => FaultKind::PermissionDenied,
        E::InvalidFilename | E::InvalidInput => FaultKind::InvalidPath,
        E::NotADirectory => FaultKind::NotDirectory,
        E::StorageFull | E::QuotaExceeded => FaultKind::QuotaExceeded,
        E::ReadOnlyFilesystem => FaultKind::ReadOnly,
        E::BrokenPipe => FaultKind::Broken,
        _ => FaultKind::Other,
    };
    let (path, reason) = (path.to_owned(), error.to_string());
    FileSystemError { kind, action, path, reason, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_created_synced_and_renamed_without_overwriting() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("{}/a/b/{name}", directory.path().display());
        let (x, y) = (at("x"), at("y"));
        let mut file = Local.create(&x).await.unwrap();
        assert_eq!(Local.create(&x).await.err().unwrap().kind, FaultKind::AlreadyExists);
        file.write(Bytes::from_static(b"one")).await.unwrap();
        file.hsync().await.unwrap();
        file.close().await.unwrap();
        file.close().await.unwrap();
        Local.create(&y).await.unwrap().close().await.unwrap();
        let taken = Local.rename(&x, &y).await.unwrap_err();
        assert_eq!(taken.kind, FaultKind::AlreadyExists, "{taken}");
        assert!(Local.delete(&y).await.unwrap() && !Local.delete(&y).await.unwrap());
        Local.rename(&x, &y).await.unwrap();
        assert_eq!(Local.rename(&x, &y).await.unwrap_err().kind, FaultKind::NotFound);
        assert_eq!(Local.status(&y).await.unwrap().unwrap().length, 3);
        assert_eq!(Local.status(&x).await.unwrap(), None);
        assert_eq!(Local.read(&y, 1, 9).await.unwrap(), "ne");
        assert!(Local.recover_lease(&y).await.unwrap());
        let mut more = Local.append(&y).await.unwrap();
        more.write(Bytes::from_static(b"!")).await.unwrap();
        more.close().await.unwrap();
        assert_eq!(Local.list(&at("")).await.unwrap()[0].length, 4);
        assert_eq!(Local.list("/nonexistent").await.unwrap(), []);
        let below = format!("{y}/z");
        assert_eq!(Local.create(&below).await.err().unwrap().kind, FaultKind::NotDirectory);
    }
}
