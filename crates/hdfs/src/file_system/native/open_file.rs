//! A file that is being written on HDFS.
//!
//! The client gives a block to DataNodes that the NameNode chose, without naming those that failed before and
//! without looking at whether they could connect to each other. So one DataNode that has died unnoticed (up
//! to ten minutes by default) makes the first write of a new file fail or wait for ever, although others
//! live. While nothing of a file is confirmed, its bytes are kept, and after such a failure it is deleted,
//! created again and written again: other DataNodes may be chosen, and in later tries there are fewer
//! replicas, which the NameNode completes afterwards.

use crate::file_system::{FaultKind, FileSystemError, FileSystemFuture, OpenFile};
use bytes::Bytes;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError, WriteOptions};
use std::sync::Arc;
use std::time::Duration;

use super::fault::{broken, fault, is_of_the_pipeline};
use super::session::{Ended, Session, ended};

/// The most bytes that are kept of a new file until they are confirmed.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// A try to write a new file takes at most this part of the limit of a call.
const TRIES_IN_CALL: u32 = 5;
/// And at most this long: healthy servers confirm a first write in milliseconds.
const TRY_TIME_MAX: Duration = Duration::from_secs(5);

/// An open file.
pub(super) struct NativeFile {
    session: Arc<Session>,
    path: String,
    call_timeout: Duration,
    /// None while a call is under way, after an error and after the close.
    writer: Option<FileWriter>,
    closed: bool,
    unconfirmed: Option<Unconfirmed>,
}

/// What a new file has so far, none of it confirmed.
struct Unconfirmed {
    pieces: Vec<Bytes>,
    bytes: usize,
    options: WriteOptions,
}

type Written = (FileWriter, hdfs_native::Result<()>);

impl NativeFile {
    /// Returns the file `path` that `writer` has just created with `options`.
    pub(super) fn created(
        session: Arc<Session>,
        path: &str,
        call_timeout: Duration,
        writer: FileWriter,
        options: WriteOptions,
    ) -> Self {
        let unconfirmed = Some(Unconfirmed { pieces: Vec::new(), bytes: 0, options });
        Self { unconfirmed, ..Self::appended(session, path, call_timeout, writer) }
    }

    /// Returns the file `path` that `writer` appends to.
    pub(super) fn appended(
        session: Arc<Session>,
        path: &str,
        call_timeout: Duration,
        writer: FileWriter,
    ) -> Self {
        let path = path.to_owned();
        Self { session, path, call_timeout, writer: Some(writer), closed: false, unconfirmed: None }
    }

    /// Returns the limit of one try: of the whole call if there will be no other.
    fn try_limit(&self) -> Duration {
        match self.unconfirmed {
            Some(_) => (self.call_timeout / TRIES_IN_CALL).min(TRY_TIME_MAX),
            None => self.call_timeout,
        }
    }

    /// Runs `work` with the writer, which is put back only after success.
    async fn with_writer<F>(
        &mut self,
        action: &'static str,
        limit: Duration,
        work: impl FnOnce(FileWriter) -> F,
    ) -> Result<(), Failed>
    where
        F: Future<Output = Written> + Send + 'static,
    {
        let Some(writer) = self.writer.take() else {
            return Err(Failed { error: broken(action, &self.path), others_may_do: false });
        };
        match self.session.run(limit, work(writer)).await {
            Ok((writer, Ok(()))) => {
                self.writer = Some(writer);
                Ok(())
            }
            Ok((_, Err(error))) => {
                let others_may_do = is_of_the_pipeline(&error);
                let mut error = fault(action, &self.path, error);
                // A connection that failed here is one to a DataNode, in most cases.
                if others_may_do && error.kind == FaultKind::Unavailable {
                    error.kind = FaultKind::Broken;
                }
                Err(Failed { error, others_may_do })
            }
            Err(why) => {
                let others_may_do = matches!(why, Ended::TimedOut);
                Err(Failed { error: ended(action, &self.path, limit, why), others_may_do })
            }
        }
    }

    /// Keeps `bytes` for another try, as long as there are few.
    fn keep(&mut self, bytes: &Bytes) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.bytes += bytes.len();
            unconfirmed.pieces.push(bytes.clone());
            if unconfirmed.bytes > KEPT_BYTES_MAX {
                self.unconfirmed = None;
            }
        }
    }

    /// Writes the file anew after `failed`, if nothing of it is confirmed.
    async fn write_anew(&mut self, failed: Failed, confirm: bool) -> Result<(), FileSystemError> {
        let limit = self.try_limit();
        let Some(unconfirmed) = self.unconfirmed.take_if(|_| failed.others_may_do) else {
            return Err(failed.error);
        };
        let mut last = failed.error;
        let wanted = unconfirmed.options.replication.unwrap_or(DEFAULT_REPLICATION).max(1);
        for (tried, replication) in (1..).zip(fewer_replicas(wanted)) {
            // The last one gets what is left: a slow cluster must get anywhere, too.
            let limit = if tried + 1 < TRIES_IN_CALL {
                limit
            } else {
                self.call_timeout.saturating_sub(limit * tried)
            };
            tracing::debug!(path = self.path, replication, "{last}; it is created again");
            let options = unconfirmed.options.clone().replication(replication);
            let (client, path) = (self.session.client(), self.path.clone());
            let pieces = unconfirmed.pieces.clone();
            let work = create_again(client, path, options, pieces, confirm);
            match self.session.run(limit, work).await {
                Ok(Ok(writer)) => {
                    self.writer = Some(writer);
                    if replication < wanted {
                        self.complete_replicas(wanted);
                    }
                    if !confirm {
                        self.unconfirmed = Some(unconfirmed);
                    }
                    return Ok(());
                }
                Ok(Err(error)) if is_of_the_pipeline(&error) => {
                    last = fault("write", &self.path, error);
                    last.kind = FaultKind::Broken;
                }
                Ok(Err(error)) => return Err(fault("write", &self.path, error)),
                Err(why) => last = ended("write", &self.path, limit, why),
            }
        }
        Err(last)
    }

    /// Has the NameNode make the replicas that the file lacks, once it is closed.
    fn complete_replicas(&self, wanted: u32) {
        let (client, path) = (self.session.client(), self.path.clone());
        tracing::info!(path, "written with fewer than {wanted} replicas at first");
        self.session.start("set the replication of", path.clone(), async move {
            client.set_replication(&path, wanted).await.map(|_| ())
        });
    }
}

/// Replicas of a file for which neither the client's settings nor the server name a number.
const DEFAULT_REPLICATION: u32 = 3;

/// Returns the numbers of replicas of further tries: first as `wanted`, then fewer.
fn fewer_replicas(wanted: u32) -> [u32; 4] {
    [wanted, wanted.saturating_sub(1).max(1), 1, 1]
}

/// Deletes the file, which has nothing that was confirmed, and writes `pieces` into a new one.
async fn create_again(
    client: Client,
    path: String,
    options: WriteOptions,
    pieces: Vec<Bytes>,
    confirm: bool,
) -> Result<FileWriter, HdfsError> {
    client.delete(&path, false).await?;
    let mut writer = client.create(&path, options).await?;
    for piece in pieces {
        writer.write_bytes(piece).await?;
    }
    if confirm {
        writer.hsync().await?;
    }
    Ok(writer)
}

/// A failed call, and whether other DataNodes could do it.
struct Failed {
    error: FileSystemError,
    others_may_do: bool,
}

impl OpenFile for NativeFile {
    fn write(&mut self, bytes: Bytes) -> FileSystemFuture<'_, ()> {
        Box::pin(async move {
            self.keep(&bytes);
            let limit = self.try_limit();
            let written = self.with_writer("write", limit, |mut writer| async move {
                let result = writer.write_bytes(bytes).await.map(|_| ());
                (writer, result)
            });
            match written.await {
                Ok(()) => Ok(()),
                Err(failed) => self.write_anew(failed, false).await,
            }
        })
    }

    fn hsync(&mut self) -> FileSystemFuture<'_, ()> {
        Box::pin(async move {
            let limit = self.try_limit();
            let synced = self.with_writer("sync", limit, |mut writer| async move {
                let result = writer.hsync().await;
                (writer, result)
            });
            match synced.await {
                Ok(()) => {
                    // From here on a failure must not delete the file.
                    self.unconfirmed.take_if(|unconfirmed| unconfirmed.bytes > 0);
                    Ok(())
                }
                Err(failed) => self.write_anew(failed, true).await,
            }
        })
    }

    fn close(&mut self) -> FileSystemFuture<'_, ()> {
        Box::pin(async move {
            if self.closed {
                return Ok(());
            }
            let limit = self.call_timeout;
            let closed = self.with_writer("close", limit, |mut writer| async move {
                let result = writer.close().await;
                (writer, result)
            });
            closed.await.map_err(|failed| failed.error)?;
            (self.writer, self.closed) = (None, true);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_tries_ask_for_fewer_replicas_and_for_one_at_least() {
        assert_eq!(fewer_replicas(3), [3, 2, 1, 1]);
        assert_eq!(fewer_replicas(1), [1, 1, 1, 1]);
    }
}
