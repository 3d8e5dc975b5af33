//! The upload of a file: in one request, or in parts of which none is seen before the last.
//!
//! Limits: a file of at most [`PART_BYTES`] takes one request; a larger one has at most [`PARTS_MAX`] parts,
//! of which one is in memory at a time. Each request ends within the limit of a call.

use crate::file_system::spool::{
    Spool,
    fault::{of_disk, with},
};
use crate::file_system::{FaultKind, FileSystemError};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use std::sync::Arc;
use std::time::Duration;

use super::fault::{of_store, timed_out};

/// The smallest part, and the longest file that is uploaded in one request.
const PART_BYTES: u64 = 8 << 20;
/// S3 takes 10,000 parts.
const PARTS_MAX: u64 = 9_000;

const ACTION: &str = "upload";

/// An upload of a file of the spool.
pub(super) struct Upload<'a> {
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) spool: &'a Spool,
    /// Path in the spool.
    pub(super) from: &'a str,
    /// Path in the store, for messages.
    pub(super) to: &'a str,
    pub(super) target: &'a Path,
    /// Bytes of the file.
    pub(super) length: u64,
    /// The limit of one request.
    pub(super) limit: Duration,
}

impl Upload<'_> {
    /// Uploads the file.
    ///
    /// # Errors
    /// [`FaultKind::AlreadyExists`] if there is a `to`. After any other error it may have been uploaded.
    pub(super) async fn run(&self) -> Result<(), FileSystemError> {
        if self.length <= PART_BYTES { self.at_once().await } else { self.in_parts().await }
    }

    async fn at_once(&self) -> Result<(), FileSystemError> {
        let payload = self.part(0, PART_BYTES).await?;
        let created = self.store.put_opts(self.target, payload.clone(), PutMode::Create.into());
        match self.within(created).await {
            // The store cannot refuse to overwrite; the caller has looked for `to` just before.
            Err(error) if error.kind == FaultKind::Unsupported => {
                self.within(self.store.put(self.target, payload)).await.map(|_| ())
            }
            result => result.map(|_| ()),
        }
    }

    async fn in_parts(&self) -> Result<(), FileSystemError> {
        let upload = self.within(self.store.put_multipart(self.target)).await?;
        let mut parts = Parts(Some(upload));
        let size = PART_BYTES.max(self.length.div_ceil(PARTS_MAX));
        let mut offset = 0;
        while offset < self.length {
            let payload = self.part(offset, size).await?;
            offset += payload.content_length() as u64;
            if payload.content_length() == 0 {
                let reason = "the file in the spool became shorter";
                return Err(with(ACTION, self.to, FaultKind::Other, reason));
            }
            if let Some(upload) = &mut parts.0 {
                self.within(upload.put_part(payload)).await?;
            }
        }
        if let Some(upload) = &mut parts.0 {
            self.within(upload.complete()).await?;
        }
        parts.0 = None;
        Ok(())
    }

    /// Reads the part of the file at `offset`.
    async fn part(&self, offset: u64, length: u64) -> Result<PutPayload, FileSystemError> {
        let (spool, from) = (self.spool.clone(), self.from.to_owned());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let read = tokio::task::spawn_blocking(move || spool.read(&from, offset, length)).await;
        match read {
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(error)) => Err(of_disk(ACTION, self.from, &error)),
            Err(_) => Err(with(ACTION, self.from, FaultKind::Other, "the task was ended")),
        }
    }

    async fn within<T>(
        &self,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, FileSystemError> {
        match tokio::time::timeout(self.limit, request).await {
            Ok(result) => result.map_err(|error| of_store(ACTION, self.to, &error)),
            Err(_) => Err(timed_out(ACTION, self.to, self.limit)),
        }
    }
}

/// An upload in parts, which is aborted when it is dropped before its end: parts cost money until then.
struct Parts(Option<Box<dyn MultipartUpload>>);

impl Drop for Parts {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!("{}", of_store("abort the upload of", "its parts", &error));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::{PutResult, UploadPart};
    use std::pin::Pin;
    use tokio::sync::oneshot;

    /// An upload that reports when it is aborted.
    #[derive(Debug)]
    struct Watched(Option<oneshot::Sender<()>>);

    type Reply<'f, T> = Pin<Box<dyn Future<Output = object_store::Result<T>> + Send + 'f>>;

    impl MultipartUpload for Watched {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            Box::pin(async { Ok(()) })
        }

        fn complete<'a, 'f>(&'a mut self) -> Reply<'f, PutResult>
        where
            'a: 'f,
            Self: 'f,
        {
            Box::pin(async {
                Err(object_store::Error::NotImplemented {
                    operation: "complete".into(),
                    implementer: "Watched".into(),
                })
            })
        }

        fn abort<'a, 'f>(&'a mut self) -> Reply<'f, ()>
        where
            'a: 'f,
            Self: 'f,
        {
            let watcher = self.0.take();
            Box::pin(async move {
                if let Some(watcher) = watcher {
                    watcher.send(()).ok();
                }
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn parts_of_an_upload_that_ends_early_are_aborted() {
        let (sender, aborted) = oneshot::channel();
        drop(Parts(Some(Box::new(Watched(Some(sender))))));
        assert_eq!(aborted.await, Ok(()));
    }
}
