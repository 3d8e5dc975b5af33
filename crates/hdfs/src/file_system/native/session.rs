//! One client of a cluster, with a runtime of its own.
//!
//! The client starts tasks that it never ends (renewal of leases, heartbeats of files that were dropped open)
//! and calls the library of Kerberos, which blocks. In a runtime of its own all of that ends with the
//! session, and holds up nothing else of the agent.

use crate::file_system::{FaultKind, FileSystemError};
use hdfs_native::Client;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use super::fault::{fault, timed_out, with};

/// A client and the runtime that its work runs in.
pub(super) struct Session {
    client: Client,
    handle: Handle,
    /// Always there until the drop.
    runtime: Option<Runtime>,
}

/// Why a task of a session has no result.
pub(super) enum Ended {
    /// It was ended at its limit.
    TimedOut,
    /// The library panicked, or the session ended.
    Panicked,
}

impl Session {
    /// Makes a client in a new runtime; contacts no server.
    ///
    /// # Errors
    /// The settings do not fit, or a thread cannot be started.
    pub(super) fn new(
        build: impl FnOnce(Handle) -> hdfs_native::Result<Client>,
        url: &str,
    ) -> Result<Arc<Self>, FileSystemError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hdfs")
            .enable_all()
            .build()
            .map_err(|error| with("open", url, FaultKind::Other, &error.to_string(), None))?;
        let handle = runtime.handle().clone();
        let client = build(handle.clone()).map_err(|error| fault("open", url, error))?;
        Ok(Arc::new(Self { client, handle, runtime: Some(runtime) }))
    }

    /// Returns the client, to be used in tasks of [`Session::run`].
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs `work` in the session's runtime for at most `limit`.
    ///
    /// # Errors
    /// It took longer, or panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Ended> {
        let mut task = AbortOnDrop(self.handle.spawn(work));
        match tokio::time::timeout(limit, &mut task.0).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Ended::Panicked),
            Err(_) => Err(Ended::TimedOut),
        }
    }

    /// Runs `work` without waiting for it; its error is logged as one of `action`.
    pub(super) fn start(
        &self,
        action: &'static str,
        path: String,
        work: impl Future<Output = hdfs_native::Result<()>> + Send + 'static,
    ) {
        self.handle.spawn(async move {
            if let Err(error) = work.await {
                tracing::warn!("{}", fault(action, &path, error));
            }
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped in a task of another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// Returns the error that `ended` is for `action`.
pub(super) fn ended(
    action: &'static str,
    path: &str,
    limit: Duration,
    ended: Ended,
) -> FileSystemError {
    match ended {
        Ended::TimedOut => timed_out(action, path, limit),
        Ended::Panicked => with(action, path, FaultKind::Other, "the HDFS client failed", None),
    }
}

/// A task that ends when it is no longer waited for.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
