//! Calls of a file system, each within `hdfs.callTimeout`.

use crate::file_system::{
    FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A file system whose implementation has the same limit reports first: it knows more.
const GRACE: Duration = Duration::from_millis(500);

/// A file system, with the limit of its calls.
#[derive(Clone)]
pub(super) struct Calls {
    files: Arc<dyn FileSystem>,
    limit: Duration,
}

impl Calls {
    pub(super) fn new(files: Arc<dyn FileSystem>, limit: Duration) -> Self {
        Self { files, limit }
    }

    /// Waits for `call`, at most for the limit.
    pub(super) async fn limited<T>(
        &self,
        action: &'static str,
        path: &str,
        call: FileSystemFuture<'_, T>,
    ) -> Result<T, FileSystemError> {
        match tokio::time::timeout(self.limit + GRACE, call).await {
            Ok(result) => result,
            Err(_) => Err(FileSystemError {
                kind: FaultKind::TimedOut,
                action,
                path: path.to_owned(),
                reason: format!("no reply within {} ms (hdfs.callTimeout)", self.limit.as_millis()),
                hint: None,
            }),
        }
    }

    pub(super) async fn create(&self, path: &str) -> Result<Box<dyn OpenFile>, FileSystemError> {
        self.limited("create", path, self.files.create(path)).await
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<(), FileSystemError> {
        let renamed = self.files.rename(from, to);
        if self.files.limits_its_requests() {
            return renamed.await;
        }
        self.limited("rename", to, renamed).await
    }

    pub(super) async fn status(&self, path: &str) -> Result<Option<FileStatus>, FileSystemError> {
        self.limited("look at", path, self.files.status(path)).await
    }

    pub(super) async fn read(
        &self,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, FileSystemError> {
        self.limited("read", path, self.files.read(path, offset, length)).await
    }

    pub(super) async fn truncate(&self, path: &str, length: u64) -> Result<(), FileSystemError> {
        self.limited("truncate", path, self.files.truncate(path, length)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<bool, FileSystemError> {
        self.limited("delete", path, self.files.delete(path)).await
    }

    pub(super) async fn mkdirs(&self, path: &str) -> Result<(), FileSystemError> {
        self.limited("make", path, self.files.mkdirs(path)).await
    }

    pub(super) async fn recover_lease(&self, path: &str) -> Result<bool, FileSystemError> {
        self.limited("recover", path, self.files.recover_lease(path)).await
    }
}
