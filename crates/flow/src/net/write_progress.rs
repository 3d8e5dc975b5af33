//! A connection that records when the network last accepted written bytes.

use super::stream::Stream;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Progress of the writing of a request, for the task that waits for the response.
#[derive(Debug, Default)]
pub(super) struct WriteProgress(Mutex<WriteState>);

#[derive(Clone, Copy, Debug, Default)]
struct WriteState {
    last: Option<Instant>,
    waits: bool,
}

impl WriteProgress {
    /// Records the begin of a request.
    pub(super) fn begin(&self) {
        *self.lock() = WriteState { last: Some(Instant::now()), waits: false };
    }

    /// Returns the time of the last progress, and true if a write has waited for the network since then.
    pub(super) fn state(&self) -> (Instant, bool) {
        let WriteState { last, waits } = *self.lock();
        (last.unwrap_or_else(Instant::now), waits)
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.lock();
        state.waits = written.is_pending();
        if matches!(written, Poll::Ready(Ok(1..))) {
            state.last = Some(Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, WriteState> {
        // No operation can panic halfway while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct WatchedStream {
    pub(super) stream: Stream,
    pub(super) progress: Arc<WriteProgress>,
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.progress.note(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
