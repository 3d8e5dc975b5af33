//! Files that are made when they get their last name: until then their events are in a spool on a local disk.
//!
//! [`Conversion`] is a file system around the one of `hdfs.path`. A file that is open or waits is in the spool;
//! [`FileSystem::rename`] makes a Parquet file of it under a name of its own, closes and renames that, and removes the
//! spool's. What is not in the spool is left to the file system inside, so files of an earlier configuration are closed
//! and renamed as ever.
//!
//! Limits: [`CONVERSIONS_MAX`] files are made at a time, each with one row group in memory; the spool has at most
//! `hdfs.spoolBytes`. Each call of the file system inside takes at most `hdfs.callTimeout`.
//!
//! 1. The file that an earlier try left is deleted: its name has a number that no other file has.
//! 2. The Parquet file is written, synced and closed.
//! 3. Its length and last name are noted, durably; from here on it is not made again.
//! 4. It is renamed. If it is gone and the noted name has that length, that happened before.
//! 5. The spool's file is removed.

use super::calls::Calls;
use crate::file_system::spool::{Spool, SpooledFile, fault::with};
use crate::file_system::{
    FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile, PATH_BYTES_MAX,
};
use crate::format::parquet::{
    ParquetFileError, ParquetWriter, SpoolError, SpoolReader, whole_bytes,
};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Files that are made at a time.
const CONVERSIONS_MAX: usize = 2;
/// Bytes of one write.
const WRITE_BYTES: usize = 4 << 20;
/// Bytes of a note: a length and a path.
const NOTE_BYTES_MAX: usize = PATH_BYTES_MAX + 32;
/// What is being done, for messages.
const ACTION: &str = "make the Parquet file";

/// The file system.
pub(super) struct Conversion {
    inside: Arc<dyn FileSystem>,
    calls: Calls,
    spool: Spool,
    /// New files are spooled; if not, only those that an earlier configuration left are made.
    spools_new: bool,
    in_use_suffix: String,
    conversions: Semaphore,
}

/// Why a file was not made of a spool file.
#[derive(Debug, thiserror::Error)]
enum ConversionError {
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("{0}")]
    File(#[from] ParquetFileError),
}

/// A file that is being made.
struct Making {
    reader: SpoolReader<BufReader<File>>,
    writer: ParquetWriter,
}

impl Conversion {
    /// Returns the file system around `inside`, whose calls take `limit`.
    pub(super) fn new(
        inside: Arc<dyn FileSystem>,
        limit: Duration,
        spool: Spool,
        spools_new: bool,
        in_use_suffix: &str,
    ) -> Self {
        Self {
            calls: Calls::new(Arc::clone(&inside), limit),
            inside,
            spool,
            spools_new,
            in_use_suffix: in_use_suffix.to_owned(),
            conversions: Semaphore::new(CONVERSIONS_MAX),
        }
    }

    /// Cuts off what a crash left of a batch at the end of `path`.
    async fn recover(&self, path: &str, length: u64) -> Result<(), FileSystemError> {
        let looked = self.spool.on_disk("recover", path, |spool, path| {
            let file = BufReader::new(spool.open(path)?);
            whole_bytes(file).map_err(io::Error::other)
        });
        let whole = looked.await?;
        if whole == length {
            return Ok(());
        }
        tracing::warn!(
            path,
            "the end of this file in the spool, {} bytes, is a batch that was not written in full: cut off; the channel still has its events",
            length.saturating_sub(whole)
        );
        self.spool.on_disk("recover", path, move |spool, path| spool.truncate(path, whole)).await
    }

    /// Makes the file of `from` and gives it the name `to`.
    async fn convert(&self, from: &str, to: &str) -> Result<(), FileSystemError> {
        let making = self.begin(from).await?;
        let made = self.name_of(from, &making.reader.id());
        let noted = self.note(from).await?;
        let length = match noted {
            Some((length, name)) => match self.calls.status(&made).await? {
                Some(found) if found.length == length => Some(length),
                Some(_) => None,
                // Its name was taken from it by the rename that the note announced.
                None => match self.calls.status(&name).await? {
                    Some(found) if found.length == length => {
                        return self.remove_spooled(from).await;
                    }
                    _ => None,
                },
            },
            None => None,
        };
        let length = match length {
            Some(length) => length,
            None => self.make(making, &made).await?,
        };
        let note = format!("{length}\t{to}");
        let noted =
            self.spool.on_disk("note", from, move |spool, from| spool.note_upload(from, &note));
        noted.await?;
        self.calls.rename(&made, to).await?;
        self.remove_spooled(from).await
    }

    async fn begin(&self, from: &str) -> Result<Making, FileSystemError> {
        let spool = self.spool.clone();
        self.step(from, move |from| {
            let file = spool.open(from).map_err(SpoolError::from)?;
            let reader = SpoolReader::open(BufReader::new(file))?;
            let writer = ParquetWriter::new(reader.settings())?;
            Ok(Making { reader, writer })
        })
        .await
    }

    /// Writes the file `made`; returns its length.
    async fn make(&self, mut making: Making, made: &str) -> Result<u64, FileSystemError> {
        let _permit = self.conversions.acquire().await;
        // A writer that ended with its process has it open: that does not keep it from being deleted.
        self.calls.delete(made).await?;
        let mut file = self.calls.create(made).await?;
        let mut length = 0;
        loop {
            let (bytes, next) = self.step(made, move |_| making.next()).await?;
            let mut bytes = Bytes::from(bytes);
            length += bytes.len() as u64;
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(WRITE_BYTES));
                self.calls.limited("write", made, file.write(piece)).await?;
            }
            match next {
                Some(next) => making = next,
                None => break,
            }
        }
        self.calls.limited("sync", made, file.hsync()).await?;
        self.calls.limited("close", made, file.close()).await?;
        Ok(length)
    }

    /// Runs a step of a conversion in a thread that may compute for long.
    async fn step<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&str) -> Result<T, ConversionError> + Send + 'static,
    ) -> Result<T, FileSystemError> {
        let given = path.to_owned();
        let fault = |reason: &str| with(ACTION, path, FaultKind::Other, reason);
        match tokio::task::spawn_blocking(move || work(&given)).await {
            Ok(result) => result.map_err(|error| {
                fault(&format!("{error}; its events are in the spool below hdfs.stateDirectory"))
            }),
            Err(_) => Err(fault("the task was ended")),
        }
    }

    /// Returns the name under which the file of `from` is made.
    fn name_of(&self, from: &str, id: &str) -> String {
        let suffix = &self.in_use_suffix;
        match from.strip_suffix(suffix.as_str()) {
            Some(stem) => format!("{stem}.{id}{suffix}"),
            None => format!("{from}.{id}"),
        }
    }

    /// Returns the length and the last name of the file that was made of `from`.
    async fn note(&self, from: &str) -> Result<Option<(u64, String)>, FileSystemError> {
        let noted =
            self.spool.on_disk("note", from, |spool, from| spool.noted(from, NOTE_BYTES_MAX));
        let read = |text: String| {
            let (length, name) = text.split_once('\t')?;
            Some((length.parse().ok()?, name.to_owned()))
        };
        Ok(noted.await?.and_then(read))
    }

    async fn remove_spooled(&self, from: &str) -> Result<(), FileSystemError> {
        self.spool.on_disk("remove from the spool", from, Spool::remove).await.map(|_| ())
    }
}

impl Making {
    /// Returns the next bytes of the file, and what makes the rest, if there is more.
    fn next(mut self) -> Result<(Vec<u8>, Option<Self>), ConversionError> {
        while let Some(events) = self.reader.next()? {
            for event in &events {
                self.writer.add(event)?;
            }
            if self.writer.is_full() {
                let bytes = self.writer.row_group()?;
                return Ok((bytes, Some(self)));
            }
        }
        Ok((self.writer.end()?, None))
    }
}

impl FileSystem for Conversion {
    fn create<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        Box::pin(async move {
            if !self.spools_new {
                return self.inside.create(path).await;
            }
            // A directory that cannot be is found before there are events for it.
            let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
            self.calls.mkdirs(if directory.is_empty() { "/" } else { directory }).await?;
            let file = self.spool.on_disk("create", path, Spool::create).await?;
            Ok(Box::new(SpooledFile::new(path, file, self.spool.clone())) as Box<dyn OpenFile>)
        })
    }

    fn append<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        Box::pin(async move {
            if self.spool.look_at(path).await?.is_some() {
                let reason = "a Parquet file cannot be appended to";
                return Err(with("append", path, FaultKind::Unsupported, reason));
            }
            self.inside.append(path).await
        })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
        length: usize,
    ) -> FileSystemFuture<'a, Bytes> {
        Box::pin(async move {
            if self.spool.look_at(path).await?.is_none() {
                return self.inside.read(path, offset, length).await;
            }
            let read = move |spool: &Spool, path: &str| spool.read(path, offset, length);
            self.spool.on_disk("read", path, read).await
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> FileSystemFuture<'a, ()> {
        Box::pin(async move {
            if self.spool.look_at(from).await?.is_some() {
                return self.convert(from, to).await;
            }
            self.calls.rename(from, to).await
        })
    }

    fn truncate<'a>(&'a self, path: &'a str, length: u64) -> FileSystemFuture<'a, ()> {
        Box::pin(async move {
            if self.spool.look_at(path).await?.is_none() {
                return self.inside.truncate(path, length).await;
            }
            self.spool
                .on_disk("truncate", path, move |spool, path| spool.truncate(path, length))
                .await
        })
    }

    fn status<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Option<FileStatus>> {
        Box::pin(async move {
            if let Some(found) = self.spool.look_at(path).await? {
                return Ok(Some(found));
            }
            self.inside.status(path).await
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Vec<FileStatus>> {
        self.inside.list(path)
    }

    fn delete<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        Box::pin(async move {
            if self.spool.on_disk("delete", path, Spool::remove).await? {
                return Ok(true);
            }
            self.calls.delete(path).await
        })
    }

    fn mkdirs<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, ()> {
        self.inside.mkdirs(path)
    }

    fn recover_lease<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        Box::pin(async move {
            match self.spool.look_at(path).await? {
                // A write that hangs may still end.
                Some(_) if self.spool.on_disk("recover", path, Spool::is_held).await? => Ok(false),
                Some(found) => self.recover(path, found.length).await.map(|()| true),
                None => self.calls.recover_lease(path).await,
            }
        })
    }

    fn limits_its_requests(&self) -> bool {
        true
    }
}
