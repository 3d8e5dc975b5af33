//! A file of the spool that is being written, in threads that may wait for a disk.

use crate::file_system::{FaultKind, FileStatus, FileSystemError, FileSystemFuture, OpenFile};
use bytes::Bytes;
use millpond_flow::base::files;
use std::fs::File;
use std::io::{self, Write};

use super::directory::Spool;
use super::fault::{of_disk, with};

/// A file of the spool that is being written.
pub(crate) struct SpooledFile {
    path: String,
    /// None while a call is under way, after an error and after the close.
    file: Option<File>,
    closed: bool,
    spool: Spool,
}

impl SpooledFile {
    /// Returns the file `path`, open as `file`.
    pub(crate) fn new(path: &str, file: File, spool: Spool) -> Self {
        Self { path: path.to_owned(), file: Some(file), closed: false, spool }
    }

    async fn with_file(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), FileSystemError> {
        let Some(mut file) = self.file.take() else {
            let reason = "an earlier write of it failed";
            return Err(with(action, &self.path, FaultKind::Broken, reason));
        };
        let worked = blocking(action, &self.path, move || work(&mut file).map(|()| file));
        self.file = Some(worked.await?);
        Ok(())
    }
}

impl OpenFile for SpooledFile {
    fn write(&mut self, bytes: Bytes) -> FileSystemFuture<'_, ()> {
        let spool = self.spool.clone();
        Box::pin(self.with_file("write", move |file| {
            let len = bytes.len() as u64;
            spool.claim(len)?;
            let before = file.metadata()?.len();
            file.write_all(&bytes).inspect_err(|_| {
                let after = file.metadata().map_or(before, |found| found.len());
                spool.release(len.saturating_sub(after.saturating_sub(before)));
            })
        }))
    }

    fn hsync(&mut self) -> FileSystemFuture<'_, ()> {
        Box::pin(self.with_file("sync", |file| files::sync(file)))
    }

    fn close(&mut self) -> FileSystemFuture<'_, ()> {
        Box::pin(async move {
            if !self.closed {
                self.with_file("close", |file| files::sync(file)).await?;
                (self.file, self.closed) = (None, true);
            }
            Ok(())
        })
    }
}

impl Spool {
    /// Runs `work` on the spool, for `path`, in a thread that may wait for a disk.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        work: impl FnOnce(&Self, &str) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileSystemError> {
        let (spool, given) = (self.clone(), path.to_owned());
        blocking(action, path, move || work(&spool, &given)).await
    }

    /// Returns what the spool has at `path`.
    pub(crate) async fn look_at(&self, path: &str) -> Result<Option<FileStatus>, FileSystemError> {
        self.on_disk("look at", path, Self::status).await
    }
}

/// Runs `work` in a thread that may wait for a disk.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, FileSystemError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| of_disk(action, path, &error)),
        Err(_) => Err(with(action, path, FaultKind::Other, "the task was ended")),
    }
}
