//! S3, Google Cloud Storage and Azure as file systems.
//!
//! A store has complete objects only, and what is written to one is not safe before the last byte is there.
//! So files that are being written are kept on a local disk, in the *spool*, where [`OpenFile::hsync`] makes
//! them as durable as the channel; [`FileSystem::rename`] uploads one, under its final name, and removes it
//! from the spool. A reader of the store sees complete files and nothing else.
//!
//! Limits: a request takes at most [`ObjectSettings::call_timeout`]; a rename takes one for each 8 MiB. The
//! spool has at most [`ObjectSettings::spool_bytes_max`] bytes: files that are open or wait for the store.
//! With more, or when its disk is full, writing fails.
//!
//! A store that cannot refuse to overwrite, and any upload in parts, is asked just before whether the name is
//! taken. The parts of an upload that this process could not abort, because it was killed, stay in the store
//! unseen until a life cycle rule of the bucket removes them.

mod fault;
mod store;
mod upload;

pub use store::SCHEMES;

use super::hadoop_settings::HadoopSettings;
use super::spool::{Spool, SpooledFile, fault::with};
use super::{
    FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile, PATH_BYTES_MAX,
};
use bytes::Bytes;
use fault::{of_store, timed_out};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use upload::Upload;

/// What is configured for a store.
#[derive(Clone, Debug)]
pub struct ObjectSettings {
    /// `s3a://bucket`, `gs://bucket` or `abfs://container@account…`; a path after it is not looked at.
    pub url: String,
    /// The directory of core-site.xml. None: see [`HadoopSettings::default_directory`].
    pub directory: Option<PathBuf>,
    /// How long a request may take.
    pub call_timeout: Duration,
    /// The local directory of files that are not uploaded yet, of this sink alone.
    pub spool: PathBuf,
    /// The most bytes that it may have.
    pub spool_bytes_max: u64,
}

/// A store.
pub struct Object {
    store: Arc<dyn ObjectStore>,
    spool: Spool,
    call_timeout: Duration,
}

impl Object {
    /// Reads the settings and makes the client; contacts no server.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`], with what is wrong.
    pub fn open(settings: ObjectSettings) -> Result<Self, FileSystemError> {
        let directory = settings.directory.clone().or_else(HadoopSettings::default_directory);
        let hadoop = match &directory {
            Some(directory) => HadoopSettings::read(directory).map_err(|error| {
                with("open", &settings.url, FaultKind::Misconfigured, &error.to_string())
            })?,
            None => HadoopSettings::default(),
        };
        let store = store::store(&settings.url, &hadoop, settings.call_timeout)?;
        Ok(Self {
            store,
            spool: Spool::new(settings.spool, settings.spool_bytes_max),
            call_timeout: settings.call_timeout,
        })
    }

    /// Returns what the store has at `path`.
    async fn head(&self, path: &str) -> Result<Option<ObjectMeta>, FileSystemError> {
        let key = key_of("look at", path)?;
        match self.within("look at", path, self.store.head(&key)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind == FaultKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn within<T>(
        &self,
        action: &'static str,
        path: &str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, FileSystemError> {
        match tokio::time::timeout(self.call_timeout, request).await {
            Ok(result) => result.map_err(|error| of_store(action, path, &error)),
            Err(_) => Err(timed_out(action, path, self.call_timeout)),
        }
    }

    /// Returns whether `from` was uploaded as `path` before, by an upload whose reply was lost.
    ///
    /// # Errors
    /// There is another file `path` in the store.
    async fn is_uploaded(&self, from: &FileStatus, path: &str) -> Result<bool, FileSystemError> {
        let Some(found) = self.head(path).await? else { return Ok(false) };
        let target = path.to_owned();
        let noted = self
            .spool
            .on_disk("rename", &from.path, move |spool, from| spool.is_noted(from, &target));
        if noted.await? && found.size == from.length {
            return Ok(true);
        }
        Err(taken("rename", path))
    }

    /// Uploads `from` as `to` and removes it from the spool.
    async fn upload(&self, from: &FileStatus, to: &str) -> Result<(), FileSystemError> {
        let target = key_of("rename", to)?;
        if !self.is_uploaded(from, to).await? {
            let name = to.to_owned();
            let noted = self
                .spool
                .on_disk("rename", &from.path, move |spool, from| spool.note_upload(from, &name));
            noted.await?;
            let upload = Upload {
                store: &self.store,
                spool: &self.spool,
                from: &from.path,
                to,
                target: &target,
                length: from.length,
                limit: self.call_timeout,
            };
            upload.run().await?;
        }
        self.spool.on_disk("remove from the spool", &from.path, Spool::remove).await.map(|_| ())
    }
}

impl FileSystem for Object {
    fn create<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        Box::pin(async move {
            key_of("create", path)?;
            if self.head(path).await?.is_some() {
                return Err(taken("create", path));
            }
            let file = self.spool.on_disk("create", path, Spool::create).await?;
            Ok(Box::new(SpooledFile::new(path, file, self.spool.clone())) as Box<dyn OpenFile>)
        })
    }

    fn append<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        Box::pin(async move {
            if self.spool.look_at(path).await?.is_none() && self.head(path).await?.is_some() {
                let reason = "an object cannot be appended to";
                return Err(with("append", path, FaultKind::Unsupported, reason));
            }
            let file = self.spool.on_disk("append", path, Spool::append).await?;
            Ok(Box::new(SpooledFile::new(path, file, self.spool.clone())) as Box<dyn OpenFile>)
        })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
        length: usize,
    ) -> FileSystemFuture<'a, Bytes> {
        Box::pin(async move {
            if self.spool.look_at(path).await?.is_some() {
                let read = self
                    .spool
                    .on_disk("read", path, move |spool, path| spool.read(path, offset, length));
                return read.await;
            }
            let key = key_of("read", path)?;
            let size = self.within("read", path, self.store.head(&key)).await?.size;
            let end = offset.saturating_add(length as u64).min(size);
            if offset >= end {
                return Ok(Bytes::new());
            }
            self.within("read", path, self.store.get_range(&key, offset..end)).await
        })
    }

    fn truncate<'a>(&'a self, path: &'a str, length: u64) -> FileSystemFuture<'a, ()> {
        Box::pin(
            self.spool.on_disk("truncate", path, move |spool, path| spool.truncate(path, length)),
        )
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> FileSystemFuture<'a, ()> {
        Box::pin(async move {
            if from != to && self.spool.look_at(to).await?.is_some() {
                return Err(taken("rename", to));
            }
            if let Some(found) = self.spool.look_at(from).await? {
                return self.upload(&found, to).await;
            }
            if from == to || self.head(to).await?.is_some() {
                return Err(taken("rename", to));
            }
            let (from_key, to_key) = (key_of("rename", from)?, key_of("rename", to)?);
            self.within("rename", from, self.store.rename(&from_key, &to_key)).await
        })
    }

    fn status<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Option<FileStatus>> {
        Box::pin(async move {
            if let Some(found) = self.spool.look_at(path).await? {
                return Ok(Some(found));
            }
            Ok(self.head(path).await?.map(|found| status_of(&found)))
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Vec<FileStatus>> {
        Box::pin(async move {
            let mut found = self.spool.on_disk("list", path, Spool::list).await?;
            let root = path.trim_matches('/').is_empty();
            let prefix = if root { None } else { Some(key_of("list", path)?) };
            let listed = self.store.list_with_delimiter(prefix.as_ref());
            let listed = self.within("list", path, listed).await?;
            found.extend(listed.objects.iter().map(status_of));
            for directory in listed.common_prefixes {
                let path = format!("/{directory}");
                if found.iter().all(|other| other.path != path) {
                    found.push(FileStatus { path, length: 0, is_directory: true, modified_ms: 0 });
                }
            }
            Ok(found)
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        Box::pin(async move {
            let was_spooled = self.spool.on_disk("delete", path, Spool::remove).await?;
            if self.head(path).await?.is_none() {
                return Ok(was_spooled);
            }
            let key = key_of("delete", path)?;
            self.within("delete", path, self.store.delete(&key)).await?;
            Ok(true)
        })
    }

    fn mkdirs<'a>(&'a self, _path: &'a str) -> FileSystemFuture<'a, ()> {
        // A store has no directories; those of the spool are made with their files.
        Box::pin(async { Ok(()) })
    }

    fn limits_its_requests(&self) -> bool {
        true
    }

    fn recover_lease<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        Box::pin(async move {
            if self.spool.on_disk("recover", path, Spool::is_held).await? {
                return Ok(false);
            }
            match self.status(path).await? {
                Some(_) => Ok(true),
                None => Err(with("recover", path, FaultKind::NotFound, "it does not exist")),
            }
        })
    }
}

/// Returns the key of `path` in the store: without the leading `/`.
fn key_of(action: &'static str, path: &str) -> Result<Path, FileSystemError> {
    let invalid = |reason: &str| with(action, path, FaultKind::InvalidPath, reason);
    if path.len() > PATH_BYTES_MAX {
        return Err(invalid("it is too long"));
    }
    Path::parse(path.trim_start_matches('/')).map_err(|error| invalid(&error.to_string()))
}

fn taken(action: &'static str, path: &str) -> FileSystemError {
    with(action, path, FaultKind::AlreadyExists, "there is a file of that name")
}

fn status_of(found: &ObjectMeta) -> FileStatus {
    FileStatus {
        path: format!("/{}", found.location),
        length: found.size,
        is_directory: false,
        modified_ms: u64::try_from(found.last_modified.timestamp_millis()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
